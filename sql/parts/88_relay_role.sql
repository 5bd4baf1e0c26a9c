/*
 * Rights of relays.  A relay's role owns nothing and may do exactly what is
 * listed here: execute relay_functions(), read the published columns, take the
 * batcher's lock, read the view status.
 */

/* Keeps the column rights of relay roles equal to what is published. */
CREATE FUNCTION clinic_sync.grant_columns(publication int) RETURNS void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	g record;
BEGIN
	FOR g IN
		SELECT p.relation, c.relnamespace::regnamespace AS namespace, r.role,
			x.columns, x.readable
		FROM clinic_sync.publication p
		JOIN pg_class c ON c.oid = p.relation
		CROSS JOIN clinic_sync.relay_role r
		JOIN pg_roles o ON o.rolname = r.role
		CROSS JOIN LATERAL (
			SELECT string_agg(quote_ident(y.name), ', ') AS columns,
				bool_and(has_column_privilege(o.oid, p.relation, y.attnum, 'SELECT')) AS readable
			FROM clinic_sync.published_columns(p.relation, p.excluded) y) x
		WHERE p.id = publication
	LOOP
		IF NOT has_schema_privilege(g.role, g.namespace, 'USAGE') THEN
			EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', g.namespace, g.role);
		END IF;
		IF NOT g.readable THEN
			EXECUTE format('GRANT SELECT (%s) ON TABLE %s TO %I', g.columns, g.relation, g.role);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION clinic_sync.grant_columns(int) IS 'internal: lets relay roles read a published table';

CREATE FUNCTION clinic_sync.revoke_columns(publication int, only_role name DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	g record;
BEGIN
	FOR g IN
		SELECT p.relation, r.role,
			(SELECT string_agg(quote_ident(x.name), ', ') FROM clinic_sync.published_columns(p.relation, '{}') x) AS columns
		FROM clinic_sync.publication p
		JOIN pg_class c ON c.oid = p.relation
		CROSS JOIN clinic_sync.relay_role r
		WHERE p.id = publication AND (only_role IS NULL OR r.role = only_role)
			AND EXISTS (SELECT FROM pg_roles x WHERE x.rolname = r.role)
	LOOP
		EXECUTE format('REVOKE SELECT (%s) ON TABLE %s FROM %I', g.columns, g.relation, g.role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION clinic_sync.revoke_columns(int, name) IS 'internal: takes the right of relay roles to read a table';

/* Functions and views a relay uses: the only list of them. */
CREATE FUNCTION clinic_sync.relay_functions() RETURNS regprocedure[]
	LANGUAGE sql STABLE
	RETURN ARRAY[
		'clinic_sync.make_batch(boolean)'::regprocedure,
		'clinic_sync.feed(text, integer)',
		'clinic_sync.changes(text, integer)',
		'clinic_sync.batch_changes(bigint, bigint, integer)',
		'clinic_sync.check_cursor(text)',
		'clinic_sync.current_cursor()',
		'clinic_sync.warm_cursor(integer)',
		'clinic_sync.prune(interval, bigint)',
		'clinic_sync.repair()',
		'clinic_sync.snapshot_tables()',
		'clinic_sync.table_digest(regclass, name[])',
		'clinic_sync.digest_scan(regclass, name[])',
		'clinic_sync.row_hashes(regclass, name[])',
		'clinic_sync.digest_slices(regclass, name[], text[], text[])',
		'clinic_sync.slice_bounds(regclass, integer)',
		'clinic_sync.exact_count(regclass)',
		'clinic_sync.hold_tables(regclass[])',
		'clinic_sync.canon(anyelement)',
		'clinic_sync.raw_bytes("any")',
		'clinic_sync.row_is_held(regclass, record)',
		'clinic_sync.relay_report(jsonb, jsonb)',
		'clinic_sync.relay_goodbye(text)',
		'clinic_sync.sync_requests(bigint)',
		'clinic_sync.version()'];
COMMENT ON FUNCTION clinic_sync.relay_functions() IS 'internal: what a relay''s role may execute';

CREATE FUNCTION clinic_sync.grant_relay(role name) RETURNS void
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '2s'
AS $$
DECLARE
	f regprocedure;
BEGIN
	IF role IS NULL OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role) THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object',
			MESSAGE = format('role %I does not exist', coalesce(role, 'NULL')),
			HINT = 'Create it first: CREATE ROLE ... LOGIN.';
	END IF;
	EXECUTE format('GRANT USAGE ON SCHEMA clinic_sync TO %I', role);
	-- UPDATE of a table without columns and rows changes nothing, but it is what LOCK asks for
	EXECUTE format('GRANT UPDATE ON TABLE clinic_sync.batch_lock TO %I', role);
	EXECUTE format('GRANT SELECT ON TABLE clinic_sync.status TO %I', role);
	FOREACH f IN ARRAY clinic_sync.relay_functions() || clinic_sync.view_functions() LOOP
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', f, role);
	END LOOP;
	INSERT INTO clinic_sync.relay_role AS r (role) VALUES (grant_relay.role) ON CONFLICT ON CONSTRAINT relay_role_pkey DO NOTHING;
	PERFORM clinic_sync.grant_columns(p.id) FROM clinic_sync.publication p;
END
$$;
COMMENT ON FUNCTION clinic_sync.grant_relay(name) IS
	'gives a role exactly what a relay needs; follows publish() and DDL from then on';

CREATE FUNCTION clinic_sync.revoke_relay(role name) RETURNS void
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '2s'
AS $$
DECLARE
	f regprocedure;
BEGIN
	IF NOT EXISTS (SELECT FROM clinic_sync.relay_role r WHERE r.role = revoke_relay.role) THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object',
			MESSAGE = format('role %I is not a relay', coalesce(role, 'NULL')),
			HINT = 'Only roles given to grant_relay() can be revoked.';
	END IF;
	IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role) THEN
		PERFORM clinic_sync.revoke_columns(p.id, revoke_relay.role) FROM clinic_sync.publication p;
		FOREACH f IN ARRAY clinic_sync.relay_functions() || clinic_sync.view_functions() LOOP
			EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %I', f, role);
		END LOOP;
		EXECUTE format('REVOKE ALL ON TABLE clinic_sync.status, clinic_sync.batch_lock FROM %I', role);
		EXECUTE format('REVOKE USAGE ON SCHEMA clinic_sync FROM %I', role);
	END IF;
	DELETE FROM clinic_sync.relay_role r WHERE r.role = revoke_relay.role;
END
$$;
COMMENT ON FUNCTION clinic_sync.revoke_relay(name) IS
	'takes back what grant_relay() gave; USAGE on the tables'' schemas stays';
