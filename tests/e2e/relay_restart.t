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
$clinic->caches_equal('a device that was away catches up from the log');
is(snapshots(), 1, 'all without another snapshot');

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
done_testing();
