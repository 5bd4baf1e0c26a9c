# One writer process: random transactions, each sent as one string, so that a
# transaction costs one round trip. What happened to it does not matter here:
# the oracle reads that from the server's WAL.
package Consistency::Writer;
use strict;
use warnings;
use Time::HiRes qw(usleep);
use ClinicTest::Wait qw(now);
use Consistency::Statements;
use Consistency::Values qw(one_of chance);

# Clients set what they like; capture must not care.
my @HOSTILE = ("DateStyle='German'", "DateStyle='SQL, DMY'", "IntervalStyle='sql_standard'",
	"TimeZone='Asia/Manila'", "extra_float_digits=-15", "bytea_output='escape'",
	"search_path='pg_catalog, public'", "session_replication_role='origin'");

# cluster, tables, number, seed, kind => 'fast' | 'slow', bulk => one in so many
# transactions is a large one (0: none), report => handle that gets a line per
# commit, pause_ms => most time between two transactions: a writer at full speed
# would leave the two cores nothing for what is tested.
sub new {
	my ($class, %option) = @_;
	my $self = bless {kind => 'fast', bulk => 0, prepared => 0, pause_ms => 0, %option}, $class;
	my $range = $self->{kind} eq 'slow' ? [100, 110] : [1, Consistency::Statements::POOL];
	$self->{statements} = Consistency::Statements->new($option{tables}, range => $range);
	return $self;
}

# Until $$stop is true. A crashed server is waited for.
sub run {
	my ($self, $stop) = @_;
	srand($self->{seed});
	while (!$$stop) {
		if (!$self->{dbh}) {
			$self->{dbh} = eval { $self->connect } or usleep(20_000);
			next;
		}
		my $ok = eval { $self->transaction; 1 };
		usleep(rand(1000 * $self->{pause_ms}));
		next if $ok;
		next if eval { $self->{dbh}->do('ROLLBACK'); 1 };
		undef $self->{dbh};
	}
	$self->finish_prepared if $self->{dbh};
	return;
}

sub connect {
	my ($self) = @_;
	my $dbh = $self->{cluster}->connect;
	$dbh->do("SET lock_timeout='3s'; SET application_name='writer $self->{number}'; SET "
		. one_of(@HOSTILE) . ';SET ' . one_of(@HOSTILE));
	$self->{dbh} = $dbh;
	$self->finish_prepared;
	return $dbh;
}

# A crash may have left a prepared transaction behind, with its locks.
sub finish_prepared {
	my ($self) = @_;
	my $left = $self->{dbh}->selectcol_arrayref(
		'SELECT gid FROM pg_prepared_xacts WHERE gid LIKE ?', undef, "writer $self->{number} %");
	for my $gid (@$left) {
		$self->{dbh}->do((chance(0.5) ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$gid'");
	}
	return;
}

sub statement_count {
	return chance(0.72) ? 1 + int rand 2 : chance(0.75) ? 3 + int rand 5 : chance(0.9) ? 8 + int rand 12
		: 20 + int rand 31;
}

# The statements of a transaction, some of them in savepoints.
sub body {
	my ($self) = @_;
	my (@sql, $open);
	for my $i (1 .. statement_count()) {
		if (!$open && chance(0.04)) {
			push @sql, 'SAVEPOINT s';
			$open = 1;
		}
		push @sql, $self->{statements}->statement;
		if ($open && chance(0.5)) {
			push @sql, chance(0.5) ? 'ROLLBACK TO s' : 'RELEASE s';
			$open = 0 if $sql[-1] eq 'RELEASE s';
		}
	}
	return @sql;
}

sub transaction {
	my ($self) = @_;
	return $self->slow if $self->{kind} eq 'slow';
	return $self->bulk if $self->{bulk} && chance(1 / $self->{bulk});
	my $begin = chance(0.04) ? 'BEGIN ISOLATION LEVEL REPEATABLE READ' : 'BEGIN';
	my @sql = ($begin, chance(0.5) ? 'SET LOCAL synchronous_commit=off' : ());
	push @sql, chance(0.003) ? $self->{statements}->truncate : (), $self->body;
	return $self->two_phase(@sql) if chance(0.02);
	return $self->send(@sql, 'ROLLBACK') if chance(0.06);
	$self->send(@sql, 'COMMIT');
	return $self->count;
}

sub send {
	my ($self, @sql) = @_;
	$self->{dbh}->do(join ';', @sql);
	return;
}

sub count {
	my ($self) = @_;
	syswrite($self->{report}, "$self->{number}\n");
	return;
}

sub two_phase {
	my ($self, @sql) = @_;
	my $gid = "writer $self->{number} " . ++$self->{prepared};
	$self->send(@sql, "PREPARE TRANSACTION '$gid'");
	usleep(rand 15_000);	# the life of a prepared transaction is part of the load
	$self->{dbh}->do((chance(0.7) ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$gid'");
	return $self->count;
}

# A transaction that stays open over many batches, on keys nobody else uses.
sub slow {
	my ($self) = @_;
	$self->{dbh}->do('BEGIN');
	for (1 .. 1 + int rand 3) {
		$self->send($self->{statements}->statement);
		usleep(rand 400_000);
	}
	$self->{dbh}->do(chance(0.85) ? 'COMMIT' : 'ROLLBACK');
	return $self->count;
}

# 10,000 rows come, change and go, in one transaction or in several.
sub bulk {
	my ($self) = @_;
	my $s = $self->{statements};
	my $table = $s->any_table;
	my @sql = ('BEGIN', $s->bulk_insert($table));
	push @sql, chance(0.5) ? ('COMMIT', 'BEGIN') : (), $s->bulk_update($table) if chance(0.7);
	push @sql, chance(0.7) ? ('COMMIT', 'BEGIN') : (), $s->bulk_delete($table);
	my $ok = eval { $self->send(@sql, 'COMMIT'); 1 };
	my $error = $@;
	return $self->count if $ok;
	$self->{dbh}->do('ROLLBACK');
	$self->{dbh}->do($s->bulk_delete($table));
	print STDERR "writer $self->{number}: $error" if $error !~ /deadlock|lock timeout|foreign key|null value/;
	return;
}

1;
