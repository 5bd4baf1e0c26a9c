#!/usr/bin/perl
#
# Relays and devices stop, die and come back: a device goes on from its cursor
# without a new snapshot; SIGTERM says goodbye and ends in time.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(now wait_for);
use ClinicTest::Rows qw(parents_sql insert_sql);

my $clinic = ClinicTest->new(patients => 20);
$clinic->dbh->do(parents_sql());
my $relay = $clinic->relay;
my $device = $clinic->device('a');
$clinic->caches_equal('first sync');

# What the relay logged of a table since it was started, in order.
sub synced {
	my ($table) = @_;
	return [$relay->process->output =~ /Synced (\d+) records from table \Q$table\E\b/g];
}

for my $table (qw(patients users)) {
	is_deeply(synced($table), [$clinic->dbh->selectrow_array("SELECT count(*) FROM $table")],
		"the snapshot is logged with its rows of $table");
}

sub snapshots { return scalar grep { $_->{type} eq 'full_sync_completed' } $device->events }

$relay->kill9;
$clinic->dbh->do(insert_sql('payments', 1));
$relay->start;
$clinic->caches_equal('a change made while the relay was dead arrives');

my $began = now();
is($relay->stop, 0, 'SIGTERM: the relay ends with 0');
cmp_ok(now() - $began, '<', 5, 'within 5 s');
wait_for('the device to notice', sub { grep { $_->{type} eq 'disconnected' } $device->events });
$clinic->dbh->do(insert_sql('payments', 2));
$relay->start;
$clinic->caches_equal('and after a clean stop as well');

$device->kill9;
$clinic->dbh->do(insert_sql('payments', 3));
$clinic->cut_batch;
$relay->kill9;
$relay->start;
$device->start;
$clinic->caches_equal('a device that was away goes on from its cursor');
is(snapshots(), 1, 'all without another snapshot');
is_deeply(synced('payments'), [1], 'the resume is logged with its rows');

# Two relays on one server: the same batches, the same cursors.
my $second = $clinic->relay(name => 'relay-2');
$device->stop;
$device->{url} = $second->url;
$device->start;
$clinic->dbh->do(insert_sql('payments', 4));
$clinic->caches_equal('a cursor of one relay is good at another');
is(snapshots(), 1, 'without a snapshot');

$clinic->cluster->crash;
$clinic->cluster->start;
$clinic->dbh->do(insert_sql('payments', 5));
$clinic->caches_equal('the server crashed and came back: the relay found it again');
is(snapshots(), 1, 'without a snapshot');
is($device->stop, 0, 'SIGTERM: the device ends with 0');

# A relay without its database may be behind without knowing: it calls nobody level.
sub sync_once {
	my ($seconds) = @_;
	return $device->command('sync', '--url', $device->{url}, '--access-code-file',
		$device->{code_file}, '--once', '--timeout', $seconds);
}

is((sync_once(20))[0], 0, 'sync --once: level');
$clinic->cluster->stop;
wait_for('the relay to notice', sub { $second->get('/readyz')->{status} == 503 });
my ($code, $said) = sync_once(3);
is($code, 3, 'the server is down: not level, though the relay has no more');
like($said, qr/cannot reach PostgreSQL/, 'and why');
$clinic->cluster->start;
is((sync_once(20))[0], 0, 'the server is back: level');
done_testing();
