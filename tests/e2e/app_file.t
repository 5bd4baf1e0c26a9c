#!/usr/bin/env perl
# The app's files that other tests start from (lib/AppFile.pm): sound, different where the
# app's two generations differ, and equal to the server's rows where that was asked for.
use strict;
use warnings;
use DBI;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use AppFile;
use ClinicTest qw(@TABLES);

my $clinic = ClinicTest->new(patients => 25);
my %make = (fresh => \&AppFile::fresh_v43, upgraded => \&AppFile::upgraded_v43, odd => \&AppFile::odd);
my %db;

sub value { my ($db, $sql, @bind) = @_; return ($db->selectrow_array($sql, undef, @bind))[0] }

for my $form (sort keys %make) {
	my $path = $make{$form}->("$clinic->{dir}/$form.db", rows => 12);
	$db{$form} = DBI->connect("dbi:SQLite:dbname=$path", '', '',
		{RaiseError => 1, PrintError => 0, sqlite_unicode => 1});
	is(value($db{$form}, 'PRAGMA integrity_check'), 'ok', "$form: the file is sound");
	is(value($db{$form}, 'PRAGMA user_version'), 43, "$form: version 43");
	is(join(' ', grep { !value($db{$form}, "SELECT count(*) FROM $_") } sort @AppFile::SYNCED), '',
		"$form: rows in every synced table");
	is(value($db{$form}, 'SELECT count(*) FROM patients'), 12, "$form: as many patients as asked for");
	ok(value($db{$form}, 'SELECT count(*) FROM sync_log'), "$form: rows in a table of the app's own");
	ok(@{$db{$form}->selectall_arrayref('PRAGMA foreign_key_check')},
		"$form: keys that lead nowhere, as in the field");
}
is(join(' ', sort @AppFile::SYNCED), join(' ', sort @TABLES), 'the thirteen tables');

# ---- where the generations differ -----------------------------------------------------------

sub column {
	my ($form, $table, $name) = @_;
	my ($found) = grep { $_->[1] eq $name } @{$db{$form}->selectall_arrayref("PRAGMA table_info($table)")};
	return $found ? join(' ', $found->[3] ? 'not null' : 'nullable', $found->[4] // ()) : 'absent';
}

sub foreign_key {
	my ($form, $table, $name) = @_;
	my ($found) = grep { $_->[3] eq $name }
		@{$db{$form}->selectall_arrayref("PRAGMA foreign_key_list($table)")};
	return $found ? $found->[6] : 'absent';
}

sub object {
	my ($form, $name) = @_;
	return value($db{$form}, 'SELECT count(*) FROM sqlite_master WHERE name = ?', $name) ? 'present' : 'absent';
}

my @differences = (
	(map { ["patients.$_", sub { column($_[0], 'patients', $_[1]) }, $_, 'absent', 'nullable'] }
		qw(firstName middleName lastName suffix civilStatus)),
	['isSeniorCitizen', sub { column($_[0], 'patients', 'isSeniorCitizen') }, '', 'absent', 'nullable 0'],
	(map { [$_, sub { object(@_) }, $_, 'present', 'absent'] }
		qw(idx_patients_fullName idx_patients_birthDate generated_documents doctor_availability)),
	['isWalkIn', sub { column($_[0], 'appointments', 'isWalkIn') }, '', 'not null 0', 'nullable 0'],
	['appointments FK', sub { foreign_key($_[0], 'appointments', 'patientId') }, '', 'CASCADE', 'NO ACTION'],
	['queueNumber', sub { column($_[0], 'active_patient_queue', 'queueNumber') }, '', 'not null', 'nullable 0'],
	['paymentStatus', sub { column($_[0], 'active_patient_queue', 'paymentStatus') }, '', 'nullable',
		q(nullable 'Pending')],
	['queue FK', sub { foreign_key($_[0], 'active_patient_queue', 'patientId') }, '', 'absent', 'SET NULL'],
	['queue FK', sub { foreign_key($_[0], 'active_patient_queue', 'addedByUserId') }, '', 'absent', 'SET NULL'],
	['payments.billId', sub { column($_[0], 'payments', 'billId') }, '', 'not null', 'nullable'],
	['payments FK', sub { foreign_key($_[0], 'payments', 'billId') }, '', 'CASCADE', 'SET NULL'],
	['patientName', sub { column($_[0], 'payments', 'patientName') }, '', 'not null', q(not null 'Unknown')],
	['idx_invoiceNumber', sub { object($_[0], 'idx_invoiceNumber') }, '', 'absent', 'present'],
	(map { [$_, sub { object(@_) }, $_, 'absent', 'present'] }
		qw(idx_clinic_services_serviceName idx_patient_bills_status idx_user_activity_log_userId
		idx_medical_records_appointmentId idx_medical_records_serviceId)),
);
for my $d (@differences) {
	my ($name, $look, $argument, $fresh, $upgraded) = @$d;
	is($look->('fresh', $argument) . ' / ' . $look->('upgraded', $argument), "$fresh / $upgraded",
		"fresh / upgraded: $name");
}
for my $form (qw(fresh upgraded)) {
	ok(!eval { $db{$form}->do("UPDATE patient_bills SET invoiceNumber = 'INV-000001'"); 1 },
		"$form: an invoice number is unique");
}
is(object('odd', $_), 'present', "odd: $_") for qw(unpaid_bills patients_audit idx_patients_lower);
is(value($db{odd}, 'SELECT typeof(defaultPrice) FROM clinic_services'), 'text', 'odd: money as text');
is(value($db{odd}, 'SELECT typeof(isActive) FROM users'), 'text', 'odd: flags as text');
like(value($db{odd}, "SELECT sql FROM sqlite_master WHERE name = 'patients'"), qr/WITHOUT ROWID/,
	'odd: no rowid');
is(column('odd', 'patients', 'firstName'), 'absent', 'odd: patients as the fresh file has them');
is(column('odd', 'payments', 'billId'), 'nullable', 'odd: payments as the upgraded file has them');
is(value($db{odd}, 'SELECT count(*) FROM app_audit'), 12, "odd: the app's trigger has run");

# ---- the same seed, and the server's rows ---------------------------------------------------

my @dumps = map {
	my $path = AppFile::fresh_v43("$clinic->{dir}/seed$_->[0].db", rows => 12, seed => $_->[1]);
	scalar(`sqlite3 '$path' .dump`);
} [1, 7], [2, 7], [3, 8];
ok($dumps[0] eq $dumps[1], 'the same seed, the same rows');
ok($dumps[0] ne $dumps[2], 'another seed, other rows');

for my $form (sort keys %make) {
	my $path = $make{$form}->("$clinic->{dir}/same.$form.db", same_as_server => $clinic->dbh,
		journal_mode => 'wal');
	my $same = DBI->connect("dbi:SQLite:dbname=$path", '', '', {RaiseError => 1, sqlite_unicode => 1});
	my @differing = grep { value($same, "SELECT count(*) FROM $_")
		!= value($clinic->dbh, "SELECT count(*) FROM $_") } @AppFile::SYNCED;
	is("@differing", '', "same as the server, $form: as many rows");
	is(value($same, "SELECT birthDate || ' ' || registrationDate FROM patients WHERE id = 'JG-0008'"),
		value($clinic->dbh, q(SELECT replace("birthDate"::text, ' ', 'T') || '.000 ' ||
			replace("registrationDate"::text, ' ', 'T') || '0' FROM patients WHERE id = 'JG-0008')),
		"same as the server, $form: moments as the app writes them");
	is(value($same, q(SELECT password FROM users WHERE username = 'admin')),
		'local password of user-1735000000001', "same as the server, $form: what is never sent is its own");
	is(value($same, 'PRAGMA journal_mode'), 'wal', "same as the server, $form: the journal asked for");
}

done_testing;
