/*
 * Requests for a sync, from SQL.  A request is a row; relays read those after
 * the last they know, at the doorbell and every second, and tell the devices
 * meant.
 *
 * Ids must become visible in their own order, or a relay would skip one that
 * commits late: they are given out under a lock that is held until the commit.
 * They are milliseconds since 1970 (or the last one plus 1), so that none comes
 * twice, also where an older dump was restored: devices remember the last id
 * that they did, requests are not dumped.
 */

/* What a request's tables are called on the wire; NULL stays NULL: all. */
CREATE FUNCTION clinic_sync.request_names(relations regclass[]) RETURNS text[]
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF cardinality(relations) = 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'the list of tables is empty',
			HINT = 'NULL means all published tables.';
	END IF;
	PERFORM clinic_sync.require_published(r) FROM unnest(relations) r;
	RETURN (SELECT array_agg(p.name ORDER BY p.id) FROM clinic_sync.publication p WHERE p.relation = ANY (relations));
END
$$;
COMMENT ON FUNCTION clinic_sync.request_names(regclass[]) IS 'internal: names of the tables of a request; an error for one that is not published';

CREATE FUNCTION clinic_sync.add_request(kind text, tables text[], device text) RETURNS bigint
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	new_id bigint;
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION USING ERRCODE = 'active_sql_transaction',
			MESSAGE = 'a sync is requested in a transaction in READ COMMITTED',
			DETAIL = 'With an older snapshot the request could get an id that relays have passed already.';
	END IF;
	IF device IS NOT NULL AND NOT EXISTS (SELECT FROM clinic_sync.device d WHERE d.id = device) THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object',
			MESSAGE = 'no such device is known',
			HINT = 'The view clinic_sync.devices lists them by id; NULL means all.';
	END IF;
	-- conflicts with itself only: neither with who reads nor with prune()
	LOCK TABLE clinic_sync.sync_request IN SHARE UPDATE EXCLUSIVE MODE;
	INSERT INTO clinic_sync.sync_request (id, kind, tables, device, requested_by)
	SELECT greatest(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, max(r.id) + 1),
		add_request.kind, add_request.tables, add_request.device, clinic_sync.caller()
	FROM clinic_sync.sync_request r
	RETURNING id INTO new_id;
	-- only a doorbell: without it relays look once a second
	IF clinic_sync.notify_mode() <> 'off' THEN
		PERFORM pg_notify('clinic_sync', '{"event":"sync_requested"}')
		WHERE pg_notification_queue_usage() <= current_setting('clinic_sync.notify_queue_limit')::float8;
	END IF;
	RETURN new_id;
END
$$;
COMMENT ON FUNCTION clinic_sync.add_request(text, text[], text) IS 'internal: writes a request and rings';

CREATE FUNCTION clinic_sync.request_sync(relations regclass[] DEFAULT NULL, device text DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '2s'
AS $$
BEGIN
	RETURN clinic_sync.add_request('sync', clinic_sync.request_names(relations), device);
END
$$;
COMMENT ON FUNCTION clinic_sync.request_sync(regclass[], text) IS
	'makes devices prove tables now and repair what differs; NULL: all tables, all devices';

CREATE FUNCTION clinic_sync.request_patient_data_sync(device text DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '2s'
AS $$
DECLARE
	names text[] := (SELECT array_agg(p.name ORDER BY p.id) FROM clinic_sync.publication p
		WHERE p.event = ANY ('{patient_data_change_immediate,billing_change_immediate}'::text[]));
BEGIN
	IF names IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object',
			MESSAGE = 'no table with patient data is published',
			DETAIL = 'Patient data are the tables of the events patient_data_change_immediate and billing_change_immediate.',
			HINT = 'Give the event to publish(), or name the tables in request_sync().';
	END IF;
	RETURN clinic_sync.add_request('sync', names, device);
END
$$;
COMMENT ON FUNCTION clinic_sync.request_patient_data_sync(text) IS
	'as request_sync() for the tables of patient_data_change_immediate and billing_change_immediate';

CREATE FUNCTION clinic_sync.resync_table(relation regclass) RETURNS bigint
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '2s'
AS $$
BEGIN
	RETURN clinic_sync.add_request('table_sync', clinic_sync.request_names(ARRAY[relation]), NULL);
END
$$;
COMMENT ON FUNCTION clinic_sync.resync_table(regclass) IS 'makes all devices fetch a table anew, whether it differs or not';

CREATE FUNCTION clinic_sync.sync_requests(after bigint DEFAULT 0)
	RETURNS TABLE (id bigint, kind text, tables json, device text, seconds_left float8)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY SELECT r.id, r.kind, to_json(r.tables), r.device, extract(epoch FROM x.remaining)::float8
		FROM clinic_sync.sync_request r
		CROSS JOIN LATERAL (SELECT r.requested_at + clinic_sync.setting_interval('clinic_sync.sync_request_keep')
			- clock_timestamp() AS remaining) x
		WHERE r.id > coalesce(after, 0) AND x.remaining > interval '0'
		ORDER BY r.id LIMIT 1000;
END
$$;
COMMENT ON FUNCTION clinic_sync.sync_requests(bigint) IS 'requests for a sync after an id, in order, at most 1000; for relays';
