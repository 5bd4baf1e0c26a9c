/*
 * Requests for a sync: who may make them, what they say, how relays read them,
 * how long they stay; and what devices report about their proofs.
 */
SET client_min_messages = warning;
SELECT plan(55);

DROP ROLE IF EXISTS test_requests_relay, test_requests_desk, test_requests_nobody;
CREATE ROLE test_requests_relay;
CREATE ROLE test_requests_desk;
CREATE ROLE test_requests_nobody;
CREATE EXTENSION dblink;
CREATE TABLE patients (id text PRIMARY KEY);
CREATE TABLE "Odd ""table" (id int PRIMARY KEY);
CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE stranger (id int PRIMARY KEY);
SELECT clinic_sync.publish('patients');
SELECT clinic_sync.publish('"Odd ""table"');
SELECT clinic_sync.publish('parts');
SELECT clinic_sync.relay_report('{"id":"r","name":"front"}', '[{"id":"desk-1","name":"Reception"}]');
SELECT clinic_sync.grant_relay('test_requests_relay');

-- what a request says
SELECT results_eq('SELECT * FROM clinic_sync.sync_requests()', 'SELECT 0::bigint, NULL::text, NULL::json, NULL::text, 0::float8 WHERE false', 'none yet');
SELECT clinic_sync.request_sync() AS r1 \gset
SELECT clinic_sync.request_sync('{parts,patients,patients}') AS r2 \gset
SELECT clinic_sync.request_sync(NULL, 'desk-1') AS r3 \gset
SELECT clinic_sync.request_sync('{"\"Odd \"\"table\""}', 'desk-1') AS r4 \gset
SELECT clinic_sync.resync_table('patients') AS r5 \gset
SELECT results_eq('SELECT id, kind, tables::text, device FROM clinic_sync.sync_requests()', format($$VALUES
	(%s::bigint, 'sync', NULL, NULL), (%s, 'sync', '["patients","parts"]', NULL), (%s, 'sync', NULL, 'desk-1'),
	(%s, 'sync', '["Odd \"table"]', 'desk-1'), (%s, 'table_sync', '["patients"]', NULL)$$, :r1, :r2, :r3, :r4, :r5),
	'all that were made, in order, tables by their names on the wire');
SELECT is((SELECT array_agg(id) FROM clinic_sync.sync_requests(:r3)), ARRAY[:r4, :r5]::bigint[], 'those after an id');
SELECT is((SELECT count(*) FROM clinic_sync.sync_requests(NULL)), 5::bigint, 'NULL is 0');
SELECT ok((SELECT min(seconds_left) BETWEEN 86000 AND 86400 FROM clinic_sync.sync_requests()), 'kept for a day');
SET clinic_sync.sync_request_keep = '10min';
SELECT ok((SELECT max(seconds_left) BETWEEN 500 AND 600 FROM clinic_sync.sync_requests()), 'or as long as sync_request_keep says');
RESET clinic_sync.sync_request_keep;
SELECT is((SELECT count(*) FROM clinic_sync.sync_requests(:r5)), 0::bigint, 'none after the last');
SELECT ok(:r1 < :r2 AND :r2 < :r3 AND :r3 < :r4 AND :r4 < :r5, 'ids rise, also within a millisecond');
SELECT ok(to_timestamp(:r1 / 1000.0) BETWEEN clock_timestamp() - interval '1 min' AND clock_timestamp(), 'and are the time');
SELECT is((SELECT DISTINCT requested_by FROM clinic_sync.sync_request), 'postgres', 'who asked is kept');
SELECT throws_ok('SELECT clinic_sync.request_patient_data_sync()', '42704', 'no table with patient data is published', 'no table with patient data');
CREATE TABLE bills (id int PRIMARY KEY);
CREATE TABLE records (id int PRIMARY KEY);
SELECT clinic_sync.publish('records', 'patient_data_change_immediate');
SELECT clinic_sync.publish('bills', 'billing_change_immediate');
SELECT clinic_sync.request_patient_data_sync() AS r6 \gset
SELECT clinic_sync.request_patient_data_sync('desk-1') AS r7 \gset
SELECT results_eq(format('SELECT kind, tables::text, device FROM clinic_sync.sync_requests(%s)', :r5),
	$$VALUES ('sync', '["records","bills"]', NULL), ('sync', '["records","bills"]', 'desk-1')$$, 'request_patient_data_sync(): records and bills');

-- what is refused
SELECT throws_ok($$SELECT clinic_sync.request_sync('{stranger}')$$, '42704', 'table public.stranger is not published', 'a table that is not published');
SELECT throws_ok($$SELECT clinic_sync.resync_table('stranger')$$, '42704', NULL, 'resync_table(), too');
SELECT throws_ok($$SELECT clinic_sync.resync_table('pg_class')$$, '42704', NULL, 'a system table');
SELECT throws_ok($$SELECT clinic_sync.resync_table(NULL)$$, '42704', NULL, 'NULL');
SELECT throws_ok($$SELECT clinic_sync.resync_table(0)$$, '42704', NULL, 'no relation');
SELECT throws_ok($$SELECT clinic_sync.resync_table('nowhere')$$, '42P01', NULL, 'a table that does not exist');
SELECT throws_ok($$SELECT clinic_sync.request_sync('{}')$$, '22023', NULL, 'no table');
SELECT throws_ok($$SELECT clinic_sync.request_sync(NULL, 'unknown')$$, '42704', 'no such device is known', 'an unknown device');
SELECT throws_ok($$SELECT clinic_sync.request_patient_data_sync('unknown')$$, '42704', NULL, 'there, too');
CREATE FUNCTION hint_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN hint;
END
$$;
SELECT is(hint_of($$SELECT clinic_sync.resync_table('parts_1')$$), 'Name the partitioned table public.parts.', 'a partition: its table is named');
SELECT is(hint_of($$SELECT clinic_sync.resync_table('stranger')$$), 'The view clinic_sync.tables lists what is.', 'else where to look');
SELECT is((SELECT count(*) FROM clinic_sync.sync_request), 7::bigint, 'what is refused leaves nothing');

-- rights
SELECT ok(has_function_privilege('test_requests_relay', 'clinic_sync.sync_requests(bigint)', 'EXECUTE')
	AND NOT has_function_privilege('test_requests_relay', 'clinic_sync.request_sync(regclass[], text)', 'EXECUTE')
	AND NOT has_function_privilege('test_requests_relay', 'clinic_sync.resync_table(regclass)', 'EXECUTE')
	AND NOT has_table_privilege('test_requests_relay', 'clinic_sync.sync_request', 'SELECT'), 'a relay reads requests and makes none');
SET ROLE test_requests_relay;
SELECT count(*) AS read FROM clinic_sync.sync_requests(:r6) \gset
RESET ROLE;
SELECT is(:read, 1, 'by the function');
SET ROLE test_requests_nobody;
SELECT throws_ok('SELECT clinic_sync.request_sync()', '42501', NULL, 'nobody else may');
RESET ROLE;
GRANT USAGE ON SCHEMA clinic_sync TO test_requests_desk;
GRANT EXECUTE ON FUNCTION clinic_sync.resync_table(regclass), clinic_sync.request_sync(regclass[], text) TO test_requests_desk;
SET ROLE test_requests_desk;
SELECT clinic_sync.resync_table('parts') AS r8 \gset
RESET ROLE;
SELECT is((SELECT requested_by FROM clinic_sync.sync_request WHERE id = :r8), 'test_requests_desk', 'whom a superuser let');

-- the doorbell
SELECT dblink_connect('listener', format('host=%s port=%s dbname=%s',
	split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database())) \gset
SELECT dblink_exec('listener', 'LISTEN clinic_sync') \gset
CREATE FUNCTION heard() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM FROM dblink('listener', 'SELECT 1') AS x(one int);
	RETURN (SELECT string_agg(n.extra, ' ') FROM dblink_get_notify('listener') n);
END
$$;
SELECT clinic_sync.request_sync('{patients}', 'desk-1') AS r9 \gset
SELECT is(heard(), '{"event":"sync_requested"}', 'it rings, and says nothing more');
SET clinic_sync.notify = off;
SELECT clinic_sync.request_sync() AS r10 \gset
SELECT is(heard(), NULL, 'silent in mode off');
RESET clinic_sync.notify;
SET clinic_sync.notify_queue_limit = 0;
SELECT clinic_sync.request_sync() AS r11 \gset
SELECT is(heard(), '{"event":"sync_requested"}', 'an empty queue is not over the limit');
RESET clinic_sync.notify_queue_limit;
BEGIN;
SELECT clinic_sync.request_sync() AS gone \gset
ROLLBACK;
SELECT is(heard() || (SELECT count(*) FROM clinic_sync.sync_requests(:r11)), NULL, 'a request that is rolled back was never made');

-- ids rise in the order of commits: one open transaction at a time
SELECT dblink_exec('listener', 'BEGIN') \gset
SELECT r AS r12 FROM dblink('listener', 'SELECT clinic_sync.request_sync()') AS x(r bigint) \gset
SELECT throws_ok('SELECT clinic_sync.request_sync()', '55P03', NULL, 'another one waits for the end of the first, for 2 s');
SELECT lives_ok('SELECT * FROM clinic_sync.sync_requests()', 'readers wait for nobody');
SELECT lives_ok('SELECT clinic_sync.prune()', 'nor does prune()');
SELECT dblink_exec('listener', 'COMMIT') \gset
SELECT clinic_sync.request_sync() AS r13 \gset
SELECT ok(:r13 > :r12, 'then it goes on');
UPDATE clinic_sync.sync_request SET id = id + 3600000 WHERE id = :r13;
SELECT is(clinic_sync.request_sync(), :r13 + 3600001, 'ids rise, also when the clock was put back');

-- how long they stay
UPDATE clinic_sync.sync_request SET requested_at = requested_at - interval '25 hours' WHERE id <= :r5;
SELECT is((SELECT min(id) FROM clinic_sync.sync_requests()), :r6::bigint, 'not given after a day');
SELECT clinic_sync.prune() \gset dropped_
SELECT is((SELECT min(id) FROM clinic_sync.sync_request), :r6::bigint, 'and pruned');
SET clinic_sync.sync_request_keep = '1h';
UPDATE clinic_sync.sync_request SET requested_at = requested_at - interval '2 hours' WHERE id = :r6;
SELECT is((SELECT min(id) FROM clinic_sync.sync_requests()), :r7::bigint, 'sync_request_keep');
RESET clinic_sync.sync_request_keep;
INSERT INTO clinic_sync.sync_request (id, kind, requested_by) SELECT 8000000000000 + i, 'sync', 'x' FROM generate_series(1, 2500) i;
SELECT is((SELECT count(*) || ' ' || max(id) FROM clinic_sync.sync_requests(8000000000000)), '1000 8000000001000', 'at most 1,000 at once');
SELECT clinic_sync.prune() \gset dropped_
SELECT is((SELECT count(*) || ' ' || min(id) FROM clinic_sync.sync_request), '1000 8000000001501', 'the newest 1,000 are kept');
DELETE FROM clinic_sync.sync_request;

-- what devices report about their proofs
SELECT clinic_sync.relay_report('{"id":"r","name":"front"}', '[{"id":"desk-1","name":"Reception","rows":1000,"proven_at":"2126-01-01T00:00:00Z","repairs":0,"parked":0},{"id":"new"}]');
SELECT results_eq('SELECT id, rows, proven_at, repairs, parked FROM clinic_sync.devices ORDER BY id',
	$$VALUES ('desk-1', 1000::bigint, '2126-01-01T00:00:00Z'::timestamptz, 0::bigint, 0::bigint), ('new', NULL, NULL, NULL, NULL)$$, 'rows, proven_at, repairs, parked');
SELECT is_empty('SELECT clinic_sync.problems()', 'no problem');
UPDATE clinic_sync.device SET proven_at = clock_timestamp() - interval '61 minutes', connected_at = clock_timestamp() - interval '2 hours' WHERE id = 'desk-1';
SELECT results_eq('SELECT clinic_sync.problems()',
	$$VALUES ('device desk-1 (Reception) asked for proofs and had none for an hour: the relay''s log says why, or they were switched off')$$, 'proofs that do not come are one');
UPDATE clinic_sync.device SET connected_at = clock_timestamp() - interval '59 minutes' WHERE id = 'desk-1';
SELECT is_empty('SELECT clinic_sync.problems()', 'not for a device that has just come');
UPDATE clinic_sync.device SET proven_at = NULL, connected_at = clock_timestamp() - interval '61 minutes' WHERE id = 'desk-1';
SELECT is((SELECT count(*) FROM clinic_sync.problems()), 1::bigint, 'nor had it any before');
UPDATE clinic_sync.device SET proven_at = '2126-01-01T00:00:00Z' WHERE id = 'desk-1';
SELECT clinic_sync.relay_report('{"id":"r","name":"front"}', '[{"id":"desk-1","name":"Reception","state":"live"},{"id":"new"}]');
SELECT is((SELECT rows || ' ' || repairs FROM clinic_sync.devices WHERE id = 'desk-1'), '1000 0', 'what a report leaves out stays');
SELECT xmin AS before FROM clinic_sync.device WHERE id = 'desk-1' \gset
SELECT clinic_sync.relay_report('{"id":"r","name":"front"}', '[{"id":"desk-1","name":"Reception","state":"live","rows":1000},{"id":"new"}]');
SELECT is((SELECT xmin::text FROM clinic_sync.device WHERE id = 'desk-1'), :'before', 'what says nothing new is not written');
SELECT clinic_sync.relay_report('{"id":"r","name":"front"}', '[{"id":"desk-1","name":"Reception","repairs":2,"proven_at":"2126-01-02T00:00:00Z"},{"id":"new"}]');
SELECT results_eq('SELECT clinic_sync.problems()',
	$$VALUES ('device desk-1 (Reception) had to repair tables in the last 24 hours: their rows differed from the server''s')$$, 'a repair is a problem');
UPDATE clinic_sync.device SET repaired_at = repaired_at - interval '25 hours';
SELECT clinic_sync.relay_report('{"id":"r","name":"front"}', '[{"id":"desk-1","name":"Reception","repairs":2},{"id":"new"}]');
SELECT is_empty('SELECT clinic_sync.problems()', 'for a day');
SELECT clinic_sync.relay_report('{"id":"r","name":"front"}', '[{"id":"desk-1","name":"Reception","repairs":1},{"id":"new"}]');
SELECT is_empty('SELECT clinic_sync.problems()', 'a new file begins to count anew');
SELECT clinic_sync.relay_report('{"id":"r","name":"front"}', (SELECT json_agg(json_build_object('id', 'd' || i, 'repairs', 1, 'parked', i))::jsonb FROM generate_series(1, 5) i));
SELECT results_eq('SELECT clinic_sync.problems()', $$VALUES
	('devices d1, d2, d3 and 2 more had to repair tables in the last 24 hours: their rows differed from the server''s'),
	('devices d1, d2, d3 and 2 more cannot hold 15 rows: their own constraints refuse them, clinic_cache_parked in the file says why')$$, 'parked rows, too; of many devices three are named');
SELECT clinic_sync.relay_goodbye('r');
SELECT is((SELECT count(*) FROM clinic_sync.problems() p WHERE p LIKE '%cannot hold 15 rows%'), 1::bigint, 'also of devices that went a moment ago');
UPDATE clinic_sync.device SET seen_at = seen_at - interval '25 hours';
SELECT is((SELECT count(*) FROM clinic_sync.problems() p WHERE p LIKE '%cannot hold%'), 0::bigint, 'not for ever');

SELECT dblink_disconnect('listener') \gset
DROP OWNED BY test_requests_relay, test_requests_desk, test_requests_nobody;
DROP ROLE test_requests_relay, test_requests_desk, test_requests_nobody;
SELECT * FROM finish();
