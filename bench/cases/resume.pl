#!/usr/bin/perl
#
# 1,000 devices come back after a restart of the relay, each 1,000 changes
# behind: from the moment the new relay process is started until the last
# device has every change. The devices spread their return as the last relay
# asked (reconnect_spread_ms), knock again while nobody listens, and count
# every change. Baseline: the same restart with nothing missed.
#
# What that costs the database: "log readers" counts resumes that the new relay
# served by reading the log for a device, from its own metrics.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Bench qw(emit median note paired pick spread);
use BenchLive;

my $DEVICES = pick(1000, 1000, 20);
my $BEHIND = pick(1000, 1000, 50);
my $ROUNDS = 3;

my $live = BenchLive->new;
my $stream = $live->stream('relay', devices => $DEVICES, connections => 8,
	most => 3 * @BenchLive::MODES * ($BEHIND + 100) * pick(3, 3, 1));

# Restart the relay while so many changes are committed; what the devices then said.
sub restart {
	my ($mode, $behind) = @_;
	$stream->run(rate => 100, count => 20, notify => $mode);	# all are level
	$stream->devices->ask('reset', 'reset');
	$stream->devices->ask('away', 'away');
	$live->relay->stop;
	my $last = $behind ? $stream->commit(count => $behind, rate => 1000, notify => $mode)->{last} : $stream->last;
	$stream->devices->say("resume $last 60");
	$live->relay->start;
	my $got = $stream->devices->hear('complete');
	note("$mode, $behind behind: ready p50 $got->{ready_after}{p50_ms} max $got->{ready_after}{max_ms} ms,",
		"level p50 $got->{level_after}{p50_ms} max $got->{level_after}{max_ms} ms, $got->{retries} knocks,",
		"spread $got->{spread_ms} ms");
	return {seconds => ($behind ? $got->{level_after} : $got->{ready_after})->{max_ms} / 1000,
		from_log => $live->metric('resumes_log_total'), from_memory => $live->metric('resumes_memory_total')};
}

for my $mode (@BenchLive::MODES) {
	my $got = paired(pick($ROUNDS, $ROUNDS, 1), [behind => sub { restart($mode, $BEHIND) }],
		[level => sub { restart($mode, 0) }]);
	my %line = (figure => 'resume', mode => $mode, devices => $DEVICES, rows => $BEHIND);
	emit(%line, unit => 's', goal => 5, spread(map { $_->{seconds} } @{$got->{behind}}),
		baseline => median(map { $_->{seconds} } @{$got->{level}}));
	emit(%line, part => 'log readers', unit => 'resumes', goal => 0, spread(map { $_->{from_log} } @{$got->{behind}}),
		baseline => median(map { $_->{from_log} } @{$got->{level}}));
}
$stream->end;
