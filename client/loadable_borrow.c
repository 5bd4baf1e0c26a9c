/*
 * The app's connection, for the length of one call.
 *
 * The core writes as the command does: foreign keys are not enforced and
 * triggers do not run, for the server has checked and run its own.  On a
 * borrowed connection these are the app's settings, so they are put back, and
 * its last_insert_rowid(), whatever the call did.  Journal mode, synchronous
 * and busy handler stay the app's choice throughout.
 *
 * A call needs the connection to itself: its frame is a transaction of its own,
 * and inside another one it could neither commit nor be undone.
 */
#include "loadable.h"

#include "cache_internal.h"

#define TXN_STATE_SINCE 3034000

static const int flags[] = {SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_FKEY,
			    SQLITE_DBCONFIG_TRUSTED_SCHEMA};
#define FLAG_COUNT (sizeof(flags) / sizeof(flags[0]))

/* Why the call cannot be made now; NULL: it can. */
static const char *obstacle(const struct loaded *l)
{
	if (l->inside)
		return "a clinic_cache function was called from within another one";
	if (!sqlite3_get_autocommit(l->db))
		return "clinic_cache cannot work inside a transaction of this connection: COMMIT "
		       "or "
		       "ROLLBACK, then make the same call again; nothing was lost";
	if (sqlite3_txn_state(l->db, NULL) != SQLITE_TXN_NONE)
		return "clinic_cache needs the connection to itself: read the other statement to "
		       "its end or reset it, then make the same call again; nothing was lost";
	return NULL;
}

static bool put_back(struct loaded *l)
{
	bool good = true;

	for (size_t i = 0; i < FLAG_COUNT; i++)
		good = sqlite3_db_config(l->db, flags[i], l->before.flags[i], NULL) == SQLITE_OK &&
		       good;
	return good;
}

static bool take_over(struct loaded *l)
{
	l->before.last_rowid = sqlite3_last_insert_rowid(l->db);
	for (size_t i = 0; i < FLAG_COUNT; i++)
		if (sqlite3_db_config(l->db, flags[i], -1, &l->before.flags[i]) != SQLITE_OK)
			return false;
	for (size_t i = 0; i < FLAG_COUNT; i++) {
		if (sqlite3_db_config(l->db, flags[i], 0, NULL) != SQLITE_OK) {
			put_back(l);
			return false;
		}
	}
	return true;
}

bool borrow_begin(struct loaded *l, sqlite3_context *call)
{
	const char *why = obstacle(l);

	if (why) {
		loadable_fail(call, SQLITE_BUSY, why);
		return false;
	}
	if (store_moved(l->db)) {
		loadable_fail(call, SQLITE_ERROR,
			      "the file of this connection was moved or deleted: close the "
			      "connection and open the file anew");
		return false;
	}
	if (!take_over(l)) {
		loadable_fail(call, SQLITE_ERROR, "the connection's settings cannot be changed");
		return false;
	}
	l->inside = true;
	return true;
}

void borrow_end(struct loaded *l)
{
	/* a connection with prepared statements cannot be closed */
	if (l->cache)
		statements_clear(l->cache);
	store_rollback(l->db);
	put_back(l);
	sqlite3_set_last_insert_rowid(l->db, l->before.last_rowid);
	l->inside = false;
}
