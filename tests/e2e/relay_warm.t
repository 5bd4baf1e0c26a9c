#!/usr/bin/perl
#
# A relay that restarts has forgotten everything; all devices come back at once.
# It reads what they missed once, before it answers the first of them, and no
# device costs a query. What does not fit its memory is not read.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for);
use ClinicTest::Rows qw(parents_sql insert_sql);

my $clinic = ClinicTest->new(patients => 5);
my $dbh = $clinic->dbh;
$dbh->do(parents_sql());
my $relay = $clinic->relay->wait_ready;
$clinic->device($_) for qw(a b c);
$clinic->caches_equal('first sync');
my $number = 0;

sub metric {
	my ($name) = @_;
	my ($value) = $relay->get('/metrics')->{content} =~ /^clinic_relay_$name (\d+)$/m;
	return $value;
}

sub catch_up_connections {
	return $dbh->selectrow_array(
		q(SELECT count(*) FROM pg_stat_activity WHERE application_name = 'clinic-relay/catch-up'));
}

# Commits and batches while nobody looks; then the relay is back with these options.
sub away_and_back {
	my ($commits, %option) = @_;
	$relay->stop;
	for (1 .. $commits) {
		$dbh->do(insert_sql('payments', ++$number));
		$dbh->do('SELECT clinic_sync.make_batch()') if $number % 3 == 0;
	}
	$relay->{option} = \%option;
	$relay->start->wait_ready;
	$clinic->caches_equal("$commits commits while the relay was away");
	return;
}

away_and_back(40);
cmp_ok(metric('warm_changes'), '>=', 40, 'what was missed is read before anybody asks');
is(metric('resumes_log_total'), 0, 'no device reads the log');
is(metric('resumes_memory_total'), 3, 'all go on from memory');
is(metric('catch_up_changes_total'), 0, 'nothing is read twice');
is(catch_up_connections(), 0, 'there is not even a connection for it');

away_and_back(40, ring_warm_changes => 0);
is(metric('warm_changes'), 0, 'switched off: nothing is read');
is(metric('resumes_log_total'), 3, 'and devices read the log');

# 300 changes of 1 kB do not fit half of the smallest memory.
$dbh->do(q(UPDATE payments SET notes = repeat('x', 1000))) for 1 .. 10;
$dbh->do('SELECT clinic_sync.make_batch()');
away_and_back(200, ring_bytes => '128kB', max_frame_bytes => '32kB');
cmp_ok(metric('warm_changes'), '<', 300, 'no more is read than memory can hold');
cmp_ok(metric('warm_changes'), '>', 0, 'but some is');

# The past is not whole: that is no reason not to work.
$relay->stop;
$dbh->do(insert_sql('payments', ++$number));
$dbh->do('SELECT clinic_sync.make_batch()');
my $segment = $dbh->selectrow_array(q(SELECT 'clinic_sync.change_log_' || max(id) FROM clinic_sync.segment));
$dbh->do("DELETE FROM $segment WHERE seq = (SELECT max(seq) FROM $segment)");
$dbh->do(insert_sql('payments', ++$number));
$relay->{option} = {};
$relay->start->wait_ready;
like($relay->process->output, qr/warning: the past cannot be read into memory: log_incomplete/, 'a hole in the past is said');
$clinic->caches_equal('devices take a snapshot where the log leads no further');
done_testing();
