/*
 * The hard limit of the log: the clinic's writes go on, the loss is on record
 * exactly when a row was skipped, also across savepoints; one warning.
 */
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT plan(14);

CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT clinic_sync.publish('t') \gset
CREATE FUNCTION logged() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM clinic_sync.change_log_1';
CREATE FUNCTION lost() RETURNS int[] LANGUAGE sql AS 'SELECT array_agg(segment) FROM clinic_sync.log_lost';

INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 2000) i;
SELECT is(lost(), NULL, 'nothing is lost below the limit');
SELECT logged() AS before \gset

-- the size is looked up at most once a second or every 4,096 rows
SET clinic_sync.log_hard_bytes = '64kB';
SET client_min_messages = error;
BEGIN;
SAVEPOINT a;
INSERT INTO t SELECT i FROM generate_series(10001, 15000) i;
SELECT isnt(lost(), NULL, 'over the limit: the loss is recorded by the transaction that skips');
SELECT cmp_ok(logged() - :before, '<', 5000::bigint, 'and logging stops in the middle of a statement');
ROLLBACK TO a;
SELECT is(lost(), NULL, 'the savepoint took the record with it');
INSERT INTO t VALUES (20000);
SELECT is(lost(), '{1}', 'the next skipped row records it again');
INSERT INTO t VALUES (20001);
SELECT is(lost(), '{1}', 'once');
COMMIT;
SELECT is(logged(), :before::bigint, 'no row of a stopped transaction is half logged');
SELECT is((SELECT count(*) FROM t WHERE id >= 20000), 2::bigint, 'the clinic''s rows are there');
INSERT INTO t VALUES (20002);
SELECT is(lost(), '{1}', 'a later transaction finds it on record');

BEGIN;
INSERT INTO t VALUES (20003);
SELECT is((SELECT count(*) FROM pg_locks l WHERE l.relation = 'clinic_sync.change_log_1'::regclass
	AND l.mode = 'RowExclusiveLock' AND l.pid = pg_backend_pid()), 1::bigint,
	'a transaction that skips keeps the segment from being sealed');
COMMIT;

-- back below: after at most 4,096 rows

SET clinic_sync.log_hard_bytes = '4GB';
CREATE PROCEDURE insert_until_logged() LANGUAGE plpgsql AS $$
DECLARE
	before bigint := logged();
BEGIN
	FOR i IN 1 .. 5000 LOOP
		INSERT INTO t VALUES (30000 + i);
		COMMIT;
		EXIT WHEN logged() > before;
	END LOOP;
END
$$;
CALL insert_until_logged();
SELECT is(logged(), :before::bigint + 1, 'logging goes on below the limit');

-- sealing

CREATE EXTENSION dblink;
SELECT dblink_connect('other', format('host=%s port=%s dbname=%s',
	split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database())) \gset
BEGIN;
INSERT INTO t VALUES (50000);
SELECT is(x.sealed, false, 'a segment that is being written to cannot be sealed')
	FROM dblink('other', 'SELECT clinic_sync.seal_segment(1)') AS x(sealed boolean);
COMMIT;
SELECT is(x.sealed, true, 'an idle one can')
	FROM dblink('other', 'SELECT clinic_sync.seal_segment(1)') AS x(sealed boolean);
SELECT dblink_disconnect('other') \gset

-- a new segment is looked at anew, not after a second

SET clinic_sync.log_hard_bytes = '64kB';
INSERT INTO t SELECT i FROM generate_series(60001, 66000) i;
SET clinic_sync.log_hard_bytes = '4GB';
SELECT clinic_sync.new_segment() \gset
INSERT INTO t VALUES (70000);
SELECT is((SELECT count(*) FROM clinic_sync.change_log_2), 1::bigint, 'the session logs to the new segment at once');

SELECT * FROM finish();
