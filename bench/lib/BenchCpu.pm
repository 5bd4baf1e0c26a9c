# What processes use of the CPU: a process, its children and theirs, those that
# have ended and were waited for included.
#
#	my $before = cpu_seconds($pid);
#	…
#	my $used = cpu_seconds($pid) - $before;
#
# Of what lives /proc tells nanoseconds; of what has ended hundredths of a
# second, rounded down once for all of them.
package BenchCpu;
use strict;
use warnings;
use Exporter 'import';
use List::Util qw(sum0);
use POSIX qw(sysconf _SC_CLK_TCK);
use Bench qw(slurp);
our @EXPORT_OK = qw(cpu_seconds server_pid);

my $TICK = 1 / sysconf(_SC_CLK_TCK);

# The fields of /proc/PID/stat behind the name, which may hold blanks; none where it has ended.
sub stat_of {
	my ($pid) = @_;
	my ($rest) = slurp("/proc/$pid/stat") =~ /^\d+ \(.*\) (.*)/s or return;
	return split ' ', $rest;
}

sub children {
	my ($pid) = @_;
	my @pids = map { m{(\d+)} } glob '/proc/[0-9]*';
	return grep { my @stat = stat_of($_); @stat && $stat[1] == $pid } @pids;
}

sub cpu_seconds {
	my ($pid) = @_;
	my @stat = stat_of($pid) or return 0;
	my $living = sum0(map { slurp($_) =~ /^(\d+)/ ? $1 / 1e9 : 0 } glob "/proc/$pid/task/[0-9]*/schedstat");
	my $ended = ($stat[13] + $stat[14]) * $TICK;
	return $living + $ended + sum0(map { cpu_seconds($_) } children($pid));
}

# The first process of a clinic's PostgreSQL.
sub server_pid {
	my ($clinic) = @_;
	return slurp($clinic->cluster->{PGDATA} . '/postmaster.pid') =~ /^(\d+)/ ? $1 : die "no server runs\n";
}

1;
