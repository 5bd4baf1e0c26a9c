-- a relay's role, its report, snapshot queries, digests
SELECT plan(58);

SET client_min_messages = warning;
DROP ROLE IF EXISTS test_relay, test_nobody;
RESET client_min_messages;
CREATE ROLE test_relay;
CREATE ROLE test_nobody;
CREATE TABLE patients (id text PRIMARY KEY, "Full" text, secret text, n int, b boolean, ts timestamp, tz timestamptz, d date);
CREATE TABLE pairs (x int, y text, PRIMARY KEY (y, x));
SELECT clinic_sync.publish('patients', exclude_columns => '{secret}');
SELECT throws_ok($$SELECT clinic_sync.grant_relay('no such role')$$, '42704', NULL, 'unknown role');
SELECT throws_ok($$SELECT clinic_sync.grant_relay(NULL)$$, '42704', NULL, 'NULL role');
SELECT lives_ok($$SELECT clinic_sync.grant_relay('test_relay')$$, 'grant_relay()');
SELECT lives_ok($$SELECT clinic_sync.grant_relay('test_relay')$$, 'a second time');
SELECT clinic_sync.publish('pairs');

-- exactly these rights
SELECT is((SELECT string_agg(x.name COLLATE "default", ' ' ORDER BY x.name COLLATE "C") FROM (
	SELECT format('%s.%s.%s', n.nspname, c.relname, a.attname) AS name
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE has_column_privilege('test_relay', c.oid, a.attnum, 'SELECT') AND n.nspname IN ('public', 'clinic_sync')
		AND c.relname <> ALL ('{pg_all_foreign_keys,tap_funky,status}'::name[])) x),
	'public.pairs.x public.pairs.y public.patients.Full public.patients.b public.patients.d public.patients.id public.patients.n public.patients.ts public.patients.tz',
	'reads the published columns and the view status, nothing else');
SELECT is_empty($$SELECT c.relname FROM pg_class c WHERE c.relnamespace IN ('public'::regnamespace, 'clinic_sync'::regnamespace)
	AND c.relkind IN ('r', 'p', 'v', 'S') AND c.relname <> 'batch_lock'
	AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege('test_relay', c.oid, 'UPDATE, USAGE')
		ELSE has_table_privilege('test_relay', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') END$$, 'writes no table');
SELECT results_eq($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'clinic_sync'::regnamespace
	AND has_function_privilege('test_relay', p.oid, 'EXECUTE') ORDER BY 1$$,
	$$SELECT f FROM unnest(clinic_sync.relay_functions() || clinic_sync.view_functions()) f GROUP BY f ORDER BY f$$, 'executes what is listed, nothing else');
SELECT is((SELECT count(*) FROM pg_auth_members WHERE member = 'test_relay'::regrole), 0::bigint, 'is member of no role');

-- PUBLIC has nothing
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'clinic_sync'::regnamespace AND has_function_privilege('test_nobody', p.oid, 'EXECUTE')$$, 'PUBLIC executes nothing');
SELECT is_empty($$SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'clinic_sync'::regnamespace AND c.relkind IN ('r', 'p', 'v')
	AND has_table_privilege('test_nobody', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$, 'PUBLIC reads and writes nothing');
SELECT ok(NOT has_schema_privilege('test_nobody', 'clinic_sync', 'USAGE'), 'PUBLIC may not even look');
SET ROLE pg_monitor;
SELECT version AS version FROM clinic_sync.status \gset
SELECT count(*) AS n FROM clinic_sync.tables, clinic_sync.batches, clinic_sync.relays, clinic_sync.devices \gset
RESET ROLE;
SELECT is(:'version'::text, '1.0.0', 'pg_monitor reads the views');
GRANT INSERT ON patients TO test_nobody;
SET ROLE test_nobody;
INSERT INTO patients (id) VALUES ('from nobody');
RESET ROLE;
SELECT is((SELECT count(*) FROM clinic_sync.change_log_1 WHERE key = '{"id":"from nobody"}'), 1::bigint, 'a role without any right on us writes as before, and is captured');

-- the role at work
INSERT INTO patients VALUES ('JG-0001', E'O''Brien, "x"', 'canary', 5, true, '2026-01-02 03:04:05', '2026-01-02 03:04:05+08', '2026-01-02');
INSERT INTO pairs VALUES (1, 'ü"'), (2, 'b');
SET ROLE test_relay;
SELECT cursor AS c1, batch AS b1 FROM clinic_sync.make_batch() \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
LOCK TABLE clinic_sync.batch_lock IN EXCLUSIVE MODE;
SELECT cursor AS c2, batch AS b2 FROM clinic_sync.make_batch(true) \gset
SELECT pg_export_snapshot() AS exported \gset
COMMIT;
SELECT count(*) AS fed FROM clinic_sync.feed(:'c1', 100) \gset
SELECT problems AS problems FROM clinic_sync.status \gset
SELECT clinic_sync.repair() AS repaired \gset
SELECT dropped_segments AS dropped FROM clinic_sync.prune() \gset
SELECT query AS patients_query, oversize_query AS patients_oversize FROM clinic_sync.snapshot_tables() WHERE name = 'patients' \gset
SELECT query AS pairs_query, oversize_query AS pairs_oversize FROM clinic_sync.snapshot_tables() WHERE name = 'pairs' \gset
SELECT rows AS digest_rows, hash AS digest_hash, cursor AS digest_cursor FROM clinic_sync.table_digest('patients') \gset
CREATE TEMP TABLE answer AS :patients_query;
CREATE TEMP TABLE keys AS :pairs_oversize;
RESET ROLE;
SELECT is(:'b1' || ' ' || :'b2' || ' ' || :'fed' || ' ' || :'repaired' || ' ' || :'dropped', '1 2 1 0 0', 'a relay''s whole work with its rights');
SELECT is(:'problems'::text, '{"no relay is running"}', 'it reads status');
SELECT is((SELECT a::text FROM answer a WHERE id = 'JG-0001'),
	'(JG-0001,"O''Brien, ""x""",5,true,2026-01-02T03:04:05.000,2026-01-01T19:04:05.000Z,2026-01-02)', 'snapshot query: canonical texts, no excluded column');
SELECT is((SELECT count(*) FROM answer), 2::bigint, 'all rows');
SELECT is((SELECT count(*) FROM keys), 0::bigint, 'none is too big');
SELECT ok(NOT has_column_privilege('test_relay', 'patients', 'secret', 'SELECT'), 'it cannot read an excluded column');

-- a table moves to another schema, and columns whose text can be long are printed to know it
CREATE SCHEMA moved;
CREATE TABLE notes (id int PRIMARY KEY, secret text, j jsonb, n numeric[]);
SELECT clinic_sync.publish('notes', exclude_columns => '{secret}');
ALTER TABLE notes SET SCHEMA moved;
INSERT INTO moved.notes SELECT 1, 'canary', to_jsonb(array_agg(i)), array_agg(i) FROM generate_series(1, 3000) i;
SET ROLE test_relay;
SELECT query AS notes_query FROM clinic_sync.snapshot_tables() WHERE name = 'notes' \gset
CREATE TEMP TABLE notes_answer AS :notes_query;
RESET ROLE;
SELECT is((SELECT count(*) FROM notes_answer), 1::bigint, 'a relay reads a table that moved to another schema');
SELECT ok(:'notes_query' LIKE '%row_is_held%', 'and its rows are looked at');
DROP TABLE moved.notes;

-- rows over max_row_bytes
SET clinic_sync.max_row_bytes = 1024;
INSERT INTO pairs VALUES (3, 'big"' || repeat('x', 2000)), (4, 'small');
SELECT query AS pairs_query, oversize_query AS pairs_oversize FROM clinic_sync.snapshot_tables() WHERE name = 'pairs' \gset
CREATE TEMP TABLE small AS :pairs_query;
CREATE TEMP TABLE big AS :pairs_oversize;
SELECT is((SELECT count(*) FROM small), 3::bigint, 'a big row is left out of the snapshot');
SELECT is((SELECT * FROM big), (SELECT key FROM clinic_sync.change_log_1 WHERE op = 'o'), 'and named by its key, as in the log');
SELECT is((SELECT rows FROM clinic_sync.table_digest('pairs')), 3::bigint, 'the digest leaves it out, too');
RESET clinic_sync.max_row_bytes;
DELETE FROM pairs WHERE x = 3;
CREATE TABLE wide (id int PRIMARY KEY);
SELECT format('ALTER TABLE wide %s', string_agg(format('ADD c%s text', i), ', ')) AS widen FROM generate_series(1, 250) i \gset
:widen;
SELECT clinic_sync.publish('wide');
SELECT query AS wide_query FROM clinic_sync.snapshot_tables() WHERE name = 'wide' \gset
CREATE TEMP TABLE wide_copy AS :wide_query;
SELECT pass('a table with more columns than a function takes arguments');
CREATE TABLE fixed (id int PRIMARY KEY, n int);
SELECT clinic_sync.publish('fixed');
SELECT is((SELECT query || coalesce(oversize_query, ' none') FROM clinic_sync.snapshot_tables() WHERE name = 'fixed'), 'SELECT id, n FROM public.fixed none', 'no check where no column can be long');

-- the grants follow
ALTER TABLE patients ADD more text;
SELECT ok(has_column_privilege('test_relay', 'patients', 'more', 'SELECT'), 'a new column is readable');
SELECT clinic_sync.unpublish('wide');
SELECT ok(NOT has_any_column_privilege('test_relay', 'wide', 'SELECT'), 'an unpublished table is not any more');
CREATE SCHEMA far;
CREATE TABLE far.away (id int PRIMARY KEY);
SELECT clinic_sync.publish('far.away');
SELECT ok(has_schema_privilege('test_relay', 'far', 'USAGE'), 'USAGE on the schema of a published table');

-- digests
SELECT 1 AS one FROM clinic_sync.make_batch(true) \gset
SELECT count(*) AS before FROM clinic_sync.batch \gset
SELECT cursor AS dc, hash AS h1 FROM clinic_sync.table_digest('pairs') \gset
SELECT is(:'dc'::text, clinic_sync.current_cursor(), 'a digest names a batch');
SELECT is((SELECT count(*) FROM clinic_sync.batch), :before::bigint, 'nothing is written when the table did not change');
UPDATE pairs SET y = 'c' WHERE x = 2;
SELECT cursor AS dc2, hash AS h2 FROM clinic_sync.table_digest('pairs') \gset
SELECT is((SELECT count(*) FROM clinic_sync.batch), :before::bigint + 1, 'a batch is cut when it did');
SELECT is(:'dc2'::text, clinic_sync.current_cursor(), 'and is the one named');
SELECT isnt(:'h2'::text, :'h1'::text, 'another digest');
INSERT INTO patients (id) VALUES ('elsewhere');
SELECT cursor AS dc3 FROM clinic_sync.table_digest('pairs') \gset
SELECT is(:'dc3'::text, :'dc2'::text, 'a change of another table needs no batch');
UPDATE pairs SET y = 'b' WHERE x = 2;
SELECT is((SELECT hash FROM clinic_sync.table_digest('pairs')), :'h1'::text, 'equal rows, equal digest');
SELECT is((SELECT rows FROM clinic_sync.table_digest('pairs', '{y}')), 3::bigint, 'of some columns');
SELECT throws_ok($$SELECT clinic_sync.table_digest('wide')$$, '42704', NULL, 'not published');
SELECT throws_ok($$SELECT clinic_sync.table_digest(NULL)$$, '42704', NULL, 'NULL');

-- reports
SELECT lives_ok($$SELECT clinic_sync.relay_report('{"id":"r1","name":"front","version":"1.0.0","pid":42,"started_at":"2026-01-01T00:00:00Z","devices":2,"cursor":"1-0000000000000000","queue_bytes":7}',
	'[{"id":"a","name":"Reception","app_version":"2","connected":true,"connected_at":"2026-01-01T00:00:00Z","cursor":"1-0000000000000000","state":"live","queue_bytes":3},{"id":"b"}]')$$, 'relay_report()');
SELECT results_eq('SELECT id, name, state, connected, batches_behind > 0 FROM clinic_sync.devices ORDER BY id',
	$$VALUES ('a', 'Reception', 'live', true, true), ('b', '', '', true, NULL)$$, 'devices as reported');
SELECT is((SELECT name || ' ' || state || ' ' || devices FROM clinic_sync.relays), 'front running 2', 'and the relay');
SELECT is((SELECT active_connections || ' ' || relays FROM clinic_sync.status), '2 1', 'status counts them');
SELECT clinic_sync.relay_report('{"id":"r1","name":"front","version":"1.0.0"}', '[{"id":"a","connected":true,"state":"live"}]');
SELECT is((SELECT state FROM clinic_sync.devices WHERE id = 'b'), 'disconnected', 'a device that is not in the report is gone');
UPDATE clinic_sync.relay SET reported_at = reported_at - interval '31 s';
SELECT is((SELECT state FROM clinic_sync.relays) || ' ' || (SELECT state FROM clinic_sync.devices WHERE id = 'a'), 'lost lost', 'not refreshed for 30 s: lost');
SELECT is((SELECT active_connections || ' ' || relays FROM clinic_sync.status), '0 0', 'and not counted');
SELECT ok((SELECT bool_or(p LIKE 'relay front was lost at %') FROM clinic_sync.problems() p), 'status says so');
SELECT clinic_sync.relay_goodbye('r1');
SELECT is((SELECT state FROM clinic_sync.relays) || ' ' || (SELECT state FROM clinic_sync.devices WHERE id = 'a'), 'stopped disconnected', 'goodbye');
SELECT clinic_sync.relay_report('{"id":"r9"}', '[{"id":"z","state":"live"}]');
SELECT lives_ok($$SELECT clinic_sync.relay_report('{"id":"r9"}', NULL)$$, 'a report of the relay alone');
SELECT is((SELECT state || connected FROM clinic_sync.devices WHERE id = 'z'), 'livetrue', 'leaves its devices alone');
SELECT lives_ok($$SELECT clinic_sync.relay_report('{"id":"r9","cursor":"none"}', '[{"id":"z","cursor":"99999999999999999999-0000000000000000"}]')$$, 'cursors that are none');
SELECT results_eq('SELECT r.cursor, d.cursor FROM clinic_sync.relays r, clinic_sync.devices d, clinic_sync.status WHERE r.id = $$r9$$ AND d.id = $$z$$',
	'VALUES (NULL::text, NULL::text)', 'do not break the views');
SELECT lives_ok(format('SELECT clinic_sync.relay_report($${"id":"r9"}$$, $$[{"id":"%1$s1"},{"id":"%1$s2"}]$$)', repeat('x', 64)), 'two ids that are cut to the same');
DELETE FROM clinic_sync.relay WHERE id = 'r9';
DELETE FROM clinic_sync.device WHERE relay = 'r9';
SELECT throws_ok($$SELECT clinic_sync.relay_report('{}', '[]')$$, '22023', NULL, 'a report without id');
SELECT throws_ok($$SELECT clinic_sync.relay_report('{"id":"x"}', '{}')$$, '22023', NULL, 'a report whose devices are no array');

-- taken back
SELECT clinic_sync.revoke_relay('test_relay');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'clinic_sync'::regnamespace AND has_function_privilege('test_relay', p.oid, 'EXECUTE')$$, 'revoke_relay() takes the functions');
SELECT ok(NOT has_any_column_privilege('test_relay', 'patients', 'SELECT') AND NOT has_table_privilege('test_relay', 'clinic_sync.status', 'SELECT'), 'and the tables');
SELECT throws_ok($$SELECT clinic_sync.revoke_relay('test_relay')$$, '42704', NULL, 'once');

DROP OWNED BY test_relay, test_nobody;
DROP ROLE test_relay, test_nobody;
SELECT * FROM finish();
