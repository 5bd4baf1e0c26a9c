#!/usr/bin/perl
#
# All tables over the WebSocket alone: a new file, one that must be fetched
# again, a client that is killed while they come, and a file whose tables were
# all replaced while another program reads.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for slurp);

my $clinic = ClinicTest->new(patients => 300);
my $dbh = $clinic->dbh;
my $relay = $clinic->relay(option => {sync_interval_s => 0})->wait_ready;
my @words = ('--full-sync', 'link');

my $device = $clinic->device('a', words => [@words]);
$clinic->caches_equal('a new file, by the link alone', $device);
is((grep { $_->{type} eq 'full_sync_completed' } $device->events), 1, 'it says so once');
ok(!-e "$device->{file}.$_", "no $_ is left") for qw(snapshot-part snapshot-link table-part);
my $metrics = $relay->get('/metrics')->{content};
unlike($metrics, qr/_snapshots_served_total \d*[1-9]/, 'nothing was downloaded');
like($metrics, qr/_full_syncs_total 1\b/, '… but sent over the link');

# what a snapshot is needed for
$dbh->do('ALTER TABLE clinic_services ADD COLUMN colour text NOT NULL DEFAULT \'white\'');
$clinic->caches_equal('all tables again, after a change that needs it', $device);
is($device->value('SELECT count(*) FROM clinic_services WHERE colour = \'white\''),
	$dbh->selectrow_array('SELECT count(*) FROM clinic_services'), 'with the new column');

# killed while they come
$dbh->do(q(INSERT INTO user_activity_log ("userId", "actionDescription", details, "timestamp")
	SELECT 'admin', 'bulk', repeat('x', 200), '2026-11-23' FROM generate_series(1, 60000)));
my $link = $clinic->proxy('link', "127.0.0.1:$relay->{port}");
$link->tell('delay 20');
my $killed = $clinic->device('b', words => [@words], url => 'ws://127.0.0.1:' . $link->port . '/ws');
wait_for('rows to be staged', sub { -e "$killed->{file}.snapshot-link" }, 60);
$killed->kill9;
ok(!-e $killed->{file}, 'no file before all is there');
$link->tell('resume');
$killed->start;
$clinic->caches_equal('whole after a kill -9 in the midst', $killed);
ok(!-e "$killed->{file}.snapshot-link", 'nothing is left beside it');

# some tables only
my $some = $clinic->device('c', words => [@words, '--tables', 'patients,payments']);
$clinic->caches_equal('two tables', $some);
is($some->value('SELECT group_concat(name) FROM (SELECT name FROM clinic_sync_table ORDER BY name)'),
	'patients,payments', 'no others');

done_testing;
