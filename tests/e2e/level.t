#!/usr/bin/perl
#
# What "level" promises: everything that was committed before the device asked.
# The relay polls once a minute here, so that only what it does for the device
# can find what no doorbell has told it yet; in each mode of notification, in
# small commits and in large ones. Many who ask at once cost a round or two.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for);
use ClinicTest::Raw;
use ClinicTest::Worker qw(wait_worker set_conf);

my $clinic = ClinicTest->new(preload => 1, patients => 5);
my $dbh = $clinic->dbh;
wait_worker($dbh);
my $relay = $clinic->relay(option => {poll_interval_ms => 60_000})->wait_ready;
my $count = 0;

# One commit of so many rows.
sub commit_rows {
	my ($writer, $rows) = @_;
	$writer->do(q(INSERT INTO user_activity_log ("userId", "actionDescription", details, "timestamp")
		SELECT 'admin', 'level', n::text, '2026-11-23' FROM generate_series(?::int, ?::int) n),
		undef, $count + 1, $count + $rows);
	$count += $rows;
	return;
}

# Ask at this cursor; where it is level, and how many changes came before that.
sub until_level {
	my ($raw, $cursor) = @_;
	my $changes = 0;
	$raw->request_sync($cursor, undef);
	$raw->wait_message('ready') or return ('nowhere', 0);
	while (my $message = $raw->wait_message(['database_change', 'heartbeat'])) {
		return ($cursor, $changes) if $message->{from} eq $message->{to};
		$changes += @{$message->{changes} // []};
		$cursor = $message->{to};
	}
	return ('nowhere', $changes);
}

sub once {
	my ($name) = @_;
	my $device = $clinic->device($name, words => ['--once', '--timeout', '60'], no_events => 1);
	is($device->process->wait_exit(60), 0, "$name: level");
	return $device;
}

sub has_all {
	my ($device, $what) = @_;
	return is($device->value(q(SELECT count(*) FROM user_activity_log WHERE "actionDescription" = 'level')), $count,
		"$what: with all that was committed before");
}

for my $mode (qw(worker commit off)) {
	set_conf($clinic, 'clinic_sync.notify', $mode);
	my $writer = $clinic->cluster->connect;
	my $device = once("$mode");
	has_all($device, "$mode, the first time");
	my $raw = ClinicTest::Raw->open(port => $relay->{port});
	$raw->client_info("raw-$mode");
	my ($cursor, $missed) = ($device->cursor, 0);
	for my $round (1 .. 60) {
		my $rows = $round % 20 ? 1 : 3000;
		commit_rows($writer, $rows);
		($cursor, my $came) = until_level($raw, $cursor);
		$missed++ if $came != $rows;
		last if $cursor eq 'nowhere';
	}
	is($missed, 0, "$mode: who asks right after a commit has it when it is level, every time");
	$raw->close;
	for my $rows (1, 20_000, 1) {
		commit_rows($writer, $rows);
		is($device->start->process->wait_exit(60), 0, "$mode, $rows rows: level");
		has_all($device, "$mode, $rows rows");
	}
}

# ---- a device of few tables ----------------------------------------------------------

# Its cursor moves over what does not concern it before the change that does.
my $few = $clinic->device('few', words => ['--once', '--timeout', '60', '--tables', 'patients'], no_events => 1);
is($few->process->wait_exit(60), 0, 'a device of one table: level');
for my $round (1 .. 10) {
	commit_rows($dbh, 1), $clinic->cut_batch for 1 .. 3;
	$dbh->do('UPDATE patients SET address = ? WHERE id = (SELECT min(id) FROM patients)', undef, "address $round");
	$few->start->process->wait_exit(60);
	my $address = $few->value('SELECT address FROM patients ORDER BY id LIMIT 1') // '';
	is($address, "address $round", "round $round: its table, behind others") or last;
}

# ---- many at once ----------------------------------------------------------------------

sub rounds { my ($n) = $relay->get('/metrics')->{content} =~ /^clinic_relay_rounds_total (\d+)$/m; return $n }

my $cursor = $dbh->selectrow_array('SELECT clinic_sync.current_cursor()');
my @all = map { ClinicTest::Raw->open(port => $relay->{port}) } 1 .. 200;
$all[$_]->client_info("many-$_") for 0 .. $#all;
my $before = rounds();
commit_rows($dbh, 1);
$relay->process->signal('STOP');
$_->request_sync($cursor, undef) for @all;
$relay->process->signal('CONT');
my $level = 0;
for my $raw (@all) {
	my $frame = $raw->wait_message('database_change') or last;
	my $heartbeat = $raw->wait_message('heartbeat') or last;
	$level++ if $frame->{from} eq $cursor && $heartbeat->{from} eq $frame->{to};
}
is($level, @all, 'many who ask at once are level');
my $cost = rounds() - $before;
cmp_ok($cost, '<=', 10, "after few rounds: $cost");
done_testing();
