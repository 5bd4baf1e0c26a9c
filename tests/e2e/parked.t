#!/usr/bin/perl
#
# The app's own files, of each generation and with every oddity: the server's
# rows live in the app's tables. Columns that these lack are skipped, and
# `verify` compares the rest; values keep the app's own conditions true. A row
# that the app's constraints refuse waits parked, counts as what it is, comes in
# when it can, and outlives kill -9; all else of its batch is there at once.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use DBI;
use JSON::PP;
use Test::More;
use AppFile;
use ClinicTest qw(wait_for);

my $clinic = ClinicTest->new(patients => 60);
my $dbh = $clinic->dbh;
$clinic->relay->wait_ready;

my %make = (fresh => \&AppFile::fresh_v43, upgraded => \&AppFile::upgraded_v43, odd => \&AppFile::odd);
my %device;
for my $name (sort keys %make) {
	my $path = "$clinic->{dir}/$name.db";
	$make{$name}->($path, rows => 0);
	$device{$name} = $clinic->device($name);
}
my $odd = $device{odd};

# (exit code, what it prints, the JSON object)
sub verify {
	my ($device) = @_;
	my ($code, $text) = $device->command('verify', '--access-code-file', $clinic->{code_file});
	my ($json_code, $json) = $device->command('verify', '--json', '--access-code-file', $clinic->{code_file});
	is($json_code, $code, "$device->{name}: --json ends as verify does");
	my ($line) = $json =~ /^(\{.*\})$/m;
	return ($code, $text, decode_json($line // '{}'));
}

sub all_verify {
	my ($what, %parked) = @_;
	for my $name (sort keys %device) {
		my ($code, $text, $json) = verify($device{$name});
		my $parked = $parked{$name} // 0;
		is($code, 0, "$what: $name equals the server") or diag($text);
		like($text, $parked ? qr/^ok\nparked: $parked\n/m : qr/^ok\n\z/m, "$what: $name says so");
		is($json->{parked}, $parked, "$what: $name: --json, too");
	}
	return;
}

# In the file as the app opens it: not read-only, without our settings.
sub app {
	my ($device, $sql, @values) = @_;
	my $db = DBI->connect("dbi:SQLite:dbname=$device->{file}", '', '', {RaiseError => 1, PrintError => 0});
	$db->sqlite_busy_timeout(10_000);
	my $rows = $db->selectall_arrayref($sql, undef, @values);
	$db->disconnect;
	return $rows;
}
sub one { my ($device, @words) = @_; my $rows = app(@_); return @$rows ? $rows->[0][0] : undef }
sub parked { my ($device) = @_; return $device->query('SELECT "table", key, reason FROM clinic_cache_parked ORDER BY 1, 2') }

$clinic->wait_level($_) for values %device;

# ---- every table, in the app's own forms ------------------------------------------------

all_verify('first sync');
for my $table (@ClinicTest::TABLES) {
	my ($server) = $dbh->selectrow_array(qq(SELECT count(*) FROM "$table"));
	is(one($device{$_}, qq(SELECT count(*) FROM "$table")), $server, "$table: $_ has its rows")
		for sort keys %device;
}
is(one($device{fresh}, q(SELECT count(*) FROM pragma_table_info('patients') WHERE name = 'firstName')), 0,
	'a column that the app lacks is not made');
is(one($odd, q(SELECT group_concat(DISTINCT typeof("isActive") || "isActive") FROM users)), 'text1',
	'a boolean in a TEXT column is 1, as the app writes it');
is(one($odd, q(SELECT count(*) FROM users WHERE "isActive" = 1)), one($odd, 'SELECT count(*) FROM users'),
	'… and found by = 1');
is(one($odd, q(SELECT count(*) FROM clinic_services WHERE typeof("defaultPrice") <> 'text'
	OR "defaultPrice" NOT LIKE '%.__')), 0, 'money in a TEXT column is the text of the server');
is(one($device{fresh}, q(SELECT count(*) FROM patient_bills WHERE typeof("totalAmount") <> 'real')), 0,
	'money in a REAL column is REAL');
is(one($odd, q(SELECT group_concat(DISTINCT quote("clinicCode") || visits || colour) FROM patients)),
	q(''0white), 'columns of the app get their default, or what a NOT NULL column can have');
is(one($odd, 'SELECT count(*) FROM patients WHERE "nameLength" = length("fullName")'),
	one($odd, 'SELECT count(*) FROM patients'), 'and computed ones compute');
is(one($odd, 'SELECT count(*) FROM app_audit'), 0, 'the triggers of the app did not run');

# ---- changes ------------------------------------------------------------------------------

app($odd, q(UPDATE patients SET visits = 7, colour = 'blue' WHERE id = 'JG-0001'));
$dbh->begin_work;
$dbh->do(q(UPDATE patients SET "firstName" = 'Ana', address = 'New Street 1' WHERE id = 'JG-0001'));
$dbh->do(q(UPDATE patients SET "firstName" = 'Only what the app lacks' WHERE id = 'JG-0002'));
$dbh->do(q(UPDATE clinic_services SET "defaultPrice" = 1500 WHERE id = (SELECT min(id) FROM clinic_services)));
$dbh->do(q(UPDATE users SET "isActive" = false WHERE id = (SELECT min(id) FROM users)));
$dbh->commit;
$clinic->wait_level($_) for values %device;
is_deeply(app($odd, q(SELECT address, visits, colour FROM patients WHERE id = 'JG-0001')),
	[['New Street 1', 7, 'blue']], 'an update leaves the columns of the app alone');
all_verify('after changes');

# ---- what the odd file refuses --------------------------------------------------------------

my ($service, $name) = $dbh->selectrow_array(q(SELECT id, "serviceName" FROM clinic_services ORDER BY id LIMIT 1));
my ($user) = $dbh->selectrow_array('SELECT max(id) FROM users');
$dbh->begin_work;
$dbh->do(q(INSERT INTO clinic_services (id, "serviceName", "defaultPrice") VALUES ('again', ?, 1)), undef, uc($name));
$dbh->do(q(UPDATE users SET role = 'nurse' WHERE id = ?), undef, $user);
$dbh->do(q(INSERT INTO clinic_services (id, "serviceName", "selectionCount") VALUES ('minus', 'Minus', -1)));
$dbh->do(q(UPDATE patients SET address = 'In the same batch' WHERE id = 'JG-0003'));
$dbh->commit;
$clinic->wait_level($_) for values %device;
is_deeply(parked($odd), [
	['clinic_services', '{"id":"again"}', 'UNIQUE constraint failed: clinic_services.serviceName'],
	['clinic_services', '{"id":"minus"}', 'CHECK constraint failed: selectionCount >= 0'],
	['users', qq({"id":"$user"}), q(CHECK constraint failed: role IN ('admin', 'doctor', 'medtech'))],
], 'what the constraints of the app refuse is parked, with the reason and no value');
is(one($odd, q(SELECT address FROM patients WHERE id = 'JG-0003')), 'In the same batch',
	'and the rest of the batch is there');
is_deeply(parked($device{fresh}), [], 'a file whose constraints are the usual ones parks nothing');
is_deeply([sort map { "$_->{table} " . encode_json($_->{key}) } grep { $_->{type} eq 'row_parked' } $odd->events],
	['clinic_services {"id":"again"}', 'clinic_services {"id":"minus"}', qq(users {"id":"$user"})],
	'an event tells each of them');
all_verify('with parked rows', odd => 3);
my ($code, $text, $json) = verify($odd);
like($text, qr/^parked: 3\n  clinic_services: 2 rows\n  users: 1 rows\n\z/m, 'verify names the tables');
is_deeply({map { $_->{table} => $_->{parked} } grep { $_->{parked} } @{$json->{tables}}},
	{clinic_services => 2, users => 1}, '… in --json, too');
$dbh->do(q(UPDATE users SET "fullName" = 'Changed while parked' WHERE id = ?), undef, $user);
$clinic->wait_level($odd);
all_verify('a parked row changes', odd => 3);

# ---- they outlive the process, and come in when they can -------------------------------------

$odd->kill9;
$dbh->do(q(UPDATE clinic_services SET "serviceName" = "serviceName" || ' (old)' WHERE id = ?), undef, $service);
$dbh->do(q(UPDATE users SET role = 'doctor' WHERE id = ?), undef, $user);
$odd->start;
$clinic->wait_level($odd);
is_deeply([map { $_->[1] } @{parked($odd)}], ['{"id":"minus"}'], 'two rows came in: their key changed, or what they clashed with');
is(one($odd, 'SELECT "fullName" FROM users WHERE id = ?', $user), 'Changed while parked', 'with what changed meanwhile');
all_verify('after a kill', odd => 1);

# ---- a new snapshot parks and brings in as well ------------------------------------------------

$odd->stop;
$dbh->do(q(UPDATE users SET role = 'cleaner' WHERE id = ?), undef, $user);
$dbh->do(q(UPDATE clinic_services SET "selectionCount" = 1 WHERE id = 'minus'));
$dbh->do(q(ALTER TABLE users ADD COLUMN shift text DEFAULT 'day'));	# rewrites every row: a resync
$odd->start;
$clinic->wait_level($_) for values %device;
is_deeply([map { "$_->[0] $_->[1]" } @{parked($odd)}], [qq(users {"id":"$user"})], 'after a resync other rows are parked');
is(one($odd, q(SELECT count(*) FROM pragma_table_info('users') WHERE name = 'shift')), 0, 'and the table is the app\'s still');
is_deeply(app($odd, q(SELECT visits, colour FROM patients WHERE id = 'JG-0001')), [[7, 'blue']], 'and so are its columns');
all_verify('after a resync', odd => 1);
$dbh->do(q(DELETE FROM users WHERE id = ?), undef, $user)
	if !$dbh->selectrow_array(q(SELECT 1 FROM appointments WHERE "doctorId" = ? LIMIT 1), undef, $user);
$dbh->do(q(UPDATE users SET role = 'admin' WHERE id = ?), undef, $user);
$clinic->wait_level($_) for values %device;
all_verify('in the end');
is(one($odd, 'PRAGMA integrity_check'), 'ok', 'and the odd file is sound');
done_testing();
