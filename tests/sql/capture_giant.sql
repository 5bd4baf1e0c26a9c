/*
 * A value of 600 MB (compressed to a few): its JSON form would exceed what PostgreSQL can hold.  The
 * clinic's write succeeds, caches get the key.  Likewise values that are small
 * but print as gigabytes.  Snapshot and digest leave out what capture does.
 */
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT plan(20);

CREATE TABLE scan (id int PRIMARY KEY, image bytea, note text, numbers numeric[]);
SELECT clinic_sync.publish('scan') \gset
CREATE FUNCTION last_row() RETURNS text LANGUAGE sql AS
	$$SELECT concat_ws(' ', op, key, left(data, 60)) FROM clinic_sync.change_log_1 ORDER BY seq DESC LIMIT 1$$;

SELECT lives_ok($$INSERT INTO scan SELECT 1, decode(repeat('00', 600 * 1024 * 1024 / 2), 'escape')$$, 'insert of 600 MB');
SELECT is((SELECT octet_length(image) FROM scan), 600 * 1024 * 1024, 'it is there');
SELECT is(last_row(), 'o {"id":1}', 'and logged by its key');
SELECT lives_ok($$UPDATE scan SET note = 'x'$$, 'update of its row');
SELECT is(last_row(), 'o {"id":1}', 'logged by its key again');
SELECT results_eq('SELECT * FROM clinic_sync.digest_scan($$scan$$)', $$VALUES (0::bigint, '0000000000000000')$$, 'left out of the digest');
SELECT is((SELECT clinic_sync.raw_bytes(s.id, s.image, s.note, s.numbers) FROM scan s), 600 * 1024 * 1024 + 1::bigint,
	'raw_bytes() counts it without fetching it');
SELECT lives_ok('DELETE FROM scan', 'delete');
SELECT is(last_row(), 'd {"id":1}', 'logged');

SELECT lives_ok($$INSERT INTO scan SELECT 2, NULL, NULL, array_agg(1e131071::numeric) FROM generate_series(1, 9000)$$,
	'insert of an array that prints as more than 1 GB');
SELECT is(last_row(), 'o {"id":2}', 'logged by its key');
SELECT s.query, s.oversize_query FROM clinic_sync.snapshot_tables() s \gset
CREATE TEMP TABLE printed (id int, image text, note text, numbers text);
CREATE FUNCTION pg_temp.snapshot(query text) RETURNS SETOF int LANGUAGE plpgsql AS
	$$BEGIN EXECUTE 'TRUNCATE printed; INSERT INTO printed SELECT id, image::text, note, numbers::text FROM (' || query || ') q'; RETURN QUERY SELECT p.id FROM printed p ORDER BY 1; END$$;
SELECT is_empty(format('SELECT pg_temp.snapshot(%L)', :'query'), 'a snapshot leaves it out and does not fail');
UPDATE scan SET numbers = '{1,2}';
SELECT is(last_row(), 'p {"id":2} {"id":2,"image":null,"note":null,"numbers":"{1,2}"}', 'and whole when it is small again');
SELECT results_eq(format('SELECT pg_temp.snapshot(%L)', :'query'), ARRAY[2], 'then a snapshot has it');
SELECT is_empty(:'oversize_query', 'and does not name its key');

-- each column prints, the row does not
CREATE TABLE pair (id int PRIMARY KEY, a numeric[], secret text, b numeric[], "Note" text);
SELECT clinic_sync.publish('pair', exclude_columns => '{secret}') \gset
INSERT INTO pair SELECT 1, array_agg(1e131071::numeric), 's', NULL, 'x' FROM generate_series(1, 4600);
SELECT lives_ok('UPDATE pair SET b = a', 'update to a row of two halves');
SELECT is(last_row(), 'o {"id":1}', 'logged by its key, though the changed column prints');
SELECT is((SELECT rows FROM clinic_sync.digest_scan('pair')), 0::bigint, 'not in the digest');
SELECT throws_ok($$SELECT clinic_sync.row_is_held('pair', ROW(1, 2))$$, '42804', NULL, 'row_is_held() wants the published columns');
SELECT throws_ok($$SELECT clinic_sync.row_is_held('pair', ROW(1, 2, 3, 4))$$, '42804', NULL, 'of their types');

SELECT * FROM finish();
