#!/usr/bin/perl
#
# Synchronous replication with no standby there: commits wait. A cancelled wait
# makes a transaction visible that no standby has, and a failover would take it
# back. No device may see it, or a batch whose own wait was cancelled, before a
# clean commit has proven it; also if somebody else cut that batch and rings for it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for);
use ClinicTest::Rows qw(parents_sql insert_sql);

my $clinic = ClinicTest->new(patients => 5);
my $dbh = $clinic->dbh;
$dbh->do(parents_sql());
my $relay = $clinic->relay;
my $device = $clinic->device('a');
$clinic->caches_equal('first sync');

sub standby {
	my ($name) = @_;
	$dbh->do("ALTER SYSTEM SET synchronous_standby_names = '$name'");
	$dbh->do('SELECT pg_reload_conf()');
	wait_for('the setting', sub {
		my $other = $clinic->cluster->connect;
		my ($now) = $other->selectrow_array('SHOW synchronous_standby_names');
		return $now eq $name;
	});
	return;
}

sub waiting {
	my ($user) = @_;
	my ($pid) = $dbh->selectrow_array(q(SELECT min(pid) FROM pg_stat_activity
		WHERE wait_event = 'SyncRep' AND usename = ?), undef, $user);
	return $pid;
}

sub held {
	my ($number) = @_;
	return $device->value('SELECT count(*) FROM payments WHERE id = ' . (9_000_000 + ($number // 1)));
}

standby('nobody');
my $writer = ClinicTest::Process->start('writer', log => "$clinic->{dir}/writer.log", code => sub {
	$clinic->cluster->connect->do(insert_sql('payments', 1));
});
my $pid = wait_for('the writer to wait for its standby', sub { waiting('postgres') });
$dbh->do("SELECT pg_cancel_backend($pid)");
is($writer->wait_exit, 0, 'the cancelled wait: the writer believes it has committed');
is($dbh->selectrow_array('SELECT count(*) FROM payments WHERE id = 9000001'), 1, 'and the row is visible on the server');

# The relay's own commits wait as well, and are cancelled again and again.
for my $time (1 .. 3) {
	my $relay_pid = wait_for('the relay to wait for its standby', sub { waiting('clinic_relay') || held() });
	is(held(), 0, "no device has it while the relay's commit waits ($time)") or last;
	$dbh->do("SELECT pg_cancel_backend($relay_pid)");
	wait_for('the cancelled wait to be over', sub { held() || (waiting('clinic_relay') // 0) != $relay_pid
		|| $dbh->selectrow_array("SELECT query_start > now() - interval '1 s'
			FROM pg_stat_activity WHERE pid = $relay_pid") });
}
wait_for('the relay to wait again', sub { waiting('clinic_relay') || held() });
is(held(), 0, 'nor after all waits were cancelled');
standby('');
$clinic->caches_equal('a clean commit proves all: the row arrives');
is(held(), 1, 'in the cache');

# A batch that another batcher cut. Its bell makes the relay read at once; the relay's own
# look, which would prove everything, is a minute away.
$relay->stop;
$relay->{option} = {poll_interval_ms => 60_000};
$relay->start->wait_ready;
$dbh->do('ALTER DATABASE clinic SET clinic_sync.notify = off');

sub cut_and_ring {
	my ($number, %option) = @_;
	my $own = $clinic->cluster->connect;
	$own->do('SET synchronous_commit = local');
	$own->do(insert_sql('payments', $number));
	my $cutter = ClinicTest::Process->start("cutter$number", log => "$clinic->{dir}/cutter.log", code => sub {
		$clinic->cluster->connect->do('SELECT * FROM clinic_sync.make_batch()');
	});
	if ($option{cancel}) {
		my $waits = wait_for('the batch to wait for its standby', sub { waiting('postgres') });
		$dbh->do("SELECT pg_cancel_backend($waits)");
	}
	is($cutter->wait_exit, 0, "somebody else cuts batch $number");
	my ($batch) = $own->selectrow_array(q(SELECT split_part(clinic_sync.current_cursor(), '-', 1)));
	$own->do(qq(NOTIFY clinic_sync, '{"event":"e","batch":$batch,"tables":{}}'));
	return;
}

cut_and_ring(2);
wait_for('the row of a batch that was waited for', sub { held(2) });
standby('nobody');
cut_and_ring(3, cancel => 1);
wait_for("the relay's proof to wait", sub { waiting('clinic_relay') || held(3) });
is(held(3), 0, 'a batch of somebody else whose wait was cancelled: not served');
standby('');
wait_for('the row', sub { held(3) });
pass('served after a clean commit');
done_testing();
