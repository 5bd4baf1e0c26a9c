-- the views: what a DBA asks first
SELECT plan(27);

SELECT is((SELECT count(*) FROM clinic_sync.status), 1::bigint, 'status is one row, also before anything is published');
SELECT is((SELECT cursor FROM clinic_sync.status), NULL, 'no cursor yet');
SELECT is((SELECT notify || ' ' || log_segments || ' ' || floor_reason || ' ' || capture_stopped FROM clinic_sync.status), 'commit 1 start false', 'a new installation');
CREATE TABLE p (id int PRIMARY KEY, t text, secret text);
INSERT INTO p SELECT i FROM generate_series(1, 100) i;
ANALYZE p;
SELECT clinic_sync.publish('p', 'billing_change_immediate', '{secret}');
SELECT results_eq('SELECT relation, name, event, schema_version, columns, excluded, estimated_rows, captured, problem FROM clinic_sync.tables',
	$$VALUES ('p'::regclass, 'p', 'billing_change_immediate', 1, 2, '{secret}'::name[], 100::bigint, true, NULL)$$, 'tables');
SELECT is((SELECT count(*) FROM clinic_sync.why_not_captured('p')), 0::bigint, 'nothing against its capture');
SELECT cursor AS c1 FROM clinic_sync.make_batch() \gset
UPDATE p SET t = 'x' WHERE id < 4;
SELECT cursor AS c2 FROM clinic_sync.make_batch(true) \gset
SELECT results_eq('SELECT id, cursor, changes, boundary, resync_tables, segments, cursor_served FROM clinic_sync.batches ORDER BY id',
	format($$VALUES (1::bigint, %L, 1::bigint, false, 'p', '{1}'::int[], true), (2, %L, 3, true, NULL, '{1}', true)$$, :'c1', :'c2'), 'batches');
SELECT ok((SELECT bool_and(age BETWEEN '0' AND '1 min' AND first_seq <= last_seq AND open_transactions >= 0) FROM clinic_sync.batches), 'their age, seq and open transactions');
SELECT is((SELECT tables || ' ' || tables_captured || ' ' || last_batch || ' ' || cursor FROM clinic_sync.status), '1 1 2 ' || :'c2', 'status follows');
SELECT ok((SELECT last_batch_age < '1 min' AND log_bytes > 0 AND log_max_bytes = 1073741824 AND log_hard_bytes = 4294967296
	AND notify_queue_usage = 0 FROM clinic_sync.status), 'ages, sizes and limits');
SET clinic_sync.notify = off;
SELECT is((SELECT notify FROM clinic_sync.status), 'off', 'the setting of now');
RESET clinic_sync.notify;

-- problems
SELECT is((SELECT problems FROM clinic_sync.status), '{"no relay is running"}', 'no relay');
SELECT clinic_sync.relay_report('{"id":"r","name":"r"}', '[]');
SELECT is((SELECT problems FROM clinic_sync.status), '{}', 'no problem');
UPDATE clinic_sync.relay SET started_at = '2026-01-01', reported_at = clock_timestamp() - interval '1 min' WHERE id = 'r';
SELECT is((SELECT count(*) FROM clinic_sync.status, unnest(problems) p WHERE p LIKE 'relay r was lost at %'), 1::bigint, 'a lost relay');
SELECT clinic_sync.relay_report('{"id":"other","name":"other","started_at":"2026-01-02"}', '[]');
SELECT is((SELECT count(*) FROM clinic_sync.status, unnest(problems) p WHERE p LIKE 'relay r was lost at %'), 1::bigint, 'another one does not replace it');
SELECT clinic_sync.relay_report('{"id":"r2","name":"r","started_at":"2026-01-02"}', '[]');
SELECT is((SELECT problems FROM clinic_sync.status), '{}', 'the same one, started again, does');
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER " first" AFTER INSERT ON p FOR EACH ROW EXECUTE FUNCTION f();
SELECT is((SELECT problems::text LIKE '%sorts before%' FROM clinic_sync.status), true, 'a trigger that sorts before ours');
DROP TRIGGER " first" ON p;
CREATE TRIGGER " before" BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION f();
SELECT is((SELECT problems FROM clinic_sync.status), '{}', 'a BEFORE trigger is none');
DROP TRIGGER " before" ON p;
ALTER EVENT TRIGGER clinic_sync_sql_drop DISABLE;
SELECT is((SELECT problems::text LIKE '%clinic_sync_sql_drop%' FROM clinic_sync.status), true, 'a disabled event trigger');
ALTER EVENT TRIGGER clinic_sync_sql_drop ENABLE ALWAYS;
DROP TRIGGER "!clinic_sync" ON p;
SELECT is((SELECT tables_captured FROM clinic_sync.status), 0::bigint, 'a table that is not captured');
SELECT is((SELECT problems::text LIKE '%table p is not captured%' OR problems::text LIKE '%table public.p is not captured%' FROM clinic_sync.status), true, 'is named');
SELECT clinic_sync.repair();
SELECT is((SELECT problems FROM clinic_sync.status), '{}', 'until it is repaired');

-- why_not_captured(): the whole catalogue of reasons
CREATE TABLE no_key (a money);
SELECT results_eq($$SELECT * FROM clinic_sync.why_not_captured('no_key')$$, $$VALUES
	('table public.no_key is not published: call clinic_sync.publish()'), ('it could not be published: it has no primary key'),
	('it could not be published: column a has type money, whose text depends on settings')$$, 'not published, and could not be');
SELECT is((SELECT string_agg(w, '') FROM clinic_sync.why_not_captured(0) w), 'relation - does not exist', 'no relation');
SELECT is((SELECT string_agg(w, '') FROM clinic_sync.why_not_captured(NULL) w), 'relation NULL does not exist', 'NULL');

-- row-level security: all rows go to devices, and only a role that may see them takes snapshots
ALTER TABLE no_key DROP a, ADD id int PRIMARY KEY;
ALTER TABLE no_key ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT lives_ok($$SELECT clinic_sync.publish('no_key')$$, 'a table with row-level security');
INSERT INTO no_key VALUES (1);
SELECT is((SELECT rows FROM clinic_sync.table_digest('no_key')), 1::bigint, 'its digest is of all rows');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 1 AS one \gset
CREATE TABLE empty (id int PRIMARY KEY);
SELECT clinic_sync.publish('empty');
COMMIT;
SELECT is((SELECT op FROM clinic_sync.change_log_1 ORDER BY seq DESC LIMIT 1), 'r', 'under an old snapshot no table counts as empty');

SELECT * FROM finish();
