#!/usr/bin/perl
#
# Does a lone change cost more when the log is large? With 10,000, 1,000,000
# and 20,000,000 rows in the log, and once more with a transaction that has
# written a published row and stays open for the whole run:
#
#	batch and feed   make_batch() and feed() for one change, CPU time of the
#	                 backend that calls them
#	commit to frame  from the moment COMMIT returns to the frame at a device of
#	                 a relay in worker mode
#
# Goal: flat, that is within a quarter of the cost with the fewest rows.
#
# One database per size, all in one server, so that a round asks each of them
# seconds apart. The log is filled by what a log is filled by: statements that
# insert 500,000 rows into a published table, TRUNCATE, and a batch for each, so
# that readers find nothing they would not find elsewhere. log_max_bytes is
# raised for that; a relay is there only afterwards, or it would send all of it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use List::Util qw(min);
use Time::HiRes qw(usleep);
use Bench qw(emit median note paired pick ratio_to slurp spread);
use ClinicTest qw(now wait_for);
use ClinicTest::Raw;

my @LEVELS = pick([10_000, 1_000_000, 20_000_000], [10_000, 200_000, 2_000_000], [50, 1_000])->@*;
my $AT_ONCE = pick(500_000, 500_000, 500);
my ($ROUNDS, $CHANGES) = @{pick([7, 60], [5, 30], [1, 3])};
my $FLAT = 1.25;

my $clinic = Bench::clinic(mode => 'worker', schema => 0, publish => 0, conf => <<'END');
clinic_sync.log_max_bytes = 64GB
clinic_sync.log_hard_bytes = 128GB
END

sub cut {
	my ($dbh) = @_;
	wait_for('the lock of the batcher', sub { eval { $dbh->do('SELECT clinic_sync.make_batch()'); 1 }
		|| ($@ =~ /lock/ ? 0 : die $@) });
	return $dbh->selectrow_array('SELECT clinic_sync.current_cursor()');
}

# A database with a table to fill the log with and one for the lone changes.
sub begin {
	my ($rows, $open) = @_;
	my $name = "growth_$rows";
	my $postgres = $clinic->cluster->connect(dbname => 'postgres');
	$postgres->do("CREATE DATABASE $name ENCODING 'UTF8' TEMPLATE template0");
	$postgres->disconnect;
	my %log = (rows => $rows, name => $name, map { ($_ => $clinic->cluster->connect(dbname => $name)) }
		qw(own writer reader open));
	my $dbh = $log{own};
	$dbh->do('CREATE EXTENSION clinic_sync');
	$dbh->do(q(SELECT clinic_sync.grant_relay('clinic_relay')));
	$dbh->do('CREATE TABLE filler (id int PRIMARY KEY, n int NOT NULL)');
	$dbh->do('CREATE TABLE lone (id int PRIMARY KEY, n int NOT NULL, note text)');
	$dbh->do(q(INSERT INTO lone SELECT i, 0, 'Reyes, Maria' FROM generate_series(1, 1000) i));
	$dbh->do("SELECT clinic_sync.publish('$_')") for qw(filler lone);
	# this session's changes wait until it cuts their batch itself
	$dbh->do(q(SET clinic_sync.notify = 'off'));
	cut($dbh);
	if ($open) {
		$log{open}->begin_work;
		$log{open}->do('UPDATE lone SET n = -1 WHERE id = 1');
	}
	return \%log;
}

sub fill {
	my ($log) = @_;
	my $dbh = $log->{own};
	for (my $left = $log->{rows}; $left > 0; $left -= $AT_ONCE) {
		my $rows = min($left, $AT_ONCE);
		$dbh->do("INSERT INTO filler SELECT i, i FROM generate_series(1, $rows) i");
		cut($dbh);
		$dbh->do('TRUNCATE filler');
		cut($dbh);
	}
	($log->{segments}) = $dbh->selectrow_array('SELECT count(*) FROM clinic_sync.segment');
	note("$log->{name}: $log->{rows} rows in $log->{segments} segments");
	return;
}

# Some row that the open transaction has not locked.
sub change_sql {
	my ($n) = @_;
	return 'UPDATE lone SET n = n + 1 WHERE id = ' . ($n % 999 + 2);
}

# Nanoseconds that a process has run so far.
sub cpu_ns { my ($pid) = @_; return (split / /, slurp("/proc/$pid/schedstat"))[0] }

# Median CPU milliseconds of cutting and reading one change.
sub batch_and_feed {
	my ($log) = @_;
	my ($dbh, $reader) = @$log{qw(own reader)};
	my $cursor = cut($dbh);
	my @cpu;
	for my $n (1 .. $CHANGES) {
		$dbh->do(change_sql($n));
		my $before = cpu_ns($reader->{pg_pid});
		$reader->do('SELECT clinic_sync.make_batch()');
		my $rows = $reader->selectall_arrayref('SELECT * FROM clinic_sync.feed(?, 10000)', undef, $cursor);
		push @cpu, (cpu_ns($reader->{pg_pid}) - $before) / 1e6;
		die 'a change and a closing row were expected, not ', map({ join(' ', map { $_ // '-' } @$_) . "\n" } @$rows), "\n"
			if @$rows != 2;
		# the worker may have been first, at its regular look: then ours was empty
		$cursor = $rows->[-1][1];
	}
	return median(@cpu);
}

# A device that is level, on a relay of its own.
sub connect_device {
	my ($log) = @_;
	my $relay = $clinic->relay(name => $log->{name},
		dsn => $clinic->cluster->dsn(user => 'clinic_relay', dbname => $log->{name}));
	$relay->wait_ready;
	my $device = $log->{device} = ClinicTest::Raw->open(port => $relay->{port});
	$device->client_info('growth');
	$device->request_sync(cut($log->{own}), undef);
	$device->wait_message('ready', 60) or die "the device is not ready\n";
	$device->wait_message('heartbeat', 60) or die "the device does not get level\n";
	$log->{relay} = $relay;
	return;
}

# Median milliseconds from commit to frame. Changes come one by one, further
# apart than batch_interval: in a flood the worker waits for company.
sub commit_to_frame {
	my ($log) = @_;
	my @took;
	for my $n (1 .. $CHANGES) {
		usleep(10_000);
		$log->{writer}->do(change_sql($n));
		my $committed = now();
		my $frame = $log->{device}->wait_message('database_change', 30) or die "a change did not arrive\n";
		push @took, 1000 * (now() - $committed);
		die "one change was expected\n" if @{$frame->{changes}} != 1;
	}
	return median(@took);
}

# What a change costs in each log, and how that compares with the smallest.
sub report {
	my ($mode, $part, $code, @logs) = @_;
	$code->($_) for @logs;	# plans and caches of the connections
	my $got = paired($ROUNDS, map { my $log = $_; [$log->{rows} => sub { $code->($log) }] } @logs);
	for my $log (@logs) {
		my %line = (figure => 'log_growth', mode => $mode, part => $part, rows => $log->{rows},
			segments => $log->{segments}, better => 'lower');
		emit(%line, unit => 'ms', spread(@{$got->{$log->{rows}}}));
		emit(%line, part => "$part, growth", unit => 'ratio', goal => $FLAT,
			ratio_to($got, $log->{rows}, $logs[0]{rows})) if $log != $logs[0];
	}
	return;
}

sub finish {
	my (@logs) = @_;
	for my $log (@logs) {
		$log->{device}->close;
		$log->{relay}->stop;
		$log->{$_}->disconnect for qw(own writer reader open);
		$clinic->cluster->connect(dbname => 'postgres')->do("DROP DATABASE $log->{name} WITH (FORCE)");
	}
	return;
}

for my $open (0, 1) {
	my $mode = $open ? 'one open transaction' : 'no open transaction';
	# all open before the first is filled
	my @logs = map { begin($_, $open) } @LEVELS;
	fill($_) for @logs;
	$logs[0]{own}->do('CHECKPOINT');
	report($mode, 'batch and feed', \&batch_and_feed, @logs);
	connect_device($_) for @logs;
	report($mode, 'commit to frame', \&commit_to_frame, @logs);
	finish(@logs);
}
