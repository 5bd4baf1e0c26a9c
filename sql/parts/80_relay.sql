/*
 * What relays use besides batches: the tables for a snapshot, digests, and the
 * report about themselves and their devices.
 */

/*
 * The text of a value in a snapshot.  Readers pin the settings, so the type's
 * own output is canonical but for timestamps (the app's form, with T) and
 * booleans (true, where COPY writes t).
 */
CREATE FUNCTION clinic_sync.snapshot_column(name name, type oid) RETURNS text
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	base oid := type;
BEGIN
	WHILE (SELECT t.typtype FROM pg_type t WHERE t.oid = base) = 'd' LOOP
		base := (SELECT t.typbasetype FROM pg_type t WHERE t.oid = base);
	END LOOP;
	RETURN CASE
		WHEN base = ANY ('{timestamp,timestamptz}'::regtype[]) THEN format('clinic_sync.canon(%1$I::%2$s) AS %1$I', name, base::regtype)
		WHEN base = 'boolean'::regtype THEN format('%1$I::text AS %1$I', name)
		ELSE quote_ident(name) END;
END
$$;
COMMENT ON FUNCTION clinic_sync.snapshot_column(name, oid) IS 'internal: SQL of a column in a snapshot query';

/*
 * SQL of the bytes of a row's columns, or of those whose text is unbounded;
 * NULL when there is none that can be long. A call takes at most 100 arguments.
 */
CREATE FUNCTION clinic_sync.row_bytes_sql(relation regclass, excluded name[], unbounded_only boolean) RETURNS text
	LANGUAGE sql STABLE
	RETURN (SELECT string_agg(g.call, ' + ' ORDER BY g.part) FROM (
		SELECT x.part, 'clinic_sync.raw_bytes(' || string_agg(quote_ident(x.name), ', ' ORDER BY x.attnum) || ')' AS call
		FROM (
			SELECT c.name, c.attnum, (row_number() OVER (ORDER BY c.attnum) - 1) / 50 AS part
			FROM clinic_sync.published_columns(relation, excluded) c
			JOIN pg_type t ON t.oid = c.type
			WHERE t.typlen = -1 AND (NOT unbounded_only OR clinic_sync.text_is_unbounded(c.type))) x
		GROUP BY x.part) g);
COMMENT ON FUNCTION clinic_sync.row_bytes_sql(regclass, name[], boolean) IS 'internal: SQL of a row''s size';

/*
 * SQL condition of the rows that devices hold; NULL when they hold every row.
 * Only rows with more than 8 kB in columns whose text can be far longer than
 * the value (UNBOUNDED_SAFE_BYTES of row_image.c) must be printed to know.
 */
CREATE FUNCTION clinic_sync.held_sql(relation regclass, excluded name[], max_row_bytes bigint) RETURNS text
	LANGUAGE sql STABLE
	RETURN (SELECT CASE WHEN b.unbounded IS NULL THEN b.total || ' <= ' || max_row_bytes
			ELSE format('CASE WHEN %s > %s THEN false WHEN %s <= 8192 THEN true ELSE clinic_sync.row_is_held(%L::pg_catalog.regclass, ROW(%s)) END',
				b.total, max_row_bytes, b.unbounded, relation::text,
				(SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.attnum) FROM clinic_sync.published_columns(relation, excluded) c)) END
		FROM (SELECT clinic_sync.row_bytes_sql(relation, excluded, false) AS total,
			clinic_sync.row_bytes_sql(relation, excluded, true) AS unbounded) b);
COMMENT ON FUNCTION clinic_sync.held_sql(regclass, name[], bigint) IS 'internal: SQL condition of the rows that devices hold';

/* SQL of a row's key object, as capture writes it. */
CREATE FUNCTION clinic_sync.key_sql(relation regclass) RETURNS text
	LANGUAGE sql STABLE
	RETURN (SELECT '''{' || string_agg(
			replace(to_json(k.name)::text, '''', '''''') || ':'' || ' || CASE
				WHEN clinic_sync.type_class(k.type, k.typmod) = ANY ('{boolean,integer}'::text[])
				THEN format('clinic_sync.canon(%I)', k.name)
				ELSE format('pg_catalog.to_json(clinic_sync.canon(%I))::text', k.name) END,
			' || '',' ORDER BY k.place) || ' || ''}'''
		FROM clinic_sync.key_columns(relation) k);
COMMENT ON FUNCTION clinic_sync.key_sql(regclass) IS 'internal: SQL of a row''s key object';

CREATE FUNCTION clinic_sync.snapshot_tables()
	RETURNS TABLE (publication int, relation regclass, name text, event text, schema json, query text, oversize_query text)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	max_row_bytes bigint := clinic_sync.setting_bytes('clinic_sync.max_row_bytes');
BEGIN
	RETURN QUERY
		SELECT p.id, p.relation, p.name, p.event, p.schema,
			format('SELECT %s FROM %s', c.list, p.relation)
				|| coalesce(' WHERE ' || b.held, ''),
			format('SELECT %s FROM %s WHERE NOT (', clinic_sync.key_sql(p.relation), p.relation) || b.held || ')'
		FROM clinic_sync.publication p
		CROSS JOIN LATERAL (
			SELECT string_agg(clinic_sync.snapshot_column(x.name, x.type), ', ' ORDER BY x.attnum) AS list
			FROM clinic_sync.published_columns(p.relation, p.excluded) x) c
		CROSS JOIN LATERAL (SELECT clinic_sync.held_sql(p.relation, p.excluded, max_row_bytes) AS held) b
		WHERE EXISTS (SELECT FROM pg_class k WHERE k.oid = p.relation)
		ORDER BY p.id;
END
$$;
COMMENT ON FUNCTION clinic_sync.snapshot_tables() IS
	'published tables with the query that reads each for a snapshot and one for the keys of rows that devices do not hold';

/*
 * A digest and the batch it belongs to.  When the table did not change since
 * the last batch, a plain scan gives it and nothing is locked or written.
 * Otherwise a batch is cut and the scan made in its snapshot; then no other
 * batch can be cut until the scan is over.
 */
CREATE FUNCTION clinic_sync.table_digest(relation regclass, columns name[] DEFAULT NULL,
		OUT cursor text, OUT rows bigint, OUT hash text)
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	pub int := (SELECT p.id FROM clinic_sync.publication p WHERE p.relation = table_digest.relation);
	last record;
BEGIN
	PERFORM clinic_sync.require_published(relation);
	SELECT b.id, b.snapshot, b.nonce INTO last FROM clinic_sync.last_batch() b;
	IF last.id IS NOT NULL AND NOT clinic_sync.changed_between(pub, last.snapshot, pg_current_snapshot()) THEN
		SELECT d.rows, d.hash INTO rows, hash FROM clinic_sync.digest_scan(relation, columns) d;
		-- a newer snapshot: the scan may have waited for a TRUNCATE that its own does not see
		IF NOT clinic_sync.changed_between(pub, last.snapshot, pg_current_snapshot()) THEN
			cursor := last.id || '-' || last.nonce;
			RETURN;
		END IF;
	END IF;
	SELECT c.cursor, c.rows, c.hash INTO cursor, rows, hash
	FROM clinic_sync.cut_digest(relation, columns) c;
	IF cursor IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'CS012',
			MESSAGE = 'no batch can be cut: the change log overflowed and a new history begins',
			HINT = 'Try again.';
	END IF;
END
$$;
COMMENT ON FUNCTION clinic_sync.table_digest(regclass, name[]) IS
	'row count and digest of a published table, and the cursor of the batch at which they are true';

CREATE FUNCTION clinic_sync.relay_report(relay jsonb, devices jsonb) RETURNS void
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '1s'
	SET synchronous_commit = off
AS $$
DECLARE
	-- the views read the batch from a cursor: what is none is not kept
	cursor_form CONSTANT text := '^[1-9][0-9]{0,17}-[0-9a-f]{16}$';
	relay_id text := relay ->> 'id';
BEGIN
	IF relay_id IS NULL OR length(relay_id) > 128 OR jsonb_typeof(devices) <> 'array' THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'relay_report() needs a relay object with an id of at most 128 characters and an array of devices or NULL';
	END IF;
	INSERT INTO clinic_sync.relay AS r (id, name, version, pid, started_at, devices, cursor, queue_bytes, stopped, reported_at)
	VALUES (relay_id, left(coalesce(relay ->> 'name', ''), 128), left(coalesce(relay ->> 'version', ''), 64),
		(relay ->> 'pid')::int, (relay ->> 'started_at')::timestamptz, coalesce((relay ->> 'devices')::int, 0),
		substring(relay ->> 'cursor' from cursor_form), coalesce((relay ->> 'queue_bytes')::bigint, 0), false, clock_timestamp())
	ON CONFLICT (id) DO UPDATE SET (name, version, pid, started_at, devices, cursor, queue_bytes, stopped, reported_at) =
		(excluded.name, excluded.version, excluded.pid, excluded.started_at, excluded.devices, excluded.cursor,
		excluded.queue_bytes, false, excluded.reported_at);

	IF devices IS NULL THEN
		RETURN;
	END IF;
	-- rows of devices that stand still are not written again: their relay's row tells that it lives
	INSERT INTO clinic_sync.device AS d (id, name, app_version, relay, connected, connected_at, cursor, state, queue_bytes, seen_at,
		rows, proven_at, repairs, repaired_at, parked)
	SELECT DISTINCT ON (left(x.id, 64)) left(x.id, 64), left(coalesce(x.name, ''), 128), left(coalesce(x.app_version, ''), 128), relay_id,
		coalesce(x.connected, true), x.connected_at, substring(x.cursor from cursor_form), left(coalesce(x.state, ''), 32),
		coalesce(x.queue_bytes, 0), clock_timestamp(), x.rows, x.proven_at, x.repairs,
		CASE WHEN x.repairs > 0 THEN clock_timestamp() END, x.parked
	FROM jsonb_to_recordset(devices) x(id text, name text, app_version text, connected boolean,
		connected_at timestamptz, cursor text, state text, queue_bytes bigint,
		rows bigint, proven_at timestamptz, repairs bigint, parked bigint)
	WHERE x.id IS NOT NULL
	ORDER BY left(x.id, 64)
	-- what it did not say yet since it connected stays as it was
	ON CONFLICT (id) DO UPDATE SET (name, app_version, relay, connected, connected_at, cursor, state, queue_bytes, seen_at,
			rows, proven_at, repairs, repaired_at, parked) =
		(excluded.name, excluded.app_version, excluded.relay, excluded.connected, excluded.connected_at, excluded.cursor,
		excluded.state, excluded.queue_bytes, excluded.seen_at,
		coalesce(excluded.rows, d.rows), coalesce(excluded.proven_at, d.proven_at), coalesce(excluded.repairs, d.repairs),
		CASE WHEN excluded.repairs > coalesce(d.repairs, 0) THEN excluded.repaired_at ELSE d.repaired_at END,
		coalesce(excluded.parked, d.parked))
	WHERE (d.name, d.app_version, d.relay, d.connected, d.connected_at, d.cursor, d.state, d.queue_bytes)
			IS DISTINCT FROM (excluded.name, excluded.app_version, excluded.relay, excluded.connected, excluded.connected_at,
				excluded.cursor, excluded.state, excluded.queue_bytes)
		OR (d.rows, d.proven_at, d.repairs, d.parked) IS DISTINCT FROM (coalesce(excluded.rows, d.rows),
			coalesce(excluded.proven_at, d.proven_at), coalesce(excluded.repairs, d.repairs), coalesce(excluded.parked, d.parked))
		OR d.seen_at < clock_timestamp() - interval '1 hour';

	UPDATE clinic_sync.device d SET connected = false, queue_bytes = 0, state = 'disconnected', seen_at = clock_timestamp()
	WHERE d.relay = relay_id AND d.connected
		AND NOT EXISTS (SELECT FROM jsonb_array_elements(devices) x WHERE left(x ->> 'id', 64) = d.id);
END
$$;
COMMENT ON FUNCTION clinic_sync.relay_report(jsonb, jsonb) IS
	'a relay''s report about itself and its devices, every few seconds; NULL leaves the devices as they are';

CREATE FUNCTION clinic_sync.relay_goodbye(relay_id text) RETURNS void
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '1s'
	SET synchronous_commit = off
AS $$
BEGIN
	UPDATE clinic_sync.relay r SET stopped = true, devices = 0, queue_bytes = 0, reported_at = clock_timestamp()
	WHERE r.id = relay_id;
	UPDATE clinic_sync.device d SET connected = false, queue_bytes = 0, state = 'disconnected', seen_at = clock_timestamp()
	WHERE d.relay = relay_id AND d.connected;
END
$$;
COMMENT ON FUNCTION clinic_sync.relay_goodbye(text) IS 'a relay goes down on purpose';
