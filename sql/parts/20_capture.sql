/* The functions in C.  extension/ says what each does and why. */
CREATE FUNCTION clinic_sync.capture_row() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'clinic_sync_capture_row';
COMMENT ON FUNCTION clinic_sync.capture_row() IS
	'trigger "!clinic_sync" of published tables: writes a row''s change into the change log';

CREATE FUNCTION clinic_sync.capture_truncate() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'clinic_sync_capture_truncate';
COMMENT ON FUNCTION clinic_sync.capture_truncate() IS
	'trigger "!clinic_sync_truncate" of published tables: writes a TRUNCATE into the change log';

CREATE FUNCTION clinic_sync.canon(value anyelement) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'clinic_sync_canon';
COMMENT ON FUNCTION clinic_sync.canon(anyelement) IS
	'canonical text of a value: the form in log, frames, snapshots and digests, whatever the session''s settings';

CREATE FUNCTION clinic_sync.raw_bytes(VARIADIC "any") RETURNS bigint
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'clinic_sync_raw_bytes';
COMMENT ON FUNCTION clinic_sync.raw_bytes("any") IS
	'bytes of the values when uncompressed; a row over clinic_sync.max_row_bytes is not sent to devices';

CREATE FUNCTION clinic_sync.text_is_unbounded(type oid) RETURNS boolean
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'clinic_sync_text_is_unbounded';
COMMENT ON FUNCTION clinic_sync.text_is_unbounded(oid) IS
	'internal: true if the text of a type''s value may be far longer than the value';

CREATE FUNCTION clinic_sync.row_is_held(relation regclass, published_columns record) RETURNS boolean
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'clinic_sync_row_is_held';
COMMENT ON FUNCTION clinic_sync.row_is_held(regclass, record) IS
	'whether devices hold a row, given its published columns; they know others by their key only';

CREATE FUNCTION clinic_sync.digest_scan(relation regclass, columns name[] DEFAULT NULL,
		OUT rows bigint, OUT hash text)
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'clinic_sync_digest_scan';
COMMENT ON FUNCTION clinic_sync.digest_scan(regclass, name[]) IS
	'row count and digest of a published table in the snapshot of the query; table_digest() also names the batch';

CREATE FUNCTION clinic_sync.row_hashes(relation regclass, columns name[] DEFAULT NULL)
	RETURNS TABLE (key text, row_hash text)
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'clinic_sync_row_hashes';
COMMENT ON FUNCTION clinic_sync.row_hashes(regclass, name[]) IS
	'key and hash of each row of a published table in the snapshot of the query';

CREATE FUNCTION clinic_sync.digest_slices(relation regclass, columns name[], after text[], upto text[])
	RETURNS TABLE (slice int, rows bigint, hash text)
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'clinic_sync_digest_slices';
COMMENT ON FUNCTION clinic_sync.digest_slices(regclass, name[], text[], text[]) IS
	'row count and digest of each slice after < key <= upto of a published table in the snapshot of the query';

CREATE FUNCTION clinic_sync.exact_count(relation regclass) RETURNS bigint
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'clinic_sync_exact_count';
COMMENT ON FUNCTION clinic_sync.exact_count(regclass) IS
	'rows of a published table that devices hold, in the snapshot of the query; NULL if it is over clinic_sync.count_max_bytes';

CREATE FUNCTION clinic_sync.hold_tables(relations regclass[]) RETURNS boolean
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'clinic_sync_hold_tables';
COMMENT ON FUNCTION clinic_sync.hold_tables(regclass[]) IS
	'locks published tables for reading until the transaction ends, never waiting; false if one is not free';

CREATE FUNCTION clinic_sync.log_append(publication int, op "char", key text, data text) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'clinic_sync_log_append';
COMMENT ON FUNCTION clinic_sync.log_append(int, "char", text, text) IS
	'internal: writes a schema, resync or ack row into the change log';

CREATE FUNCTION clinic_sync.forget_caches() RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'clinic_sync_forget_caches';
COMMENT ON FUNCTION clinic_sync.forget_caches() IS
	'internal: makes every backend read the publications and the current segment anew';

CREATE FUNCTION clinic_sync.in_transaction_block() RETURNS boolean
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'clinic_sync_in_transaction_block';
COMMENT ON FUNCTION clinic_sync.in_transaction_block() IS
	'internal: true between BEGIN and COMMIT, where a procedure must not commit';

CREATE FUNCTION clinic_sync.seal_segment(segment int) RETURNS boolean
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'clinic_sync_seal_segment';
COMMENT ON FUNCTION clinic_sync.seal_segment(int) IS
	'internal: true if no open transaction has rows in the segment; writers wait until this transaction ends';

CREATE FUNCTION clinic_sync.try_lock_segment(segment int) RETURNS boolean
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'clinic_sync_try_lock_segment';
COMMENT ON FUNCTION clinic_sync.try_lock_segment(int) IS
	'internal: locks the segment''s table for DROP if nobody uses it, never waits';

CREATE FUNCTION clinic_sync.notify_mode() RETURNS text
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'clinic_sync_notify_mode';
COMMENT ON FUNCTION clinic_sync.notify_mode() IS
	'off, commit or worker: what clinic_sync.notify comes to here and now';

CREATE FUNCTION clinic_sync.worker_slots()
	RETURNS TABLE (database oid, pid int, state text, started_at timestamptz, last_cut_at timestamptz, cuts bigint,
		changes bigint, notifies bigint, notifies_skipped bigint, errors bigint, last_error text)
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'clinic_sync_worker_slots';
COMMENT ON FUNCTION clinic_sync.worker_slots() IS 'internal: what the view workers shows, by oid';

/*
 * Settings of the module are known only in a session that loaded it, hence the
 * call of canon() in front.
 */
CREATE FUNCTION clinic_sync.setting_bytes(name text) RETURNS bigint
	LANGUAGE plpgsql STABLE STRICT
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	part text[];
BEGIN
	PERFORM clinic_sync.canon(true);
	part := regexp_match(current_setting(name), '^(\d+)(B|kB|MB|GB|TB)?$');
	RETURN part[1]::bigint * CASE part[2]
		WHEN 'kB' THEN 1024
		WHEN 'MB' THEN 1048576
		WHEN 'GB' THEN 1073741824
		WHEN 'TB' THEN 1099511627776
		ELSE 1 END;
END
$$;
COMMENT ON FUNCTION clinic_sync.setting_bytes(text) IS 'internal: a size setting of clinic_sync in bytes';

CREATE FUNCTION clinic_sync.setting_interval(name text) RETURNS interval
	LANGUAGE plpgsql STABLE STRICT
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM clinic_sync.canon(true);
	RETURN current_setting(name)::interval;
END
$$;
COMMENT ON FUNCTION clinic_sync.setting_interval(text) IS 'internal: a time setting of clinic_sync as an interval';

CREATE FUNCTION clinic_sync.version() RETURNS text
	LANGUAGE sql STABLE
	RETURN (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'clinic_sync');
COMMENT ON FUNCTION clinic_sync.version() IS 'installed version of the extension';
