/*
 * The SQLite connection that syncs a file.
 *
 * synchronous=EXTRA, because with less a power cut takes whole commits back:
 * data and cursor would still agree, but a reader would see the file go back
 * in time.  (EXTRA and not FULL: with a rollback journal it is the journal's
 * removal that commits, and that must last, too.)  Foreign keys and triggers
 * are off on this connection only: constraints hold at the end of a frame, not
 * at each step, and the app's triggers have run on the server's side of the
 * change already.  Opening a file changes nothing in it; which journal it has,
 * cache_journal.c decides.
 */
#include "cache_internal.h"

#include <stdio.h>
#include <string.h>

cs_status store_fail(sqlite3 *db, const char *doing, struct cs_error *err)
{
	int code = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM;

	switch (code & 0xff) {
	case SQLITE_NOMEM:
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return cs_fail(err, CS_ERR_STORE,
			       "cannot %s: another program keeps the file locked for writing",
			       doing);
	case SQLITE_FULL:
		return cs_fail(err, CS_ERR_STORE, "cannot %s: the disk is full", doing);
	case SQLITE_NOTADB:
		return cs_fail(err, CS_ERR_STORE, "cannot %s: the file is no SQLite database",
			       doing);
	default:
		/* SQLite's messages name tables and columns, never values */
		return cs_fail(err, CS_ERR_STORE, "cannot %s: %s (%d)", doing, sqlite3_errmsg(db),
			       code);
	}
}

static cs_status configure(sqlite3 *db, bool writes, struct cs_error *err)
{
	static const int off[] = {SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_FKEY,
				  SQLITE_DBCONFIG_TRUSTED_SCHEMA};

	sqlite3_extended_result_codes(db, 1);
	sqlite3_busy_timeout(db, CACHE_BUSY_TIMEOUT_MS);
	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
		if (sqlite3_db_config(db, off[i], 0, NULL) != SQLITE_OK)
			return store_fail(db, "configure the connection", err);
	if (sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL) != SQLITE_OK)
		return store_fail(db, "configure the connection", err);
	if (!writes)
		return CS_OK;
	return store_exec(
		db,
		"PRAGMA synchronous = EXTRA;"
		"PRAGMA wal_autocheckpoint = 4000;"     /* not after each commit of a backlog */
		"PRAGMA journal_size_limit = 67108864;" /* after a giant frame */
		"PRAGMA cache_size = -16384;"
		"PRAGMA temp_store = FILE",
		err);
}

cs_status store_open(const char *path, int flags, sqlite3 **out, struct cs_error *err)
{
	sqlite3 *db = NULL;
	int64_t version;
	cs_status st;

	*out = NULL;
	/* a handle may come back even when this fails */
	if (sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
		st = store_fail(db, "open the file", err);
		sqlite3_close(db);
		return st;
	}
	st = configure(db, (flags & SQLITE_OPEN_READWRITE) != 0, err);
	/* nothing was read so far: only now shows whether it is a database at all */
	if (st == CS_OK)
		st = store_integer(db, "PRAGMA schema_version", &version, err);
	if (st != CS_OK) {
		sqlite3_close(db);
		return st;
	}
	*out = db;
	return CS_OK;
}

cs_status store_exec(sqlite3 *db, const char *sql, struct cs_error *err)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return store_fail(db, "write the file", err);
	return CS_OK;
}

cs_status store_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out, struct cs_error *err)
{
	if (sqlite3_prepare_v2(db, sql, -1, out, NULL) != SQLITE_OK)
		return store_fail(db, "prepare a statement", err);
	return CS_OK;
}

int store_step(sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt);

	return rc == SQLITE_ROW || rc == SQLITE_DONE
		       ? rc
		       : sqlite3_extended_errcode(sqlite3_db_handle(stmt));
}

cs_status store_integer(sqlite3 *db, const char *sql, int64_t *out, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(db, sql, &stmt, err);
	int rc;

	*out = 0;
	if (st != CS_OK)
		return st;
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int64(stmt, 0);
	else if (rc != SQLITE_DONE)
		st = store_fail(db, "read the file", err);
	sqlite3_finalize(stmt);
	return st;
}

void store_rollback(sqlite3 *db)
{
	/* some errors (disk full, I/O) have rolled back already */
	if (!sqlite3_get_autocommit(db))
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
}

bool store_moved(sqlite3 *db)
{
	int moved = 0;

	return sqlite3_file_control(db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
	       moved;
}

bool store_table_exists(sqlite3 *db, const char *schema, const char *table)
{
	return sqlite3_table_column_metadata(db, schema, table, NULL, NULL, NULL, NULL, NULL,
					     NULL) == SQLITE_OK;
}
