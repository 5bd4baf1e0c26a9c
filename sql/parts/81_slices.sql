/*
 * Slices of a table, for proofs piece by piece: where to divide it.  A slice is
 * the rows with after < key <= upto; keys are ordered column by column, classes
 * integer and bigint as numbers, class text by the bytes of its canonical text.
 * extension/key_order.c compares the same way.
 */

/* ORDER BY of a table's key; NULL when a key column's class has no order that devices share. */
CREATE FUNCTION clinic_sync.key_order_sql(relation regclass) RETURNS text
	LANGUAGE sql STABLE
	RETURN (SELECT string_agg(CASE
				WHEN k.type = ANY ('{smallint,integer,bigint}'::regtype[]) THEN quote_ident(k.name)
				WHEN k.class <> 'text' THEN quote_ident(k.name) || '::pg_catalog.int8'
				WHEN k.type = ANY ('{text,varchar}'::regtype[]) THEN quote_ident(k.name) || ' COLLATE pg_catalog."C"'
				ELSE format('clinic_sync.canon(%I) COLLATE pg_catalog."C"', k.name) END,
			', ' ORDER BY k.place)
		FROM (SELECT x.place, x.name, x.type, clinic_sync.type_class(x.type, x.typmod) AS class
			FROM clinic_sync.key_columns(relation) x) k
		HAVING bool_and(k.class = ANY ('{integer,bigint,text}'::text[])));
COMMENT ON FUNCTION clinic_sync.key_order_sql(regclass) IS 'internal: SQL that orders a table''s rows by their key as devices do';

CREATE FUNCTION clinic_sync.slice_bounds(relation regclass, slice_rows int DEFAULT 10000) RETURNS SETOF text
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	key_columns text;
	key_order text;
BEGIN
	PERFORM clinic_sync.require_published(relation);
	IF slice_rows IS NULL OR slice_rows < 1 THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'slice_rows must be at least 1';
	END IF;
	key_order := clinic_sync.key_order_sql(relation);
	IF key_order IS NULL THEN
		RETURN;
	END IF;
	key_columns := (SELECT string_agg(quote_ident(k.name), ', ') FROM clinic_sync.key_columns(relation) k);
	-- the object of a key only for the few that are returned; no published column has this prefix
	RETURN QUERY EXECUTE format('SELECT %s FROM (SELECT %s, row_number() OVER (ORDER BY %s) AS clinic_sync_row FROM %s) k
		WHERE clinic_sync_row %% %s = 0 ORDER BY clinic_sync_row',
		clinic_sync.key_sql(relation), key_columns, key_order, relation, slice_rows);
END
$$;
COMMENT ON FUNCTION clinic_sync.slice_bounds(regclass, int) IS
	'the keys that divide a published table into slices of slice_rows rows; none if its keys have no order that devices share';
