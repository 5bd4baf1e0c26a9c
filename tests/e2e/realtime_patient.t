#!/usr/bin/perl
#
# A patient's day as the reception sees it, step by step: registered, put in the
# queue, corrected, called in, served. Each step is seen on two devices at once.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest::Realtime;

my $day = ClinicTest::Realtime->new(app => 'upgraded_v43');
my $patient = 'JG-0900';
my $entry = 'qentry-1764057600000-17';

$day->step('a patient registers', <<'SQL',
INSERT INTO patients (id, "fullName", "firstName", "middleName", "lastName", "birthDate", gender, "contactNumber",
	address, "bloodType", allergies, "isSeniorCitizen", "civilStatus", "createdAt", "updatedAt", "registrationDate")
VALUES ('JG-0900', 'Reyes, Maria L.', 'Maria', 'Lopez', 'Reyes', '1958-02-28', 'Female', '09171234567',
	E'12 Rizal St.\nManila', 'O+', '', true, 'Widowed', '2026-11-23 08:15:30.25', '2026-11-23 08:15:30.250001', '2026-11-23 08:15:30')
SQL
	sees => [
		['SELECT "fullName", "contactNumber", "isSeniorCitizen", allergies FROM patients WHERE id = ?', $patient]
			=> 'Reyes, Maria L.|09171234567|1|',
		# as the app itself writes times: T, three digits or six
		['SELECT "birthDate", "createdAt", "updatedAt", "registrationDate" FROM patients WHERE id = ?', $patient]
			=> '1958-02-28T00:00:00.000|2026-11-23T08:15:30.250|2026-11-23T08:15:30.250001|2026-11-23T08:15:30.000',
		['SELECT typeof("isSeniorCitizen"), typeof("contactNumber"), address FROM patients WHERE id = ?', $patient]
			=> "integer|text|12 Rizal St.\nManila"],
	events => ['patient_data_change_immediate patients insert']);

$day->step('the reception puts the patient in the queue', <<'SQL',
INSERT INTO active_patient_queue ("queueEntryId", "patientId", "patientName", "arrivalTime", "queueNumber", gender, age,
	"conditionOrPurpose", "selectedServices", "totalPrice", status, "createdAt", "originalAppointmentId", "doctorId", "isWalkIn")
VALUES ('qentry-1764057600000-17', 'JG-0900', 'Reyes, Maria L.', '2026-11-23 08:20', 7, 'Female', 68, 'Blood count',
	'[{"id":"s1","name":"Complete Blood Count","category":"Hematology","price":250.0}]', 1500, 'waiting',
	'2026-11-23 08:20:00.000001', '', '', true);
UPDATE clinic_services SET "selectionCount" = "selectionCount" + 1 WHERE "serviceName" = 'Complete Blood Count'
SQL
	sees => [
		['SELECT status, "queueNumber", "paymentStatus", "originalAppointmentId", "isWalkIn" FROM active_patient_queue
			WHERE "queueEntryId" = ?', $entry] => 'waiting|7|Pending||1',
		# money is REAL, also where it is whole; JSON byte for byte
		['SELECT typeof("totalPrice"), "totalPrice" = 1500.0, "selectedServices" FROM active_patient_queue
			WHERE "queueEntryId" = ?', $entry]
			=> 'real|1|[{"id":"s1","name":"Complete Blood Count","category":"Hematology","price":250.0}]'],
	events => ['data_change_immediate active_patient_queue insert', 'data_change_immediate clinic_services update']);

$day->step('a field of the patient is corrected, and the correction noted', <<'SQL',
INSERT INTO patient_history (id, "patientId", "fieldName", "oldValue", "newValue", "updatedAt", "updatedByUserId", "sourceOfChange")
VALUES (900001, 'JG-0900', 'address', E'12 Rizal St.\nManila', '14 Mabini St., Quezon City', '2026-11-23 08:25', NULL, 'PatientSearchScreen');
UPDATE patients SET address = '14 Mabini St., Quezon City', "updatedAt" = '2026-11-23 08:25' WHERE id = 'JG-0900'
SQL
	sees => [
		['SELECT address, "updatedAt", "fullName" FROM patients WHERE id = ?', $patient]
			=> '14 Mabini St., Quezon City|2026-11-23T08:25:00.000|Reyes, Maria L.',
		['SELECT "fieldName", "oldValue", "newValue" FROM patient_history WHERE "patientId" = ?', $patient]
			=> "address|12 Rizal St.\nManila|14 Mabini St., Quezon City"],
	events => ['patient_data_change_immediate patient_history insert', 'patient_data_change_immediate patients update']);

for my $status (['in_progress', 'consultationStartedAt'], ['done', 'servedAt']) {
	my ($word, $column) = @$status;
	$day->step("the queue says $word", qq(UPDATE active_patient_queue SET status = '$word', "$column" = '2026-11-23 09:00'
			WHERE "queueEntryId" = '$entry'),
		sees => [[qq(SELECT status, "$column" FROM active_patient_queue WHERE "queueEntryId" = ?), $entry]
			=> "$word|2026-11-23T09:00:00.000"],
		events => ['data_change_immediate active_patient_queue update']);
}

$day->step('three patients come within a moment', join(';', map { qq(INSERT INTO active_patient_queue ("queueEntryId",
		"patientId", "patientName", "arrivalTime", "queueNumber", status, "createdAt")
		VALUES ('qentry-$_', '', 'Walk-in $_', '2026-11-23 09:0$_', 10 + $_, 'waiting', '2026-11-23 09:0$_')) } 1 .. 3),
	sees => [[q(SELECT group_concat("queueNumber") FROM (SELECT "queueNumber" FROM active_patient_queue
			WHERE "patientName" LIKE 'Walk-in%' ORDER BY 1))] => '11,12,13'],
	events => [('data_change_immediate active_patient_queue insert') x 3]);

$day->step('the day ends: the queue is emptied and its report kept', <<'SQL',
INSERT INTO patient_queue (id, "reportDate", "totalPatientsInQueue", "patientsServed", "patientsRemoved", "averageWaitTimeMinutes",
	"peakHour", "queueData", "generatedAt")
VALUES ('queue_report_2031-01-01_1', '2031-01-01', 4, 1, 3, '12m', '9AM - 10AM', '[{"a": "{\"nested\":1}"}]', '2026-11-23 18:00');
DELETE FROM active_patient_queue WHERE "queueEntryId" LIKE 'qentry-_' OR "queueEntryId" = 'qentry-1764057600000-17'
SQL
	sees => [
		['SELECT count(*) FROM active_patient_queue WHERE "patientName" LIKE ? OR "queueEntryId" = ?', 'Walk-in%', $entry] => '0',
		['SELECT "reportDate", "queueData" FROM patient_queue WHERE id = ?', 'queue_report_2031-01-01_1']
			=> '2031-01-01|[{"a": "{\"nested\":1}"}]'],
	events => ['data_change_immediate patient_queue insert', ('data_change_immediate active_patient_queue delete') x 4]);

$day->finish;
