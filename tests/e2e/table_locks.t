#!/usr/bin/perl
#
# Jobs read tables beside clinical transactions that lock them: an upgrade of
# the app that alters or empties several tables in one transaction. It must
# never be the victim of a deadlock with a job, nor must others stand behind a
# job that stands itself, whatever deadlock_timeout is.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Time::HiRes qw(usleep);
use Test::More;
use ClinicTest qw(now wait_for @TABLES);
use ClinicTest::Raw;

my $clinic = ClinicTest->new(patients => 60);
my $dbh = $clinic->dbh;
my $relay = $clinic->relay(option => {sync_interval_s => 1, snapshot_max_age_s => 0})->wait_ready;
my ($first, $last) = (sort { $a->[1] <=> $b->[1] } @{$dbh->selectall_arrayref('SELECT relation::text, publication FROM clinic_sync.snapshot_tables()')})[0, -1];
($first, $last) = ($first->[0], $last->[0]);
my $device = ClinicTest::Raw->live($clinic, 'one');

# What makes a job begin; the answer is looked at when the tables are free again.
sub ask_proof {
	$device->say({type => 'request_digest', scope => 'tables', cursor => $device->{cursor}, tables => [$first, $last], counts => {}});
	return;
}

sub download {
	my ($path) = @_;
	return ClinicTest::Process->start('download', log => "$clinic->{dir}/download.log", code => sub {
		my $answer = $relay->get($path);
		die "$answer->{status}\n" if !$answer->{success} || $answer->{content} =~ /"error"/;
	});
}

# A job has come to the tables: it waits for one, or has found one locked.
sub job_is_there {
	return scalar $dbh->selectrow_array(q(SELECT count(*) FROM pg_stat_activity
		WHERE application_name ~ '/(proof|snapshot|digest)$' AND (wait_event_type = 'Lock' OR query ~ 'hold_tables|^ROLLBACK')));
}

my %begin = (
	'a proof' => \&ask_proof,
	'a snapshot' => sub { return download("/db/download") },
	'a digest' => sub { return download('/db/digest') });

sub settle {
	my ($job) = @_;
	return is($job->wait_exit(40), 0, 'and it is served in the end') || diag($job->output) if ref $job;
	# a proof may have given up: then the next one comes
	my $answer = $device->wait_message('digest', 20);
	return if !$answer->{failed};
	ask_proof();
	return ok(!$device->wait_message('digest', 20)->{failed}, 'and the next one comes through');
}

for my $timeout ('100ms', '1s') {
	$dbh->do("ALTER SYSTEM SET deadlock_timeout = '$timeout'");
	$dbh->do('SELECT pg_reload_conf()');
	for my $job (sort keys %begin) {
		my $app = $clinic->cluster->connect;
		wait_for('the setting', sub { $app->selectrow_array('SHOW deadlock_timeout') eq $timeout });
		$app->do('BEGIN');
		$app->do("LOCK TABLE $last IN ACCESS EXCLUSIVE MODE");
		my $running = $begin{$job}->();
		wait_for("$job to come to the locked table", \&job_is_there);
		# longer than a session looks for deadlocks itself: the next who does is the clinic's
		usleep($timeout eq '1s' ? 1_400_000 : 250_000);
		my $from = now();
		ok(eval { $app->do("LOCK TABLE $first IN ACCESS EXCLUSIVE MODE"); 1 },
			"$job beside a transaction that locks table after table ($timeout)") or diag($@);
		cmp_ok(now() - $from, '<', 0.5, 'which does not wait');
		$app->do('ROLLBACK');
		settle($running);
	}
}

# Those who stand behind whoever stands behind a job.
for my $job (sort keys %begin) {
	my ($migration, $user) = map { $clinic->cluster->connect } 1 .. 2;
	$migration->do('BEGIN');
	$migration->do("LOCK TABLE $last IN ACCESS EXCLUSIVE MODE");
	my $running = $begin{$job}->();
	wait_for("$job to come to the locked table", \&job_is_there);
	my $altered = ClinicTest::Process->start('alter', log => "$clinic->{dir}/alter.log", code => sub {
		my $own = $clinic->cluster->connect;
		$own->do("BEGIN");
		$own->do("LOCK TABLE $first IN ACCESS EXCLUSIVE MODE");
		$own->do("COMMIT");
	});
	usleep(100_000);
	my $from = now();
	$user->do("SET statement_timeout = '15s'");
	$user->do(qq(UPDATE $first SET id = id WHERE false));
	cmp_ok(now() - $from, '<', 0.5, "$job does not hold up others where it is held up itself");
	$migration->do('ROLLBACK');
	$altered->wait_exit(20);
	settle($running);
}

# Locked for too long.
my $migration = $clinic->cluster->connect;
$migration->do('BEGIN');
$migration->do("LOCK TABLE $last IN ACCESS EXCLUSIVE MODE");
my ($before) = $relay->get('/metrics')->{content} =~ /^clinic_relay_jobs_locked_out_total (\d+)/m;
my $digest = download('/db/digest');
ask_proof();
ok($device->wait_message('digest', 20)->{failed}, 'a proof gives up after a second');
is($digest->wait_exit(40), 1, 'a digest later');
$migration->do('ROLLBACK');
my ($after) = $relay->get('/metrics')->{content} =~ /^clinic_relay_jobs_locked_out_total (\d+)/m;
cmp_ok($after - $before, '>=', 2, 'both are counted');
done_testing();
