#!/usr/bin/perl
#
# The consistency test: at every moment that an outside reader looks, a cache
# equals the server at exactly one batch, whatever is written and whatever dies.
#
# Writers write at random, five devices follow, processes and links die, a
# sampler looks at each cache all the time. Afterwards the oracle says from the
# server's WAL what the tables were at each batch (lib/Consistency/Oracle.pm),
# and every sample must be just that.
#
# Environment: SEED; MINUTES (a soak; default 1); CONSISTENCY_SECONDS and
# CONSISTENCY_COMMITS instead, for a shorter run whose other minimums shrink
# in proportion; CONSISTENCY_KEEP=1 keeps files of a run that passed;
# NOTIFY_MODE: worker (the default, for most can go wrong there), commit, off,
# or random, which the seed decides.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(usleep);
use ClinicTest qw(now wait_for slurp @TABLES);
use Consistency::Chaos;
use Consistency::Oracle;
use Consistency::Samples;
use Consistency::Tables qw(read_tables);
use Consistency::Workload qw(create_triggers defer_unique);
use Consistency::Writer;

my $seed = $ENV{SEED} // int rand 1e9;
my $seconds = $ENV{CONSISTENCY_SECONDS} // 60 * ($ENV{MINUTES} // 1);
my $scale = $seconds / 60;
my $least_commits = $ENV{CONSISTENCY_COMMITS} // int 20_000 * ($scale > 1 ? 1 : $scale);
my $least_samples = int 20_000 * ($scale > 1 ? 1 : $scale);
my $kills = $scale < 1 ? int(3 * $scale) || 1 : int 3 * $scale;
srand($seed);
my $mode = $ENV{NOTIFY_MODE} // 'worker';
$mode = (qw(worker commit off))[rand 3] if $mode eq 'random';
note "SEED=$seed seconds=$seconds NOTIFY_MODE=$mode";

my $clinic = ClinicTest->new(preload => $mode eq 'worker', conf => "deadlock_timeout = 20ms\n"
	. "max_connections = 60\nmax_wal_size = 4GB\nclinic_sync.notify = $mode\n", before_publish => \&defer_unique);
my $tables = read_tables($clinic->dbh, @TABLES);
create_triggers($clinic->dbh, $tables);
Consistency::Oracle::create_slot($clinic->dbh);

# Links through proxies: each device's to the relay, and the relay's to the server.
my $server_link = $clinic->proxy('link-server', $clinic->cluster->socket_path);
my $relay = $clinic->relay(dsn => $clinic->cluster->dsn(user => 'clinic_relay', host => '127.0.0.1',
	port => $server_link->port));
my (@devices, @samplers, @links);
for my $name (qw(a b c d e)) {
	push @links, $clinic->proxy("link-$name", "127.0.0.1:$relay->{port}");
	push @devices, $clinic->device($name, url => 'ws://127.0.0.1:' . $links[-1]->port . '/ws',
		no_events => $name ne 'a');
	push @samplers, ClinicTest::Process->start("sampler $name", log => "$clinic->{dir}/$name.sampler.log",
		argv => [$clinic->tools . '/cache_sampler', $devices[-1]{file}, "$clinic->{dir}/$name.samples"]);
}

pipe(my $reports, my $report) or die "pipe: $!\n";
my @writers = ((map { start_writer($_) } 1 .. 5), start_batcher());
close($report);
$reports->blocking(0);

my @kinds = (qw(relay device postgres link), $mode eq 'worker' ? 'worker' : ());
my $chaos = Consistency::Chaos->new(kinds => \@kinds, cluster => $clinic->cluster, relay => $relay, devices => \@devices,
	links => [@links, $server_link], seconds => $seconds, kills => $kills);
my ($commits, $told) = (0, now());
# A writer also counts transactions that changed nothing, about one in five; the oracle does not.
until ($chaos->is_over && $chaos->elapsed >= $seconds && $commits >= 1.5 * $least_commits) {
	$chaos->tick;
	while (sysread($reports, my $words, 65536)) {
		$commits += $words =~ tr/\n//;
	}
	die "only $commits commits after " . int($chaos->elapsed) . " s\n" if $chaos->elapsed > 4 * $seconds + 60;
	$told = tell_progress() if now() > $told + 10;
	usleep(5_000);
}
my $lasted = $chaos->elapsed;
$_->signal('TERM') for @writers;
$_->wait_exit(30) for @writers;

# Everything is mended: all caches must arrive, and be equal to the server.
$_->tell('resume') for @links, $server_link;
my $converge = now();
my $arrived = eval { $clinic->wait_level(@devices); 1 };
ok($arrived, 'after the last heal all devices reach the last batch') or diag($@);
note sprintf 'level %.1f s after the last write', now() - $converge;
$clinic->caches_equal('and are equal to the server', @devices) if $arrived;
my $server = join ' ', map { "$_=" . $clinic->server_digest($_) } @TABLES;
$_->stop for @samplers;

my $reading = now();
my $oracle = Consistency::Oracle->new($tables)->run($clinic->cluster->connect);
is($oracle->last_state, $server, 'the oracle agrees with the server in the end');
my $samples = Consistency::Samples->new;
$samples->check($_->{name}, "$clinic->{dir}/$_->{name}.samples", $oracle) for @devices;
is($samples->{fault_count} // 0, 0, 'every sample is the server at exactly its batch')
	or diag(join "\n", @{$samples->{faults}});
note sprintf 'oracle read %d changes in %.1f s', $oracle->{changes}, now() - $reading;

# No history is lost here and nothing is pruned: only a new file may need a snapshot.
my $said = slurp("$clinic->{dir}/relay.log");
my %reasons = map { ($_ => 1) } $said =~ /needs a snapshot: (\w+)/g;
delete $reasons{no_cursor};
is(join(' ', sort keys %reasons), '', 'no device is told to begin afresh for another reason than a new file');
unlike($said, qr/own cursor was refused/, 'nor the relay');
my ($resyncs, $damaged) = (0, 0);
for my $device (@devices) {
	my $log = slurp("$clinic->{dir}/$device->{name}.log");
	$resyncs += () = $log =~ /snapshot applied/g;
	$damaged += () = $log =~ /should be in the cache and is not|diverged/g;
}
is($damaged, 0, 'no device finds its cache damaged');
my %done = %{$chaos->{done}};
note join ' ', map { slurp("$clinic->{dir}/writer$_.log") } 1 .. 5;
diag sprintf 'seed %d, %.0f s, %d commits, kills: %s (and %d files thrown away), %d samples of %d cursors,'
	. ' %d batches, %d snapshots', $seed, $lasted, $oracle->{transactions},
	join(', ', map { "$done{$_} $_" } @kinds), $done{fresh}, $samples->{samples},
	scalar keys %{$samples->{cursors}}, scalar @{$oracle->{order}}, $resyncs;
if ($mode eq 'worker') {
	my ($all, $own) = $clinic->dbh->selectrow_array(
		'SELECT count(*), count(*) FILTER (WHERE by_worker) FROM clinic_sync.batch');
	cmp_ok($own, '>', $all / 10, "a good part of the batches is the worker's: $own of $all");
}
cmp_ok($lasted, '>=', $seconds, "at least $seconds s");
cmp_ok($oracle->{transactions}, '>=', $least_commits, "at least $least_commits commits");
cmp_ok($done{$_}, '>=', $kills, "at least $kills kills: $_") for @kinds;
cmp_ok($samples->{samples}, '>=', $least_samples, "at least $least_samples samples");
done_testing();

sub start_writer {
	my ($number) = @_;
	return ClinicTest::Process->start("writer $number", log => "$clinic->{dir}/writer$number.log", code => sub {
		my $stop = 0;
		local $SIG{TERM} = sub { $stop = 1 };
		Consistency::Writer->new(cluster => $clinic->cluster, tables => $tables, number => $number,
			seed => $seed + $number, kind => $number == 5 ? 'slow' : 'fast',
			bulk => $number == 1 ? 1500 : 0, pause_ms => 5, report => $report)->run(\$stop);
	});
}

# Batches are also cut by somebody else: another relay, or a DBA by hand.
sub start_batcher {
	return ClinicTest::Process->start('batcher', log => "$clinic->{dir}/batcher.log", code => sub {
		my ($stop, $dbh) = (0);
		local $SIG{TERM} = sub { $stop = 1 };
		srand($seed);
		while (!$stop) {
			$dbh //= eval { $clinic->cluster->connect };
			eval { $dbh->do('SELECT clinic_sync.make_batch()'); 1 } or undef $dbh;
			usleep(rand 150_000);
		}
	});
}

sub tell_progress {
	note sprintf '%.0f s: %d commits, %d kills, batches %s', $chaos->elapsed, $commits, $chaos->kills,
		join ' ', map { $_->batch } @devices;
	return now();
}
