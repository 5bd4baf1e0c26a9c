#!/usr/bin/perl
#
# The relay's resident memory: for each idle device (with 4,000 of them, over
# none), and while 100 of 200 devices have stopped reading under load. All
# without TLS: the relay has none of its own; a proxy in front of it pays for
# that.
#
# Idle: each round is a relay just started, its RSS before and after 4,000
# devices came and followed, the storm of their coming included. Baseline:
# the bare loop's, which keeps nothing but a socket's number.
#
# Stopped: the relay may keep ring_bytes for all and device_queue_bytes for
# each that does not read, and counts less, since devices share frames. The
# figure is what it grew by at most, the goal what the two options allow.
# Afterwards the stopped ones read on, and must come to have every change.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Bench qw(emit median memory_of note paired pick spread wait_for);
use BenchLive;

my $MODE = $BenchLive::MODES[0];
my $DEVICES = pick(4000, 4000, 50);
my $STOPPED = pick(100, 100, 5);
my $RING = 8 * 1024 * 1024;
my $QUEUE = 256 * 1024;

my $live = BenchLive->new(relay => {ring_bytes => $RING, device_queue_bytes => $QUEUE});

# ---- idle -------------------------------------------------------------------------

sub rss { my ($pid) = @_; return memory_of($pid, 'VmRSS') }

sub relay_per_device {
	$live->relay->stop;
	$live->relay->start->wait_ready;
	my $pid = $live->relay->process->pid;
	my $empty = rss($pid);
	my $stream = $live->stream('relay', devices => $DEVICES, most => 1, notify => []);
	my $full = rss($pid);
	$stream->end;
	note(sprintf('relay: %.1f MB with none, %.1f MB with %d', $empty / 1e6, $full / 1e6, $DEVICES));
	return ($full - $empty) / $DEVICES / 1024;
}

# The bare loop is started with its stream; what it has with no device is that of one that never had any.
sub bare_per_device {
	my $empty = $live->stream('bare', devices => 0, most => 1, notify => []);
	my $full = $live->stream('bare', devices => $DEVICES, most => 1, notify => []);
	my $bytes = rss($full->{loop}->pid) - rss($empty->{loop}->pid);
	$_->end for $empty, $full;
	return $bytes / $DEVICES / 1024;
}

my $idle = paired(pick(3, 3, 1), [relay => \&relay_per_device], [bare => \&bare_per_device]);
emit(figure => 'memory', part => 'idle device', tls => 'none', devices => $DEVICES, unit => 'kB', goal => 8,
	spread(@{$idle->{relay}}), baseline => median(@{$idle->{bare}}));

# ---- stopped ----------------------------------------------------------------------

# How much the relay grew at most while half of its devices did not read.
sub stopped {
	my $changes = pick(60_000, 30_000, 500);	# some 320 bytes each on the wire
	my $stream = $live->stream('relay', devices => 2 * $STOPPED, most => 3 * $changes, notify => [$MODE],
		receive_bytes => 16_384);
	my $pid = $live->relay->process->pid;
	$stream->run(rate => 5000, count => $changes / 2, rows => 20, notify => $MODE);
	my ($empty, $most) = (rss($pid)) x 2;
	my $lagged = $live->metric('lagged_total');
	$stream->devices->ask("pause $STOPPED", 'paused');
	for my $part (1 .. 10) {
		$stream->run(rate => 5000, count => $changes / 10, rows => 20, notify => $MODE, patience => 60);
		$most = rss($pid) if rss($pid) > $most;
	}
	$lagged = $live->metric('lagged_total') - $lagged;
	$stream->devices->ask('pause 0', 'paused');
	$stream->devices->ask("wait @{[$stream->last]} 120", 'complete');
	note(sprintf('%d of %d that do not read: from %.1f to %.1f MB at most, %d told that they lag, %.1f MB when they had caught up',
		$STOPPED, 2 * $STOPPED, $empty / 1e6, $most / 1e6, $lagged, rss($pid) / 1e6));
	$stream->end;
	return ($most - $empty) / 1048576;
}

my @grown;
for (1 .. pick(3, 3, 1)) {
	$live->relay->stop;
	$live->relay->start->wait_ready;
	push @grown, stopped();
}
emit(figure => 'memory', part => 'stopped readers', tls => 'none', devices => $STOPPED, mode => $MODE, unit => 'MB',
	goal => ($RING + $STOPPED * $QUEUE) / 1048576, spread(@grown));
