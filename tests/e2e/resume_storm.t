#!/usr/bin/perl
#
# The relay dies, and all devices come back at once, each from another place:
# memory is filled at the start, so the log is not asked once; and where memory
# does not reach, one reading of the log serves them all.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use ClinicTest qw(now wait_for);
use ClinicTest::Raw;
use ClinicTest::Rows qw(parents_sql);

my ($devices, $batches, $rows) = (200, 50, 4);
my $clinic = ClinicTest->new(patients => 5);
my $dbh = $clinic->dbh;
my $relay = $clinic->relay(option => {reconnect_per_s => 200, admit_most => 20});
$relay->wait_ready;

sub cursor { return $dbh->selectrow_array('SELECT clinic_sync.current_cursor()') }
sub metrics { my %m = $relay->get('/metrics')->{content} =~ /^clinic_relay_(\w+) (\d+)$/mg; return \%m }

# Batches that no relay saw: {cursor, rows so far}.
my $count = 0;
sub write_batches {
	my @places = ({cursor => cursor(), rows => $count});
	for (1 .. $batches) {
		$dbh->do(q(INSERT INTO user_activity_log ("userId", "actionDescription", details, "timestamp")
			SELECT 'admin', 'storm', n::text, '2026-11-23' FROM generate_series(?::int, ?::int) n),
			undef, $count + 1, $count + $rows);
		$count += $rows;
		$clinic->cut_batch;
		push @places, {cursor => cursor(), rows => $count};
	}
	return @places;
}

# All come at once; each says where it was and reads until it has everything.
sub storm {
	my ($what, @places) = @_;
	my (@devices, @wrong);
	for my $i (0 .. $devices - 1) {
		my $raw = ClinicTest::Raw->open(port => $relay->{port});
		$raw->client_info("device-$i");
		push @devices, [$raw, $places[$i * 7 % @places]];
	}
	$relay->process->signal('STOP');
	$_->[0]->request_sync($_->[1]{cursor}, undef) for @devices;
	$relay->process->signal('CONT');
	for my $device (@devices) {
		my ($raw, $place) = @$device;
		my ($at, $have) = @$place{qw(cursor rows)};
		my $ready = $raw->wait_message('ready', 20);
		while ($have < $count) {
			my $frame = $raw->wait_message(['database_change', 'heartbeat', 'resync_required'], 20);
			last if !$frame || $frame->{type} eq 'resync_required' || $frame->{from} ne $at;
			$at = $frame->{to};
			last if grep { $_->{data}{details} ne ++$have } @{$frame->{changes} // []};
		}
		push @wrong, "$have of $count from $place->{rows} on" if !$ready || $have != $count;
	}
	ok(!@wrong, "$what: $devices devices have each row once, in order") or diag(join "\n", @wrong);
	return map { $_->[0] } @devices;
}

# ---- the relay was gone ----------------------------------------------------------

$relay->kill9;
my @places = write_batches();
$relay->start;
my @devices = storm('after a restart', @places);
my $seen = metrics();
is($seen->{resumes_memory_total}, $devices, 'all from memory');
is($seen->{resumes_log_total} + $seen->{catch_up_changes_total}, 0, 'without one query of the log');

# ---- how they are told to come back ------------------------------------------------

my $late = ClinicTest::Raw->open(port => $relay->{port});
my $spread_ms = $late->wait_message('connected')->{limits}{reconnect_spread_ms};
cmp_ok($spread_ms, '>=', 1000 * $devices / 200, 'they are told to spread their next coming');
cmp_ok($spread_ms, '<=', 1000 * ($devices + 2) / 200, 'over as long as reconnect_per_s says');
$_->close for @devices, $late;

# ---- memory does not reach back ----------------------------------------------------

$relay->stop;
$relay->{option}{ring_warm_changes} = 0;
@places = (@places, write_batches());
$relay->start;
$relay->wait_ready;
@devices = storm('from the log', @places);
$seen = metrics();
cmp_ok($seen->{resumes_log_total}, '>', $devices / 2, 'most from the log');
# how many come while a reading is under way is chance; alone each would read all it lacks
my $alone = 0;
$alone += $count - $places[$_ * 7 % @places]{rows} for 0 .. $devices - 1;
cmp_ok($seen->{catch_up_changes_total}, '<', $alone / 4, 'of which one reading serves many')
	or diag("$seen->{catch_up_changes_total} changes read, $count in the log, $alone without sharing");
$_->close for @devices;
done_testing();
