#!/usr/bin/perl
#
# What does an app pay for a cache in its own file? A program writes one row a
# transaction into a table of its own, 50 a second, on a connection with a
# busy_timeout: from the moment a row is due until its COMMIT has returned. In
# turn:
#
#	alone      nobody else has the file open
#	live       a cache keeps the same file, 20 changes a second
#	backlog    a cache that was away applies 100,000 changes as fast as it can
#
# each in a file that the app keeps with a rollback journal and in one with WAL.
# A cache leaves a journal as it is while somebody else has the file open; what
# it was in the end stands in the key journal of the lines. No write may be
# refused, and the cache must be the server's in the end.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use DBI;
use File::Copy qw(copy);
use JSON::PP qw(decode_json);
use List::Util qw(max);
use Bench qw(emit median note paired pick spread);
use BenchLive::Program;
use ClinicTest qw(wait_for);

my $CHANGES = pick(100_000, 100_000, 400);
my $PER_TRANSACTION = 100;
my $RATE = 20;		# changes of the server a second
my $APP_RATE = 50;	# rows of the app a second
my $SECONDS = pick(10, 5, 0.5);
my $LOCK_GOAL_MS = 50;	# a write lock for frames lasts no longer

my $clinic = Bench::clinic(patients => pick(5000, 5000, 20));
my $dbh = $clinic->dbh;
$dbh->do('CREATE TABLE live (id bigint PRIMARY KEY, mark text NOT NULL)');
$dbh->do("SELECT clinic_sync.publish('live')");
$clinic->relay(option => {sync_interval_s => 0})->wait_ready;

# ---- files of the app, level at a cursor before the backlog ---------------------------

sub path { my ($name) = @_; return "$clinic->{dir}/$name.db" }

sub status {
	my ($device) = @_;
	my ($code, $said) = $device->command('status', '--json');
	return $code == 0 ? decode_json($said) : die "status:\n$said";
}

sub make_file {
	my ($name, $journal) = @_;
	my $db = DBI->connect('dbi:SQLite:dbname=' . path($name), '', '', {RaiseError => 1, PrintError => 0});
	$db->do("PRAGMA journal_mode = $journal");
	$db->do('CREATE TABLE app_notes (id INTEGER PRIMARY KEY, note TEXT NOT NULL)');
	$db->disconnect;
	my $device = $clinic->device($name, no_events => 1, words => ['--once', '--timeout', '120']);
	my $code = $device->process->wait_exit(120);
	die "the device ended with $code:\n" . $device->process->output if $code;
	return;
}

my %base = (delete => 'app_delete', wal => 'app_wal');
make_file($base{$_}, $_) for sort keys %base;

my ($bill) = $dbh->selectrow_array('SELECT min(id) FROM patient_bills');
for my $transaction (1 .. $CHANGES / $PER_TRANSACTION) {
	my $half = $PER_TRANSACTION / 2;
	$dbh->begin_work;
	$dbh->do(qq(INSERT INTO bill_items ("billId", description, quantity, "unitPrice", "itemTotal")
		SELECT ?, 'Complete blood count', 1, 250.00, 250.00 FROM generate_series(1, $half)), undef, $bill);
	$dbh->do(q(UPDATE patients SET address = ? WHERE id IN (SELECT id FROM patients ORDER BY id OFFSET ? LIMIT ?)),
		undef, "Street $transaction", ($transaction * $half) % 4000, $half);
	$dbh->commit;
}
my $missed = $clinic->cut_batch;
note("$CHANGES changes, up to batch $missed");

my $writer = BenchLive::Program->start('commit_load', '--dsn', $clinic->cluster->dsn, '--table', 'live',
	'--connections', 1);
$writer->hear('connected');
my $written = 0;

# ---- what a round does ------------------------------------------------------------------

my $copies = 0;
sub copy_of {
	my ($journal) = @_;
	my $name = 'copy' . ++$copies;
	copy(path($base{$journal}), path($name)) or die "$name: $!\n";
	return $name;
}

sub start_app {
	my ($name) = @_;
	my $app = BenchLive::Program->start('app_writer', '--db', path($name), '--table', 'app_notes');
	$app->hear('connected');
	return $app;
}

sub forget { my ($name) = @_; unlink glob path($name) . '*'; return }

# The app's times; the writes go on until the condition holds.
sub app_writes {
	my ($app, $seconds, $condition) = @_;
	my $got;
	do {
		$got = $app->ask('run ' . max(1, int($APP_RATE * $seconds)) . " $APP_RATE", 'done');
	} until !$condition || $condition->();
	return $got->{write};
}

sub alone {
	my ($journal) = @_;
	my $name = copy_of($journal);
	my $app = start_app($name);
	my $times = app_writes($app, $SECONDS);
	$app->end;
	forget($name);
	return $times;
}

# The cache must be the server's, and its journal is told with the times.
sub ended {
	my ($device, $app, $times) = @_;
	$app->end;
	$clinic->wait_level($device);
	my $cache = $clinic->cache_digests($device);
	for my $table (qw(bill_items patients live)) {
		$cache->{$table} eq $clinic->server_digest($table) or die "$device->{name}: $table differs from the server's\n";
	}
	my $status = status($device);
	$device->stop;
	note(sprintf('journal %s (%s), longest lock %d ms, app p99 %.1f ms, at most %.1f ms', $status->{journal_mode},
		$status->{journal_reason}, $status->{longest_lock_ms}, $times->{p99_ms}, $times->{max_ms}));
	forget($device->{name});
	return {%$times, journal => $status->{journal_mode}, lock_ms => $status->{longest_lock_ms}};
}

sub live {
	my ($journal) = @_;
	my $device = $clinic->device(copy_of($journal), no_events => 1);
	$clinic->wait_level($device);
	my $app = start_app($device->{name});
	app_writes($app, 0.5);	# until the cache knows that it is not alone
	$app->ask('reset', 'reset');
	my $count = max(1, int($RATE * $SECONDS));
	$writer->say('run ' . ($written + 1) . " $count $RATE 1");
	$written += $count;
	my $times = app_writes($app, $SECONDS);
	$writer->hear('done');
	return ended($device, $app, $times);
}

sub backlog {
	my ($journal) = @_;
	my $name = copy_of($journal);
	my $app = start_app($name);
	my $device = $clinic->device($name, no_events => 1);
	my $times = app_writes($app, 0.2, sub { $device->batch >= $missed });
	return ended($device, $app, $times);
}

# ---- figures ----------------------------------------------------------------------------

for my $journal (sort keys %base) {
	my $got = paired(pick(3, 3, 1), map { my $do = $_->[1]; [$_->[0] => sub { $do->($journal) }] }
		[alone => \&alone], [live => \&live], [backlog => \&backlog]);
	for my $side (qw(live backlog)) {
		my %line = (figure => 'app_lock', mode => $journal eq 'wal' ? 'WAL' : 'rollback journal',
			journal => $got->{$side}[0]{journal},
			$side eq 'live' ? (part => 'live', rate => $RATE) : (part => 'backlog', rows => $CHANGES));
		for my $percentile (50, 99) {
			emit(%line, percentile => $percentile, unit => 'ms',
				spread(map { $_->{"p${percentile}_ms"} } @{$got->{$side}}),
				baseline => median(map { $_->{"p${percentile}_ms"} } @{$got->{alone}}));
		}
		emit(%line, part => "$side, slowest write", unit => 'ms', spread(map { $_->{max_ms} } @{$got->{$side}}),
			baseline => median(map { $_->{max_ms} } @{$got->{alone}}));
		emit(%line, part => "$side, longest lock of the cache", unit => 'ms', goal => $LOCK_GOAL_MS,
			spread(map { $_->{lock_ms} } @{$got->{$side}}));
	}
}
$writer->end;
