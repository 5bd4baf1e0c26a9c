-- DDL on published tables: what is logged, refused, repaired
SELECT plan(74);

-- ops logged since the last call, with the versions of schema rows
CREATE TABLE public.seen (seq bigint);
INSERT INTO seen VALUES (0);
CREATE FUNCTION logged() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	ops text;
BEGIN
	SELECT string_agg(l.op::text || coalesce(l.data::json ->> 'version', ''), ' ' ORDER BY l.seq) INTO ops
	FROM clinic_sync.change_log_1 l WHERE l.seq > (SELECT s.seq FROM public.seen s);
	UPDATE public.seen SET seq = (SELECT max(l.seq) FROM clinic_sync.change_log_1 l);
	RETURN coalesce(ops, '');
END
$$;
CREATE FUNCTION published(regclass) RETURNS json LANGUAGE sql AS 'SELECT schema FROM clinic_sync.publication WHERE relation = $1';

CREATE TYPE mood AS ENUM ('ok', 'bad');
CREATE TABLE p (id int PRIMARY KEY, a text, secret text, m mood, v varchar(5));
INSERT INTO p VALUES (1, 'x');
SELECT clinic_sync.publish('p', exclude_columns => '{secret}');
SELECT is(logged(), 'r', 'start');

-- columns
ALTER TABLE p ADD b int;
SELECT is(logged(), 's2', 'a new nullable column is a schema change');
SELECT is(published('p') #>> '{columns,4,name}', 'b', 'the publication follows');
INSERT INTO p (id, b) VALUES (2, 5);
SELECT is((SELECT data FROM clinic_sync.change_log_1 ORDER BY seq DESC LIMIT 1), '{"id":2,"a":null,"m":null,"v":null,"b":5}', 'changes after it carry it');
SELECT logged() AS logged \gset
ALTER TABLE p ADD c int, ADD d text;
SELECT is(logged(), 's3', 'two at once');
ALTER TABLE p ADD e int DEFAULT 7;
SELECT is(logged(), 'r', 'a column with a default changes every row');
ALTER TABLE p ADD f timestamptz DEFAULT clock_timestamp();
SELECT is(logged() LIKE 'r%', true, 'so does one with a volatile default');
ALTER TABLE p ADD g int GENERATED ALWAYS AS (id + 1) STORED;
SELECT is(logged() LIKE 'r%', true, 'and a generated one');
CREATE DOMAIN seven AS int DEFAULT 7;
ALTER TABLE p ADD h seven;
SELECT is(logged() LIKE 'r%', true, 'and one whose domain has a default');
ALTER TABLE p ALTER COLUMN b TYPE bigint;
SELECT is(logged() LIKE 'r%', true, 'ALTER TYPE with rewrite');
ALTER TABLE p ALTER COLUMN v TYPE varchar(9);
SELECT is(logged(), 'r', 'ALTER TYPE without');
UPDATE p SET d = '';
SELECT logged() AS logged \gset
ALTER TABLE p ALTER COLUMN d SET NOT NULL;
SELECT is(logged(), 'r', 'SET NOT NULL');
ALTER TABLE p ALTER COLUMN a SET DEFAULT 'z';
SELECT is(logged(), '', 'SET DEFAULT is no matter of devices');
ALTER TABLE p DROP COLUMN c;
SELECT is(logged(), 'r', 'DROP COLUMN');
ALTER TABLE p RENAME a TO a2;
SELECT is(logged(), 'r', 'RENAME COLUMN');
INSERT INTO p (id, a2, d) VALUES (3, 'q', '');
SELECT is((SELECT data::json ->> 'a2' FROM clinic_sync.change_log_1 ORDER BY seq DESC LIMIT 1), 'q', 'capture follows a rename');
SELECT logged() AS logged \gset
ALTER TYPE mood RENAME VALUE 'bad' TO 'poor';
SELECT is(logged(), 'r', 'a renamed enum value shows in every row');
CREATE TYPE other_mood AS ENUM ('a');
ALTER TYPE other_mood RENAME VALUE 'a' TO 'b';
SELECT is(logged(), '', 'that of a type it does not use does not');
DROP TYPE mood CASCADE;
SELECT is(logged(), 'r', 'a column dropped with its type');

-- excluded columns
ALTER TABLE p RENAME secret TO secret2;
SELECT is(logged(), '', 'renaming an excluded column tells devices nothing');
SELECT is((SELECT excluded FROM clinic_sync.publication WHERE relation = 'p'::regclass), '{secret2}', 'and it stays excluded');
UPDATE p SET secret2 = 'canary';
SELECT is((SELECT count(*) FROM clinic_sync.change_log_1 WHERE data LIKE '%canary%'), 0::bigint, 'in the log, too');
ALTER TABLE p DROP secret2;
SELECT is(logged() || (SELECT excluded::text FROM clinic_sync.publication WHERE relation = 'p'::regclass), '{}', 'dropping it, too');

-- indexes
CREATE INDEX p_b ON p (b);
SELECT is(logged(), '', 'an index logs nothing');
SELECT is(published('p') #>> '{indexes,0,name}', 'p_b', 'but the next snapshot has it');
DROP INDEX p_b;
SELECT is(published('p') ->> 'indexes', '[]', 'until it is dropped');

-- table_rewrite
ALTER TABLE p ALTER COLUMN b TYPE bigint USING b + 1;
SELECT is(logged(), 'r', 'a rewrite that leaves the columns alone');

-- what would end the publication's promises
SELECT throws_ok('ALTER TABLE p DROP CONSTRAINT p_pkey', '55000', NULL, 'dropping the primary key is refused');
SELECT throws_ok('ALTER TABLE p ADD cash money', '0A000', NULL, 'a column of a refused type');
SELECT throws_ok('ALTER TABLE p ADD "ID" int', '42701', NULL, 'a column SQLite cannot hold beside another');
SELECT throws_ok('ALTER TABLE p SET UNLOGGED', '42809', NULL, 'SET UNLOGGED');
SELECT throws_ok('CREATE TABLE c () INHERITS (p)', '42809', NULL, 'an inheritance child');
SELECT throws_ok('ALTER TABLE p RENAME TO sqlite_p', '42939', NULL, 'a reserved name');
CREATE TABLE root (id int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE leaf (id int PRIMARY KEY);
SELECT clinic_sync.publish('leaf');
SELECT throws_ok('ALTER TABLE root ATTACH PARTITION leaf FOR VALUES FROM (0) TO (1)', '42809', NULL, 'a published table as partition');
SELECT is((SELECT count(*) FROM clinic_sync.tables WHERE captured), 2::bigint, 'all that left everything as it was');
SELECT logged() AS logged \gset

-- triggers
ALTER TABLE p DISABLE TRIGGER ALL;
SELECT is((SELECT string_agg(tgenabled::text, '') FROM pg_trigger WHERE tgrelid = 'p'::regclass AND tgname LIKE '!%'), 'AA', 'DISABLE TRIGGER ALL does not stop capture');
SELECT is(logged(), 'r', 'and resyncs');
ALTER TABLE p ENABLE TRIGGER ALL;
SELECT is((SELECT string_agg(tgenabled::text, '') FROM pg_trigger WHERE tgrelid = 'p'::regclass AND tgname LIKE '!%'), 'AA', 'ENABLE TRIGGER ALL does not downgrade it');
SELECT logged() AS logged \gset
DROP TRIGGER "!clinic_sync" ON p;
SELECT is((SELECT problem FROM clinic_sync.tables WHERE name = 'p'),
	'trigger "!clinic_sync" on public.p is missing: clinic_sync.repair() sets it right', 'a dropped trigger shows in the view');
INSERT INTO p (id, d) VALUES (10, 'lost');
SELECT is(clinic_sync.repair(), 1, 'repair() makes it anew');
SELECT is(logged(), 'r', 'and resyncs, since a change may be lost');
SELECT is(clinic_sync.repair(), 0, 'once');
INSERT INTO p (id, d) VALUES (11, '');
SELECT is(logged(), 'i', 'capture goes on');
SET session_replication_role = replica;
ALTER TABLE p DISABLE TRIGGER "!clinic_sync";
RESET session_replication_role;
SELECT is((SELECT tgenabled FROM pg_trigger WHERE tgrelid = 'p'::regclass AND tgname = '!clinic_sync'), 'A', 'the event triggers fire with session_replication_role = replica, too');
SELECT logged() AS logged \gset
ALTER EVENT TRIGGER clinic_sync_ddl_command_end DISABLE;
ALTER TABLE p DISABLE TRIGGER "!clinic_sync";
ALTER EVENT TRIGGER clinic_sync_ddl_command_end ENABLE ALWAYS;
SELECT is(clinic_sync.repair(), 1, 'repair() enables a disabled trigger');
SELECT is(logged(), 'r', 'and resyncs');
SELECT schema_version AS version FROM clinic_sync.publication WHERE name = 'p' \gset
ALTER EVENT TRIGGER clinic_sync_ddl_command_end DISABLE;
ALTER TABLE p ADD unseen text;
ALTER EVENT TRIGGER clinic_sync_ddl_command_end ENABLE ALWAYS;
SELECT alike((SELECT problem FROM clinic_sync.tables WHERE name = 'p'), '%changed unseen%', 'DDL that no event trigger saw shows in the view');
SELECT is(clinic_sync.repair(), 1, 'repair() follows it');
SELECT is(logged(), 'r', 'and resyncs');
SELECT is((SELECT schema_version FROM clinic_sync.publication WHERE name = 'p'), :version + 1, 'in a new version');
CREATE INDEX CONCURRENTLY p_unseen ON p (unseen);
REINDEX TABLE CONCURRENTLY p;
ALTER INDEX p_unseen RENAME TO p_seen;
SELECT is(clinic_sync.repair(), 0, 'indexes do not go unseen');
DROP INDEX CONCURRENTLY p_seen;
SELECT is(clinic_sync.repair(), 0, 'nor that they go');
ALTER TABLE p DROP unseen;
SELECT logged() AS logged \gset
ALTER TRIGGER "!clinic_sync" ON p RENAME TO mine;
ALTER TRIGGER "!clinic_sync_truncate" ON p RENAME TO mine_too;
SELECT is(clinic_sync.repair(), 1, 'repair() makes renamed triggers anew');
SELECT is((SELECT string_agg(tgname, ' ' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 'p'::regclass AND tgfoid::regproc::text ~ 'clinic_sync.capture'),
	'!clinic_sync !clinic_sync_truncate', 'and leaves no second ones');
INSERT INTO p (id, d) VALUES (111, '');
SELECT logged() AS logged \gset
DELETE FROM p WHERE id = 111;
SELECT is(logged(), 'd', 'a change is logged once');

-- names
SELECT cursor AS before FROM clinic_sync.make_batch(true) \gset
INSERT INTO p (id, d) VALUES (12, '');
ALTER TABLE p RENAME TO q;
INSERT INTO q (id, d) VALUES (13, '');
SELECT 1 AS one FROM clinic_sync.make_batch() \gset
SELECT results_eq(format('SELECT relation, operation FROM clinic_sync.changes(%L)', :'before'),
	$$VALUES ('p', 'insert'), ('p', 'resync'), ('q', 'resync'), ('q', 'insert')$$, 'a renamed table keeps its old name in older changes');
CREATE SCHEMA s;
SELECT logged() AS logged \gset
ALTER TABLE q SET SCHEMA s;
SELECT is(logged(), '', 'its schema does not matter');
INSERT INTO s.q (id, d) VALUES (14, '');
SELECT is(logged(), 'i', 'capture follows it');
ALTER SCHEMA s RENAME TO s2;
SELECT is((SELECT query LIKE '% FROM s2.q %' FROM clinic_sync.snapshot_tables() WHERE name = 'q'), true, 'snapshots, too');
DROP TABLE s2.q;
SELECT is(logged(), 'r', 'DROP TABLE resyncs');
SELECT is((SELECT count(*) FROM clinic_sync.publication WHERE name = 'q'), 0::bigint, 'and ends the publication');
SELECT clinic_sync.unpublish('leaf');

-- partitions
CREATE TABLE v (id int, t text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE v1 PARTITION OF v FOR VALUES FROM (0) TO (100);
SELECT clinic_sync.publish('v');
SELECT logged() AS logged \gset
CREATE TABLE v2 PARTITION OF v FOR VALUES FROM (100) TO (200);
SELECT is(logged(), '', 'a new empty partition is nothing');
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgrelid = 'v2'::regclass AND tgname LIKE '!%' AND tgenabled = 'A'), 2::bigint, 'but it is captured');
INSERT INTO v VALUES (150);
SELECT is((SELECT op::text || key FROM clinic_sync.change_log_1 ORDER BY seq DESC LIMIT 1), 'i{"id":150}', 'its rows are the root''s');
CREATE TABLE v3 (t text, gone int, id int NOT NULL);
ALTER TABLE v3 DROP gone;
INSERT INTO v3 VALUES ('old', 250);
SELECT logged() AS logged \gset
ALTER TABLE v ATTACH PARTITION v3 FOR VALUES FROM (200) TO (300);
SELECT is(logged(), 'r', 'ATTACH of a partition with rows resyncs');
INSERT INTO v VALUES (251, 'new');
SELECT is((SELECT data FROM clinic_sync.change_log_1 ORDER BY seq DESC LIMIT 1), '{"id":251,"t":"new"}', 'columns in another order are the root''s');
SELECT logged() AS logged \gset
ALTER TABLE v DETACH PARTITION v3;
SELECT is(logged(), 'r', 'DETACH resyncs');
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgrelid = 'v3'::regclass AND tgname LIKE '!%'), 0::bigint, 'and takes the triggers off');
INSERT INTO v3 VALUES ('free', 5);
SELECT is(logged(), '', 'the detached table is not captured');
DROP TABLE v2;
SELECT is(logged(), 'r', 'DROP of a partition resyncs');
ALTER TABLE v1 DISABLE TRIGGER ALL;
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgrelid = 'v1'::regclass AND tgname LIKE '!%' AND tgenabled = 'A'), 2::bigint, 'a partition''s triggers are enabled again');
DROP TRIGGER "!clinic_sync_truncate" ON v1;
SELECT is(clinic_sync.repair(), 1, 'and made again');
ALTER TABLE v1 ADD CHECK (id <> 7);
SELECT logged() AS logged \gset
ALTER TABLE v ADD x int;
SELECT is(logged(), 's2', 'ADD COLUMN to the root');
SELECT is((SELECT count(*) FROM clinic_sync.tables WHERE NOT captured), 0::bigint, 'everything is captured');

SELECT * FROM finish();
