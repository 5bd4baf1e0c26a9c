#!/usr/bin/perl
#
# Syncs asked for in SQL. With the periodic proof off, a row that was changed
# behind a client's back is put right only because somebody asked: on the device
# that was meant, in the tables that were meant, also on a device that was away
# and by a relay that was started since.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use DBI;
use Test::More;
use ClinicTest qw(now wait_for);

my $clinic = ClinicTest->new(patients => 50);
my $dbh = $clinic->dbh;
my $relay = $clinic->relay(option => {sync_interval_s => 0, report_interval_s => 1})->wait_ready;
my %device = map { $_ => $clinic->device($_) } qw(a b);
for my $device (values %device) {
	wait_for("first sync of $device->{name}", sub { $device->value('SELECT count(*) FROM patients') });
}

# Another program writes into a file, as no program should.
sub spoil {
	my ($device, $table, $column) = @_;
	my $db = DBI->connect("dbi:SQLite:dbname=$device->{file}", '', '', {RaiseError => 1, PrintError => 0});
	$db->sqlite_busy_timeout(5000);
	$db->do(qq(UPDATE "$table" SET "$column" = 'spoilt' WHERE rowid IN (SELECT rowid FROM "$table" LIMIT 3)));
	$db->disconnect;
	return;
}

sub spoilt {
	my ($device, $table, $column) = @_;
	return $device->value(qq(SELECT count(*) FROM "$table" WHERE "$column" = 'spoilt'));
}

sub done { my ($device) = @_; return $device->value(q(SELECT value FROM clinic_sync_meta WHERE key = 'sync_request')) // 0 }

sub request {
	my ($sql, @devices) = @_;
	my ($id) = $dbh->selectrow_array("SELECT clinic_sync.$sql");
	for my $device (@devices) {
		wait_for("$sql on $device->{name}", sub { done($device) == $id }, 20);
	}
	return $id;
}

# The id by which the server knows a device: its relay reports it.
sub id_of {
	my ($device) = @_;
	my $id = $device->value(q(SELECT value FROM clinic_sync_meta WHERE key = 'device_id'))
		// $device->value(q(SELECT value FROM clinic_cache_local WHERE key = 'device_id'));
	wait_for("the report of $device->{name}", sub {
		($dbh->selectrow_array('SELECT count(*) FROM clinic_sync.devices WHERE id = ? AND connected', undef, $id))[0]
	});
	return $id;
}

sub metric {
	my ($name) = @_;
	return ($relay->get('/metrics')->{content} =~ /^clinic_relay_$name (\d+)$/m)[0];
}

my ($a, $b) = @device{qw(a b)};
my $a_id = id_of($a);

# One device, one table.
spoil($_, 'patients', 'fullName') for $a, $b;
spoil($a, 'users', 'email');
my $first = request("request_sync('{patients}', '$a_id')", $a);
wait_for('the repair', sub { !spoilt($a, 'patients', 'fullName') }, 20);
pass('request_sync() of a table on a device: it is put right');
is(spoilt($a, 'users', 'email'), 3, 'the other table is not looked at');
is(spoilt($b, 'patients', 'fullName'), 3, 'nor the other device');

# Patient data, on all devices.
spoil($a, 'payments', 'notes');
my $second = request('request_patient_data_sync()', $a, $b);
wait_for('the repairs', sub { !spoilt($a, 'payments', 'notes') && !spoilt($b, 'patients', 'fullName') }, 20);
pass('request_patient_data_sync(): bills and patients on all devices');
is(spoilt($a, 'users', 'email'), 3, 'not the users');
# (It says so when it next asks for a proof.)
wait_for('its report', sub { ($dbh->selectrow_array('SELECT repairs FROM clinic_sync.devices WHERE id = ?', undef, $a_id))[0] });
like(($dbh->selectrow_array('SELECT string_agg(p, $$ $$) FROM clinic_sync.problems() p'))[0], qr/device \Q$a_id\E .*had to repair/, 'and told of');

# Everything.
request('request_sync()', $a, $b);
wait_for('the repair', sub { !spoilt($a, 'users', 'email') }, 20);
pass('request_sync(): everything');

# A table anew, though nothing differs; without a doorbell.
$dbh->do('ALTER DATABASE clinic SET clinic_sync.notify = off');
my $silent = $clinic->cluster->connect;
my $bytes = metric('table_sync_bytes_total');
my ($id) = $silent->selectrow_array(q(SELECT clinic_sync.resync_table('payments')));
wait_for('the table', sub { done($a) == $id && done($b) == $id }, 20);
wait_for('its frames', sub { metric('table_sync_bytes_total') > $bytes + 2000 });
pass('resync_table() without a doorbell: both fetch it');
is(metric('syncs_requested_total'), 4, 'four requests, each read once');

# Who was away, and a relay that was not there.
$b->stop;
$relay->stop;
spoil($b, 'patients', 'fullName');
my ($missed) = $dbh->selectrow_array(q(SELECT clinic_sync.request_sync('{patients}')));
$dbh->do('BEGIN');
$dbh->do('SELECT clinic_sync.request_sync()');
$dbh->do('ROLLBACK');
$relay->start->wait_ready;
$b->start;
wait_for('what was missed', sub { done($b) == $missed && done($a) == $missed }, 30);
wait_for('the repair', sub { !spoilt($b, 'patients', 'fullName') }, 20);
pass('a request made while relay and device were away is done when they are back');

# A new file has everything: older requests are no business of its.
my $c = $clinic->device('c');
wait_for('first sync of c', sub { done($c) >= $missed }, 20);
is(done($c), $missed, 'a new file counts what was asked before as done');
cmp_ok($first, '<', $second, 'ids rise');
$clinic->caches_equal('all rows in the end');
done_testing();
