-- make_batch() and the readers. Every statement is its own transaction, as a relay's are.
SELECT plan(69);

CREATE TABLE payments (id int PRIMARY KEY, amount numeric(12,2), note text);
SELECT is(clinic_sync.current_cursor(), NULL, 'no cursor before the first batch');
SELECT coalesce(cursor, batch::text, changes::text, 'NULLs') AS nothing FROM clinic_sync.make_batch() \gset
SELECT is(:'nothing'::text, 'NULLs', 'nothing to do: NULLs');
SELECT is((SELECT count(*) FROM clinic_sync.batch), 0::bigint, 'and no row');
INSERT INTO payments VALUES (0);
SELECT clinic_sync.publish('payments', 'billing_change_immediate');
SELECT cursor AS c1, batch AS b1, changes AS n1 FROM clinic_sync.make_batch() \gset
SELECT is(:'b1' || ' ' || :'n1', '1 1', 'the first batch is number 1 and holds what is there');
SELECT matches(:'c1'::text, '^1-[0-9a-f]{16}$', 'cursor = number, dash, 16 hex digits');
SELECT is(clinic_sync.current_cursor(), :'c1', 'current_cursor() is the last batch''s');
SELECT is(clinic_sync.check_cursor(:'c1'), 'ok', 'and it is good');
SELECT is((SELECT resync::text FROM clinic_sync.batch WHERE id = 1), '{1}', 'a batch names the publications to fetch anew');

-- the contents
BEGIN;
INSERT INTO payments VALUES (1, 150, 'a'), (2, 20.5, 'b');
UPDATE payments SET note = 'c' WHERE id = 0;
COMMIT;
DELETE FROM payments WHERE id = 2;
SELECT cursor AS c2, changes AS n2 FROM clinic_sync.make_batch() \gset
UPDATE payments SET amount = 1 WHERE id = 1;
SELECT cursor AS c3 FROM clinic_sync.make_batch() \gset
TRUNCATE payments;
SELECT cursor AS c4, batch AS b4 FROM clinic_sync.make_batch(true) \gset
SELECT cursor AS c5, batch AS b5, changes AS n5 FROM clinic_sync.make_batch(true) \gset
SELECT is(:'b5' || ' ' || :'n5', '5 0', 'boundary => true cuts an empty batch');
SELECT is(:'n2'::text, '4', 'changes are counted');
SELECT results_eq(format('SELECT batch, event, relation, operation, key, data, origin FROM clinic_sync.changes(%L)', :'c1'), $$VALUES
	(2::bigint, 'billing_change_immediate', 'payments', 'insert', '{"id":1}', '{"id":1,"amount":"150.00","note":"a"}', NULL),
	(2, 'billing_change_immediate', 'payments', 'insert', '{"id":2}', '{"id":2,"amount":"20.50","note":"b"}', NULL),
	(2, 'billing_change_immediate', 'payments', 'update', '{"id":0}', '{"note":"c"}', NULL),
	(2, 'billing_change_immediate', 'payments', 'delete', '{"id":2}', NULL, NULL),
	(3, 'billing_change_immediate', 'payments', 'update', '{"id":1}', '{"amount":"1.00"}', NULL),
	(4, 'billing_change_immediate', 'payments', 'truncate', NULL, NULL, NULL)$$, 'changes() gives every change in order');
SELECT results_eq(format('SELECT DISTINCT batch, cursor FROM clinic_sync.changes(%L) ORDER BY 1', :'c2'),
	format('VALUES (3::bigint, %L), (4, %L)', :'c3', :'c4'), 'each with the cursor of its batch, from a cursor in the middle');
SELECT is((SELECT count(*) FROM clinic_sync.changes(:'c5')), 0::bigint, 'nothing after the last');
SELECT is((SELECT string_agg(batch::text, '') FROM clinic_sync.changes(:'c1', 5)), '22223', 'as many whole batches as fit');
SELECT is((SELECT string_agg(batch::text, '') FROM clinic_sync.changes(:'c1', 1)), '2222', 'the first in any case');
SELECT results_eq('SELECT operation, key FROM clinic_sync.batch_changes(2)', $$VALUES
	('insert', '{"id":1}'), ('insert', '{"id":2}'), ('update', '{"id":0}'), ('delete', '{"id":2}')$$, 'batch_changes() reads one');
SELECT seq AS second FROM clinic_sync.batch_changes(2) OFFSET 1 LIMIT 1 \gset
SELECT results_eq(format('SELECT operation FROM clinic_sync.batch_changes(2, %s, 1)', :'second'), $$VALUES ('update')$$, 'in pages');
SELECT is((SELECT count(*) FROM clinic_sync.batch_changes(5)), 0::bigint, 'an empty batch has none');

-- feed()
SELECT results_eq(format('SELECT batch, cursor, operation, key, data, event, relation FROM clinic_sync.feed(%L, 100) WHERE seq IS NULL', :'c1'),
	format($$VALUES (2::bigint, %L, 'batch', NULL, '4', NULL, NULL), (3, %L, 'batch', NULL, '1', NULL, NULL),
	(4, %L, 'batch', 'boundary', '1', NULL, NULL), (5, %L, 'batch', 'boundary', '0', NULL, NULL)$$, :'c2', :'c3', :'c4', :'c5'),
	'feed() closes each batch with a row');
SELECT is((SELECT string_agg(operation, ' ') FROM clinic_sync.feed(:'c1', 5)),
	'insert insert update delete batch update batch', 'after the batch''s changes');
SELECT is((SELECT string_agg(operation || ' ' || data, ' ') FROM clinic_sync.feed(:'c1', 3)), 'giant 4', 'a batch over max_rows comes as its closing row');
SELECT is((SELECT string_agg(operation, ' ') FROM clinic_sync.feed(:'c2', 3)), 'update batch truncate batch batch', 'what stands before a giant one comes first');
SELECT is((SELECT count(*) FROM clinic_sync.feed(:'c5', 3)), 0::bigint, 'nothing after the last');
SELECT ok((SELECT bool_and(created_at ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$') FROM clinic_sync.feed(:'c1', 9)), 'created_at as the protocol writes times');
CREATE TABLE bills (id int PRIMARY KEY);
INSERT INTO bills VALUES (1);
SELECT clinic_sync.publish('bills');
SELECT cursor AS c6 FROM clinic_sync.make_batch() \gset
SELECT results_eq(format('SELECT operation, event, relation FROM clinic_sync.feed(%L, 9)', :'c5'),
	$$VALUES ('resync', 'data_change_immediate', 'bills'), ('batch', 'resync', 'bills')$$, 'a batch with a resync says which tables');
SET TimeZone = 'Asia/Manila';
SELECT ok((SELECT created_at::timestamptz > now() - interval '1 min' FROM clinic_sync.feed(:'c5', 9) LIMIT 1), 'and is UTC whatever the session''s zone');
RESET TimeZone;

-- refusals: as errors, as rows
SELECT throws_ok(format('SELECT * FROM clinic_sync.changes(%L)', c), s, NULL, 'changes: ' || d)
FROM (VALUES ('1-0000000000000000', 'CS010', 'wrong nonce'), ('99-0000000000000000', 'CS010', 'unknown batch'),
	('9223372036854775807-0000000000000000', 'CS010', 'greatest number'),
	('', '22P02', 'empty'), ('x', '22P02', 'no cursor'), ('0-0000000000000000', '22P02', 'batch 0'), ('-1-0000000000000000', '22P02', 'negative'),
	('9223372036854775808-0000000000000000', '22P02', 'out of range'), ('1-000000000000000G', '22P02', 'not hex'),
	('1-00000000000000001', '22P02', 'too long'), (upper(:'c1') || ' ', '22P02', 'trailing blank'), (E'1-0000000000000000\n', '22P02', 'newline'),
	(repeat('1', 1000000), '22P02', '1 MB'), (NULL, '22P02', 'NULL')) v(c, s, d);
SELECT is((SELECT string_agg(operation || ' ' || data, '') FROM clinic_sync.feed('1-0000000000000000', 9)), 'refused history_lost', 'feed: wrong nonce');
SELECT is((SELECT string_agg(operation || ' ' || data, '') FROM clinic_sync.feed('?', 9)), 'refused bad_cursor', 'feed: no cursor');
SELECT is((SELECT string_agg(operation || ' ' || data, '') FROM clinic_sync.feed(NULL, 9)), 'refused bad_cursor', 'feed: NULL');
SELECT is(clinic_sync.check_cursor('1-0000000000000000'), 'history_lost', 'check_cursor: wrong nonce');
SELECT is(clinic_sync.check_cursor('?'), 'bad_cursor', 'check_cursor: no cursor');
SELECT throws_ok(format('SELECT * FROM clinic_sync.changes(%L, %s)', :'c1', n), '22023', NULL, 'max_rows ' || n) FROM (VALUES ('0'), ('-1'), ('NULL')) v(n);
SELECT throws_ok(format('SELECT * FROM clinic_sync.feed(%L, 0)', :'c1'), '22023', NULL, 'feed: max_rows 0');
SELECT throws_ok('SELECT * FROM clinic_sync.batch_changes(77)', 'CS010', NULL, 'no such batch');
SELECT throws_ok($$SELECT * FROM clinic_sync.batch_changes('-9223372036854775808')$$, 'CS010', NULL, 'negative batch');
SELECT throws_ok('SELECT * FROM clinic_sync.batch_changes(NULL)', '22004', NULL, 'NULL batch');
SELECT throws_ok('SELECT * FROM clinic_sync.make_batch(NULL)', '22004', NULL, 'make_batch(NULL)');

-- a log that does not hold what was counted
DELETE FROM clinic_sync.change_log_1 WHERE op = 't';
SELECT throws_ok(format('SELECT * FROM clinic_sync.changes(%L)', :'c1'), 'CS012', NULL, 'a lost log row is noticed by changes()');
SELECT is((SELECT string_agg(operation || ' ' || data, '') FROM clinic_sync.feed(:'c1', 100)), 'refused log_incomplete', 'by feed(), which gives no row of it');
SELECT throws_ok('SELECT * FROM clinic_sync.batch_changes(4)', 'CS012', NULL, 'by batch_changes()');
SELECT is((SELECT count(*) FROM clinic_sync.changes(:'c4')), 1::bigint, 'what comes after it is good');

-- the transaction it may be called in
BEGIN;
INSERT INTO payments VALUES (7);
SELECT throws_ok('SELECT clinic_sync.make_batch()', '25001', 'a batch cannot be cut in a transaction that has written', 'not in a transaction that has written');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 1 AS one \gset
SELECT throws_ok('SELECT clinic_sync.make_batch(true)', '55000', NULL, 'in REPEATABLE READ only with the lock held');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
LOCK TABLE clinic_sync.batch_lock IN EXCLUSIVE MODE;
SELECT cursor AS c7 FROM clinic_sync.make_batch(true) \gset
SELECT pg_current_snapshot() AS seen \gset
COMMIT;
SELECT is((SELECT snapshot::text FROM clinic_sync.batch WHERE id = 7), :'seen', 'there the transaction''s snapshot is the batch''s');
BEGIN;
SELECT 1 AS one FROM clinic_sync.make_batch(true) \gset
SELECT is(current_setting('idle_in_transaction_session_timeout') || ' ' || current_setting('lock_timeout'), '5s 1s', 'an idle batcher is ended');
COMMIT;
SET synchronous_commit = off;
BEGIN;
SELECT 1 AS one FROM clinic_sync.make_batch(true) \gset
SELECT is(current_setting('synchronous_commit'), 'on', 'a batch is committed durably');
COMMIT;
RESET synchronous_commit;
SELECT is((SELECT count(DISTINCT nonce) FROM clinic_sync.batch), 9::bigint, 'every batch has a nonce of its own');

-- rolled back rows leave dead index entries, which a scan notes from batch to batch
SELECT clinic_sync.current_cursor() AS before_dead \gset
DO $$ BEGIN
	FOR i IN 1 .. 40 LOOP
		FOR j IN 1 .. 5 LOOP
			BEGIN
				INSERT INTO bills VALUES (1000 * i + 900 + j);
				RAISE 'back';
			EXCEPTION WHEN raise_exception THEN NULL;
			END;
		END LOOP;
		INSERT INTO bills SELECT 1000 * i + n FROM generate_series(1, i * 5) n;
		COMMIT;
		PERFORM clinic_sync.make_batch();
		COMMIT;
	END LOOP;
END $$;
SELECT is((SELECT count(*) || ' ' || sum((key::json ->> 'id')::int) FROM clinic_sync.feed(:'before_dead', 5000)), '4140 110978800',
	'many batches, between rows that were rolled back') FROM generate_series(1, 3);

-- more rows than there is memory to sort them in; two transactions side by side
SELECT clinic_sync.current_cursor() AS before_many \gset
CREATE EXTENSION dblink;
SELECT dblink_connect('side', format('host=%s port=%s dbname=%s user=%s', current_setting('unix_socket_directories'), current_setting('port'), current_database(), current_user)) AS connected \gset
SELECT dblink_exec('side', 'BEGIN') AS done \gset
BEGIN;
INSERT INTO bills SELECT n FROM generate_series(-40000, -20001) n;
SELECT dblink_exec('side', 'INSERT INTO bills SELECT n FROM generate_series(-80000, -40001) n') AS done \gset
INSERT INTO bills SELECT n FROM generate_series(-20000, -1) n;
COMMIT;
SELECT dblink_exec('side', 'COMMIT') AS done \gset
SELECT batch AS many FROM clinic_sync.make_batch() \gset
SET maintenance_work_mem = '1MB';
SELECT is((SELECT count(*) || ' ' || count(DISTINCT key) || ' ' || bool_and(up) FROM (SELECT key, seq > lag(seq, 1, 0::bigint) OVER () AS up
	FROM clinic_sync.batch_changes(:many)) x), '80000 80000 true', 'a large batch in order, piece by piece');
SELECT is((SELECT count(*) || ' ' || count(DISTINCT key) FROM clinic_sync.changes(:'before_many')), '80000 80000', 'by changes(), too');
SELECT is((SELECT count(*) FROM clinic_sync.batch_changes(:many, (SELECT seq FROM clinic_sync.batch_changes(:many) OFFSET 19999 LIMIT 1), 50000)),
	50000::bigint, 'and a page that is larger than memory');
RESET maintenance_work_mem;

SELECT * FROM finish();
