#!/usr/bin/perl
#
# Writers that do not wait for the disk (synchronous_commit = off), and a
# server that dies: what a device has seen, the server must still have.
# The disk is made slow to notice on purpose: wal_writer_delay at its largest.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for);
use ClinicTest::Crash qw(start_async_writers);

my $clinic = ClinicTest->new(patients => 5,
	conf => "wal_writer_delay = 10s\nwal_writer_flush_after = 1GB\n");
my $relay = $clinic->relay;
my $device = $clinic->device('a');
$clinic->caches_equal('first sync');

for my $round (1 .. 8) {
	my @writers = start_async_writers($clinic, 3);
	my $batch = $device->batch;
	$device->wait_batch($batch + 3 + 2 * $round);
	$clinic->cluster->crash;
	$_->wait_exit for @writers;
	my $seen = $device->query('SELECT "userId", details FROM user_activity_log
		WHERE "actionDescription" = ?', 'write');
	my $cursor = $device->cursor;
	$device->stop;
	$clinic->cluster->start;
	my $answer = $clinic->dbh->selectrow_array('SELECT clinic_sync.check_cursor(?)', undef, $cursor);
	is($answer, 'ok', "round $round: the device's batch $cursor outlived the crash");
	my %kept = map { ("$_->[0] $_->[1]" => 1) } @{$clinic->dbh->selectall_arrayref(
		q(SELECT "userId", details FROM user_activity_log WHERE "actionDescription" = 'write'))};
	my @ghosts = grep { !$kept{"$_->[0] $_->[1]"} } @$seen;
	is(scalar @ghosts, 0, 'and so did all ' . @$seen . ' rows that it showed');
	$device->start;
	$clinic->caches_equal('it goes on');
}
is(scalar(grep { $_->{type} eq 'full_sync_completed' } $device->events), 1, 'without another snapshot');
done_testing();
