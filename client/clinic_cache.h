/*
 * libclinic_cache: keeps a SQLite file equal to the clinic's server.
 *
 * The core does no I/O but SQLite: it is given bytes, a clock and events of a
 * link, and says what to send, what to fetch and when to come back.  Whoever
 * owns the sockets (the clinic-cache command, or an app) drives it:
 *
 *	clinic_cache_open()
 *	loop:
 *		clinic_cache_next_action()   -> CONNECT, FETCH_SNAPSHOT, WAIT or STOP
 *		link opened                  -> clinic_cache_connected()
 *		bytes of a message           -> clinic_cache_receive()
 *		clinic_cache_next_frame()    -> send each, until NULL
 *		link gone                    -> clinic_cache_disconnected()
 *		snapshot file fetched        -> clinic_cache_snapshot_fetched()
 *		every now and then           -> clinic_cache_tick(); at once, when
 *		                                WAIT says wait_ms 0: work is left over
 *	clinic_cache_close()
 *
 * One handle belongs to one thread at a time.  There are no globals; nothing
 * is printed; nothing exits.  Times are milliseconds of any monotonic clock.
 */
#ifndef CLINIC_CACHE_H
#define CLINIC_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CLINIC_CACHE_CHECKED __attribute__((warn_unused_result))
#else
#define CLINIC_CACHE_CHECKED
#endif
#ifndef CLINIC_CACHE_API
#if defined(__GNUC__)
#define CLINIC_CACHE_API __attribute__((visibility("default")))
#else
#define CLINIC_CACHE_API
#endif
#endif

struct clinic_cache; /* opaque */

typedef enum {
	CLINIC_CACHE_OK = 0,
	CLINIC_CACHE_ERR_NOMEM,
	CLINIC_CACHE_ERR_USAGE, /* an argument is wrong, or the call came at the wrong time */
	CLINIC_CACHE_ERR_BUSY,  /* another process syncs this file */
	CLINIC_CACHE_ERR_STORE, /* SQLite could not read or write the file (disk full, corrupt …) */
	CLINIC_CACHE_ERR_PROTOCOL, /* the relay sent what no relay should; the link must be closed
				    */
	CLINIC_CACHE_ERR_REFUSED,  /* refused for good: access code or tables; do not reconnect */
} clinic_cache_status;

struct clinic_cache_error {
	clinic_cache_status status;
	int pid; /* CLINIC_CACHE_ERR_BUSY: who holds the file, 0 if not known */
	char text[512];
};

/* Short stable name of a status. Static storage. */
CLINIC_CACHE_API const char *clinic_cache_status_name(clinic_cache_status status);

/*
 * What happened, told after the COMMIT that made it true: the callback may
 * read the row from the file (its own connection, or clinic_cache_* getters)
 * but must not call the functions that drive this handle.
 *
 * type is one of the event names of the change (billing_change_immediate,
 * patient_data_change_immediate, user_data_change_immediate,
 * data_change_immediate, or the server's own), or
 *   ui_refresh_requested   once per transaction; tables lists what changed
 *   table_sync_completed   a table arrived whole (table, rows); detail, if there is one: the
 *                          file's was not what the server's is, and how much was put right
 *   full_sync_completed    a snapshot was applied (rows, cursor)
 *   table_differs          a table of the file is not what the server's is; it is fetched
 *   sync_now_completed     a manual sync has ended well (rows: tables that had to be put right)
 *   row_parked             the file refuses a row of the server (table, key); it waits beside
 *   sync_error             detail says what; sync goes on or stops by status
 *   row_parked             the app's own table refuses a row (table, key); it waits in
 *                          clinic_cache_parked until the table takes it
 *   connected, disconnected
 */
struct clinic_cache_event {
	const char *type;
	const char *table; /* NULL where no table is meant */
	const char
		*operation; /* insert, update, delete, put, truncate, oversize, schema; or NULL */
	const char *key;    /* JSON object text; or NULL */
	const char *origin; /* who caused the change; or NULL */
	const char *cursor; /* the cursor the file has now; or NULL */
	const char *detail; /* sync_error, disconnected: a sentence without row data; or NULL */
	const char *const *tables; /* ui_refresh_requested */
	size_t table_count;
	/* table_sync_completed, full_sync_completed, sync_now_completed; else -1 */
	int64_t rows;
};
typedef void (*clinic_cache_on_event)(const struct clinic_cache_event *event, void *context);

struct clinic_cache_options {
	const char *url; /* ws://host:port/ws; remembered in the file; NULL: the remembered one */
	const char
		*access_code; /* sent in client_info; NULL: none (then the link sends the header) */
	const char *device_name; /* shown to the DBA; NULL: none */
	const char *app_version; /* NULL: the library's version */
	const char *const
		*tables; /* only these tables; table_count 0: the remembered set, else all */
	size_t table_count;
	uint32_t reconnect_least_ms;    /* 0: 1000 */
	uint32_t reconnect_most_ms;     /* 0: 60000 */
	clinic_cache_on_event on_event; /* may be NULL */
	void *context;
	/* no event for each change, only ui_refresh_requested and the rest; a batch of a
	 * million rows is done earlier */
	bool no_change_events;
	/* How often the file is compared with the server, in seconds: 0: as the relay says;
	 * -1: never; 1 to 3600 */
	int sync_interval_s;
	/* A file with rows in a table that is to be synced which never came from the server:
	 * NULL: it is refused, see clinic_cache_difference_of(); "server": the server's replace
	 * them, after a copy of the file was made, and rows only here are kept as orphans */
	const char *adopt;
	/* How the first copy comes: "file" or NULL: as a file over HTTP; "link": over the link */
	const char *full_sync;
	int user_version; /* PRAGMA user_version of a file that is made; -1: leave it at 0 */
	/* Version of the SQLite that the app opens the file with, "3.51.3"; NULL: not known */
	const char *app_sqlite_version;
};

/*
 * Open path for syncing. The file need not exist: it appears, complete, with
 * the first snapshot. Takes the file's sync lock (PATH.clinic-lock; it dies
 * with the process). *out is NULL on failure. err may be NULL.
 */
CLINIC_CACHE_API clinic_cache_status
clinic_cache_open(const char *path, const struct clinic_cache_options *options,
		  struct clinic_cache **out, struct clinic_cache_error *err) CLINIC_CACHE_CHECKED;
CLINIC_CACHE_API void clinic_cache_close(struct clinic_cache *c);

typedef enum {
	CLINIC_CACHE_WAIT,    /* nothing to begin before wait_ms passed or something arrives */
	CLINIC_CACHE_CONNECT, /* open a WebSocket to url */
	CLINIC_CACHE_FETCH_SNAPSHOT, /* GET fetch_path into fetch_file, then snapshot_fetched/failed
				      */
	CLINIC_CACHE_STOP,           /* refused for good; last_error says why */
} clinic_cache_action;

struct clinic_cache_todo {
	clinic_cache_action action;
	uint32_t wait_ms;       /* WAIT */
	const char *url;        /* CONNECT; valid until the next call on the handle */
	const char *fetch_path; /* FETCH_SNAPSHOT: "/db/download?…" */
	const char *fetch_file; /* where to; a part that is there already is resumed by Range */
};
/* What the driver should do now. */
CLINIC_CACHE_API void clinic_cache_next_action(struct clinic_cache *c, uint64_t now_ms,
					       struct clinic_cache_todo *out);

CLINIC_CACHE_API void clinic_cache_connected(struct clinic_cache *c, uint64_t now_ms);
/* The link is gone (or could not be opened); close_code 0 when there was none. */
CLINIC_CACHE_API void clinic_cache_disconnected(struct clinic_cache *c, uint64_t now_ms,
						int close_code, const char *reason);
/* One whole message from the relay. On ERR_PROTOCOL close the link; ERR_STORE: see last_error. */
CLINIC_CACHE_API clinic_cache_status clinic_cache_receive(struct clinic_cache *c, uint64_t now_ms,
							  const void *bytes,
							  size_t len) CLINIC_CACHE_CHECKED;
/*
 * The same for a driver that knows more bytes to wait behind this message:
 * frames may be held back and then be applied together, in one transaction,
 * which is many times faster for a device that was away. What is held (a few
 * megabytes at most) is applied by the next clinic_cache_receive() or by
 * clinic_cache_apply_held(); a driver calls that when nothing waits any more.
 */
CLINIC_CACHE_API clinic_cache_status clinic_cache_receive_ahead(struct clinic_cache *c,
								uint64_t now_ms, const void *bytes,
								size_t len) CLINIC_CACHE_CHECKED;
CLINIC_CACHE_API bool clinic_cache_holds(const struct clinic_cache *c);
CLINIC_CACHE_API clinic_cache_status clinic_cache_apply_held(struct clinic_cache *c,
							     uint64_t now_ms) CLINIC_CACHE_CHECKED;
/* The next message to send, or NULL; valid until the next call on the handle. */
CLINIC_CACHE_API const char *clinic_cache_next_frame(struct clinic_cache *c, size_t *len);
/* Anything arrived at all (a ping too): the link is alive. */
CLINIC_CACHE_API void clinic_cache_alive(struct clinic_cache *c, uint64_t now_ms);
/* Timers. Returns false when the link was silent too long: close it. */
CLINIC_CACHE_API bool clinic_cache_tick(struct clinic_cache *c, uint64_t now_ms);

/* The file named by the last FETCH_SNAPSHOT is complete: apply it (may take seconds). */
CLINIC_CACHE_API clinic_cache_status
clinic_cache_snapshot_fetched(struct clinic_cache *c, uint64_t now_ms) CLINIC_CACHE_CHECKED;
/* It could not be fetched; the core retries with backoff. http_status 0: no answer. 401 stops for
 * good. */
CLINIC_CACHE_API void clinic_cache_snapshot_failed(struct clinic_cache *c, uint64_t now_ms,
						   int http_status, const char *reason);

/* True if clinic_cache_next_frame() has something: timers and work find messages to send, too. */
CLINIC_CACHE_API bool clinic_cache_has_frame(const struct clinic_cache *c);

/*
 * Sync now: compare whole tables with the server and put right what differs.
 * It is done when every table of the scope was proven equal to a state of the
 * server that is newer than this call, or was fetched anew after it.  An absent
 * link is tried at once.  It fails after CLINIC_CACHE_SYNC_NOW_MS without any
 * progress (no link, no answer).  A call while another one runs joins it.
 */
#define CLINIC_CACHE_SYNC_NOW_MS 120000

enum clinic_cache_scope {
	CLINIC_CACHE_SCOPE_ALL,
	/* tables whose changes are patient_data_change_immediate or billing_change_immediate */
	CLINIC_CACHE_SCOPE_PATIENT_DATA,
	CLINIC_CACHE_SCOPE_TABLE, /* the one that table names */
};
typedef enum {
	CLINIC_CACHE_SYNC_NOW_NONE, /* never asked for */
	CLINIC_CACHE_SYNC_NOW_RUNNING,
	CLINIC_CACHE_SYNC_NOW_DONE, /* event sync_now_completed */
	CLINIC_CACHE_SYNC_NOW_FAILED,
} clinic_cache_sync_now_result;
CLINIC_CACHE_API clinic_cache_status clinic_cache_sync_now(struct clinic_cache *c,
							   enum clinic_cache_scope scope,
							   const char *table,
							   uint64_t now_ms) CLINIC_CACHE_CHECKED;
CLINIC_CACHE_API clinic_cache_sync_now_result
clinic_cache_sync_now_state(const struct clinic_cache *c);
/* FAILED: a sentence that says why; else NULL. */
CLINIC_CACHE_API const char *clinic_cache_sync_now_problem(const struct clinic_cache *c);
/* How many tables the last (or running) one had to put right. */
CLINIC_CACHE_API int64_t clinic_cache_sync_now_repairs(const struct clinic_cache *c);

/* True when nothing will be tried any more; last_error says why, in the sync_error event too. */
CLINIC_CACHE_API bool clinic_cache_is_stopped(const struct clinic_cache *c);
/* True when the file has every batch the relay had announced when it last spoke. */
CLINIC_CACHE_API bool clinic_cache_is_level(const struct clinic_cache *c);
/* Last error of the handle; never NULL. */
CLINIC_CACHE_API const struct clinic_cache_error *
clinic_cache_last_error(const struct clinic_cache *c);
CLINIC_CACHE_API const char *clinic_cache_cursor(const struct clinic_cache *c); /* NULL: none yet */
CLINIC_CACHE_API const char *clinic_cache_device_id(const struct clinic_cache *c);
/* A sentence the user should see about the SQLite in use (its WAL-reset bug), or NULL. */
CLINIC_CACHE_API const char *clinic_cache_remark(void);

/*
 * A file that has rows in a table of the server's and was never synced is
 * refused (ERR_USAGE, stopped) when the snapshot is there and was compared
 * with it. Nothing of the file was changed; this is what was found.
 */
struct clinic_cache_table_difference {
	char name[64];
	int64_t here;       /* rows in the file */
	int64_t there;      /* rows at the server */
	int64_t only_here;  /* keys that the server does not have */
	int64_t only_there; /* keys that the file does not have */
	int64_t different;  /* the same key, other values */
};
struct clinic_cache_difference {
	size_t table_count;
	struct clinic_cache_table_difference *tables;
};
/* NULL: nothing was compared, or nothing stood against it. Valid until the handle is closed. */
CLINIC_CACHE_API const struct clinic_cache_difference *
clinic_cache_difference_of(const struct clinic_cache *c);

/* ---- reading a file beside whoever syncs it ---------------------------------------------- */

struct clinic_cache_table_status {
	char name[64];
	int64_t rows;
	int64_t oversize_rows; /* rows the server holds and the cache does not */
	int64_t parked_rows;   /* rows the app's table refuses; clinic_cache_parked */
	bool adopted;          /* a table of the app's own, with its own schema */
};

struct clinic_cache_file_status {
	char url[512];
	char device_id[65];
	char cursor[64]; /* empty: never synced */
	char snapshot_at[32];
	char last_frame_at[32];
	int syncing_pid;     /* 0: nobody syncs the file now */
	int64_t diverged;    /* how often the file was found not to be what its cursor says */
	int64_t repairs;     /* how often a table was found to differ and was fetched anew */
	int64_t parked;      /* rows of the server that the file refuses: clinic_cache_parked */
	int64_t orphans;     /* rows that were only here when the file was adopted */
	char proven_at[32];  /* when a comparison last found all it looked at equal; empty: never */
	int sync_interval_s; /* how often that happens; 0: not at all */
	char adopted_at[32]; /* when the app's tables were adopted last; empty: never */
	char backup[512];    /* the copy of the file made before that */
	char journal_mode[16];    /* wal, delete … */
	char journal_reason[200]; /* why that */
	bool foreign_writer;      /* another program writes the file, too */
	int64_t longest_lock_ms;  /* the longest write lock for frames … */
	int64_t longest_swap_ms;  /* … and for a snapshot, a table or a giant batch */
	size_t table_count;
	struct clinic_cache_table_status *tables; /* owned by this struct */
};
CLINIC_CACHE_API clinic_cache_status
clinic_cache_read_status(const char *path, struct clinic_cache_file_status *out,
			 struct clinic_cache_error *err) CLINIC_CACHE_CHECKED;
CLINIC_CACHE_API void clinic_cache_free_status(struct clinic_cache_file_status *status);

/*
 * A frozen view of a file, for comparing it with a digest taken at a cursor.
 * clinic_cache_view_open() fails with ERR_USAGE when the file has no cursor.
 */
struct clinic_cache_view; /* opaque */
CLINIC_CACHE_API clinic_cache_status
clinic_cache_view_open(const char *path, struct clinic_cache_view **out,
		       struct clinic_cache_error *err) CLINIC_CACHE_CHECKED;
CLINIC_CACHE_API void clinic_cache_view_close(struct clinic_cache_view *v);
/* Let go of the old view and see the file as it is now. */
CLINIC_CACHE_API clinic_cache_status clinic_cache_view_refresh(
	struct clinic_cache_view *v, struct clinic_cache_error *err) CLINIC_CACHE_CHECKED;
/*
 * A file with a rollback journal cannot be written while it is read: a view
 * that is to last keeps what it sees in a copy, and one whose cursor was all
 * that was wanted lets go of it until it is refreshed. Neither does anything
 * in a file with a WAL.
 */
CLINIC_CACHE_API clinic_cache_status clinic_cache_view_keep(
	struct clinic_cache_view *v, struct clinic_cache_error *err) CLINIC_CACHE_CHECKED;
CLINIC_CACHE_API void clinic_cache_view_let_go(struct clinic_cache_view *v);
CLINIC_CACHE_API const char *clinic_cache_view_cursor(const struct clinic_cache_view *v);
CLINIC_CACHE_API size_t clinic_cache_view_table_count(const struct clinic_cache_view *v);
CLINIC_CACHE_API const char *clinic_cache_view_table(const struct clinic_cache_view *v, size_t i);
/* The i-th delivered column that the file's own table lacks: it is skipped. NULL: no more. */
CLINIC_CACHE_API const char *clinic_cache_view_skipped(const struct clinic_cache_view *v,
						       const char *table, size_t i);
/* Rows that the file's own table refuses: they wait in clinic_cache_parked. */
CLINIC_CACHE_API clinic_cache_status
clinic_cache_view_parked(struct clinic_cache_view *v, const char *table, int64_t *rows,
			 struct clinic_cache_error *err) CLINIC_CACHE_CHECKED;
/*
 * Digest of docs/protocol.md over the delivered columns that the file has,
 * parked rows included; hash: 16 hex digits and NUL.
 */
CLINIC_CACHE_API clinic_cache_status
clinic_cache_view_digest(struct clinic_cache_view *v, const char *table, int64_t *rows,
			 char hash[17], struct clinic_cache_error *err) CLINIC_CACHE_CHECKED;
/* Call on_row for every row with its key object text and row hash. */
CLINIC_CACHE_API clinic_cache_status
clinic_cache_view_row_hashes(struct clinic_cache_view *v, const char *table,
			     void (*on_row)(const char *key, const char *row_hash, void *context),
			     void *context, struct clinic_cache_error *err) CLINIC_CACHE_CHECKED;

#ifdef __cplusplus
}
#endif

#endif
