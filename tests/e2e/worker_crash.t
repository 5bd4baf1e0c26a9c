#!/usr/bin/perl
#
# The worker, the launcher and the postmaster die, at any time and often, and a
# standby is promoted: the worker is there again by itself, and nothing is lost.
# The relay polls once a minute, so what arrives was rung for.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for slurp);
use ClinicTest::Rows qw(parents_sql insert_sql);
use ClinicTest::Worker qw(worker wait_worker set_conf);

my $clinic = ClinicTest->new(preload => 1, patients => 5);
$clinic->dbh->do(parents_sql());
wait_worker($clinic->dbh);
$clinic->relay(option => {poll_interval_ms => 60_000})->wait_ready;
my $device = $clinic->device('a');
$clinic->caches_equal('first sync');

# Commits until one arrives: until the relay listens again there is no bell.
my $number = 0;

sub goes_on {
	my ($name) = @_;
	my $ok = eval { wait_for('a row', sub {
		eval { $clinic->dbh->do(insert_sql('payments', ++$number)); 1 } or return;
		my $committed = $number;
		return eval { wait_for('it', sub {
			$device->value("SELECT count(*) FROM payments WHERE \"referenceNumber\" = 'PAY-$committed'")
		}, 1) };
	}); 1 };
	ok($ok, $name) or diag($@);
	return $ok;
}

sub server_is_back {
	return wait_for('the server to be back', sub { eval { $clinic->cluster->connect } });
}

sub launcher {
	return $clinic->dbh->selectrow_array(
		q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'clinic_sync launcher'));
}

for my $round (1 .. 2) {
	my $pid = wait_worker($clinic->dbh);
	kill('KILL', $pid);
	server_is_back();
	goes_on("round $round: kill -9 of the worker: the server restarts, with a worker");
	isnt(wait_worker($clinic->dbh), $pid, 'another one');
}

my $pid = wait_worker($clinic->dbh);
$clinic->dbh->do('SELECT pg_cancel_backend(?)', undef, $pid) for 1 .. 20;
goes_on('pg_cancel_backend() of the worker');
is(wait_worker($clinic->dbh), $pid, 'does nothing');
$clinic->dbh->do('SELECT pg_terminate_backend(?)', undef, $pid);
goes_on('pg_terminate_backend() of the worker');
isnt(wait_worker($clinic->dbh, $pid), $pid, 'brings another one');

my $launcher = launcher();
$pid = wait_worker($clinic->dbh);
$clinic->dbh->do('SELECT pg_terminate_backend(?)', undef, $launcher);
wait_for('another launcher', sub { (launcher() // $launcher) != $launcher });
goes_on('the launcher ends: the worker works on');
is(wait_worker($clinic->dbh), $pid, 'the same');
$clinic->dbh->do('SELECT pg_terminate_backend(?)', undef, $pid);
isnt(wait_worker($clinic->dbh, $pid), $pid, 'and the new launcher starts another one for it');

my ($postmaster) = slurp("$clinic->{cluster}{PGDATA}/postmaster.pid") =~ /^(\d+)/;
kill('KILL', $postmaster);
wait_for('the postmaster to be dead', sub { !kill(0, $postmaster) });
wait_for('its children, too', sub { !eval { $clinic->cluster->connect } && eval { $clinic->cluster->start } });
goes_on('kill -9 of the postmaster');
$clinic->caches_equal('nothing is lost');
is(scalar(grep { $_->{type} eq 'full_sync_completed' } $device->events), 1, 'without another snapshot');

# A standby has no worker until it is promoted.
$clinic->cluster->stop;
my $owner = (stat $clinic->{cluster}{PGDATA})[4];
open(my $signal, '>', "$clinic->{cluster}{PGDATA}/standby.signal") or die "standby.signal: $!\n";
close($signal);
chown($owner, -1, "$clinic->{cluster}{PGDATA}/standby.signal");
$clinic->cluster->start;
is($clinic->dbh->selectrow_array('SELECT pg_is_in_recovery()'), 1, 'a standby');
is($clinic->dbh->selectrow_array(q(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'clinic_sync%')), 0,
	'has no worker');
$clinic->dbh->do('SELECT pg_promote()');
goes_on('promoted it has one');
$clinic->caches_equal('and nothing is lost');
done_testing();
