#!/usr/bin/perl
#
# A copy of the data directory comes back (a disk image rolled back): same
# system, same timeline, same database. Devices that saw more than the copy
# has are told so, and end up equal to the server.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for slurp);
use ClinicTest::Crash qw(write_numbers);

my $clinic = ClinicTest->new(patients => 5);
my $relay = $clinic->relay;
my $ahead = $clinic->device('ahead');
my $behind = $clinic->device('behind');
write_numbers($clinic->dbh, 'before', 5);
$clinic->caches_equal('first sync');
$behind->stop;

sub snapshots { my ($device) = @_; return scalar grep { $_->{type} eq 'full_sync_completed' } $device->events }
sub words { my ($device) = @_; return join ' ', map { $_->[0] } @{$device->query(
	'SELECT DISTINCT "userId" FROM user_activity_log WHERE "actionDescription" = ? ORDER BY 1', 'write')} }

my $cluster = $clinic->cluster;
$cluster->stop;
system('cp', '-a', $cluster->{PGDATA}, "$cluster->{PGDATA}.copy") == 0 or die "cp failed\n";
$cluster->start;
write_numbers($clinic->dbh, 'lost', 12);
$clinic->wait_level($ahead);
is(words($ahead), 'before lost', 'a device is ahead of the copy');
my $cursor = $ahead->cursor;

$cluster->stop;
system('rm', '-rf', $cluster->{PGDATA}) == 0 or die "rm failed\n";
rename("$cluster->{PGDATA}.copy", $cluster->{PGDATA}) or die "rename: $!\n";
$cluster->start;
# As many batches again, so that the numbers alone would look right.
write_numbers($clinic->dbh, 'again', 1), $clinic->cut_batch for 1 .. 15;
is($clinic->dbh->selectrow_array('SELECT clinic_sync.check_cursor(?)', undef, $cursor), 'history_lost',
	'its cursor is not in this history, though its number is');
wait_for('the device ahead to start afresh', sub { snapshots($ahead) == 2 }, 60);
$behind->start;
$clinic->caches_equal('all devices are equal to the server');
is(words($ahead), 'again before', 'the rows that never were are gone');
is(snapshots($behind), 1, 'the device whose cursor is in the copy needed no snapshot');
like(slurp($ahead->{process}{log}), qr/history_lost/, 'the reason is in the log');
done_testing();
