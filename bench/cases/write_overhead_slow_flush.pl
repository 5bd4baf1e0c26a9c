#!/usr/bin/perl
#
# write_overhead on a disk that needs 2 ms more for a flush than this one
# does, with 32 writers: where commits wait together for the disk, what does
# capture add?
#
# The slow disk is commit_delay = 2000 with commit_siblings = 0: then every
# flush of the WAL, the worker's too, sleeps 2 ms while it holds the lock for
# writing, as a slow fsync would (the server checks no number of siblings when
# that is 0). That it really costs so much is measured first, by one writer on
# unpublished tables with and without it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Bench qw(emit median note paired pick ratio_to spread);
use BenchWriters;

my $WRITERS = pick(32, 32, 4);
my $DELAY_US = 2000;
my %GOAL = (worker => 0.90);

my $writers = BenchWriters->new(seconds => pick(3, 1, 0), transactions => pick(0, 0, 20),
	conf => "commit_delay = $DELAY_US\ncommit_siblings = 0\n");
$writers->wait_worker;

# Milliseconds of one writer's transaction, under this commit_delay.
sub lone_commit_ms {
	my ($delay_us) = @_;
	local $ENV{PGOPTIONS} = "-c commit_delay=$delay_us";
	return 1000 / $writers->run('bare', 'insert', 1);
}

my $lone = paired(pick(3, 3, 1), [fast => sub { lone_commit_ms(0) }], [slow => sub { lone_commit_ms($DELAY_US) }]);
my %added = spread(map { $lone->{slow}[$_] - $lone->{fast}[$_] } 0 .. $#{$lone->{slow}});
emit(figure => 'write_overhead_slow_flush', part => 'added to a flush', writers => 1, unit => 'ms', %added,
	baseline => median(@{$lone->{fast}}));
die "a flush is $added{value} ms slower, not 2\n" if $added{value} < 1.9;

for my $workload (BenchWriters::workloads()) {
	$writers->settle;
	note("$workload, $WRITERS writers");
	my $got = paired(pick(7, 3, 1), map { my $system = $_;
		[$system => sub { $writers->run($system, $workload, $WRITERS) }] } $writers->systems);
	for my $system (grep { $_ ne 'bare' } $writers->systems) {
		emit(figure => 'write_overhead_slow_flush', system => $system, workload => $workload,
			writers => $WRITERS, unit => 'ratio', better => 'higher', goal => $GOAL{$system},
			ratio_to($got, $system, 'bare'), tps => median(@{$got->{$system}}));
	}
}
