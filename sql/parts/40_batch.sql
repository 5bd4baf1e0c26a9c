/*
 * Batches.  Batch k is the set of log rows visible in snapshot S(k) and not in
 * S(k-1); extension/batch_ranges.c says how that is found, batch_cut.c how it
 * is cut.  Here is what is rarely done: segments of the log and partitions of
 * clinic_sync.batch that come and go, and a new history.
 */

/* Creates the table of a new segment and makes it the current one. */
CREATE FUNCTION clinic_sync.new_segment() RETURNS int
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET client_min_messages = warning
AS $$
DECLARE
	new_id int := (SELECT coalesce(max(s.id), 0) + 1 FROM clinic_sync.segment s);
	log_table text := format('clinic_sync.change_log_%s', new_id);
BEGIN
	EXECUTE format('CREATE TABLE %s (
		seq bigint NOT NULL, xid xid8 NOT NULL, publication int NOT NULL,
		op "char" NOT NULL, head boolean NOT NULL, key text, data text, origin text) WITH (fillfactor = 100)', log_table);
	-- rows over 2 kB are compressed by whoever writes them: lz4 takes a third of the time, if the server has it
	IF EXISTS (SELECT FROM pg_settings s WHERE s.name = 'default_toast_compression' AND 'lz4' = ANY (s.enumvals)) THEN
		EXECUTE format('ALTER TABLE %s ALTER data SET COMPRESSION lz4', log_table);
	END IF;
	-- a transaction's first row on each page; extension/log_row.c
	EXECUTE format('CREATE INDEX change_log_%s_xid ON %s (xid) WHERE head', new_id, log_table);
	EXECUTE format('REVOKE ALL ON TABLE %s FROM PUBLIC', log_table);
	PERFORM clinic_sync.own_table(log_table::regclass);
	UPDATE clinic_sync.segment s SET state = 'closed', closed_at = clock_timestamp() WHERE s.state = 'current';
	INSERT INTO clinic_sync.segment (id, state) VALUES (new_id, 'current');
	PERFORM clinic_sync.forget_caches();
	RETURN new_id;
END
$$;
COMMENT ON FUNCTION clinic_sync.new_segment() IS 'internal: starts a new segment of the change log';

/* Makes a table a member of the extension, so that DROP EXTENSION takes it and pg_dump does not. */
CREATE FUNCTION clinic_sync.own_table(relation regclass) RETURNS void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- while CREATE EXTENSION runs it is one already
	IF NOT EXISTS (SELECT FROM pg_depend d
		WHERE d.classid = 'pg_class'::regclass AND d.objid = relation AND d.deptype = 'e')
	THEN
		EXECUTE format('ALTER EXTENSION clinic_sync ADD TABLE %s', relation);
	END IF;
END
$$;
COMMENT ON FUNCTION clinic_sync.own_table(regclass) IS 'internal: makes a table a member of the extension';

CREATE FUNCTION clinic_sync.drop_segment(segment int) RETURNS void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format('ALTER EXTENSION clinic_sync DROP TABLE clinic_sync.change_log_%s', segment);
	EXECUTE format('DROP TABLE clinic_sync.change_log_%s', segment);
	DELETE FROM clinic_sync.segment s WHERE s.id = segment;
END
$$;
COMMENT ON FUNCTION clinic_sync.drop_segment(int) IS 'internal: drops a segment whose table this transaction has locked';

/*
 * Seals closed segments: once no open transaction has rows in a segment, its
 * highest xid is final.  Needs a snapshot taken after the lock, hence only in
 * READ COMMITTED.
 */
CREATE FUNCTION clinic_sync.seal_closed() RETURNS int
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	closed int;
	highest xid8;
	done int := 0;
BEGIN
	FOR closed IN SELECT s.id FROM clinic_sync.segment s WHERE s.state = 'closed' ORDER BY s.id LOOP
		IF clinic_sync.seal_segment(closed) THEN
			EXECUTE format('SELECT l.xid FROM clinic_sync.change_log_%s l WHERE l.head ORDER BY l.xid DESC LIMIT 1', closed)
				INTO highest;
			UPDATE clinic_sync.segment s
			SET state = 'sealed', max_xid = coalesce(highest, '0'), sealed_by = pg_current_xact_id()
			WHERE s.id = closed;
			done := done + 1;
		END IF;
	END LOOP;
	RETURN done;
END
$$;
COMMENT ON FUNCTION clinic_sync.seal_closed() IS 'internal: seals closed segments that no open transaction has rows in';

/* Rotates when the current segment is full or old or was written anew, and seals what can be sealed. */
CREATE FUNCTION clinic_sync.tend_segments() RETURNS void
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	now_current clinic_sync.segment;
	log_table regclass;
BEGIN
	-- seal first: a segment closed in this very transaction may still be written to
	PERFORM clinic_sync.seal_closed();
	SELECT s.* INTO now_current FROM clinic_sync.segment s WHERE s.state = 'current';
	log_table := format('clinic_sync.change_log_%s', now_current.id)::regclass;
	IF pg_relation_size(log_table) > 0 AND (
			pg_relation_filenode(log_table) <> log_table::oid
			OR pg_relation_size(log_table) >= clinic_sync.setting_bytes('clinic_sync.log_segment_bytes')
			OR now_current.created_at < clock_timestamp() - clinic_sync.setting_interval('clinic_sync.retention') / 8)
	THEN
		PERFORM clinic_sync.new_segment();
	END IF;
END
$$;
COMMENT ON FUNCTION clinic_sync.tend_segments() IS 'internal: rotates and seals segments of the change log';

/* The partition after the one in use, made long before it is needed. */
CREATE FUNCTION clinic_sync.extend_batch(batch bigint) RETURNS void
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET client_min_messages = warning
AS $$
DECLARE
	step CONSTANT bigint := 100000;
	lowest bigint := batch / step * step;
	new_table text := format('clinic_sync.batch_%s', lowest + step);
BEGIN
	UPDATE clinic_sync.history SET batch_from = lowest;
	IF to_regclass(new_table) IS NULL THEN
		-- ATTACH, unlike CREATE ... PARTITION OF, lets readers of batch go on
		EXECUTE format('CREATE TABLE %s (LIKE clinic_sync.batch INCLUDING ALL)', new_table);
		EXECUTE format('REVOKE ALL ON TABLE %s FROM PUBLIC', new_table);
		EXECUTE format('ALTER TABLE clinic_sync.batch ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)',
			new_table, lowest + step, lowest + 2 * step);
		PERFORM clinic_sync.own_table(new_table::regclass);
	END IF;
END
$$;
COMMENT ON FUNCTION clinic_sync.extend_batch(bigint) IS 'internal: creates the next partition of clinic_sync.batch';

CREATE FUNCTION clinic_sync.last_batch(OUT id bigint, OUT snapshot pg_snapshot, OUT nonce text, OUT created_at timestamptz)
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'clinic_sync_last_batch';
COMMENT ON FUNCTION clinic_sync.last_batch() IS 'internal: the newest batch';

/*
 * The change log ran over log_hard_bytes with nobody batching and capture
 * stopped logging: what is in the log is not whole.  A new history starts, but
 * only after every transaction that skipped a change is over, which sealing
 * the segments proves.  Returns true when it started.
 */
CREATE FUNCTION clinic_sync.start_new_history() RETURNS boolean
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	old int;
	next_batch bigint := coalesce((SELECT b.id FROM clinic_sync.last_batch() b), 0) + 1;
BEGIN
	FOR old IN SELECT s.id FROM clinic_sync.segment s WHERE s.state <> 'current' ORDER BY s.id LOOP
		IF NOT clinic_sync.seal_segment(old) THEN
			CONTINUE;
		END IF;
		DELETE FROM clinic_sync.log_lost l WHERE l.segment = old;
		-- a reader may be at it: then prune() drops it later
		IF clinic_sync.try_lock_segment(old) THEN
			PERFORM clinic_sync.drop_segment(old);
		END IF;
	END LOOP;
	-- not while one waits already, or a long transaction would make us begin segments for ever
	IF EXISTS (SELECT FROM clinic_sync.log_lost l JOIN clinic_sync.segment s ON s.id = l.segment WHERE s.state = 'current')
		AND NOT EXISTS (SELECT FROM clinic_sync.log_lost l JOIN clinic_sync.segment s ON s.id = l.segment WHERE s.state <> 'current')
	THEN
		PERFORM clinic_sync.new_segment();
	END IF;
	-- old cursors are refused from now on, whether all segments could go or not
	UPDATE clinic_sync.history h
	SET floor_batch = next_batch, floor_reason = 'log_overflow', floor_at = clock_timestamp(),
		new_histories = h.new_histories + (h.floor_batch <> next_batch OR h.floor_reason <> 'log_overflow')::int
	WHERE h.floor_batch <> next_batch OR h.floor_reason <> 'log_overflow';
	RETURN NOT EXISTS (SELECT FROM clinic_sync.log_lost);
END
$$;
COMMENT ON FUNCTION clinic_sync.start_new_history() IS
	'internal: after the log overflowed, drops it and lets cursors begin with the next batch';

CREATE FUNCTION clinic_sync.make_batch(boundary boolean DEFAULT false,
		OUT cursor text, OUT batch bigint, OUT changes bigint)
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'clinic_sync_make_batch';
COMMENT ON FUNCTION clinic_sync.make_batch(boolean) IS
	'cuts a batch of everything committed since the last one; NULLs when there is nothing; boundary => true always cuts';

CREATE FUNCTION clinic_sync.cut_digest(relation regclass, columns name[],
		OUT cursor text, OUT batch bigint, OUT changes bigint, OUT rows bigint, OUT hash text)
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'clinic_sync_cut_digest';
COMMENT ON FUNCTION clinic_sync.cut_digest(regclass, name[]) IS
	'internal: make_batch(true) with, in the batch''s snapshot, the digest of a table';

CREATE FUNCTION clinic_sync.current_cursor() RETURNS text
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'clinic_sync_current_cursor';
COMMENT ON FUNCTION clinic_sync.current_cursor() IS 'cursor of the last batch; NULL when none was cut yet';

SELECT clinic_sync.new_segment();
