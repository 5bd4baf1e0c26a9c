/*
 * What no event trigger sees: capture triggers that were dropped, and DDL while
 * those were off or in a transaction whose snapshot is older than the publication.
 */

CREATE FUNCTION clinic_sync.is_behind(publication int) RETURNS boolean
	LANGUAGE sql STABLE
	RETURN (SELECT p.schema::text <> clinic_sync.schema_object(p.relation, p.event, p.excluded, p.schema_version)::text
			OR NOT (p.leaves <@ clinic_sync.partitions(p.relation) AND p.leaves @> clinic_sync.partitions(p.relation))
		FROM clinic_sync.publication p
		WHERE p.id = is_behind.publication AND EXISTS (SELECT FROM pg_class c WHERE c.oid = p.relation));
COMMENT ON FUNCTION clinic_sync.is_behind(int) IS 'internal: true if a publication is not what its table is';

/*
 * Publications whose capture triggers are missing or not ENABLE ALWAYS, set
 * right one by one.  What happened in between was not logged, so devices fetch
 * the table anew.  Waits at most 100 ms for a table; what is locked longer is
 * tried at the next call.
 */
CREATE FUNCTION clinic_sync.repair(OUT repaired int)
	LANGUAGE plpgsql
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '100ms'
AS $$
DECLARE
	broken record;
BEGIN
	repaired := 0;
	FOR broken IN
		SELECT p.id, p.relation FROM clinic_sync.publication p
		WHERE clinic_sync.is_behind(p.id)
			OR EXISTS (SELECT FROM clinic_sync.capture_triggers(p.relation) c WHERE c.enabled IS DISTINCT FROM 'A')
		ORDER BY p.id
	LOOP
		BEGIN
			EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', broken.relation);
			-- a table that lost its key meanwhile stays broken: the view tables says so
			CONTINUE WHEN EXISTS (SELECT FROM clinic_sync.publication p
				CROSS JOIN LATERAL clinic_sync.publish_problems(p.relation, p.event, p.excluded) x
				WHERE p.id = broken.id AND x.code <> '42710');
			IF clinic_sync.set_triggers(broken.relation, true) > 0 THEN
				PERFORM clinic_sync.log_append(broken.id, 'r', NULL, NULL);
				PERFORM clinic_sync.follow_table(broken.id, true);
				repaired := repaired + 1;
			ELSIF clinic_sync.is_behind(broken.id) THEN
				PERFORM clinic_sync.follow_table(broken.id, true);
				repaired := repaired + 1;
			END IF;
		EXCEPTION
			WHEN lock_not_available OR deadlock_detected THEN
				NULL;	-- the view status shows it until it works
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION clinic_sync.repair() IS
	'sets capture triggers right that were dropped, disabled or downgraded, follows DDL that went unseen, and makes devices fetch those tables anew';

CREATE FUNCTION clinic_sync.why_not_captured(relation regclass) RETURNS SETOF text
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	root regclass;
	pub int;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = relation) THEN
		RETURN QUERY SELECT format('relation %s does not exist', coalesce(relation::text, 'NULL'));
		RETURN;
	END IF;
	root := coalesce(pg_partition_root(relation), relation);
	SELECT p.id INTO pub FROM clinic_sync.publication p WHERE p.relation = root;
	IF pub IS NULL THEN
		RETURN QUERY SELECT format('table %s is not published: call clinic_sync.publish()', root);
		RETURN QUERY SELECT format('it could not be published: %s', p.problem)
			FROM clinic_sync.publish_problems(root, 'data_change_immediate', '{}') p;
		RETURN;
	END IF;
	RETURN QUERY
		SELECT format('trigger %I on %s %s', c.trigger, c.relation, CASE c.enabled
			WHEN 'D' THEN 'is disabled' WHEN 'O' THEN 'does not fire in sessions with session_replication_role = replica'
			WHEN 'R' THEN 'fires only in sessions with session_replication_role = replica' ELSE 'is missing' END
			|| ': clinic_sync.repair() sets it right')
		FROM clinic_sync.capture_triggers(root) c WHERE c.enabled IS DISTINCT FROM 'A' ORDER BY c.relation, c.trigger;
	RETURN QUERY
		SELECT 'its columns, indexes or partitions were changed unseen: clinic_sync.repair() follows them'
		WHERE clinic_sync.is_behind(pub);
	RETURN QUERY
		SELECT 'logging stopped because the change log reached clinic_sync.log_hard_bytes: no relay cuts batches'
		WHERE EXISTS (SELECT FROM clinic_sync.log_lost);
END
$$;
COMMENT ON FUNCTION clinic_sync.why_not_captured(regclass) IS
	'why changes of a table do not reach devices, one sentence a row; no row when they do';
