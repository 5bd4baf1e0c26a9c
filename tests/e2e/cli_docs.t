#!/usr/bin/env perl
# The manual page names exactly the options that each command has, and its exit table is the program's.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use ClinicTest qw(slurp);
use Test::More;

my $program = ClinicTest::build() . '/bin/clinic-cache';
my $page = slurp(ClinicTest::root() . '/docs/clinic-cache.1.md');
my @commands = qw(sync status verify watch);

# "  --url URL    what it is" of --help
sub options_of_help {
	my ($command) = @_;
	return sort `'$program' $command --help` =~ /^  (--\S+(?: [A-Z]\S*)?)/mg;
}

# Each "Of `a` and `b`:" of the page applies to the options below it.
sub options_of_page {
	my ($wanted) = @_;
	my ($options) = $page =~ /^# OPTIONS\n(.*?)^# /ms;
	my @found;
	my %now;
	for my $line (split /\n/, $options) {
		%now = map { $_ => 1 } $line =~ /`(\w+)`/g if $line =~ /^Of /;
		push @found, $1 if $line =~ /^`(--[^`]+)`$/ && $now{$wanted};
	}
	return sort @found;
}

for my $command (@commands) {
	my @help = options_of_help($command);
	cmp_ok(scalar @help, '>=', 4, "$command has options");
	is_deeply([options_of_page($command)], \@help, "the page has the options of $command");
}

my @listed = `'$program' --help` =~ /^  (\w+) +[a-z]/mg;
is_deeply([sort grep { $_ ne 'clinic' } @listed], [sort @commands], 'these are all commands');

my %codes = $page =~ /^\| (\d) \| (.*) \|$/mg;
is_deeply([sort keys %codes], [0 .. 5], 'the exit table is complete');
my ($version) = slurp(ClinicTest::root() . '/clinic_sync.control') =~ /default_version = '(.*)'/;
is(`'$program' --version`, "clinic-cache $version\n", 'the version is that of the release');

done_testing;
