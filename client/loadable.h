/*
 * clinic_cache.so: the cache's core as an SQLite extension.
 *
 * An app whose language brings its own SQLite must not open the cache's file
 * with a second one: POSIX locks belong to the process, and each SQLite would
 * take away the other's.  So here the core works on the app's own connection,
 * through the SQL functions of docs/loadable.md, and the app drives it as it
 * would drive the library: it owns the sockets, and tells what came.
 *
 * One cache per connection.  A call borrows the connection (loadable_borrow.c)
 * and gives it back as it was; nothing is prepared on it between two calls.
 */
#ifndef CLINIC_CACHE_LOADABLE_H
#define CLINIC_CACHE_LOADABLE_H

#ifndef CACHE_LOADABLE
#define CACHE_LOADABLE /* these files are for nothing else; the core's are told by the Makefile */
#endif
#include "cache_sqlite.h"
#include "clinic_cache.h"
#include "dynbuf.h"

#define LOADABLE_EVENTS_MOST 10000
#define LOADABLE_EVENT_BYTES_MOST ((size_t)16 << 20)

/* Events since the app last asked, as the inside of a JSON array. */
struct event_queue {
	struct dynbuf text;
	size_t count;
	size_t most;
	uint64_t lost; /* that did not fit, since the app last asked */
	uint64_t lost_ever;
};

void event_queue_init(struct event_queue *q, size_t most);
void event_queue_free(struct event_queue *q);
/* clinic_cache_on_event; context is the queue. */
void event_queue_put(const struct clinic_cache_event *event, void *context);
/* All of it as a JSON array, an events_lost at its end if any were; then it is empty. */
bool event_queue_take(struct event_queue *q, struct dynbuf *out);

/* What of a lender's connection is changed for the length of a call. */
struct borrowed_settings {
	int flags[3];
	sqlite3_int64 last_rowid;
};

struct loaded {
	sqlite3 *db;
	unsigned references;        /* functions that are registered with it */
	struct clinic_cache *cache; /* NULL: none is open */
	bool inside;                /* a call runs */
	struct event_queue events;
	struct borrowed_settings before;
};

struct loadable_function {
	const char *name;
	int count; /* of its arguments */
	void (*call)(sqlite3_context *call, int count, sqlite3_value **values);
};
/* All of them, ended by one without a name. */
extern const struct loadable_function loadable_functions[];

/*
 * Borrow the connection for a call: true, and borrow_end() must follow. Else
 * the call has failed with an error that says what to do, and nothing was done.
 */
bool borrow_begin(struct loaded *l, sqlite3_context *call);
void borrow_end(struct loaded *l);
/* The call fails with text. */
void loadable_fail(sqlite3_context *call, int code, const char *text);
/* The call fails with the library's error, and what to do about it. */
void loadable_fail_cache(sqlite3_context *call, const struct clinic_cache_error *error);

/* clinic_cache_open(options): loadable_open.c */
void loadable_open(sqlite3_context *call, int count, sqlite3_value **values);
/* JSON for next_action and state: loadable_show.c; the call fails when memory runs out. */
void loadable_show_todo(sqlite3_context *call, struct loaded *l,
			const struct clinic_cache_todo *todo);
void loadable_show_state(sqlite3_context *call, struct loaded *l);

#endif
