-- complain if the script is sourced in psql instead of run by CREATE EXTENSION
\echo Use "CREATE EXTENSION clinic_sync" to load this file. \quit

/*
 * Everything is created with CREATE, never OR REPLACE or IF NOT EXISTS: an
 * object of the same name that somebody put here before must stop the
 * installation.  Bodies of plpgsql functions run with
 * search_path = pg_catalog, pg_temp, so what is built in needs no prefix there
 * and everything of our own is written clinic_sync.x.
 */
DO $$
BEGIN
	IF (SELECT pg_encoding_to_char(d.encoding) FROM pg_catalog.pg_database d
		WHERE d.datname = pg_catalog.current_database()) OPERATOR(pg_catalog.<>) 'UTF8'
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'feature_not_supported',
			MESSAGE = 'clinic_sync needs a database in UTF8',
			DETAIL = pg_catalog.format('This database is in %s.', pg_catalog.getdatabaseencoding()),
			HINT = 'Create the database with ENCODING ''UTF8''.';
	END IF;
	-- whoever owns the schema could replace what is in it
	IF NOT (SELECT pg_catalog.pg_has_role(current_user, n.nspowner, 'USAGE')
			AND (o.rolsuper OR n.nspowner OPERATOR(pg_catalog.=) c.oid)
		FROM pg_catalog.pg_namespace n
		JOIN pg_catalog.pg_roles o ON o.oid OPERATOR(pg_catalog.=) n.nspowner
		JOIN pg_catalog.pg_roles c ON c.rolname OPERATOR(pg_catalog.=) current_user
		WHERE n.nspname OPERATOR(pg_catalog.=) 'clinic_sync')
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = 'schema clinic_sync belongs to somebody else',
			HINT = 'Drop the schema; CREATE EXTENSION creates it.';
	END IF;
END
$$;
