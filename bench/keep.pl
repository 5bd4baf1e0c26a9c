#!/usr/bin/perl
#
# Makes a run the committed one, and writes what the documents say of figures.
#
#	bench/keep.pl NEW        NEW becomes bench/results.jsonl, the documents follow;
#	                         of some cases only: their lines replace those there
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
# What is kept was run at full scale. A run of some cases joins one of all only
# if both are of one day and machine, or what does not belong together would
# stand side by side.
use strict;
use warnings;
use FindBin;
use Getopt::Long;
use JSON::PP;
use lib "$FindBin::Bin/lib";
use BenchCapacity qw(capacity_table);
use BenchResults qw(read_results title number goal_met);

my $results_file = "$FindBin::Bin/results.jsonl";
my @documents = ("$FindBin::Bin/README.md", "$FindBin::Bin/../docs/performance.md");
my ($check, $docs);
GetOptions('check' => \$check, 'docs' => \$docs) && @ARGV == ($check || $docs ? 0 : 1)
	or die "usage: keep.pl NEW | --docs | --check\n";

sub machine_of { return (grep { $_->{figure} eq 'machine' } @_)[0] // {} }

# Cases that left no line.
sub missing_cases {
	my (@lines) = @_;
	my %there = map { $_->{figure} => 1 } @lines;
	return grep { !$there{$_} } map { m{([^/]+)\.pl$} } glob "$FindBin::Bin/cases/*.pl";
}

# The lines to keep: a whole run as it is, one of some cases within the kept one.
sub kept_with {
	my (@new) = @_;
	die "that run is not at full scale: make bench\n" if (machine_of(@new)->{scale} // '') ne 'full';
	my @missing = missing_cases(@new) or return @new;
	my @old = read_results($results_file) or die "no whole run is kept, and that one lacks: @missing\n";
	for my $key (qw(cpu date kernel memory_mb os postgresql value)) {
		my ($was, $is) = map { $_->{$key} // '' } machine_of(@old), machine_of(@new);
		die "that run lacks: @missing; and it cannot join the kept one, whose $key is $was, not $is\n" if $was ne $is;
	}
	my %replaced = map { $_->{figure} => 1 } @new;
	return sort { ($b->{figure} eq 'machine') <=> ($a->{figure} eq 'machine') || $a->{figure} cmp $b->{figure} }
		@new, grep { !$replaced{$_->{figure}} } @old;
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
	my @kept = kept_with(read_results($ARGV[0]));
	my $json = JSON::PP->new->canonical;
	open(my $out, '>', $results_file) or die "$results_file: $!\n";
	print $out map { $json->encode($_) . "\n" } @kept;
	close($out) or die "$results_file: $!\n";
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
