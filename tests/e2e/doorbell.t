#!/usr/bin/perl
#
# Doorbells. With a poll of a minute, whatever arrives sooner was rung for: also
# a change that was committed while the relay's LISTEN connection was dead. And
# without any doorbell (notify = off) the poll alone brings everything.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(now wait_for);
use ClinicTest::Rows qw(parents_sql insert_sql);

my $clinic = ClinicTest->new(patients => 5);
my $dbh = $clinic->dbh;
$dbh->do(parents_sql());
my $relay = $clinic->relay(option => {poll_interval_ms => 60_000})->wait_ready;
my $device = $clinic->device('a');
wait_for('first sync', sub { $device->value('SELECT count(*) FROM payments') });

# The committed row is in the cache soon; nobody but the relay cuts batches here.
my $number = 0;

sub arrives {
	my ($name, $seconds) = @_;
	my $ok = eval { wait_for('the row', sub {
		$device->value("SELECT count(*) FROM payments WHERE \"referenceNumber\" = 'PAY-$number'")
	}, $seconds); 1 };
	return ok($ok, $name);
}

sub pay { my ($with) = @_; $with->do(insert_sql('payments', ++$number)); return }

sub listener {
	my ($pid) = $dbh->selectrow_array(q(SELECT pid FROM pg_stat_activity WHERE usename = 'clinic_relay'
		AND query ~ '^(LISTEN|NOTIFY) '));
	return $pid;
}

pay($dbh);
arrives('a doorbell brings a commit at once', 5);

for my $round (1 .. 3) {
	my $pid = wait_for('the LISTEN connection', \&listener);
	$dbh->do('SELECT pg_terminate_backend(?)', undef, $pid);
	pay($dbh);
	arrives("round $round: committed while nobody listened, rung for after the next LISTEN", 30);
}

# A transaction committed from prepared state rings no bell; the next commit does.
$dbh->do('BEGIN');
pay($dbh);
$dbh->do("PREPARE TRANSACTION 'p'");
$dbh->do("COMMIT PREPARED 'p'");
my $prepared = $number;
pay($dbh);
arrives('a commit after COMMIT PREPARED', 5);
is($device->value("SELECT count(*) FROM payments WHERE \"referenceNumber\" = 'PAY-$prepared'"), 1,
	'brings the prepared one along');

# Any role may forge notifications: they cost little and change nothing.
$dbh->do('CREATE ROLE stranger LOGIN');
my $stranger = $clinic->cluster->connect(user => 'stranger');
$stranger->do("NOTIFY clinic_sync, '{\"event\":\"forged $_\"}'") for 1 .. 300;
pay($dbh);
arrives('a commit after 300 forged notifications', 5);

$relay->stop;
$relay->{option} = {poll_interval_ms => 300};
$dbh->do('ALTER DATABASE clinic SET clinic_sync.notify = off');
$relay->start;
my $silent = $clinic->cluster->connect;
pay($silent);
arrives('notify = off: the poll brings it', 30);
$clinic->caches_equal('all rows in the end');
done_testing();
