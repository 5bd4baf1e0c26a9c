#!/usr/bin/perl
#
# What does it cost to prove all the time that devices hold what the server
# does? 1, 100 and 1,000 devices ask for a digest every sync_interval_s. The relay
# answers all that ask for the same tables by one computation of the database, so
# a thousand devices are to cost PostgreSQL what one costs.
#
#	interval 1 s    the most that can be asked for. The CPU time of PostgreSQL and
#	                of the relay while devices ask, less that of the same devices
#	                when they do not, per minute; and how many digests a minute that is
#	interval 30 s   the default: digests a minute, over two intervals
#	a real device   what comparing 10,000 rows a round costs the device, and a proof
#	                of the whole file that clinic_sync.request_sync() asks for
#
# The database has 1,000,000 rows in the clinic's thirteen tables; a round covers
# up to 10,000. Devices are the generator's (device_load, prove) but for the last.
# Each must have got its answers, and no proof may have failed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use JSON::PP qw(encode_json);
use List::Util qw(max sum);
use Time::HiRes qw(usleep);
use Bench qw(emit median note now paired pick ratio_to spread wait_for);
use BenchCpu qw(cpu_seconds server_pid);
use BenchLive::Program;
use ClinicTest qw(slurp @TABLES);

my @DEVICES = pick([1, 100, 1000], [1, 100, 1000], [1, 10])->@*;
my $SECONDS = pick(10, 8, 2);
my $ROUNDS = pick(3, 1, 1);
my $GOAL = 1.5;	# of the cost of the most devices over that of one
my $LEAST = 0.01;	# seconds a minute that can be told from nothing

my $clinic = Bench::clinic(patients => pick(50_000, 5_000, 20));
my $dbh = $clinic->dbh;
my %rows = map { $_ => 0 + $dbh->selectrow_array("SELECT count(*) FROM $_") } @TABLES;
my $rows = sum values %rows;
note("$rows rows");
Bench::settle($dbh);

my $relay;
sub relay_with {
	my ($interval) = @_;
	$relay->stop if $relay;
	$relay = $clinic->{relay} = undef;
	$relay = $clinic->relay(name => "relay$interval", option => {max_devices => 10_000, sync_interval_s => $interval})
		->wait_ready;
	return;
}

sub metric {
	my ($name) = @_;
	return $relay->get('/metrics')->{content} =~ /^clinic_relay_\Q$name\E (\d+)$/m ? $1 : die "no metric $name\n";
}

# ---- the generator's devices ----------------------------------------------------------

sub devices {
	my ($count) = @_;
	$clinic->cut_batch;
	my ($cursor) = $dbh->selectrow_array('SELECT clinic_sync.current_cursor()');
	my $load = BenchLive::Program->start('device_load', '--port', $relay->{port}, '--cursor', $cursor,
		'--code-file', $clinic->{code_file}, '--devices', $count, '--most', 1, '--row-counts', encode_json(\%rows));
	$load->hear('connected');
	return $load;
}

# CPU seconds a minute and digests a minute over so many seconds.
sub watch {
	my ($seconds) = @_;
	my ($server, $process) = (server_pid($clinic), $relay->process->pid);
	my %before = (server => cpu_seconds($server), relay => cpu_seconds($process), rounds => metric('digest_rounds_total'));
	my $began = now();
	usleep($seconds * 1e6);	# the figure is a rate over this time
	my %after = (server => cpu_seconds($server), relay => cpu_seconds($process), rounds => metric('digest_rounds_total'));
	my $took = now() - $began;
	return {map { $_ => ($after{$_} - $before{$_}) * 60 / $took } keys %after};
}

# What asking adds: the same devices, silent and then asking.
sub cost {
	my ($count, $interval, $seconds, $alone) = @_;
	my $load = devices($count);
	my $silent = $alone ? {server => 0, relay => 0} : watch($seconds);
	$load->ask('reset', 'reset');
	my $rounds = metric('digest_rounds_total');
	$load->ask('prove ' . 1000 * $interval, 'proving');
	wait_for('the first digests', sub { metric('digest_rounds_total') > $rounds + 1 }, 4 * $interval + 30);
	my $got = watch($seconds);
	$load->ask('prove 0', 'proving');
	wait_for('all answers', sub { my $r = $load->ask('report', 'report'); $r->{digests} >= $count }, 3 * $interval + 30);
	my $report = $load->end;
	die "$report->{digests_failed} proofs failed\n" if $report->{digests_failed};
	note(sprintf('%d devices every %d s: %.0f digests a minute, PostgreSQL %.3f s (silent %.3f), relay %.3f s (silent %.3f) a minute; %d answers to %d requests',
		$count, $interval, $got->{rounds}, $got->{server}, $silent->{server}, $got->{relay}, $silent->{relay},
		@$report{qw(digests asked)}));
	my %cost = map { $_ => max($LEAST, $got->{$_} - $silent->{$_}) } qw(server relay);
	return {%cost, rounds => $got->{rounds}, digest => 1000 * $cost{server} / $got->{rounds}};
}

relay_with(1);
my $got = paired($ROUNDS, map { my $count = $_; [$count => sub { cost($count, 1, $SECONDS) }] } @DEVICES);
my %line = (figure => 'periodic_sync', rows => $rows, interval_s => 1);
sub side { my ($key) = @_; return {map { my $n = $_; ($n => [map { $_->{$key} } @{$got->{$n}}]) } keys %$got} }
for my $count (@DEVICES) {
	emit(%line, devices => $count, part => 'digests a minute', unit => 'rounds/min', better => 'lower',
		spread(@{side('rounds')->{$count}}));
	emit(%line, devices => $count, part => 'PostgreSQL, CPU a minute', unit => 's', spread(@{side('server')->{$count}}));
	emit(%line, devices => $count, part => 'PostgreSQL, CPU of a digest', unit => 'ms', spread(@{side('digest')->{$count}}));
	emit(%line, devices => $count, part => 'relay, CPU a minute', unit => 's', spread(@{side('relay')->{$count}}));
}
emit(%line, devices => $DEVICES[-1], part => 'PostgreSQL, CPU of a digest over one device', unit => 'ratio', better => 'lower', goal => $GOAL,
	ratio_to(side('digest'), $DEVICES[-1], $DEVICES[0]));
emit(%line, devices => $DEVICES[-1], part => 'relay, CPU a minute over one device', unit => 'ratio', better => 'lower',
	ratio_to(side('relay'), $DEVICES[-1], $DEVICES[0]));

# ---- a real device ----------------------------------------------------------------------

my $device = $clinic->device('real');
$clinic->wait_level($device);

# Its CPU time a minute while it compares, less that while it does not: sync_interval_s 0 is its relay's.
sub device_cpu {
	my ($seconds) = @_;
	my $rounds = metric('digest_rounds_total');
	my $before = cpu_seconds($device->process->pid);
	my $began = now();
	usleep($seconds * 1e6);
	my $took = now() - $began;
	return {cpu => (cpu_seconds($device->process->pid) - $before) * 60 / $took,
		rounds => (metric('digest_rounds_total') - $rounds) * 60 / $took};
}

sub sync_times { return scalar(() = slurp($device->{event_file}) =~ /"sync_now_completed"/g) }

my @real = map { device_cpu($SECONDS) } 1 .. $ROUNDS;
emit(%line, devices => 1, part => 'a device, CPU of a round', unit => 'ms',
	spread(map { $_->{rounds} ? 1000 * $_->{cpu} / $_->{rounds} : die "no round was asked for\n" } @real));
my (@took, @cpu);
for (1 .. $ROUNDS) {
	my ($times, $cpu, $began) = (sync_times(), cpu_seconds($device->process->pid), now());
	$dbh->do('SELECT clinic_sync.request_sync()');
	wait_for('the proof of the whole file', sub { sync_times() > $times }, 300);
	push @took, now() - $began;
	push @cpu, cpu_seconds($device->process->pid) - $cpu;
}
emit(%line, devices => 1, part => 'whole proof', unit => 's', spread(@took));
emit(%line, devices => 1, part => 'whole proof, CPU of the device', unit => 's', spread(@cpu));
$device->stop;

# ---- the default interval ---------------------------------------------------------------

if (Bench::scale() eq 'full') {
	relay_with(30);
	for my $count ($DEVICES[0], $DEVICES[-1]) {
		my $cost = cost($count, 30, 60, 1);
		emit(figure => 'periodic_sync', rows => $rows, interval_s => 30, devices => $count, part => 'digests a minute',
			unit => 'rounds/min', better => 'lower', value => $cost->{rounds}, rounds => 1);
	}
}
