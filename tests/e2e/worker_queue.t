#!/usr/bin/perl
#
# A NOTIFY queue that somebody fills and nobody reads: over the limit the worker
# leaves it alone, since a full one fails commits. That is counted and shown;
# relays poll. When the queue is read, the bell is back. The queue holds 8 GB,
# so the limit is set to what a test can fill.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for slurp);
use ClinicTest::Rows qw(parents_sql insert_sql);
use ClinicTest::Worker qw(worker wait_worker listen bells);

my $clinic = ClinicTest->new(preload => 1, patients => 5, conf => "clinic_sync.notify_queue_limit = 0.0005\n");
my $dbh = $clinic->dbh;
$dbh->do(parents_sql());
wait_worker($dbh);
$clinic->relay;
my $device = $clinic->device('a');
$clinic->caches_equal('first sync');
my $number = 0;

sub pay { $dbh->do(insert_sql('payments', ++$number)); return }
sub skipped { return $dbh->selectrow_array('SELECT notifies_skipped FROM clinic_sync.status') }

sub usage { return $dbh->selectrow_array('SELECT pg_notification_queue_usage()') }

sub arrives {
	my ($name) = @_;
	my $ok = eval { wait_for('the row', sub {
		$device->value("SELECT count(*) FROM payments WHERE \"referenceNumber\" = 'PAY-$number'")
	}, 10); 1 };
	return ok($ok, $name);
}

my $sleeper = listen($clinic->cluster, dbname => 'postgres');
$sleeper->do('BEGIN');
$sleeper->do('SELECT 1');
$dbh->do(q(SELECT pg_notify('other', rpad(g || ' ', 7900, 'x')) FROM generate_series(1, 1000) g));
cmp_ok(usage(), '>', 0.0005, 'the queue is over the limit');

wait_for('the worker to leave it alone', sub { pay(); skipped() > 0 });
my $before = worker($dbh)->{notifies};
my $ear = listen($clinic->cluster);
pay();
arrives('the poll brings what nobody rang for');
is_deeply([bells($ear)], [], 'nobody was told');
is(worker($dbh)->{notifies}, $before, 'no NOTIFY is added');
like($dbh->selectrow_array('SELECT array_to_string(problems, E\'\n\') FROM clinic_sync.status'),
	qr/the NOTIFY queue is \d+\.\d % full/, 'status says so');
is(worker($dbh)->{errors}, 0, 'no batch failed for it');

$sleeper->do('ROLLBACK');
wait_for('the queue to be read', sub { $sleeper->do('SELECT 1'); $sleeper->pg_notifies; pay(); usage() < 0.0005 });
wait_for('a bell', sub { pay(); grep { $_->{batch} } bells($ear) });
pass('when it is read the bell is back');
my @lines = slurp($clinic->{cluster}{CLUSTER_LOG}) =~ /clinic_sync sends no notifications/g;
is(scalar @lines, 1, 'one line in the log, not one a second');
$clinic->caches_equal('and all rows are there');
done_testing();
