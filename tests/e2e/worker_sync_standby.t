#!/usr/bin/perl
#
# The worker's commit waits for a synchronous standby that is not there. Nobody
# can cancel that wait, and where the worker is terminated in it, its batch
# becomes visible and is in doubt: no device may see it until a commit that was
# waited for has proven it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for);
use ClinicTest::Rows qw(parents_sql insert_sql);
use ClinicTest::Worker qw(worker wait_worker listen bells set_conf waiting_for_standby);

my $clinic = ClinicTest->new(preload => 1, patients => 5);
my $dbh = $clinic->dbh;
$dbh->do(parents_sql());
my $pid = wait_worker($dbh);
$clinic->relay(option => {poll_interval_ms => 60_000})->wait_ready;
my $device = $clinic->device('a');
$clinic->caches_equal('first sync');
my $ear = listen($clinic->cluster);
my $number = 0;

sub held { return $device->value('SELECT count(*) FROM payments WHERE id = ?', 9000000 + $number) ? 1 : 0 }
sub visible { return $dbh->selectrow_array('SELECT max(id) FROM clinic_sync.batch') }
sub waits { return (waiting_for_standby($dbh, 'clinic_sync worker') // 0) == $pid }

# What a reader is told of the batches after a cursor: proven, or nothing.
sub closing {
	my ($cursor) = @_;
	return join ' ', map { $_ // 'unproven' } @{$dbh->selectcol_arrayref(
		q(SELECT origin FROM clinic_sync.feed(?, 1000) WHERE operation IN ('batch', 'giant')), undef, $cursor)};
}

sub cursor { return $dbh->selectrow_array('SELECT clinic_sync.current_cursor()') }

# A transaction that becomes visible though no standby has it: its wait is cancelled.
sub pay_unreplicated {
	$number++;
	my $writer = ClinicTest::Process->start('writer', log => "$clinic->{dir}/writer.log", code => sub {
		$clinic->cluster->connect->do(insert_sql('payments', $number));
	});
	$dbh->do('SELECT pg_cancel_backend(?)', undef,
		wait_for('the writer to wait', sub { waiting_for_standby($dbh, 'postgres') }));
	return $writer->wait_exit;
}

my $start = cursor();
$dbh->do(insert_sql('payments', ++$number));
wait_for('its batch', sub { cursor() ne $start });
is(closing($start), 'proven', 'with no standby asked for a batch of the worker is proven');
wait_for('it on the device', \&held);

for my $round (1 .. 2) {
	bells($ear);
	my $before = cursor();
	set_conf($clinic, 'synchronous_standby_names', 'nobody');
	is(pay_unreplicated(), 0, "round $round: a row that no standby has");
	wait_for('the worker to wait for its standby', \&waits);
	$dbh->do('SELECT pg_cancel_backend(?)', undef, $pid) for 1 .. 10;
	kill('INT', $pid) for 1 .. 10;
	ok(waits(), 'nobody can cancel that');
	is(cursor(), $before, 'its batch is not visible');
	is(held(), 0, 'and on no device');
	ok(eval { $dbh->do(q(SET lock_timeout = '1s'; BEGIN; SET LOCAL synchronous_commit = local; NOTIFY other; COMMIT)); 1 },
		'others may notify meanwhile') or $dbh->do('ROLLBACK');
	$dbh->do('RESET lock_timeout');

	$dbh->do('SELECT pg_terminate_backend(?)', undef, $pid);
	$pid = wait_worker($dbh, $pid);
	wait_for('the batch to be visible', sub { cursor() ne $before });
	is(closing($before), 'unproven', 'terminated: its batch is visible, and in doubt');
	is(held(), 0, 'on no device');

	# nobody may take the doubt back who has not waited: the next one waits, too
	is(pay_unreplicated(), 0, 'another row');
	wait_for('the next worker to wait', \&waits);
	like(closing($before), qr/^unproven/, 'still in doubt');
	$number--;
	is(held(), 0, 'on no device');
	$number++;
	is(held(), 0, 'neither of them');

	set_conf($clinic, 'synchronous_standby_names', undef);
	wait_for('both on the device', \&held);
	my $last = cursor();
	$dbh->do(insert_sql('payments', ++$number));
	wait_for('a batch that was waited for', sub { cursor() ne $last });
	unlike(closing($before), qr/unproven/, 'a commit that was waited for takes the doubt away');
	$clinic->caches_equal('and all is well');
}
done_testing();
