#!/usr/bin/perl
#
# A new device and a clinic of 1,000,000 rows: from the start of `clinic-cache
# sync --once` to its end, over the number of rows. Each round does all of these:
#
#	nothing built     a relay that has just started and has no snapshot
#	snapshot built    the second device: the relay has it
#	merge             into an app's file that has the tables already, empty as the
#	                  product demands, with the app's indexes on them (those of
#	                  sql/clinic_schema.sql), beside a table and rows of its own
#	replace           the same indexes on a full cache whose cursor the relay
#	                  refuses: every row goes and comes again
#	20 devices        at once, again nothing built, against one of the same round
#	COPY and .import  the baseline: COPY to csv by psql, then the sqlite3 shell's
#	                  .import into tables of the same definition
#
# Every file must hold as many rows of every table as the server.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use DBI;
use File::Copy qw(copy);
use File::Path qw(remove_tree);
use List::Util qw(max sum);
use Time::HiRes qw(usleep);
use Bench qw(emit note median paired pick ratio_to slurp spread);
use ClinicTest qw(now @TABLES);

my $patients = pick(50_000, 5_000, 20);	# about 20 rows each
my $rounds = pick(3, 3, 1);
my $MANY = pick(20, 20, 2);
my %GOAL = ('nothing built' => 200_000, 'snapshot built' => 400_000, merge => 100_000, replace => 100_000,
	many => 3);

my $clinic = Bench::clinic(patients => $patients);
my $dbh = $clinic->dbh;
my %rows = map { $_ => $dbh->selectrow_array("SELECT count(*) FROM $_") } @TABLES;
my $rows = sum values %rows;
note("$rows rows");

# ---- relays and devices ----------------------------------------------------------

my ($relay, $relays, $devices) = (undef, 0, 0);

# A relay that has no snapshot; the one before it ends and leaves nothing.
sub new_relay {
	if ($relay) {
		$relay->stop;
		remove_tree("$clinic->{dir}/$relay->{name}.snapshots");
		delete $clinic->{relay};
	}
	$relay = $clinic->relay(name => 'relay' . ++$relays)->wait_ready;
	return;
}

sub start_device {
	my ($name) = @_;
	return $clinic->device($name // 'device' . ++$devices, no_events => 1, words => ['--once', '--timeout', '600']);
}

sub check {
	my ($file) = @_;
	my $db = DBI->connect("dbi:SQLite:dbname=$file", '', '', {RaiseError => 1, PrintError => 0});
	for my $table (@TABLES) {
		my ($held) = $db->selectrow_array("SELECT count(*) FROM $table");
		die "$file: $held rows of $table, the server has $rows{$table}\n" if $held != $rows{$table};
	}
	$db->disconnect;
	return;
}

# The largest resident set of the relay and of any child it has now, in bytes.
my ($relay_peak, $device_peak) = (0, 0);
sub look_at_memory {
	my (@devices) = @_;
	my $pid = $relay->process->pid;
	my @children = map { /^(\d+) / } grep { /^\d+ \(.*\) \S $pid / }
		map { slurp($_) } glob '/proc/[0-9]*/stat';
	$relay_peak = max($relay_peak, map { Bench::memory_of($_, 'VmHWM') } $pid, @children);
	$device_peak = max($device_peak, map { $_->process->peak_memory } @devices);
	return;
}

# Seconds until all of them are level.
sub level {
	my ($began, @running) = @_;
	my @all = @running;
	while (@running) {
		look_at_memory(@running) if @all == 1;
		@running = grep { $_->process->alive } @running;
		usleep(10_000);
	}
	my $took = now() - $began;
	for my $device (@all) {
		my $code = $device->process->wait_exit;
		die "the device ended with $code:\n" . $device->process->output if $code;
		check($device->{file});
	}
	return $took;
}

# Files of a round are of no use to the next.
sub forget {
	my (@names) = @_;
	unlink glob "$clinic->{dir}/{" . join(',', @names, '') . '}.db*';
	return;
}

# ---- what a round does --------------------------------------------------------------

sub nothing_built {
	new_relay();
	return level(now(), start_device());
}

sub snapshot_built { return level(now(), start_device()) }

sub many_devices {
	new_relay();
	my $began = now();
	my @all = map { start_device() } 1 .. $MANY;
	my $took = level($began, @all);
	forget(map { $_->{name} } @all);
	return $took;
}

my ($first, $app_schema);	# a full cache, and its tables' definitions

# A new file with the clinic's tables, empty.
sub empty_file {
	my ($name) = @_;
	my $file = "$clinic->{dir}/$name.db";
	my $db = DBI->connect("dbi:SQLite:dbname=$file", '', '', {RaiseError => 1, PrintError => 0});
	$db->do('PRAGMA journal_mode = WAL');
	$db->do($app_schema->{$_}) for @TABLES;
	$db->disconnect;
	return $file;
}

# The app's side of a file: its indexes, a table of its own.
sub make_app_of {
	my ($file, @more) = @_;
	my $db = DBI->connect("dbi:SQLite:dbname=$file", '', '', {RaiseError => 1, PrintError => 0});
	my @indexes = map { s{INDEX}{INDEX IF NOT EXISTS}r }
		slurp(ClinicTest::root() . q(/sql/clinic_schema.sql)) =~ /^(CREATE (?:UNIQUE )?INDEX [^;]*);/mg;
	die "no indexes in sql/clinic_schema.sql\n" if !@indexes;
	$db->begin_work;
	$db->do($_) for @indexes, 'CREATE TABLE app_settings (id INTEGER PRIMARY KEY, value TEXT)', @more;
	$db->do(q(INSERT INTO app_settings WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
		SELECT i, 'a value of the app''s own' FROM n));
	$db->commit;
	$db->disconnect;
	return;
}

sub merge {
	make_app_of(empty_file('app'));
	my $took = level(now(), start_device('app'));
	forget('app');
	return $took;
}

sub replace {
	copy($first->{file}, "$clinic->{dir}/app.db") or die "app.db: $!\n";
	make_app_of("$clinic->{dir}/app.db",
		q(UPDATE clinic_sync_meta SET value = '1-0000000000000000' WHERE key = 'cursor'));
	my $took = level(now(), start_device('app'));
	forget('app');
	return $took;
}

sub copy_and_import {
	my $dir = "$clinic->{dir}/copied";
	mkdir($dir);
	my $file = empty_file('imported');
	my $db = DBI->connect("dbi:SQLite:dbname=$file", '', '', {RaiseError => 1, PrintError => 0});
	my %columns = map { my $table = $_; ($table => join ',', map { qq("$_->[1]") }
		@{$db->selectall_arrayref("PRAGMA table_info($table)")}) } @TABLES;
	$db->disconnect;
	my $began = now();
	my @copies = map { ('-c', "\\copy (SELECT $columns{$_} FROM $_) TO '$dir/$_.csv' (FORMAT csv)") } @TABLES;
	$clinic->cluster->psql(@copies);
	system('sqlite3', '-batch', $file, '.mode csv', map { ".import $dir/$_.csv $_" } @TABLES) == 0
		or die "the sqlite3 shell failed\n";
	my $took = now() - $began;
	check($file);
	remove_tree($dir);
	forget('imported');
	return $took;
}

# ---- the first device tells what its tables look like -----------------------------------

new_relay();
$first = start_device('first');
level(now(), $first);
$app_schema = {map { @$_ } @{$first->query(q(SELECT name, sql FROM sqlite_master WHERE type = 'table'))}};
($relay_peak, $device_peak) = (0, 0);

my %part = (
	'nothing built' => \&nothing_built,
	'snapshot built' => \&snapshot_built,
	merge => \&merge,
	replace => \&replace,
	many => \&many_devices,
	import => \&copy_and_import,
);
my $got = paired($rounds, ['round' => sub {
	my %took;
	# the second device and the merge find what the first one had built
	for my $name ('nothing built', 'snapshot built', 'merge', 'replace', 'import', 'many') {
		$took{$name} = $part{$name}->();
		note(sprintf '%s: %.2f s', $name, $took{$name});
	}
	forget(map { "device$_" } 1 .. $devices);
	return \%took;
}]);
my %seconds = map { my $name = $_; ($name => [map { $_->{$name} } @{$got->{round}}]) } keys %part;
my %rate = map { my $name = $_; ($name => [map { $rows / $_ } @{$seconds{$name}}]) } keys %part;
for my $name ('nothing built', 'snapshot built', 'merge', 'replace') {
	emit(figure => 'first_sync', part => $name, rows => $rows, devices => 1, unit => 'rows/s', goal => $GOAL{$name},
		spread(@{$rate{$name}}), baseline => median(@{$rate{import}}));
}
emit(figure => 'first_sync', part => 'nothing built, time over one', rows => $rows, devices => $MANY, unit => 'ratio',
	better => 'lower', goal => $GOAL{many}, ratio_to(\%seconds, 'many', 'nothing built'));
emit(figure => 'first_sync', part => 'memory of the relay', rows => $rows, unit => 'MB', rounds => $rounds,
	value => $relay_peak / 1048576);
emit(figure => 'first_sync', part => 'memory of the device', rows => $rows, unit => 'MB', rounds => $rounds,
	value => $device_peak / 1048576);
