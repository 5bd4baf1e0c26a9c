/*
 * Rights, all in one place.  PUBLIC gets nothing.  pg_monitor reads the views.
 * A relay's role gets what grant_relay() lists, a table owner what the
 * superuser grants to it (EXECUTE on publish() and unpublish()).
 */
REVOKE ALL ON SCHEMA clinic_sync FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA clinic_sync FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA clinic_sync FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA clinic_sync FROM PUBLIC;

GRANT USAGE ON SCHEMA clinic_sync TO pg_monitor;
GRANT SELECT ON clinic_sync.status, clinic_sync.tables, clinic_sync.batches, clinic_sync.relays, clinic_sync.devices,
		clinic_sync.workers
	TO pg_monitor;
DO $$
DECLARE
	f pg_catalog.regprocedure;
BEGIN
	FOREACH f IN ARRAY clinic_sync.view_functions() LOOP
		EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO pg_monitor', f);
	END LOOP;
END
$$;
