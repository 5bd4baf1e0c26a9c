#!/usr/bin/perl
#
# No room for the cache: with small frames that are held to be applied together,
# with the parts of a large batch and with a snapshot. The device says what is
# wrong, stays at a batch it has whole, and goes on by itself once there is room.
#
# A limit on the size of files stands for the full disk, which would need root.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for);

my $LIMIT = 1_000_000;
my $clinic = ClinicTest->new(patients => 50);
my $dbh = $clinic->dbh;
my $relay = $clinic->relay(option => {max_frame_bytes => 16_384})->wait_ready;
my $bin = ClinicTest::build() . '/bin/clinic-cache';
my $narrow = "$clinic->{dir}/narrow";
open(my $out, '>', $narrow) or die "$narrow: $!\n";
print $out "#!/bin/sh\ntrap '' XFSZ\nexec prlimit --fsize=$LIMIT: '$bin' \"\$\@\"\n";
close($out) or die "$narrow: $!\n";
chmod(0755, $narrow);

sub commit_rows {
	my ($rows) = @_;
	$dbh->do(q(INSERT INTO user_activity_log ("userId", "actionDescription", details, "timestamp")
		SELECT 'admin', 'fill', repeat('x', 900) || n, '2026-11-23' FROM generate_series(1, ?::int) n),
		undef, $rows);
	return;
}

# The cache holds what the server had at some batch: all of the rows or a whole number of commits.
sub is_whole {
	my ($device, $rows_of_commit, $what) = @_;
	my $rows = $device->value(q(SELECT count(*) FROM user_activity_log WHERE "actionDescription" = 'fill'));
	return is($rows % $rows_of_commit, 0, "$what: no half of a commit ($rows rows)");
}

# Once, for a few seconds: it ends with a reason; then on and on, until there is room.
sub runs_out {
	my ($device, $reason, $what) = @_;
	$device->{bin} = $narrow;
	$device->{words} = ['--once', '--timeout', '3'];
	is($device->start->process->wait_exit(30), 3, "$what: not level in time");
	like($device->process->output, qr/not level with the server in time: .*$reason/, 'and the last line says why');
	$device->{words} = [];
	$device->start;
	wait_for('no room', sub { $device->process->output =~ /$reason/ });
	return;
}

sub make_room {
	my ($device, $what) = @_;
	my $pid = $device->process->pid;
	is(system('prlimit', '--pid', $pid, '--fsize=unlimited:'), 0, 'there is room again');
	$clinic->wait_level($device);
	is($device->process->pid, $pid, "$what: it went on by itself");
	return $clinic->caches_equal('and is equal');
}

my $device = $clinic->device('a', no_events => 1);
$clinic->wait_level($device);
$device->stop;

commit_rows(5), $clinic->cut_batch for 1 .. 400;
runs_out($device, qr/cannot commit a transaction: \w/, 'small frames');
is_whole($device, 5, 'small frames');
make_room($device, 'small frames');
$device->stop;

commit_rows(10_000);
$clinic->cut_batch;
runs_out($device, qr/cannot stage a batch: File too large/, 'a large batch');
is_whole($device, 2000, 'a large batch');
make_room($device, 'a large batch');

# another relay has no small snapshot of before
my $second = $clinic->relay(name => 'second')->wait_ready;
my $other = $clinic->device('b', no_events => 1, bin => $narrow, url => $second->url, words => ['--once', '--timeout', '3']);
is($other->process->wait_exit(30), 3, 'a new file: not level in time');
runs_out($other, qr/cannot write the snapshot file: File too large/, 'a snapshot');
make_room($other, 'a snapshot');
done_testing();
