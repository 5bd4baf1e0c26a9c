/*
 * Indexes of the log and of the batches that come, go and are not (yet) what
 * they say: REINDEX CONCURRENTLY, stopped between its phases by transactions
 * that stay open or broken off there, and indexes that an administrator adds.
 * Whatever happens to them, no write fails and no change is lost.
 */
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT plan(36);

CREATE EXTENSION clinic_sync;
CREATE EXTENSION amcheck;
CREATE EXTENSION dblink;
CREATE TABLE t (id serial PRIMARY KEY, v text);
SELECT clinic_sync.publish('t') \gset

CREATE TABLE session (name text, pid int);
DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY '{batcher,one,two,reindex}'::text[] LOOP
		PERFORM dblink_connect(name, format('host=%s port=%s dbname=%s', split_part(current_setting('unix_socket_directories'), ',', 1),
			current_setting('port'), current_database()));
		INSERT INTO session SELECT name, x.pid FROM dblink(name, 'SELECT pg_backend_pid()') AS x(pid int);
	END LOOP;
END
$$;

CREATE PROCEDURE reindex(relation text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dblink_send_query('reindex', 'REINDEX TABLE CONCURRENTLY ' || relation);
END
$$;
CREATE PROCEDURE hold(name text, relation text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dblink_exec(name, 'BEGIN'), dblink_exec(name, format('LOCK TABLE %s IN ROW EXCLUSIVE MODE', relation));
END
$$;
-- REINDEX also waits for old snapshots: we must have none while we wait for it
CREATE PROCEDURE wait_for_reindex(behind text) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 3000 LOOP
		IF (CASE WHEN behind IS NULL THEN dblink_is_busy('reindex') = 0
			ELSE (SELECT pg_blocking_pids(r.pid) @> ARRAY[s.pid] FROM session r, session s WHERE r.name = 'reindex' AND s.name = behind) END)
		THEN
			RETURN;
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RAISE EXCEPTION 'REINDEX does not wait for %', behind;
END
$$;
/* The error of the statement that was sent, or "done". */
CREATE FUNCTION outcome() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	status text;
BEGIN
	SELECT x.status INTO status FROM dblink_get_result('reindex', false) AS x(status text);
	PERFORM * FROM dblink_get_result('reindex', false) AS x(status text);
	RETURN CASE WHEN status IS NULL THEN 'broken off' ELSE 'done' END;
END
$$;
CREATE FUNCTION states(relation regclass) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(CASE WHEN i.indisvalid THEN 'valid' WHEN i.indisready THEN 'ready' ELSE 'new' END, ' ' ORDER BY i.indexrelid)
	FROM pg_index i WHERE i.indrelid = relation AND i.indislive
$$;
CREATE FUNCTION batched() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	b record;
BEGIN
	SELECT x.* INTO b FROM dblink('batcher', 'SELECT batch, changes FROM clinic_sync.make_batch()') AS x(batch bigint, changes bigint);
	RETURN concat_ws(' ', b.changes, (SELECT count(*) FROM clinic_sync.batch_changes(b.batch)));
END
$$;
CREATE FUNCTION numbers_taken_twice() RETURNS bigint LANGUAGE sql SET enable_indexscan = off SET enable_indexonlyscan = off
	SET enable_bitmapscan = off AS $$
	SELECT count(*) - count(DISTINCT b.id) FROM clinic_sync.batch b
$$;

INSERT INTO t (v) VALUES ('first');
SELECT batched() AS before \gset

-- the log's current segment, written to in each phase

CALL hold('one', 'clinic_sync.change_log_1');
CALL reindex('clinic_sync.change_log_1');
CALL wait_for_reindex('one');
SELECT is(states('clinic_sync.change_log_1'), 'valid new', 'an index of the log is made anew, and not ready yet');
INSERT INTO t (v) VALUES ('a'), ('b');
SELECT is(batched(), '2 2', 'changes are written, and found');
CALL hold('two', 'clinic_sync.change_log_1');
SELECT dblink_exec('one', 'COMMIT') AS done \gset
CALL wait_for_reindex('two');
SELECT is(states('clinic_sync.change_log_1'), 'valid ready', 'it is ready, and not valid yet');
INSERT INTO t (v) SELECT repeat('x', 100) FROM generate_series(1, 1000);
SELECT is(batched(), '1000 1000', 'changes are found');
CALL hold('one', 'clinic_sync.change_log_1');
SELECT dblink_exec('two', 'COMMIT') AS done \gset
CALL wait_for_reindex('one');
SELECT is(states('clinic_sync.change_log_1'), 'ready valid', 'it is valid, and the old one is not any more');
INSERT INTO t (v) VALUES ('c'), ('d');
SELECT is(batched(), '2 2', 'changes are found');
SELECT dblink_exec('one', 'COMMIT') AS done \gset
CALL wait_for_reindex(NULL);
SELECT is(outcome(), 'done', 'REINDEX has done it');
INSERT INTO t (v) VALUES ('e');
SELECT is(batched(), '1 1', 'changes are found');
SELECT lives_ok($$SELECT bt_index_check('clinic_sync.change_log_1_xid', true)$$, 'the index is what it says');
SELECT is((SELECT sum(changes) FROM clinic_sync.batch), (SELECT count(*)::numeric + 1 FROM t), 'no change is lost, nor that of publish()');

-- broken off before and after it is ready: an invalid index stays

CALL hold('one', 'clinic_sync.change_log_1');
CALL reindex('clinic_sync.change_log_1');
CALL wait_for_reindex('one');
SELECT dblink_cancel_query('reindex') AS cancelled \gset
CALL wait_for_reindex(NULL);
SELECT is(outcome(), 'broken off', 'REINDEX is cancelled');
SELECT dblink_exec('one', 'COMMIT') AS done \gset
SELECT is(states('clinic_sync.change_log_1'), 'valid new', 'and leaves an index that is not ready');
INSERT INTO t (v) VALUES ('f'), ('g');
SELECT is(batched(), '2 2', 'changes are found');
DROP INDEX clinic_sync.change_log_1_xid_ccnew;

CALL hold('one', 'clinic_sync.change_log_1');
CALL reindex('clinic_sync.change_log_1');
CALL wait_for_reindex('one');
CALL hold('two', 'clinic_sync.change_log_1');
SELECT dblink_exec('one', 'COMMIT') AS done \gset
CALL wait_for_reindex('two');
SELECT dblink_cancel_query('reindex') AS cancelled \gset
CALL wait_for_reindex(NULL);
SELECT is(outcome(), 'broken off', 'REINDEX is cancelled later');
SELECT dblink_exec('two', 'COMMIT') AS done \gset
SELECT is(states('clinic_sync.change_log_1'), 'valid ready', 'and leaves an index that is ready');
INSERT INTO t (v) VALUES ('h'), ('i'), ('j');
SELECT is(batched(), '3 3', 'changes are found');

-- the batches

CALL hold('one', 'clinic_sync.batch_0');
CALL reindex('clinic_sync.batch_0');
CALL wait_for_reindex('one');
SELECT is(states('clinic_sync.batch_0'), 'valid new', 'the primary key of the batches is made anew');
INSERT INTO t (v) VALUES ('k');
SELECT is(batched(), '1 1', 'a batch is cut');
CALL hold('two', 'clinic_sync.batch_0');
SELECT dblink_exec('one', 'COMMIT') AS done \gset
CALL wait_for_reindex('two');
SELECT is(states('clinic_sync.batch_0'), 'valid ready', 'it is ready, and not valid yet');
INSERT INTO t (v) VALUES ('l'), ('m');
SELECT is(batched(), '2 2', 'a batch is cut');
CALL hold('one', 'clinic_sync.batch_0');
SELECT dblink_exec('two', 'COMMIT') AS done \gset
CALL wait_for_reindex('one');
SELECT is(states('clinic_sync.batch_0'), 'ready valid', 'it is valid, and the old one is not any more');
INSERT INTO t (v) VALUES ('n');
SELECT is(batched(), '1 1', 'a batch is cut');
SELECT dblink_exec('one', 'COMMIT') AS done \gset
CALL wait_for_reindex(NULL);
SELECT is(outcome(), 'done', 'REINDEX has done it');
INSERT INTO t (v) VALUES ('o');
SELECT is(batched(), '1 1', 'a batch is cut');
SELECT is(numbers_taken_twice(), 0::bigint, 'each has a number of its own');
SELECT lives_ok($$SELECT bt_index_check('clinic_sync.batch_0_pkey', true)$$, 'and is in the index');

CALL hold('one', 'clinic_sync.batch_0');
CALL reindex('clinic_sync.batch_0');
CALL wait_for_reindex('one');
SELECT dblink_cancel_query('reindex') AS cancelled \gset
CALL wait_for_reindex(NULL);
SELECT is(outcome(), 'broken off', 'REINDEX is cancelled');
SELECT dblink_exec('one', 'COMMIT') AS done \gset
INSERT INTO t (v) VALUES ('p');
SELECT is(batched(), '1 1', 'a batch is cut');
INSERT INTO t (v) VALUES ('q');
SELECT is(batched(), '1 1', 'and another one');
SELECT is(numbers_taken_twice(), 0::bigint, 'each has a number of its own');

-- indexes of an administrator, which look like ours or like none that we know

SELECT * FROM dblink('batcher', 'SELECT clinic_sync.new_segment()') AS x(id int) \gset
CREATE INDEX inserts ON clinic_sync.change_log_2 (xid) WHERE op = 'd';
CREATE INDEX lengths ON clinic_sync.change_log_2 (length(data)) WHERE op = 'i';
CREATE INDEX heads ON clinic_sync.change_log_2 (head, seq);
CREATE INDEX positions ON clinic_sync.change_log_2 USING brin (seq);
CREATE INDEX keys ON clinic_sync.change_log_2 USING hash (key);
INSERT INTO t (v) SELECT repeat('y', i) FROM generate_series(1, 500) i;
SELECT is(batched(), '500 500', 'changes are found');
SET enable_seqscan = off;
SELECT is((SELECT count(*) FROM clinic_sync.change_log_2 WHERE length(data) > 0 AND op = 'i'), 500::bigint, 'by an index on an expression, too');
SELECT is((SELECT count(*) FROM clinic_sync.change_log_2 WHERE key = format('{"id":%s}', (SELECT max(id) FROM t))), 1::bigint, 'and by a hash');
SELECT is((SELECT count(*) FROM clinic_sync.change_log_2 WHERE seq > 0), 500::bigint, 'and by BRIN');
SELECT lives_ok($$SELECT bt_index_check(i, true) FROM unnest('{clinic_sync.inserts,clinic_sync.lengths,clinic_sync.heads}'::regclass[]) i$$,
	'each is what it says');
SELECT is((SELECT sum(changes) FROM clinic_sync.batch), (SELECT count(*)::numeric + 1 FROM t), 'no change is lost, nor that of publish()');
DO $$ BEGIN PERFORM dblink_disconnect(name) FROM session; END $$;
SELECT * FROM finish();
