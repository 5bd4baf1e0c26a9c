#!/usr/bin/perl
#
# Does the benchmark still work? Every case runs in its smallest form and must
# end well, with lines that hold what a line must hold. That a figure is good or
# bad is no business of this test: no time is asserted.
#
# And what stands on the lines afterwards: compare.pl tells movement from
# noise, and the documents say what bench/results.jsonl does.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use lib "$FindBin::Bin/../../bench/lib";
use File::Temp qw(tempdir);
use JSON::PP;
use Test::More;
use BenchCapacity qw(capacity_table);
use BenchResults qw(read_results identity);
use ClinicTest::Process;
use ClinicTest::Wait qw(slurp);

my $root = "$FindBin::Bin/../..";
my $build = $ENV{CLINIC_PLAIN_BUILD} // $ENV{CLINIC_BUILD} // 'build';
my $dir = tempdir(CLEANUP => 1);

# ---- the cases -----------------------------------------------------------------

sub lines_are_whole {
	my ($case, @lines) = @_;
	my %seen;
	for my $line (@lines) {
		my @wrong = grep { !defined $line->{$_} } qw(figure value unit rounds better);
		push @wrong, 'figure' if ($line->{figure} // '') ne $case;
		push @wrong, 'value' if ($line->{value} // '') !~ /^-?[\d.]+(?:e[-+]?\d+)?$/i;
		push @wrong, 'better' if ($line->{better} // '') !~ /^(?:higher|lower)$/;
		push @wrong, 'its like is there already' if $seen{identity($line)}++;
		return diag("$case: @wrong: " . encode_json($line)) && 0 if @wrong;
	}
	return scalar @lines;
}

for my $case (map { m{([^/]+)\.pl$} } sort glob "$root/bench/cases/*.pl") {
	my $results = "$dir/$case.jsonl";
	my $process = ClinicTest::Process->start($case, log => "$dir/$case.log",
		env => {BENCH_SCALE => 'smoke', BENCH_RESULTS => $results, CLINIC_BUILD => $build},
		argv => [$^X, "$root/bench/cases/$case.pl"]);
	my $code = $process->wait_exit(120);
	diag($process->output) if $code;
	ok($code == 0 && lines_are_whole($case, read_results($results)), "case $case");
}

my $nosuch = ClinicTest::Process->start('nosuch', log => "$dir/nosuch.log",
	argv => [$^X, "$root/bench/run.pl", 'latency', 'nosuch']);
is($nosuch->wait_exit(20), 2, 'a case that is not there: exit code 2');
like($nosuch->output, qr/\Athere is no case "nosuch".*^\tapply\n.*^\tlatency\n/ms, 'and which there are');

# ---- compare.pl ------------------------------------------------------------------

sub write_lines {
	my ($name, @lines) = @_;
	open(my $out, '>', "$dir/$name") or die "$dir/$name: $!\n";
	print $out map { encode_json($_) . "\n" } @lines;
	close($out);
	return "$dir/$name";
}

sub line {
	my ($part, $value, %more) = @_;
	return {figure => 'x', part => $part, value => $value, low => $value * 0.9, high => $value * 1.1,
		unit => 'ms', better => 'lower', rounds => 3, %more};
}

my $old = write_lines('old', line('quiet', 10), line('slower', 10), line('faster', 10), line('higher', 10, better => 'higher'),
	line('noisy', 10, high => 30), line('gone', 1));
my $new = write_lines('new', line('quiet', 10.5), line('slower', 14), line('faster', 7), line('higher', 14, better => 'higher'),
	line('noisy', 14), line('fresh', 1, goal => 0.5));
my %verdict = map { my $line = decode_json($_); ($line->{part} => $line->{verdict}) }
	split /\n/, `$^X $root/bench/compare.pl --json $new $old`;
is_deeply(\%verdict, {quiet => 'same', slower => 'worse', faster => 'better', higher => 'better', noisy => 'same',
	fresh => 'new'}, 'compare: only what moved beyond the noise of both runs moved');
my $said = `$^X $root/bench/compare.pl $new $old`;
like($said, qr/^x, slower .*\+40 % +worse/m, 'compare: a table of what moved');
like($said, qr/^x, fresh .*MISSES 0\.5/m, 'compare: and of goals that are missed');
like($said, qr/not measured any more: x, gone/, 'compare: and of what is gone');
unlike($said, qr/^x, (?:quiet|noisy)/m, 'compare: the rest is counted only');

# ---- the documents ----------------------------------------------------------------

is(`$^X $root/bench/keep.pl --check 2>&1`, '', 'the documents say what bench/results.jsonl does');
my $refused = `$^X $root/bench/keep.pl $new 2>&1`;
like($refused, qr/not at full scale/, 'a quick run is not kept');
my $other_day = write_lines('other_day', {figure => 'machine', value => 2, scale => 'full', date => '1999-12-31'}, line('quiet', 10));
like(`$^X $root/bench/keep.pl $other_day 2>&1`, qr/cannot join the kept one/, 'nor some cases of another machine or day');
like(capacity_table({figure => 'fanout', part => 'deliveries', value => 100_000},
	{figure => 'write_overhead', system => 'worker', workload => 'mixed', writers => 8, tps => 1000},
	{figure => 'memory', part => 'idle device', value => 5},
	{figure => 'resume', mode => 'worker', value => 4, devices => 1000}),
	qr{^\| 10 \| 5,000 \(writers\).*^\| 1,000 \| 100 \(fan-out\) \| 32 MB/s \| 4\.9 MB \| 4\.0 s \|$}ms, 'capacity by its formula');
done_testing();
