/*
 * Canonical texts: every type of the table in docs/protocol.md, odd and
 * extreme values, under settings that print everything differently.  What
 * canon() says, what capture logs and what the digest hashes is the same.
 */
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT plan(10 + 79);

/* One value per row: the expression and its canonical text. */
CREATE TABLE expected (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, type text, value text, canon text);
CREATE TYPE mood AS ENUM ('fine', 'so "so"');
CREATE TYPE point3 AS (x int, label text);
CREATE DOMAIN email AS text CHECK (value LIKE '%@%');
CREATE DOMAIN yes AS boolean;

INSERT INTO expected (type, value, canon) VALUES
	('boolean', 't', 'true'), ('boolean', 'f', 'false'), ('yes', 't', 'true'),
	('smallint', '-32768', '-32768'), ('integer', '2147483647', '2147483647'), ('integer', '-2147483648', '-2147483648'),
	('bigint', '9223372036854775807', '9223372036854775807'), ('bigint', '-9223372036854775808', '-9223372036854775808'),
	('real', '0.1', '0.1'), ('real', '3.4028235e38', '3.4028235e+38'), ('real', 'NaN', 'NaN'),
	('double precision', '0.1', '0.1'), ('double precision', '0.30000000000000004', '0.30000000000000004'),
	('double precision', '1e20', '1e+20'), ('double precision', '-0', '-0'), ('double precision', '1e-320', '1e-320'),
	('double precision', 'Infinity', 'Infinity'), ('double precision', '-Infinity', '-Infinity'),
	('numeric(12,2)', '1500', '1500.00'), ('numeric(12,2)', '0', '0.00'), ('numeric(12,2)', '-0.005', '-0.01'),
	('numeric', '0.00', '0.00'), ('numeric', 'NaN', 'NaN'), ('numeric', '0.000000000000000000001', '0.000000000000000000001'),
	('numeric', '1e40', '1' || repeat('0', 40)),
	('numeric', repeat('9', 131072), repeat('9', 131072)),
	('date', '2026-11-23', '2026-11-23'), ('date', '0044-03-15 BC', '0044-03-15 BC'), ('date', 'infinity', 'infinity'),
	('date', '-infinity', '-infinity'), ('date', '5874897-12-31', '5874897-12-31'), ('date', '0001-01-01', '0001-01-01'),
	('timestamp', '2026-11-23 08:00', '2026-11-23T08:00:00.000'), ('timestamp', '2026-11-23 08:00:00.5', '2026-11-23T08:00:00.500'),
	('timestamp', '2026-11-23 08:00:00.123456', '2026-11-23T08:00:00.123456'),
	('timestamp', '2026-11-23 08:00:00.000001', '2026-11-23T08:00:00.000001'),
	('timestamp(0)', '2026-11-23 08:00:00.6', '2026-11-23T08:00:01.000'),
	('timestamp', '0044-03-15 12:00 BC', '0044-03-15T12:00:00.000 BC'), ('timestamp', 'infinity', 'infinity'),
	('timestamp', '-infinity', '-infinity'), ('timestamp', '4713-11-24 00:00 BC', '4713-11-24T00:00:00.000 BC'),
	('timestamp', '294276-12-31 23:59:59.999999', '294276-12-31T23:59:59.999999'),
	('timestamptz', '2026-11-23 08:00+08', '2026-11-23T00:00:00.000Z'), ('timestamptz', 'infinity', 'infinity'),
	('timestamptz', '0044-03-15 12:00+00 BC', '0044-03-15T12:00:00.000Z BC'),
	('timestamptz', '2026-01-01 00:00+00', '2026-01-01T00:00:00.000Z'),
	('time', '24:00:00', '24:00:00'), ('time', '08:00:00.25', '08:00:00.25'), ('timetz', '08:00:00+05:30:15', '08:00:00+05:30:15'),
	('interval', '1 year -2 days 03:04:05.6', '1 year -2 days +03:04:05.6'), ('interval', '0', '00:00:00'),
	('uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
	('text', '', ''), ('text', 'a"b\c/d', 'a"b\c/d'), ('text', E'\t\r\n\x01\x1f\x7f', E'\t\r\n\x01\x1f\x7f'),
	('text', E'\U0001F3E5 \u2028\uFFFF\uFEFF', E'\U0001F3E5 \u2028\uFFFF\uFEFF'), ('text', repeat('é', 500000), repeat('é', 500000)),
	('varchar(5)', 'abc', 'abc'), ('char(5)', 'ab', 'ab   '), ('email', 'a@b', 'a@b'), ('name', 'n', 'n'), ('"char"', 'c', 'c'),
	('bytea', '\x', '\x'), ('bytea', '\x00ff5c', '\x00ff5c'),
	('bytea', (SELECT '\x' || string_agg(lpad(to_hex(i), 2, '0'), '' ORDER BY i) FROM generate_series(0, 255) i),
		(SELECT '\x' || string_agg(lpad(to_hex(i), 2, '0'), '' ORDER BY i) FROM generate_series(0, 255) i)),
	('json', '{"b":1, "a":"\u0000", "b":2}', '{"b":1, "a":"\u0000", "b":2}'), ('jsonb', '{"b":1, "a":[1.0,null]}', '{"a": [1.0, null], "b": 1}'),
	('int[]', '[0:1]={7,8}', '[0:1]={7,8}'), ('text[]', '{"a,b",NULL,"\"q\"",""}', '{"a,b",NULL,"\"q\"",""}'),
	('timestamptz[]', '{2026-11-23 08:00+08}', '{"2026-11-23 00:00:00+00"}'), ('bytea[]', '{"\\x00"}', '{"\\x00"}'),
	('double precision[]', '{0.1,NaN}', '{0.1,NaN}'), ('interval[]', '{1 day}', '{"1 day"}'),
	('daterange', '[2026-01-01,2026-02-01)', '[2026-01-01,2026-02-01)'), ('mood', 'so "so"', 'so "so"'),
	('point3', '(1,"a,b")', '(1,"a,b")'), ('inet', '10.0.0.1/8', '10.0.0.1/8'), ('bit(4)', '0101', '0101'),
	('xml', '<a>&amp;</a>', '<a>&amp;</a>');

CREATE FUNCTION canon_of(type text, value text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SELECT clinic_sync.canon(%L::%s)', value, type) INTO result;
	RETURN result;
END
$$;

/* A table with one column of each type and one row, from the list above. */
CREATE FUNCTION make_samples() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	columns text := (SELECT string_agg(format('c%s %s', e.id, e.type), ', ' ORDER BY e.id) FROM expected e);
BEGIN
	EXECUTE 'CREATE TABLE sample (id int PRIMARY KEY, ' || columns || ')';
	PERFORM clinic_sync.publish('sample');
END
$$;
CREATE FUNCTION fill_sample(id int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE (SELECT format('INSERT INTO sample VALUES (%s, %s)', fill_sample.id,
		string_agg(format('%L::%s', e.value, e.type), ', ' ORDER BY e.id)) FROM expected e);
END
$$;
SELECT make_samples() \gset

/* Logged values of sample's row: number of the column, text as JSON gives it. */
CREATE FUNCTION logged(sample_id int, OUT id int, OUT canon text) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT substr(m.key, 2)::int, m.value
	FROM clinic_sync.change_log_1 l, json_each_text(l.data::json) m
	WHERE l.key = format('{"id":%s}', sample_id) AND l.op = 'i' AND m.key <> 'id'
$$;

-- dates are given in a form that every DateStyle reads
SELECT fill_sample(1) \gset
SELECT set_eq('SELECT * FROM logged(1)', 'SELECT id, canon FROM expected', 'logged under default settings');

SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
SET TimeZone = 'America/St_Johns';
SET extra_float_digits = -15;
SET bytea_output = 'escape';
SET xmloption = 'content';
SELECT is(canon_of(e.type, e.value), e.canon, left(e.type || ' ' || regexp_replace(e.value, '[[:cntrl:]]', '.', 'g'), 60))
FROM expected e ORDER BY e.id;
SELECT fill_sample(2) \gset
SELECT is((SELECT h.hash FROM clinic_sync.digest_scan('sample') h) IS NOT NULL, true, 'digest under hostile settings');
SELECT h.hash AS hostile FROM clinic_sync.digest_scan('sample') h \gset
RESET DateStyle;
RESET IntervalStyle;
RESET TimeZone;
RESET extra_float_digits;
RESET bytea_output;
SELECT set_eq('SELECT * FROM logged(2)', 'SELECT id, canon FROM expected', 'logged under hostile settings');
SELECT is((SELECT h.hash FROM clinic_sync.digest_scan('sample') h), :'hostile', 'the digest does not depend on settings');

-- forms of JSON

SELECT is((SELECT json_typeof(l.data::json -> 'c1') || json_typeof(l.data::json -> 'c4') || json_typeof(l.data::json -> 'c7')
		FROM clinic_sync.change_log_1 l WHERE l.op = 'i' AND l.key = '{"id":1}'), 'booleannumberstring',
	'boolean and int2/int4 without quotes, int8 as a string');

-- each character at each place, since text is looked at eight bytes at a time
CREATE TABLE escaped (id int PRIMARY KEY, v text);
SELECT clinic_sync.publish('escaped') AS published \gset
INSERT INTO escaped SELECT i, repeat('x', i % 20) || chr(1 + i / 20) || repeat('é', i % 7) FROM generate_series(0, 20 * 160 - 1) i;
SELECT is((SELECT count(*) FROM escaped e JOIN clinic_sync.change_log_1 l
		ON l.data = format('{"id":%s,"v":%s}', e.id, to_json(e.v))), 20 * 160::bigint, 'strings are escaped as to_json() does');

-- the hash, computed here by the words of docs/protocol.md

CREATE FUNCTION hash_by_protocol(id int) RETURNS text LANGUAGE sql AS $$
	SELECT left(encode(sha256(convert_to(string_agg(concat('V', octet_length(convert_to(v.canon, 'UTF8')), ':', v.canon), ''
		ORDER BY v.name COLLATE "C"), 'UTF8')), 'hex'), 16)
	FROM (SELECT 'c' || e.id, e.canon FROM expected e UNION ALL SELECT 'id', $1::text) v(name, canon)
$$;
SELECT results_eq($$SELECT * FROM clinic_sync.row_hashes('sample')$$,
	$$SELECT format('{"id":%s}', i), hash_by_protocol(i) FROM generate_series(1, 2) i$$, 'row_hashes() as docs/protocol.md says');
SELECT is((SELECT d.hash FROM clinic_sync.digest_scan('sample') d), (
	SELECT lpad(to_hex(div(s.total, 4294967296)::bigint), 8, '0') || lpad(to_hex(mod(s.total, 4294967296)::bigint), 8, '0')
	FROM (SELECT mod(sum(('x0' || left(h.row_hash, 15))::bit(64)::bigint::numeric * 16
			+ ('x' || right(h.row_hash, 1))::bit(4)::int), 18446744073709551616) AS total
		FROM clinic_sync.row_hashes('sample') h) s), 'digest_scan() is their sum modulo 2^64');
CREATE TABLE one (a text, b text, id int PRIMARY KEY);
SELECT clinic_sync.publish('one') \gset
INSERT INTO one VALUES ('x', NULL, 1);
SELECT is((SELECT d.hash FROM clinic_sync.digest_scan('one', '{b,a}') d), left(encode(sha256('V1:xN'), 'hex'), 16),
	'the example of docs/protocol.md, columns in whatever order they are named');
SELECT throws_ok($$SELECT clinic_sync.digest_scan('one', '{nothing}')$$, '42703', NULL, 'digest of a column that is not published');

SELECT * FROM finish();
