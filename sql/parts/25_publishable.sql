/*
 * What may be published, and the schema object of docs/protocol.md that says
 * how a published table looks.
 */

/*
 * The role that called: inside SECURITY DEFINER current_user is the owner and
 * session_user ignores SET ROLE, while the setting "role" tells what SET ROLE
 * said.
 */
CREATE FUNCTION clinic_sync.caller() RETURNS name
	LANGUAGE sql STABLE
	RETURN CASE WHEN current_setting('role') = 'none' THEN session_user
		ELSE current_setting('role')::name END;
COMMENT ON FUNCTION clinic_sync.caller() IS 'internal: the role on whose behalf a SECURITY DEFINER function runs';

CREATE FUNCTION clinic_sync.require_owner(relation regclass) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	owner oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = relation);
BEGIN
	IF owner IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_table',
			MESSAGE = format('relation %s does not exist', coalesce(relation::text, 'NULL')),
			HINT = 'Give the name of an existing table.';
	END IF;
	IF NOT pg_has_role(clinic_sync.caller(), owner, 'USAGE') THEN
		RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
			MESSAGE = format('must be owner of table %s', relation),
			DETAIL = format('The table belongs to %s.', owner::regrole),
			HINT = 'Let the owner or a superuser do it.';
	END IF;
END
$$;
COMMENT ON FUNCTION clinic_sync.require_owner(regclass) IS 'internal: error unless the caller owns the table';

/* How a cache holds a value of this type: the class column of docs/protocol.md. */
CREATE FUNCTION clinic_sync.type_class(type oid, typmod int) RETURNS text
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	base record;
	digits int;
	scale int;
BEGIN
	LOOP
		SELECT t.typbasetype, t.typtypmod INTO base FROM pg_type t WHERE t.oid = type AND t.typtype = 'd';
		EXIT WHEN NOT FOUND;
		type := base.typbasetype;
		typmod := base.typtypmod;
	END LOOP;
	IF type = 'numeric'::regtype AND typmod >= 4 THEN
		digits := ((typmod - 4) >> 16) & 65535;
		scale := (((typmod - 4) & 2047) # 1024) - 1024;
		RETURN CASE WHEN digits <= 15 AND scale BETWEEN 0 AND digits THEN 'decimal' ELSE 'text' END;
	END IF;
	RETURN CASE
		WHEN type = 'boolean'::regtype THEN 'boolean'
		WHEN type = ANY ('{smallint,integer}'::regtype[]) THEN 'integer'
		WHEN type = 'bigint'::regtype THEN 'bigint'
		WHEN type = ANY ('{real,double precision}'::regtype[]) THEN 'float'
		WHEN type = 'bytea'::regtype THEN 'blob'
		ELSE 'text' END;
END
$$;
COMMENT ON FUNCTION clinic_sync.type_class(oid, int) IS 'internal: class of a type in a SQLite cache';

/* A type and all it is made of: arrays, domains, ranges and row types, at any depth. */
CREATE FUNCTION clinic_sync.type_parts(type oid) RETURNS SETOF oid
	LANGUAGE sql STABLE
BEGIN ATOMIC
	WITH RECURSIVE part(oid) AS (
		SELECT type
		UNION
		SELECT inner_type.oid
		FROM part
		JOIN pg_type t ON t.oid = part.oid
		CROSS JOIN LATERAL (
			SELECT t.typbasetype AS oid
			UNION ALL SELECT t.typelem WHERE t.typcategory = 'A'
			UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid OR r.rngmultitypid = t.oid
			UNION ALL SELECT a.atttypid FROM pg_attribute a
				WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped
		) inner_type
		WHERE inner_type.oid <> 0
	)
	SELECT part.oid FROM part;
END;
COMMENT ON FUNCTION clinic_sync.type_parts(oid) IS 'internal: a type and those it is made of';

CREATE FUNCTION clinic_sync.type_refused(type oid) RETURNS boolean
	LANGUAGE sql STABLE
	RETURN EXISTS (SELECT FROM clinic_sync.type_parts(type) part(oid)
		JOIN pg_type t ON t.oid = part.oid
		WHERE t.typnamespace = 'pg_catalog'::regnamespace
			AND (t.typname = 'money' OR t.typname = ANY ('{regproc,regprocedure,regoper,regoperator,regclass,regtype,regrole,regnamespace,regconfig,regdictionary,regcollation,regdatabase}'::name[])));
COMMENT ON FUNCTION clinic_sync.type_refused(oid) IS
	'internal: true for money and the reg* types, whose text depends on settings';

/* Columns of a table that are published, in attnum order; virtual generated ones (PostgreSQL 18) are in no row. */
CREATE FUNCTION clinic_sync.published_columns(relation regclass, excluded name[])
	RETURNS TABLE (attnum int2, name name, type oid, typmod int, nullable boolean, identity boolean, plain boolean)
	LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT a.attnum, a.attname, a.atttypid, a.atttypmod, NOT a.attnotnull, a.attidentity <> '',
		NOT a.attnotnull AND NOT a.atthasdef AND NOT a.atthasmissing
			AND a.attidentity = '' AND a.attgenerated = ''
	FROM pg_attribute a
	WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v'
		AND NOT a.attname = ANY (excluded)
	ORDER BY a.attnum;
END;
COMMENT ON FUNCTION clinic_sync.published_columns(regclass, name[]) IS 'internal: columns that devices get';

/* Columns of the primary key, at their places in it. */
CREATE FUNCTION clinic_sync.key_columns(relation regclass)
	RETURNS TABLE (place int, name name, type oid, typmod int, valid boolean)
	LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT k.place::int, a.attname, a.atttypid, a.atttypmod, i.indisvalid
	FROM pg_index i
	CROSS JOIN LATERAL unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY k(attnum, place)
	JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
	WHERE i.indrelid = relation AND i.indisprimary
	ORDER BY k.place;
END;
COMMENT ON FUNCTION clinic_sync.key_columns(regclass) IS 'internal: columns of a table''s primary key';

/* Everything that stands against publishing; no row when nothing does. */
CREATE FUNCTION clinic_sync.publish_problems(relation regclass, event text, exclude_columns name[])
	RETURNS TABLE (code text, problem text, hint text)
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	class pg_class;
	key_columns name[];
BEGIN
	SELECT c.* INTO class FROM pg_class c WHERE c.oid = relation;

	IF class.relnamespace = ANY ('{pg_catalog,information_schema,pg_toast,clinic_sync}'::regnamespace[]) THEN
		RETURN QUERY SELECT '42809', 'it is a system table', 'Publish tables of your own schemas only.';
		RETURN;
	END IF;
	IF class.relkind <> ALL ('{r,p}'::"char"[]) THEN
		RETURN QUERY SELECT '42809', format('it is %s', CASE class.relkind
				WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
				WHEN 'S' THEN 'a sequence' WHEN 'i' THEN 'an index' WHEN 'I' THEN 'an index'
				WHEN 'c' THEN 'a composite type' ELSE 'not a table' END),
			'Only ordinary and partitioned tables can be published.';
		RETURN;
	END IF;
	IF class.relispartition THEN
		RETURN QUERY SELECT '42809', 'it is a partition',
			format('Publish the partitioned table %s instead.', pg_partition_root(relation)::regclass);
		RETURN;
	END IF;

	RETURN QUERY SELECT '42809', CASE class.relpersistence WHEN 't' THEN 'it is temporary' ELSE 'it is unlogged' END,
		CASE class.relpersistence
			WHEN 't' THEN 'A temporary table ends with its session; create a permanent one.'
			ELSE 'Only permanent tables survive a crash; use ALTER TABLE ... SET LOGGED.' END
		WHERE class.relpersistence <> 'p';
	RETURN QUERY SELECT '42809', format('its partition %s is %s', t.relid,
			CASE WHEN c.relkind = 'f' THEN 'a foreign table' WHEN c.relpersistence = 't' THEN 'temporary' ELSE 'unlogged' END),
		'All partitions must be permanent tables of this server.'
		FROM pg_partition_tree(relation) t JOIN pg_class c ON c.oid = t.relid
		WHERE t.level > 0 AND (c.relkind = 'f' OR c.relpersistence <> 'p');
	RETURN QUERY SELECT '42809', 'it inherits from another table', 'Tables of an inheritance tree cannot be published.'
		WHERE EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = relation);
	RETURN QUERY SELECT '42809', 'other tables inherit from it', 'Tables of an inheritance tree cannot be published.'
		WHERE class.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = relation);

	SELECT array_agg(k.name) INTO key_columns FROM clinic_sync.key_columns(relation) k WHERE k.valid;
	RETURN QUERY SELECT '55000', 'it has no primary key', 'Add one with ALTER TABLE ... ADD PRIMARY KEY.'
		WHERE key_columns IS NULL;

	RETURN QUERY SELECT '22004', 'the list of excluded columns holds a NULL', 'Name each column.'
		WHERE array_position(exclude_columns, NULL) IS NOT NULL;
	RETURN QUERY SELECT '42703', format('excluded column %I does not exist', x.name),
		'Write the name as the catalog has it: capital letters count.'
		FROM unnest(exclude_columns) x(name)
		WHERE x.name IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute a
			WHERE a.attrelid = relation AND a.attname = x.name AND a.attnum > 0 AND NOT a.attisdropped);
	RETURN QUERY SELECT '22023', format('column %I belongs to the primary key and cannot be excluded', x.name),
		'Rows are known by their key: it is always published.'
		FROM unnest(exclude_columns) x(name) WHERE x.name = ANY (key_columns);

	RETURN QUERY SELECT '0A000', format('column %I has type %s, whose text depends on settings', c.name,
			format_type(c.type, c.typmod)),
		'Exclude the column or change its type.'
		FROM clinic_sync.published_columns(relation, exclude_columns) c WHERE clinic_sync.type_refused(c.type);
	RETURN QUERY SELECT '42701', format('columns %s differ by case only', string_agg(quote_ident(c.name), ', ' ORDER BY c.attnum)),
		'SQLite cannot hold them side by side: rename or exclude all but one.'
		FROM clinic_sync.published_columns(relation, exclude_columns) c
		GROUP BY lower(c.name::text COLLATE "C") HAVING count(*) > 1;

	RETURN QUERY SELECT '42939', format('the name %I cannot be used in a cache', class.relname),
		'Names that begin with sqlite_ or clinic_sync_, or hold a comma or a control character, are reserved: rename the table.'
		WHERE lower(class.relname::text COLLATE "C") ~ '^(sqlite_|clinic_sync_)' OR class.relname ~ '[,[:cntrl:]]';
	RETURN QUERY SELECT '22023', 'the event name is not valid',
		'Use 1 to 63 of the characters A-Z a-z 0-9 _ . -'
		WHERE event !~ '^[A-Za-z0-9_.-]{1,63}$';

	RETURN QUERY SELECT '42710', 'it is published already', 'Call clinic_sync.unpublish() first to change event or columns.'
		FROM clinic_sync.publication p WHERE p.relation = class.oid;
	RETURN QUERY SELECT '42P07', format('a cache could not hold it beside the published table %s', p.relation),
		'On devices a table is known by its name without schema, and case does not count: rename one of the two.'
		FROM clinic_sync.publication p
		WHERE p.relation <> class.oid
			AND lower(p.name COLLATE "C") = lower(class.relname::text COLLATE "C");
END
$$;
COMMENT ON FUNCTION clinic_sync.publish_problems(regclass, text, name[]) IS
	'internal: all reasons why a table cannot be published';

CREATE FUNCTION clinic_sync.refuse_problems(relation regclass, event text, exclude_columns name[]) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	codes text[];
	problems text;
	hints text[];
BEGIN
	SELECT array_agg(p.code), string_agg(p.problem, E'\n'), array_agg(p.hint) INTO codes, problems, hints
	FROM clinic_sync.publish_problems(relation, event, exclude_columns) p;
	IF codes IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = codes[1],
			MESSAGE = format('cannot publish %s', relation),
			DETAIL = problems,
			HINT = hints[1];
	END IF;
END
$$;
COMMENT ON FUNCTION clinic_sync.refuse_problems(regclass, text, name[]) IS
	'internal: one error with everything that stands against publishing a table';

/* The schema object of docs/protocol.md. */
CREATE FUNCTION clinic_sync.schema_object(relation regclass, event text, excluded name[], version int) RETURNS json
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	key text;
	columns text;
	indexes text;
BEGIN
	SELECT string_agg(to_json(k.name)::text, ',' ORDER BY k.place) INTO key FROM clinic_sync.key_columns(relation) k;

	SELECT string_agg(format('{"name":%s,"type":%s,"class":%s,"nullable":%s,"identity":%s}',
			to_json(c.name), to_json(format_type(c.type, c.typmod)), to_json(clinic_sync.type_class(c.type, c.typmod)),
			to_json(c.nullable), to_json(c.identity)), ',' ORDER BY c.attnum) INTO columns
	FROM clinic_sync.published_columns(relation, excluded) c;

	-- indexes that SQLite can hold too: plain published columns, whole table
	SELECT string_agg(format('{"name":%s,"columns":[%s],"unique":%s}',
			to_json(x.relname), x.columns, to_json(x.indisunique)), ',' ORDER BY x.relname) INTO indexes
	FROM (
		SELECT ic.relname, i.indisunique, string_agg(to_json(c.name)::text, ',' ORDER BY k.position) AS columns
		FROM pg_index i
		JOIN pg_class ic ON ic.oid = i.indexrelid
		CROSS JOIN LATERAL unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY k(attnum, position)
		LEFT JOIN clinic_sync.published_columns(relation, excluded) c ON c.attnum = k.attnum
		WHERE i.indrelid = relation AND NOT i.indisprimary AND i.indisvalid
			AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT i.indisexclusion
		GROUP BY ic.relname, i.indisunique
		HAVING bool_and(c.name IS NOT NULL)
	) x;

	RETURN format('{"table":%s,"event":%s,"version":%s,"key":[%s],"columns":[%s],"indexes":[%s]}',
		(SELECT to_json(c.relname) FROM pg_class c WHERE c.oid = relation),
		to_json(event), version, key, columns, indexes);
END
$$;
COMMENT ON FUNCTION clinic_sync.schema_object(regclass, text, name[], int) IS
	'internal: the schema object of docs/protocol.md for a table';
