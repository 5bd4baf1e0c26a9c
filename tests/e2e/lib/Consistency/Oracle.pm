# The truth, from the server's WAL and from nothing of ours but the snapshots
# of the batches: a logical decoding slot (test_decoding) tells every committed
# transaction in the order of its commit record. The state at batch k is what
# the transactions visible in its snapshot S(k) made.
#
# Two transactions may become visible in another order than their commit
# records have, but never two that wrote the same row: the second waited for
# the first to be visible. So applying, per batch, the newly visible ones in
# commit order is right.
#
# Canonical texts and digests are made here from docs/protocol.md alone.
package Consistency::Oracle;
use strict;
use warnings;
use integer;
use Digest::SHA qw(sha256);

my $VALUE = q{(null|unchanged-toast-datum|'(?:[^']++|'')*+'|[^ ]++)};

my $FETCH = 4000;

sub new {
	my ($class, $tables) = @_;
	my $self = bless {tables => {}, pending => [], expected => {}, order => [], transactions => 0,
		changes => 0}, $class;
	$self->add_table($_) for values %$tables;
	return $self;
}

# Before the workload, while the tables are empty.
sub create_slot {
	my ($dbh) = @_;
	$dbh->do("SELECT pg_create_logical_replication_slot('oracle', 'test_decoding')");
	return;
}

sub add_table {
	my ($self, $table) = @_;
	my @columns = @{$table->{columns}};
	my $tuple = join ' ', map { quotemeta("$_->{quoted}\[$_->{type}]:") . $VALUE } @columns;
	my $key = quotemeta("$table->{key}{quoted}\[$table->{key}{type}]:") . $VALUE;
	my @digested = sort { $columns[$a]{name} cmp $columns[$b]{name} }
		grep { !$columns[$_]{excluded} } 0 .. $#columns;
	my ($key_at) = grep { $columns[$_]{key} } 0 .. $#columns;
	$self->{tables}{$table->{name}} = {
		name => $table->{name}, rows => {}, sum => 0, key_at => $key_at, digested => \@digested,
		canon => [map { canon_of($_->{type}) } @columns],
		tuple => qr/\G$tuple\z/, old_key => qr/\Gold-key: $key new-tuple: /, key => qr/\G$key\z/,
	};
	return;
}

# ---- canonical text, from test_decoding's text under pinned settings --------------

sub unquoted {
	my ($text) = @_;
	return $text if substr($text, 0, 1) ne "'";
	$text = substr($text, 1, -1);
	$text =~ s/''/'/g if index($text, "'") >= 0;
	return $text;
}

sub canon_timestamp {
	my $text = unquoted($_[0]);
	return $text if $text !~ /^(\d+-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d+))?( BC)?\z/;
	my $fraction = substr(($3 // '') . '000000', 0, 6);
	$fraction = substr($fraction, 0, 3) if substr($fraction, 3) eq '000';
	return "$1T$2.$fraction" . ($4 // '');
}

sub canon_of {
	my ($type) = @_;
	die "the oracle does not know type $type\n"
		if $type !~ /^(?:text|boolean|integer|bigint|smallint|numeric|json|date|timestamp without time zone)\z/;
	return $type =~ /^timestamp/ ? \&canon_timestamp : \&unquoted;
}

# ---- rows and digests ----------------------------------------------------------------

# A row is [hash, piece of each column as it goes into the hash].
sub put {
	my ($self, $table, $key, $row) = @_;
	my $old = $table->{rows}{$key};
	$table->{sum} -= $old->[0] if $old;
	$row->[0] = unpack('q>', sha256(join '', @$row[map { $_ + 1 } @{$table->{digested}}]));
	$table->{sum} += $row->[0];
	$table->{rows}{$key} = $row;
	return;
}

sub take {
	my ($self, $table, $key) = @_;
	my $old = delete $table->{rows}{$key} // die "the WAL removes $table->{name} $key, which is not there\n";
	$table->{sum} -= $old->[0];
	return $old;
}

sub row_of {
	my ($table, $old, $values) = @_;
	my $canon = $table->{canon};
	my @row = (0);
	for my $i (0 .. $#$values) {
		my $text = $values->[$i];
		if ($text eq 'null') {
			push @row, 'N';
		} elsif ($text eq 'unchanged-toast-datum') {
			push @row, $old->[$i + 1];
		} else {
			$text = $canon->[$i]->($text);
			push @row, 'V' . length($text) . ":$text";
		}
	}
	return \@row;
}

# One line of test_decoding about a table of ours.
sub apply {
	my ($self, $line) = @_;
	if ($line =~ /^table (.*): TRUNCATE: /) {
		for my $name (split /, /, $1) {
			my $table = $self->{tables}{$name =~ s/^public\.//r} or next;
			@$table{qw(rows sum)} = ({}, 0);
		}
		return;
	}
	$line =~ /^table public\.(\w+): (INSERT|UPDATE|DELETE): /g or die "not understood: $line\n";
	my $table = $self->{tables}{$1} or return;
	my ($name, $what, $old) = ($1, $2);
	$self->{changes}++;
	if ($what eq 'DELETE') {
		my ($key) = $line =~ /$table->{key}/g or die "not understood: $line\n";
		$self->take($table, unquoted($key));
		return;
	}
	my $from = $line =~ /$table->{old_key}/gc ? unquoted($1) : undef;
	my @values = $line =~ /$table->{tuple}/g or die "not understood: $line\n";
	my $key = unquoted($values[$table->{key_at}]);
	if ($what eq 'UPDATE') {
		$old = $table->{rows}{$from // $key} // die "the WAL updates $name $key, which is not there\n";
		$self->take($table, $from) if defined $from;
	}
	$self->put($table, $key, row_of($table, $old, \@values));
	return;
}

sub state_text {
	my ($self) = @_;
	return join ' ', map {
		my $t = $self->{tables}{$_};
		sprintf '%s=%d:%016x', $_, scalar(keys %{$t->{rows}}), $t->{sum}
	} sort keys %{$self->{tables}};
}

# ---- transactions and batches ------------------------------------------------------------

# A test of a transaction id against a pg_snapshot's text.
sub visibility {
	my ($snapshot) = @_;
	my ($xmin, $xmax, $list) = $snapshot =~ /^(\d+):(\d+):([\d,]*)\z/ or die "snapshot $snapshot\n";
	my %running = map { $_ => 1 } split /,/, $list;
	return sub { $_[0] < $xmin || ($_[0] < $xmax && !$running{$_[0]}) };
}

# The batch's own commit record lies behind those of all it can see.
sub cut {
	my ($self, $batch) = @_;
	my $visible = visibility($batch->{snapshot});
	my @later;
	for my $transaction (@{$self->{pending}}) {
		if (!$visible->($transaction->[0])) {
			push @later, $transaction;
			next;
		}
		$self->apply($_) for @{$transaction->[1]};
	}
	$self->{pending} = \@later;
	my $cursor = "$batch->{id}-$batch->{nonce}";
	$self->{expected}{$cursor} = $self->state_text;
	push @{$self->{order}}, $cursor;
	return;
}

sub read_line {
	my ($self, $line) = @_;
	if ($line =~ /^table public\./ || $line =~ /: TRUNCATE: /) {
		push @{$self->{lines}}, $line;
	} elsif ($line =~ /^BEGIN (\d+)/) {
		@$self{qw(lines batch)} = ([], undef);
	} elsif ($line =~ /^table clinic_sync\.batch\w*: INSERT: /) {
		my %field = $line =~ / (id|snapshot|nonce)\[\w+\]:'?([^' ]+)/g;
		$self->{batch} = \%field if keys %field == 3;
	} elsif ($line =~ /^COMMIT (\d+)/) {
		if (@{$self->{lines}}) {
			$self->{transactions}++;
			push @{$self->{pending}}, [$1, $self->{lines}];
		}
		$self->cut($self->{batch}) if $self->{batch};
	}
	return;
}

# Read the slot to its end. Afterwards expected{cursor} is what a cache with
# that cursor must look like, in the words of cache_sampler.
sub run {
	my ($self, $dbh) = @_;
	$dbh->do("SET DateStyle='ISO'; SET IntervalStyle='postgres'; SET TimeZone='UTC';"
		. "SET extra_float_digits=1; SET bytea_output='hex'; SET work_mem='64MB'");
	$dbh->do('BEGIN');
	$dbh->do(q(DECLARE wal NO SCROLL CURSOR FOR SELECT data
		FROM pg_logical_slot_get_changes('oracle', NULL, NULL, 'skip-empty-xacts', '1')
		WHERE data NOT LIKE 'table clinic_sync.%' OR data LIKE 'table clinic_sync.batch%'));
	my $fetch = $dbh->prepare("FETCH $FETCH FROM wal");
	while (1) {
		$fetch->execute;
		my $lines = $fetch->fetchall_arrayref([0]) // [];
		last if !@$lines;
		$self->read_line($_->[0]) for @$lines;
	}
	$dbh->do('COMMIT');
	return $self;
}

# What the tables hold in the end, also after the last batch.
sub last_state {
	my ($self) = @_;
	for my $transaction (@{$self->{pending}}) {
		$self->apply($_) for @{$transaction->[1]};
	}
	$self->{pending} = [];
	return $self->state_text;
}

1;
