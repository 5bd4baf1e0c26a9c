-- batches from partition to partition, warm_cursor(), who may cut and read, and where nobody can
SET client_min_messages = warning;
DROP ROLE IF EXISTS test_reader;
SELECT plan(34);

CREATE TABLE p (id int PRIMARY KEY);
SELECT clinic_sync.publish('p');
SELECT is(clinic_sync.warm_cursor(), NULL, 'no warm cursor before the first batch');
SELECT 1 AS one FROM clinic_sync.make_batch(true) \gset

-- as if 99,997 batches had been cut
UPDATE clinic_sync.batch SET id = 99998;
DO $$ BEGIN
	FOR i IN 1 .. 5 LOOP
		INSERT INTO p SELECT 10 * i + n FROM generate_series(1, i) n;
		COMMIT;
		PERFORM clinic_sync.make_batch();
		COMMIT;
	END LOOP;
END $$;
CREATE FUNCTION cursor_of(batch bigint) RETURNS text LANGUAGE sql RETURN (SELECT b.id || '-' || b.nonce FROM clinic_sync.batch b WHERE b.id = batch);
SELECT results_eq('SELECT id, tableoid::regclass::text FROM clinic_sync.batch ORDER BY id', $$VALUES
	(99998::bigint, 'clinic_sync.batch_0'), (99999, 'clinic_sync.batch_0'), (100000, 'clinic_sync.batch_100000'),
	(100001, 'clinic_sync.batch_100000'), (100002, 'clinic_sync.batch_100000'), (100003, 'clinic_sync.batch_100000')$$,
	'numbers go on in the next partition');
SELECT has_table('clinic_sync', 'batch_200000', 'the first batch of a partition makes the next one');
SELECT is((SELECT batch_from FROM clinic_sync.history), 100000::bigint, 'which is noted');
SELECT is(clinic_sync.current_cursor(), cursor_of(100003), 'the last batch is found');
SELECT is((SELECT id FROM clinic_sync.last_batch()), 100003::bigint, 'by last_batch(), too');
SELECT results_eq($$SELECT batch, count(*) FROM clinic_sync.changes(cursor_of(99998)) GROUP BY batch ORDER BY batch$$,
	$$VALUES (99999::bigint, 1::bigint), (100000, 2), (100001, 3), (100002, 4), (100003, 5)$$, 'changes() reads across partitions');
SELECT is((SELECT string_agg(batch::text, ' ') FROM clinic_sync.feed(cursor_of(99999), 5) WHERE seq IS NULL), '100000 100001', 'feed() too');
SELECT is((SELECT string_agg(key, '') FROM clinic_sync.batch_changes(100000)), '{"id":21}{"id":22}', 'batch_changes() of the first in a partition');
SELECT is((SELECT string_agg(key, '') FROM clinic_sync.batch_changes(100003, (SELECT seq FROM clinic_sync.batch_changes(100003) OFFSET 1 LIMIT 1), 2)),
	'{"id":53}{"id":54}', 'a page of one');
SELECT bag_eq('SELECT DISTINCT by_worker FROM clinic_sync.batch', 'VALUES (false)', 'no worker cut them');
SELECT is((SELECT count(origin) FROM clinic_sync.feed(cursor_of(99998), 5000)), 0::bigint, 'so none is called proven');

-- the number after the last of a partition, before anything is in the next
UPDATE clinic_sync.batch SET id = id + 99996 WHERE id >= 100001;
SELECT is(clinic_sync.current_cursor(), cursor_of(199999), 'the last number of a partition is the last batch');
SELECT batch FROM clinic_sync.make_batch(true) \gset
SELECT is(:'batch'::text, '200000', 'the next one is in the next');
SELECT is(clinic_sync.current_cursor(), cursor_of(200000), 'and found');
SELECT is(clinic_sync.check_cursor('300000-0000000000000000'), 'history_lost', 'a number without a partition');

-- warm_cursor(): of the batches 199997 to 200000 with 3, 4, 5 and 0 changes
SELECT is(clinic_sync.warm_cursor(n), cursor_of(b), format('%s changes after batch %s', n, b))
FROM (VALUES (0, 199999), (4, 199999), (5, 199998), (8, 199998), (9, 199997), (1000000, 199997)) v(n, b);
UPDATE clinic_sync.history SET floor_batch = 199999;
SELECT is(clinic_sync.warm_cursor(), cursor_of(199999), 'not below the floor');
UPDATE clinic_sync.history SET floor_batch = 200001;
SELECT is(clinic_sync.warm_cursor(), NULL, 'none if the floor is above all');
UPDATE clinic_sync.history SET floor_batch = 0;
SELECT throws_ok('SELECT clinic_sync.warm_cursor(-1)', '22023', NULL, 'negative');
SELECT throws_ok('SELECT clinic_sync.warm_cursor(NULL)', '22023', NULL, 'NULL');

-- where nobody can cut
BEGIN READ ONLY;
SELECT throws_ok('SELECT clinic_sync.make_batch(true)', '25006', NULL, 'not in a read-only transaction');
ROLLBACK;
BEGIN READ ONLY;
SELECT is((SELECT count(*) FROM clinic_sync.feed(cursor_of(199999), 9)), 1::bigint, 'where reading is fine');
ROLLBACK;

-- rights are those of the functions alone
CREATE ROLE test_reader;
GRANT USAGE ON SCHEMA clinic_sync TO test_reader;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO test_reader;
SET ROLE test_reader;
SELECT throws_ok('SELECT ' || f, '42501', NULL, 'not for everybody: ' || f)
FROM (VALUES ('clinic_sync.make_batch()'), ('clinic_sync.feed(NULL, 1)'), ('clinic_sync.warm_cursor()')) v(f);
RESET ROLE;
SELECT clinic_sync.grant_relay('test_reader');
SELECT cursor_of(199997) AS warm \gset
SET ROLE test_reader;
SELECT is(clinic_sync.warm_cursor(), :'warm', 'a relay may ask where to begin');
SELECT is((SELECT count(*) FROM clinic_sync.feed(:'warm', 5000)), 12::bigint, 'read');
SELECT isnt((SELECT batch FROM clinic_sync.make_batch(true)), NULL, 'and cut');
RESET ROLE;
SELECT clinic_sync.revoke_relay('test_reader');
DROP OWNED BY test_reader;
DROP ROLE test_reader;

SELECT * FROM finish();
