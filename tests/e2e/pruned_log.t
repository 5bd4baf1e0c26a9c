#!/usr/bin/perl
#
# The log was pruned past a device's cursor while it was away: it is told
# `too_old`, keeps its old data readable, takes a snapshot, is equal. Pruning
# while devices read from the log never gives them a part of a batch.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(now wait_for slurp);
use ClinicTest::Crash qw(write_numbers);

my $clinic = ClinicTest->new(patients => 5, conf => "clinic_sync.log_segment_bytes = 64kB\n");
my $relay = $clinic->relay;
my $device = $clinic->device('a');
$clinic->caches_equal('first sync');
$device->stop;
my $cursor = $device->cursor;
my $dbh = $clinic->dbh;

sub snapshots { return scalar grep { $_->{type} eq 'full_sync_completed' } $device->events }

# Prune as hard as it goes until the cursor has fallen out of the log.
my $answer = wait_for('the log to be pruned past the cursor', sub {
	write_numbers($dbh, 'filler', 300);
	$clinic->cut_batch;
	eval { $dbh->do("SELECT * FROM clinic_sync.prune('0 seconds', 1)") };
	my ($said) = $dbh->selectrow_array('SELECT clinic_sync.check_cursor(?)', undef, $cursor);
	return $said ne 'ok' ? $said : undef;
}, 60);
is($answer, 'too_old', 'the cursor is refused as too old');
# The relay's memory would still serve it.
$relay->kill9;
$relay->start;
my $rows = $device->value('SELECT count(*) FROM patients');
is($rows, 5, 'the old data is readable meanwhile');
$device->start;
$clinic->caches_equal('the device takes a snapshot and is equal');
# told after the commit that made the cache equal
wait_for('the device to say so', sub { snapshots() > 1 });
is(snapshots(), 2, 'one more snapshot');
like(slurp($device->{process}{log}), qr/too_old/, 'the reason is in the log');

# Devices come and go while segments are dropped under them.
my $until = now() + 10;
my $visits = 0;
while (now() < $until) {
	$device->kill9;
	write_numbers($dbh, 'more', 40);
	$device->start;
	eval { $dbh->do("SELECT * FROM clinic_sync.prune('0 seconds', 1)") };
	$device->wait_batch($clinic->cut_batch);
	$visits++;
}
$clinic->caches_equal("equal after $visits visits during pruning");

# The log is pruned past the relay's own cursor while nothing is written any more.
# A device that asks before the relay has found its new cursor must be answered too.
$device->stop;
my $log = $relay->process->output;
my $lost = () = $log =~ /does not know the relay's cursor/g;
my $locker = $clinic->cluster->connect;
wait_for('the relay\'s cursor to fall out of the log', sub {
	# Unheard, into a segment that no batch covers: dropping it is forced.
	$dbh->do(q(SET clinic_sync.notify = off));
	$dbh->do(q(INSERT INTO user_activity_log ("userId", "actionDescription", "timestamp")
		SELECT 'last', repeat('x', 100), '2026-11-23' FROM generate_series(1, 1000)));
	eval { $dbh->do("SELECT * FROM clinic_sync.prune('0 seconds', 1)") } for 1 .. 3;
	$clinic->cut_batch;
	$locker->do('BEGIN');
	$locker->do('LOCK TABLE clinic_sync.batch_lock IN EXCLUSIVE MODE');
	my $told = eval { wait_for('the relay to notice', sub {
		$lost < (() = $relay->process->output =~ /does not know the relay's cursor/g)
	}, 3) };
	return 1 if $told;	# and it waits for the lock now
	$locker->do('ROLLBACK');
	return;
}, 60);
$device->start;
wait_for('the device to ask, and to hear that nobody knows now', sub {
	$device->{process}->output =~ / connected\n[^\n]*the relay says database_unavailable/ });
$locker->do('ROLLBACK');
my $level = eval { $device->wait_batch($clinic->cut_batch, 15); 1 };
ok($level, 'a device that asks while the relay has no cursor is answered') or diag($@);
done_testing();
