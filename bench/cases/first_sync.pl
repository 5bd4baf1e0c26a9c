#!/usr/bin/perl
#
# A new device and a large clinic: see bench/README.md. One JSON line per
# figure on stdout.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Bench qw(emit pick);
use List::Util qw(max sum);
use Time::HiRes qw(usleep);
use ClinicTest qw(now slurp @TABLES);

my $patients = pick(50_000, 50_000, 50);	# about 20 rows each
my $clinic = Bench::clinic(patients => $patients);
my $rows = sum map { $clinic->dbh->selectrow_array("SELECT count(*) FROM $_") } @TABLES;
my $relay = $clinic->relay;
$relay->wait_ready;

# The largest resident set of the relay and of any child it has now.
sub memory_of_tree {
	my ($pid) = @_;
	my @children = map { /^(\d+) / } grep { /^\d+ \(.*\) \S $pid / }
		map { slurp($_) } glob '/proc/[0-9]*/stat';
	return max map { slurp("/proc/$_/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 / 1024 : 0 } $pid, @children;
}

for my $name ('cold', 'shared') {	# the second finds the snapshot built
	my $began = now();
	my $device = $clinic->device($name, no_events => 1, words => ['--once', '--timeout', '600']);
	my ($relay_peak, $device_peak) = (0, 0);
	while ($device->process->alive) {
		$relay_peak = max($relay_peak, memory_of_tree($relay->process->pid));
		$device_peak = max($device_peak, $device->process->peak_memory / 1048576);
		usleep(20_000);
	}
	my $took = now() - $began;
	my $code = $device->process->wait_exit;
	die "the device ended with $code:\n" . $device->process->output if $code;
	my $held = sum map { $device->value("SELECT count(*) FROM $_") } @TABLES;
	die "$held of $rows rows arrived\n" if $held != $rows;
	emit(figure => 'first_sync', part => $name, unit => 'rows/s', value => $rows / $took, rounds => 1,
		devices => 1, relay_peak_mb => $relay_peak, device_peak_mb => $device_peak);
}
