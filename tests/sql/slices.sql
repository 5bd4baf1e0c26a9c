/*
 * Slices of tables: digests between two keys, where to divide, counts.  They
 * are compared with what is computed here from row_hashes() and the order of
 * keys as docs/protocol.md has it: numbers as numbers, texts by their bytes.
 */
SELECT plan(79);

CREATE FUNCTION hash_number(hash text) RETURNS numeric LANGUAGE sql AS $$
	SELECT ('x' || substr(hash, 1, 8))::bit(32)::bigint::numeric * 4294967296 + ('x' || substr(hash, 9, 8))::bit(32)::bigint
$$;

/* Rows and sum of hashes of a slice; place: what of the key object k has the right order. */
CREATE FUNCTION expected(relation regclass, columns name[], place text, after text, upto text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('SELECT count(*) || '' '' || coalesce(sum(hash_number(h.row_hash)), 0) %% 18446744073709551616
		FROM clinic_sync.row_hashes(%1$L, %2$L) h CROSS JOIN LATERAL (SELECT h.key::json AS k) x
		WHERE (%4$L IS NULL OR %3$s > (SELECT %3$s FROM (SELECT %4$L::json AS k) y))
			AND (%5$L IS NULL OR %3$s <= (SELECT %3$s FROM (SELECT %5$L::json AS k) y))',
		relation, columns, place, after, upto) INTO answer;
	RETURN answer;
END
$$;

/* Divide a table by its bounds and compare each slice, and their sum with digest_scan(). */
CREATE FUNCTION compare(relation regclass, place text, slice_rows int, columns name[] DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	bounds text[] := ARRAY(SELECT clinic_sync.slice_bounds(relation, slice_rows));
	after text[] := array_prepend(NULL, bounds);
	upto text[] := array_append(bounds, NULL);
	total text;
	s record;
BEGIN
	FOR s IN SELECT d.slice, d.rows || ' ' || hash_number(d.hash) AS found,
			expected(relation, columns, place, after[d.slice], upto[d.slice]) AS expected, d.rows
		FROM clinic_sync.digest_slices(relation, columns, after, upto) d
	LOOP
		IF s.found <> s.expected OR s.slice <= cardinality(bounds) AND s.rows <> slice_rows THEN
			RETURN format('slice %s from %s to %s: expected %s, found %s', s.slice, after[s.slice], upto[s.slice], s.expected, s.found);
		END IF;
	END LOOP;
	SELECT sum(d.rows) || ' ' || sum(hash_number(d.hash)) % 18446744073709551616 INTO total
	FROM clinic_sync.digest_slices(relation, columns, after, upto) d;
	IF total <> (SELECT w.rows || ' ' || hash_number(w.hash) FROM clinic_sync.digest_scan(relation, columns) w) THEN
		RETURN 'the sum is not the whole';
	END IF;
	RETURN cardinality(after) || ' slices';
END
$$;

/* Does it read the index, or the table? */
CREATE FUNCTION reads(relation regclass, after text, upto text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	index oid := (SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = relation AND i.indisprimary);
	scans bigint[] := ARRAY[pg_stat_get_xact_numscans(relation), pg_stat_get_xact_numscans(index)];
BEGIN
	PERFORM clinic_sync.digest_slices(relation, NULL, ARRAY[after], ARRAY[upto]);
	RETURN (pg_stat_get_xact_numscans(relation) - scans[1]) || ' table ' || (pg_stat_get_xact_numscans(index) - scans[2]) || ' index';
END
$$;

CREATE FUNCTION words() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT unnest('{"",a,A,aa,aB,b,B,Z,z,ä,Ä,äb,é,"e\u0301",ß,ss,ﬀ,𐐷,😀,"\uffff","quote\" d","back\\slash","with blank","with,comma",JG-0001,JG-0010,JG-0002,10,9,_x,-x}'::text[])
	UNION SELECT E'tab\tbed' UNION SELECT E'e\u0301' UNION SELECT E'\uffee' UNION SELECT E'\u0001' UNION SELECT 'r' || i FROM generate_series(1, 50) i
$$;

-- numbers
CREATE TABLE numbers (id int PRIMARY KEY, t text);
INSERT INTO numbers SELECT i, 'row ' || i FROM generate_series(-50, 52) i;
INSERT INTO numbers VALUES (-2147483648), (2147483647);
SELECT clinic_sync.publish('numbers');
SELECT is(compare('numbers', $$(k->>'id')::int$$, 10), '11 slices', 'integers, also below 0');
SELECT is(reads('numbers', '{"id":-7}', '{"id":20}'), '0 table 1 index', 'by the index');
SELECT is(reads('numbers', NULL, NULL), '1 table 0 index', 'all of it: the table');
SELECT results_eq($$SELECT rows FROM clinic_sync.digest_slices('numbers', NULL, '{NULL,"{\"id\":-51}",NULL,"{\"id\":52}"}', '{"{\"id\":-50}","{\"id\":-50}","{\"id\":-2147483648}",NULL}') ORDER BY slice$$,
	'VALUES (2::bigint), (1), (1), (1)', 'after is left out, upto is in; slices may overlap');
SELECT is((SELECT array_agg(rows) FROM clinic_sync.digest_slices('numbers', NULL, '{"{\"id\":5}","{\"id\":9}"}', '{"{\"id\":5}","{\"id\":1}"}')), '{0,0}', 'empty slices');
SELECT is((SELECT rows FROM clinic_sync.digest_slices('numbers', NULL, '{"{\"id\":-9223372036854775808}"}', '{"{\"id\":9223372036854775807}"}')), 105::bigint, 'bounds that no integer reaches');
SELECT results_eq($$SELECT * FROM clinic_sync.slice_bounds('numbers', 50)$$, $$VALUES ('{"id":-2}'), ('{"id":48}')$$, 'bounds are every 50th key');
SELECT is_empty($$SELECT * FROM clinic_sync.slice_bounds('numbers')$$, 'none for a small table');
CREATE TABLE bigs (id bigint PRIMARY KEY);
INSERT INTO bigs SELECT i * 100000000000 FROM generate_series(-20, 20) i;
INSERT INTO bigs VALUES (9223372036854775807), (-9223372036854775808);
SELECT clinic_sync.publish('bigs');
SELECT is(compare('bigs', $$(k->>'id')::bigint$$, 4), '11 slices', 'bigint');
SELECT is(reads('bigs', '{"id":"-9223372036854775808"}', '{"id":"0"}'), '0 table 1 index', 'by the index');
CREATE TABLE smalls (id smallint PRIMARY KEY);
INSERT INTO smalls SELECT generate_series(-20, 20);
SELECT clinic_sync.publish('smalls');
SELECT is(compare('smalls', $$(k->>'id')::int$$, 7), '6 slices', 'smallint');
SELECT is(reads('smalls', '{"id":-40000}', '{"id":40000}'), '0 table 1 index', 'by the index, whatever the bounds');
CREATE DOMAIN number_domain AS int CHECK (value <> 7);
CREATE TABLE domains (id number_domain PRIMARY KEY);
INSERT INTO domains SELECT i FROM generate_series(100, 130) i;
SELECT clinic_sync.publish('domains');
SELECT is(compare('domains', $$(k->>'id')::int$$, 7), '5 slices', 'a domain over integer');

SELECT is(reads('domains', '{"id":110}', NULL), '0 table 1 index', 'by the index');

-- texts, under every kind of collation
CREATE TABLE texts_c (id text COLLATE "C" PRIMARY KEY, t text);
CREATE TABLE texts (id text PRIMARY KEY, t text);
CREATE TABLE texts_icu (id text COLLATE "en-x-icu" PRIMARY KEY);
CREATE COLLATION no_case (provider = icu, locale = 'und-u-ks-level3', deterministic = false);
CREATE TABLE texts_odd (id varchar(30) COLLATE no_case PRIMARY KEY);
INSERT INTO texts_c SELECT w, w || w FROM words() w;
INSERT INTO texts SELECT w, w || w FROM words() w;
INSERT INTO texts_icu SELECT w FROM words() w;
INSERT INTO texts_odd SELECT w FROM words() w ON CONFLICT DO NOTHING;
SELECT clinic_sync.publish(t) FROM unnest('{texts_c,texts,texts_icu,texts_odd}'::regclass[]) t;
SELECT is(compare('texts_c', $$convert_to(k->>'id', 'UTF8')$$, 9), '10 slices', 'text in collation C');
SELECT is(reads('texts_c', '{"id":"A"}', '{"id":"a"}'), '0 table 1 index', 'by the index');
CREATE DOMAIN code AS varchar(40) COLLATE "C";
CREATE TABLE codes (id code PRIMARY KEY);
INSERT INTO codes SELECT id FROM texts_c;
SELECT clinic_sync.publish('codes');
SELECT is(compare('codes', $$convert_to(k->>'id', 'UTF8')$$, 9), '10 slices', 'a domain over varchar in collation C');
SELECT is(reads('codes', NULL, '{"id":"a"}'), '0 table 1 index', 'by the index');
SELECT is(compare('texts', $$convert_to(k->>'id', 'UTF8')$$, 9), '10 slices', 'text in the database''s collation');
SELECT is(compare('texts_icu', $$convert_to(k->>'id', 'UTF8')$$, 9), '10 slices', 'text in an ICU collation');
SELECT is(reads('texts_icu', '{"id":"A"}', '{"id":"a"}'), '1 table 0 index', 'not by an index of another order');
SELECT is(compare('texts_odd', $$convert_to(k->>'id', 'UTF8')$$, 9), '10 slices', 'varchar, where the server takes different texts for equal');
SELECT is(ARRAY(SELECT clinic_sync.slice_bounds('texts_icu', 1)), ARRAY(SELECT clinic_sync.slice_bounds('texts_c', 1)), 'the same order in each');
SELECT is((SELECT array_agg(d::text) FROM clinic_sync.digest_slices('texts_icu', NULL, '{NULL,"{\"id\":\"a\"}"}', '{"{\"id\":\"a\"}",NULL}') d),
	(SELECT array_agg(d::text) FROM clinic_sync.digest_slices('texts_c', '{id}', '{NULL,"{\"id\":\"a\"}"}', '{"{\"id\":\"a\"}",NULL}') d), 'and the same digests');
CREATE TABLE chars (id char(6) PRIMARY KEY);
INSERT INTO chars SELECT left(w, 6) FROM words() w ON CONFLICT DO NOTHING;
SELECT clinic_sync.publish('chars');
SELECT is(compare('chars', $$convert_to(k->>'id', 'UTF8')$$, 11) ~ '^\d slices$', true, 'char(n), blanks and all');

-- SQLite itself
\set file `mktemp`
\setenv KEYS :file
SELECT json_agg((k.key::json)->'id' ORDER BY random())::text FROM clinic_sync.row_hashes('texts_c') k \g :file
\set sqlite_order `sqlite3 :memory: "SELECT json_group_array(value) FROM (SELECT value FROM json_each(CAST(readfile('$KEYS') AS TEXT)) ORDER BY value COLLATE BINARY)"; rm "$KEYS"`
SELECT is(:'sqlite_order'::jsonb, (SELECT jsonb_agg((b.b::json)->'id' ORDER BY b.n) FROM clinic_sync.slice_bounds('texts_icu', 1) WITH ORDINALITY b(b, n)), 'SQLite has the same order');

-- several columns: what begins alike lies on both sides of a bound
CREATE TABLE pairs (a text, b int, t text, PRIMARY KEY (b, a));
INSERT INTO pairs SELECT w, i, w || i FROM words() w, generate_series(-1, 1) i;
SELECT clinic_sync.publish('pairs');
SELECT is(compare('pairs', $$ROW((k->>'b')::int, convert_to(k->>'a', 'UTF8'))::record$$, 13), '20 slices', 'integer, then text');
SELECT is(reads('pairs', '{"b":0,"a":"a"}', '{"b":0,"a":"b"}'), '0 table 1 index', 'by the index of the integer');
CREATE TABLE triples (a text COLLATE "C", b bigint, c uuid, PRIMARY KEY (a, b, c));
INSERT INTO triples SELECT left(w, 1), length(w) - 3, md5(w)::uuid FROM words() w;
SELECT clinic_sync.publish('triples');
SELECT is(compare('triples', $$ROW(convert_to(k->>'a', 'UTF8'), (k->>'b')::bigint, convert_to(k->>'c', 'UTF8'))::record$$, 8) ~ '^\d+ slices$', true, 'text, bigint, uuid');
SELECT is(reads('triples', '{"b":"-1","c":"a","a":"r"}', NULL), '0 table 1 index', 'members of a key in any order');

-- other types go by their text
CREATE TYPE mood AS ENUM ('sad', 'glad', 'bad', 'mad', 'zad', 'ad');
CREATE TABLE dates (id date PRIMARY KEY);
CREATE TABLE stamps (id timestamp PRIMARY KEY, tz timestamptz);
CREATE TABLE zoned (id timestamptz PRIMARY KEY);
CREATE TABLE uuids (id uuid PRIMARY KEY);
CREATE TABLE moods (id mood PRIMARY KEY);
CREATE TABLE exact (id numeric PRIMARY KEY);
CREATE TABLE spans (id interval PRIMARY KEY);
CREATE TABLE nets (id inet PRIMARY KEY);
INSERT INTO dates SELECT date '2026-01-01' + i * 40 FROM generate_series(-30, 30) i;
INSERT INTO dates VALUES ('infinity'), ('-infinity'), ('0044-03-15 BC'), ('12026-01-01');
INSERT INTO stamps SELECT d.id FROM dates d WHERE isfinite(d.id);
INSERT INTO stamps VALUES ('2026-01-01 00:00:00.000001'), ('infinity');
INSERT INTO zoned SELECT d.id FROM dates d;
INSERT INTO uuids SELECT md5(i::text)::uuid FROM generate_series(1, 60) i;
INSERT INTO moods SELECT unnest(enum_range(NULL::mood));
INSERT INTO exact SELECT i * 1.50 FROM generate_series(-20, 20) i;
INSERT INTO exact VALUES ('NaN'), (1e30);
INSERT INTO spans SELECT make_interval(hours => i * 7) FROM generate_series(-20, 20) i;
INSERT INTO nets SELECT '10.0.0.0'::inet + i * 7 FROM generate_series(0, 60) i;
SELECT clinic_sync.publish(t) FROM unnest('{dates,stamps,zoned,uuids,moods,exact,spans,nets}'::regclass[]) t;
SET timezone = 'Asia/Manila';
SET datestyle = 'German';
SET intervalstyle = 'iso_8601';
SELECT is(compare(t, $$convert_to(k->>'id', 'UTF8')$$, n), s || ' slices', t || ' go by their text')
FROM (VALUES ('dates', 10, 7), ('stamps', 10, 7), ('zoned', 10, 7), ('uuids', 9, 7), ('moods', 2, 4), ('exact', 10, 5), ('spans', 7, 6), ('nets', 10, 7)) x(t, n, s);
RESET timezone;
RESET datestyle;
RESET intervalstyle;

-- no order that both sides share: one slice
CREATE TABLE flags (id boolean PRIMARY KEY);
CREATE TABLE floats (id float8 PRIMARY KEY);
CREATE TABLE moneys (id numeric(10,2), n int, PRIMARY KEY (n, id));
CREATE TABLE blobs (id bytea PRIMARY KEY);
INSERT INTO flags VALUES (true), (false);
INSERT INTO moneys SELECT i, i FROM generate_series(1, 30) i;
SELECT clinic_sync.publish(t) FROM unnest('{flags,floats,moneys,blobs}'::regclass[]) t;
SELECT is((SELECT count(b) FROM unnest('{flags,floats,moneys,blobs}'::regclass[]) t, clinic_sync.slice_bounds(t, 1) b), 0::bigint, 'boolean, float, decimal and bytea keys are not divided');
SELECT throws_ok($$SELECT clinic_sync.digest_slices('moneys', NULL, '{"{\"n\":1,\"id\":\"1.00\"}"}', '{NULL}')$$, '0A000', NULL, 'nor can they be');
SELECT throws_ok($$SELECT clinic_sync.digest_slices('flags', NULL, '{NULL}', '{"{\"id\":true}"}')$$, '0A000', NULL, 'whatever the bound');
SELECT is(compare('flags', '1', 10), '1 slices', 'boolean: the one slice');
SELECT is(compare('moneys', '1', 10), '1 slices', 'decimal: the one slice');
SELECT is_empty($$SELECT t, a.attname FROM unnest('{numbers,bigs,smalls,domains,texts,texts_odd,chars,pairs,triples,dates,stamps,zoned,uuids,moods,exact,spans,nets,flags,floats,moneys,blobs}'::regclass[]) t
	JOIN pg_index i ON i.indrelid = t AND i.indisprimary JOIN pg_attribute a ON a.attrelid = t AND a.attnum = ANY (i.indkey)
	GROUP BY t, a.attname, a.atttypid, a.atttypmod
	HAVING (clinic_sync.key_order_sql(t) IS NULL) <> (t = ANY ('{flags,floats,moneys,blobs}'::regclass[]))$$, 'both sides of the extension agree which');

-- partitions, with columns elsewhere and others dropped
CREATE TABLE parts (gone int, id int, t text, secret text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (-100) TO (20);
CREATE TABLE parts_2 (t text, old date, secret text, gone int, more float8, id int NOT NULL);
ALTER TABLE parts_2 DROP old, DROP more;
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (20) TO (200);
ALTER TABLE parts DROP gone;
INSERT INTO parts SELECT i, 'part ' || i, 'canary' FROM generate_series(-30, 130) i;
SELECT clinic_sync.publish('parts', exclude_columns => '{secret}');
SELECT is(compare('parts', $$(k->>'id')::int$$, 25), '7 slices', 'a partitioned table, slices across its partitions');
SELECT is(clinic_sync.exact_count('parts'), 161::bigint, 'its rows are counted');
SELECT is(compare('parts', $$(k->>'id')::int$$, 25, '{t}'), '7 slices', 'of some columns, without the key');
SELECT is(compare('texts_c', $$convert_to(k->>'id', 'UTF8')$$, 20, '{id}'), '5 slices', 'without columns that a device lacks');
SELECT throws_ok($$SELECT clinic_sync.digest_slices('parts', '{id,secret}', '{NULL}', '{NULL}')$$, '42703', NULL, 'an excluded column');
CREATE TABLE "Odd ""table" ("Key "" one" text, clinic int, "row_number" text, PRIMARY KEY ("row_number", "Key "" one"));
INSERT INTO "Odd ""table" SELECT w, 1, left(w, 1) FROM words() w;
SELECT clinic_sync.publish('"Odd ""table"');
SELECT is(compare('"Odd ""table"', $$ROW(convert_to(k->>'row_number', 'UTF8'), convert_to(k->>'Key " one', 'UTF8'))::record$$, 20), '5 slices', 'odd names');

-- rows that devices do not hold
SET clinic_sync.max_row_bytes = 1024;
UPDATE texts_c SET t = repeat('x', 2000) WHERE id = 'a';
SELECT is((SELECT rows FROM clinic_sync.digest_slices('texts_c', NULL, '{"{\"id\":\"_x\"}"}', '{"{\"id\":\"aB\"}"}')), 1::bigint, 'a row over max_row_bytes is left out');
SELECT is(clinic_sync.exact_count('texts_c') + 1, (SELECT count(*) FROM texts_c), 'and not counted');
RESET clinic_sync.max_row_bytes;

-- counts
SELECT is(clinic_sync.exact_count('numbers'), 105::bigint, 'exact_count()');
SET clinic_sync.count_max_bytes = '8kB';
SELECT is(clinic_sync.exact_count('bigs'), 43::bigint, 'a table as large as the bound');
SELECT is(clinic_sync.exact_count('parts'), NULL, 'a larger one, all its partitions together, is not counted');
RESET clinic_sync.count_max_bytes;
CREATE TABLE stranger (id int PRIMARY KEY);
SELECT throws_ok($$SELECT clinic_sync.exact_count('stranger')$$, '55000', NULL, 'nor one that is not published');

-- holding tables: with their partitions and indexes, and never one that is not published
BEGIN;
SELECT ok(clinic_sync.hold_tables('{numbers,parts,"\"Odd \"\"table\""}'), 'hold_tables()');
SELECT results_eq($$SELECT l.relation::regclass::text COLLATE "default", l.mode::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
	WHERE l.pid = pg_backend_pid() AND l.granted AND c.relnamespace = 'public'::regnamespace ORDER BY l.relation::regclass::text COLLATE "C"$$,
	$$VALUES ('"Odd ""table"', 'AccessShareLock'), ('"Odd ""table_pkey"', 'AccessShareLock'), ('numbers', 'AccessShareLock'), ('numbers_pkey', 'AccessShareLock'),
	('parts', 'AccessShareLock'), ('parts_1', 'AccessShareLock'), ('parts_1_pkey', 'AccessShareLock'), ('parts_2', 'AccessShareLock'),
	('parts_2_pkey', 'AccessShareLock'), ('parts_pkey', 'AccessShareLock')$$, 'all that reading locks');
COMMIT;
SELECT ok(clinic_sync.hold_tables('{}'), 'none');
SELECT is(clinic_sync.hold_tables(NULL), NULL, 'nothing');
SELECT throws_ok($$SELECT clinic_sync.hold_tables('{numbers,stranger}')$$, '55000', NULL, 'a table that is not published');
SELECT throws_ok($$SELECT clinic_sync.hold_tables('{numbers,NULL}')$$, '22004', NULL, 'NULL is no table');

-- the snapshot of the query
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT rows AS before, hash AS hash FROM clinic_sync.digest_slices('numbers', NULL, '{"{\"id\":0}"}', '{"{\"id\":20}"}') \gset
\! psql -XAtqc "DELETE FROM numbers WHERE id IN (3, 4); UPDATE numbers SET t = 'other' WHERE id = 5; UPDATE numbers SET id = 1000 WHERE id = 6; REINDEX TABLE numbers" test_slices
SELECT is((SELECT rows || hash FROM clinic_sync.digest_slices('numbers', NULL, '{"{\"id\":0}"}', '{"{\"id\":20}"}')), :'before' || :'hash', 'an older snapshot, also through an index that was built after it');
COMMIT;
SELECT is((SELECT rows FROM clinic_sync.digest_slices('numbers', NULL, '{"{\"id\":0}"}', '{"{\"id\":20}"}')), :before::bigint - 3, 'a newer one');
ALTER TABLE texts_c DROP CONSTRAINT texts_c_pkey, ADD PRIMARY KEY (id) DEFERRABLE;
SELECT is(compare('texts_c', $$convert_to(k->>'id', 'UTF8')$$, 9), '10 slices', 'a deferrable key');

-- what is wrong
SELECT throws_ok(format($$SELECT clinic_sync.digest_slices('numbers', NULL, ARRAY[%L], '{NULL}')$$, k), '22023', 'not a key object of table "numbers"', coalesce(k, '') || ' is no key')
FROM unnest(ARRAY['JG-0001', '[1]', '{}', '{"id":null}', '{"id":"JG-0001"}', '{"id":1.5}', '{"id":99999999999999999999}']) k;
SELECT throws_ok($$SELECT clinic_sync.digest_slices('numbers', NULL, '{}', '{}')$$, '22023', NULL, 'no slice');
SELECT throws_ok($$SELECT clinic_sync.digest_slices('numbers', NULL, '{NULL}', '{NULL,NULL}')$$, '22023', NULL, 'arrays of different length');
SELECT throws_ok($$SELECT clinic_sync.digest_slices('numbers', NULL, array_fill(NULL::text, '{101}'), array_fill(NULL::text, '{101}'))$$, '22023', NULL, 'too many');
SELECT throws_ok($$SELECT clinic_sync.digest_slices(NULL, NULL, '{NULL}', '{NULL}')$$, '22004', NULL, 'no table');
SELECT throws_ok($$SELECT clinic_sync.digest_slices('stranger', NULL, '{NULL}', '{NULL}')$$, '55000', NULL, 'not published');
SELECT throws_ok($$SELECT clinic_sync.slice_bounds('stranger')$$, '42704', NULL, 'slice_bounds(): not published');
SELECT throws_ok($$SELECT clinic_sync.slice_bounds('numbers', 0)$$, '22023', NULL, 'slices without rows');

SELECT * FROM finish();
