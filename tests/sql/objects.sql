-- what the extension consists of: documented, commented, safe; and how it comes and goes
SET client_min_messages = warning;
DROP ROLE IF EXISTS test_squatter;
SELECT plan(20);

\set doc `cat docs/sql.md`
CREATE TABLE documented AS
	SELECT DISTINCT m[1] AS name FROM regexp_matches(:'doc', '^(?:### |\| )`([^`]+)`', 'gn') m;
SET search_path = clinic_sync, pg_catalog, public;
SELECT bag_has($$SELECT name FROM documented$$, $$SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'clinic_sync'::regnamespace$$,
	'docs/sql.md has every function and procedure, with its argument types');
SELECT bag_has($$SELECT name FROM documented$$, $$SELECT c.relname::text COLLATE "default" FROM pg_class c WHERE c.relnamespace = 'clinic_sync'::regnamespace
	AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition$$, 'every table and view');
SELECT clinic_sync.canon(1) AS loaded \gset
SELECT bag_has($$SELECT name FROM documented$$, $$SELECT s.name FROM pg_settings s WHERE s.name LIKE 'clinic\_sync.%'$$, 'every setting');
SELECT bag_has($$SELECT name FROM documented$$, $$SELECT e.evtname::text COLLATE "default" FROM pg_event_trigger e WHERE e.evtname LIKE 'clinic\_sync%'$$, 'every event trigger');
SELECT is_empty($$SELECT d.name FROM documented d WHERE d.name !~ '^(CS\d\d\d|22P02|25001|55P03|!.*)$'
	AND CASE WHEN d.name LIKE '%(%' THEN to_regprocedure(d.name) IS NULL ELSE to_regclass(d.name) IS NULL END
	AND NOT EXISTS (SELECT FROM pg_settings s WHERE s.name = d.name) AND NOT EXISTS (SELECT FROM pg_event_trigger e WHERE e.evtname = d.name)$$,
	'and nothing that is not there');
RESET search_path;

SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'clinic_sync'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL$$, 'every function has a comment');
SELECT is_empty($$SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'clinic_sync'::regnamespace AND c.relkind IN ('r', 'p', 'v')
	AND NOT c.relispartition AND c.relname NOT LIKE 'change\_log%' AND obj_description(c.oid, 'pg_class') IS NULL$$, 'every table and view, too');

SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'clinic_sync'::regnamespace AND p.prosecdef
	AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(p.proconfig, '{}'))$$, 'SECURITY DEFINER: always with a fixed search path');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace = 'clinic_sync'::regnamespace
	AND (l.lanname = 'plpgsql' OR (l.lanname = 'sql' AND p.prosqlbody IS NULL)) AND p.prokind = 'f'
	AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(p.proconfig, '{}'))$$, 'every body that is parsed later: too');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
	WHERE p.pronamespace = 'clinic_sync'::regnamespace AND a.grantee = 0$$, 'no function is executable by PUBLIC');
SELECT is_empty($$SELECT c.relname FROM pg_class c CROSS JOIN aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
	WHERE c.relnamespace = 'clinic_sync'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S') AND a.grantee = 0$$, 'no table has a right for PUBLIC');
SELECT is_empty($$SELECT e.evtname FROM pg_event_trigger e WHERE e.evtname LIKE 'clinic\_sync%' AND e.evtenabled <> 'A'$$, 'event triggers are ENABLE ALWAYS');
SELECT is(clinic_sync.version(), (SELECT default_version FROM pg_available_extensions WHERE name = 'clinic_sync'), 'version()');

-- hostile objects in the way of functions that run with the owner's rights
CREATE SCHEMA evil;
CREATE FUNCTION evil.greater(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
CREATE OPERATOR evil.> (FUNCTION = evil.greater, LEFTARG = bigint, RIGHTARG = bigint);
CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
CREATE FUNCTION evil.format(text, VARIADIC "any") RETURNS text LANGUAGE internal AS 'text_format';
CREATE TABLE t (id int PRIMARY KEY);
SET search_path = evil, pg_catalog, public;
SELECT public.lives_ok($$SELECT clinic_sync.publish('public.t'), clinic_sync.repair(), clinic_sync.unpublish('public.t')$$, 'functions and operators in front of pg_catalog do not matter');
RESET search_path;
DROP SCHEMA evil CASCADE;

-- it goes whole, with what it made later
SELECT clinic_sync.new_segment() AS segment \gset
SELECT clinic_sync.extend_batch(150001);
SELECT clinic_sync.publish('t');
SELECT throws_ok('DROP EXTENSION clinic_sync', '2BP01', NULL, 'DROP EXTENSION is refused while tables are published');
SELECT clinic_sync.unpublish('t');
SELECT lives_ok('DROP EXTENSION clinic_sync', 'DROP EXTENSION');
SELECT is((SELECT count(*) FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'clinic_sync')), 0::bigint, 'takes everything');
SELECT lives_ok($$CREATE SCHEMA IF NOT EXISTS clinic_sync; CREATE EXTENSION clinic_sync; SELECT clinic_sync.publish('t')$$, 'and can be created again');
SELECT clinic_sync.unpublish('t');
DROP EXTENSION clinic_sync;
CREATE TABLE clinic_sync.history (a int);
SELECT throws_ok('CREATE EXTENSION clinic_sync', '42P07', NULL, 'an object of the same name stops the installation');

DROP SCHEMA clinic_sync CASCADE;
CREATE ROLE test_squatter;
CREATE SCHEMA clinic_sync AUTHORIZATION test_squatter;
SELECT throws_ok('CREATE EXTENSION clinic_sync', '42501', NULL, 'nor is it installed into somebody''s schema');
DROP SCHEMA clinic_sync;
DROP ROLE test_squatter;

SELECT * FROM finish();
