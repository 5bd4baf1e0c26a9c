/*
 * What capture remembers from one row to the next: the segment it has locked,
 * the keys it has logged, where its rows are found.  Savepoints, rotations,
 * DDL and a new extension in the middle of a session or transaction must not
 * make it remember something that is no longer true.
 */
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT plan(35);

CREATE EXTENSION clinic_sync;
CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT clinic_sync.publish('t') \gset

CREATE EXTENSION dblink;
SELECT dblink_connect('other', format('host=%s port=%s dbname=%s',
	split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database())) \gset
CREATE FUNCTION others_can_seal(segment int) RETURNS boolean LANGUAGE sql AS $$
	SELECT x.sealed FROM dblink('other', format('SELECT clinic_sync.seal_segment(%s)', segment)) AS x(sealed boolean)
$$;

/* Transactions of a segment and pages they wrote to without a head there: nobody would find those rows. */
CREATE FUNCTION headless(segment regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	result bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM (SELECT FROM %s l GROUP BY l.xid, (l.ctid::text::point)[0] HAVING NOT bool_or(l.head)) x',
		segment) INTO result;
	RETURN result;
END
$$;
/* Changes that a new batch holds, by its count and by reading them. */
CREATE FUNCTION batched() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	b record;
BEGIN
	SELECT x.* INTO b FROM dblink('other', 'SELECT batch, changes FROM clinic_sync.make_batch()') AS x(batch bigint, changes bigint);
	RETURN concat_ws(' ', b.changes, (SELECT count(*) FROM clinic_sync.batch_changes(b.batch)));
END
$$;

-- the lock on the segment

BEGIN;
INSERT INTO t VALUES (1);
SAVEPOINT a;
INSERT INTO t VALUES (2);
ROLLBACK TO a;
SELECT is(others_can_seal(1), false, 'a savepoint''s rollback leaves a lock that was there before it');
COMMIT;
SELECT is(others_can_seal(1), true, 'no transaction, no lock');
BEGIN;
SAVEPOINT a;
INSERT INTO t VALUES (3);
ROLLBACK TO a;
SELECT is(others_can_seal(1), true, 'the lock of a savepoint goes with it');
INSERT INTO t VALUES (4);
SELECT is(others_can_seal(1), false, 'and the next row takes it again');
COMMIT;
BEGIN;
SAVEPOINT a;
INSERT INTO t VALUES (5);
RELEASE a;
SELECT is(others_can_seal(1), false, 'the lock of a released savepoint stays');
COMMIT;

BEGIN;
INSERT INTO t VALUES (10);
PREPARE TRANSACTION 'held';
SELECT is(others_can_seal(1), false, 'a prepared transaction keeps it');
INSERT INTO t VALUES (11);
COMMIT PREPARED 'held';
SELECT is(others_can_seal(1), true, 'until it is committed');
BEGIN;
INSERT INTO t VALUES (12);
SELECT is(others_can_seal(1), false, 'the session that prepared it locks anew for its next transaction');
COMMIT;

-- the keys this transaction has logged, when what capture knows of the table is read anew in between

CREATE FUNCTION insert_again_and_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO t VALUES (OLD.id, 'again');
	PERFORM clinic_sync.forget_caches();
	RETURN NULL;
END
$$;
CREATE TRIGGER "!a" AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION insert_again_and_forget();
DELETE FROM t WHERE id = 1;
SELECT is((SELECT string_agg(l.op::text || coalesce(l.data, '-'), ' ' ORDER BY l.seq) FROM (SELECT c.* FROM clinic_sync.change_log_1 c
		WHERE c.key = '{"id":1}' ORDER BY c.seq DESC LIMIT 2) l),
	'i{"id":1,"v":"again"} p{"id":1,"v":"again"}', 'a deleted row that another trigger has inserted again is there');
DROP TRIGGER "!a" ON t;

-- heads: where rows are found

SELECT batched() AS before \gset
INSERT INTO t SELECT i, repeat('x', i % 100) FROM generate_series(1001, 6000) i;
SELECT is(headless('clinic_sync.change_log_1'), 0::bigint, 'a statement over many pages has a head on each');
SELECT cmp_ok((SELECT count(*) FROM clinic_sync.change_log_1 WHERE head), '<', 150::bigint, 'and hardly more');
SELECT is(batched(), '5000 5000', 'all its rows are found by them');

BEGIN;
SAVEPOINT a;
INSERT INTO t VALUES (6001);
SAVEPOINT b;
INSERT INTO t VALUES (6002);
RELEASE b;
ROLLBACK TO a;
INSERT INTO t VALUES (6003);
SAVEPOINT c;
INSERT INTO t VALUES (6004);
RELEASE c;
INSERT INTO t VALUES (6005);
SAVEPOINT d;
INSERT INTO t VALUES (6006);
ROLLBACK TO d;
INSERT INTO t VALUES (6007);
COMMIT;
SELECT is(headless('clinic_sync.change_log_1'), 0::bigint, 'a head that a savepoint took away is replaced');
VACUUM clinic_sync.change_log_1;
SELECT is(batched(), '4 4', 'the rows are found after VACUUM has cleaned the index');

CREATE FUNCTION fail_often() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		UPDATE t SET v = 'touched' WHERE id = NEW.id - 2000;
		IF NEW.id % 3 = 0 THEN
			RAISE EXCEPTION USING ERRCODE = 'P0009';
		END IF;
	EXCEPTION WHEN SQLSTATE 'P0009' THEN
		NULL;
	END;
	RETURN NULL;
END
$$;
CREATE TRIGGER "!a" AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION fail_often();
INSERT INTO t SELECT i, 'x' FROM generate_series(7001, 7600) i;
DROP TRIGGER "!a" ON t;
SELECT is(headless('clinic_sync.change_log_1'), 0::bigint, 'savepoints rolled back in the middle of a statement');
VACUUM clinic_sync.change_log_1;
SELECT is(batched(), (600 + (SELECT count(*) FROM t WHERE v = 'touched'))::text || ' '
	|| (600 + (SELECT count(*) FROM t WHERE v = 'touched'))::text, 'and what is left is found');

-- another session fills the page that the next row was meant for

SELECT * FROM dblink('other', 'SELECT clinic_sync.new_segment()') AS x(id int) \gset
BEGIN;
INSERT INTO t VALUES (8001), (8002);
SELECT count(*) AS done FROM dblink('other', 'INSERT INTO t SELECT i, repeat(''y'', 200) FROM generate_series(9001, 9100) i RETURNING id') AS x(id int) \gset
INSERT INTO t VALUES (8003), (8004);
SELECT is(pg_stat_get_xact_tuples_deleted('clinic_sync.change_log_2'::regclass), 1::bigint,
	'a row that was put on another page than foretold is written once more');
COMMIT;
SELECT is(headless('clinic_sync.change_log_2'), 0::bigint, 'as a head');
SELECT is(batched(), '104 104', 'once');

-- a segment that is written anew

INSERT INTO t SELECT i, repeat('z', 50) FROM generate_series(20001, 20500) i;
BEGIN;
INSERT INTO t SELECT i, repeat('z', 50) FROM generate_series(21001, 21333) i;
ROLLBACK;
INSERT INTO t SELECT i, repeat('z', 50) FROM generate_series(22001, 22500) i;
SELECT max(id) AS read_again FROM clinic_sync.batch \gset
VACUUM FULL clinic_sync.change_log_2;
SELECT cmp_ok(headless('clinic_sync.change_log_2'), '>', 0::bigint, 'VACUUM FULL moves rows away from their heads');
SELECT is(batched(), '1000 1000', 'and they are found all the same');
SELECT is((SELECT count(*) FROM clinic_sync.batch_changes(:read_again)), 104::bigint,
	'also those of an older batch');
SELECT is((SELECT max(s.id) FROM clinic_sync.segment s), 3, 'a batch that has read such a segment whole has begun another one');
INSERT INTO t VALUES (22501);
SELECT is(batched(), '1 1', 'in which all is as usual');
SELECT is((SELECT max(s.id) FROM clinic_sync.segment s), 3, 'for long');
CREATE EXTENSION amcheck;
SELECT lives_ok($$SELECT bt_index_check('clinic_sync.change_log_2_xid', true)$$, 'the index is what it says: all heads and nothing else');

-- what is read about the current segment, and reading it fails in the middle

SELECT * FROM dblink('other', 'SELECT clinic_sync.new_segment()') AS x(id int) \gset
SELECT dblink_exec('other', 'BEGIN') AS begun \gset
SELECT dblink_exec('other', 'LOCK TABLE clinic_sync.change_log_4') AS done \gset
SET lock_timeout = '50ms';
SELECT throws_ok('INSERT INTO t VALUES (22502)', '55P03', NULL, 'somebody has locked the new segment');
RESET lock_timeout;
SELECT dblink_exec('other', 'ROLLBACK') AS done \gset
INSERT INTO t VALUES (22502);
SELECT is(batched(), '1 1', 'the next row is written to it, and found');

-- segments, tables and extensions that change in the middle of a transaction

BEGIN;
INSERT INTO t VALUES (30001);
SELECT * FROM dblink('other', 'SELECT clinic_sync.new_segment()') AS x(id int) \gset
INSERT INTO t VALUES (30002), (30003);
COMMIT;
SELECT is(headless('clinic_sync.change_log_5'), 0::bigint, 'a transaction in two segments has a head in each');
SELECT is(batched(), '3 3', 'its rows are found in both');

BEGIN;
INSERT INTO t VALUES (31001, 'a');
ALTER TABLE t ADD COLUMN w int;
INSERT INTO t VALUES (31002, 'b', 1);
ALTER TABLE t RENAME COLUMN v TO u;
UPDATE t SET u = 'c' WHERE id = 31001;
COMMIT;
SELECT is((SELECT string_agg(l.data, ' ' ORDER BY l.seq) FROM clinic_sync.change_log_5 l WHERE l.op = ANY ('{i,p}') AND l.key LIKE '{"id":31%'),
	'{"id":31001,"v":"a"} {"id":31002,"v":"b","w":1} {"id":31001,"u":"c","w":null}', 'DDL between statements of a transaction');

CREATE FUNCTION walk() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c CURSOR FOR SELECT * FROM t WHERE id > 31000 FOR UPDATE;
BEGIN
	FOR r IN c LOOP
		UPDATE t SET w = r.id WHERE CURRENT OF c;
	END LOOP;
END
$$;
SELECT batched() AS before \gset
SELECT walk() \gset
SELECT is(batched(), '2 2', 'rows changed one by one under an open cursor');

-- memory: what the last of many rows finds in use, without PostgreSQL's own queue of triggers

CREATE TABLE used (bytes bigint);
CREATE FUNCTION look_at_memory() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO used SELECT sum(m.total_bytes) FROM pg_backend_memory_contexts m WHERE m.name NOT LIKE 'AfterTrigger%';
	RETURN NULL;
END
$$;
CREATE TABLE many (id int PRIMARY KEY, v text);
SELECT clinic_sync.publish('many') AS published \gset
INSERT INTO many SELECT i, md5(i::text) FROM generate_series(1, 100000) i;
CREATE TRIGGER zz AFTER UPDATE ON many FOR EACH ROW WHEN (NEW.id = ANY ('{1000,100000}')) EXECUTE FUNCTION look_at_memory();
UPDATE many SET v = v || 'x';
SELECT cmp_ok((SELECT max(bytes) - min(bytes) FROM used), '<', 65536::bigint, 'memory is flat: after 100,000 rows as after 1,000');
SELECT is((SELECT count(*) FROM used), 2::bigint, 'looked at twice');

-- a new extension in the same transaction

BEGIN;
INSERT INTO t VALUES (40001);
DROP EXTENSION clinic_sync CASCADE;
CREATE EXTENSION clinic_sync;
SELECT clinic_sync.publish('t') AS published \gset
INSERT INTO t VALUES (40002), (40003);
COMMIT;
SELECT is((SELECT string_agg(l.op::text || ':' || l.head, ' ' ORDER BY l.seq) FROM clinic_sync.change_log_1 l WHERE l.key LIKE '{"id":4%'),
	'i:false i:false', 'DROP and CREATE EXTENSION: rows go to the new log');

SELECT * FROM finish();
