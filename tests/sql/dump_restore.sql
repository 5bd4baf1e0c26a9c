-- pg_dump and restore into a new database: publications come along, the log
-- does not; capture works at once, old cursors are refused.
SET client_min_messages = warning;
DROP DATABASE IF EXISTS test_dump_restored WITH (FORCE);
DROP ROLE IF EXISTS test_dump_relay;
RESET client_min_messages;
CREATE ROLE test_dump_relay;
CREATE SCHEMA "Odd ""schema";
CREATE TABLE "Odd ""schema"."Odd ""table" (id int PRIMARY KEY, secret text, n int UNIQUE);
CREATE TABLE parent (id int PRIMARY KEY, t text) PARTITION BY RANGE (id);
CREATE TABLE leaf_1 PARTITION OF parent FOR VALUES FROM (0) TO (100);
CREATE TABLE leaf_2 (t text, id int NOT NULL);
ALTER TABLE parent ATTACH PARTITION leaf_2 FOR VALUES FROM (100) TO (200);
CREATE TABLE ended (id int PRIMARY KEY);
SELECT clinic_sync.grant_relay('test_dump_relay');
SELECT clinic_sync.publish('ended');
SELECT clinic_sync.unpublish('ended');
SELECT clinic_sync.publish('"Odd ""schema"."Odd ""table"', 'billing_change_immediate', '{secret}');
SELECT clinic_sync.publish('parent');
SELECT clinic_sync.relay_report('{"id":"r"}', '[{"id":"device 1","repairs":3}]');
SELECT clinic_sync.request_sync(NULL, 'device 1') AS request \gset
SELECT clinic_sync.new_segment() AS segment \gset
INSERT INTO "Odd ""schema"."Odd ""table" VALUES (1, 'canary', 7);
INSERT INTO parent VALUES (1, 'a'), (100, 'b');
SELECT cursor AS cursor FROM clinic_sync.make_batch() \gset
SELECT string_agg(format('%s %s %s %s %s', p.id, p.relation, p.event, p.excluded, p.schema_version), ';' ORDER BY p.id) AS publications FROM clinic_sync.publication p \gset
SELECT hash AS hash FROM clinic_sync.table_digest('parent') \gset

\set ON_ERROR_STOP 1
CREATE DATABASE test_dump_restored TEMPLATE template0;
\set dump `d=$(mktemp) && pg_dump -f "$d" test_dump_restore && psql -XAtq -v ON_ERROR_STOP=1 -f "$d" test_dump_restored 2>&1 | grep -v '^$'; grep -c canary "$d"; grep -c 'COPY clinic_sync.change_log' "$d"; rm "$d"`
\c test_dump_restored
SELECT plan(18);

SELECT is((regexp_split_to_array(:'dump', '\s+'))[array_upper(regexp_split_to_array(:'dump', '\s+'), 1) - 1:], '{1,0}', 'the dump restores without an error, with data and without the log');
SELECT is((SELECT string_agg(format('%s %s %s %s %s', p.id, p.relation, p.event, p.excluded, p.schema_version), ';' ORDER BY p.id) FROM clinic_sync.publication p),
	:'publications', 'publications, by name');
SELECT is((SELECT leaves FROM clinic_sync.publication WHERE relation = 'parent'::regclass), '{leaf_1,leaf_2}'::regclass[], 'partitions, by name');
SELECT is((SELECT count(*) FROM clinic_sync.tables WHERE captured), 2::bigint, 'both tables are captured');
SELECT is((SELECT count(*) FROM clinic_sync.batch), 0::bigint, 'no batches');
SELECT is((SELECT string_agg(id, '') FROM clinic_sync.device), 'device 1', 'devices are known');
SELECT is((SELECT repairs FROM clinic_sync.device), 3::bigint, 'with what they reported');
SELECT ok(NOT EXISTS (SELECT FROM clinic_sync.sync_request) AND clinic_sync.request_sync() > :request, 'requests for a sync are not, and no id comes twice');
SELECT is((SELECT string_agg(role, '') FROM clinic_sync.relay_role), 'test_dump_relay', 'relay roles, too');
SELECT ok(has_function_privilege('test_dump_relay', 'clinic_sync.feed(text, int)', 'EXECUTE')
	AND has_table_privilege('test_dump_relay', 'clinic_sync.batch_lock', 'UPDATE')
	AND has_column_privilege('test_dump_relay', 'parent', 't', 'SELECT'), 'with their rights');
SELECT is(clinic_sync.check_cursor(:'cursor'), 'history_lost', 'the cursor of before is refused');
INSERT INTO parent VALUES (2, 'c'), (101, 'd');
INSERT INTO "Odd ""schema"."Odd ""table" VALUES (2, 'canary', 8);
SELECT cursor AS first FROM clinic_sync.make_batch() \gset
SELECT is(clinic_sync.check_cursor(:'cursor'), 'history_lost', 'also when its number is taken again');
SELECT results_eq($$SELECT relation, key FROM clinic_sync.batch_changes(1) WHERE operation = 'insert'$$,
	$$VALUES ('parent', '{"id":2}'), ('parent', '{"id":101}'), ('Odd "table', '{"id":2}')$$, 'changes are captured at once');
SELECT is((SELECT count(*) FROM clinic_sync.batch_changes(1) WHERE data LIKE '%canary%'), 0::bigint, 'without excluded columns');
DELETE FROM parent WHERE id IN (2, 101);
SELECT is((SELECT hash FROM clinic_sync.table_digest('parent')), :'hash'::text, 'equal rows, equal digest');
CREATE TABLE another (id int PRIMARY KEY);
SELECT lives_ok($$SELECT clinic_sync.publish('another')$$, 'ids of publications go on');
SELECT ok((SELECT max(id) = 4 FROM clinic_sync.publication), 'where they were');
SELECT is(clinic_sync.repair(), 0, 'nothing to repair');
SELECT * FROM finish();

\c test_dump_restore
DROP DATABASE test_dump_restored WITH (FORCE);
DROP OWNED BY test_dump_relay;
DROP ROLE test_dump_relay;
