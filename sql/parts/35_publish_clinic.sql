/*
 * The clinic's thirteen tables.  All checks first, then one table per
 * transaction, so that no clinical write waits for more than one lock and for
 * none longer than two seconds: an INSERT queues behind a waiting CREATE
 * TRIGGER.
 */
CREATE FUNCTION clinic_sync.clinic_tables()
	RETURNS TABLE (place int, name name, event text, excluded name[])
	LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
	SELECT v.place, v.name::name, v.event, v.excluded::name[]
	FROM (VALUES
		(1, 'users', 'user_data_change_immediate', '{password,securityAnswer1,securityAnswer2,securityAnswer3}'),
		(2, 'patients', 'patient_data_change_immediate', '{}'),
		(3, 'clinic_services', 'data_change_immediate', '{}'),
		(4, 'appointments', 'data_change_immediate', '{}'),
		(5, 'medical_records', 'patient_data_change_immediate', '{}'),
		(6, 'user_sessions', 'data_change_immediate', '{sessionToken,lastActivity}'),
		(7, 'active_patient_queue', 'data_change_immediate', '{}'),
		(8, 'patient_history', 'patient_data_change_immediate', '{}'),
		(9, 'patient_bills', 'billing_change_immediate', '{}'),
		(10, 'bill_items', 'billing_change_immediate', '{}'),
		(11, 'payments', 'billing_change_immediate', '{}'),
		(12, 'user_activity_log', 'user_data_change_immediate', '{}'),
		(13, 'patient_queue', 'data_change_immediate', '{}')) v(place, name, event, excluded);
END;
COMMENT ON FUNCTION clinic_sync.clinic_tables() IS
	'the thirteen tables of publish_clinic(), their events and excluded columns';

/* Error with every problem of all thirteen tables; a table that is published already is none. */
CREATE FUNCTION clinic_sync.check_clinic(schema name) RETURNS void
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	problems text;
BEGIN
	IF schema IS NULL OR NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = schema) THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_schema_name',
			MESSAGE = format('schema %I does not exist', coalesce(schema, 'NULL')),
			HINT = 'Name the schema that holds the clinic''s tables.';
	END IF;
	SELECT string_agg(format('%I.%I: %s', schema, t.name, x.problem), E'\n' ORDER BY t.place) INTO problems
	FROM clinic_sync.clinic_tables() t
	LEFT JOIN pg_class c ON c.relnamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = schema) AND c.relname = t.name
	CROSS JOIN LATERAL (
		SELECT 'it does not exist' AS problem WHERE c.oid IS NULL
		UNION ALL
		SELECT format('it belongs to %s', c.relowner::regrole)
		WHERE NOT pg_has_role(clinic_sync.caller(), c.relowner, 'USAGE')
		UNION ALL
		SELECT p.problem FROM clinic_sync.publish_problems(c.oid, t.event, t.excluded) p
		WHERE c.oid IS NOT NULL AND p.code <> '42710'
	) x;
	IF problems IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = 'the clinic''s tables cannot be published',
			DETAIL = problems,
			HINT = 'Nothing was changed. sql/clinic_schema.sql creates the tables for a new server; clinic_sync.publish() publishes single tables.';
	END IF;
END
$$;
COMMENT ON FUNCTION clinic_sync.check_clinic(name) IS 'internal: checks all thirteen tables before publish_clinic() changes anything';

/*
 * No SET clause, which would forbid COMMIT: the search path is set at the
 * start of each transaction instead, by a call that itself is fully qualified.
 */
CREATE PROCEDURE clinic_sync.publish_clinic(schema name DEFAULT 'public')
	LANGUAGE plpgsql
AS $$
DECLARE
	tries_left int;
	done boolean;
	t record;
	target pg_catalog.regclass;
BEGIN
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	PERFORM clinic_sync.check_clinic(schema);
	IF clinic_sync.in_transaction_block() THEN
		RAISE EXCEPTION USING ERRCODE = 'active_sql_transaction',
			MESSAGE = 'publish_clinic() cannot run inside a transaction block',
			DETAIL = 'It publishes each table in a transaction of its own, so that it never holds the locks of all.',
			HINT = 'Call it without BEGIN, with the driver''s autocommit on; or publish single tables with clinic_sync.publish().';
	END IF;
	-- called by a function this fails, before anything is locked
	COMMIT;
	FOR t IN SELECT c.* FROM clinic_sync.clinic_tables() c ORDER BY c.place LOOP
		tries_left := 30;
		LOOP
			PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
			target := format('%I.%I', schema, t.name)::regclass;
			IF clinic_sync.is_published(target) THEN
				RAISE NOTICE 'table % is published already, skipped', target;
				EXIT;
			END IF;
			BEGIN
				PERFORM clinic_sync.publish(target, t.event, t.excluded);
				done := true;
			EXCEPTION
				WHEN lock_not_available OR deadlock_detected THEN
					done := false;
			END;
			COMMIT;
			EXIT WHEN done;
			tries_left := tries_left - 1;
			IF tries_left = 0 THEN
				RAISE EXCEPTION USING ERRCODE = 'lock_not_available',
					MESSAGE = pg_catalog.format('table %I.%I stays locked', schema, t.name),
					HINT = 'Tables before it are published. Call publish_clinic() again when the long transaction is over.';
			END IF;
			-- writers that queued behind us go first
			PERFORM pg_catalog.pg_sleep(0.5);
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON PROCEDURE clinic_sync.publish_clinic(name) IS
	'publishes the clinic''s thirteen tables, one per transaction; call it outside a transaction block';
