#!/usr/bin/perl
#
# Runs cases of the benchmark, one after the other.
#
#	bench/run.pl --scale full|quick|smoke [case …]
#
# All of bench/cases when none is named. The results of the run replace those
# of the last one in the file that BENCH_RESULTS names; its first line says on
# what machine they were taken. A case that fails does not keep the others
# from running; the exit status is 1 then, and 2 where no case ran.
use strict;
use warnings;
use FindBin;
use Getopt::Long;
use POSIX qw(strftime uname);
use lib "$FindBin::Bin/lib";
use Bench qw(emit slurp now);

my $scale = 'full';
GetOptions('scale=s' => \$scale) or exit 2;
my @cases = map { m{([^/]+)\.pl$} } sort glob "$FindBin::Bin/cases/*.pl";
if (@ARGV) {
	my %known = map { $_ => 1 } @cases;
	for my $name (grep { !$known{$_} } @ARGV) {
		print STDERR "there is no case \"$name\"; the cases are:\n", map { "\t$_\n" } @cases;
		exit 2;
	}
	@cases = @ARGV;
}

my ($system, undef, $release) = uname();
my ($version) = `@{[$ENV{PG_CONFIG} // 'pg_config']} --version` =~ /(\S+(?: \S+)?)/;
my ($memory) = slurp('/proc/meminfo') =~ /^MemTotal:\s+(\d+)/;
my ($os) = slurp('/etc/os-release') =~ /^PRETTY_NAME="?([^"\n]*)/m;
my $cores = () = slurp('/proc/cpuinfo') =~ /^processor/mg;
my ($cpu) = slurp('/proc/cpuinfo') =~ /^model name\s*:\s*(.*)/m;
unlink $ENV{BENCH_RESULTS} if $ENV{BENCH_RESULTS};
emit(figure => 'machine', value => $cores, unit => 'cores', rounds => 1, better => 'higher',
	cpu => $cpu, memory_mb => int($memory / 1024), os => $os // $system, kernel => $release,
	postgresql => $version, scale => $scale, date => strftime('%Y-%m-%d', gmtime));

my @failed;
for my $name (@cases) {
	my $began = now();
	local $ENV{BENCH_SCALE} = $scale;
	print STDERR "== $name\n";
	push @failed, $name if system($^X, "$FindBin::Bin/cases/$name.pl");
	printf STDERR "== %s: %.0f s%s\n", $name, now() - $began,
		@failed && $failed[-1] eq $name ? ', FAILED' : '';
}
print STDERR "failed: @failed\n" if @failed;
exit(@failed ? 1 : 0);
