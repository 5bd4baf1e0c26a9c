#!/usr/bin/perl
#
# Makes a run the committed one, and writes what the documents say of figures.
#
#	bench/keep.pl NEW        NEW becomes bench/results.jsonl, the documents follow
#	bench/keep.pl --docs     only the documents, from bench/results.jsonl
#	bench/keep.pl --check    exit status 1 when a document says something else
#
# So that no document drifts from what was measured, tables of figures stand
# between two marks, and only this program writes there:
#
#	<!-- figures: NAME … -->      lines of these figures; * is all of them
#	<!-- capacity -->             the table of docs/performance.md
#	<!-- machine -->              on what and when it was measured
#	<!-- end -->
#
# Only a full run of all cases can be kept, or results of different days and
# machines would stand side by side.
use strict;
use warnings;
use File::Copy qw(copy);
use FindBin;
use Getopt::Long;
use lib "$FindBin::Bin/lib";
use BenchCapacity qw(capacity_table);
use BenchResults qw(read_results title number goal_met);

my $results_file = "$FindBin::Bin/results.jsonl";
my @documents = ("$FindBin::Bin/README.md", "$FindBin::Bin/../docs/performance.md");
my ($check, $docs);
GetOptions('check' => \$check, 'docs' => \$docs) && @ARGV == ($check || $docs ? 0 : 1)
	or die "usage: keep.pl NEW | --docs | --check\n";

sub require_whole_run {
	my (@lines) = @_;
	my ($machine) = grep { $_->{figure} eq 'machine' } @lines;
	die "that run is not a full one: make bench\n" if !$machine || ($machine->{scale} // '') ne 'full';
	my %there = map { $_->{figure} => 1 } @lines;
	my @missing = grep { !$there{$_} } map { m{([^/]+)\.pl$} } glob "$FindBin::Bin/cases/*.pl";
	die "that run lacks: @missing\n" if @missing;
	return;
}

# ---- what stands between the marks ----------------------------------------------

sub row { return '| ' . join(' | ', @_) . " |\n" }

sub rows_of_figures {
	my ($wanted, @lines) = @_;
	my %wanted = map { $_ => 1 } @$wanted;
	@lines = grep { $_->{figure} ne 'machine' && ($wanted{'*'} || $wanted{$_->{figure}}) } @lines;
	return "Not measured yet.\n" if !@lines;
	my $text = row('figure', 'value', 'range of the rounds', 'baseline', 'goal') . "|---|---|---|---|---|\n";
	for my $line (@lines) {
		my $met = goal_met($line);
		$text .= row(title($line), number($line->{value}) . ($line->{unit} eq 'ratio' ? ' x' : " $line->{unit}"),
			defined $line->{low} && $line->{low} != $line->{high} ? number($line->{low}) . ' to ' . number($line->{high}) : '',
			number($line->{baseline}), !defined $met ? ''
				: ($line->{better} eq 'higher' ? '&ge; ' : '&le; ') . number($line->{goal}) . ($met ? '' : ' **missed**'));
	}
	return $text;
}

sub machine_text {
	my (@lines) = @_;
	my ($machine) = grep { $_->{figure} eq 'machine' } @lines;
	return "Not measured yet.\n" if !$machine;
	return sprintf "%s: %s cores (%s), %s MB, %s, Linux %s, %s.\n", $machine->{date}, $machine->{value},
		$machine->{cpu} // 'unknown', number($machine->{memory_mb}), $machine->{os}, $machine->{kernel}, $machine->{postgresql};
}

sub content {
	my ($mark, @lines) = @_;
	return rows_of_figures([split ' ', $1], @lines) if $mark =~ /^figures: (.*)/;
	return capacity_table(@lines) if $mark eq 'capacity';
	return machine_text(@lines) if $mark eq 'machine';
	die "no such mark: $mark\n";
}

# ---- files -------------------------------------------------------------------------

sub slurp_text {
	my ($file) = @_;
	open(my $in, '<', $file) or die "$file: $!\n";
	local $/;
	return scalar <$in>;
}

if (@ARGV) {
	require_whole_run(read_results($ARGV[0]));
	copy($ARGV[0], $results_file) or die "$results_file: $!\n";
}
my @lines = read_results($results_file);
my @differ;
for my $file (@documents) {
	my $before = slurp_text($file);
	my $after = $before =~ s/(<!-- ((?:figures: [^>]*?)|capacity|machine) -->\n).*?(<!-- end -->)/
		$1 . "\n" . content($2, @lines) . "\n" . $3/gser;
	next if $after eq $before;
	push @differ, $file;
	next if $check;
	open(my $out, '>', $file) or die "$file: $!\n";
	print $out $after;
	close($out) or die "$file: $!\n";
}
print map { "$_ does not say what bench/results.jsonl does: make bench-docs\n" } $check ? @differ : ();
exit($check && @differ ? 1 : 0);
