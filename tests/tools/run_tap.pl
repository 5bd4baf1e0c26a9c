#!/usr/bin/env perl
#
# Runs TAP tests and leaves their counts in a file, so that `make check` can
# add up parts that ran one after the other.
#
#	tests/tools/run_tap.pl --result FILE [--exec WORDS] [--jobs N] [--verbose] TEST...
#
# Like prove (it is the same harness); --exec runs `WORDS TEST`. The result is
# one line: passed failed seconds. A test that dies, or whose plan does not
# fit, counts as one failed test more. Exit status 0 when all passed.
use strict;
use warnings;
use Getopt::Long;
use TAP::Harness;

my %option = (jobs => 1, verbose => 0);
GetOptions(\%option, 'result=s', 'exec=s', 'jobs=i', 'verbose') or exit 2;
my $result = $option{result} or die "run_tap.pl: --result is missing\n";

my $harness = TAP::Harness->new({
	verbosity => $option{verbose} ? 1 : 0,
	timer => 1,
	jobs => $option{jobs},
	# our own modules, and without --exec each test by its first line
	lib => ['tests/e2e/lib'],
	defined $option{exec} ? (exec => [split ' ', $option{exec}]) : (),
});

my $began = time;
my ($passed, $failed) = (0, 0);
if (@ARGV) {
	my $sum = $harness->runtests(@ARGV);
	my %broken = map { $_ => 1 } $sum->wait, $sum->exit, $sum->parse_errors;
	$passed = $sum->passed;
	$failed = $sum->failed;
	# those that failed no single test and are broken all the same
	my %counted = map { $_ => 1 } $sum->failed;
	$failed += grep { !$counted{$_} } keys %broken;
} else {
	print "nothing to run\n";
	$failed = 1;
}

open(my $out, '>', $result) or die "$result: $!\n";
printf $out "%d %d %d\n", $passed, $failed, time - $began;
close($out) or die "$result: $!\n";
exit($failed ? 1 : 0);
