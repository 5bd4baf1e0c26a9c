# A device of a test: one cache file and the `clinic-cache sync` that keeps it.
package ClinicTest::Device;
use strict;
use warnings;
use DBI;
use JSON::PP;
use ClinicTest::Process;
use ClinicTest::Wait qw(wait_for slurp);

# dir, name, bin, url, code_file; words => [...]: further words for `sync`
sub new {
	my ($class, %option) = @_;
	my $self = bless {words => [], %option}, $class;
	$self->{file} = "$self->{dir}/$self->{name}.db";
	$self->{event_file} = "$self->{dir}/$self->{name}.events";
	return $self;
}

sub start {
	my ($self) = @_;
	$self->{process} = ClinicTest::Process->start("device $self->{name}",
		log => "$self->{dir}/$self->{name}.log",
		argv => [$self->{bin}, 'sync', '--url', $self->{url}, '--db', $self->{file},
			'--access-code-file', $self->{code_file},
			$self->{no_events} ? () : ('--events', $self->{event_file}),
			@{$self->{words}}]);
	return $self;
}

sub process { return $_[0]{process} }
sub kill9 { return $_[0]{process}->kill9 }
sub stop { return $_[0]{process}->stop }

# Rows of a query on the cache, as array references; none while there is no file.
sub query {
	my ($self, $sql, @values) = @_;
	return [] if !-e $self->{file};
	my $db = DBI->connect("dbi:SQLite:dbname=$self->{file}", '', '',
		{RaiseError => 1, PrintError => 0, ReadOnly => 1, sqlite_string_mode => 0});
	$db->sqlite_busy_timeout(5000);
	my $rows = eval { $db->selectall_arrayref($sql, undef, @values) };
	my $error = $@;
	$db->disconnect;
	die $error if $error && $error !~ /no such table/;
	return $rows // [];
}

sub value { my ($self, @words) = @_; my $rows = $self->query(@words); return @$rows ? $rows->[0][0] : undef }

sub cursor { return $_[0]->value("SELECT value FROM clinic_sync_meta WHERE key = 'cursor'") }

sub batch { return (($_[0]->cursor // '') =~ /^(\d+)-/) ? $1 : 0 }

# Wait until the cache has at least that batch.
sub wait_batch {
	my ($self, $batch, $seconds) = @_;
	wait_for("device $self->{name} to reach batch $batch", sub {
		die "device $self->{name} ended:\n" . $self->{process}->output
			if !$self->{process}->alive;
		return $self->batch >= $batch;
	}, $seconds);
	return $self;
}

# The events written so far, decoded; a line still being written is left out.
sub events {
	my ($self) = @_;
	return map { decode_json($_) } slurp($self->{event_file}) =~ /^(.*)\n/mg;
}

# Another command on the file: (exit code, output).
sub command {
	my ($self, $command, @words) = @_;
	my $process = ClinicTest::Process->start("clinic-cache $command",
		log => "$self->{dir}/$self->{name}.$command.log",
		argv => [$self->{bin}, $command, '--db', $self->{file}, @words]);
	my $code = $process->wait_exit(60);
	return ($code, $process->output);
}

1;
