# The clinic app's own SQLite file, as a device brings it to its first sync.
#
#	AppFile::fresh_v43($path, rows => 20);		a new installation's file
#	AppFile::upgraded_v43($path, rows => 20);	one that came through the app's migrations
#	AppFile::odd($path, rows => 20);		every oddity of both and more, see below
#
# rows => N: so many patients (20) and what belongs to them in all other tables,
# made from seed => S (1). Patients are JG-0001 and on, so some of them meet the
# server's sample patients under the same key with other content, as they do in
# the field. rows => 0: only the tables.
# same_as_server => $dbh: instead, the rows that the server behind this handle
# has now, in the app's own forms. Columns that the server never sends (passwords,
# answers, session tokens) get local_value().
# journal_mode => 'wal': else SQLite's own default, a rollback journal.
#
# The names, types, constraints and indexes are those of the app's version 43 in
# its two generations. They differ, and both are in use; the list of differences is
# checked by app_file.t.
package AppFile;
use strict;
use warnings;
use DBI;

our @SYNCED = qw(patients appointments medical_records users clinic_services user_sessions
	active_patient_queue patient_history patient_bills bill_items payments user_activity_log
	patient_queue);
# What no server sends: columns of each table.
our %LOCAL = (users => ['password', map { "securityAnswer$_" } 1 .. 3], user_sessions => ['sessionToken']);

sub local_value { my ($column, $key) = @_; return "local $column of $key" }

sub fresh_v43 { my ($path, %option) = @_; return build($path, [fresh_tables()], %option) }
sub upgraded_v43 { my ($path, %option) = @_; return build($path, [upgraded_tables()], %option) }
sub odd { my ($path, %option) = @_; return build($path, [odd_tables()], %option) }

sub build {
	my ($path, $statements, %option) = @_;
	unlink map { "$path$_" } '', '-journal', '-wal', '-shm';
	my $db = DBI->connect("dbi:SQLite:dbname=$path", '', '',
		{RaiseError => 1, PrintError => 0, sqlite_unicode => 1});
	$db->do('PRAGMA foreign_keys = OFF');	# the app never turns them on
	$db->do("PRAGMA journal_mode = $option{journal_mode}") if $option{journal_mode};
	$db->begin_work;
	$db->do($_) for @$statements;
	if ($option{same_as_server}) {
		copy_server($db, $option{same_as_server});
	} else {
		my $rows = AppFile::Rows->new($option{seed} // 1)->make($option{rows} // 20);
		insert($db, @$_) for @$rows;
	}
	$db->do('PRAGMA user_version = 43');
	$db->commit;
	$db->disconnect;
	return $path;
}

# Columns of a table that one may write.
sub columns_of {
	my ($db, $table) = @_;
	return map { $_->[1] } grep { !$_->[6] } @{$db->selectall_arrayref(qq(PRAGMA table_xinfo("$table")))};
}

# One row, of its columns those that the table has; tables that the file lacks are
# passed over.
sub insert {
	my ($db, $table, %row) = @_;
	my @columns = grep { exists $row{$_} } columns_of($db, $table) or return;
	$db->do(sprintf('INSERT INTO "%s" (%s) VALUES (%s)', $table, join(', ', map { qq("$_") } @columns),
		join(', ', ('?') x @columns)), undef, @row{@columns});
	return;
}

# ---- the server's rows ----------------------------------------------------------

# The value of a column in the app's form: 0/1 flags, ISO text with T.
sub app_form {
	my ($column, $type) = @_;
	my $name = qq("$column");
	return qq($name\::int) if $type eq 'boolean';
	return qq(regexp_replace(to_char($name, 'YYYY-MM-DD"T"HH24:MI:SS.US'), '000\$', ''))
		if $type eq 'timestamp without time zone';
	return qq($name\::text);
}

sub copy_server {
	my ($db, $server) = @_;
	for my $table (@SYNCED) {
		my %type = map { @$_ } @{$server->selectall_arrayref('SELECT column_name, data_type'
			. ' FROM information_schema.columns WHERE table_schema = ? AND table_name = ?', undef,
			'public', $table)};
		my ($key) = $table eq 'active_patient_queue' ? 'queueEntryId' : 'id';
		my %local = map { $_ => 1 } @{$LOCAL{$table} // []};
		my @columns = grep { $type{$_} && !$local{$_} } columns_of($db, $table);
		my $rows = $server->selectall_arrayref('SELECT '
			. join(', ', map { app_form($_, $type{$_}) . qq( AS "$_") } @columns)
			. qq( FROM public."$table" ORDER BY "$key"), {Slice => {}});
		for my $row (@$rows) {
			# the handle gives bytes, this file's takes text
			utf8::decode($_) for grep { defined } values %$row;
			$row->{$_} = local_value($_, $row->{$key}) for keys %local;
			insert($db, $table, %$row, extra($table));
		}
	}
	return;
}

# Values of the columns that only odd() has.
sub extra {
	my ($table) = @_;
	return $table eq 'patients' ? (clinicCode => 'MAIN', visits => 3) : ();
}

# ---- the tables -------------------------------------------------------------------

my $patients_columns = q(
	id TEXT PRIMARY KEY, fullName TEXT, birthDate TEXT, gender TEXT, contactNumber TEXT, email TEXT,
	address TEXT, bloodType TEXT, allergies TEXT, currentMedications TEXT, medicalHistory TEXT,
	emergencyContactName TEXT, emergencyContactNumber TEXT, createdAt TEXT, updatedAt TEXT,
	registrationDate TEXT);
my $users_columns = q(
	id TEXT PRIMARY KEY, username TEXT UNIQUE, password TEXT, role TEXT, fullName TEXT, email TEXT,
	contactNumber TEXT, securityQuestion1 TEXT, securityAnswer1 TEXT, securityQuestion2 TEXT,
	securityAnswer2 TEXT, securityQuestion3 TEXT, securityAnswer3 TEXT, workingDays TEXT,
	arrivalTime TEXT, departureTime TEXT, isActive INTEGER DEFAULT 1, createdAt TEXT, updatedAt TEXT);

# Those that both generations have in the same form.
sub common_tables {
	return (
		"CREATE TABLE users ($users_columns)",
		'CREATE INDEX idx_users_username ON users (username)',
		'CREATE INDEX idx_users_role ON users (role)',
		'CREATE TABLE patient_history (id INTEGER PRIMARY KEY AUTOINCREMENT, patientId TEXT NOT NULL,
			fieldName TEXT NOT NULL, oldValue TEXT, newValue TEXT, updatedAt TEXT NOT NULL,
			updatedByUserId TEXT, sourceOfChange TEXT,
			FOREIGN KEY (patientId) REFERENCES patients (id) ON DELETE CASCADE,
			FOREIGN KEY (updatedByUserId) REFERENCES users (id) ON DELETE SET NULL)',
		'CREATE INDEX idx_patient_history_patientId ON patient_history (patientId)',
		'CREATE INDEX idx_patient_history_updatedAt ON patient_history (updatedAt)',
		'CREATE TABLE medical_records (id TEXT PRIMARY KEY, patientId TEXT NOT NULL, appointmentId TEXT,
			queueEntryId TEXT, serviceId TEXT, selectedServices TEXT, recordType TEXT NOT NULL,
			recordDate TEXT NOT NULL, diagnosis TEXT, treatment TEXT, prescription TEXT,
			labResults TEXT, notes TEXT, doctorId TEXT NOT NULL, createdAt TEXT NOT NULL,
			updatedAt TEXT NOT NULL,
			FOREIGN KEY (patientId) REFERENCES patients (id) ON DELETE CASCADE,
			FOREIGN KEY (appointmentId) REFERENCES appointments (id) ON DELETE SET NULL,
			FOREIGN KEY (serviceId) REFERENCES clinic_services (id) ON DELETE SET NULL,
			FOREIGN KEY (doctorId) REFERENCES users (id))',
		(map { "CREATE INDEX idx_medical_records_$_ ON medical_records ($_)" }
			qw(patientId doctorId recordType recordDate)),
		'CREATE TABLE clinic_services (id TEXT PRIMARY KEY, serviceName TEXT NOT NULL UNIQUE,
			description TEXT, category TEXT, defaultPrice REAL,
			selectionCount INTEGER NOT NULL DEFAULT 0)',
		'CREATE TABLE user_sessions (id TEXT PRIMARY KEY, session_id TEXT, userId TEXT NOT NULL,
			username TEXT NOT NULL, deviceId TEXT NOT NULL, deviceName TEXT, loginTime TEXT NOT NULL,
			lastActivity TEXT NOT NULL, created_at TEXT, expires_at TEXT, invalidated_at TEXT,
			ipAddress TEXT, isActive INTEGER NOT NULL DEFAULT 1, sessionToken TEXT NOT NULL,
			expiresAt TEXT NOT NULL,
			FOREIGN KEY (userId) REFERENCES users (id) ON DELETE CASCADE)',
		'CREATE TABLE patient_queue (id TEXT PRIMARY KEY, reportDate TEXT NOT NULL UNIQUE,
			totalPatientsInQueue INTEGER NOT NULL, patientsServed INTEGER NOT NULL,
			patientsRemoved INTEGER, averageWaitTimeMinutes TEXT, peakHour TEXT, queueData TEXT,
			generatedAt TEXT NOT NULL, generatedByUserId TEXT,
			FOREIGN KEY (generatedByUserId) REFERENCES users (id))',
		'CREATE TABLE bill_items (id INTEGER PRIMARY KEY AUTOINCREMENT, billId TEXT NOT NULL,
			serviceId TEXT, description TEXT NOT NULL, quantity INTEGER NOT NULL DEFAULT 1,
			unitPrice REAL NOT NULL, itemTotal REAL NOT NULL,
			FOREIGN KEY (billId) REFERENCES patient_bills (id) ON DELETE CASCADE,
			FOREIGN KEY (serviceId) REFERENCES clinic_services (id))',
		'CREATE INDEX idx_bill_items_billId ON bill_items (billId)',
		'CREATE INDEX idx_bill_items_serviceId ON bill_items (serviceId)',
		'CREATE TABLE user_activity_log (id INTEGER PRIMARY KEY AUTOINCREMENT, userId TEXT NOT NULL,
			actionDescription TEXT NOT NULL, targetRecordId TEXT, targetTable TEXT,
			timestamp TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, details TEXT,
			FOREIGN KEY (userId) REFERENCES users (id))',
		'CREATE TABLE sync_log (id INTEGER PRIMARY KEY AUTOINCREMENT, tableName TEXT NOT NULL,
			recordId TEXT NOT NULL, action TEXT NOT NULL, timestamp TEXT NOT NULL,
			synced INTEGER NOT NULL DEFAULT 0)',
		'CREATE INDEX idx_sync_log_tableName_recordId ON sync_log (tableName, recordId)',
		'CREATE INDEX idx_sync_log_synced ON sync_log (synced)',
	);
}

# How the generations differ inside a table of both. walk_in: appointments.isWalkIn; patient: its
# FK's action; queue: queueNumber, paymentStatus, foreign keys; bill: payments.billId and so on.
sub table_of {
	my ($table, %form) = @_;
	return "CREATE TABLE appointments (id TEXT PRIMARY KEY, patientId TEXT, date TEXT, time TEXT,
		doctorId TEXT, consultationType TEXT, durationMinutes INTEGER, status TEXT,
		consultationStartedAt TEXT, servedAt TEXT, selectedServices TEXT, totalPrice REAL,
		paymentStatus TEXT, originalAppointmentId TEXT, cancelledAt TEXT, cancellationReason TEXT,
		notes TEXT, isWalkIn $form{walk_in}, createdAt TEXT, updatedAt TEXT,
		FOREIGN KEY (patientId) REFERENCES patients (id)$form{patient},
		FOREIGN KEY (doctorId) REFERENCES users (id))" if $table eq 'appointments';
	return "CREATE TABLE active_patient_queue (queueEntryId TEXT PRIMARY KEY, patientId TEXT,
		patientName TEXT NOT NULL, arrivalTime TEXT NOT NULL, queueNumber $form{number}, gender TEXT,
		age INTEGER, conditionOrPurpose TEXT, selectedServices TEXT, totalPrice REAL,
		status TEXT NOT NULL, paymentStatus $form{payment}, createdAt TEXT NOT NULL,
		addedByUserId TEXT, servedAt TEXT, removedAt TEXT, consultationStartedAt TEXT,
		originalAppointmentId TEXT, doctorId TEXT, doctorName TEXT,
		isWalkIn INTEGER NOT NULL DEFAULT 0$form{keys})" if $table eq 'active_patient_queue';
	return "CREATE TABLE patient_bills (id TEXT PRIMARY KEY, patientId TEXT NOT NULL,
		invoiceNumber $form{invoice}, billDate TEXT NOT NULL, dueDate TEXT, subtotal REAL,
		discountAmount REAL DEFAULT 0.0, taxAmount REAL DEFAULT 0.0, totalAmount REAL NOT NULL,
		status TEXT NOT NULL, notes TEXT, createdByUserId TEXT,
		FOREIGN KEY (patientId) REFERENCES patients (id) ON DELETE CASCADE,
		FOREIGN KEY (createdByUserId) REFERENCES users (id))" if $table eq 'patient_bills';
	return "CREATE TABLE payments (id INTEGER PRIMARY KEY AUTOINCREMENT, billId $form{bill},
		patientId TEXT NOT NULL, patientName $form{name}, invoiceNumber TEXT,
		referenceNumber TEXT NOT NULL UNIQUE, paymentDate TEXT NOT NULL, amountPaid REAL NOT NULL,
		totalBillAmount REAL, paymentMethod TEXT NOT NULL, receivedByUserId TEXT NOT NULL, notes TEXT,
		FOREIGN KEY (billId) REFERENCES patient_bills (id) ON DELETE $form{action},
		FOREIGN KEY (patientId) REFERENCES patients (id),
		FOREIGN KEY (receivedByUserId) REFERENCES users (id))";
}

my %fresh_form = (
	appointments => {walk_in => 'INTEGER NOT NULL DEFAULT 0', patient => ' ON DELETE CASCADE'},
	active_patient_queue => {number => 'INTEGER NOT NULL', payment => 'TEXT', keys => ''},
	patient_bills => {invoice => 'TEXT UNIQUE'},
	payments => {bill => 'TEXT NOT NULL', name => 'TEXT NOT NULL', action => 'CASCADE'},
);
my %upgraded_form = (
	appointments => {walk_in => 'INTEGER DEFAULT 0', patient => ''},
	active_patient_queue => {number => 'INTEGER DEFAULT 0', payment => q(TEXT DEFAULT 'Pending'),
		keys => ',
		FOREIGN KEY (patientId) REFERENCES patients (id) ON DELETE SET NULL,
		FOREIGN KEY (addedByUserId) REFERENCES users (id) ON DELETE SET NULL'},
	patient_bills => {invoice => 'TEXT'},
	payments => {bill => 'TEXT', name => q(TEXT NOT NULL DEFAULT 'Unknown'), action => 'SET NULL'},
);

sub differing_tables {
	my ($form) = @_;
	return (
		(map { table_of($_, %{$form->{$_}}) } sort keys %$form),
		(map { "CREATE INDEX idx_appointments_$_ ON appointments ($_)" } qw(patientId doctorId date status)),
		'CREATE INDEX idx_active_patient_queue_status ON active_patient_queue (status)',
		'CREATE INDEX idx_active_patient_queue_arrival_time ON active_patient_queue (arrivalTime)',
		'CREATE INDEX idx_active_patient_queue_patient_id ON active_patient_queue (patientId)',
		(map { "CREATE INDEX idx_payments_$_ ON payments ($_)" } qw(billId patientId receivedByUserId)),
	);
}

sub fresh_tables {
	return (
		"CREATE TABLE patients ($patients_columns)",
		'CREATE INDEX idx_patients_fullName ON patients (fullName)',
		'CREATE INDEX idx_patients_birthDate ON patients (birthDate)',
		common_tables(), differing_tables(\%fresh_form),
		'CREATE TABLE generated_documents (id TEXT PRIMARY KEY, documentType TEXT NOT NULL,
			relatedTable TEXT, relatedRecordId TEXT, fileName TEXT NOT NULL, filePath TEXT,
			fileSize INTEGER, documentData TEXT, generatedAt TEXT NOT NULL, generatedByUserId TEXT,
			synced INTEGER DEFAULT 0, metadata TEXT,
			FOREIGN KEY (generatedByUserId) REFERENCES users (id))',
		'CREATE INDEX idx_documents_type ON generated_documents (documentType)',
		'CREATE INDEX idx_documents_related ON generated_documents (relatedTable, relatedRecordId)',
		'CREATE INDEX idx_documents_generated ON generated_documents (generatedAt)',
		'CREATE TABLE doctor_availability (id TEXT PRIMARY KEY, doctorId TEXT NOT NULL, doctorName TEXT,
			weeklySchedule TEXT, createdAt TEXT, updatedAt TEXT, isActive INTEGER DEFAULT 1, notes TEXT,
			FOREIGN KEY (doctorId) REFERENCES users (id) ON DELETE CASCADE)',
		'CREATE INDEX idx_doctor_availability_doctorId ON doctor_availability (doctorId)',
		'CREATE INDEX idx_doctor_availability_isActive ON doctor_availability (isActive)',
	);
}

sub upgraded_indexes {
	return (
		(map { "CREATE INDEX idx_medical_records_$_ ON medical_records ($_)" } qw(appointmentId serviceId)),
		'CREATE INDEX idx_clinic_services_serviceName ON clinic_services (serviceName)',
		'CREATE INDEX idx_clinic_services_category ON clinic_services (category)',
		'CREATE UNIQUE INDEX idx_invoiceNumber ON patient_bills (invoiceNumber)
			WHERE invoiceNumber IS NOT NULL',
		'CREATE INDEX idx_patient_bills_patientId ON patient_bills (patientId)',
		'CREATE INDEX idx_patient_bills_status ON patient_bills (status)',
		(map { "CREATE INDEX idx_user_activity_log_$_ ON user_activity_log ($_)" }
			qw(userId timestamp targetTable)),
	);
}

sub upgraded_tables {
	return (
		"CREATE TABLE patients ($patients_columns)",
		(map { "ALTER TABLE patients ADD COLUMN $_ TEXT" } qw(firstName middleName lastName suffix civilStatus)),
		'ALTER TABLE patients ADD COLUMN isSeniorCitizen INTEGER DEFAULT 0',
		common_tables(), differing_tables(\%upgraded_form), upgraded_indexes(),
	);
}

# By hand, with what either generation has and what an app may do besides: patients in
# another order of columns, WITHOUT ROWID, with columns of the app's own that are NOT NULL
# (with and without default) and one that is generated; a name that knows no case; CHECKs;
# money and flags as TEXT; keys without AUTOINCREMENT; views, triggers, indexes on expressions.
sub odd_tables {
	my @tables = (fresh_tables(), upgraded_indexes());
	my %replaced = map { $_ => 1 } qw(patients users clinic_services bill_items payments);
	@tables = grep { !(/^CREATE TABLE (\w+)/ && $replaced{$1}) } @tables;
	my @indexes = grep { /^CREATE (?:UNIQUE )?INDEX/ } @tables;
	(my $users = $users_columns) =~ s/username TEXT UNIQUE/username TEXT COLLATE NOCASE UNIQUE/;
	$users =~ s/isActive INTEGER DEFAULT 1/isActive TEXT DEFAULT '1'/;
	return (
		(grep { !/INDEX/ } @tables),
		# the key first: SQLite 3.40's integrity_check else finds NULL where none is
		'CREATE TABLE patients (id TEXT PRIMARY KEY, clinicCode TEXT NOT NULL, registrationDate TEXT,
			updatedAt TEXT, createdAt TEXT,
			emergencyContactNumber TEXT, emergencyContactName TEXT, visits INTEGER NOT NULL,
			medicalHistory TEXT, currentMedications TEXT, allergies TEXT, bloodType TEXT, address TEXT,
			email TEXT, contactNumber TEXT, gender TEXT, birthDate TEXT,
			colour TEXT NOT NULL DEFAULT \'white\', fullName TEXT,
			nameLength INTEGER GENERATED ALWAYS AS (length(fullName)) VIRTUAL,
			firstWord TEXT AS (substr(fullName, 1, instr(fullName || \',\', \',\') - 1)) STORED) WITHOUT ROWID',
		"CREATE TABLE users ($users, CHECK (role IN ('admin', 'doctor', 'medtech')))",
		'CREATE TABLE clinic_services (id TEXT PRIMARY KEY, serviceName TEXT NOT NULL COLLATE NOCASE UNIQUE,
			description TEXT, category TEXT, defaultPrice TEXT,
			selectionCount INTEGER NOT NULL DEFAULT 0 CHECK (selectionCount >= 0))',
		'CREATE TABLE bill_items (id INTEGER PRIMARY KEY, itemTotal TEXT NOT NULL, unitPrice NUMERIC NOT NULL,
			quantity TEXT NOT NULL DEFAULT 1, description TEXT NOT NULL, serviceId TEXT,
			billId TEXT NOT NULL REFERENCES patient_bills (id) ON DELETE CASCADE)',
		table_of('payments', bill => 'TEXT', action => 'SET NULL',
			name => q(TEXT NOT NULL DEFAULT 'Unknown' CHECK (length(patientName) < 200))),
		@indexes,
		'CREATE INDEX idx_patients_lower ON patients (lower(fullName)) WHERE gender IS NOT NULL',
		'CREATE TABLE app_audit (id INTEGER PRIMARY KEY, what TEXT NOT NULL)',
		q(CREATE TRIGGER patients_audit AFTER INSERT ON patients
			BEGIN INSERT INTO app_audit (what) VALUES ('insert ' || new.id); END),
		q(CREATE TRIGGER patients_audit_update BEFORE UPDATE ON patients
			BEGIN INSERT INTO app_audit (what) VALUES ('update ' || new.id); END),
		q(CREATE TRIGGER bills_kept BEFORE DELETE ON patient_bills
			BEGIN SELECT raise(ABORT, 'bills are kept'); END),
		'CREATE VIEW unpaid_bills AS SELECT b.id, p.fullName, b.totalAmount FROM patient_bills b
			JOIN patients p ON p.id = b.patientId WHERE b.status = \'Unpaid\'',
		'CREATE TABLE sqlean_define (name TEXT PRIMARY KEY, body TEXT)',
	);
}

# ---- seeded rows --------------------------------------------------------------------

package AppFile::Rows;

sub new { my ($class, $seed) = @_; return bless {state => $seed * 2654435761 % 4294967296}, $class }

# 0 .. most - 1; the same for the same seed everywhere.
sub pick {
	my ($self, $most) = @_;
	$self->{state} = ($self->{state} * 1664525 + 1013904223) % 4294967296;
	return int($self->{state} / 65536) % $most;
}

sub one_of { my ($self, @choice) = @_; return $choice[$self->pick(scalar @choice)] }

# As the app writes it: local time, six digits, or three when they say it all.
sub moment {
	my ($self) = @_;
	my $text = sprintf('2025-%02d-%02dT%02d:%02d:%02d.', 1 + $self->pick(12), 1 + $self->pick(28),
		8 + $self->pick(9), $self->pick(60), $self->pick(60));
	return $text . ($self->pick(8) ? sprintf('%03d%03d', $self->pick(1000), 1 + $self->pick(999))
		: sprintf('%03d', $self->pick(1000)));
}

sub money { my ($self) = @_; return 50 + $self->pick(3000) + $self->one_of(0, 0.5, 0.25, 0.99) }

sub make {
	my ($self, $patients) = @_;
	$self->{rows} = [];
	return $self->{rows} if !$patients;
	$self->make_staff;
	$self->make_patient($_) for 1 .. $patients;
	$self->make_bill($_) for 1 .. $patients;
	$self->make_rest;
	return $self->{rows};
}

sub add { my ($self, $table, %row) = @_; push @{$self->{rows}}, [$table, %row]; return }

sub make_staff {
	my ($self) = @_;
	my @roles = qw(admin doctor medtech doctor medtech);
	for my $n (0 .. $#roles) {
		my $id = $n ? 'user-' . (1735000000000 + $n) : 'admin-1749999999999';
		$self->add('users', id => $id, username => $n ? "user$n" : 'admin', role => $roles[$n],
			fullName => "App User $n", isActive => 1, createdAt => $self->moment,
			securityQuestion1 => 'First school?', workingDays => 'monday,friday', arrivalTime => '08:00',
			departureTime => '17:00', map { $_ => AppFile::local_value($_, $id) } @{$AppFile::LOCAL{users}});
	}
	for my $n (1 .. 15) {
		$self->add('clinic_services', id => sprintf('%08x-0000-4000-8000-%012x', $self->pick(65536), $n),
			serviceName => "App service $n", category => $self->one_of(qw(Consultation Laboratory)),
			defaultPrice => $self->money, selectionCount => $self->pick(40));
	}
	return;
}

sub make_patient {
	my ($self, $n) = @_;
	my $id = sprintf('JG-%04d', $n);
	my $last = $self->one_of('Reyes', 'Cruz', "Mu\x{f1}oz", 'Lim');
	my $first = $self->one_of('Ana', 'Ben', "Ni\x{f1}o", 'Carla');
	my $registered = $self->moment;
	$self->add('patients', id => $id, fullName => "$last, $first",
		birthDate => sprintf('19%02d-%02d-%02dT00:00:00.000', 40 + $self->pick(60), 1 + $self->pick(12),
			1 + $self->pick(28)),
		gender => $self->one_of(qw(Male Female)), contactNumber => sprintf('0917%07d', $self->pick(60000)),
		bloodType => $self->one_of('A+', 'O-', 'Unknown'), allergies => $self->one_of('', 'None', 'Dust'),
		createdAt => $registered, updatedAt => $registered, registrationDate => $registered,
		firstName => $first, middleName => '', lastName => $last, civilStatus => 'Single',
		isSeniorCitizen => $self->pick(2), AppFile::extra('patients'));
	$self->add('patient_history', id => $n, patientId => $id, fieldName => 'contactNumber', oldValue => '0917',
		newValue => '0918', updatedAt => $self->moment, sourceOfChange => 'PatientSearchScreen');
	$self->add('appointments', id => sprintf('id_1749000%06d_%06d', $n, $self->pick(65536)), patientId => $id,
		date => '2025-06-02T00:00:00.000', time => $self->one_of('9:00', '13:30'),
		doctorId => $self->one_of('user-1735000000001', 'LAB-ONLY'), durationMinutes => 30,
		status => $self->one_of(qw(Scheduled Completed Cancelled)), selectedServices => '[]',
		totalPrice => $self->money, paymentStatus => 'Pending', isWalkIn => $self->pick(2),
		createdAt => $self->moment);
	$self->add('medical_records', id => sprintf('record-1749000%06d-%08x', $n, $self->pick(65536)),
		patientId => $id, appointmentId => '', recordType => $self->one_of(qw(consultation laboratory)),
		recordDate => $self->moment, labResults => '{"Hematology":{"WBC": 7.10}}', doctorId => '',
		createdAt => $self->moment, updatedAt => $self->moment);
	$self->add('user_activity_log', id => $n, userId => $self->one_of('admin', 'user1', 'SYNC_SYSTEM'),
		actionDescription => 'Logged in', timestamp => $self->moment . 'Z');
	$self->add('sync_log', tableName => 'patients', recordId => $id, action => 'insert',
		timestamp => $registered);
	return;
}

sub make_bill {
	my ($self, $n) = @_;
	my $bill = sprintf('BILL-%08x-0000-4000-8000-%012x', $self->pick(65536), $n);
	my ($patient, $invoice, $total) = (sprintf('JG-%04d', $n), sprintf('INV-%06X', $n), $self->money);
	$self->add('patient_bills', id => $bill, patientId => $patient, invoiceNumber => $invoice,
		billDate => $self->moment, subtotal => $total, totalAmount => $total,
		status => $n % 2 ? 'Paid' : 'Unpaid', createdByUserId => 'user-1735000000002');
	$self->add('bill_items', id => 2 * $n - $_, billId => $bill, serviceId => '', description => "Item $_",
		unitPrice => $total / 2, itemTotal => $total / 2) for 0, 1;
	$self->add('payments', id => $n, billId => $bill, patientId => $patient, patientName => "Patient $n",
		referenceNumber => sprintf('PAY-%08X', $n), paymentDate => $self->moment, amountPaid => $total,
		totalBillAmount => $total, paymentMethod => 'Cash', receivedByUserId => 'user-1735000000002')
		if $n % 2;
	$self->add('active_patient_queue', queueEntryId => sprintf('qentry-1749000%06d-%d', $n, $self->pick(9999)),
		patientId => $patient, patientName => "Patient $n", arrivalTime => $self->moment, queueNumber => $n,
		selectedServices => '[]', totalPrice => $total, status => 'waiting', paymentStatus => 'Pending',
		createdAt => $self->moment, originalAppointmentId => '', doctorId => '', isWalkIn => 1)
		if $n % 4 == 1;
	return;
}

sub make_rest {
	my ($self) = @_;
	for my $n (1, 2) {
		$self->add('patient_queue', id => "queue_report_2025-06-0$n" . '_1749000000000',
			reportDate => "2025-06-0$n", totalPatientsInQueue => 9, patientsServed => $self->pick(9),
			averageWaitTimeMinutes => '1h 05m', peakHour => '9AM - 10AM',
			queueData => '[{"selectedServices":"[]"}]', generatedAt => $self->moment);
		$self->add('user_sessions', id => "5e551000-0000-4000-8000-00000000000$n",
			session_id => "5e551000-0000-4000-8000-00000000000$n", userId => 'unknown', username => "user$n",
			deviceId => "device-$n", deviceName => 'Windows Device', loginTime => $self->moment,
			lastActivity => $self->moment, isActive => 2 - $n, expiresAt => $self->moment,
			sessionToken => AppFile::local_value('sessionToken', $n));
		$self->add('generated_documents', id => "document-$n", documentType => 'receipt',
			fileName => "receipt-$n.pdf", documentData => 'JVBERi0=', generatedAt => $self->moment);
	}
	return;
}

1;
