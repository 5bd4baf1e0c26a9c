/*
 * Publishing: the capture triggers, and the rows `s` (schema) and `r` (resync)
 * by which devices learn of it.
 */

CREATE FUNCTION clinic_sync.is_published(relation regclass) RETURNS boolean
	LANGUAGE sql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	RETURN EXISTS (SELECT FROM clinic_sync.publication p WHERE p.relation = $1);
COMMENT ON FUNCTION clinic_sync.is_published(regclass) IS 'whether a table is published';

CREATE FUNCTION clinic_sync.require_published(relation regclass) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	root regclass := pg_partition_root(relation);
BEGIN
	IF EXISTS (SELECT FROM clinic_sync.publication p WHERE p.relation = require_published.relation) THEN
		RETURN;
	END IF;
	RAISE EXCEPTION USING ERRCODE = 'undefined_object',
		MESSAGE = format('table %s is not published', coalesce(relation::text, 'NULL')),
		HINT = CASE WHEN EXISTS (SELECT FROM clinic_sync.publication p WHERE p.relation = root)
			THEN format('Name the partitioned table %s.', root)
			ELSE 'The view clinic_sync.tables lists what is.' END;
END
$$;
COMMENT ON FUNCTION clinic_sync.require_published(regclass) IS 'internal: error unless the table is published';

/* Partitions at every level, without the table itself. */
CREATE FUNCTION clinic_sync.partitions(relation regclass) RETURNS regclass[]
	LANGUAGE sql STABLE
	RETURN (SELECT coalesce(array_agg(t.relid ORDER BY t.relid), '{}')
		FROM pg_partition_tree(relation) t WHERE t.level > 0);
COMMENT ON FUNCTION clinic_sync.partitions(regclass) IS 'internal: all partitions of a table';

CREATE FUNCTION clinic_sync.has_rows(relation regclass) RETURNS boolean
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
	SET row_security = off
AS $$
DECLARE
	found_row boolean;
BEGIN
	EXECUTE format('SELECT EXISTS (SELECT FROM %s)', relation) INTO found_row;
	-- an old snapshot can miss rows: then say yes
	RETURN found_row OR current_setting('transaction_isolation') <> 'read committed';
END
$$;
COMMENT ON FUNCTION clinic_sync.has_rows(regclass) IS 'internal: false only if the table is surely empty';

/*
 * Triggers that a published table and its partitions should have, and how they
 * are.  Row triggers of partitions are clones that PostgreSQL makes and drops
 * itself; TRUNCATE triggers are not inherited, each partition gets its own.
 */
CREATE FUNCTION clinic_sync.capture_triggers(root regclass)
	RETURNS TABLE (relation regclass, trigger name, cloned boolean, enabled "char")
	LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT m.relid, w.name, w.name = '!clinic_sync' AND m.relid <> root, g.tgenabled
	FROM (SELECT root AS relid UNION SELECT t.relid FROM pg_partition_tree(root) t) m
	CROSS JOIN (VALUES ('!clinic_sync'::name, 'clinic_sync.capture_row()'::regprocedure),
		('!clinic_sync_truncate', 'clinic_sync.capture_truncate()')) w(name, function)
	LEFT JOIN pg_trigger g ON g.tgrelid = m.relid AND g.tgname = w.name AND g.tgfoid = w.function
	WHERE EXISTS (SELECT FROM pg_class c WHERE c.oid = root);
END;
COMMENT ON FUNCTION clinic_sync.capture_triggers(regclass) IS
	'internal: the capture triggers a published table should have; enabled is NULL where one is missing';

/*
 * Creates missing triggers (if asked) and enables those that are not ENABLE
 * ALWAYS; returns how many.  A renamed trigger goes when its successor is made,
 * or each change would be logged twice.  One ALTER TABLE for all of a table's triggers, or
 * our own event trigger would find the second one not yet enabled.
 */
CREATE FUNCTION clinic_sync.set_triggers(root regclass, create_missing boolean) RETURNS int
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
	SET client_min_messages = warning
AS $$
DECLARE
	t record;
	done int := 0;
BEGIN
	IF create_missing THEN
		FOR t IN
			SELECT * FROM clinic_sync.capture_triggers(root) c
			WHERE c.enabled IS NULL AND NOT c.cloned ORDER BY c.relation, c.trigger
		LOOP
			EXECUTE format(CASE t.trigger
				WHEN '!clinic_sync' THEN 'CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s
					FOR EACH ROW EXECUTE FUNCTION clinic_sync.capture_row()'
				ELSE 'CREATE TRIGGER %I AFTER TRUNCATE ON %s
					FOR EACH STATEMENT EXECUTE FUNCTION clinic_sync.capture_truncate()' END, t.trigger, t.relation);
		END LOOP;
		PERFORM clinic_sync.drop_triggers(root, '{!clinic_sync,!clinic_sync_truncate}');
	END IF;
	FOR t IN
		SELECT c.relation, string_agg(format('ENABLE ALWAYS TRIGGER %I', c.trigger), ', ') AS actions, count(*)::int AS number
		FROM clinic_sync.capture_triggers(root) c
		WHERE c.enabled <> 'A' GROUP BY c.relation ORDER BY c.relation
	LOOP
		EXECUTE format('ALTER TABLE ONLY %s %s', t.relation, t.actions);
		done := done + t.number;
	END LOOP;
	RETURN done;
END
$$;
COMMENT ON FUNCTION clinic_sync.set_triggers(regclass, boolean) IS
	'internal: creates and enables the capture triggers of a table';

CREATE FUNCTION clinic_sync.drop_triggers(relation regclass, but_named name[] DEFAULT '{}') RETURNS void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	t record;
BEGIN
	FOR t IN
		SELECT g.tgname, g.tgrelid::regclass AS relid
		FROM pg_trigger g
		WHERE g.tgrelid IN (SELECT relation UNION SELECT x.relid FROM pg_partition_tree(relation) x)
			AND g.tgfoid IN ('clinic_sync.capture_row()'::regprocedure, 'clinic_sync.capture_truncate()'::regprocedure)
			AND g.tgparentid = 0 AND g.tgname <> ALL (but_named)
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, t.relid);
	END LOOP;
END
$$;
COMMENT ON FUNCTION clinic_sync.drop_triggers(regclass, name[]) IS 'internal: drops the capture triggers of a table and its partitions';

CREATE FUNCTION clinic_sync.publish(relation regclass, event text DEFAULT 'data_change_immediate',
		exclude_columns name[] DEFAULT '{}') RETURNS void
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '2s'
AS $$
DECLARE
	new_id int;
	filled boolean;
	object json;
BEGIN
	IF relation IS NULL OR event IS NULL OR exclude_columns IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'arguments of publish() must not be null';
	END IF;
	PERFORM clinic_sync.require_owner(relation);
	PERFORM clinic_sync.refuse_problems(relation, event, exclude_columns);
	-- what CREATE TRIGGER takes; once it is held nothing checked here can change
	EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', relation);
	PERFORM clinic_sync.require_owner(relation);
	PERFORM clinic_sync.refuse_problems(relation, event, exclude_columns);

	-- triggers first: until the publication is there our event triggers do not look at them
	PERFORM clinic_sync.set_triggers(relation, true);
	object := clinic_sync.schema_object(relation, event, exclude_columns, 1);
	INSERT INTO clinic_sync.publication (relation, event, excluded, schema_version, schema, leaves, name)
	VALUES (relation, event, exclude_columns, 1, object, clinic_sync.partitions(relation), object ->> 'table')
	RETURNING id INTO new_id;
	PERFORM clinic_sync.grant_columns(new_id);
	PERFORM clinic_sync.forget_caches();

	-- devices cannot be told the rows that are there already: they fetch a snapshot
	filled := clinic_sync.has_rows(relation);
	IF filled THEN
		PERFORM clinic_sync.log_append(new_id, 'r', NULL, NULL);
	ELSE
		PERFORM clinic_sync.log_append(new_id, 's', NULL, object::text);
	END IF;

	IF (SELECT c.relrowsecurity FROM pg_class c WHERE c.oid = relation) THEN
		RAISE NOTICE USING MESSAGE = format('table %s has row-level security', relation),
			DETAIL = 'Devices get all its rows; snapshots are read with row_security off.',
			HINT = 'The relay''s role needs BYPASSRLS.';
	END IF;
END
$$;
COMMENT ON FUNCTION clinic_sync.publish(regclass, text, name[]) IS
	'publishes a table: every change of its rows reaches the devices, under this event, without the excluded columns';

/* Ends a publication; its name stays for the batches that hold its changes. */
CREATE FUNCTION clinic_sync.retire(publication int) RETURNS void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM clinic_sync.log_append(publication, 'r', NULL, NULL);
	INSERT INTO clinic_sync.retired (id, name, event)
	SELECT p.id, p.name, p.event FROM clinic_sync.publication p WHERE p.id = publication;
	DELETE FROM clinic_sync.publication p WHERE p.id = publication;
	PERFORM clinic_sync.forget_caches();
END
$$;
COMMENT ON FUNCTION clinic_sync.retire(int) IS 'internal: ends a publication and tells the devices';

CREATE FUNCTION clinic_sync.unpublish(relation regclass) RETURNS void
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '2s'
AS $$
DECLARE
	old clinic_sync.publication;
BEGIN
	IF relation IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'argument of unpublish() must not be null';
	END IF;
	PERFORM clinic_sync.require_owner(relation);
	PERFORM clinic_sync.require_published(relation);
	SELECT p.* INTO old FROM clinic_sync.publication p WHERE p.relation = unpublish.relation;
	EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', relation);
	PERFORM clinic_sync.revoke_columns(old.id);
	PERFORM clinic_sync.retire(old.id);
	PERFORM clinic_sync.drop_triggers(relation);
END
$$;
COMMENT ON FUNCTION clinic_sync.unpublish(regclass) IS
	'stops publishing a table; devices drop it with their next snapshot';
