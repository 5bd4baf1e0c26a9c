-- segments, pruning, the floor, a log that overflowed
SELECT plan(53);

CREATE TABLE p (id int PRIMARY KEY, t text);
SELECT clinic_sync.publish('p');
SELECT cursor AS c1 FROM clinic_sync.make_batch() \gset

-- nothing may go while a cursor needs it
SELECT results_eq('SELECT * FROM clinic_sync.prune()', 'VALUES (0, 0::bigint)', 'nothing to prune');
SELECT throws_ok($$SELECT * FROM clinic_sync.prune('-1 day')$$, '22023', NULL, 'negative retention');
SELECT throws_ok($$SELECT * FROM clinic_sync.prune(NULL, -1)$$, '22023', NULL, 'negative size');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT throws_ok($$SELECT * FROM clinic_sync.prune()$$, '25001', NULL, 'not with an old snapshot');
ROLLBACK;

-- rotation by size
SET clinic_sync.log_segment_bytes = '1MB';
INSERT INTO p SELECT i, repeat('x', 1000) FROM generate_series(1, 2000) i;
SELECT cursor AS c2 FROM clinic_sync.make_batch() \gset
RESET clinic_sync.log_segment_bytes;
SELECT results_eq('SELECT id, state FROM clinic_sync.segment ORDER BY id', $$VALUES (1, 'closed'), (2, 'current')$$, 'a full segment is closed');
INSERT INTO p VALUES (0);
SELECT is((SELECT count(*) FROM clinic_sync.change_log_2), 1::bigint, 'rows go to the new one');
SELECT cursor AS c3 FROM clinic_sync.make_batch() \gset
SELECT results_eq('SELECT id, state FROM clinic_sync.segment ORDER BY id', $$VALUES (1, 'sealed'), (2, 'current')$$, 'the next batch seals the old one');
SELECT is((SELECT max_xid FROM clinic_sync.segment WHERE id = 1), (SELECT xid FROM clinic_sync.change_log_1 ORDER BY xid DESC LIMIT 1), 'with its highest xid');
SELECT is((SELECT count(*) FROM clinic_sync.changes(:'c1')), 2001::bigint, 'readers cross segments');
SELECT is((SELECT segments FROM clinic_sync.batch WHERE id = 3), '{2}', 'a batch names its segments');
SELECT is((SELECT count(*) FROM pg_depend WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'clinic_sync')
	AND objid IN ('clinic_sync.change_log_1'::regclass, 'clinic_sync.change_log_2'::regclass)), 2::bigint, 'segments are members of the extension');
SELECT ok(NOT has_table_privilege('pg_monitor', 'clinic_sync.change_log_2', 'SELECT'), 'nobody reads them');

-- retention: batch 2 sees all of segment 1, so it is the floor
SELECT results_eq('SELECT * FROM clinic_sync.prune()', 'VALUES (0, 0::bigint)', 'younger than the retention: stays');
UPDATE clinic_sync.batch SET created_at = created_at - interval '10 days' WHERE id <= 2;
UPDATE clinic_sync.segment SET closed_at = closed_at - interval '10 days';
SELECT results_eq('SELECT * FROM clinic_sync.prune()', 'VALUES (1, 2::bigint)', 'older: goes, and the floor is the oldest batch that needs nothing of it');
SELECT is(to_regclass('clinic_sync.change_log_1'), NULL, 'by DROP');
SELECT is(clinic_sync.check_cursor(:'c1'), 'too_old', 'a cursor below the floor is too old');
SELECT is(clinic_sync.check_cursor(:'c2'), 'ok', 'the floor itself is served');
SELECT is((SELECT count(*) FROM clinic_sync.changes(:'c2')), 1::bigint, 'with all that follows');
SELECT throws_ok(format('SELECT * FROM clinic_sync.changes(%L)', :'c1'), 'CS011', NULL, 'changes() says so');
SELECT throws_ok('SELECT * FROM clinic_sync.batch_changes(2)', 'CS011', NULL, 'batch_changes() too');
SELECT is((SELECT string_agg(operation || ' ' || data, '') FROM clinic_sync.feed(:'c1', 9)), 'refused too_old', 'feed() too');
SELECT is((SELECT floor_reason || ' ' || pruned_segments || ' ' || forced_prunes FROM clinic_sync.history), 'retention 1 0', 'history tells why');

-- rows of a transaction that is older than the batches: a segment may go only for a floor that sees it
SELECT clinic_sync.new_segment() AS three \gset
CREATE EXTENSION dblink;
SELECT dblink_connect('long', format('host=%s port=%s dbname=%s user=%s', current_setting('unix_socket_directories'), current_setting('port'), current_database(), current_user)) AS connected \gset
SELECT dblink_exec('long', 'BEGIN') AS done \gset
SELECT dblink_exec('long', 'INSERT INTO p VALUES (-1)') AS done \gset
INSERT INTO p VALUES (-2);
SELECT cursor AS c4 FROM clinic_sync.make_batch() \gset
SELECT clinic_sync.new_segment() AS four \gset
INSERT INTO p VALUES (-3);
SELECT cursor AS c5 FROM clinic_sync.make_batch() \gset
SELECT is((SELECT state FROM clinic_sync.segment WHERE id = 3), 'closed', 'a segment with rows of an open transaction is not sealed');
UPDATE clinic_sync.batch SET created_at = created_at - interval '10 days';
UPDATE clinic_sync.segment SET closed_at = closed_at - interval '10 days';
SELECT floor_batch AS floor, dropped_segments AS dropped FROM clinic_sync.prune(NULL, 0) \gset
SELECT is(:'dropped' || ' ' || :'floor', '1 3', 'nor dropped, whatever the limit: only segment 2 goes');
SELECT dblink_exec('long', 'COMMIT') AS done \gset
SELECT batch AS n, changes FROM clinic_sync.make_batch() \gset
SELECT is(:'changes'::text, '1', 'its row comes in the batch after its end');
SELECT results_eq(format('SELECT batch, key FROM clinic_sync.changes(%L)', :'c4'), $$VALUES (5::bigint, '{"id":-3}'), (6, '{"id":-1}')$$, 'a late row of an old segment is read');
SELECT clinic_sync.new_segment() AS five \gset
INSERT INTO p VALUES (-4);
SELECT cursor AS c7 FROM clinic_sync.make_batch() \gset
SELECT is((SELECT state FROM clinic_sync.segment WHERE id = 3), 'sealed', 'now it is sealed');
UPDATE clinic_sync.batch SET created_at = created_at - interval '10 days' WHERE id = 6;
UPDATE clinic_sync.segment SET closed_at = closed_at - interval '10 days';
SELECT results_eq('SELECT * FROM clinic_sync.prune()', 'VALUES (2, 6::bigint)', 'and goes for batch 6, the first that sees its long transaction');
SELECT is(clinic_sync.check_cursor(:'c5'), 'too_old', 'batch 5 does not: its successor would have missed a row');
SELECT is((SELECT count(*) FROM clinic_sync.changes(clinic_sync.current_cursor())), 0::bigint, 'the last cursor is good');

-- forced: over the size limit while an older writing transaction is open somewhere
CREATE TABLE unpublished (a int);
SELECT dblink_exec('long', 'BEGIN') AS done \gset
SELECT dblink_exec('long', 'INSERT INTO unpublished VALUES (1)') AS done \gset
INSERT INTO p VALUES (-5);
SELECT clinic_sync.new_segment() AS six \gset
INSERT INTO p VALUES (-6);
SELECT cursor AS c8 FROM clinic_sync.make_batch() \gset
SELECT results_eq('SELECT * FROM clinic_sync.prune()', 'VALUES (0, 6::bigint)', 'no floor sees it and the size is fine: stays');
SELECT results_eq('SELECT * FROM clinic_sync.prune(NULL, 0)', 'VALUES (1, 9::bigint)', 'over the size limit it goes, the floor is the next batch');
SELECT is((SELECT floor_reason || ' ' || forced_prunes FROM clinic_sync.history), 'forced 1', 'counted');
SELECT is(clinic_sync.check_cursor(:'c8'), 'too_old', 'everybody starts afresh');
SELECT dblink_exec('long', 'COMMIT') AS done \gset
SELECT cursor AS c9, changes AS n9 FROM clinic_sync.make_batch() \gset
SELECT is(:'n9'::text, '0', 'the next batch is cut without a change to wait for');
SELECT is(clinic_sync.check_cursor(:'c9'), 'ok', 'and its cursor is good');
SELECT is((SELECT batch FROM clinic_sync.make_batch()), NULL, 'once');

-- a segment somebody reads is left for later, without waiting
SELECT clinic_sync.new_segment() AS seven \gset
INSERT INTO p VALUES (-7);
SELECT 1 AS one FROM clinic_sync.make_batch() \gset
SELECT 1 AS one FROM clinic_sync.make_batch(true) \gset
SELECT dblink_exec('long', 'BEGIN') AS done \gset
SELECT 1 AS one FROM dblink('long', 'SELECT count(*) FROM clinic_sync.change_log_6') t(n bigint) \gset
SELECT clock_timestamp() AS before \gset
SELECT dropped_segments AS dropped FROM clinic_sync.prune(NULL, 0) \gset
SELECT is(:'dropped'::text, '0', 'a segment that is being read stays');
SELECT ok(clock_timestamp() - :'before'::timestamptz < interval '900 ms', 'and prune() did not wait for it');
SELECT dblink_exec('long', 'COMMIT') AS done \gset
SELECT dropped_segments AS dropped FROM clinic_sync.prune(NULL, 0) \gset
SELECT is(:'dropped'::text, '1', 'until nobody reads it');

-- names of ended publications stay while a batch may name them
SELECT clinic_sync.unpublish('p');
SELECT 1 AS one FROM clinic_sync.make_batch() \gset
SELECT 1 AS one FROM clinic_sync.prune() \gset
SELECT is((SELECT name FROM clinic_sync.retired), 'p', 'name of an ended publication');

-- the log overflowed: capture stopped in this segment
SELECT clinic_sync.publish('p');
SELECT cursor AS c12 FROM clinic_sync.make_batch() \gset
SELECT id AS lost FROM clinic_sync.segment WHERE state = 'current' \gset
SELECT dblink_exec('long', 'BEGIN') AS done \gset
SELECT dblink_exec('long', 'INSERT INTO p VALUES (-8)') AS done \gset
INSERT INTO clinic_sync.log_lost VALUES (:lost);
SELECT ok((SELECT capture_stopped AND problems::text LIKE '%overflowed%' FROM clinic_sync.status), 'status says that capture stopped');
SELECT coalesce(batch::text, 'none') AS batch FROM clinic_sync.make_batch(true) \gset
SELECT coalesce(batch::text, 'none') AS batch2 FROM clinic_sync.make_batch(true) \gset
SELECT coalesce(batch::text, 'none') AS batch3 FROM clinic_sync.make_batch(true) \gset
SELECT is(:'batch' || :'batch2' || :'batch3', 'nonenonenone', 'no batch while a transaction that wrote there is open');
SELECT is((SELECT count(*) FROM clinic_sync.segment WHERE id >= :lost), 2::bigint, 'one new segment, not one a try');
SELECT is(clinic_sync.check_cursor(:'c12'), 'too_old', 'old cursors are refused already');
SELECT dblink_exec('long', 'COMMIT') AS done \gset
SELECT 1 AS one FROM clinic_sync.make_batch(true) \gset
SELECT cursor AS c13 FROM clinic_sync.make_batch(true) \gset
SELECT is((SELECT new_histories || ' ' || floor_reason FROM clinic_sync.history), '1 log_overflow', 'then the next batch starts the new history, counted');
SELECT is(to_regclass('clinic_sync.change_log_' || :lost), NULL, 'the lost segment is gone');
SELECT is(clinic_sync.check_cursor(:'c13'), 'ok', 'the new cursor is good');
INSERT INTO p VALUES (-9);
SELECT 1 AS one FROM clinic_sync.make_batch() \gset
SELECT is((SELECT string_agg(key, '') FROM clinic_sync.changes(:'c13')), '{"id":-9}', 'and the log goes on');

-- a name is kept while batches after the floor need it
CREATE TABLE brief (id int PRIMARY KEY);
SELECT clinic_sync.publish('brief');
SELECT 1 AS one FROM clinic_sync.make_batch(true) \gset
SELECT dblink_exec('long', 'BEGIN') AS done \gset
SELECT dblink_exec('long', 'DROP TABLE brief') AS done \gset
SELECT cursor AS c14, batch AS b14 FROM clinic_sync.make_batch(true) \gset
UPDATE clinic_sync.history SET floor_batch = :b14;
SELECT dblink_exec('long', 'COMMIT') AS done \gset
SELECT clinic_sync.prune_small(:b14);
SELECT 1 AS one FROM clinic_sync.make_batch(true) \gset
SELECT is((SELECT string_agg(concat_ws(' ', relation, operation), '') FROM clinic_sync.changes(:'c14')), 'brief resync', 'a table that went after the floor has its name');
SELECT batch AS b15 FROM clinic_sync.make_batch(true) \gset
SELECT clinic_sync.prune_small(:b15);
SELECT is_empty('SELECT FROM clinic_sync.retired', 'later it goes');

-- partitions of batch
UPDATE clinic_sync.history SET batch_from = 0;
SELECT clinic_sync.extend_batch(100001);
SELECT has_table('clinic_sync', 'batch_200000', 'the next partition of batch is made ahead');
SELECT clinic_sync.prune_small(100000);
SELECT hasnt_table('clinic_sync', 'batch_0', 'partitions below the floor go');

SELECT * FROM finish();
