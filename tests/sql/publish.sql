-- publish(), unpublish(): what they do and everything they refuse
SELECT plan(63);

CREATE FUNCTION pg_temp.error(statement text, OUT code text, OUT message text, OUT detail text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END
$$;
-- code and detail of a refusal; every one of them must come with a hint
CREATE FUNCTION pg_temp.refused(statement text, code text, detail text, description text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	e record;
BEGIN
	SELECT * INTO e FROM pg_temp.error(statement);
	RETURN is(ROW(e.code, coalesce(nullif(e.detail, ''), e.message), e.hint <> '')::text,
		ROW(code, detail, true)::text, description);
END
$$;

-- what it does
CREATE TABLE patients (id text PRIMARY KEY, "fullName" text, n int, secret text);
SELECT lives_ok($$SELECT clinic_sync.publish('patients', 'patient_data_change_immediate', '{secret}')$$, 'publishes a table');
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgrelid = 'patients'::regclass AND tgname LIKE '!clinic\_sync%' AND tgenabled = 'A'),
	2::bigint, 'two triggers, both ENABLE ALWAYS');
SELECT is((SELECT schema::text FROM clinic_sync.publication),
	'{"table":"patients","event":"patient_data_change_immediate","version":1,"key":["id"],"columns":['
	'{"name":"id","type":"text","class":"text","nullable":false,"identity":false},'
	'{"name":"fullName","type":"text","class":"text","nullable":true,"identity":false},'
	'{"name":"n","type":"integer","class":"integer","nullable":true,"identity":false}],"indexes":[]}',
	'schema object as docs/protocol.md says, without the excluded column');
SELECT is((SELECT string_agg(op::text, '' ORDER BY seq) FROM clinic_sync.change_log_1), 's', 'an empty table is announced by its schema');
INSERT INTO patients VALUES ('JG-0001', 'A', 1, 'canary');
SELECT is((SELECT count(*) FROM clinic_sync.change_log_1 WHERE data LIKE '%canary%'), 0::bigint, 'the excluded column is not logged');
SELECT is((SELECT count(*) FROM clinic_sync.change_log_1), 2::bigint, 'a change is');

CREATE TABLE filled (b int, a int, "We""ird, col" text, PRIMARY KEY (a, b));
CREATE INDEX filled_b ON filled (b);
CREATE UNIQUE INDEX filled_u ON filled (b, a);
CREATE INDEX filled_partial ON filled (b) WHERE a > 1;
CREATE INDEX filled_expression ON filled ((a + b));
INSERT INTO filled VALUES (1, 2);
SELECT lives_ok($$SELECT clinic_sync.publish('filled')$$, 'publishes a table with rows');
SELECT is((SELECT string_agg(op::text, '' ORDER BY seq) FROM clinic_sync.change_log_1 WHERE publication = 2), 'r',
	'a table with rows is announced by a resync');
SELECT is((SELECT schema -> 'key' FROM clinic_sync.publication WHERE id = 2)::text, '["a","b"]', 'key in key order');
SELECT is((SELECT schema -> 'indexes' FROM clinic_sync.publication WHERE id = 2)::text,
	'[{"name":"filled_b","columns":["b"],"unique":false},{"name":"filled_u","columns":["b","a"],"unique":true}]',
	'indexes that SQLite can hold, no partial one and no expression');
SELECT is((SELECT event FROM clinic_sync.publication WHERE id = 2), 'data_change_immediate', 'default event');

-- type classes, the table of docs/protocol.md
CREATE DOMAIN d_int AS int;
CREATE DOMAIN d_dec AS numeric(8,2);
CREATE TYPE mood AS ENUM ('ok', 'bad');
CREATE TABLE classes (id bigint PRIMARY KEY, c01 boolean, c02 smallint, c03 int, c04 real, c05 float8, c06 numeric(15,2),
	c07 numeric(16,2), c08 numeric, c09 numeric(3,-2), c10 numeric(2,5), c11 bytea, c12 timestamp, c13 date, c14 json, c15 d_int,
	c16 d_dec, c17 mood, c18 int[], c19 uuid, c20 varchar(3), c21 numeric(5));
SELECT clinic_sync.publish('classes');
SELECT is((SELECT string_agg(c ->> 'class', ' ') FROM clinic_sync.publication p, json_array_elements(schema -> 'columns') c WHERE p.relation = 'classes'::regclass),
	'bigint boolean integer integer float float decimal text text text text blob text text text integer decimal text text text text decimal',
	'classes by the type map');
SELECT is((SELECT c ->> 'type' FROM clinic_sync.publication p, json_array_elements(schema -> 'columns') c WHERE p.relation = 'classes'::regclass AND c ->> 'name' = 'c17'),
	'public.mood', 'types are named whatever the search path');

-- partitioned
CREATE TABLE visits (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY RANGE (id);
CREATE TABLE visits_2a PARTITION OF visits_2 FOR VALUES FROM (0) TO (100);
SELECT lives_ok($$SELECT clinic_sync.publish('visits')$$, 'publishes a partitioned table');
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgname LIKE '!clinic\_sync%' AND tgenabled = 'A' AND tgrelid::regclass::text LIKE 'visits%'),
	8::bigint, 'every partition at every level has both triggers, ENABLE ALWAYS');
SELECT is((SELECT leaves FROM clinic_sync.publication WHERE relation = 'visits'::regclass), '{visits_1,visits_2,visits_2a}'::regclass[], 'partitions are noted');
SELECT is((SELECT string_agg(op::text, '') FROM clinic_sync.change_log_1 WHERE publication = 4), 's', 'nothing but the schema is logged');

-- refusals
CREATE TABLE no_key (a int);
CREATE VIEW v AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW mv AS SELECT 1 AS a;
CREATE UNLOGGED TABLE unlogged (a int PRIMARY KEY);
CREATE TEMP TABLE temporary (a int PRIMARY KEY);
CREATE SEQUENCE seq;
CREATE FOREIGN DATA WRAPPER w;
CREATE SERVER s FOREIGN DATA WRAPPER w;
CREATE FOREIGN TABLE far (a int) SERVER s;
CREATE TABLE parent (a int PRIMARY KEY);
CREATE TABLE child (PRIMARY KEY (a)) INHERITS (parent);
CREATE TABLE twice (id int PRIMARY KEY, "A" int, a int);
CREATE TABLE sqlite_x (a int PRIMARY KEY);
CREATE TABLE "Clinic_Sync_x" (a int PRIMARY KEY);
CREATE TABLE "a,b" (a int PRIMARY KEY);
CREATE TABLE cash (a int PRIMARY KEY, m money);
CREATE DOMAIN d_money AS money;
CREATE TABLE cash2 (a int PRIMARY KEY, m d_money[]);
CREATE TYPE pair AS (a int, r regclass);
CREATE TABLE cash3 (a int PRIMARY KEY, m pair[]);
CREATE TABLE ok (a int PRIMARY KEY, b int, m money);
CREATE SCHEMA other;
CREATE TABLE other."PATIENTS" (a int PRIMARY KEY);
CREATE TABLE mixed (a int PRIMARY KEY) PARTITION BY RANGE (a);
CREATE UNLOGGED TABLE mixed_1 PARTITION OF mixed FOR VALUES FROM (0) TO (1);

SELECT pg_temp.refused($$SELECT clinic_sync.publish('no_key')$$, '55000', 'it has no primary key', 'no primary key');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('v')$$, '42809', 'it is a view', 'a view');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('mv')$$, '42809', 'it is a materialized view', 'a materialized view');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('seq')$$, '42809', 'it is a sequence', 'a sequence');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('patients_pkey')$$, '42809', 'it is an index', 'an index');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('far')$$, '42809', 'it is a foreign table', 'a foreign table');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('unlogged')$$, '42809', 'it is unlogged', 'an unlogged table');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('temporary')$$, '42809', 'it is temporary', 'a temporary table');
SELECT is((SELECT hint FROM pg_temp.error($$SELECT clinic_sync.publish('temporary')$$)), 'A temporary table ends with its session; create a permanent one.', 'which SET LOGGED does not help');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('parent')$$, '42809', 'other tables inherit from it', 'an inheritance parent');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('child')$$, '42809', 'it inherits from another table', 'an inheritance child');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('visits_2a')$$, '42809', 'it is a partition', 'a partition');
SELECT is((SELECT hint FROM pg_temp.error($$SELECT clinic_sync.publish('visits_2a')$$)), 'Publish the partitioned table public.visits instead.', 'the hint names the root');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('mixed')$$, '42809', 'its partition public.mixed_1 is unlogged', 'an unlogged partition');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('twice')$$, '42701', 'columns "A", a differ by case only', 'two columns SQLite holds for one');
SELECT lives_ok($$SELECT clinic_sync.publish('twice', exclude_columns => '{A}')$$, 'one of them excluded it is fine');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('other."PATIENTS"')$$, '42P07', 'a cache could not hold it beside the published table public.patients', 'two tables SQLite holds for one');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('sqlite_x')$$, '42939', 'the name sqlite_x cannot be used in a cache', 'a name SQLite reserves');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('"Clinic_Sync_x"')$$, '42939', 'the name "Clinic_Sync_x" cannot be used in a cache', 'a name we reserve');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('"a,b"')$$, '42939', 'the name "a,b" cannot be used in a cache', 'a name with a comma');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('cash')$$, '0A000', 'column m has type money, whose text depends on settings', 'money');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('cash2')$$, '0A000', 'column m has type public.d_money[], whose text depends on settings', 'money in a domain in an array');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('cash3')$$, '0A000', 'column m has type public.pair[], whose text depends on settings', 'regclass in a row type in an array');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('ok', exclude_columns => '{M,m}')$$, '42703', 'excluded column "M" does not exist', 'an unknown excluded column');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('ok', exclude_columns => '{m,a}')$$, '22023', 'column a belongs to the primary key and cannot be excluded', 'an excluded key');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('ok', exclude_columns => '{m,NULL}')$$, '22004', 'the list of excluded columns holds a NULL', 'NULL among the excluded');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('ok', 'ev"il', '{m}')$$, '22023', 'the event name is not valid', 'a bad event');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('ok', '', '{m}')$$, '22023', 'the event name is not valid', 'an empty event');
SELECT pg_temp.refused(format($$SELECT clinic_sync.publish('ok', %L, '{m}')$$, repeat('e', 64)), '22023', 'the event name is not valid', 'a long event');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('patients')$$, '42710', 'it is published already', 'published already');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('pg_catalog.pg_class')$$, '42809', 'it is a system table', 'a catalog');
SELECT pg_temp.refused($$SELECT clinic_sync.publish('clinic_sync.batch_lock')$$, '42809', 'it is a system table', 'a table of ours');
SELECT throws_ok($$SELECT clinic_sync.publish(NULL)$$, '22004', NULL, 'NULL');
SELECT throws_ok($$SELECT clinic_sync.publish('ok', NULL)$$, '22004', NULL, 'NULL event');
SELECT throws_ok($$SELECT clinic_sync.publish(4294967295::oid::regclass)$$, '42P01', NULL, 'no relation of that oid');
SELECT is((SELECT detail FROM pg_temp.error($$SELECT clinic_sync.publish('cash', '', '{x}')$$)),
	E'excluded column x does not exist\ncolumn m has type money, whose text depends on settings\nthe event name is not valid',
	'all problems come in one error');
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgname LIKE '!clinic%' AND tgrelid = ANY ('{cash,ok,no_key}'::regclass[])), 0::bigint, 'a refusal leaves nothing behind');

-- only the owner
CREATE ROLE test_clerk;
GRANT USAGE ON SCHEMA clinic_sync TO test_clerk;
GRANT EXECUTE ON FUNCTION clinic_sync.publish(regclass, text, name[]), clinic_sync.unpublish(regclass) TO test_clerk;
GRANT ALL ON ok TO test_clerk;
SET ROLE test_clerk;
SELECT throws_ok($$SELECT clinic_sync.publish('ok', exclude_columns => '{m}')$$, '42501', 'must be owner of table public.ok', 'a role with rights but not the owner cannot publish');
SELECT throws_ok($$SELECT clinic_sync.unpublish('patients')$$, '42501', 'must be owner of table public.patients', 'nor unpublish');
RESET ROLE;
ALTER TABLE ok OWNER TO test_clerk;
SET ROLE test_clerk;
SELECT lives_ok($$SELECT clinic_sync.publish('ok', exclude_columns => '{m}')$$, 'the owner can');
SELECT lives_ok($$SELECT clinic_sync.unpublish('ok')$$, 'and take it back');
RESET ROLE;
DROP TABLE ok;
REVOKE ALL ON ALL ROUTINES IN SCHEMA clinic_sync FROM test_clerk;
REVOKE ALL ON SCHEMA clinic_sync FROM test_clerk;
DROP ROLE test_clerk;

-- unpublish
SELECT pg_temp.refused($$SELECT clinic_sync.unpublish('no_key')$$, '42704', 'table public.no_key is not published', 'not published');
SELECT cursor AS before FROM clinic_sync.make_batch() \gset
SELECT clinic_sync.unpublish('visits');
SELECT clinic_sync.unpublish('patients');
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgname LIKE '!clinic%' AND (tgrelid::regclass::text LIKE 'visits%' OR tgrelid = 'patients'::regclass)),
	0::bigint, 'unpublish() drops all triggers');
INSERT INTO patients VALUES ('JG-0002');
SELECT batch AS n FROM clinic_sync.make_batch() \gset
SELECT results_eq(format('SELECT relation, operation FROM clinic_sync.changes(%L)', :'before'),
	$$VALUES ('visits', 'resync'), ('patients', 'resync')$$, 'devices are told, by the names of then');

-- a column that is in no row (VIRTUAL in PostgreSQL 18) is none of ours
CREATE TABLE computed (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED);
SELECT is((SELECT string_agg(name, ' ') FROM clinic_sync.published_columns('computed', '{}')), 'id twice', 'a stored generated column is published');
BEGIN;
UPDATE pg_attribute SET attgenerated = 'v' WHERE attrelid = 'computed'::regclass AND attname = 'twice';
SELECT is((SELECT string_agg(name, ' ') FROM clinic_sync.published_columns('computed', '{}')), 'id', 'a virtual one is not');
ROLLBACK;
DROP TABLE computed;

SELECT * FROM finish();
