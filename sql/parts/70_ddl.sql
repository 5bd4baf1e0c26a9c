/*
 * DDL on published tables.  Three event triggers, all ENABLE ALWAYS, compare
 * what is there after a command with what the publication says and log `s`
 * (a new nullable column, which devices just add) or `r` (anything else that
 * changes columns or contents) in the command's own transaction, under the
 * command's lock, so that it is ordered with the changes of rows.
 *
 * They enable capture triggers that were disabled or downgraded but never
 * create missing ones: pg_restore loads the list of publications before the
 * triggers and creates those itself.  repair() creates missing ones.
 */

/*
 * Brings a publication up to date with its table; logs what devices must know.
 * If the command went unseen, changes with new columns may be in the log before.
 */
CREATE FUNCTION clinic_sync.follow_table(publication int, unseen boolean DEFAULT false) RETURNS void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p clinic_sync.publication;
	object json;
	problem record;
	kind text;
BEGIN
	SELECT q.* INTO p FROM clinic_sync.publication q WHERE q.id = follow_table.publication;
	-- no capture trigger at all: pg_restore is at work, or repair() will be
	IF NOT EXISTS (SELECT FROM pg_trigger g
		WHERE g.tgrelid = p.relation AND g.tgfoid = 'clinic_sync.capture_row()'::regprocedure)
	THEN
		RETURN;
	END IF;

	p.excluded := clinic_sync.follow_excluded(p.relation, p.excluded, p.schema);
	FOR problem IN
		SELECT * FROM clinic_sync.publish_problems(p.relation, p.event, p.excluded) x WHERE x.code <> '42710'
	LOOP
		RAISE EXCEPTION USING ERRCODE = problem.code,
			MESSAGE = format('published table %s cannot be changed this way: %s', p.relation, problem.problem),
			HINT = problem.hint || ' Or end the publication with clinic_sync.unpublish() first.';
	END LOOP;

	PERFORM clinic_sync.follow_partitions(p.id);
	object := clinic_sync.schema_object(p.relation, p.event, p.excluded, p.schema_version);
	kind := clinic_sync.schema_change(p.schema, object, p.relation);
	IF kind = 'added' AND unseen THEN
		kind := 'other';
	END IF;
	IF kind = 'none' THEN
		-- indexes only, which the next snapshot brings, or excluded columns
		UPDATE clinic_sync.publication q SET schema = object, excluded = p.excluded
		WHERE q.id = p.id AND (q.schema::text <> object::text OR q.excluded <> p.excluded);
		IF FOUND THEN
			PERFORM clinic_sync.forget_caches();
		END IF;
		PERFORM clinic_sync.grant_columns(p.id);	-- SET SCHEMA
		RETURN;
	END IF;
	IF kind = 'renamed' THEN
		PERFORM clinic_sync.rename_publication(p.id, object ->> 'table');
		RETURN;
	END IF;

	object := clinic_sync.schema_object(p.relation, p.event, p.excluded, p.schema_version + 1);
	UPDATE clinic_sync.publication q
	SET schema = object, schema_version = p.schema_version + 1, excluded = p.excluded
	WHERE q.id = p.id;
	PERFORM clinic_sync.grant_columns(p.id);
	PERFORM clinic_sync.forget_caches();
	PERFORM clinic_sync.log_append(p.id, CASE kind WHEN 'added' THEN 's' ELSE 'r' END::"char",
		NULL, CASE kind WHEN 'added' THEN object::text END);
END
$$;
COMMENT ON FUNCTION clinic_sync.follow_table(int, boolean) IS
	'internal: brings a publication up to date with its table and tells the devices';

/*
 * The list of excluded columns after a command.  A name that is gone was
 * dropped or renamed; if as many new columns appeared as excluded ones went,
 * they are the same columns, which must not begin to be published by being
 * renamed.
 */
CREATE FUNCTION clinic_sync.follow_excluded(relation regclass, excluded name[], schema json) RETURNS name[]
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	there name[] := (SELECT coalesce(array_agg(c.name), '{}') FROM clinic_sync.published_columns(relation, '{}') c);
	kept name[] := (SELECT coalesce(array_agg(x.name ORDER BY x.n), '{}')
		FROM unnest(excluded) WITH ORDINALITY x(name, n) WHERE x.name = ANY (there));
	appeared name[] := (SELECT coalesce(array_agg(t.name), '{}') FROM unnest(there) t(name)
		WHERE t.name <> ALL (excluded)
			AND NOT EXISTS (SELECT FROM json_array_elements(schema -> 'columns') c WHERE c ->> 'name' = t.name));
BEGIN
	IF cardinality(appeared) = cardinality(excluded) - cardinality(kept) THEN
		RETURN kept || appeared;
	END IF;
	RETURN kept;
END
$$;
COMMENT ON FUNCTION clinic_sync.follow_excluded(regclass, name[], json) IS
	'internal: the excluded columns after a DDL command';

/*
 * none (at most indexes differ), renamed (the table's name differs), added
 * (columns came at the end, all of them nullable and without default: no row's
 * content changed) or other.
 */
CREATE FUNCTION clinic_sync.schema_change(before json, after json, relation regclass) RETURNS text
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	old_columns jsonb := before -> 'columns';
	new_columns jsonb := after -> 'columns';
	old_count int := jsonb_array_length(old_columns);
	new_count int := jsonb_array_length(new_columns);
BEGIN
	IF (before ->> 'table') <> (after ->> 'table') THEN
		RETURN 'renamed';
	END IF;
	IF (before ->> 'key') <> (after ->> 'key') OR new_count < old_count THEN
		RETURN 'other';
	END IF;
	IF EXISTS (SELECT FROM generate_series(0, old_count - 1) i(n) WHERE old_columns -> i.n <> new_columns -> i.n) THEN
		RETURN 'other';
	END IF;
	IF new_count = old_count THEN
		RETURN 'none';
	END IF;
	RETURN (SELECT CASE WHEN bool_and(c.plain) THEN 'added' ELSE 'other' END
		FROM generate_series(old_count, new_count - 1) i(n)
		JOIN clinic_sync.published_columns(relation, '{}') c ON c.name = new_columns -> i.n ->> 'name');
END
$$;
COMMENT ON FUNCTION clinic_sync.schema_change(json, json, regclass) IS
	'internal: what a change of the schema object means for devices';

/* A renamed table is a new publication: batches cut before still carry the old name. */
CREATE FUNCTION clinic_sync.rename_publication(publication int, new_name text) RETURNS void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p clinic_sync.publication;
	object json;
	new_id int;
BEGIN
	SELECT q.* INTO p FROM clinic_sync.publication q WHERE q.id = rename_publication.publication;
	PERFORM clinic_sync.retire(p.id);
	object := clinic_sync.schema_object(p.relation, p.event, p.excluded, p.schema_version + 1);
	INSERT INTO clinic_sync.publication (relation, event, excluded, schema_version, schema, leaves, published_at, name)
	VALUES (p.relation, p.event, p.excluded, p.schema_version + 1, object,
		clinic_sync.partitions(p.relation), p.published_at, new_name)
	RETURNING id INTO new_id;
	PERFORM clinic_sync.grant_columns(new_id);
	PERFORM clinic_sync.log_append(new_id, 'r', NULL, NULL);
END
$$;
COMMENT ON FUNCTION clinic_sync.rename_publication(int, text) IS
	'internal: gives a publication a new id because its table was renamed';

/* New partitions with rows and partitions that left change the table's contents without a row trigger. */
CREATE FUNCTION clinic_sync.follow_partitions(publication int) RETURNS void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p clinic_sync.publication;
	now_there regclass[];
	part regclass;
	changed boolean := false;
BEGIN
	SELECT q.* INTO p FROM clinic_sync.publication q WHERE q.id = follow_partitions.publication;
	now_there := clinic_sync.partitions(p.relation);
	IF now_there = p.leaves THEN
		RETURN;
	END IF;
	FOREACH part IN ARRAY now_there LOOP
		IF part <> ALL (p.leaves) THEN
			changed := changed OR clinic_sync.has_rows(part);
		END IF;
	END LOOP;
	FOREACH part IN ARRAY p.leaves LOOP
		IF part <> ALL (now_there) THEN
			changed := true;
			IF EXISTS (SELECT FROM pg_class c WHERE c.oid = part) THEN
				PERFORM clinic_sync.drop_triggers(part);
			END IF;
		END IF;
	END LOOP;
	UPDATE clinic_sync.publication q SET leaves = now_there WHERE q.id = p.id;
	PERFORM clinic_sync.set_triggers(p.relation, true);
	PERFORM clinic_sync.forget_caches();
	IF changed THEN
		PERFORM clinic_sync.log_append(p.id, 'r', NULL, NULL);
	END IF;
END
$$;
COMMENT ON FUNCTION clinic_sync.follow_partitions(int) IS
	'internal: follows ATTACH, DETACH, CREATE and DROP of partitions';

/* Publications that a relation (table, partition or index) belongs to. */
CREATE FUNCTION clinic_sync.publication_of(member oid) RETURNS int
	LANGUAGE sql STABLE
	RETURN (SELECT p.id FROM clinic_sync.publication p
		WHERE p.relation = member
			OR p.relation = pg_partition_root(member::regclass)
			OR p.relation = (SELECT coalesce(pg_partition_root(i.indrelid), i.indrelid) FROM pg_index i WHERE i.indexrelid = member)
			OR member = ANY (p.leaves)
		ORDER BY p.id LIMIT 1);
COMMENT ON FUNCTION clinic_sync.publication_of(oid) IS
	'internal: the publication that a table, partition or index belongs to';

CREATE FUNCTION clinic_sync.on_ddl_command_end() RETURNS event_trigger
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	pub int;
BEGIN
	IF NOT EXISTS (SELECT FROM clinic_sync.publication) THEN
		RETURN;
	END IF;
	FOR pub IN
		SELECT DISTINCT x.id FROM (
			SELECT clinic_sync.publication_of(d.objid) AS id
			FROM pg_event_trigger_ddl_commands() d WHERE d.classid = 'pg_class'::regclass
			UNION ALL
			-- a table's parent, so that INHERIT does not pass unseen
			SELECT clinic_sync.publication_of(i.inhparent)
			FROM pg_event_trigger_ddl_commands() d JOIN pg_inherits i ON i.inhrelid = d.objid
			WHERE d.classid = 'pg_class'::regclass
			UNION ALL
			-- ATTACH names the new parent only
			SELECT p.id FROM clinic_sync.publication p JOIN pg_class c ON c.oid = p.relation WHERE c.relispartition
		) x WHERE x.id IS NOT NULL ORDER BY x.id
	LOOP
		PERFORM clinic_sync.follow_table(pub);
		-- DISABLE TRIGGER, or ENABLE TRIGGER ALL, which takes ALWAYS away
		PERFORM clinic_sync.log_append(p.id, 'r', NULL, NULL)
		FROM clinic_sync.publication p
		WHERE p.id = pub AND clinic_sync.set_triggers(p.relation, false) > 0;
	END LOOP;
	-- ALTER TYPE ... RENAME VALUE and changes of row types show in every row without touching one
	FOR pub IN
		SELECT DISTINCT p.id
		FROM pg_event_trigger_ddl_commands() d
		JOIN pg_type t ON (d.classid = 'pg_type'::regclass AND t.oid = d.objid) OR (d.classid = 'pg_class'::regclass AND t.typrelid = d.objid AND t.typtype = 'c')
		JOIN clinic_sync.publication p ON true
		CROSS JOIN LATERAL clinic_sync.published_columns(p.relation, p.excluded) c
		WHERE d.command_tag = 'ALTER TYPE' AND t.oid IN (SELECT clinic_sync.type_parts(c.type))
		ORDER BY p.id
	LOOP
		PERFORM clinic_sync.log_append(pub, 'r', NULL, NULL);
	END LOOP;
END
$$;
COMMENT ON FUNCTION clinic_sync.on_ddl_command_end() IS 'event trigger: follows DDL on published tables';

CREATE FUNCTION clinic_sync.on_sql_drop() RETURNS event_trigger
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	pub int;
BEGIN
	IF NOT EXISTS (SELECT FROM clinic_sync.publication) THEN
		RETURN;
	END IF;
	FOR pub IN
		SELECT p.id FROM clinic_sync.publication p
		WHERE p.relation IN (SELECT d.objid FROM pg_event_trigger_dropped_objects() d
			WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0)
		ORDER BY p.id
	LOOP
		PERFORM clinic_sync.retire(pub);
	END LOOP;
	-- a column that went with its type, a partition, an index (which is known by its name only)
	FOR pub IN
		SELECT DISTINCT x.id FROM (
			SELECT clinic_sync.publication_of(d.objid) AS id
			FROM pg_event_trigger_dropped_objects() d WHERE d.classid = 'pg_class'::regclass
			UNION ALL
			SELECT p.id FROM pg_event_trigger_dropped_objects() d
			JOIN clinic_sync.publication p ON EXISTS (SELECT FROM json_array_elements(p.schema -> 'indexes') i
				WHERE i ->> 'name' = d.object_name)
			WHERE d.object_type = 'index'
		) x WHERE x.id IS NOT NULL ORDER BY x.id
	LOOP
		PERFORM clinic_sync.follow_table(pub);
	END LOOP;
END
$$;
COMMENT ON FUNCTION clinic_sync.on_sql_drop() IS 'event trigger: follows DROP of published tables, columns and partitions';

CREATE FUNCTION clinic_sync.on_table_rewrite() RETURNS event_trigger
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	pub int := clinic_sync.publication_of(pg_event_trigger_table_rewrite_oid());
BEGIN
	IF pub IS NOT NULL THEN
		PERFORM clinic_sync.log_append(pub, 'r', NULL, NULL);
	END IF;
END
$$;
COMMENT ON FUNCTION clinic_sync.on_table_rewrite() IS 'event trigger: a rewrite of a published table makes devices fetch it anew';

CREATE EVENT TRIGGER clinic_sync_ddl_command_end ON ddl_command_end
	EXECUTE FUNCTION clinic_sync.on_ddl_command_end();
CREATE EVENT TRIGGER clinic_sync_sql_drop ON sql_drop
	EXECUTE FUNCTION clinic_sync.on_sql_drop();
CREATE EVENT TRIGGER clinic_sync_table_rewrite ON table_rewrite
	EXECUTE FUNCTION clinic_sync.on_table_rewrite();
ALTER EVENT TRIGGER clinic_sync_ddl_command_end ENABLE ALWAYS;
ALTER EVENT TRIGGER clinic_sync_sql_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER clinic_sync_table_rewrite ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER clinic_sync_ddl_command_end IS 'follows DDL on published tables';
COMMENT ON EVENT TRIGGER clinic_sync_sql_drop IS 'follows DROP of published tables, columns and partitions';
COMMENT ON EVENT TRIGGER clinic_sync_table_rewrite IS 'notices rewrites of published tables';
