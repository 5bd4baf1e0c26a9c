# One row of each of the thirteen tables, as the app writes it: for tests and
# benches that go through all of them.
package ClinicTest::Rows;
use strict;
use warnings;
use Exporter 'import';
our @EXPORT_OK = qw(%EVENT parents_sql insert_sql update_sql delete_sql key_column key_value);

# The event of each table, by the default mapping.
our %EVENT = (
	(map { ($_ => 'billing_change_immediate') } qw(patient_bills bill_items payments)),
	(map { ($_ => 'patient_data_change_immediate') } qw(patients patient_history medical_records)),
	(map { ($_ => 'user_data_change_immediate') } qw(users user_activity_log)),
	(map { ($_ => 'data_change_immediate') } qw(appointments clinic_services user_sessions
		active_patient_queue patient_queue)),
);

my $NOW = "'2026-11-23 08:15:30.25'";
my $PATIENT = "'JG-9000'";
my $BILL = "'BILL-9000'";
my $SERVICES = q('[{"id":"s1","name":"CBC","category":"Laboratory","price":250.0}]');

# table => [column that an update changes, columns and values of a new row];
# # stands for the row's number.
my %ROW = (
	users => ['fullName', id => "'user-#'", username => "'nurse#'", fullName => "'Ana Cruz'",
		role => "'medtech'", password => "'secret'", createdAt => $NOW],
	patients => ['address', id => "'JG-1#'", fullName => "'Reyes, Maria'", birthDate => "'1990-01-01'",
		isSeniorCitizen => 'false', createdAt => $NOW, updatedAt => $NOW],
	clinic_services => ['description', id => "'service-#'", serviceName => "'Service #'",
		category => "'Laboratory'", defaultPrice => '250.00', selectionCount => '0'],
	patient_history => ['newValue', id => '900000#', patientId => $PATIENT, fieldName => "'address'",
		oldValue => 'NULL', newValue => "'Manila'", updatedAt => $NOW],
	appointments => ['notes', id => "'appointment-#'", patientId => $PATIENT, date => "'2026-11-24'",
		time => "'9:30'", doctorId => "'LAB-ONLY'", status => "'Scheduled'",
		selectedServices => $SERVICES, totalPrice => '250.00', isWalkIn => 'false', createdAt => $NOW],
	medical_records => ['diagnosis', id => "'record-#'", patientId => $PATIENT, appointmentId => "''",
		recordType => "'laboratory'", recordDate => $NOW, doctorId => "''",
		labResults => q('{"Chemistry":{"FBS":"5.1"}}'), createdAt => $NOW, updatedAt => $NOW],
	user_sessions => ['deviceName', id => "'session-#'", userId => "'unknown'", username => "'admin'",
		deviceId => "'device-#'", loginTime => $NOW, lastActivity => $NOW, sessionToken => "'t#'",
		expiresAt => $NOW],
	active_patient_queue => ['doctorName', queueEntryId => "'qentry-#'", patientId => $PATIENT,
		patientName => "'Reyes, Maria'", arrivalTime => $NOW, queueNumber => '7', age => '36',
		selectedServices => $SERVICES, totalPrice => '1500.00', status => "'waiting'", createdAt => $NOW],
	patient_queue => ['peakHour', id => "'queue_report_#'", reportDate => "'2000-01-01'::date + #",
		totalPatientsInQueue => '12', patientsServed => '11', queueData => $SERVICES, generatedAt => $NOW],
	patient_bills => ['notes', id => "'BILL-1#'", patientId => $PATIENT, invoiceNumber => "'INV-#'",
		billDate => $NOW, subtotal => '250.00', totalAmount => '250.00', status => "'Unpaid'"],
	bill_items => ['description', id => '900000#', billId => $BILL, description => "'CBC'", quantity => '1',
		unitPrice => '250.00', itemTotal => '250.00'],
	payments => ['notes', id => '900000#', billId => $BILL, patientId => $PATIENT, patientName => "'Reyes, Maria'",
		referenceNumber => "'PAY-#'", paymentDate => $NOW, amountPaid => '500.00',
		paymentMethod => "'Cash'", receivedByUserId => "'admin'"],
	user_activity_log => ['details', id => '900000#', userId => "'admin'", actionDescription => "'login'",
		timestamp => $NOW],
);

# The rows that the others refer to.
sub parents_sql {
	return qq(INSERT INTO patients (id, "fullName") VALUES ($PATIENT, 'Parent');)
		. qq(INSERT INTO patient_bills (id, "patientId", "billDate", "totalAmount", status)
			VALUES ($BILL, $PATIENT, $NOW, 1, 'Unpaid'));
}

sub key_column { my ($table) = @_; return $ROW{$table}[1] }

# The key of row $n as canonical text.
sub key_value {
	my ($table, $n) = @_;
	return $ROW{$table}[2] =~ s/#/$n/r =~ s/^'|'$//gr;
}

sub where {
	my ($table, $n) = @_;
	return qq("$ROW{$table}[1]" = ) . $ROW{$table}[2] =~ s/#/$n/r;
}

sub insert_sql {
	my ($table, $n) = @_;
	my (undef, @pairs) = @{$ROW{$table}};
	my (@columns, @values);
	while (my ($column, $value) = splice(@pairs, 0, 2)) {
		push @columns, qq("$column");
		push @values, $value =~ s/#/$n/r;
	}
	return "INSERT INTO $table (" . join(',', @columns) . ') VALUES (' . join(',', @values) . ')';
}

sub update_sql {
	my ($table, $n, $text) = @_;
	return qq(UPDATE $table SET "$ROW{$table}[0]" = '$text' WHERE ) . where($table, $n);
}

sub delete_sql { my ($table, $n) = @_; return "DELETE FROM $table WHERE " . where($table, $n) }

1;
