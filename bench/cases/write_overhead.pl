#!/usr/bin/perl
#
# What a published table costs those who write to it: transactions a second of
# pgbench (prepared statements) with each of the systems of BenchWriters over
# those with unpublished tables in the same round. One-row inserts and 5-row
# transactions (a bill, two items, a payment, the patient's place in the
# queue); 1, 8 and 32 writers.
#
# pgbench, the server, the worker and the listener share the machine's cores:
# what anything of that takes is taken from the writers.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Bench qw(emit median note paired pick ratio_to);
use BenchWriters;

my $AT = 8;	# the number of writers that the goals speak of
my %GOAL = (worker => 0.85);	# 0.90 is aimed at
my @BEATS = (['worker', 'plpgsql'], ['worker', 'pgq'], ['worker', 'notify'], ['commit', 'notify']);

my $writers = BenchWriters->new(seconds => pick(3, 1, 0), transactions => pick(0, 0, 5));
$writers->wait_worker;

sub report {
	my ($got, %of) = @_;
	my $with_goal = $of{writers} == $AT;
	my %line = (figure => 'write_overhead', %of, unit => 'ratio', better => 'higher');
	for my $system (grep { $_ ne 'bare' } $writers->systems) {
		emit(%line, system => $system, goal => $with_goal ? $GOAL{$system} : undef,
			ratio_to($got, $system, 'bare'), tps => median(@{$got->{$system}}));
	}
	for my $pair (grep { $got->{$_->[1]} } @BEATS) {
		emit(%line, system => $pair->[0], part => "over $pair->[1]", goal => $with_goal ? 1 : undef,
			ratio_to($got, @$pair));
	}
	return;
}

for my $workload (BenchWriters::workloads()) {
	for my $count (pick([1, 8, 32], [1, 8, 32], [2])->@*) {
		$writers->settle;
		note("$workload, $count writers");
		report(paired(pick(7, 3, 1), map { my $system = $_;
			[$system => sub { $writers->run($system, $workload, $count) }] } $writers->systems),
			workload => $workload, writers => $count);
	}
}
