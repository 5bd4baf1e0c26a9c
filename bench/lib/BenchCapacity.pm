# The capacity table of docs/performance.md, from figures that were measured.
#
# One relay is one thread; what it has to do for N devices is N times a change.
# So changes a second that N devices get in time are the deliveries a second
# that it was seen to hold, over N, and never more than writers can commit.
# The rest is linear in N as well. docs/performance.md explains the formulas.
package BenchCapacity;
use strict;
use warnings;
use Exporter 'import';
use List::Util qw(max min);
use BenchResults qw(number);
our @EXPORT_OK = qw(capacity_table);

my $CHANGE_BYTES = 320;	# of a change on the wire, as the fanout case sends them
my $RECONNECTS = 500;	# reconnect_per_s, its default

# The value of the first line that has all of these.
sub find {
	my ($lines, $key, %wanted) = @_;
	for my $line (@$lines) {
		return $line->{$key} if !grep { ($line->{$_} // '') ne $wanted{$_} } keys %wanted;
	}
	return;
}

# Two digits: what is computed from medians is no exacter.
sub about {
	my ($value) = @_;
	return number(sprintf '%.1f', $value) if $value < 10;
	my $unit = 10 ** max(0, int(log($value) / log(10)) - 1);
	return number($unit * int($value / $unit + 0.5));
}

sub capacity_table {
	my (@lines) = @_;
	my $deliveries = find(\@lines, 'value', figure => 'fanout', part => 'deliveries');
	my $transactions = find(\@lines, 'tps', figure => 'write_overhead', system => 'worker', workload => 'mixed',
		writers => 8, part => '');
	my $device_kb = find(\@lines, 'value', figure => 'memory', part => 'idle device');
	my $resume_s = find(\@lines, 'value', figure => 'resume', part => '', mode => 'worker');
	my $resume_devices = find(\@lines, 'devices', figure => 'resume', part => '', mode => 'worker');
	return "Not measured yet.\n" if grep { !defined } $deliveries, $transactions, $device_kb, $resume_s;

	my $commits = 5 * $transactions;
	my $text = "| devices | changes/s in time | at that rate, network | idle devices' memory | level after a relay restart |\n"
		. "|---|---|---|---|---|\n";
	for my $devices (10, 100, 1_000, 10_000) {
		my $changes = min($commits, $deliveries / $devices);
		my $back = max($resume_s * $devices / $resume_devices, $devices / $RECONNECTS);
		$text .= sprintf "| %s | %s (%s) | %s MB/s | %s MB | %s s |\n", number($devices), about($changes),
			$changes < $commits ? 'fan-out' : 'writers', about($changes * $devices * $CHANGE_BYTES / 1e6),
			about($devices * $device_kb / 1024), about($back);
	}
	return $text;
}

1;
