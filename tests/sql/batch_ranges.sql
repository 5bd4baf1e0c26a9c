-- which transactions lie between two snapshots: against what the snapshots themselves say
SELECT plan(3);

-- one log row for each of 60 transactions, which begin one after the other and end in any order
SELECT setseed(0.5) AS seed \gset
CREATE TABLE run AS SELECT x, x + random() * 15 AS ended FROM generate_series(1, 60) x;
INSERT INTO clinic_sync.change_log_1 (seq, xid, publication, op, head)
SELECT x, x::text::xid8, x, 'i', true FROM run;

/* The snapshot taken at a moment. */
CREATE FUNCTION snapshot_at(moment float8) RETURNS pg_snapshot LANGUAGE sql STABLE
RETURN (SELECT format('%s:%s:%s', coalesce(min(x) FILTER (WHERE ended > moment), max(x) + 1), max(x) + 1,
	string_agg(x::text, ',' ORDER BY x) FILTER (WHERE ended > moment))::pg_snapshot FROM run WHERE x <= moment);

CREATE TABLE pair AS
	SELECT snapshot_at(b) AS before, snapshot_at(b + d) AS after
	FROM (SELECT 1 + random() * 60 AS b, random() * random() * 40 AS d FROM generate_series(1, 300)) x;
SELECT is_empty($$SELECT p.before, p.after, x FROM pair p CROSS JOIN run r
	WHERE clinic_sync.changed_between(r.x, p.before, p.after) IS DISTINCT FROM
		(pg_visible_in_snapshot(r.x::text::xid8, p.after) AND NOT pg_visible_in_snapshot(r.x::text::xid8, p.before))$$,
	'300 pairs of snapshots, 60 transactions each');
SELECT cmp_ok((SELECT count(*) FROM pair p CROSS JOIN run r WHERE clinic_sync.changed_between(r.x, p.before, p.after)), '>', 1000::bigint,
	'of which many lie between them');
SELECT cmp_ok((SELECT count(*) FROM pair p WHERE EXISTS (SELECT FROM pg_snapshot_xip(p.before) x WHERE pg_visible_in_snapshot(x, p.after))), '>', 100::bigint,
	'also such as had begun before the first');

SELECT * FROM finish();
