#!/usr/bin/perl
#
# What moved since the results that are committed?
#
#	bench/compare.pl [--json] NEW [OLD]
#
# OLD is bench/results.jsonl. A figure moved when its new value lies outside
# what the old rounds ranged over, the old value outside what the new ones
# did, and the two are at least 5 % apart (10 % where a figure has one round
# only). What did not move is counted, not shown; goals that are missed are.
# --json: one object a line instead, every figure, with its verdict.
#
# Two machines, or a full and a quick run, are not the same experiment: that
# is said, and the comparison made all the same.
use strict;
use warnings;
use FindBin;
use Getopt::Long;
use JSON::PP;
use lib "$FindBin::Bin/lib";
use BenchResults qw(read_results identity title number goal_met columns);

my $as_json;
GetOptions('json' => \$as_json) && (@ARGV == 1 || @ARGV == 2)
	or die "usage: compare.pl [--json] NEW [OLD]\n";
my ($new_file, $old_file) = (@ARGV, "$FindBin::Bin/results.jsonl");
my @new = read_results($new_file) or die "$new_file: no results; run make bench first\n";
my %old = map { identity($_) => $_ } read_results($old_file);

# The range a value was seen in.
sub range {
	my ($line) = @_;
	my @values = grep { defined } @$line{qw(low value high)};
	@values = sort { $a <=> $b } @values;
	return @values[0, -1];
}

sub inside { my ($value, $low, $high) = @_; return $value >= $low && $value <= $high }

sub verdict {
	my ($line, $before) = @_;
	return 'new' if !$before;
	my $least = $line->{rounds} > 1 && $before->{rounds} > 1 ? 0.05 : 0.10;
	my ($is, $was) = ($line->{value}, $before->{value});
	return 'same' if inside($is, range($before)) || inside($was, range($line))
		|| abs($is - $was) <= $least * abs($was);
	return ($is > $was) == ($line->{better} eq 'higher') ? 'better' : 'worse';
}

sub percent {
	my ($is, $was) = @_;
	return $was ? sprintf('%+.0f %%', 100 * ($is / $was - 1)) : '';
}

my ($machine_new) = grep { $_->{figure} eq 'machine' } @new;
my ($machine_old) = grep { $_->{figure} eq 'machine' } values %old;
my %count;
my @shown;
my $json = JSON::PP->new->canonical;
for my $line (grep { $_->{figure} ne 'machine' } @new) {
	my $before = delete $old{identity($line)};
	my $verdict = verdict($line, $before);
	my $met = goal_met($line);
	$count{$verdict}++;
	$count{missed}++ if defined $met && !$met;
	if ($as_json) {
		print $json->encode({%$line, verdict => $verdict,
			defined $before ? (before => $before->{value}) : (),
			defined $met ? (goal_met => $met ? JSON::PP::true : JSON::PP::false) : ()}), "\n";
	} elsif ($verdict =~ /better|worse/ || defined $met && !$met) {
		push @shown, [title($line), number($line->{value}), $line->{unit},
			$before ? number($before->{value}) : '-', $before ? percent($line->{value}, $before->{value}) : '',
			$verdict, !defined $met ? '' : ($met ? 'meets ' : 'MISSES ') . number($line->{goal})];
	}
}
exit 0 if $as_json;

if (!$machine_old) {
	print "No results are committed yet to compare with.\n";
} else {
	for my $key (qw(scale cores os postgresql)) {
		my ($is, $was) = map { $key eq 'cores' ? $_->{value} : $_->{$key} // '' } $machine_new, $machine_old;
		print "Not the same experiment: $key was $was, is $is.\n" if $is ne $was;
	}
}
print columns(['figure', 'now', 'unit', 'was', 'change', 'verdict', 'goal'], @shown) if @shown;
# a run of one case says nothing of the others
my %ran = map { $_->{figure} => 1 } @new;
my @gone = grep { $ran{$_->{figure}} && $_->{figure} ne 'machine' } values %old;
print 'not measured any more: ', title($_), "\n" for @gone;
printf "%d figures moved for the better, %d for the worse, %d did not move, %d are new; %d miss their goal\n",
	map { $count{$_} // 0 } qw(better worse same new missed);
