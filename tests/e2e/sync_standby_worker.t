#!/usr/bin/perl
#
# The background worker cuts and vouches for what it cut, so the relay only
# reads. With synchronous replication and no standby there, nothing of that may
# reach a device: not while the worker waits, not when its wait is cancelled or
# the worker terminated, and not when a crash of the server makes a batch
# visible that nobody waited for. The relay looks by itself only once a minute,
# so whatever comes sooner came by the worker's bell.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for);
use ClinicTest::Rows qw(parents_sql insert_sql);

my $clinic = ClinicTest->new(patients => 5, conf => "shared_preload_libraries = 'clinic_sync'\n");
$clinic->dbh->do(parents_sql());
my $relay = $clinic->relay(option => {poll_interval_ms => 60_000, ready_timeout_s => 300})->wait_ready;
my $device = $clinic->device('a');
wait_for('first sync', sub { $device->value('SELECT count(*) FROM payments') });

sub value {
	my ($sql, @values) = @_;
	my ($value) = $clinic->dbh->selectrow_array($sql, undef, @values);
	return $value;
}

sub metric {
	my ($name) = @_;
	my ($value) = $relay->get('/metrics')->{content} =~ /^clinic_relay_$name (\d+)$/m;
	return $value;
}

sub standby {
	my ($name) = @_;
	$clinic->dbh->do("ALTER SYSTEM SET synchronous_standby_names = '$name'");
	$clinic->dbh->do('SELECT pg_reload_conf()');
	wait_for('the setting', sub {
		my ($now) = $clinic->cluster->connect->selectrow_array('SHOW synchronous_standby_names');
		return $now eq $name;
	});
	return;
}

# Nobody waits for this commit itself.
sub pay {
	my ($number) = @_;
	my $own = $clinic->cluster->connect;
	$own->do('SET synchronous_commit = local');
	$own->do(insert_sql('payments', $number));
	return;
}

sub held {
	my ($number) = @_;
	return $device->value('SELECT count(*) FROM payments WHERE id = ' . (9_000_000 + $number));
}

sub worker_waits {
	return value(q(SELECT w.pid FROM clinic_sync.workers w JOIN pg_stat_activity a USING (pid)
		WHERE w.database = 'clinic' AND a.wait_event = 'SyncRep'));
}

sub last_batch { return value(q(SELECT split_part(clinic_sync.current_cursor(), '-', 1)::bigint)) }

sub relay_waits {
	return value(q(SELECT min(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = 'clinic_relay'));
}

# ---- with nobody to wait for ------------------------------------------------------------

pay($_) for 1 .. 3;
wait_for('the rows', sub { held(3) });
my %before = map { $_ => metric($_) } qw(rounds_total read_rounds_total abandoned_rounds_total unproven_commits_total);
pay(4);
wait_for('one more', sub { held(4) });
is(metric('read_rounds_total') - $before{read_rounds_total}, metric('rounds_total') - $before{rounds_total},
	"the worker's batches are only read");
cmp_ok(metric('read_rounds_total'), '>', $before{read_rounds_total}, 'by its bell');
is(metric('abandoned_rounds_total'), $before{abandoned_rounds_total}, 'and served on its word');

# Somebody else is faster than the worker. Nobody vouches for that batch, but it is told of as well.
my $faster = $clinic->cluster->connect;
$faster->do($_) for 'BEGIN', 'LOCK TABLE clinic_sync.batch_lock IN EXCLUSIVE MODE';
pay(9);
is($faster->selectrow_array('SELECT changes FROM clinic_sync.make_batch()'), 1, 'somebody else cuts the batch');
$faster->do('COMMIT');
wait_for('its row', sub { held(9) });
is(metric('abandoned_rounds_total'), $before{abandoned_rounds_total} + 1, 'it rings as well, and is proven first');

# ---- a wait that is broken off --------------------------------------------------------------

standby('nobody');
pay(5);
my $worker = wait_for('the worker to wait for its standby', \&worker_waits);
$clinic->dbh->do("SELECT pg_cancel_backend($worker)");
is(wait_for('the worker to wait on', \&worker_waits), $worker, 'the worker does not let itself be cancelled');
is(held(5), 0, 'while it waits nothing is served');
$clinic->dbh->do("SELECT pg_terminate_backend($worker)");
wait_for("the relay's proof to wait", sub { relay_waits() || held(5) });
is(held(5), 0, 'the worker was terminated while it waited: its batch is not served');
standby('');
wait_for('the row', sub { held(5) });
pass('served after a clean commit');
pay(6);
wait_for('the next row', sub { held(6) });
my $abandoned = metric('abandoned_rounds_total');
pay(7);
wait_for('one more', sub { held(7) });
is(metric('abandoned_rounds_total'), $abandoned, "the new worker's word counts again");

# ---- a crash ---------------------------------------------------------------------------------

standby('nobody');
pay(8);
wait_for('the worker to wait for its standby', \&worker_waits);
my $batch = last_batch();
kill('KILL', $clinic->cluster->connect->{pg_pid});
wait_for('the batch to be seen after the crash', sub { (eval { last_batch() } // 0) > $batch });
wait_for("the relay's proof to wait", sub { relay_waits() || held(8) });
is(held(8), 0, 'a batch that the crash made visible is not served');
standby('');
wait_for('the row', sub { held(8) });
pass('served after a clean commit');
done_testing();
