#!/usr/bin/perl
#
# Many devices: 1,000 at 100 changes a second and 4,000 at 20 (one row a
# commit), and the most changes a second that 1,000 devices hold; by the relay
# and by the bare loop, in turn.
#
# A rate is held when the writers kept their schedule and 99 % of all
# deliveries came within 100 ms of the moment their statement was sent. It is
# looked for on a ladder of steps of 15 %, in commits of five rows, so that
# fan-out ends before PostgreSQL does. Deliveries: the rate held times the
# devices.
#
# Times count from when COMMIT returned, and (part "sent") from when the
# statement was sent. The writers share the cores with what fans out: under
# load they learn late that their COMMIT returned, so only the second is the
# whole way; both sides are measured alike.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use List::Util qw(max min);
use Bench qw(emit median note paired pick ratio_to spread);
use BenchLive;

my $MODE = $BenchLive::MODES[0];
my $P99_MS = 100;
my $ROUNDS = pick(3, 3, 1);
my $live = BenchLive->new;

# The streams of both ways for so many devices.
sub streams {
	my ($devices, $most) = @_;
	return map { $_ => $live->stream($_, devices => $devices, most => $most, connections => 8,
		$_ eq 'relay' ? (notify => [$MODE]) : ()) } qw(relay bare);
}

# ---- given rates ----------------------------------------------------------------

sub report_rate {
	my ($got, %line) = @_;
	for my $from ('returned', 'sent') {
		my %value = map { my $side = $_; $side => [map { BenchLive::Stream::ms($_, $from, 99) } @{$got->{$side}}] } keys %$got;
		my %part = (part => $from eq 'sent' ? $from : undef);
		emit(%line, %part, percentile => 99, unit => 'ms', spread(@{$value{relay}}), baseline => median(@{$value{bare}}));
		$part{part} = join ' ', 'over bare', $part{part} // ();
		emit(%line, %part, percentile => 99, unit => 'ratio', better => 'lower', goal => 1,
			ratio_to(\%value, 'relay', 'bare'));
	}
	return;
}

sub at_rate {
	my ($devices, $rate) = @_;
	my $seconds = pick(8, 3, 0.2);
	my $warm_up = pick(2, 1, 0);
	my %stream = streams($devices, int($ROUNDS * $rate * ($seconds + $warm_up)) + 10);
	note("$devices devices, $rate changes/s");
	my $got = paired($ROUNDS, map { my $side = $_;
		[$side => sub { $stream{$side}->run(rate => $rate, seconds => $seconds, warm_up => $warm_up) }] } sort keys %stream);
	report_rate($got, figure => 'fanout', mode => $MODE, devices => $devices, rate => $rate);
	$_->end for values %stream;
	return;
}

# ---- the most that is held --------------------------------------------------------

my $ROWS = 5;
my $TOP = 50;	# 20 * 1.15 ** 50: 21,673 changes a second

sub rung { my ($step) = @_; return int(20 * 1.15 ** $step) }

sub held {
	my ($stream, $step) = @_;
	my $got = $stream->run(rate => rung($step), seconds => pick(2.5, 1.2, 0.1), rows => $ROWS, patience => 60);
	my ($devices, $writer) = @$got{qw(devices writer)};
	my $held = $devices->{sent}{p99_ms} < $P99_MS && $writer->{late}{p99_ms} < $P99_MS;
	note("$stream->{way}, ", rung($step), "changes/s:", $held ? 'held,' : 'not held,',
		"p99 $devices->{sent}{p99_ms} ms, writers late p99 $writer->{late}{p99_ms} ms,",
		int($devices->{messages} / $stream->{devices}), 'frames a device');
	return $held;
}

# The highest step that is held: from where the last round ended, else up in
# strides and then by halves. A step that fails is tried once more: a single
# hiccup of the machine is no ceiling.
sub highest_held {
	my ($stream) = @_;
	my ($low, $high) = (-1, $TOP + 1);
	my $step = $stream->{last_step} // 20;
	my $stride = defined $stream->{last_step} ? 1 : 4;
	while ($high - $low > 1) {
		if (held($stream, $step) || held($stream, $step)) {
			$low = $step;
		} else {
			$high = $step;
		}
		$step = $high > $TOP ? min($low + $stride, $TOP) : $low < 0 ? max($high - $stride, 0) : int(($low + $high) / 2);
		last if $low == $TOP || ($low < 0 && $high == 0);
	}
	$low >= 0 or die "$stream->{way} does not even hold " . rung(0) . " changes a second\n";
	return $stream->{last_step} = $low;
}

sub ceiling {
	my ($devices) = @_;
	my %stream = streams($devices, pick(2_000_000, 1_000_000, 60_000));
	my $got = paired($ROUNDS, map { my $side = $_;
		[$side => sub { $devices * rung(highest_held($stream{$side})) }] } sort keys %stream);
	my %line = (figure => 'fanout', mode => $MODE, devices => $devices);
	emit(%line, part => 'held', unit => 'changes/s', spread(map { $_ / $devices } @{$got->{relay}}),
		baseline => median(@{$got->{bare}}) / $devices);
	emit(%line, part => 'deliveries', unit => 'deliveries/s', spread(@{$got->{relay}}), baseline => median(@{$got->{bare}}));
	emit(%line, part => 'deliveries over bare', unit => 'ratio', better => 'higher', goal => 4, ratio_to($got, 'relay', 'bare'));
	$_->end for values %stream;
	return;
}

at_rate(pick(1000, 1000, 20), 100);
at_rate(pick(4000, 4000, 50), 20);
ceiling(pick(1000, 1000, 20));
