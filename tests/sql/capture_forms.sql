/*
 * What capture writes for each kind of change: the operation, the key, the
 * data, in order.  Every statement is a transaction of its own unless it says
 * otherwise, since capture treats a transaction's own rows differently.
 */
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT plan(51);

CREATE TABLE mark (seq bigint);
INSERT INTO mark VALUES (0);

/* Log rows written since the last call: "op key data", one line each. */
CREATE FUNCTION new_log() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	SELECT string_agg(concat_ws(' ', l.op, coalesce(l.key, '-'), coalesce(l.data, '-')), E'\n' ORDER BY l.seq)
	INTO result
	FROM clinic_sync.change_log_1 l, mark m WHERE l.seq > m.seq;
	UPDATE mark SET seq = (SELECT coalesce(max(l.seq), 0) FROM clinic_sync.change_log_1 l);
	RETURN result;
END
$$;

CREATE TABLE person (
	gone int,
	id text PRIMARY KEY,
	name text,
	age smallint,
	secret text,
	twice int GENERATED ALWAYS AS (age * 2) STORED
);
ALTER TABLE person DROP COLUMN gone;
SELECT clinic_sync.publish('person', 'patient_data_change_immediate', '{secret}') \gset
SELECT new_log() AS published \gset

-- one row

INSERT INTO person VALUES ('P1', 'Ana', 30, 'hush');
SELECT is(new_log(), 'i {"id":"P1"} {"id":"P1","name":"Ana","age":30,"twice":60}',
	'insert: the whole row, without dropped and excluded columns, with generated ones');
UPDATE person SET name = 'Ann' WHERE id = 'P1';
SELECT is(new_log(), 'u {"id":"P1"} {"name":"Ann"}', 'update: the column that changed');
UPDATE person SET age = 31 WHERE id = 'P1';
SELECT is(new_log(), 'u {"id":"P1"} {"age":31,"twice":62}', 'update: a generated column that follows');
UPDATE person SET name = NULL WHERE id = 'P1';
SELECT is(new_log(), 'u {"id":"P1"} {"name":null}', 'update: to NULL');
UPDATE person SET name = '' WHERE id = 'P1';
SELECT is(new_log(), 'u {"id":"P1"} {"name":""}', 'update: from NULL to empty');
UPDATE person SET name = name, age = age WHERE id = 'P1';
SELECT is(new_log(), NULL, 'update that changes nothing: nothing');
UPDATE person SET secret = 'other' WHERE id = 'P1';
SELECT is(new_log(), NULL, 'update of an excluded column only: nothing');
UPDATE person SET id = 'P2' WHERE id = 'P1';
SELECT is(new_log(), E'd {"id":"P1"} -\np {"id":"P2"} {"id":"P2","name":"","age":31,"twice":62}',
	'change of the key: the old one ends, the new one is put');
DELETE FROM person WHERE id = 'P2';
SELECT is(new_log(), 'd {"id":"P2"} -', 'delete: the key');
DELETE FROM person WHERE id = 'nobody';
SELECT is(new_log(), NULL, 'delete of nothing: nothing');

-- many rows, other statements

INSERT INTO person (id, age) SELECT 'M' || i, i FROM generate_series(1, 3) i;
SELECT is(new_log(), E'i {"id":"M1"} {"id":"M1","name":null,"age":1,"twice":2}\n'
	'i {"id":"M2"} {"id":"M2","name":null,"age":2,"twice":4}\n'
	'i {"id":"M3"} {"id":"M3","name":null,"age":3,"twice":6}', 'a statement of many rows');
INSERT INTO person (id, name) VALUES ('M1', 'x'), ('M4', 'y')
	ON CONFLICT (id) DO UPDATE SET name = excluded.name;
SELECT is(new_log(), E'u {"id":"M1"} {"name":"x"}\ni {"id":"M4"} {"id":"M4","name":"y","age":null,"twice":null}',
	'INSERT ... ON CONFLICT DO UPDATE');
INSERT INTO person (id) VALUES ('M1') ON CONFLICT DO NOTHING;
SELECT is(new_log(), NULL, 'INSERT ... ON CONFLICT DO NOTHING');
SELECT current_setting('server_version_num')::int >= 150000 AS has_merge \gset
\if :has_merge
MERGE INTO person p USING (VALUES ('M1', 9), ('M2', 0), ('M9', 9)) v(id, age) ON p.id = v.id
	WHEN MATCHED AND v.age = 0 THEN DELETE
	WHEN MATCHED THEN UPDATE SET age = v.age
	WHEN NOT MATCHED THEN INSERT (id, age) VALUES (v.id, v.age);
\else
UPDATE person SET age = 9 WHERE id = 'M1';
DELETE FROM person WHERE id = 'M2';
INSERT INTO person (id, age) VALUES ('M9', 9);
\endif
SELECT is((SELECT string_agg(line, E'\n' ORDER BY line) FROM string_to_table(new_log(), E'\n') line),
	E'd {"id":"M2"} -\ni {"id":"M9"} {"id":"M9","name":null,"age":9,"twice":18}\nu {"id":"M1"} {"age":9,"twice":18}',
	'MERGE: update, delete and insert');
COPY person (id, name) FROM stdin;
C1	copied
C2	\N
\.
SELECT is(new_log(), E'i {"id":"C1"} {"id":"C1","name":"copied","age":null,"twice":null}\n'
	'i {"id":"C2"} {"id":"C2","name":null,"age":null,"twice":null}', 'COPY');
SET session_replication_role = replica;
UPDATE person SET name = 'r' WHERE id = 'C1';
RESET session_replication_role;
SELECT is(new_log(), 'u {"id":"C1"} {"name":"r"}', 'session_replication_role = replica');
TRUNCATE person;
SELECT is(new_log(), 't - -', 'TRUNCATE');

-- several changes in one transaction

BEGIN;
INSERT INTO person VALUES ('T1', 'a');
UPDATE person SET name = 'b' WHERE id = 'T1';
COMMIT;
SELECT is(new_log(), E'i {"id":"T1"} {"id":"T1","name":"a","age":null,"twice":null}\n'
	'p {"id":"T1"} {"id":"T1","name":"b","age":null,"twice":null}', 'insert and update: the later state whole');
BEGIN;
UPDATE person SET name = 'c' WHERE id = 'T1';
UPDATE person SET age = 1 WHERE id = 'T1';
COMMIT;
SELECT is(new_log(), E'u {"id":"T1"} {"name":"c"}\np {"id":"T1"} {"id":"T1","name":"c","age":1,"twice":2}',
	'two updates: the second one whole');
BEGIN;
DELETE FROM person WHERE id = 'T1';
INSERT INTO person VALUES ('T1', 'again');
COMMIT;
SELECT is(new_log(), E'd {"id":"T1"} -\ni {"id":"T1"} {"id":"T1","name":"again","age":null,"twice":null}',
	'delete and insert again');
BEGIN;
INSERT INTO person VALUES ('T2');
DELETE FROM person WHERE id = 'T2';
COMMIT;
SELECT is(new_log(), E'i {"id":"T2"} {"id":"T2","name":null,"age":null,"twice":null}\np {"id":"T2"} -',
	'insert and delete: in the end it is not there');

-- savepoints

BEGIN;
SAVEPOINT a;
UPDATE person SET name = 'lost' WHERE id = 'T1';
ROLLBACK TO a;
UPDATE person SET name = 'kept' WHERE id = 'T1';
COMMIT;
SELECT is(new_log(), 'u {"id":"T1"} {"name":"kept"}',
	'a version made in a rolled back savepoint counts for nothing');
BEGIN;
SAVEPOINT a;
INSERT INTO person VALUES ('T3', 'in savepoint');
RELEASE a;
SAVEPOINT b;
UPDATE person SET name = 'later' WHERE id = 'T3';
COMMIT;
SELECT is(new_log(), E'i {"id":"T3"} {"id":"T3","name":"in savepoint","age":null,"twice":null}\n'
	'p {"id":"T3"} {"id":"T3","name":"later","age":null,"twice":null}', 'a version made in a released savepoint is ours');
BEGIN;
SELECT id FROM person WHERE id = 'T3' FOR KEY SHARE \gset
SAVEPOINT a;
UPDATE person SET name = 'm' WHERE id = 'T3';
SAVEPOINT b;
SELECT id FROM person WHERE id = 'T3' FOR KEY SHARE \gset
UPDATE person SET name = 'n' WHERE id = 'T3';
COMMIT;
SELECT is(new_log(), E'u {"id":"T3"} {"name":"m"}\np {"id":"T3"} {"id":"T3","name":"n","age":null,"twice":null}',
	'rows locked and changed in several savepoints (multixact xmax)');
BEGIN;
INSERT INTO person VALUES ('T4');
ROLLBACK;
SELECT is(new_log(), NULL, 'a transaction that is rolled back leaves nothing');
SELECT results_eq($$SELECT count(*), count(DISTINCT l.xid) FROM clinic_sync.change_log_1 l WHERE l.key = '{"id":"T3"}'$$,
	'VALUES (4::bigint, 2::bigint)', 'all savepoints of a transaction log under its own xid');

-- keys

CREATE TABLE pair (b int, note text, a text, PRIMARY KEY (a, b));
SELECT clinic_sync.publish('pair') \gset
SELECT new_log() AS published \gset
INSERT INTO pair VALUES (1, 'x', 'k');
SELECT is(new_log(), 'i {"a":"k","b":1} {"b":1,"note":"x","a":"k"}',
	'key in the order of the primary key, data in that of the table');
UPDATE pair SET b = 2;
SELECT is(new_log(), E'd {"a":"k","b":1} -\np {"a":"k","b":2} {"b":2,"note":"x","a":"k"}', 'a part of the key changes');

CREATE TABLE amount (id numeric PRIMARY KEY, v int);
SELECT clinic_sync.publish('amount') \gset
SELECT new_log() AS published \gset
INSERT INTO amount VALUES (1.0, 1);
SELECT is(new_log(), 'i {"id":"1.0"} {"id":"1.0","v":1}', 'numeric key');
UPDATE amount SET id = 1.00;
SELECT is(new_log(), E'd {"id":"1.0"} -\np {"id":"1.00"} {"id":"1.00","v":1}',
	'an equal key that is another text is another key');
UPDATE amount SET v = 2 WHERE id = 1;
SELECT is(new_log(), 'u {"id":"1.00"} {"v":2}', 'the key as it is stored');

CREATE TABLE seat (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, who text);
SELECT clinic_sync.publish('seat') \gset
INSERT INTO seat VALUES (1, 'one'), (2, 'two');
SELECT new_log() AS published \gset
UPDATE seat SET id = 3 - id;
SELECT is((SELECT string_agg(DISTINCT line, E'\n' ORDER BY line) FROM string_to_table(new_log(), E'\n') line),
	E'd {"id":1} -\np {"id":1} {"id":1,"who":"two"}\np {"id":2} {"id":2,"who":"one"}', 'two rows swap a deferrable key');

CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE word (id text COLLATE any_case PRIMARY KEY, v int);
SELECT clinic_sync.publish('word') \gset
INSERT INTO word VALUES ('abc', 1);
SELECT new_log() AS published \gset
UPDATE word SET id = 'ABC';
SELECT is(new_log(), E'd {"id":"abc"} -\np {"id":"ABC"} {"id":"ABC","v":1}', 'a key that changes its case only');

-- names

CREATE TABLE "We""ird Tbl" ("a ""b" int PRIMARY KEY, "select" text, "ünï\x" text, "tab	" text);
SELECT clinic_sync.publish('"We""ird Tbl"') \gset
SELECT new_log() AS published \gset
INSERT INTO "We""ird Tbl" VALUES (1, 's', 'u', 't');
SELECT is(new_log(), 'i {"a \"b":1} {"a \"b":1,"select":"s","ünï\\x":"u","tab\t":"t"}', 'odd column names');
ALTER TABLE person RENAME name TO full_name;
UPDATE person SET full_name = 'renamed' WHERE id = 'T1';
SELECT is((SELECT line FROM string_to_table(new_log(), E'\n') line WHERE line LIKE 'u %'),
	'u {"id":"T1"} {"full_name":"renamed"}', 'a column renamed in the session');

-- foreign keys

CREATE TABLE bill (id int PRIMARY KEY);
CREATE TABLE item (id int PRIMARY KEY, bill int REFERENCES bill ON DELETE CASCADE ON UPDATE CASCADE,
	other int REFERENCES bill ON DELETE SET NULL);
SELECT clinic_sync.publish('bill') \gset
SELECT clinic_sync.publish('item') \gset
INSERT INTO bill VALUES (1), (2);
INSERT INTO item VALUES (10, 1, NULL), (11, 2, 1);
SELECT new_log() AS published \gset
DELETE FROM bill WHERE id = 1;
SELECT is((SELECT string_agg(line, E'\n' ORDER BY line) FROM string_to_table(new_log(), E'\n') line),
	E'd {"id":10} -\nd {"id":1} -\nu {"id":11} {"other":null}', 'ON DELETE CASCADE and SET NULL');
UPDATE bill SET id = 20 WHERE id = 2;
SELECT is((SELECT string_agg(line, E'\n' ORDER BY line) FROM string_to_table(new_log(), E'\n') line),
	E'd {"id":2} -\np {"id":20} {"id":20}\nu {"id":11} {"bill":20}', 'ON UPDATE CASCADE');

-- values out of line

CREATE TABLE doc (id int PRIMARY KEY, body text, n int);
ALTER TABLE doc ALTER body SET STORAGE EXTERNAL;
SELECT clinic_sync.publish('doc') \gset
INSERT INTO doc VALUES (1, repeat('x', 100000), 1);
SELECT is((SELECT pg_column_compression(l.data) FROM clinic_sync.change_log_1 l WHERE l.op = 'i' AND l.data LIKE '%xxx%'),
	(SELECT CASE WHEN 'lz4' = ANY (s.enumvals) THEN 'lz4' ELSE 'pglz' END FROM pg_settings s WHERE s.name = 'default_toast_compression'),
	'a large row is compressed the quick way');
SELECT new_log() AS published \gset
UPDATE doc SET n = 2;
SELECT is(new_log(), 'u {"id":1} {"n":2}', 'a TOASTed value that stays is not repeated');
UPDATE doc SET body = repeat('x', 100000);
SELECT is(new_log(), NULL, 'a TOASTed value set to the same is no change');
UPDATE doc SET body = overlay(body PLACING 'y' FROM 99999);
SELECT is(length(new_log()), length('u {"id":1} {"body":""}') + 100000, 'a TOASTed value that changes arrives whole');

-- rows over the limit

SET clinic_sync.max_row_bytes = '2kB';
INSERT INTO doc VALUES (2, repeat('x', 3000), 1);
SELECT is(new_log(), 'o {"id":2} -', 'insert of a row over max_row_bytes: its key');
UPDATE doc SET n = 2 WHERE id = 2;
SELECT is(new_log(), 'o {"id":2} -', 'update of a row over the limit');
UPDATE doc SET body = repeat('y', 2048 - 100) WHERE id = 2;
SELECT is(left(new_log(), 30), 'p {"id":2} {"id":2,"body":"yyy', 'back under the limit: the whole row');
UPDATE doc SET body = repeat('z', 2049) WHERE id = 2;
SELECT is(new_log(), 'o {"id":2} -', 'an update to over the limit');
BEGIN;
UPDATE doc SET n = 3 WHERE id = 2;
UPDATE doc SET n = 4 WHERE id = 2;
COMMIT;
SELECT is(new_log(), E'o {"id":2} -\no {"id":2} -', 'the present state of a row over the limit');
DELETE FROM doc WHERE id = 2;
SELECT is(new_log(), 'd {"id":2} -', 'a row over the limit is deleted');
RESET clinic_sync.max_row_bytes;

-- wrong use

CREATE TABLE stray (id int PRIMARY KEY);
CREATE TRIGGER t AFTER INSERT ON stray FOR EACH ROW EXECUTE FUNCTION clinic_sync.capture_row();
SELECT throws_ok('INSERT INTO stray VALUES (1)', '55000', 'table "stray" is not published',
	'capture_row() on a table that is not published');
DROP TRIGGER t ON stray;
CREATE TRIGGER t BEFORE INSERT ON stray FOR EACH ROW EXECUTE FUNCTION clinic_sync.capture_row();
SELECT throws_ok('INSERT INTO stray VALUES (1)', '39P01', 'trigger "t" on table "stray" must be AFTER ... FOR EACH ROW',
	'capture_row() as a BEFORE trigger');
DROP TRIGGER t ON stray;
CREATE TRIGGER t AFTER INSERT ON stray FOR EACH STATEMENT EXECUTE FUNCTION clinic_sync.capture_truncate();
SELECT throws_ok('INSERT INTO stray VALUES (1)', '39P01', 'trigger "t" on table "stray" must be AFTER TRUNCATE',
	'capture_truncate() as another trigger');

-- a table that loses its key

-- the event triggers of the extension would refuse it
SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger \gexec
ALTER TABLE amount DROP CONSTRAINT amount_pkey;
SELECT new_log() AS ddl \gset
INSERT INTO amount VALUES (5, 5), (6, 6);
SELECT is(new_log(), 'r - -', 'a table without primary key is marked once a transaction, the write succeeds');

SELECT * FROM finish();
