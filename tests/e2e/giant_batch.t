#!/usr/bin/perl
#
# A transaction of 1,000,000 rows arrives whole, in one step of the cursor, and
# neither relay nor device needs memory for it.
#
# GIANT_ROWS makes it smaller.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
BEGIN { $ENV{CLINIC_BUILD} = $ENV{CLINIC_PLAIN_BUILD} if $ENV{CLINIC_PLAIN_BUILD} }
use Test::More;
use Time::HiRes qw(usleep);
use ClinicTest qw(now);

my $rows = $ENV{GIANT_ROWS} // 1_000_000;
my $limit = 200 * 1024 * 1024;
my $clinic = ClinicTest->new(patients => 5, conf => "max_wal_size = 4GB\n");
my $relay = $clinic->relay;
my $device = $clinic->device('a', no_events => 1);
$clinic->caches_equal('first sync');

my $began = now();
$clinic->dbh->do(qq(INSERT INTO user_activity_log ("userId", "actionDescription", details, "timestamp")
	SELECT 'admin', 'bulk', 'row number ' || i, '2026-11-23' FROM generate_series(1, $rows) i));
my $committed = now();
my $batch = $clinic->cut_batch;

# Every look at the cache sees none of the rows, or all.
my %seen;
while ($device->batch < $batch && now() - $committed < 300) {
	$seen{$device->value("SELECT count(*) FROM user_activity_log WHERE actionDescription = 'bulk'") // 0}++;
	die "the device ended:\n" . $device->process->output if !$device->process->alive;
	usleep(100_000);
}
diag sprintf '%d rows: %.1f s to commit, %.1f s to the cache; relay %d MB, device %d MB', $rows,
	$committed - $began, now() - $committed, map { $_->process->peak_memory / 1048576 } $relay, $device;
is(join(' ', grep { $_ != 0 && $_ != $rows } keys %seen), '', 'never a part of it');
$clinic->caches_equal('the transaction arrived whole');
is(scalar(() = $device->process->output =~ /snapshot applied/g), 1, 'as changes, not as a snapshot');
cmp_ok($relay->process->peak_memory, '<', $limit, 'relay under 200 MB');
cmp_ok($device->process->peak_memory, '<', $limit, 'device under 200 MB');

$clinic->dbh->do("DELETE FROM user_activity_log WHERE \"actionDescription\" = 'bulk'");
$clinic->wait_level($device);
$clinic->caches_equal('and goes whole');
cmp_ok($relay->process->peak_memory, '<', $limit, 'relay under 200 MB');
cmp_ok($device->process->peak_memory, '<', $limit, 'device under 200 MB');
done_testing();
