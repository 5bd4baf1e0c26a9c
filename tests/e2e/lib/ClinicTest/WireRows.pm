# Rows as the wire has them, held in memory: what a client without SQLite makes of the
# JSON download, /db/changes and frames, and its digest by the words of docs/protocol.md alone.
#
#	my $rows = ClinicTest::WireRows->new($download);	or new() for none
#	$rows->apply($changes);
#	$rows->digest('patients')				"1000:9f2c…", as server_digest() has it
package ClinicTest::WireRows;
use strict;
use warnings;
use Digest::SHA qw(sha256);
use Encode qw(encode_utf8);
use JSON::PP;
use Exporter 'import';
our @EXPORT_OK = qw(wire_digest);

my $canonical = JSON::PP->new->canonical->utf8;

# "rows:hash" of an array of row objects.
sub wire_digest {
	my ($rows) = @_;
	my ($low, $high) = (0, 0);
	for my $row (@$rows) {
		my $text = '';
		for my $name (sort { encode_utf8($a) cmp encode_utf8($b) } keys %$row) {
			my $value = $row->{$name};
			$value = $value ? 'true' : 'false' if JSON::PP::is_bool($value);
			my $bytes = encode_utf8($value // '');
			$text .= defined $value ? 'V' . length($bytes) . ":$bytes" : 'N';
		}
		my @half = unpack 'NN', sha256($text);
		$low += $half[1];
		$high += $half[0] + ($low > 0xffffffff ? 1 : 0);
		$_ &= 0xffffffff for $low, $high;
	}
	return sprintf '%d:%08x%08x', scalar @$rows, $high, $low;
}

# download: the answer of /db/download as JSON. keys => {table => [columns]}, for tables whose
# key is not "id".
sub new {
	my ($class, $download, %option) = @_;
	my $self = bless {rows => {}, keys => {active_patient_queue => ['queueEntryId'], %{$option{keys} // {}}}}, $class;
	for my $table ($download ? keys %{$download->{data}} : ()) {
		$self->{rows}{$table} = {};
		$self->put($table, $_) for @{$download->{data}{$table}};
	}
	return $self;
}

sub put {
	my ($self, $table, $row) = @_;
	my %key = map { $_ => $row->{$_} } @{$self->{keys}{$table} // ['id']};
	$self->{rows}{$table}{$canonical->encode(\%key)} = $row;
	return;
}

# An update or delete of a row that is not there dies.
sub apply {
	my ($self, $changes) = @_;
	for my $change (@$changes) {
		my ($table, $operation, $data) = @$change{qw(table operation data)};
		my $key = defined $change->{key} ? $canonical->encode($change->{key}) : '';
		my $rows = $self->{rows}{$table} //= {};
		die "$operation of a row of $table that is not there\n"
			if $operation =~ /^(?:update|delete)$/ && !$rows->{$key};
		if ($operation eq 'truncate') {
			%$rows = ();
		} elsif ($operation eq 'schema') {
			for my $row (values %$rows) {
				$row->{$_->{name}} //= undef for @{$data->{columns}};
			}
		} elsif ($operation eq 'update') {
			$rows->{$key} = {%{$rows->{$key}}, %$data};
		} elsif ($operation =~ /^(?:insert|put)$/ && $data) {
			$rows->{$key} = $data;
		} else {
			delete $rows->{$key};
		}
	}
	return $self;
}

sub row { my ($self, $table, $key) = @_; return $self->{rows}{$table}{$canonical->encode($key)} }
sub tables { my ($self) = @_; return sort keys %{$self->{rows}} }

sub digest { my ($self, $table) = @_; return wire_digest([values %{$self->{rows}{$table} // {}}]) }

1;
