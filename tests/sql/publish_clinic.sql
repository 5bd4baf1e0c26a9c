-- publish_clinic(): the clinic's thirteen tables
SELECT plan(16);

SELECT throws_ok($$CALL clinic_sync.publish_clinic('nowhere')$$, '3F000', NULL, 'no such schema');
SELECT throws_ok($$CALL clinic_sync.publish_clinic(NULL)$$, '3F000', NULL, 'NULL');
CREATE FUNCTION pg_temp.detail(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail;
END
$$;
SELECT is((SELECT count(*) FROM regexp_split_to_table(pg_temp.detail('CALL clinic_sync.publish_clinic()'), '\n')), 13::bigint,
	'thirteen missing tables are thirteen lines in one error');

SET client_min_messages = warning;
\ir ../../sql/clinic_schema.sql
RESET client_min_messages;
ALTER TABLE payments DROP CONSTRAINT payments_pkey;
ALTER TABLE users DROP COLUMN password;
SELECT is(pg_temp.detail('CALL clinic_sync.publish_clinic()'),
	E'public.users: excluded column password does not exist\npublic.payments: it has no primary key', 'all that is wrong, and only that');
SELECT is((SELECT count(*) FROM clinic_sync.publication), 0::bigint, 'then nothing is published');
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgname LIKE '!clinic%'), 0::bigint, 'no trigger left');
ALTER TABLE payments ADD PRIMARY KEY (id);
ALTER TABLE users ADD password text;

-- a lock on one table: the others are published meanwhile, each in a transaction of its own
CREATE EXTENSION dblink;
SELECT format('host=%s port=%s dbname=%s user=%s', current_setting('unix_socket_directories'), current_setting('port'), current_database(), current_user) AS here \gset
SELECT dblink_connect('writer', :'here') AS connected \gset
SELECT dblink_connect('dba', :'here') AS connected \gset
SELECT dblink_exec('writer', 'BEGIN') AS done \gset
SELECT dblink_exec('writer', 'LOCK TABLE patients IN ROW EXCLUSIVE MODE') AS done \gset
SELECT dblink_send_query('dba', 'CALL clinic_sync.publish_clinic()') AS sent \gset
DO $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM pg_locks l WHERE l.relation = 'patients'::regclass AND NOT l.granted) LOOP
		PERFORM pg_sleep(0.01);
		COMMIT;
	END LOOP;
END
$$;
SELECT is((SELECT string_agg(name, ' ') FROM clinic_sync.publication), 'users', 'each table in its own transaction, in order');
SELECT ok((SELECT bool_and(current_setting('lock_timeout') = '0') FROM (SELECT 1) x), 'our own session is not touched');
SELECT dblink_exec('writer', 'COMMIT') AS done \gset
SELECT is((SELECT r FROM dblink_get_result('dba') t(r text)), 'CALL', 'a writer that held a lock only delays it');
SELECT is((SELECT count(*) FROM clinic_sync.tables WHERE captured), 13::bigint, 'thirteen tables are published and captured');
SELECT is((SELECT string_agg(n || ' ' || event, ', ' ORDER BY event) FROM (SELECT event, count(*) n FROM clinic_sync.publication GROUP BY event) x),
	'3 billing_change_immediate, 5 data_change_immediate, 3 patient_data_change_immediate, 2 user_data_change_immediate', 'events by the app''s mapping');
SELECT set_eq($$SELECT p.name, x FROM clinic_sync.publication p, unnest(p.excluded) x$$,
	$$VALUES ('users', 'password'::name), ('users', 'securityAnswer1'), ('users', 'securityAnswer2'), ('users', 'securityAnswer3'),
	('user_sessions', 'sessionToken'), ('user_sessions', 'lastActivity')$$, 'secrets stay at home');
SET client_min_messages = warning;
CALL clinic_sync.publish_clinic();
RESET client_min_messages;
SELECT is((SELECT count(*) FROM clinic_sync.publication), 13::bigint, 'a second call skips what is published');
BEGIN;
SELECT throws_ok('CALL clinic_sync.publish_clinic()', '25001', 'publish_clinic() cannot run inside a transaction block', 'not inside a transaction block that could hold all the locks');
ROLLBACK;

-- secrets never reach the log
INSERT INTO users (id, username, password, "securityAnswer1") VALUES ('u1', 'ann', 'canary-password', 'canary-answer');
UPDATE users SET password = 'canary-2', "fullName" = 'Ann' WHERE id = 'u1';
DELETE FROM users WHERE id = 'u1';
SELECT is((SELECT string_agg(op::text, '') FROM clinic_sync.change_log_1 WHERE key = '{"id":"u1"}'), 'iud', 'changes of users are logged');
SELECT is((SELECT count(*) FROM clinic_sync.change_log_1 l WHERE l::text LIKE '%canary%'), 0::bigint, 'without password and answers');

SELECT * FROM finish();
