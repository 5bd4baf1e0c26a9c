# For tests of the background worker: who it is, and what it says.
package ClinicTest::Worker;
use strict;
use warnings;
use Exporter 'import';
use JSON::PP;
use Time::HiRes qw(usleep);
use ClinicTest::Wait qw(now wait_for);
our @EXPORT_OK = qw(worker wait_worker listen bells set_conf waiting_for_standby);

# The worker of the database, as the view shows it; undef if it has none.
sub worker {
	my ($dbh, $database) = @_;
	return $dbh->selectrow_hashref('SELECT * FROM clinic_sync.workers
		WHERE database = coalesce(?, current_database())', undef, $database);
}

# The pid of its worker, once that runs; not this one.
sub wait_worker {
	my ($dbh, $but, $database) = @_;
	return wait_for('the worker', sub {
		my $worker = worker($dbh, $database) // {};
		return ($worker->{state} // '') eq 'running' && $worker->{pid} != ($but // 0) && $worker->{pid};
	});
}

# A connection that hears the bell.
sub listen {
	my ($cluster, %option) = @_;
	my $ear = $cluster->connect(%option);
	$ear->do('LISTEN clinic_sync');
	return $ear;
}

# The payloads that arrive until $enough->(@bells) or, without it, until one
# that this function sends itself, so that nothing sent before is missed.
sub bells {
	my ($ear, $enough, $seconds) = @_;
	my @bells;
	my $end = 'end ' . now();
	$ear->do('SELECT pg_notify(?, ?)', undef, 'clinic_sync', $end) if !$enough;
	wait_for('bells', sub {
		$ear->do('SELECT 1');
		while (my $notify = $ear->pg_notifies) {
			return 1 if $notify->[2] eq $end;
			push @bells, decode_json($notify->[2]) if $notify->[2] =~ /^\{/;
		}
		return $enough && $enough->(@bells);
	}, $seconds);
	return @bells;
}

# ALTER SYSTEM SET, and wait until everybody who comes now has it.
sub set_conf {
	my ($clinic, $name, $value) = @_;
	my $dbh = $clinic->cluster->connect(dbname => 'postgres');
	$dbh->do(defined $value ? "ALTER SYSTEM SET $name = '$value'" : "ALTER SYSTEM RESET $name");
	my ($before) = $dbh->selectrow_array('SELECT pg_conf_load_time()');
	$dbh->do('SELECT pg_reload_conf()');
	wait_for("$name to be in force", sub {
		my ($loaded) = $clinic->cluster->connect(dbname => 'postgres')->selectrow_array(
			'SELECT pg_conf_load_time() > ?', undef, $before);
		return $loaded;
	});
	return;
}

# The pid of somebody of that backend type or role whose commit waits for a standby.
sub waiting_for_standby {
	my ($dbh, $who) = @_;
	my ($pid) = $dbh->selectrow_array(q(SELECT min(pid) FROM pg_stat_activity
		WHERE wait_event = 'SyncRep' AND ? IN (usename, backend_type)), undef, $who);
	return $pid;
}

1;
