/*
 * What the parts of libclinic_cache know of each other.
 *
 *	session   what to do next: connect, fetch, wait          cache_session.c
 *	protocol  a message comes in                             cache_protocol.c
 *	prove     is the file what the server is?                cache_prove.c
 *	repair    one table anew, the others go on               cache_repair.c, cache_table_part.c
 *	full      all tables over the link                       cache_full.c
 *	frame     one frame, one SQLite transaction, the cursor  cache_frame.c
 *	apply     one change, one row                            cache_apply.c
 *	snapshot  a whole file comes in                          cache_snapshot.c, cache_merge.c
 *	store     the file itself: connection, meta, tables,     cache_store.c, cache_meta.c,
 *	          what lies beside it                            cache_table.c, cache_beside.c
 *
 * Calls go downwards only.  The invariant of the file, at every moment another
 * process can look: its tables equal the server at the cursor in its meta table.
 */
#ifndef CLINIC_CACHE_INTERNAL_H
#define CLINIC_CACHE_INTERNAL_H

#include <jansson.h>
#include <string.h>

#include "backoff.h"
#include "cache_sqlite.h"
#include "clinic_cache.h"
#include "cursor.h"
#include "dynbuf.h"
#include "platform.h"
#include "schema.h"
#include "status.h"
#include "value.h"

#define CACHE_MESSAGE_BYTES_MOST ((size_t)512 << 20) /* a row of max_row_bytes, escaped */
#define CACHE_SQL_BYTES_MOST ((size_t)1 << 20)
#define CACHE_TABLES_MOST 1000
#define CACHE_STATEMENTS_MOST 64
#define CACHE_BUSY_TIMEOUT_MS 10000
/* So long may frames hold the write lock before they commit, or wait while they hold it. */
#define CACHE_LOCK_MS 30
#define CACHE_OUTGOING_MOST 8
/* Of tables that come over the link, beside the file until they are whole. */
#ifndef CACHE_FETCH_BYTES_MOST
#define CACHE_FETCH_BYTES_MOST ((uint64_t)16 << 30)
#endif
#define CACHE_HOLD_FRAMES_MOST 1000
#define CACHE_HOLD_BYTES_MOST ((size_t)4 << 20)

/* ---- a synced table --------------------------------------------------------------------- */

#define NUMBER_UNKNOWN INT64_MIN

/* What SQLite makes of a value that goes into a column. */
typedef enum {
	AFFINITY_NONE,
	AFFINITY_TEXT,
	AFFINITY_NUMERIC, /* and INTEGER, which for what we bind is the same */
	AFFINITY_REAL,
} column_affinity;

/* How the file's own table holds a delivered column. */
struct local_column {
	bool missing;   /* the table has none of that name, or one it computes itself: skipped */
	bool converted; /* the column's affinity is not that of the class */
	bool collated;  /* compares otherwise than byte by byte */
	column_affinity affinity;
};

/* A column of the file that nobody delivers. */
struct extra_column {
	char *name;
	const char *fill; /* what a new row must get there, as SQL; NULL: it gets something */
};

struct cached_table {
	struct schema *schema;
	struct local_column *local; /* by position in the schema */
	char *local_names;          /* every stored column of the file's table, `"a", "b"` */
	char *local_declarations;   /* the same with their types */
	char *extra_names;          /* columns the server does not deliver; NULL: none */
	struct extra_column *extra; /* the same, one by one */
	size_t extra_count;
	int numbered;      /* which of them SQLite numbers, for it is the rowid; -1: none */
	int64_t kept_most; /* the largest such number of a parked row; NUMBER_UNKNOWN */
	const char *rowid; /* name of a rowid that no column is; NULL: there is none */
	size_t missing;    /* how many delivered columns are */
	bool converts;     /* some column is converted … */
	bool key_converts; /* … one of the key */
	bool key_collates; /* some column of the key is collated */
	bool adopted;      /* the app's own: its schema stays, and what it refuses is parked */
	bool lenient;      /* it is to be fetched anew: a row that is missing is no divergence */
	bool has_exact;    /* may have rows in clinic_sync_exact */
	bool has_oversize; /* may have rows in clinic_sync_oversize */
	bool has_parked;   /* may have rows in clinic_cache_parked */
	bool retry_all;    /* parked rows were not tried since the table was read */
	char *retry_after; /* key of the parked row that was tried last; NULL: none */
	bool indexes_due;  /* the schema changed in this frame */
	bool moved;        /* slow form: the temporary twin exists */
	bool touched;      /* the frame in hand changes it */
};

struct table_set {
	struct cached_table **items;
	size_t count;
};

/* ---- prepared statements ---------------------------------------------------------------- */

typedef enum {
	STATEMENT_UPSERT, /* delivered columns; on conflict of the key set them */
	STATEMENT_INSERT, /* delivered columns of a row that is new */
	STATEMENT_UPDATE, /* delivered columns, then the key */
	STATEMENT_DELETE, /* the key */
	STATEMENT_PULL,   /* the key; main row into its temporary twin */
} statement_kind;

struct statement {
	const struct cached_table *table;
	statement_kind kind;
	bool temp; /* works on the temporary twin */
	size_t column_count;
	uint16_t *columns; /* positions in the schema, in the order they are bound; behind those
			      of the schema, positions in the table's extra columns */
	sqlite3_stmt *stmt;
	uint64_t used_at;
};

/* ---- frames that wait to be applied together; cache_hold.c ------------------------------- */

struct waiting_frame {
	const char *bytes; /* the message */
	size_t len;
	char to[CURSOR_TEXT_BYTES];
	char time[CURSOR_TEXT_BYTES]; /* empty: it says none */
};

struct frame_hold {
	struct waiting_frame *frames; /* CACHE_HOLD_FRAMES_MOST; NULL: none so far */
	char **copies;                /* their bytes, owned */
	size_t count;
	size_t bytes;
};

/* ---- others who use the file; cache_write.c, cache_drift.c, cache_journal.c ---------------- */

typedef enum {
	WRITE_SHORT, /* frames: gives way to readers and writers after CACHE_LOCK_MS */
	WRITE_LONG,  /* a table or all tables are replaced, a giant batch is applied */
} write_kind;

struct file_use {
	write_kind kind;
	bool beginning;      /* inside BEGIN IMMEDIATE */
	bool probing;        /* … or a COMMIT's lock is tried */
	bool writing;        /* our write transaction is open */
	bool gave_way;       /* the last failure was somebody's lock … */
	bool again;          /* … and the same is tried again */
	uint64_t trying_at;  /* ms: since when */
	uint64_t waiting_at; /* ms: since when the lock of the moment is waited for */
	uint64_t since_us;   /* when we got the write lock */
	uint64_t ended_us;   /* when we let go of it last … */
	uint64_t held_us;    /* … after so long */
	int64_t longest_lock_ms;
	int64_t longest_swap_ms;
	int64_t data_version;   /* moves when somebody else commits */
	int64_t schema_version; /* the schema as we know it; -1: not known */
	bool foreign;           /* somebody else writes the file */
	bool journal_due;       /* the journal's mode is to be chosen (again) */
	bool doubt;        /* as meta `doubt` has it: are the tables' rows still the server's? */
	bool proving;      /* a sync now is to end the doubt */
	uint64_t doubt_at; /* ms: when to begin one */
	uint64_t look_at;  /* ms: when to look next whether somebody changed the schema */
	char **due;        /* tables to be fetched whole, as meta `repair_due` has them */
	size_t due_count;
};

/* ---- the handle ------------------------------------------------------------------------- */

struct stage;  /* parts of a giant batch; cache_stage.c */
struct prove;  /* the proof in hand; cache_prove.c */
struct repair; /* the repair in hand; cache_repair.c */
struct wishes; /* those that wait; cache_wish.c */
struct full;   /* the full sync in hand; cache_full.c */

/* The conversation on the link. */
typedef enum {
	LINK_DOWN,
	LINK_CONNECTING, /* the driver was told to */
	LINK_OPEN,       /* client_info is sent; no request_sync outstanding */
	LINK_ASKED,      /* request_sync is sent */
	LINK_READY,      /* frames follow */
	LINK_BROKEN,     /* told the driver to close; nothing more is believed */
} link_state;

struct clinic_cache {
	/* what the caller gave */
	char *path;
	char *part_path;  /* the snapshot being fetched */
	char *ready_path; /* the fetched one while it is made ready */
	char *url;
	char *access_code;
	char *device_name;
	char *app_version;
	char **wanted; /* tables; none: all */
	size_t wanted_count;
	clinic_cache_on_event on_event;
	void *context;
	bool no_change_events;
	int sync_interval_s; /* as the option */
	bool adopt_server;
	bool full_by_link;
	int user_version;
	char *app_sqlite_version;
	uint64_t fetch_bytes_most; /* CACHE_FETCH_BYTES_MOST */
	platform_file lock;

	/*
	 * The file; db is NULL while there is none.  A borrowed one is its lender's
	 * connection (clinic_cache.so): it is never closed, nothing stays prepared on it
	 * between two calls, and no setting of it may be changed that
	 * loadable_borrow.c does not put back after each call.
	 */
	sqlite3 *db;
	sqlite3 *lender;
	bool borrowed;
	uint64_t wal_inode; /* of its -wal; 0: not known */
	struct file_use use;
	struct clinic_cache_difference difference;
	struct table_set tables;
	struct statement statements[CACHE_STATEMENTS_MOST];
	uint64_t statement_clock;
	struct dynbuf scratch; /* decoded blobs, printed numbers */
	struct dynbuf sql;
	struct dynbuf key;              /* text of the key in hand */
	bool parked_now;                /* temp.clinic_cache_due has rows */
	char cursor[CURSOR_TEXT_BYTES]; /* empty: none */
	char device_id[65];

	/* the link */
	link_state link;
	bool level;
	bool stopped;
	bool fresh_wanted; /* the file is not what its cursor says, or holds other tables than
			      wanted */
	uint64_t now_ms;   /* of the call in hand */
	uint64_t alive_at;
	uint64_t retry_at;
	uint32_t dead_after_ms;
	uint32_t reconnect_spread_ms; /* what the relay asks for; 0: not connected since */
	struct backoff link_backoff;
	struct backoff fetch_backoff;
	struct stage *stage;
	struct frame_hold hold;
	char *outgoing[CACHE_OUTGOING_MOST];
	size_t outgoing_count;
	char *sending; /* what next_frame() gave out last */

	/* the snapshot */
	bool snapshot_wanted;
	bool fetching;
	uint64_t fetch_at;
	char snapshot_min[CURSOR_TEXT_BYTES]; /* empty: any */
	char *fetch_path;

	/* comparing and repairing */
	struct prove *prove;
	struct repair *repair;
	struct wishes *wishes;
	struct full *full; /* NULL: none runs */

	struct clinic_cache_error last_error;
};

/* ---- store: cache_store.c --------------------------------------------------------------- */

/* Open path with the settings every writing connection has. *out NULL on failure. */
cs_status store_open(const char *path, int flags, sqlite3 **out, struct cs_error *err) CS_CHECKED;
/* SQLite's message for db as an error of ours. */
cs_status store_fail(sqlite3 *db, const char *doing, struct cs_error *err);
cs_status store_exec(sqlite3 *db, const char *sql, struct cs_error *err) CS_CHECKED;
cs_status store_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out,
			struct cs_error *err) CS_CHECKED;
/* sqlite3_step() whose result code is an extended one, also on a borrowed connection. */
int store_step(sqlite3_stmt *stmt);
/* One integer out of a query without rows or NULL: 0. */
cs_status store_integer(sqlite3 *db, const char *sql, int64_t *out,
			struct cs_error *err) CS_CHECKED;
/* Roll back if a transaction is open. */
void store_rollback(sqlite3 *db);
/* True if the file at db's path is no longer the one that is open. */
bool store_moved(sqlite3 *db);
bool store_table_exists(sqlite3 *db, const char *schema, const char *table);

/* ---- the files beside a database: cache_beside.c ------------------------------------------ */

/* Inode of the -wal of path; 0: there is none. */
uint64_t beside_wal_inode(const char *path);
bool beside_has_wal(const char *path);
/* Remove what SQLite kept beside path: only when the file itself is not there (any more). */
void beside_remove(const char *path);

/* ---- meta: cache_meta.c ----------------------------------------------------------------- */

/* Create clinic_sync_meta and the other side tables where they are missing. */
cs_status meta_create(sqlite3 *db, struct cs_error *err) CS_CHECKED;
/* Copy the value of key into out (size bytes); empty if there is none. */
cs_status meta_get(sqlite3 *db, const char *schema, const char *key, char *out, size_t size,
		   struct cs_error *err) CS_CHECKED;
/* value NULL: forget it */
cs_status meta_set(sqlite3 *db, const char *key, const char *value,
		   struct cs_error *err) CS_CHECKED;
/* Move the cursor from what it must be; CS_ERR_PROTOCOL if the file has another one. */
cs_status meta_move_cursor(sqlite3 *db, const char *from, const char *to, const char *time,
			   struct cs_error *err) CS_CHECKED;
/* Names in a JSON array stored under key; *names NULL when absent. Owned by the caller. */
cs_status meta_get_names(sqlite3 *db, const char *key, char ***names, size_t *count,
			 struct cs_error *err) CS_CHECKED;
cs_status meta_set_names(sqlite3 *db, const char *key, char *const *names, size_t count,
			 struct cs_error *err) CS_CHECKED;
/* Put name into that array, or take it out, if need be. */
cs_status meta_add_name(sqlite3 *db, const char *key, const char *name,
			struct cs_error *err) CS_CHECKED;
cs_status meta_remove_name(sqlite3 *db, const char *key, const char *name,
			   struct cs_error *err) CS_CHECKED;
cs_status names_parse(const char *json, char ***names, size_t *count,
		      struct cs_error *err) CS_CHECKED;
void names_free(char **names, size_t count);
bool names_have(char *const *names, size_t count, const char *name);
/* Random version 4 UUID, 37 bytes. */
void meta_new_device_id(char *out);

/* ---- write transactions: cache_write.c ---------------------------------------------------- */

/*
 * BEGIN IMMEDIATE, after waiting for other writers (CACHE_BUSY_TIMEOUT_MS at
 * most). Notices whether somebody else wrote meanwhile; if that was the schema,
 * the synced tables are put right first (cache_drift.c), and c->tables is
 * another one afterwards. Every write transaction begins and ends here.
 */
cs_status write_begin(struct clinic_cache *c, write_kind kind, struct cs_error *err) CS_CHECKED;
cs_status write_commit(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
void write_rollback(struct clinic_cache *c);
/* How long the open transaction has held the lock. */
uint32_t write_held_ms(const struct clinic_cache *c);
/*
 * After a failure and a rollback: if it was only somebody's lock and the time
 * for it is not over, wait a moment, empty err and say true: try again.
 */
bool write_try_again(struct clinic_cache *c, struct cs_error *err);
/* Has anybody else committed since we last looked?  Then the file remembers it. */
cs_status write_look_for_others(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
/* What moved the file since then was ourselves, outside of a write transaction. */
cs_status write_was_ours(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
/* The busy handler of c->db; none, for what is not worth waiting for. */
void write_watch(struct clinic_cache *c);
void write_do_not_wait(struct clinic_cache *c);
/* After each open: forget what was known of the file's users, read what it remembers. */
cs_status write_open(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;

/* ---- tables: cache_table.c -------------------------------------------------------------- */

/*
 * Read clinic_sync_table; CS_ERR_DIVERGED if the file lacks a table that it
 * names, or a column of its key, or (in a table of ours) any column.
 */
cs_status tables_load(sqlite3 *db, struct table_set *out, struct cs_error *err) CS_CHECKED;
void tables_free(struct table_set *set);
void table_free(struct cached_table *t);
struct cached_table *tables_find(const struct table_set *set, const char *name, size_t len);
/* Look at the file's own columns of the table again; cache_local.c. */
cs_status table_read_local(sqlite3 *db, struct cached_table *t, struct cs_error *err) CS_CHECKED;
/* Position of the column that a column of the file stands for, or -1; cache_local.c. */
int table_find_delivered(const struct schema *schema, const char *name);
/* Names of delivered columns that the file lacks, `"a","b"` as JSON, appended to out; *any. */
cs_status table_add_skipped(const struct cached_table *t, struct dynbuf *out, bool *any,
			    struct cs_error *err) CS_CHECKED;
/*
 * The table's name in main, or its twin's in temp: one of our own, since the
 * lender of a connection may have temporary tables of any name. Returns out.
 */
#define TABLE_NAME_BYTES 128
const char *table_name_in(const char *where, const char *table, char out[TABLE_NAME_BYTES]);
/* Add the columns of schema that the table in main (or its twin in temp) lacks, empty. */
cs_status table_add_columns(sqlite3 *db, const char *where, const struct schema *schema,
			    struct cs_error *err) CS_CHECKED;
cs_status table_create_indexes(sqlite3 *db, const struct schema *schema,
			       struct cs_error *err) CS_CHECKED;
/* clinic_sync_table row of the schema; rows is what the snapshot had. */
cs_status table_remember(sqlite3 *db, const struct schema *schema, int64_t rows,
			 struct cs_error *err) CS_CHECKED;
/* `"a", "b"` of the key. */
void table_add_key_names(struct dynbuf *b, const struct schema *s);
/* `"a" = ?N AND …` for the key, first parameter number given. */
void table_add_key_condition(struct dynbuf *b, const struct cached_table *t,
			     size_t first_parameter);
/* `left."a" = right."a" AND …` for the key of two tables. */
void table_add_key_match(struct dynbuf *b, const struct cached_table *t, const char *left,
			 const char *right);

/* ---- statements: cache_statement.c ------------------------------------------------------ */

/* A reset statement for the table and columns; borrowed until the next call. */
cs_status statement_get(struct clinic_cache *c, const struct cached_table *t, statement_kind kind,
			bool temp, const uint16_t *columns, size_t column_count, sqlite3_stmt **out,
			struct cs_error *err) CS_CHECKED;
void statements_clear(struct clinic_cache *c);

/* ---- changes as they come: cache_change.c -------------------------------------------------- */

typedef enum {
	WIRE_ABSENT,
	WIRE_NULL,
	WIRE_STRING,
	WIRE_BOOLEAN,
	WIRE_NUMBER,
	WIRE_OTHER, /* an object or array */
} wire_form;

/* A value of the wire. Its text is not ended by a NUL and lives as long as the change. */
struct wire_value {
	wire_form form;
	const char *text;
	size_t len;
};

struct wire_field {
	const char *name;
	size_t name_len;
	struct wire_value value;
};

struct wire_object {
	bool there;
	struct wire_field *fields; /* in the order of the message; names may repeat */
	size_t count;
	size_t room;
	const char *json; /* its own text */
	size_t json_len;
};

struct wire_change {
	struct wire_value event, table, operation, origin;
	struct wire_object key, data;
	bool data_is_null; /* it says null, which is not the same as nothing */
};

typedef cs_status change_reader_fn(void *context, const struct wire_change *change,
				   struct cs_error *err);
/* Call on_change for every change of the message until one fails. */
cs_status changes_read(const char *message, size_t len, change_reader_fn *on_change, void *context,
		       struct cs_error *err) CS_CHECKED;
/* The value of a field, looked for from position guess on; NULL: it is not there. */
const struct wire_value *wire_object_get(const struct wire_object *o, size_t guess,
					 const char *name);
static inline bool wire_is(const char *text, size_t len, const char *word)
{
	return strncmp(word, text, len) == 0 && word[len] == '\0';
}

/* ---- changes and frames: cache_apply.c, cache_frame.c, cache_stage.c --------------------- */

/* Apply one change object to main, or in the slow form to the temporary twins. */
cs_status apply_change(struct clinic_cache *c, const struct wire_change *change, bool slow,
		       bool *unique, struct cs_error *err) CS_CHECKED;
/* Slow form: make the twin of t; put all twins' rows back and drop them. */
cs_status slow_move_table(struct clinic_cache *c, struct cached_table *t,
			  struct cs_error *err) CS_CHECKED;
cs_status slow_finish(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;

/* The messages of a transaction: waiting frames, or the staged parts of one. */
struct frame_source {
	const struct waiting_frame *frames;
	size_t count; /* of frames; fewer when the transaction's time is over */
	size_t next;
	struct stage *stage; /* then frames is NULL */
	char *held;          /* the staged part in hand */
};
void source_rewind(struct frame_source *s);
/* The next message. *out NULL at the end; borrowed until the next call. */
cs_status source_next(struct frame_source *s, const char **out, size_t *len,
		      struct cs_error *err) CS_CHECKED;
void source_done(struct frame_source *s);

/* One transaction: the changes and the cursor. Tells the events afterwards. */
cs_status frame_apply(struct clinic_cache *c, struct frame_source *source, const char *from,
		      const char *to, const char *time, struct cs_error *err) CS_CHECKED;
/*
 * Frames that follow each other and the cursor, in one transaction: all of
 * them, or as many as it has the time for. *applied says how many.
 */
cs_status waiting_apply(struct clinic_cache *c, const struct waiting_frame *frames, size_t count,
			size_t *applied, struct cs_error *err) CS_CHECKED;
/* Keep a copy of a frame that continues hold_cursor(); there is room if the hold is not full. */
cs_status hold_add(struct clinic_cache *c, const struct waiting_frame *frame,
		   struct cs_error *err) CS_CHECKED;
bool hold_is_full(const struct clinic_cache *c);
/* The cursor behind all that is held, or the file's. */
const char *hold_cursor(const struct clinic_cache *c);
/* Apply what is held; afterwards, and after hold_clear(), nothing is. */
cs_status hold_apply(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
void hold_clear(struct clinic_cache *c);
void hold_free(struct clinic_cache *c);
/* A heartbeat that moves the cursor. */
cs_status frame_move_cursor(struct clinic_cache *c, const char *from, const char *to,
			    const char *time, struct cs_error *err) CS_CHECKED;
/* After a rollback or when another connection changed the file: read the tables anew. */
cs_status cache_reload(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;

/* The message with an empty list of changes, or of rows; NULL: it has no list, or none that is
 * plain to see. */
json_t *envelope_parse(const void *bytes, size_t len);

cs_status stage_open(const char *beside, struct stage **out, struct cs_error *err) CS_CHECKED;
cs_status stage_add(struct stage *s, const void *bytes, size_t len,
		    struct cs_error *err) CS_CHECKED;
void stage_rewind(struct stage *s);
/* The next message, or *out NULL at the end; owned by the caller. */
cs_status stage_next(struct stage *s, char **out, size_t *len, struct cs_error *err) CS_CHECKED;
void stage_close(struct stage *s);
/* What the parts have in common; set by cache_protocol.c. */
struct stage_label {
	char from[CURSOR_TEXT_BYTES];
	char to[CURSOR_TEXT_BYTES];
	int64_t next_part;
};
struct stage_label *stage_label(struct stage *s);

/* ---- snapshots: cache_snapshot.c, cache_merge.c ----------------------------------------- */

/* clinic_cache_open() on a connection whose main file it is; lender NULL: on one of our own. */
clinic_cache_status cache_open_on(sqlite3 *lender, const char *path,
				  const struct clinic_cache_options *options,
				  struct clinic_cache **out,
				  struct clinic_cache_error *err) CS_CHECKED;
/* Open the cache's file if it exists and read what it says of itself. */
cs_status cache_open_file(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
void cache_close_file(struct clinic_cache *c);
/* A borrowed connection is being closed: nothing more can be asked of it. */
void cache_lender_gone(struct clinic_cache *c);
/* If the file was moved, deleted or replaced: let go of it and of what it left beside itself. */
bool cache_file_moved(struct clinic_cache *c);
/* Make the fetched file the cache, or bring its content into the one that exists. */
cs_status snapshot_apply(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
/* The content of the snapshot at path replaces ours in one transaction. */
cs_status merge_snapshot(struct clinic_cache *c, const char *path, struct cs_error *err) CS_CHECKED;
/* What the cache adds to a snapshot: device, url, tables, time. */
cs_status snapshot_sign(struct clinic_cache *c, sqlite3 *db, struct cs_error *err) CS_CHECKED;

/* ---- events, locks, session ------------------------------------------------------------- */

void event_simple(struct clinic_cache *c, const char *type, const char *detail);
void event_row(struct clinic_cache *c, const char *type, const char *table, const char *key);
/* One event per change, then ui_refresh_requested; source is read once more. */
void event_frame(struct clinic_cache *c, struct frame_source *source);
/* table_sync_completed for each table, full_sync_completed, ui_refresh_requested. */
void event_snapshot(struct clinic_cache *c);
/* table_sync_completed and ui_refresh_requested for one; table_differs; sync_now_completed. */
void event_table(struct clinic_cache *c, const char *table, int64_t rows, const char *detail);
void event_table_differs(struct clinic_cache *c, const char *table);
void event_sync_now(struct clinic_cache *c, int64_t repairs);

cs_status lock_take(const char *path, platform_file *lock, int *pid,
		    struct cs_error *err) CS_CHECKED;
void lock_release(platform_file lock);
/* The same, and the lock file of path goes, too: for a path that got no cache. */
void lock_remove(const char *path, platform_file lock);
/* Process that holds the lock of path; 0: none (or not known). */
int lock_holder(const char *path);

/* Keep err as the handle's last error and translate it. */
clinic_cache_status cache_result(struct clinic_cache *c, const struct cs_error *err);
clinic_cache_status cache_public_status(cs_status st);
/* The same for calls without a handle; out may be NULL. */
clinic_cache_status cache_publish_error(const struct cs_error *err, struct clinic_cache_error *out);
/* Queue a message (owned by the queue from now on). */
cs_status session_send(struct clinic_cache *c, char *message, struct cs_error *err) CS_CHECKED;
/* No message fits into the queue now. */
bool session_is_full(const struct clinic_cache *c);
cs_status session_request(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
/* The conversation is over: what was under way in it is void, and comes again. */
void session_void(struct clinic_cache *c, uint64_t now_ms);
/* The full sync in hand came to nothing; it is tried again later. */
void session_full_failed(struct clinic_cache *c, const char *why);
/* The file is not what its cursor says: count that in the file, ask for a fresh snapshot. */
void session_want_fresh(struct clinic_cache *c, uint64_t now_ms);
/* The relay refuses us for good: why, and what to do. */
#define SESSION_BAD_ACCESS_CODE                                                                    \
	"the relay refuses the access code; the access code file must hold the one of the clinic"
#define SESSION_BAD_TABLE                                                                          \
	"the relay does not publish a table that was asked for; name only published ones, or all"
void session_stop(struct clinic_cache *c, const char *why);

#include "cache_app.h"
#include "cache_rows.h"
#include "cache_sync.h"

#endif
