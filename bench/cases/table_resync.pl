#!/usr/bin/perl
#
# Does a table that is sent again hold up the others? A cache follows a table of
# 1,000,000 rows and another that gets 20 changes a second. From each COMMIT to
# the moment another process's SELECT finds the row in the SQLite file: first
# with nothing else going on (baseline), then while clinic_sync.resync_table()
# fetches the million rows anew, in turn.
#
#	during           the cache's table is what the server's is, as it mostly is:
#	                 it comes whole, is compared and proven
#	every row wrong  each row of it was changed behind the cache's back. What
#	                 differs is replaced in one transaction, so that nobody reads
#	                 a table that is half old and half new; the changes that come
#	                 meanwhile wait for it. How long it lasts is a line of its own
#	20 devices       all of them at once, a smaller table
#
# A change counts when the last cache has it. Each must have come exactly once,
# by the events, too, and every table must be the server's in the end.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use DBI;
use JSON::PP qw(decode_json);
use List::Util qw(max);
use Time::HiRes qw(time);
use Time::Local qw(timegm);
use Bench qw(emit median note paired percentile pick ratio_to spread);
use BenchCaches;
use ClinicTest qw(slurp);

my $ROWS = pick(1_000_000, 100_000, 500);
my $ROWS_OF_MANY = pick(100_000, 20_000, 100);
my $MANY = pick(20, 20, 2);
my $RATE = 20;
my $SECONDS = pick(10, 5, 0.5);
my $PATIENCE = 600;
my $GOAL_MS = 100;

# ---- the clinic ---------------------------------------------------------------------

# The periodic proof is off: only what is asked for is to happen.
my $clinic = Bench::clinic(schema => 0);
my $dbh = $clinic->dbh;
sub make_table {
	my ($name, $rows) = @_;
	$dbh->do("CREATE TABLE $name (id bigint PRIMARY KEY, name text NOT NULL, amount numeric(12,2), paid boolean,
		at timestamp, note text)");
	$dbh->do("INSERT INTO $name SELECT n, 'Reyes, Maria ' || n, n % 1000 + 0.25, n % 2 = 0,
		timestamp '2025-01-06 08:00' + n * interval '1 second', md5(n::text) FROM generate_series(1, $rows) n");
	return;
}
make_table('big', $ROWS);
make_table('medium', $ROWS_OF_MANY);
$dbh->do("CREATE TABLE $_ (id bigint PRIMARY KEY, mark text NOT NULL)") for qw(live live_of_many);
$dbh->do("SELECT clinic_sync.publish('$_')") for qw(big medium live live_of_many);
Bench::settle($dbh);
$clinic->relay(option => {sync_interval_s => 0})->wait_ready;

# ---- one resync ---------------------------------------------------------------------

# When these devices were told, each for the last time, that the table had come; none: not all yet.
sub completed {
	my ($table, $times, @devices) = @_;
	my $last = 0;
	for my $device (@devices) {
		my @lines = grep { /"table_sync_completed"/ && /"table":\s*"$table"/ } split /\n/, slurp($device->{event_file});
		return if @lines < $times;
		my ($y, $mo, $d, $h, $mi, $s) = decode_json($lines[-1])->{time} =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):([\d.]+)Z/;
		$last = max($last, timegm(int $s, $mi, $h, $d, $mo - 1, $y) + $s - int $s);
	}
	return $last;
}

my %times;	# table => how often each device has had it whole

# Seconds it took, and the times of the changes meanwhile.
sub resync {
	my ($stream, $table, @devices) = @_;
	$times{$table} //= 1;	# the first snapshot
	my ($asked, $done) = (time());
	$dbh->do('SELECT clinic_sync.resync_table(?::regclass)', undef, $table);
	$times{$table}++;
	my $span = $stream->run_until(rate => $RATE, condition => sub {
		time() - $asked < $PATIENCE or die "$table is not there after $PATIENCE s\n";
		$_->process->alive or die "$_->{name} ended:\n" . $_->process->output for @devices;
		return $done = completed($table, $times{$table}, @devices);
	});
	my @ms = $stream->latencies($span);
	note(sprintf('%s: %.1f s, %d changes meanwhile, p50 %.2f ms, p99 %.2f ms, at most %.2f ms', $table,
		$done - $asked, scalar @ms, percentile(0.5, @ms), percentile(0.99, @ms), max(@ms)));
	return {seconds => $done - $asked, ms => \@ms};
}

sub quiet {
	my ($stream) = @_;
	return {ms => [$stream->latencies($stream->run(rate => $RATE, seconds => $SECONDS))]};
}

sub longest_swap_ms {
	my ($device) = @_;
	my ($code, $said) = $device->command('status', '--json');
	return $code == 0 ? decode_json($said)->{longest_swap_ms} : die "status:\n$said";
}

# {side => [a percentile per round]}
sub figures {
	my ($got, $part) = @_;
	return {map { my $side = $_; ($side => [map { percentile($part / 100, @{$_->{ms}}) } @{$got->{$side}}]) } keys %$got};
}

# goal => of the 99th percentile
sub report {
	my ($got, $side, %line) = @_;
	my $goal = delete $line{goal};
	my $part = delete $line{part};
	%line = (figure => 'table_resync', %line);
	for my $percentile (50, 99) {
		my $figures = figures($got, $percentile);
		emit(%line, part => $part, percentile => $percentile, unit => 'ms', spread(@{$figures->{$side}}),
			baseline => median(@{$figures->{quiet}}), goal => $percentile == 99 ? $goal : undef);
	}
	emit(%line, part => "$part, slowest change", unit => 'ms',
		spread(map { max(@{$_->{ms}}) } @{$got->{$side}}), baseline => median(map { max(@{$_->{ms}}) } @{$got->{quiet}}));
	emit(%line, part => "$part, time", unit => 's', spread(map { $_->{seconds} } @{$got->{$side}}));
	return;
}

# Every change exactly once, and every table as the server has it.
sub check {
	my ($stream, @devices) = @_;
	$clinic->wait_level(@devices);
	for my $device (@devices) {
		my %got;
		$got{$_->{key}{id}}++ for grep { ($_->{table} // '') eq $stream->{table} && $_->{operation} } $device->events;
		my @wrong = grep { ($got{$_} // 0) != 1 } 1 .. $stream->{last};
		die "$device->{name}: changes not told of exactly once: @wrong[0 .. ($#wrong > 9 ? 9 : $#wrong)]\n" if @wrong;
		my $cache = $clinic->cache_digests($device);
		for my $table (sort keys %$cache) {
			$cache->{$table} eq $clinic->server_digest($table) or die "$device->{name}: $table differs from the server's\n";
		}
	}
	$stream->end;
	return;
}

# ---- one device, a large table ------------------------------------------------------

my $device = $clinic->device('one', words => ['--tables', 'big,live']);
$clinic->wait_level($device);
my $stream = BenchCaches->new($clinic, table => 'live', devices => [$device]);
$stream->run(rate => $RATE, seconds => 1);

# Each row of the table another one, while nobody syncs the file.
sub damage {
	$device->stop;
	my $db = DBI->connect("dbi:SQLite:dbname=$device->{file}", '', '', {RaiseError => 1, PrintError => 0});
	$db->do(q(UPDATE big SET note = note || 'x'));
	$db->disconnect;
	$device->start;
	$clinic->wait_level($device);
	return;
}

my $got = paired(pick(3, 3, 1), [quiet => sub { quiet($stream) }], [during => sub { resync($stream, 'big', $device) }]);
my %one = (rows => $ROWS, devices => 1, rate => $RATE);
report($got, 'during', part => 'during', goal => $GOAL_MS, %one);
my $swap_before = longest_swap_ms($device);
$got = paired(pick(2, 2, 1), [quiet => sub { quiet($stream) }], [wrong => sub { damage(); resync($stream, 'big', $device) }]);
report($got, 'wrong', part => 'every row wrong', %one);
emit(figure => 'table_resync', part => 'every row wrong, longest lock', unit => 'ms', rounds => 1, %one,
	value => longest_swap_ms($device), baseline => $swap_before);
check($stream, $device);
$device->stop;

# ---- many devices, a smaller table --------------------------------------------------

my @devices = map { $clinic->device("many$_", words => ['--tables', 'medium,live_of_many']) } 1 .. $MANY;
$clinic->wait_level(@devices);
$stream = BenchCaches->new($clinic, table => 'live_of_many', devices => \@devices);
$stream->run(rate => $RATE, seconds => 1);
$got = paired(pick(3, 2, 1), [quiet => sub { quiet($stream) }], [during => sub { resync($stream, 'medium', @devices) }]);
report($got, 'during', part => 'during', rows => $ROWS_OF_MANY, devices => $MANY, rate => $RATE);
check($stream, @devices);
