/*
 * Reading batches, all by extension/batch_read.c and batch_cursor.c.  The
 * readers are STABLE: check of the cursor, batches and rows come from the one
 * snapshot of the calling query.  They read our tables below SQL, so whoever
 * may execute them needs no other right.
 */
CREATE FUNCTION clinic_sync.check_cursor(cursor text) RETURNS text
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'clinic_sync_check_cursor';
COMMENT ON FUNCTION clinic_sync.check_cursor(text) IS
	'ok, too_old (pruned), history_lost (not of this history) or bad_cursor (not a cursor)';

CREATE FUNCTION clinic_sync.warm_cursor(max_changes int DEFAULT 100000) RETURNS text
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'clinic_sync_warm_cursor';
COMMENT ON FUNCTION clinic_sync.warm_cursor(int) IS
	'the oldest good cursor with at most so many changes, and 20,000 batches, after it; NULL when no batch was cut yet';

CREATE FUNCTION clinic_sync.changes(after text, max_rows int DEFAULT 10000)
	RETURNS TABLE (batch bigint, cursor text, seq bigint, event text, relation text, operation text, key text, data text, origin text)
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'clinic_sync_changes';
COMMENT ON FUNCTION clinic_sync.changes(text, int) IS
	'changes after a cursor in order, whole batches only: as many as fit max_rows, at least one';

CREATE FUNCTION clinic_sync.batch_changes(batch bigint, after_seq bigint DEFAULT 0, max_rows int DEFAULT NULL)
	RETURNS TABLE (seq bigint, event text, relation text, operation text, key text, data text, origin text)
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'clinic_sync_batch_changes';
COMMENT ON FUNCTION clinic_sync.batch_changes(bigint, bigint, int) IS
	'changes of one batch in order, after a seq, at most max_rows';

CREATE FUNCTION clinic_sync.feed(after text, max_rows int)
	RETURNS TABLE (batch bigint, cursor text, created_at text, seq bigint, event text, relation text, operation text,
		key text, data text, origin text)
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'clinic_sync_feed';
COMMENT ON FUNCTION clinic_sync.feed(text, int) IS
	'for relays: changes after a cursor with a closing row for each batch; refusals come as a row';

/* Names of live and ended publications. */
CREATE VIEW clinic_sync.wire_name AS
	SELECT p.id, p.name, p.event FROM clinic_sync.publication p
	UNION ALL
	SELECT r.id, r.name, r.event FROM clinic_sync.retired r;
COMMENT ON VIEW clinic_sync.wire_name IS 'internal: names of publications, ended ones too';

CREATE FUNCTION clinic_sync.resync_names(publications int[]) RETURNS text
	LANGUAGE sql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	RETURN (SELECT string_agg(DISTINCT n.name, ',' ORDER BY n.name)
		FROM clinic_sync.wire_name n WHERE n.id = ANY (publications));
COMMENT ON FUNCTION clinic_sync.resync_names(int[]) IS 'internal: comma list of tables to fetch anew';

CREATE FUNCTION clinic_sync.changed_between(publication int, before pg_snapshot, after pg_snapshot) RETURNS boolean
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'clinic_sync_changed_between';
COMMENT ON FUNCTION clinic_sync.changed_between(int, pg_snapshot, pg_snapshot) IS
	'internal: whether rows of a table are in transactions that are visible in the second snapshot and not in the first';
