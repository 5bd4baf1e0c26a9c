/*
 * Batches.  Batch k is the set of log rows visible in snapshot S(k) and not in
 * S(k-1).  With snapshots of PostgreSQL that is a set of transaction numbers:
 * those from xmax(k-1) up to xmax(k) without the ones still open in S(k), and
 * the ones open in S(k-1) that are finished in S(k).  batch_ranges() gives it
 * as ranges, so that an index on xid finds the rows and the rows of an open
 * transaction are never looked at.
 */
CREATE FUNCTION clinic_sync.batch_ranges(before pg_snapshot, after pg_snapshot)
	RETURNS TABLE (lo xid8, hi xid8)
	LANGUAGE sql STABLE ROWS 2
BEGIN ATOMIC
	SELECT gap.lo::text::xid8, gap.hi::text::xid8
	FROM (
		SELECT coalesce(lag(stop.x) OVER (ORDER BY stop.x) + 1,
				coalesce(pg_snapshot_xmax(before)::text::bigint, 0)) AS lo,
			stop.x AS hi
		FROM (
			SELECT open.x::text::bigint AS x FROM pg_snapshot_xip(after) open(x)
			WHERE before IS NULL OR open.x >= pg_snapshot_xmax(before)
			UNION ALL SELECT pg_snapshot_xmax(after)::text::bigint
		) stop
	) gap
	WHERE gap.lo < gap.hi
	UNION ALL
	SELECT late.x, (late.x::text::bigint + 1)::text::xid8
	FROM pg_snapshot_xip(before) late(x)
	WHERE pg_visible_in_snapshot(late.x, after);
END;
COMMENT ON FUNCTION clinic_sync.batch_ranges(pg_snapshot, pg_snapshot) IS
	'internal: the transactions visible in one snapshot and not in an earlier one, as ranges lo <= xid < hi';

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
		op "char" NOT NULL, key text, data text, origin text) WITH (fillfactor = 100)', log_table);
	EXECUTE format('CREATE INDEX change_log_%s_xid ON %s (xid)', new_id, log_table);
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
			EXECUTE format('SELECT l.xid FROM clinic_sync.change_log_%s l ORDER BY l.xid DESC LIMIT 1', closed)
				INTO highest;
			UPDATE clinic_sync.segment s SET state = 'sealed', max_xid = coalesce(highest, '0') WHERE s.id = closed;
			done := done + 1;
		END IF;
	END LOOP;
	RETURN done;
END
$$;
COMMENT ON FUNCTION clinic_sync.seal_closed() IS 'internal: seals closed segments that no open transaction has rows in';

/* Rotates when the current segment is full or old, and seals what can be sealed. */
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
			pg_relation_size(log_table) >= clinic_sync.setting_bytes('clinic_sync.log_segment_bytes')
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

/*
 * The last batch.  The condition on id is a constant, so that the planner
 * looks at one or two partitions however many there are.
 */
CREATE FUNCTION clinic_sync.last_batch(OUT id bigint, OUT snapshot pg_snapshot, OUT nonce text, OUT created_at timestamptz)
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format('SELECT b.id, b.snapshot, b.nonce, b.created_at FROM clinic_sync.batch b
		WHERE b.id >= %s ORDER BY b.id DESC LIMIT 1',
		(SELECT greatest(h.batch_from - 1, 0) FROM clinic_sync.history h))
		INTO id, snapshot, nonce, created_at;
END
$$;
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

/*
 * Cuts a batch, in the order that makes it right: the lock, then the snapshot,
 * then the batch row, whose xid so lies beyond the snapshot.  Commands in
 * between see the same snapshot only in one statement, hence one statement
 * takes the snapshot, counts the rows and, if asked, makes a table's digest.
 * JIT is off here and in the readers: the planner cannot know how few rows a
 * range of xids has, and compiling would take longer than reading.
 */
CREATE FUNCTION clinic_sync.cut_batch(boundary boolean, digest_of regclass, digest_columns name[],
		OUT cursor text, OUT batch bigint, OUT changes bigint, OUT rows bigint, OUT hash text)
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	read_committed CONSTANT boolean := current_setting('transaction_isolation') = 'read committed';
	before record;
	cut record;
	new_nonce text;
BEGIN
	IF boundary IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'argument of make_batch() must not be null';
	END IF;
	IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'active_sql_transaction',
			MESSAGE = 'a batch cannot be cut in a transaction that has written',
			DETAIL = 'It would hold or leave out the transaction''s own changes by chance.',
			HINT = 'Commit first and call make_batch() on its own.';
	END IF;
	IF current_setting('synchronous_commit') = ANY ('{off,local,remote_write}'::text[]) THEN
		PERFORM set_config('synchronous_commit', 'on', true);
	END IF;
	PERFORM set_config('lock_timeout', '1s', true),
		set_config('idle_in_transaction_session_timeout', '5s', true);
	IF read_committed THEN
		LOCK TABLE clinic_sync.batch_lock IN EXCLUSIVE MODE;
	ELSIF NOT EXISTS (SELECT FROM pg_locks l
		WHERE l.pid = pg_backend_pid() AND l.relation = 'clinic_sync.batch_lock'::regclass
			AND l.locktype = 'relation' AND l.mode = 'ExclusiveLock' AND l.granted
			AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
	THEN
		RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = 'in this isolation level the batcher''s lock must be held before the snapshot is taken',
			HINT = 'Begin the transaction with LOCK TABLE clinic_sync.batch_lock IN EXCLUSIVE MODE.';
	END IF;

	-- TRUNCATE does not obey snapshots: none may come between the snapshot and the scan
	IF digest_of IS NOT NULL AND read_committed THEN
		EXECUTE format('LOCK TABLE %s IN ACCESS SHARE MODE', digest_of);
	END IF;

	SELECT b.id, b.snapshot INTO before FROM clinic_sync.last_batch() b;
	EXECUTE clinic_sync.cut_query(before.snapshot, digest_of IS NOT NULL)
		USING before.snapshot, digest_of, digest_columns INTO cut;

	IF cut.lost THEN
		-- only where a later statement sees what was committed meanwhile
		IF read_committed THEN
			PERFORM clinic_sync.start_new_history();
		END IF;
		RETURN;
	END IF;
	-- a floor above the last batch refuses every cursor there is: an empty batch gives a good one
	IF cut.changes = 0 AND NOT boundary AND cut.floor_batch <= coalesce(before.id, 0) THEN
		RETURN;
	END IF;

	new_nonce := clinic_sync.new_nonce();
	INSERT INTO clinic_sync.batch AS b (id, snapshot, nonce, changes, first_seq, last_seq, segments, boundary, resync)
	VALUES (coalesce(before.id, 0) + 1, cut.snapshot, new_nonce, cut.changes, cut.first_seq, cut.last_seq,
		coalesce(cut.segments, '{}'), boundary, cut.resync)
	-- with an old snapshot in REPEATABLE READ this is a serialization failure, not a second batch of that number
	ON CONFLICT (id) DO NOTHING
	RETURNING b.id INTO batch;
	IF batch % 100000 = 1 THEN
		PERFORM clinic_sync.extend_batch(batch);
	END IF;
	cursor := batch || '-' || new_nonce;
	changes := cut.changes;
	rows := cut.rows;
	hash := cut.hash;
	IF read_committed THEN
		PERFORM clinic_sync.tend_segments();
	END IF;
END
$$;
COMMENT ON FUNCTION clinic_sync.cut_batch(boolean, regclass, name[]) IS
	'internal: make_batch() with, in the batch''s snapshot, the digest of a table';

/* 64 random bits: of a version 4 UUID the first 12 hex digits are free of fixed bits. */
CREATE FUNCTION clinic_sync.new_nonce() RETURNS text
	LANGUAGE sql VOLATILE
	RETURN left(replace(gen_random_uuid()::text, '-', ''), 12) || left(gen_random_uuid()::text, 4);
COMMENT ON FUNCTION clinic_sync.new_nonce() IS 'internal: 16 random hex digits';

/*
 * The statement that takes the snapshot.  It reads the segments that can hold
 * rows of the batch: all that are not sealed, and sealed ones that reach the
 * oldest transaction open in the last snapshot.
 */
CREATE FUNCTION clinic_sync.cut_query(before pg_snapshot, with_digest boolean) RETURNS text
	LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT 'WITH s AS MATERIALIZED (SELECT pg_catalog.pg_current_snapshot() AS snapshot),
	r AS MATERIALIZED (SELECT r.* FROM s, clinic_sync.batch_ranges($1, s.snapshot) r),
	n AS MATERIALIZED (' || string_agg(format(
		'SELECT %1$s AS segment, count(*) AS changes, min(l.seq) AS first_seq, max(l.seq) AS last_seq,
			array_agg(DISTINCT l.publication) FILTER (WHERE l.op = ''r'') AS resync
		FROM r JOIN clinic_sync.change_log_%1$s l ON l.xid >= r.lo AND l.xid < r.hi', g.id), ' UNION ALL ' ORDER BY g.id)
	|| ') SELECT s.snapshot, t.*, d.*, EXISTS (SELECT FROM clinic_sync.log_lost) AS lost,
		(SELECT h.floor_batch FROM clinic_sync.history h) AS floor_batch
	FROM s,
		(SELECT sum(n.changes)::bigint AS changes, min(n.first_seq) AS first_seq, max(n.last_seq) AS last_seq,
			array_agg(n.segment ORDER BY n.segment) FILTER (WHERE n.changes > 0) AS segments,
			(SELECT array_agg(DISTINCT x.p) FROM n m, unnest(m.resync) x(p)) AS resync FROM n) t,
		' || CASE WHEN with_digest
			THEN 'clinic_sync.digest_scan($2, $3) d'
			ELSE '(SELECT NULL::bigint AS rows, NULL::text AS hash WHERE $2 IS NULL AND $3 IS NULL) d' END
	FROM clinic_sync.segment g
	WHERE g.state <> 'sealed' OR g.max_xid >= pg_snapshot_xmin(before) OR before IS NULL;
END;
COMMENT ON FUNCTION clinic_sync.cut_query(pg_snapshot, boolean) IS 'internal: the statement by which cut_batch() counts';

CREATE FUNCTION clinic_sync.make_batch(boundary boolean DEFAULT false,
		OUT cursor text, OUT batch bigint, OUT changes bigint)
	LANGUAGE sql VOLATILE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT b.cursor, b.batch, b.changes FROM clinic_sync.cut_batch(boundary, NULL, NULL) b;
END;
COMMENT ON FUNCTION clinic_sync.make_batch(boolean) IS
	'cuts a batch of everything committed since the last one; NULLs when there is nothing; boundary => true always cuts';

CREATE FUNCTION clinic_sync.current_cursor() RETURNS text
	LANGUAGE sql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	RETURN (SELECT b.id || '-' || b.nonce FROM clinic_sync.last_batch() b WHERE b.id IS NOT NULL);
COMMENT ON FUNCTION clinic_sync.current_cursor() IS 'cursor of the last batch; NULL when none was cut yet';

SELECT clinic_sync.new_segment();
