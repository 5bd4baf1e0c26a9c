--
-- Sample rows for the thirteen tables of clinic_schema.sql: about 20 for each
-- patient (50,000 patients make 1,000,000 rows).
--
--   psql -v ON_ERROR_STOP=1 -v patients=1000 -v seed=1 -d clinic -f sql/sample_data.sql
--
-- The tables must be empty. The same seed gives the same rows: every choice
-- is a hash of (seed, kind of choice, number of the row), no random() and no
-- now(). Each table is filled by one statement, so by one transaction, unless
-- psql runs with -1.
--

\if :{?patients} \else \set patients 1000 \endif
\if :{?seed} \else \set seed 1 \endif

-- psql's variables do not reach into a quoted function body, hence format().
-- pick(kind, n, m): a number from 0 to m - 1 that depends on nothing else.
SELECT format($$
	CREATE FUNCTION pg_temp.pick(kind text, n bigint, m integer) RETURNS integer
	LANGUAGE sql IMMUTABLE
	RETURN ((hashint8extended(n, hashtextextended(kind, %s)) & 9223372036854775807) %% m)::integer
	$$, :'seed'::bigint) \gexec

CREATE FUNCTION pg_temp.one_of(kind text, n bigint, choices text[]) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN choices[1 + pg_temp.pick(kind, n, cardinality(choices))];

CREATE FUNCTION pg_temp.patient_id(n bigint) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN 'JG-' || lpad(n::text, greatest(4, length(n::text)), '0');

-- The moment of row n of some kind: a minute of a working day, with six
-- digits as the app writes them, now and then with three.
CREATE FUNCTION pg_temp.moment(kind text, n bigint) RETURNS timestamp
LANGUAGE sql IMMUTABLE
RETURN timestamp '2025-01-06 08:00'
	+ pg_temp.pick(kind || ' day', n, 500) * interval '1 day'
	+ pg_temp.pick(kind || ' minute', n, 540) * interval '1 minute'
	+ CASE WHEN n % 8 = 0 THEN interval '250 milliseconds'
		ELSE pg_temp.pick(kind || ' micro', n, 60000000) * interval '1 microsecond' END;

CREATE FUNCTION pg_temp.uuid(kind text, n bigint) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN md5(kind || n || ':' || pg_temp.pick(kind, n, 2147483647))::uuid::text;

CREATE TEMPORARY TABLE sample_service AS
SELECT n, pg_temp.uuid('service', n) AS id, name, category, price,
	format('[{"id":"%s","name":"%s","category":"%s","price":%s}]',
		pg_temp.uuid('service', n), name, category, price)::json AS selected
FROM (VALUES
	(0, 'General Consultation', 'Consultation', 500.00),
	(1, 'Follow-up Consultation', 'Consultation', 300.00),
	(2, 'Pediatric Consultation', 'Consultation', 600.00),
	(3, 'Prenatal Check-up', 'Consultation', 650.00),
	(4, 'Medical Certificate', 'Consultation', 150.00),
	(5, 'Complete Blood Count', 'Hematology', 250.00),
	(6, 'Blood Typing', 'Hematology', 180.00),
	(7, 'Platelet Count', 'Hematology', 160.50),
	(8, 'Fasting Blood Sugar', 'Chemistry', 150.00),
	(9, 'Lipid Profile', 'Chemistry', 850.00),
	(10, 'Creatinine', 'Chemistry', 220.00),
	(11, 'Uric Acid', 'Chemistry', 199.75),
	(12, 'Routine Urinalysis', 'Urinalysis', 100.00),
	(13, 'Fecalysis', 'Microbiology', 90.00),
	(14, 'Chest X-ray', 'Radiology', 480.00)
) AS service (n, name, category, price);

INSERT INTO clinic_services (id, "serviceName", description, category, "defaultPrice",
	"selectionCount")
SELECT id, name, name || ', per visit', category, price, pg_temp.pick('selected', n, 400)
FROM sample_service ORDER BY n;

\set users '(12 + :patients / 500)'

-- The hashes have the form of bcrypt and match no password.
INSERT INTO users (id, username, password, role, "fullName", email, "contactNumber",
	"securityQuestion1", "securityAnswer1", "workingDays", "arrivalTime", "departureTime",
	"isActive", "createdAt")
SELECT 'user-' || 1735000000000 + n,
	CASE n WHEN 1 THEN 'admin' ELSE 'user' || n END,
	'$2a$12$' || left(md5('password' || n) || md5('salt' || n), 53),
	CASE n WHEN 1 THEN 'admin' ELSE (ARRAY['doctor', 'medtech'])[1 + n % 2] END,
	pg_temp.one_of('user first', n, '{Ana,Ben,Carla,Dino,Ella,Franz,Gina,Hugo}') || ' ' ||
		pg_temp.one_of('user last', n, '{Reyes,Cruz,Santos,Garcia,Lim,Tan,Dizon}'),
	'user' || n || '@clinic.example',
	'0917' || lpad(pg_temp.pick('user phone', n, 10000000)::text, 7, '0'),
	'What was the name of your first pet?',
	'$2a$08$' || left(md5('answer' || n) || md5('salt' || n), 53),
	'monday,tuesday,wednesday,thursday,friday',
	'08:00', '17:00', true, pg_temp.moment('user', n)
FROM generate_series(1, :users) AS n ORDER BY n;

INSERT INTO patients (id, "fullName", "birthDate", gender, "contactNumber", email, address,
	"bloodType", allergies, "currentMedications", "medicalHistory", "emergencyContactName",
	"emergencyContactNumber", "createdAt", "updatedAt", "registrationDate", "firstName",
	"middleName", "lastName", suffix, "civilStatus", "isSeniorCitizen")
SELECT pg_temp.patient_id(n), last_name || ', ' || first_name,
	timestamp '1935-01-01' + age_days * interval '1 day',
	pg_temp.one_of('gender', n, '{Male,Female}'),
	'09' || lpad(pg_temp.pick('phone', n, 1000000000)::text, 9, '0'),
	CASE WHEN n % 3 = 0 THEN 'patient' || n || '@mail.example' END,
	pg_temp.pick('house', n, 400) || ' ' ||
		pg_temp.one_of('street', n, '{Rizal St.,Mabini St.,Luna Ave.,Piña Road}'),
	pg_temp.one_of('blood', n, '{A+,A-,B+,B-,AB+,AB-,O+,O-,Unknown}'),
	pg_temp.one_of('allergy', n, '{None,Penicillin,Seafood,"",Dust}'),
	CASE WHEN n % 4 = 0 THEN 'Losartan 50 mg' END,
	CASE WHEN n % 5 = 0 THEN 'Hypertension' END,
	pg_temp.one_of('contact', n, '{Maria,Jose,Lito,Nena}') || ' ' || last_name,
	'09' || lpad(pg_temp.pick('contact phone', n, 1000000000)::text, 9, '0'),
	registered, registered, registered, first_name,
	pg_temp.one_of('middle', n, '{Abad,Bautista,Castro,Dela Cruz,""}'), last_name,
	CASE WHEN n % 40 = 0 THEN 'Jr.' END,
	pg_temp.one_of('civil', n, '{Single,Married,Widowed,Separated}'),
	age_days < 10500
FROM generate_series(1, :patients) AS n,
	LATERAL (SELECT
		pg_temp.one_of('first', n, '{Juan,Maria,José,Liza,Ramon,Teresa,Niño,Grace,Paolo,Bea}')
			AS first_name,
		pg_temp.one_of('last', n, '{Dela Cruz,Garcia,Muñoz,Reyes,Santos,Villanueva,Lim,Uy}')
			AS last_name,
		pg_temp.pick('age', n, 31000) AS age_days,
		pg_temp.moment('registered', n) AS registered) AS made
ORDER BY n;

-- two edits of each patient
INSERT INTO patient_history ("patientId", "fieldName", "oldValue", "newValue", "updatedAt",
	"updatedByUserId", "sourceOfChange")
SELECT pg_temp.patient_id((n + 1) / 2),
	(ARRAY['contactNumber', 'address'])[1 + n % 2],
	CASE WHEN n % 7 > 0 THEN 'before ' || pg_temp.pick('old', n, 1000) END,
	'after ' || pg_temp.pick('new', n, 1000), pg_temp.moment('edit', n),
	'user-' || 1735000000001 + pg_temp.pick('editor', n, :users),
	pg_temp.one_of('screen', n, '{PatientRegistrationScreen,ModifyPatientDetailsScreen}')
FROM generate_series(1, 2 * :patients) AS n ORDER BY n;

-- three appointments of each patient
INSERT INTO appointments (id, "patientId", date, "time", "doctorId", "consultationType",
	"durationMinutes", status, "servedAt", "selectedServices", "totalPrice", "paymentStatus",
	"cancelledAt", "cancellationReason", notes, "isWalkIn", "createdAt", "updatedAt")
SELECT 'appointment-' || 1736000000000 + g.n, pg_temp.patient_id((g.n + 2) / 3),
	date_trunc('day', at), extract(hour FROM at) || to_char(at, ':MI'),
	CASE WHEN g.n % 6 = 0 THEN 'LAB-ONLY'
		ELSE 'user-' || 1735000000001 + pg_temp.pick('doctor', g.n, :users) END,
	CASE WHEN g.n % 6 = 0 THEN 'Laboratory Tests Only' ELSE 'General Consultation' END,
	30, status, CASE status WHEN 'Completed' THEN at + interval '20 minutes' END,
	s.selected, s.price, CASE status WHEN 'Completed' THEN 'Paid' ELSE 'Pending' END,
	CASE status WHEN 'Cancelled' THEN at - interval '1 day' END,
	CASE status WHEN 'Cancelled' THEN 'Patient called' END,
	CASE WHEN g.n % 10 = 0 THEN 'Bring earlier results' END,
	g.n % 4 = 0, at - interval '3 days', at
FROM generate_series(1, 3 * :patients) AS g (n)
	CROSS JOIN LATERAL (SELECT pg_temp.moment('appointment', g.n) AS at,
		pg_temp.one_of('appointment', g.n, '{Scheduled,Confirmed,Completed,Completed,Cancelled}')
			AS status) AS made
	JOIN sample_service AS s ON s.n = pg_temp.pick('booked', g.n, 15)
ORDER BY g.n;

-- three records of each patient, every third one from the laboratory
INSERT INTO medical_records (id, "patientId", "appointmentId", "selectedServices", "recordType",
	"recordDate", diagnosis, treatment, prescription, "labResults", notes, "doctorId",
	"createdAt", "updatedAt")
SELECT CASE g.n % 3 WHEN 0 THEN 'lab-' ELSE 'record-' END || 1737000000000 + g.n || '-' ||
		left(md5('record' || g.n), 8),
	pg_temp.patient_id((g.n + 2) / 3),
	CASE g.n % 5 WHEN 0 THEN '' ELSE 'appointment-' || 1736000000000 + g.n END,
	s.selected, CASE g.n % 3 WHEN 0 THEN 'laboratory' ELSE 'consultation' END, at,
	CASE WHEN g.n % 3 > 0
		THEN pg_temp.one_of('diagnosis', g.n, '{Hypertension,URTI,Gastritis,Healthy,Migraine}') END,
	CASE WHEN g.n % 3 > 0 THEN 'Rest and fluids' END,
	CASE WHEN g.n % 3 = 1 THEN 'Paracetamol 500 mg every 6 hours' END,
	CASE g.n % 3 WHEN 0 THEN format('{"%s":{"result":"%s"}}', s.category,
		pg_temp.pick('result', g.n, 2000) / 10.0)::json END,
	CASE WHEN g.n % 4 = 0 THEN E'Chief complaint: cough\nReturns in two weeks' END,
	CASE g.n % 9 WHEN 0 THEN '' ELSE
		'user-' || 1735000000001 + pg_temp.pick('record doctor', g.n, :users) END,
	at, at
FROM generate_series(1, 3 * :patients) AS g (n)
	CROSS JOIN LATERAL (SELECT pg_temp.moment('record', g.n) AS at) AS made
	JOIN sample_service AS s ON s.n = pg_temp.pick('record service', g.n, 15)
ORDER BY g.n;

-- one queue entry of each patient
INSERT INTO active_patient_queue ("queueEntryId", "patientId", "patientName", "arrivalTime",
	"queueNumber", gender, age, "conditionOrPurpose", "selectedServices", "totalPrice", status,
	"paymentStatus", "createdAt", "addedByUserId", "servedAt", "removedAt",
	"originalAppointmentId", "doctorId", "doctorName", "isWalkIn")
SELECT 'qentry-' || 1738000000000 + g.n || '-' || pg_temp.pick('entry', g.n, 9999),
	p.id, p."fullName", at, 1 + g.n % 40, p.gender, pg_temp.pick('years', g.n, 80), s.name,
	s.selected, s.price, state,
	CASE WHEN state IN ('done', 'served') THEN 'Paid' ELSE 'Pending' END, at,
	'user-' || 1735000000001 + pg_temp.pick('added', g.n, :users),
	CASE WHEN state IN ('done', 'served') THEN at + interval '35 minutes' END,
	CASE state WHEN 'removed' THEN at + interval '50 minutes' END,
	'', '', CASE WHEN g.n % 6 = 0 THEN 'Laboratory Only' END, true
FROM generate_series(1, :patients) AS g (n)
	CROSS JOIN LATERAL (SELECT pg_temp.moment('queue', g.n) AS at,
		pg_temp.one_of('queue', g.n, '{waiting,in_progress,served,done,done,removed}') AS state) AS made
	JOIN patients AS p ON p.id = pg_temp.patient_id(g.n)
	JOIN sample_service AS s ON s.n = pg_temp.pick('queue service', g.n, 15)
ORDER BY g.n;

-- two bills of each patient, two lines on each bill
CREATE TEMPORARY TABLE sample_item AS
SELECT g.n, (g.n + 1) / 2 AS bill, s.id AS service_id, s.name, q.quantity, s.price,
	q.quantity * s.price AS total
FROM generate_series(1::bigint, 4 * :patients) AS g (n)
	CROSS JOIN LATERAL (SELECT 1 + pg_temp.pick('quantity', g.n, 3) / 2 AS quantity) AS q
	JOIN sample_service AS s ON s.n = pg_temp.pick('item', g.n, 15);

CREATE TEMPORARY TABLE sample_bill AS
SELECT i.bill AS n, 'BILL-' || pg_temp.uuid('bill', i.bill) AS id,
	-- an odd factor visits each of the 16^6 numbers once
	'INV-' || upper(lpad(to_hex((i.bill * 7919 + :seed::bigint) & 16777215), 6, '0')) AS invoice,
	pg_temp.patient_id((i.bill + 1) / 2) AS patient_id, pg_temp.moment('bill', i.bill) AS at,
	sum(i.total) AS total, i.bill % 4 > 0 AS paid
FROM sample_item AS i
GROUP BY i.bill;

INSERT INTO patient_bills (id, "patientId", "invoiceNumber", "billDate", "dueDate", subtotal,
	"totalAmount", status, notes, "createdByUserId")
SELECT id, patient_id, invoice, at, at + interval '30 days', total, total,
	CASE WHEN paid THEN 'Paid' ELSE 'Unpaid' END,
	CASE WHEN n % 12 = 0 THEN 'Senior citizen, price adjusted' END,
	'user-' || 1735000000001 + pg_temp.pick('biller', n, :users)
FROM sample_bill ORDER BY n;

INSERT INTO bill_items ("billId", "serviceId", description, quantity, "unitPrice", "itemTotal")
SELECT b.id, i.service_id, i.name, i.quantity, i.price, i.total
FROM sample_item AS i JOIN sample_bill AS b ON b.n = i.bill
ORDER BY i.n;

-- cash tendered is rounded up to the next note
INSERT INTO payments ("billId", "patientId", "patientName", "invoiceNumber", "referenceNumber",
	"paymentDate", "amountPaid", "totalBillAmount", "paymentMethod", "receivedByUserId")
SELECT b.id, b.patient_id, p."fullName", b.invoice,
	'PAY-' || upper(lpad(to_hex((b.n * 40503 + :seed::bigint) & 4294967295), 8, '0')),
	b.at + interval '5 minutes', ceil(b.total / 100) * 100, b.total, 'Cash',
	'user-' || 1735000000001 + pg_temp.pick('cashier', b.n, :users)
FROM sample_bill AS b JOIN patients AS p ON p.id = b.patient_id
WHERE b.paid ORDER BY b.n;

-- five log lines for each two patients
INSERT INTO user_activity_log ("userId", "actionDescription", "targetRecordId", "targetTable",
	"timestamp", details)
SELECT CASE g.n % 3 WHEN 0 THEN 'user-' || 1735000000001 + who ELSE 'user' || 1 + who END,
	pg_temp.one_of('action', g.n, '{Logged in,Logged out,Processed payment}'),
	CASE g.n % 3 WHEN 0 THEN 'BILL-' || pg_temp.uuid('bill', 1 + g.n % (2 * :patients)) END,
	CASE g.n % 3 WHEN 0 THEN 'patient_bills' END, pg_temp.moment('activity', g.n),
	CASE g.n % 3 WHEN 1 THEN '{"deviceName":"Windows Device"}' END
FROM generate_series(1, 5 * :patients / 2) AS g (n)
	CROSS JOIN LATERAL (SELECT pg_temp.pick('actor', g.n, :users) AS who) AS made
ORDER BY g.n;

-- past logins; nobody is logged in
INSERT INTO user_sessions (id, session_id, "userId", username, "deviceId", "deviceName",
	"loginTime", "lastActivity", created_at, expires_at, "ipAddress", "isActive",
	"sessionToken", "expiresAt")
SELECT pg_temp.uuid('session', g.n), pg_temp.uuid('session', g.n), u.id, u.username,
	'device-' || 1 + g.n % 9,
	pg_temp.one_of('device', g.n, '{Windows Device,Android Device,iOS Device}'),
	at, at + interval '4 hours', at, at + interval '8 hours', '127.0.0.1', false,
	encode(sha256(convert_to('token' || g.n, 'UTF8')), 'hex'), at + interval '8 hours'
FROM generate_series(1, 12 + :patients / 10) AS g (n)
	CROSS JOIN LATERAL (SELECT pg_temp.moment('session', g.n) AS at) AS made
	JOIN users AS u ON u.id = 'user-' || 1735000000001 + pg_temp.pick('login', g.n, :users)
ORDER BY g.n;

-- one daily report for each ten patients
INSERT INTO patient_queue (id, "reportDate", "totalPatientsInQueue", "patientsServed",
	"patientsRemoved", "averageWaitTimeMinutes", "peakHour", "queueData", "generatedAt")
SELECT 'queue_report_' || day || '_' || 1739000000000 + g.n, day, total, total - removed, removed,
	pg_temp.one_of('wait', g.n, '{12m,1h 05m,N/A,48m}'),
	pg_temp.one_of('peak', g.n, '{9AM - 10AM,10AM - 11AM,N/A}'),
	format('[{"queueNumber":1,"patientName":"%s","selectedServices":"[]"}]',
		'Patient ' || g.n)::json,
	day + interval '17 hours 30 minutes'
FROM generate_series(1, 1 + :patients / 10) AS g (n)
	CROSS JOIN LATERAL (SELECT date '2026-06-01' - g.n::integer AS day,
		20 + pg_temp.pick('total', g.n, 30) AS total,
		pg_temp.pick('removed', g.n, 5) AS removed) AS made
ORDER BY g.n;

DROP TABLE sample_service, sample_item, sample_bill;
ANALYZE users, patients, clinic_services, patient_history, appointments, medical_records,
	user_sessions, active_patient_queue, patient_queue, patient_bills, bill_items, payments,
	user_activity_log;
