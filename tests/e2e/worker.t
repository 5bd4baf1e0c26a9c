#!/usr/bin/perl
#
# The background worker at work: with a poll of a minute, whatever arrives
# sooner was rung for. A commit that comes alone, COMMIT PREPARED, transactions
# that take things back; switching the mode while everything runs; and a server
# that has not preloaded the module.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(usleep);
use ClinicTest qw(now wait_for slurp);
use ClinicTest::Rows qw(parents_sql insert_sql);
use ClinicTest::Worker qw(worker wait_worker listen bells set_conf waiting_for_standby);

my $clinic = ClinicTest->new(preload => 1, patients => 5);
my $dbh = $clinic->dbh;
$dbh->do(parents_sql());
wait_worker($dbh);
is($dbh->selectrow_array('SELECT notify FROM clinic_sync.status'), 'worker', 'preloaded: the mode is worker');
my $relay = $clinic->relay(option => {poll_interval_ms => 60_000})->wait_ready;
my $device = $clinic->device('a');
wait_for('first sync', sub { $device->value('SELECT count(*) FROM payments') });
my $ear = listen($clinic->cluster);
my $number = 0;

sub pay { my ($with) = @_; $with->do(insert_sql('payments', ++$number)); return }

sub arrives {
	my ($name) = @_;
	my $ok = eval { wait_for('the row', sub {
		$device->value("SELECT count(*) FROM payments WHERE \"referenceNumber\" = 'PAY-$number'")
	}, 5); 1 };
	return ok($ok, $name);
}

# The bells since the last call, without what the worker says of the same batch twice.
sub payments_told { return map { $_->{tables}{payments}{insert} } grep { ref $_->{tables} } bells($ear) }

my $before = worker($dbh)->{cuts};
for my $time (1 .. 5) {
	pay($dbh);
	arrives("a commit that comes alone arrives with no poll ($time)") or last;
}
cmp_ok(worker($dbh)->{cuts}, '>=', $before + 5, 'in batches of the worker');
my @bells = bells($ear);
is(scalar(grep { $_->{batch} } @bells), scalar @bells, 'each bell names its batch');
is_deeply([map { $_->{event} } @bells], [('billing_change_immediate') x 5], 'and its event');
is_deeply([map { $_->{tables} } @bells], [({payments => {insert => 1}}) x 5], 'and counts');

# what a savepoint or a transaction took back does not ring
$dbh->do('BEGIN; SAVEPOINT s; ' . insert_sql('payments', 900) . '; ROLLBACK TO s; COMMIT');
$dbh->do('BEGIN; ' . insert_sql('payments', 900) . '; ROLLBACK');
$dbh->do('BEGIN; SAVEPOINT s; SAVEPOINT t; ' . insert_sql('payments', ++$number)
	. '; RELEASE t; RELEASE s; SAVEPOINT u; ' . insert_sql('payments', 900) . '; ROLLBACK TO u; COMMIT');
arrives('a change of a released savepoint');
is_deeply([payments_told()], [1], 'rings once, and nothing that was taken back does');

# COMMIT PREPARED has no backend of its own
$dbh->do('BEGIN');
pay($dbh);
$dbh->do("PREPARE TRANSACTION 'p'");
is_deeply([bells($ear)], [], 'PREPARE TRANSACTION rings nobody');
$dbh->do("COMMIT PREPARED 'p'");
arrives('COMMIT PREPARED rings');
bells($ear);

# Several writers at once are told of in batches, and everything arrives.
my $cuts = worker($dbh)->{cuts};
my @writers = map {
	my $writer = $_;
	ClinicTest::Process->start("writer $writer", log => "$clinic->{dir}/writer$writer.log", code => sub {
		my $own = $clinic->cluster->connect;
		$own->do(insert_sql('payments', 1000 * $writer + $_)) for 1 .. 200;
	});
} 1 .. 4;
$_->wait_exit for @writers;
$clinic->caches_equal('800 commits of four writers');
cmp_ok(worker($dbh)->{cuts} - $cuts, '<', 800, 'in fewer batches than commits: ' . (worker($dbh)->{cuts} - $cuts));
bells($ear);

# A commit at any moment of a cut is in that batch or rings for the next one.
sub logged { return $dbh->selectrow_array('SELECT sum(changes)::bigint FROM clinic_sync.batch') }
my $expected = logged();
my $missed = 0;
for my $round (1 .. 100) {
	$dbh->do(insert_sql('payments', 10_000 + $round));
	usleep(rand 3000);
	$dbh->do(insert_sql('payments', 20_000 + $round));
	$expected += 2;
	$missed++ if !eval { wait_for('both', sub { logged() == $expected }, 3); 1 };
	last if $missed;
}
is($missed, 0, 'of two commits shortly after each other none is missed');

# The same with the cut held up where it hurts: its snapshot taken, its commit waiting for a standby.
$expected = logged() + 2;
my $local = $clinic->cluster->connect;
$local->do('SET synchronous_commit = local');
set_conf($clinic, 'synchronous_standby_names', 'nobody');
$local->do(insert_sql('payments', 30_001));
wait_for('the worker to wait', sub { waiting_for_standby($dbh, 'clinic_sync worker') });
$local->do(insert_sql('payments', 30_002));
set_conf($clinic, 'synchronous_standby_names', undef);
ok(eval { wait_for('both', sub { logged() == $expected }, 3); 1 }, 'a commit in the middle of a cut is in the next one');

# ---- switching -------------------------------------------------------------------

# A session follows with its next statement; nothing is published anew.
my $session = $clinic->cluster->connect;
for my $mode ('commit', 'off', 'worker', 'off', 'commit', undef) {
	my $name = $mode // 'the default';
	set_conf($clinic, 'clinic_sync.notify', $mode);
	wait_for("$name in the session", sub {
		$session->selectrow_array('SHOW clinic_sync.notify') eq ($mode // 'worker')
	});
	is($session->selectrow_array('SELECT notify FROM clinic_sync.status'), $mode // 'worker', "notify = $name");
	bells($ear);
	pay($session);
	if (($mode // '') eq 'off') {
		is_deeply([bells($ear)], [], 'off: nobody is told');
		next;
	}
	arrives("$name: it arrives");
	my @told = grep { ($_->{tables}{payments}{insert} // 0) > 0 } bells($ear);
	is(scalar(grep { !exists $_->{batch} } @told), ($mode // '') eq 'commit' ? 1 : 0,
		"$name: " . (($mode // '') eq 'commit' ? 'told by the transaction' : 'told by the worker'));
}

# In the middle of a transaction: the mode at its end decides.
bells($ear);
$session->do("BEGIN; SET LOCAL clinic_sync.notify = off");
pay($session);
$session->do('SET LOCAL clinic_sync.notify = worker; COMMIT');
arrives('off, then worker');
$session->do('BEGIN');
pay($session);
$session->do('SET LOCAL clinic_sync.notify = commit; COMMIT');
arrives('worker, then commit');
$session->do('BEGIN; SET LOCAL clinic_sync.notify = commit');
pay($session);
$session->do('SET LOCAL clinic_sync.notify = worker; COMMIT');
arrives('commit, then worker');
bells($ear);
$clinic->caches_equal('all rows in the end');
is(worker($dbh)->{errors}, 0, 'the worker met no error');
$relay->stop;

# Somebody keeps the batcher's lock: the worker waits a second, says so, and tries again.
my $pid = wait_worker($dbh);
my $holder = $clinic->cluster->connect;
$holder->do('BEGIN; LOCK TABLE clinic_sync.batch_lock IN EXCLUSIVE MODE');
$expected = logged() + 1;
pay($dbh);
wait_for('the worker to fail', sub { worker($dbh)->{state} eq 'failing' });
like(worker($dbh)->{last_error}, qr/lock timeout/, 'a lock that is not free is an error it shows');
like($dbh->selectrow_array(q(SELECT array_to_string(problems, ' ') FROM clinic_sync.status)),
	qr/the background worker is failing: .*lock timeout/, 'and status, too');
$holder->do('ROLLBACK');
wait_for('it to try again', sub { logged() == $expected });
wait_for('it to be well', sub { worker($dbh)->{state} eq 'running' });
is(wait_worker($dbh), $pid, 'it goes on by itself, the same process');

# ---- without preload -------------------------------------------------------------

my $plain = ClinicTest->new(patients => 5, conf => "clinic_sync.notify = worker\nclinic_sync.worker_max = 4\n");
my $said = $plain->cluster->psql('-c', parents_sql() . ';' . insert_sql('payments', 1), '-c',
	insert_sql('payments', 2));
is(scalar(() = $said =~ /WARNING: /g), 1, 'without preload: one warning for a session');
like($said, qr/clinic_sync\.notify = worker needs clinic_sync to be preloaded/, 'that says why');
is($plain->dbh->selectrow_array('SELECT notify FROM clinic_sync.status'), 'commit', 'it acts as commit');
my $plain_ear = listen($plain->cluster);
$plain->dbh->do(insert_sql('payments', 3));
is_deeply([bells($plain_ear)], [{event => 'billing_change_immediate', tables => {payments => {insert => 1}}}],
	'by which transactions notify');
is($plain->dbh->selectrow_array('SELECT count(*) FROM clinic_sync.workers'), 0, 'there are no workers');
done_testing();
