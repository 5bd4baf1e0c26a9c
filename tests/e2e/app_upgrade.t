#!/usr/bin/env perl
# The app upgrades its schema below a running sync, or while nobody syncs: it drops, rebuilds,
# alters and empties synced tables. Each is put right from the server at once, without a full
# snapshot, and nothing else of the file is touched. On the app's own file and on one we made.
use strict;
use warnings;
use DBI;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use AppFile;
use ClinicTest qw(wait_for slurp);

my $clinic = ClinicTest->new(patients => 30);
my $dir = $clinic->{dir};
my $dbh = $clinic->dbh;
my $relay = $clinic->relay(option => {sync_interval_s => 3600});	# drift is not to be found by comparing
my @access = ('--access-code-file', $clinic->{code_file});
my $writes = 0;

AppFile::upgraded_v43("$dir/app.db", rows => 30);
my %device = (
	app => $clinic->device('app', words => ['--adopt', 'server']),
	ours => $clinic->device('ours'),
);

# The app: its own process would do the same through its own SQLite, as this one does.
sub app {
	my ($name, @sql) = @_;
	my $db = DBI->connect("dbi:SQLite:dbname=$device{$name}{file}", '', '', {RaiseError => 1, PrintError => 0});
	$db->sqlite_busy_timeout(5000);
	$db->begin_work if $sql[0] ne 'VACUUM';
	$db->do($_) for @sql;
	$db->commit if $sql[0] ne 'VACUUM';
	$db->disconnect;
	return;
}

# The clinic goes on meanwhile.
sub server_writes {
	$writes++;
	$dbh->do(q(UPDATE patients SET "contactNumber" = ? WHERE id = (SELECT min(id) FROM patients)), undef, "call $writes");
	$dbh->do(q(UPDATE payments SET notes = ? WHERE id = (SELECT min(id) FROM payments)), undef, "note $writes");
	$dbh->do(q(INSERT INTO user_activity_log ("userId", "actionDescription", "timestamp")
		VALUES ('admin', ?, '2026-11-23')), undef, "write $writes");
	return;
}

sub events_of { my ($device, $type) = @_; return grep { $_->{type} eq $type } $device->events }

sub equal {
	my ($device) = @_;
	my ($code, $output) = $device->command('verify', @access, '--json');
	return $code == 0;
}

sub right_again {
	my ($name, $case, $table) = @_;
	my $device = $device{$name};
	ok(eval { wait_for("$case on $name", sub { server_writes(); equal($device) }, 20); 1 }, "$name: $case")
		or diag(($device->command('verify', @access))[1], $device->process->output);
	is($device->value('PRAGMA integrity_check'), 'ok', "$name: $case: sound");
	is(scalar(events_of($device, 'full_sync_completed')), 1, "$name: $case: without a snapshot") or diag $device->process->output;
	return;
}

for my $name (sort keys %device) {
	my $device = $device{$name};
	wait_for("first sync of $name", sub { $device->cursor });
	$clinic->wait_level($device);
	ok(equal($device), "$name: equal to begin with");
	app($name, q(CREATE TABLE upgrade_log (step TEXT, at TEXT)), q(INSERT INTO upgrade_log VALUES ('begin', 'now')));
}
my %log_rows = map { $_ => $device{$_}->value('SELECT count(*) FROM sync_log') } 'app';

for my $name (sort keys %device) {
	my $device = $device{$name};

	app($name, 'DROP TABLE appointments');
	right_again($name, 'a table is dropped');
	ok((grep { ($_->{table} // '') eq 'appointments' } events_of($device, 'table_sync_completed')),
		"$name: and fetched alone");

	app($name, q(ALTER TABLE patients ADD COLUMN "appNote" TEXT), q(UPDATE patients SET "appNote" = 'note of ' || id));
	right_again($name, 'a column of its own is added');
	is($device->value(q(SELECT count(*) FROM patients WHERE "appNote" = 'note of ' || id)),
		$device->value('SELECT count(*) FROM patients'), "$name: and keeps its values");

	app($name, 'ALTER TABLE patients RENAME COLUMN address TO "homeAddress"');
	right_again($name, 'a column is renamed');
	my $columns = join ' ', map { $_->[0] } @{$device->query(q(SELECT name FROM pragma_table_info('patients')))};
	like($columns, qr/\bhomeAddress\b/, "$name: it keeps its new name");
	if ($name eq 'ours') {
		like($columns, qr/\baddress\b/, 'ours: and the server\'s is there again');
		is($device->value('SELECT count(*) FROM patients WHERE address IS NULL'),
			$dbh->selectrow_array('SELECT count(*) FROM patients WHERE address IS NULL'), 'ours: with its values');
	} else {
		unlike($columns, qr/\baddress\b/, 'app: its schema is as it made it');
	}

	app($name, 'ALTER TABLE medical_records DROP COLUMN notes');
	right_again($name, 'a column is dropped');

	# as its onUpgrade does it, and half the rows are lost on the way
	my ($sql) = $device->value(q(SELECT sql FROM sqlite_schema WHERE name = 'payments'));
	(my $new = $sql) =~ s/payments/payments_new/;
	app($name, $new, 'INSERT INTO payments_new SELECT * FROM payments WHERE id % 2', 'DROP TABLE payments',
		'ALTER TABLE payments_new RENAME TO payments');
	right_again($name, 'a table is rebuilt and renamed');

	app($name, 'ALTER TABLE users ADD COLUMN "appColour" TEXT', 'DELETE FROM clinic_services', 'DELETE FROM users');
	right_again($name, 'tables are emptied in a migration');

	app($name, 'VACUUM');
	right_again($name, 'VACUUM');

	app($name, 'ALTER TABLE patient_history RENAME TO patient_history_v1');
	right_again($name, 'a table is renamed away');
	ok($device->value('SELECT count(*) FROM patient_history_v1'), "$name: under its new name it is the app's");

	# while nobody syncs: dropped and made anew, with fewer columns, and rows that the server never saw
	is($device->stop, 0, "$name: stopped");
	app($name, 'DROP TABLE patients', 'CREATE TABLE patients (id TEXT PRIMARY KEY, "fullName" TEXT NOT NULL,
		"birthDate" TEXT, "appOwn" INTEGER NOT NULL DEFAULT 7)', q(INSERT INTO patients (id, "fullName") VALUES ('APP-1', 'x')),
		'ALTER TABLE bill_items ADD COLUMN "appOwn" TEXT', 'DELETE FROM bill_items');
	server_writes();
	$device->start;
	right_again($name, 'an upgrade while nobody synced');
	is($device->value(q(SELECT count(*) FROM patients WHERE "appOwn" = 7)), $dbh->selectrow_array('SELECT count(*) FROM patients'),
		"$name: in the app's own form");

	is($device->value('SELECT count(*) FROM upgrade_log'), 1, "$name: other tables are as they were");
	my ($code, $status) = $device->command('status', '--json');
	$status = decode_json($status);
	ok($status->{foreign_writer}, "$name: another writer was noticed");
	cmp_ok($status->{repairs}, '>=', 1, "$name: $status->{repairs} repairs");
	diag("$name: journal $status->{journal_mode}: $status->{journal_reason}");
	is($status->{diverged}, 0, "$name: and nothing was taken for damage");
}
is($device{app}->value('SELECT count(*) FROM sync_log'), $log_rows{app}, "the app's log is as it was");
is($dbh->selectrow_array('SELECT count(*) FROM patients'), 30, 'nobody was deleted at the server');
done_testing();
