/*
 * NOTIFY in commit mode: one per event and transaction, counts only, without
 * what a savepoint took back, never too long, never at PREPARE.  A second
 * session listens, through dblink.
 */
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT plan(18);

CREATE EXTENSION dblink;
SELECT dblink_connect('listener', format('host=%s port=%s dbname=%s',
	split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database())) \gset
SELECT dblink_exec('listener', 'LISTEN clinic_sync') \gset

/*
 * Payloads that arrived since the last call.  A notification is delivered
 * after the commit that sent it, so a last one of our own marks the end.
 */
CREATE PROCEDURE send_end_mark() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify('clinic_sync', 'end');
	COMMIT;
END
$$;
CREATE FUNCTION received() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	payloads text[] := '{}';
	payload text;
	answer text;
BEGIN
	LOOP
		PERFORM FROM dblink('listener', 'SELECT 1') AS x(one int);
		FOR payload IN SELECT n.extra FROM dblink_get_notify('listener') n LOOP
			IF payload = 'end' THEN
				RETURN array_to_string(payloads, E'\n');
			END IF;
			payloads := payloads || payload;
		END LOOP;
	END LOOP;
END
$$;

CREATE TABLE bill (id int PRIMARY KEY, v int, secret int);
CREATE TABLE payment (id int PRIMARY KEY);
CREATE TABLE queue (id int PRIMARY KEY);
SELECT clinic_sync.publish('bill', 'billing_change_immediate', '{secret}') \gset
SELECT clinic_sync.publish('payment', 'billing_change_immediate') \gset
CALL send_end_mark();
SELECT is(received(), E'{"event":"billing_change_immediate","tables":{"bill":{"schema":1}}}\n'
	'{"event":"billing_change_immediate","tables":{"payment":{"schema":1}}}', 'publish() rings, too');
SELECT clinic_sync.publish('queue') \gset

BEGIN;
INSERT INTO bill SELECT i, i FROM generate_series(1, 3) i;
UPDATE bill SET v = 9 WHERE id = 1;
INSERT INTO queue VALUES (1);
DELETE FROM bill WHERE id = 2;
COMMIT;
CALL send_end_mark();
SELECT is((SELECT string_agg(line, E'\n' ORDER BY line) FROM string_to_table(received(), E'\n') line WHERE line NOT LIKE '%schema%'),
	E'{"event":"billing_change_immediate","tables":{"bill":{"insert":3,"update":1,"delete":1}}}\n'
	'{"event":"data_change_immediate","tables":{"queue":{"insert":1}}}', 'one for each event, with counts');

BEGIN;
INSERT INTO payment VALUES (1);
SAVEPOINT a;
INSERT INTO payment VALUES (2);
INSERT INTO bill VALUES (50);
SAVEPOINT b;
INSERT INTO payment VALUES (3);
RELEASE b;
ROLLBACK TO a;
SAVEPOINT c;
SAVEPOINT d;
INSERT INTO payment VALUES (4);
RELEASE d;
RELEASE c;
COMMIT;
CALL send_end_mark();
SELECT is(received(), '{"event":"billing_change_immediate","tables":{"payment":{"insert":2}}}',
	'what a savepoint took back is not counted, what it kept is');

UPDATE bill SET secret = 1;
UPDATE bill SET v = v;
CALL send_end_mark();
SELECT is(received(), '', 'nothing logged, nothing sent');
BEGIN;
INSERT INTO bill VALUES (60);
ROLLBACK;
CALL send_end_mark();
SELECT is(received(), '', 'rolled back, nothing sent');
TRUNCATE payment;
CALL send_end_mark();
SELECT is(received(), '{"event":"billing_change_immediate","tables":{"payment":{"truncate":1}}}', 'TRUNCATE');

SET clinic_sync.notify = off;
INSERT INTO bill VALUES (70);
CALL send_end_mark();
SELECT is(received(), '', 'clinic_sync.notify = off');
RESET clinic_sync.notify;

-- the mode at the end decides

BEGIN;
SET LOCAL clinic_sync.notify = off;
INSERT INTO queue VALUES (71);
SET LOCAL clinic_sync.notify = commit;
INSERT INTO bill VALUES (71);
COMMIT;
CALL send_end_mark();
SELECT is(received(), E'{"event":"billing_change_immediate","tables":{"bill":{"insert":1}}}\n'
	'{"event":"data_change_immediate","tables":"*"}', 'what was logged while nobody counted is told without counts');
BEGIN;
INSERT INTO bill VALUES (72);
SET LOCAL clinic_sync.notify = off;
SAVEPOINT a;
SAVEPOINT b;
INSERT INTO queue VALUES (72);
RELEASE b;
ROLLBACK TO a;
SET LOCAL clinic_sync.notify = commit;
COMMIT;
CALL send_end_mark();
SELECT is(received(), '{"event":"billing_change_immediate","tables":{"bill":{"insert":1}}}', 'not what a savepoint took back');
BEGIN;
INSERT INTO bill VALUES (73);
SET LOCAL clinic_sync.notify = off;
COMMIT;
CALL send_end_mark();
SELECT is(received(), '', 'and off in the end is off');

-- worker, in a server that has not preloaded the module

SET clinic_sync.notify = worker;
SET client_min_messages = error;
INSERT INTO bill VALUES (74);
SET client_min_messages = warning;
CALL send_end_mark();
SELECT is(received(), '{"event":"billing_change_immediate","tables":{"bill":{"insert":1}}}', 'acts as commit');
SELECT is((SELECT notify || ' ' || problems[1] FROM clinic_sync.status),
	'commit clinic_sync.notify is worker and acts as commit: the server has not preloaded clinic_sync', 'which status says');
RESET clinic_sync.notify;

-- limits

CREATE PROCEDURE make_tables(count int, length int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. count LOOP
		EXECUTE format('CREATE TABLE %I (id int PRIMARY KEY)', rpad('t' || i || '_' || length, length, '"'));
		PERFORM clinic_sync.publish(format('%I', rpad('t' || i || '_' || length, length, '"'))::regclass, 'many');
		COMMIT;
	END LOOP;
END
$$;
CREATE FUNCTION fill_tables(count int, length int, key int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. count LOOP
		EXECUTE format('INSERT INTO %I VALUES (%s)', rpad('t' || i || '_' || length, length, '"'), key);
	END LOOP;
END
$$;
CALL make_tables(17, 10);
CALL make_tables(16, 63);
CALL send_end_mark();
SELECT received() AS published \gset
SELECT fill_tables(16, 10, 1) \gset
CALL send_end_mark();
SELECT is((SELECT count(*) FROM json_object_keys(received()::json -> 'tables')), 16::bigint, '16 tables are named');
SELECT fill_tables(17, 10, 2) \gset
CALL send_end_mark();
SELECT is(received(), '{"event":"many","tables":"*"}', '17 are not');
SELECT fill_tables(16, 63, 1) \gset
CALL send_end_mark();
SELECT cmp_ok(octet_length(received()), '<', 8000, 'a payload is never too long for NOTIFY');

-- savepoints by the thousand

CREATE FUNCTION many_savepoints(count int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. count LOOP
		BEGIN
			INSERT INTO queue VALUES (1000 + i);
			IF i % 2 = 0 THEN
				RAISE EXCEPTION USING ERRCODE = 'P0009';
			END IF;
		EXCEPTION WHEN SQLSTATE 'P0009' THEN
			NULL;
		END;
	END LOOP;
END
$$;
SELECT many_savepoints(2000) \gset
CALL send_end_mark();
SELECT is(received(), '{"event":"data_change_immediate","tables":{"queue":{"insert":1000}}}', '2,000 savepoints, every other one rolled back');

-- two-phase commit

SELECT current_setting('max_prepared_transactions')::int > 0 AS has_2pc \gset
\if :has_2pc
BEGIN;
INSERT INTO queue VALUES (2);
PREPARE TRANSACTION 'clinic_sync_notify_test';
COMMIT PREPARED 'clinic_sync_notify_test';
CALL send_end_mark();
SELECT is(received(), '', 'PREPARE TRANSACTION works and sends nothing');
SELECT is((SELECT count(*) FROM clinic_sync.change_log_1 l JOIN clinic_sync.publication p ON p.id = l.publication
	WHERE p.name = 'queue' AND l.key = '{"id":2}'), 1::bigint, 'its change is logged');
\else
SELECT skip('max_prepared_transactions is 0', 2);
\endif

SELECT dblink_disconnect('listener') \gset
SELECT * FROM finish();
