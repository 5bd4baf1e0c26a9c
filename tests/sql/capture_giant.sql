/*
 * A value of 600 MB (compressed to a few): its JSON form would exceed what PostgreSQL can hold.  The
 * clinic's write succeeds, caches get the key.  Likewise values that are small
 * but print as gigabytes.
 */
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT plan(12);

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
UPDATE scan SET numbers = '{1,2}';
SELECT is(last_row(), 'p {"id":2} {"id":2,"image":null,"note":null,"numbers":"{1,2}"}', 'and whole when it is small again');

SELECT * FROM finish();
