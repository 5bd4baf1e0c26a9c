#!/usr/bin/perl
#
# From a commit to its frame in the devices: 100 devices, 20 commits a second,
# one row each, by the relay in both modes and by the bare loop, in turn.
#
# Counted from the moment the writer saw its COMMIT return, and (part "sent")
# from the moment it sent the statement that commits; the second also holds
# what the way of noticing costs the writer. Over the bare loop (part "over
# bare") says how much of it is ours.
#
# Where the time goes (step): medians over the changes of
#	commit    the statement sent -> COMMIT returned
#	cut       COMMIT returned -> the batch's snapshot taken (worker: wake-up
#	          too; commit: bell, relay and its query too)
#	flush     one flush of the WAL, the batch's own commit
#	notify    the rest from the cut until another session hears the batch's bell
#	          (worker only; in mode commit the bell rings before the cut)
#	feed      from there until the first device has the frame: the relay's
#	          query, the frame, the first send
#	fan_out   the first device -> the last device
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use List::Util qw(min);
use Time::HiRes qw(time);
use Bench qw(emit median note paired pick ratio_to spread now);
use BenchLive;

my $DEVICES = pick(100, 100, 5);
my $RATE = 20;
my %GOAL = (50 => 3, 99 => 10);

my $live = BenchLive->new(conf => "track_wal_io_timing = on\n");
my $relay = $live->stream('relay', devices => $DEVICES, bell => 1);
my $bare = $live->stream('bare', devices => $DEVICES);

# One run and the time a flush of the WAL took in it.
sub timed {
	my ($stream, %option) = @_;
	my $flushes = $live->dbh->{pg_server_version} >= 180000
		? q(SELECT sum(fsyncs), sum(fsync_time) FROM pg_stat_io WHERE object = 'wal')
		: 'SELECT wal_sync, wal_sync_time FROM pg_stat_wal';
	my @before = $live->dbh->selectrow_array($flushes);
	my $got = $stream->run(%option, rate => $RATE, seconds => pick(10, 4, 0.25), warm_up => pick(1, 0.5, 0));
	my @after = $live->dbh->selectrow_array($flushes);
	$got->{flush_ms} = ($after[1] - $before[1]) / ($after[0] - $before[0]) if $after[0] > $before[0];
	$got->{stamps} = [$stream->stamps(@$got{qw(first last)})];
	return $got;
}

my $got = paired(pick(5, 3, 1),
	(map { my $mode = $_; [$mode => sub { timed($relay, notify => $mode) }] } @BenchLive::MODES),
	[bare => sub { timed($bare) }]);

# {side => [a value per round]} of one percentile, from when COMMIT returned or the statement was sent.
sub figures {
	my ($from, $percentile) = @_;
	return {map { my $side = $_;
		$side => [map { BenchLive::Stream::ms($_, $from, $percentile) } @{$got->{$side}}] } keys %$got};
}

for my $mode (@BenchLive::MODES) {
	for my $percentile (50, 99) {
		my %line = (figure => 'latency', mode => $mode, percentile => $percentile, devices => $DEVICES,
			rate => $RATE);
		for my $from ('returned', 'sent') {
			my $figures = figures($from, $percentile);
			emit(%line, part => $from eq 'sent' ? $from : undef, unit => 'ms', spread(@{$figures->{$mode}}),
				baseline => median(@{$figures->{bare}}),
				goal => $mode eq 'worker' && $from eq 'returned' ? $GOAL{$percentile} : undef);
		}
		emit(%line, part => 'over bare', unit => 'ratio', better => 'lower',
			goal => $mode eq 'worker' && $percentile == 50 ? 4 : undef,
			ratio_to(figures('returned', $percentile), $mode, 'bare'));
	}
}

# ---- step by step ---------------------------------------------------------------

# When each batch was cut, by the clock of the stamps (ns), in order.
my $shift = now() - time();
my @cuts = map { ($_->[0] + $shift) * 1e9 } @{$live->dbh->selectall_arrayref(
	'SELECT extract(epoch FROM created_at) FROM clinic_sync.batch ORDER BY id')};

# The steps of one round, each the median over its changes.
sub steps {
	my ($mode, $run) = @_;
	my %all;
	my $at = 0;
	for my $s (@{$run->{stamps}}) {
		$at++ while $at < @cuts && $cuts[$at] < $s->{sent};
		last if $at == @cuts;
		my $cut = $cuts[$at];
		next if $cut > $s->{first};
		my $heard = $mode eq 'worker' ? $s->{bell} : $cut;	# in mode commit it rang before the cut
		my %step = (commit => $s->{returned} - $s->{sent}, cut => $cut - $s->{returned},
			notify => $heard - $cut, feed => $s->{first} - $heard,
			fan_out => $s->{last} - $s->{first});
		push @{$all{$_}}, $step{$_} / 1e6 for keys %step;
	}
	my %median = map { $_ => median(@{$all{$_}}) } keys %all;
	# The flush lies between the cut and what is seen next. Its time is a mean of all flushes,
	# which a slow one may bring above this median.
	my $around = $mode eq 'worker' ? 'notify' : 'feed';
	if (defined $median{$around}) {
		$median{flush} = min($run->{flush_ms} // 0, $median{$around});
		$median{$around} -= $median{flush};
	}
	delete $median{notify} if $mode eq 'commit';
	return \%median;
}

for my $mode (@BenchLive::MODES) {
	my @rounds = map { steps($mode, $_) } @{$got->{$mode}};
	for my $step (qw(commit cut flush notify feed fan_out)) {
		my @values = grep { defined } map { $_->{$step} } @rounds;
		emit(figure => 'latency', mode => $mode, step => $step, percentile => 50, devices => $DEVICES,
			rate => $RATE, unit => 'ms', spread(@values)) if @values;
	}
}
$_->end for $relay, $bare;
