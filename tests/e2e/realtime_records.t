#!/usr/bin/perl
#
# Medicine, step by step: an appointment is booked, moved and kept; the doctor and
# the laboratory write their records.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest::Realtime;

my $day = ClinicTest::Realtime->new(app => 'upgraded_v43');
my ($patient) = $day->clinic->dbh->selectrow_array('SELECT min(id) FROM patients');
my $results = '{"Hematology":{"Hemoglobin":"13.5", "WBC" : "7.2"},  "notes":"caf\u00e9 µ"}';

$day->step('an appointment is booked', qq(INSERT INTO appointments (id, "patientId", date, "time", "doctorId", "consultationType",
		"durationMinutes", status, "totalPrice", "createdAt", "updatedAt")
		VALUES ('id_1_2', '$patient', '2026-11-30', '9:05', 'LAB-ONLY', 'Laboratory Tests Only', 30, 'Scheduled', 0, '2026-11-23 08:00', '2026-11-23 08:00')),
	sees => [['SELECT date, "time", status, "isWalkIn", "totalPrice" = 0.0, typeof("totalPrice") FROM appointments WHERE id = ?', 'id_1_2']
		=> '2026-11-30T00:00:00.000|9:05|Scheduled|0|1|real'],
	events => ['data_change_immediate appointments insert']);

$day->step('it is moved', q(UPDATE appointments SET "time" = '13:30', status = 'Confirmed' WHERE id = 'id_1_2'),
	sees => [['SELECT "time", status FROM appointments WHERE id = ?', 'id_1_2'] => '13:30|Confirmed'],
	events => ['data_change_immediate appointments update']);

$day->step('the doctor writes a record', qq(INSERT INTO medical_records (id, "patientId", "appointmentId", "queueEntryId", "recordType",
		"recordDate", diagnosis, treatment, prescription, notes, "doctorId", "createdAt", "updatedAt")
		VALUES ('record-r1', '$patient', 'id_1_2', 'qentry-9', 'consultation', '2026-11-23 11:00', 'Hypertension', 'Rest',
			'Amlodipine 5 mg', E'Chief complaint: headache\nNotes: ü', '', '2026-11-23 11:00', '2026-11-23 11:00');
		UPDATE appointments SET status = 'Completed', "servedAt" = '2026-11-23 11:10' WHERE id = 'id_1_2'),
	sees => [['SELECT diagnosis, notes, "doctorId" FROM medical_records WHERE id = ?', 'record-r1']
			=> "Hypertension|Chief complaint: headache\nNotes: \xc3\xbc|",
		['SELECT status, "servedAt" FROM appointments WHERE id = ?', 'id_1_2'] => 'Completed|2026-11-23T11:10:00.000'],
	events => ['patient_data_change_immediate medical_records insert', 'data_change_immediate appointments update']);

# the bytes of JSON stay: blanks, escapes, order
$day->step('the laboratory enters its results', qq(INSERT INTO medical_records (id, "patientId", "appointmentId", "queueEntryId", "recordType",
		"recordDate", "labResults", "doctorId", "createdAt", "updatedAt")
		VALUES ('lab-r1', '$patient', '', 'qentry-9', 'laboratory', '2026-11-23 11:30', '$results', 'default_doctor_id', '2026-11-23 11:30', '2026-11-23 11:30')),
	sees => [['SELECT "labResults", "appointmentId", typeof(diagnosis) FROM medical_records WHERE id = ?', 'lab-r1'] => "$results||null"],
	events => ['patient_data_change_immediate medical_records insert']);

$day->step('a result is corrected', q(UPDATE medical_records SET "labResults" = replace("labResults"::text, '13.5', '13.6')::json WHERE id = 'lab-r1'),
	sees => [['SELECT "labResults" FROM medical_records WHERE id = ?', 'lab-r1'] => $results =~ s/13\.5/13.6/r],
	events => ['patient_data_change_immediate medical_records update']);

$day->step('a record of the wrong patient is removed', q(DELETE FROM medical_records WHERE id = 'record-r1'),
	sees => [['SELECT count(*) FROM medical_records WHERE id = ?', 'record-r1'] => '0',
		['SELECT count(*) FROM medical_records WHERE id = ?', 'lab-r1'] => '1'],
	events => ['patient_data_change_immediate medical_records delete']);

# a row that came and went in one transaction is told as `put` of nothing
my ($records) = $day->clinic->dbh->selectrow_array(q(SELECT count(*) FROM medical_records WHERE "patientId" = 'JG-0901'));
$day->step('somebody registered twice goes, with everything',
	q(INSERT INTO patients (id, "fullName") VALUES ('JG-0901', 'Twice');
	INSERT INTO medical_records (id, "patientId", "recordType", "recordDate", "doctorId", "createdAt", "updatedAt")
	VALUES ('record-r2', 'JG-0901', 'consultation', '2026-11-23', '', '2026-11-23', '2026-11-23');
	DELETE FROM patients WHERE id = 'JG-0901'),
	sees => [[q(SELECT (SELECT count(*) FROM patients WHERE id = 'JG-0901'), (SELECT count(*) FROM medical_records WHERE "patientId" = 'JG-0901'))]
		=> "0|$records"],
	events => ['patient_data_change_immediate patients insert', 'patient_data_change_immediate medical_records insert',
		'patient_data_change_immediate medical_records put', 'patient_data_change_immediate patients put']);

$day->finish;
