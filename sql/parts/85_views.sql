/*
 * Views: what a DBA asks first.  Tables are read with the owner's rights, but
 * functions in a view run with the reader's: view_functions() at the end lists
 * the ones whoever may read the views must be able to execute.
 */

CREATE VIEW clinic_sync.tables AS
	SELECT p.relation, p.name, p.event, p.schema_version,
		json_array_length(p.schema -> 'columns') AS columns,
		p.excluded,
		(SELECT greatest(sum(c.reltuples), 0)::bigint FROM pg_class c
			WHERE c.oid = p.relation OR c.oid = ANY (p.leaves)) AS estimated_rows,
		t.problem IS NULL AS captured,
		t.problem,
		p.published_at
	FROM clinic_sync.publication p
	CROSS JOIN LATERAL (SELECT string_agg(w.w, '; ') AS problem FROM clinic_sync.why_not_captured(p.relation) w(w)) t;
COMMENT ON VIEW clinic_sync.tables IS 'published tables and whether every change of them is captured';

CREATE VIEW clinic_sync.batches AS
	SELECT b.id, b.id || '-' || b.nonce AS cursor, b.created_at, clock_timestamp() - b.created_at AS age,
		b.changes, b.first_seq, b.last_seq, b.boundary,
		clinic_sync.resync_names(b.resync) AS resync_tables,
		b.segments, pg_snapshot_xmax(b.snapshot) AS xmax,
		(SELECT count(*) FROM pg_snapshot_xip(b.snapshot)) AS open_transactions,
		b.id >= (SELECT h.floor_batch FROM clinic_sync.history h) AS cursor_served
	FROM clinic_sync.batch b;
COMMENT ON VIEW clinic_sync.batches IS 'batches: their cursor, size and age; ask for the newest by id';

CREATE VIEW clinic_sync.relays AS
	SELECT r.id, r.name, r.version, r.pid, r.started_at,
		CASE WHEN r.stopped THEN 'stopped'
			WHEN r.reported_at < clock_timestamp() - interval '30 s' THEN 'lost'
			ELSE 'running' END AS state,
		r.devices, r.cursor,
		l.id - split_part(r.cursor, '-', 1)::bigint AS batches_behind,
		r.queue_bytes, r.reported_at
	FROM clinic_sync.relay r LEFT JOIN clinic_sync.last_batch() l ON true;
COMMENT ON VIEW clinic_sync.relays IS 'relays; lost: no report for 30 s';

CREATE VIEW clinic_sync.devices AS
	SELECT d.id, d.name, d.app_version, d.relay, x.state = 'lost' AS lost,
		CASE WHEN d.connected AND x.state = 'lost' THEN 'lost'
			WHEN NOT d.connected THEN 'disconnected'
			ELSE d.state END AS state,
		d.connected AND x.state <> 'lost' AS connected,
		d.connected_at, d.cursor,
		l.id - split_part(d.cursor, '-', 1)::bigint AS batches_behind,
		CASE WHEN d.cursor IS NOT NULL AND l.id > split_part(d.cursor, '-', 1)::bigint
			THEN clock_timestamp() - (SELECT b.created_at FROM clinic_sync.batch b
				WHERE b.id = split_part(d.cursor, '-', 1)::bigint + 1)
			ELSE interval '0' END AS behind,
		d.queue_bytes, d.seen_at, d.rows, d.proven_at, d.repairs, d.parked
	FROM clinic_sync.device d
	LEFT JOIN clinic_sync.relays r ON r.id = d.relay
	CROSS JOIN LATERAL (SELECT CASE WHEN d.connected AND r.state IS DISTINCT FROM 'running' THEN 'lost' ELSE 'known' END AS state) x
	LEFT JOIN clinic_sync.last_batch() l ON true;
COMMENT ON VIEW clinic_sync.devices IS 'devices: who is connected, how far behind, when last proven equal; lost: its relay does not report';

CREATE VIEW clinic_sync.workers AS
	SELECT d.datname AS database, w.pid, w.state, w.started_at, w.last_cut_at, w.cuts, w.changes,
		w.notifies, w.notifies_skipped, w.errors, w.last_error
	FROM clinic_sync.worker_slots() w LEFT JOIN pg_database d ON d.oid = w.database;
COMMENT ON VIEW clinic_sync.workers IS 'background workers of all databases; none unless clinic_sync is preloaded';

/* Names for a sentence, the first three of them. */
CREATE FUNCTION clinic_sync.some_devices(names text[]) RETURNS text
	LANGUAGE sql IMMUTABLE
	RETURN CASE WHEN cardinality(names) = 1 THEN 'device ' ELSE 'devices ' END || array_to_string(names[:3], ', ')
		|| CASE WHEN cardinality(names) > 3 THEN format(' and %s more', cardinality(names) - 3) ELSE '' END;
COMMENT ON FUNCTION clinic_sync.some_devices(text[]) IS 'internal: a list of devices for a sentence';

/* Everything that is wrong, one sentence each. */
CREATE FUNCTION clinic_sync.problems() RETURNS SETOF text
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY SELECT format('table %s is not captured: %s', t.relation, t.problem)
		FROM clinic_sync.tables t WHERE NOT t.captured ORDER BY t.name;
	RETURN QUERY SELECT format('event trigger %s is missing or not ENABLE ALWAYS: DDL on published tables goes unseen', w.name)
		FROM unnest('{clinic_sync_ddl_command_end,clinic_sync_sql_drop,clinic_sync_table_rewrite}'::name[]) w(name)
		LEFT JOIN pg_event_trigger e ON e.evtname = w.name
		WHERE e.evtenabled IS DISTINCT FROM 'A' ORDER BY w.name;
	RETURN QUERY SELECT format('trigger %I of table %s sorts before "!clinic_sync": changes it makes are logged in the slower form',
			g.tgname, g.tgrelid::regclass)
		FROM pg_trigger g JOIN clinic_sync.publication p ON p.relation = g.tgrelid
		WHERE NOT g.tgisinternal AND g.tgname::text COLLATE "C" < '!clinic_sync' AND g.tgtype & 67 = 1
		ORDER BY g.tgname;
	RETURN QUERY SELECT 'the change log overflowed and capture stopped: the next batch starts a new history, every device fetches everything anew'
		WHERE EXISTS (SELECT FROM clinic_sync.log_lost);
	RETURN QUERY SELECT format('the change log holds %s, over clinic_sync.log_max_bytes: an open transaction or nobody pruning keeps it',
			pg_size_pretty(clinic_sync.log_bytes()))
		WHERE clinic_sync.log_bytes() > clinic_sync.setting_bytes('clinic_sync.log_max_bytes') * 5 / 4;
	PERFORM clinic_sync.notify_mode();	-- loads the module: its settings are known
	RETURN QUERY SELECT format('the NOTIFY queue is %s %% full: a listening session does not read it (no notification is sent, relays poll)',
			round(pg_notification_queue_usage()::numeric * 100, 1))
		WHERE pg_notification_queue_usage() > current_setting('clinic_sync.notify_queue_limit')::float8;
	RETURN QUERY SELECT 'clinic_sync.notify is worker and acts as commit: the server has not preloaded clinic_sync'
		WHERE current_setting('clinic_sync.notify') = 'worker'
			AND current_setting('shared_preload_libraries') !~ '(^|[^a-z_])clinic_sync($|[^a-z_])';
	RETURN QUERY SELECT format('clinic_sync.notify is worker and acts as commit: all %s workers are taken (clinic_sync.worker_max)',
			current_setting('clinic_sync.worker_max'))
		WHERE current_setting('clinic_sync.notify') = 'worker' AND clinic_sync.notify_mode() = 'commit'
			AND (SELECT count(*) FROM clinic_sync.worker_slots()) >= current_setting('clinic_sync.worker_max')::int;
	RETURN QUERY SELECT format('the background worker is %s: %s', w.state, w.last_error)
		FROM clinic_sync.workers w
		WHERE w.database = current_database() AND w.state IN ('waiting', 'failing') AND w.last_error IS NOT NULL;
	RETURN QUERY SELECT format('%s had to repair tables in the last 24 hours: their rows differed from the server''s',
			clinic_sync.some_devices(array_agg(d.id || coalesce(' (' || nullif(d.name, '') || ')', '') ORDER BY d.id)))
		FROM clinic_sync.device d WHERE d.repaired_at > clock_timestamp() - interval '24 hours' HAVING count(*) > 0;
	RETURN QUERY SELECT format('%s cannot hold %s rows: their own constraints refuse them, clinic_cache_parked in the file says why',
			clinic_sync.some_devices(array_agg(d.id || coalesce(' (' || nullif(d.name, '') || ')', '') ORDER BY d.id)), sum(d.parked))
		FROM clinic_sync.device d WHERE d.parked > 0 AND (d.connected OR d.seen_at > clock_timestamp() - interval '24 hours') HAVING count(*) > 0;
	-- of those that ask for proofs at all; one that has just come was not proved yet
	RETURN QUERY SELECT format('%s asked for proofs and had none for an hour: the relay''s log says why, or they were switched off',
			clinic_sync.some_devices(array_agg(d.id || coalesce(' (' || nullif(d.name, '') || ')', '') ORDER BY d.id)))
		FROM clinic_sync.device d JOIN clinic_sync.relays r ON r.id = d.relay
		WHERE d.connected AND r.state = 'running' AND d.repairs IS NOT NULL
			AND greatest(d.proven_at, d.connected_at) < clock_timestamp() - interval '1 hour' HAVING count(*) > 0;
	RETURN QUERY SELECT 'no relay is running' WHERE NOT EXISTS (SELECT FROM clinic_sync.relays r WHERE r.state = 'running');
	-- one that was started again under its name is found, not lost
	RETURN QUERY SELECT format('relay %s was lost at %s', r.name, r.reported_at) FROM clinic_sync.relays r
		WHERE r.state = 'lost' AND NOT EXISTS (SELECT FROM clinic_sync.relays n
			WHERE n.name = r.name AND n.state = 'running' AND n.started_at > r.started_at)
		ORDER BY r.name;
END
$$;
COMMENT ON FUNCTION clinic_sync.problems() IS 'everything that does not work, one sentence a row';

CREATE VIEW clinic_sync.status AS
	SELECT clinic_sync.version() AS version,
		(SELECT count(*) FROM clinic_sync.tables) AS tables,
		(SELECT count(*) FROM clinic_sync.tables t WHERE t.captured) AS tables_captured,
		(SELECT count(*) FROM clinic_sync.devices d WHERE d.connected) AS active_connections,
		(SELECT count(*) FROM clinic_sync.relays r WHERE r.state = 'running') AS relays,
		l.id AS last_batch,
		l.id || '-' || l.nonce AS cursor,
		l.created_at AS last_batch_at,
		clock_timestamp() - l.created_at AS last_batch_age,
		h.floor_batch, h.floor_reason, h.floor_at,
		(SELECT count(*) FROM clinic_sync.segment) AS log_segments,
		clinic_sync.log_bytes() AS log_bytes,
		clinic_sync.setting_bytes('clinic_sync.log_max_bytes') AS log_max_bytes,
		clinic_sync.setting_bytes('clinic_sync.log_hard_bytes') AS log_hard_bytes,
		EXISTS (SELECT FROM clinic_sync.log_lost) AS capture_stopped,
		clinic_sync.notify_mode() AS notify,
		w.pid AS worker_pid, w.notifies_skipped,
		pg_notification_queue_usage() AS notify_queue_usage,
		h.new_histories, h.forced_prunes, h.pruned_segments, h.started_at,
		ARRAY(SELECT p FROM clinic_sync.problems() p) AS problems
	FROM clinic_sync.history h
	LEFT JOIN clinic_sync.last_batch() l ON true
	LEFT JOIN clinic_sync.workers w ON w.database = current_database();
COMMENT ON VIEW clinic_sync.status IS 'one row: is it all right, what is published, how far is the log, who is connected';

CREATE FUNCTION clinic_sync.view_functions() RETURNS regprocedure[]
	LANGUAGE sql STABLE
	RETURN ARRAY[
		'clinic_sync.version()'::regprocedure,
		'clinic_sync.why_not_captured(regclass)',
		'clinic_sync.problems()',
		'clinic_sync.last_batch()',
		'clinic_sync.resync_names(integer[])',
		'clinic_sync.log_bytes()',
		'clinic_sync.notify_mode()',
		'clinic_sync.worker_slots()',
		'clinic_sync.setting_bytes(text)'];
COMMENT ON FUNCTION clinic_sync.view_functions() IS 'internal: functions that the views call';
