/*
 * Reading batches.  A cursor names a batch and its nonce; what follows it is
 * read by the ranges of batch_ranges() from the segments the batches name.
 * All readers are STABLE: cursor check, batches and rows come from the one
 * snapshot of the calling query.  They run without merge joins, for which the
 * planner would sort a million rows by publication to find a few names.
 */
CREATE FUNCTION clinic_sync.check_cursor(cursor text) RETURNS text
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	part text[] := regexp_match(cursor, '^([1-9][0-9]{0,18})-([0-9a-f]{16})$');
	batch_id bigint;
	good boolean;
BEGIN
	IF part IS NULL OR part[1]::numeric > 9223372036854775807 THEN
		RETURN 'bad_cursor';
	END IF;
	batch_id := part[1]::bigint;
	IF batch_id < (SELECT h.floor_batch FROM clinic_sync.history h) THEN
		RETURN 'too_old';
	END IF;
	-- a constant, so that the planner looks at one partition only
	EXECUTE format('SELECT true FROM clinic_sync.batch b WHERE b.id = %s AND b.nonce = $1', batch_id)
		INTO good USING part[2];
	RETURN CASE WHEN good THEN 'ok' ELSE 'history_lost' END;
END
$$;
COMMENT ON FUNCTION clinic_sync.check_cursor(text) IS
	'ok, too_old (pruned), history_lost (not of this history) or bad_cursor (not a cursor)';

CREATE FUNCTION clinic_sync.operation_word(op "char") RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN CASE op WHEN 'i' THEN 'insert' WHEN 'u' THEN 'update' WHEN 'd' THEN 'delete' WHEN 'p' THEN 'put'
		WHEN 't' THEN 'truncate' WHEN 's' THEN 'schema' WHEN 'r' THEN 'resync' WHEN 'o' THEN 'oversize'
		WHEN 'a' THEN 'ack' END;
COMMENT ON FUNCTION clinic_sync.operation_word("char") IS 'internal: the protocol''s word for an operation';

CREATE FUNCTION clinic_sync.utc_text(moment timestamptz) RETURNS text
	LANGUAGE sql STABLE STRICT PARALLEL SAFE
	RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');
COMMENT ON FUNCTION clinic_sync.utc_text(timestamptz) IS 'internal: a time as the protocol writes it';

/* Names of live and ended publications. */
CREATE VIEW clinic_sync.wire_name AS
	SELECT p.id, p.name, p.event FROM clinic_sync.publication p
	UNION ALL
	SELECT r.id, r.name, r.event FROM clinic_sync.retired r;
COMMENT ON VIEW clinic_sync.wire_name IS 'internal: names of publications, ended ones too';

/* SELECT of the log rows of range r in these segments. */
CREATE FUNCTION clinic_sync.segment_query(segments int[]) RETURNS text
	LANGUAGE sql STABLE
	RETURN (SELECT coalesce(string_agg(format(
			'SELECT l.seq, l.publication, l.op, l.key, l.data, l.origin
			FROM clinic_sync.change_log_%s l WHERE l.xid >= r.lo AND l.xid < r.hi', x.id), ' UNION ALL '),
		'SELECT NULL::bigint AS seq, NULL::int AS publication, NULL::"char" AS op, NULL::text AS key, NULL::text AS data,
			NULL::text AS origin WHERE false')
		FROM unnest(segments) x(id));
COMMENT ON FUNCTION clinic_sync.segment_query(int[]) IS 'internal: SQL text that reads segments';

/*
 * Which batches the next answer holds: as many whole ones after `after` as have
 * max_rows changes together, the first in any case, at most 1,000.
 */
CREATE FUNCTION clinic_sync.plan_read(after bigint, max_rows int,
		OUT first_batch bigint, OUT last_batch bigint, OUT first_changes bigint, OUT segments int[])
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format('WITH b AS (
			SELECT b.id, b.changes, b.segments, sum(b.changes) OVER (ORDER BY b.id) AS total
			FROM clinic_sync.batch b WHERE b.id > %1$s AND b.id <= %1$s + 1000)
		SELECT min(b.id), max(b.id), min(b.changes) FILTER (WHERE b.id = %1$s + 1),
			(SELECT array_agg(DISTINCT x.segment) FROM b c, unnest(c.segments) x(segment)
			WHERE c.total <= $1 OR c.id = %1$s + 1)
		FROM b WHERE b.total <= $1 OR b.id = %1$s + 1', after)
		INTO first_batch, last_batch, first_changes, segments USING max_rows;
END
$$;
COMMENT ON FUNCTION clinic_sync.plan_read(bigint, int) IS 'internal: the batches of the next answer';

/*
 * The statement that reads whole batches first..last after batch first-1:
 * b the batches, c their rows, bad true if a batch has not the number of rows
 * that was counted when it was cut.
 */
CREATE FUNCTION clinic_sync.read_query(first_batch bigint, last_batch bigint, segments int[]) RETURNS text
	LANGUAGE sql STABLE
	RETURN format('WITH b AS MATERIALIZED (
		SELECT * FROM (
			SELECT b.id, b.id || ''-'' || b.nonce AS cursor, clinic_sync.utc_text(b.created_at) AS created_at,
				b.changes, b.boundary, b.resync, b.snapshot, lag(b.snapshot) OVER (ORDER BY b.id) AS before
			FROM clinic_sync.batch b WHERE b.id >= %1$s - 1 AND b.id <= %2$s) x
		WHERE x.id >= %1$s),
	c AS MATERIALIZED (
		SELECT b.id, b.cursor, b.created_at, l.*
		FROM b CROSS JOIN LATERAL clinic_sync.batch_ranges(b.before, b.snapshot) r CROSS JOIN LATERAL (%3$s) l),
	bad AS MATERIALIZED (
		SELECT EXISTS (
			SELECT FROM b LEFT JOIN (SELECT c.id, count(*) AS found FROM c GROUP BY c.id) n ON n.id = b.id
			WHERE b.changes <> coalesce(n.found, 0)) AS bad)',
		first_batch, last_batch, clinic_sync.segment_query(segments));
COMMENT ON FUNCTION clinic_sync.read_query(bigint, bigint, int[]) IS 'internal: SQL text that reads whole batches';

CREATE FUNCTION clinic_sync.raise_refusal(reason text, cursor text) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF reason = 'bad_cursor' THEN
		RAISE EXCEPTION USING ERRCODE = '22P02',
			MESSAGE = 'this is not a cursor',
			HINT = 'A cursor is a batch number, a dash and 16 hex digits; take it from current_cursor().';
	ELSIF reason = 'too_old' THEN
		RAISE EXCEPTION USING ERRCODE = 'CS011',
			MESSAGE = format('cursor %s is too old', cursor),
			DETAIL = format('The oldest cursor that can be continued is of batch %s.',
				(SELECT h.floor_batch FROM clinic_sync.history h)),
			HINT = 'Start from a new snapshot.';
	ELSIF reason = 'history_lost' THEN
		RAISE EXCEPTION USING ERRCODE = 'CS010',
			MESSAGE = format('cursor %s is not of this database''s history', cursor),
			DETAIL = 'The server was restored, failed over or created anew since it was given out.',
			HINT = 'Start from a new snapshot.';
	ELSIF reason = 'log_incomplete' THEN
		RAISE EXCEPTION USING ERRCODE = 'CS012',
			MESSAGE = format('the change log after cursor %s does not hold what its batches counted', cursor),
			HINT = 'Start from a new snapshot and look for whoever changed clinic_sync.change_log_*.';
	END IF;
END
$$;
COMMENT ON FUNCTION clinic_sync.raise_refusal(text, text) IS 'internal: the error of a refused cursor';

CREATE FUNCTION clinic_sync.changes(after text, max_rows int DEFAULT 10000)
	RETURNS TABLE (batch bigint, cursor text, seq bigint, event text, relation text, operation text, key text, data text, origin text)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
	part record;
	bad boolean;
BEGIN
	PERFORM clinic_sync.require_max_rows(max_rows);
	PERFORM clinic_sync.raise_refusal(clinic_sync.check_cursor(after), after);
	part := clinic_sync.plan_read(split_part(after, '-', 1)::bigint, max_rows);
	IF part.first_batch IS NULL THEN
		RETURN;
	END IF;
	-- bad stands in the last column of a row of its own, which is no change
	FOR batch, cursor, seq, event, relation, operation, key, data, origin, bad IN
		EXECUTE clinic_sync.read_query(part.first_batch, part.last_batch, part.segments) || '
			SELECT c.id, c.cursor, c.seq, n.event, n.name, clinic_sync.operation_word(c.op), c.key, c.data, c.origin, false
			FROM c LEFT JOIN clinic_sync.wire_name n ON n.id = c.publication
			UNION ALL
			SELECT 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true FROM bad WHERE bad.bad
			ORDER BY 1, 3'
	LOOP
		IF bad THEN
			PERFORM clinic_sync.raise_refusal('log_incomplete', after);
		END IF;
		RETURN NEXT;
	END LOOP;
EXCEPTION
	WHEN undefined_table THEN	-- pruned while we looked
		PERFORM clinic_sync.raise_refusal('too_old', after);
END
$$;
COMMENT ON FUNCTION clinic_sync.changes(text, int) IS
	'changes after a cursor in order, whole batches only: as many as fit max_rows, at least one';

CREATE FUNCTION clinic_sync.require_max_rows(max_rows int) RETURNS void
	LANGUAGE plpgsql IMMUTABLE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF max_rows IS NULL OR max_rows < 1 THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'max_rows must be at least 1';
	END IF;
END
$$;
COMMENT ON FUNCTION clinic_sync.require_max_rows(int) IS 'internal: error unless max_rows is positive';

CREATE FUNCTION clinic_sync.batch_changes(batch bigint, after_seq bigint DEFAULT 0, max_rows int DEFAULT NULL)
	RETURNS TABLE (seq bigint, event text, relation text, operation text, key text, data text, origin text)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	SET enable_mergejoin = off
	SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
	this record;
	returned bigint;
BEGIN
	IF $1 IS NULL OR after_seq IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'batch and after_seq of batch_changes() must not be null';
	END IF;
	IF max_rows IS NOT NULL THEN
		PERFORM clinic_sync.require_max_rows(max_rows);
	END IF;
	IF $1 < 1 THEN
		RAISE EXCEPTION USING ERRCODE = 'CS010',
			MESSAGE = format('there is no batch %s', $1),
			HINT = 'The view clinic_sync.batches lists the batches.';
	END IF;
	EXECUTE format('SELECT b.id, b.changes, b.segments, b.snapshot, b.id || ''-'' || b.nonce AS cursor,
			(SELECT a.snapshot FROM clinic_sync.batch a WHERE a.id = %1$s - 1) AS before
		FROM clinic_sync.batch b WHERE b.id = %1$s', $1) INTO this;
	IF $1 <= (SELECT h.floor_batch FROM clinic_sync.history h) THEN
		RAISE EXCEPTION USING ERRCODE = 'CS011',
			MESSAGE = format('the changes of batch %s are pruned', $1),
			HINT = 'Start from a new snapshot.';
	ELSIF this.id IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'CS010',
			MESSAGE = format('there is no batch %s in this database''s history', $1),
			HINT = 'The view clinic_sync.batches lists the batches.';
	END IF;
	-- without the detours of read_query(): a batch asked for here may have millions of rows
	RETURN QUERY EXECUTE format('SELECT l.seq, n.event, n.name, clinic_sync.operation_word(l.op), l.key, l.data, l.origin
		FROM clinic_sync.batch_ranges($1, $2) r CROSS JOIN LATERAL (%s) l
		LEFT JOIN clinic_sync.wire_name n ON n.id = l.publication
		WHERE l.seq > $3 ORDER BY l.seq LIMIT $4', clinic_sync.segment_query(this.segments))
		USING this.before, this.snapshot, after_seq, max_rows;
	GET DIAGNOSTICS returned = ROW_COUNT;
	IF after_seq <= 0 AND returned <> least(this.changes, max_rows) THEN
		PERFORM clinic_sync.raise_refusal('log_incomplete', this.cursor);
	END IF;
EXCEPTION
	WHEN undefined_table THEN
		RAISE EXCEPTION USING ERRCODE = 'CS011',
			MESSAGE = format('the changes of batch %s are pruned', $1),
			HINT = 'Start from a new snapshot.';
END
$$;
COMMENT ON FUNCTION clinic_sync.batch_changes(bigint, bigint, int) IS
	'changes of one batch in order, after a seq, at most max_rows';

CREATE FUNCTION clinic_sync.feed(after text, max_rows int)
	RETURNS TABLE (batch bigint, cursor text, created_at text, seq bigint, event text, relation text, operation text,
		key text, data text, origin text)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
	part record;
	refusal text := clinic_sync.check_cursor(after);
BEGIN
	PERFORM clinic_sync.require_max_rows(max_rows);
	IF refusal = 'ok' THEN
		part := clinic_sync.plan_read(split_part(after, '-', 1)::bigint, max_rows);
		IF part.first_batch IS NULL THEN
			RETURN;
		END IF;
		RETURN QUERY EXECUTE CASE WHEN part.first_changes > max_rows
			THEN clinic_sync.giant_query(part.first_batch)
			ELSE clinic_sync.read_query(part.first_batch, part.last_batch, part.segments) || clinic_sync.feed_query() END;
		RETURN;
	END IF;
	RETURN QUERY SELECT NULL::bigint, after, NULL, NULL::bigint, NULL, NULL, 'refused', NULL, refusal, NULL;
EXCEPTION
	WHEN undefined_table THEN	-- pruned while we looked
		RETURN QUERY SELECT NULL::bigint, after, NULL, NULL::bigint, NULL, NULL, 'refused', NULL, 'too_old', NULL;
END
$$;
COMMENT ON FUNCTION clinic_sync.feed(text, int) IS
	'for relays: changes after a cursor with a closing row for each batch; refusals come as a row';

CREATE FUNCTION clinic_sync.resync_names(publications int[]) RETURNS text
	LANGUAGE sql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	RETURN (SELECT string_agg(DISTINCT n.name, ',' ORDER BY n.name)
		FROM clinic_sync.wire_name n WHERE n.id = ANY (publications));
COMMENT ON FUNCTION clinic_sync.resync_names(int[]) IS 'internal: comma list of tables to fetch anew';

/* What feed() appends to read_query(): the rows, the closing rows, or one refusal. */
CREATE FUNCTION clinic_sync.feed_query() RETURNS text
	LANGUAGE sql IMMUTABLE
	RETURN '
	SELECT f.* FROM (
		SELECT c.id, c.cursor, c.created_at, c.seq, n.event, n.name, clinic_sync.operation_word(c.op), c.key, c.data, c.origin
		FROM c LEFT JOIN clinic_sync.wire_name n ON n.id = c.publication
		UNION ALL
		SELECT b.id, b.cursor, b.created_at, NULL, CASE WHEN b.resync IS NOT NULL THEN ''resync'' END,
			clinic_sync.resync_names(b.resync), ''batch'', CASE WHEN b.boundary THEN ''boundary'' END, b.changes::text, NULL
		FROM b) f
	WHERE NOT (SELECT bad.bad FROM bad)
	UNION ALL
	SELECT NULL, NULL, NULL, NULL, NULL, NULL, ''refused'', NULL, ''log_incomplete'', NULL FROM bad WHERE bad.bad
	ORDER BY 1, 4 NULLS LAST';
COMMENT ON FUNCTION clinic_sync.feed_query() IS 'internal: tail of the statement of feed()';

CREATE FUNCTION clinic_sync.giant_query(batch bigint) RETURNS text
	LANGUAGE sql IMMUTABLE
	RETURN format('SELECT b.id, b.id || ''-'' || b.nonce, clinic_sync.utc_text(b.created_at), NULL::bigint,
			CASE WHEN b.resync IS NOT NULL THEN ''resync'' END, clinic_sync.resync_names(b.resync), ''giant'',
			CASE WHEN b.boundary THEN ''boundary'' END, b.changes::text, NULL::text
		FROM clinic_sync.batch b WHERE b.id = %s', batch);
COMMENT ON FUNCTION clinic_sync.giant_query(bigint) IS 'internal: statement of feed() for a batch over max_rows';
