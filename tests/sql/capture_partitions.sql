/*
 * Partitioned tables: leaves whose columns are numbered differently, rows
 * that move between leaves, TRUNCATE of all and of a part, ATTACH and DETACH.
 */
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT plan(15);

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

CREATE TABLE visit (id int, year int, note text, at timestamp, PRIMARY KEY (year, id)) PARTITION BY LIST (year);
CREATE TABLE visit_24 PARTITION OF visit FOR VALUES IN (24);
-- the same columns, numbered in another way, with a dropped one between
CREATE TABLE visit_25 (note text, gone int, at timestamp, year int NOT NULL, id int NOT NULL);
ALTER TABLE visit_25 DROP COLUMN gone;
ALTER TABLE visit ATTACH PARTITION visit_25 FOR VALUES IN (25);
CREATE TABLE visit_26 PARTITION OF visit FOR VALUES IN (26) PARTITION BY RANGE (id);
CREATE TABLE visit_26_low PARTITION OF visit_26 FOR VALUES FROM (0) TO (100);
SELECT clinic_sync.publish('visit') \gset
SELECT new_log() AS published \gset

INSERT INTO visit VALUES (1, 24, 'a', '2024-02-29'), (2, 25, 'b', NULL), (3, 26, 'c', NULL);
SELECT is(new_log(), E'i {"year":24,"id":1} {"id":1,"year":24,"note":"a","at":"2024-02-29T00:00:00.000"}\n'
	'i {"year":25,"id":2} {"id":2,"year":25,"note":"b","at":null}\n'
	'i {"year":26,"id":3} {"id":3,"year":26,"note":"c","at":null}',
	'every leaf logs as the root: its columns, its order, its key');
UPDATE visit SET note = 'x' WHERE id = 2;
SELECT is(new_log(), 'u {"year":25,"id":2} {"note":"x"}', 'update in a leaf with other column numbers');
UPDATE visit_25 SET at = '2025-01-01 10:00' WHERE id = 2;
SELECT is(new_log(), 'u {"year":25,"id":2} {"at":"2025-01-01T10:00:00.000"}', 'update of the leaf itself');
INSERT INTO visit_26_low VALUES (4, 26);
SELECT is(new_log(), 'i {"year":26,"id":4} {"id":4,"year":26,"note":null,"at":null}', 'a leaf two levels down');
UPDATE visit SET year = 25 WHERE id = 1;
SELECT is(new_log(), E'd {"year":24,"id":1} -\n'
	'i {"year":25,"id":1} {"id":1,"year":25,"note":"a","at":"2024-02-29T00:00:00.000"}', 'a row moves to another leaf');
BEGIN;
UPDATE visit SET note = 'y' WHERE id = 1;
UPDATE visit SET year = 24 WHERE id = 1;
UPDATE visit SET year = 25 WHERE id = 1;
COMMIT;
SELECT is(new_log(), E'u {"year":25,"id":1} {"note":"y"}\n'
	'p {"year":25,"id":1} -\n'
	'i {"year":24,"id":1} {"id":1,"year":24,"note":"y","at":"2024-02-29T00:00:00.000"}\n'
	'p {"year":24,"id":1} -\n'
	'i {"year":25,"id":1} {"id":1,"year":25,"note":"y","at":"2024-02-29T00:00:00.000"}', 'moves there and back');

SELECT is(d.rows, 4::bigint, 'digest_scan() reads all leaves') FROM clinic_sync.digest_scan('visit') d;
CREATE TABLE plain (id int, year int, note text, at timestamp, PRIMARY KEY (year, id));
SELECT clinic_sync.publish('plain') \gset
INSERT INTO plain SELECT * FROM visit;
SELECT results_eq($$SELECT * FROM clinic_sync.digest_scan('visit')$$, $$SELECT * FROM clinic_sync.digest_scan('plain')$$,
	'digest of a partitioned table is that of a plain one with the same rows');
SELECT bag_eq($$SELECT * FROM clinic_sync.row_hashes('visit')$$, $$SELECT * FROM clinic_sync.row_hashes('plain')$$,
	'so are the hashes of its rows');

-- TRUNCATE

SELECT new_log() AS digests \gset
TRUNCATE visit_24;
SELECT is(new_log(), 'r - -', 'TRUNCATE of a leaf: the rest has to be fetched again');
TRUNCATE visit;
SELECT is((SELECT string_agg(DISTINCT line, ',') FROM string_to_table(new_log(), E'\n') line), 't - -', 'TRUNCATE of the root');
CREATE FUNCTION refill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO visit VALUES (9, 24);
	RETURN NULL;
END
$$;
CREATE TRIGGER "!a" AFTER TRUNCATE ON visit FOR EACH STATEMENT EXECUTE FUNCTION refill();
TRUNCATE visit;
SELECT is((SELECT string_agg(DISTINCT left(line, 1), ',' ORDER BY left(line, 1)) FROM string_to_table(new_log(), E'\n') line),
	'i,r', 'TRUNCATE of a table that a trigger fills again at once: never said to be empty');
DROP TRIGGER "!a" ON visit;

-- leaves that come and go

CREATE TABLE visit_27 PARTITION OF visit FOR VALUES IN (27);
SELECT new_log() AS ddl \gset
INSERT INTO visit VALUES (1, 27);
SELECT is(new_log(), 'i {"year":27,"id":1} {"id":1,"year":27,"note":null,"at":null}', 'a leaf created after publishing');
ALTER TABLE visit DETACH PARTITION visit_27;
SELECT new_log() AS ddl \gset
INSERT INTO visit_27 VALUES (2, 27);
TRUNCATE visit_27;
SELECT is(new_log(), NULL, 'a detached leaf is a table like any other');
ALTER TABLE visit ATTACH PARTITION visit_27 FOR VALUES IN (27);
SELECT new_log() AS ddl \gset
INSERT INTO visit_27 VALUES (3, 27);
SELECT is(new_log(), 'i {"year":27,"id":3} {"id":3,"year":27,"note":null,"at":null}', 'attached again, in the same session');

SELECT * FROM finish();
