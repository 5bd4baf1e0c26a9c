/*
 * The entry points of clinic_cache.so.
 *
 * Every function is SQLITE_DIRECTONLY: no trigger, view or index of a file
 * that somebody else made can call it.  What they share lives as long as the
 * last of them, and so ends with the connection.
 */
#include "loadable.h"

#include "cache_internal.h"

#include <stdlib.h>

const sqlite3_api_routines *sqlite3_api;

#define SQLITE_LEAST 3038000 /* its JSON functions are always there */

#ifdef _WIN32
#define LOADABLE_ENTRY __declspec(dllexport)
#else
#define LOADABLE_ENTRY __attribute__((visibility("default")))
#endif

/* The connection lets go of one function; with the last one, of the cache. */
static void forget(void *context)
{
	struct loaded *l = context;

	if (--l->references > 0)
		return;
	if (l->cache)
		cache_lender_gone(l->cache);
	clinic_cache_close(l->cache);
	event_queue_free(&l->events);
	free(l);
}

static bool is_loaded(sqlite3 *db)
{
	sqlite3_stmt *stmt = NULL;
	bool there = sqlite3_prepare_v2(db, "SELECT clinic_cache_version()", -1, &stmt, NULL) ==
		     SQLITE_OK;

	sqlite3_finalize(stmt);
	return there;
}

static int register_functions(sqlite3 *db)
{
	struct loaded *l = calloc(1, sizeof(*l));
	int rc = SQLITE_OK;

	if (!l)
		return SQLITE_NOMEM;
	l->db = db;
	l->references = 1;
	event_queue_init(&l->events, LOADABLE_EVENTS_MOST);
	for (const struct loadable_function *f = loadable_functions; f->name && rc == SQLITE_OK;
	     f++) {
		/* a failed registration lets go of it, too */
		l->references++;
		rc = sqlite3_create_function_v2(db, f->name, f->count,
						SQLITE_UTF8 | SQLITE_DIRECTONLY, l, f->call, NULL,
						NULL, forget);
	}
	forget(l);
	return rc;
}

LOADABLE_ENTRY int sqlite3_clinic_cache_init(sqlite3 *db, char **problem,
					     const sqlite3_api_routines *api);

int sqlite3_clinic_cache_init(sqlite3 *db, char **problem, const sqlite3_api_routines *api)
{
	/* its functions would be called on the other one's connections */
	if (sqlite3_api && sqlite3_api != api) {
		*problem = api->mprintf(
			"another SQLite of this process has loaded clinic_cache already");
		return SQLITE_ERROR;
	}
	if (api->libversion_number() < SQLITE_LEAST) {
		*problem = api->mprintf("clinic_cache needs SQLite 3.38.0 or newer, this is %s",
					api->libversion());
		return SQLITE_ERROR;
	}
	sqlite3_api = api;
	return is_loaded(db) ? SQLITE_OK : register_functions(db);
}

/* The names that SQLite makes of the file's name, and tries when it is told none. */
LOADABLE_ENTRY int sqlite3_cliniccache_init(sqlite3 *db, char **problem,
					    const sqlite3_api_routines *api);

int sqlite3_cliniccache_init(sqlite3 *db, char **problem, const sqlite3_api_routines *api)
{
	return sqlite3_clinic_cache_init(db, problem, api);
}

LOADABLE_ENTRY int sqlite3_extension_init(sqlite3 *db, char **problem,
					  const sqlite3_api_routines *api);

int sqlite3_extension_init(sqlite3 *db, char **problem, const sqlite3_api_routines *api)
{
	return sqlite3_clinic_cache_init(db, problem, api);
}
