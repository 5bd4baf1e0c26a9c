/*
 * Pruning.  The floor f is the oldest batch whose cursor is still served: all
 * changes after batch f are there.  A sealed segment may go when its highest
 * xid is below the xmin of some S(f), for then all its transactions are
 * visible in S(f) and its rows belong to batches up to f.  Segments go whole,
 * by DROP, and only when nobody uses them: pruning waits for nobody and nobody
 * waits for it.
 */

/* The oldest batch that needs no row of a segment with this highest xid; NULL if every batch may. */
CREATE FUNCTION clinic_sync.floor_without(max_xid xid8) RETURNS bigint
	LANGUAGE sql STABLE
	RETURN (SELECT b.id FROM clinic_sync.batch b
		WHERE b.id >= (SELECT h.floor_batch FROM clinic_sync.history h)
			AND pg_snapshot_xmin(b.snapshot) > max_xid
		ORDER BY b.id LIMIT 1);
COMMENT ON FUNCTION clinic_sync.floor_without(xid8) IS 'internal: what the floor would be without a segment';

CREATE FUNCTION clinic_sync.log_bytes() RETURNS bigint
	LANGUAGE sql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	RETURN (SELECT coalesce(sum(pg_total_relation_size(to_regclass('clinic_sync.change_log_' || s.id))), 0)::bigint
		FROM clinic_sync.segment s);
COMMENT ON FUNCTION clinic_sync.log_bytes() IS 'size of the change log, all segments with index and TOAST';

CREATE FUNCTION clinic_sync.prune(retention interval DEFAULT NULL, max_bytes bigint DEFAULT NULL,
		OUT dropped_segments int, OUT floor_batch bigint)
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '1s'
AS $$
DECLARE
	keep_since timestamptz := clock_timestamp() - coalesce(retention, clinic_sync.setting_interval('clinic_sync.retention'));
	bytes_left bigint := coalesce(max_bytes, clinic_sync.setting_bytes('clinic_sync.log_max_bytes'));
	next_batch bigint;
	old record;
	floor bigint;
	new_floor bigint;
	reason text;
BEGIN
	IF retention < interval '0' OR max_bytes < 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'retention and max_bytes must not be negative';
	END IF;
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION USING ERRCODE = 'active_sql_transaction',
			MESSAGE = 'prune() needs a transaction in READ COMMITTED',
			DETAIL = 'With an older snapshot it could drop what it does not see.';
	END IF;
	LOCK TABLE clinic_sync.batch_lock IN EXCLUSIVE MODE;
	PERFORM clinic_sync.tend_segments();
	next_batch := coalesce((SELECT b.id FROM clinic_sync.last_batch() b), 0) + 1;
	bytes_left := bytes_left - clinic_sync.log_bytes();
	dropped_segments := 0;

	FOR old IN SELECT s.id, s.max_xid, s.closed_at FROM clinic_sync.segment s WHERE s.state = 'sealed' ORDER BY s.id LOOP
		-- floor_without() reads batches: only for segments that are due
		CONTINUE WHEN old.closed_at >= keep_since AND bytes_left >= 0;
		floor := clinic_sync.floor_without(old.max_xid);
		IF bytes_left < 0 THEN
			reason := CASE WHEN floor IS NULL THEN 'forced' ELSE 'size' END;
		ELSIF (SELECT b.created_at FROM clinic_sync.batch b WHERE b.id = floor) < keep_since THEN
			reason := 'retention';
		ELSE
			CONTINUE;
		END IF;
		CONTINUE WHEN NOT clinic_sync.try_lock_segment(old.id);
		bytes_left := bytes_left + pg_total_relation_size(to_regclass('clinic_sync.change_log_' || old.id));
		PERFORM clinic_sync.drop_segment(old.id);
		dropped_segments := dropped_segments + 1;
		new_floor := coalesce(floor, next_batch);
		UPDATE clinic_sync.history h
		SET pruned_segments = h.pruned_segments + 1,
			forced_prunes = h.forced_prunes + (reason = 'forced')::int,
			floor_reason = CASE WHEN new_floor > h.floor_batch THEN reason ELSE h.floor_reason END,
			floor_at = CASE WHEN new_floor > h.floor_batch THEN clock_timestamp() ELSE h.floor_at END,
			floor_batch = greatest(h.floor_batch, new_floor);
	END LOOP;

	SELECT h.floor_batch INTO floor_batch FROM clinic_sync.history h;
	PERFORM clinic_sync.prune_small(floor_batch);
END
$$;
COMMENT ON FUNCTION clinic_sync.prune(interval, bigint) IS
	'drops segments of the change log that are older than the retention or over the size limit; never waits for a reader';

/* Batches, names and report rows that nothing needs any more. */
CREATE FUNCTION clinic_sync.prune_small(floor bigint) RETURNS void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	part record;
BEGIN
	FOR part IN
		SELECT i.inhrelid::regclass AS relid
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'clinic_sync.batch'::regclass
			AND substring(c.relname from '^batch_(\d+)$')::bigint + 100000 <=
				least(floor, (SELECT h.batch_from FROM clinic_sync.history h))
		ORDER BY c.oid
	LOOP
		BEGIN
			LOCK TABLE clinic_sync.batch IN ACCESS EXCLUSIVE MODE NOWAIT;
			EXECUTE format('ALTER EXTENSION clinic_sync DROP TABLE %s', part.relid);
			EXECUTE format('DROP TABLE %s', part.relid);
		EXCEPTION
			WHEN lock_not_available THEN
				EXIT;	-- somebody reads: next time
		END;
	END LOOP;
	-- batches after the floor name it if its end was not yet committed at the floor
	DELETE FROM clinic_sync.retired r
	WHERE pg_visible_in_snapshot(r.retired_by, (SELECT b.snapshot FROM clinic_sync.batch b WHERE b.id = floor));
	-- also by number: nobody who asks in a loop fills the disk
	DELETE FROM clinic_sync.sync_request r
	WHERE r.requested_at < clock_timestamp() - clinic_sync.setting_interval('clinic_sync.sync_request_keep')
		OR r.id <= (SELECT x.id FROM clinic_sync.sync_request x ORDER BY x.id DESC OFFSET 1000 LIMIT 1);
	DELETE FROM clinic_sync.relay r WHERE r.reported_at < clock_timestamp() - interval '1 day';
	DELETE FROM clinic_sync.device d WHERE d.seen_at < clock_timestamp() - interval '90 days';
END
$$;
COMMENT ON FUNCTION clinic_sync.prune_small(bigint) IS
	'internal: drops partitions of batch below the floor and rows of names, requests, relays and devices that are long gone';
