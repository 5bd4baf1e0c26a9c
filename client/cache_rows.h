/*
 * What the parts of libclinic_cache that hold rows know of each other: values
 * on their way into columns and out again, rows in the form of the wire, what
 * an app's own table refuses, rows of a snapshot.  Part of cache_internal.h.
 */
#ifndef CLINIC_CACHE_ROWS_H
#define CLINIC_CACHE_ROWS_H

/* ---- values: cache_bind.c --------------------------------------------------------------- */

/*
 * Bind value for the column at a position; *exact false if the text must be
 * kept beside it.  The text must outlive the step.
 */
cs_status bind_value(sqlite3_stmt *stmt, int parameter, const struct cached_table *t,
		     size_t position, const struct wire_value *value, struct dynbuf *scratch,
		     bool *exact, struct cs_error *err) CS_CHECKED;
/* Bind the key columns, from parameter on, and check that the object has just these. */
cs_status bind_key(sqlite3_stmt *stmt, int parameter, const struct cached_table *t,
		   const struct wire_object *key, struct dynbuf *scratch,
		   struct cs_error *err) CS_CHECKED;
/* Can the file's columns hold this key, so that no other key becomes the same? */
cs_status key_fits(const struct cached_table *t, const struct wire_object *key,
		   struct dynbuf *scratch, bool *fits, struct cs_error *err) CS_CHECKED;
/* The key object's text as the wire writes it. */
cs_status key_text(const struct schema *s, const struct wire_object *key, struct dynbuf *out,
		   struct cs_error *err) CS_CHECKED;

/* ---- rows as the wire has them: cache_row.c, cache_key.c ---------------------------------- */

/* One walk over the rows of a table, in main or in an attached snapshot. */
struct row_reader {
	sqlite3 *db;
	const struct cached_table *t;
	const char *where;
	sqlite3_stmt *rows;  /* the columns that the file has, in byte order of their names */
	sqlite3_stmt *exact; /* NULL: the table has none */
	bool *asks;          /* by position: the column has exact texts */
	int *result;         /* by position: where the column is in the result; -1: nowhere */
	struct row_hash *hash;
	struct dynbuf text;
	struct dynbuf key;
	struct cs_error *err;
};

/* Which rows; all zero: every row of main. */
struct row_choice {
	const char *where; /* an attached snapshot; NULL: main */
	const char *after; /* after < key <= upto, JSON key objects; NULL: open */
	const char *upto;
	const char *list;              /* only keys that stand in temp.list */
	const char *keys_of;           /* not rows, but the keys that stand in temp.keys_of */
	const struct wire_object *key; /* only this row */
	bool in_order;
};

/* To be closed whatever it returns. What next() reads stays until it is called again. */
cs_status row_reader_open(struct row_reader *r, sqlite3 *db, const struct cached_table *t,
			  const struct row_choice *choice, struct cs_error *err) CS_CHECKED;
cs_status row_reader_next(struct row_reader *r, bool *more) CS_CHECKED;
/* Key object text of the row in hand; in r->key. */
cs_status row_reader_key(struct row_reader *r) CS_CHECKED;
/* Canonical text of a column that the file has; needs row_reader_key(). NULL: null. */
cs_status row_reader_text(struct row_reader *r, size_t position, const char **text,
			  size_t *len) CS_CHECKED;
/* The row as a JSON object, appended to out. */
cs_status row_reader_json(struct row_reader *r, struct dynbuf *out) CS_CHECKED;
/* What an app's column holds in a form of its own (1 as text, 1500.0 as text), as ours would. */
void row_read_form(const struct schema_column *column, struct bound_value *v,
		   struct dynbuf *scratch);
/* Row hash of docs/protocol.md, "Digest". */
cs_status row_reader_hash(struct row_reader *r, uint64_t *out) CS_CHECKED;
void row_reader_close(struct row_reader *r);

/* A bound of a range of keys: checked and taken apart. */
struct key_bound {
	json_t *key; /* NULL: open */
};
cs_status key_bound_parse(const struct schema *s, const char *text, struct key_bound *out,
			  struct cs_error *err) CS_CHECKED;
void key_bound_free(struct key_bound *b);
/* Is key (parsed) after < key <= upto? */
bool key_is_within(const struct schema *s, const json_t *key, const struct key_bound *after,
		   const struct key_bound *upto);
/* ` WHERE (…) > (?1, …) AND (…) <= (…)`, nothing if both are open; and its parameters. */
void key_add_range(struct dynbuf *b, const struct cached_table *t, bool local,
		   const struct key_bound *after, const struct key_bound *upto);
cs_status key_bind_range(sqlite3_stmt *stmt, const struct schema *s, const struct key_bound *after,
			 const struct key_bound *upto, struct cs_error *err) CS_CHECKED;
/* ` ORDER BY …` in the order of keys. */
void key_add_order(struct dynbuf *b, const struct cached_table *t, bool local);

/* ---- texts that a column cannot hold, rows that are not held: cache_side.c ------------------- */

cs_status side_forget_row(struct clinic_cache *c, struct cached_table *t, const char *key,
			  struct cs_error *err) CS_CHECKED;
cs_status side_forget_table(struct clinic_cache *c, struct cached_table *t,
			    struct cs_error *err) CS_CHECKED;
cs_status side_forget_exact(struct clinic_cache *c, struct cached_table *t, const char *key,
			    const char *column, struct cs_error *err) CS_CHECKED;
cs_status side_keep_exact(struct clinic_cache *c, struct cached_table *t, const char *key,
			  const char *column, const char *text, struct cs_error *err) CS_CHECKED;
cs_status side_keep_oversize(struct clinic_cache *c, struct cached_table *t, const char *key,
			     struct cs_error *err) CS_CHECKED;
cs_status side_is_oversize(struct clinic_cache *c, struct cached_table *t, const char *key,
			   bool *out, struct cs_error *err) CS_CHECKED;

/* ---- digests: cache_digest.c --------------------------------------------------------------- */

/*
 * Rows of t with after < key <= upto (JSON key objects or NULL), parked ones
 * included, over the delivered columns that the file has.  In a read
 * transaction of the caller's.
 */
cs_status digest_range(struct clinic_cache *c, struct cached_table *t, const char *after,
		       const char *upto, int64_t *rows, char hash[17],
		       struct cs_error *err) CS_CHECKED;
/* Parked ones included. */
cs_status table_count_rows(struct clinic_cache *c, struct cached_table *t, int64_t *rows,
			   struct cs_error *err) CS_CHECKED;

/* ---- rows of a snapshot: cache_load.c ------------------------------------------------------ */

/*
 * The rows of main become those of from (an attached snapshot), with what the
 * side tables say of them.  A row whose key stays is not taken out: it keeps
 * its rowid and what the app has in columns of its own, and is written only if
 * it differs.  A row that the app's table refuses is parked.
 */
cs_status rows_load(struct clinic_cache *c, struct cached_table *t, const char *from,
		    struct cs_error *err) CS_CHECKED;
/*
 * The same for the rows alone whose keys stand in temp.list_table (key
 * columns), and for all that are parked; the list may get more keys.
 */
cs_status rows_load_listed(struct clinic_cache *c, struct cached_table *t, const char *from,
			   const char *list_table, struct cs_error *err) CS_CHECKED;

/* ---- parked rows: cache_park.c, cache_retry.c ---------------------------------------------- */

/* What is parked of table in main of db; table NULL: of all. */
cs_status parked_count(sqlite3 *db, const char *table, int64_t *out,
		       struct cs_error *err) CS_CHECKED;
/* Key text and row hash of each parked row of t with after < key <= upto. */
cs_status parked_hashes(sqlite3 *db, const struct cached_table *t, const char *after,
			const char *upto,
			void (*on_row)(const char *key, uint64_t hash, void *context),
			void *context, struct cs_error *err) CS_CHECKED;

/* A row on its way into clinic_cache_parked. */
struct parked_row {
	const char *key;    /* as key_text() writes it */
	const char *data;   /* the row as the wire has it */
	const char *reason; /* what SQLite said; no values */
	const char *kept;   /* what the app has in columns of its own; NULL: nothing */
};
cs_status parked_keep(struct clinic_cache *c, struct cached_table *t, const struct parked_row *row,
		      struct cs_error *err) CS_CHECKED;
/* An update of a row that may be parked; *found: it was. */
cs_status parked_merge(struct clinic_cache *c, struct cached_table *t, const char *key,
		       const struct wire_object *data, bool *found,
		       struct cs_error *err) CS_CHECKED;
cs_status parked_forget(struct clinic_cache *c, struct cached_table *t, const char *key,
			bool *found, struct cs_error *err) CS_CHECKED;
/* The same, with what the app has in columns of its own; owned, NULL: nothing. */
cs_status parked_take(struct clinic_cache *c, struct cached_table *t, const char *key, char **kept,
		      struct cs_error *err) CS_CHECKED;
cs_status parked_forget_table(struct clinic_cache *c, struct cached_table *t,
			      struct cs_error *err) CS_CHECKED;
/* Before a commit: what is parked of the touched tables, or of one, is tried again. */
cs_status parked_retry(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
cs_status parked_retry_table(struct clinic_cache *c, struct cached_table *t,
			     struct cs_error *err) CS_CHECKED;
/* After it: row_parked for each row that is parked since. */
void parked_tell(struct clinic_cache *c);

/* ---- what an app keeps in columns of its own: cache_extra.c ---------------------------------- */

/* Of the row of main with that key, as JSON; *out NULL: nothing. Owned. */
cs_status extra_read(struct clinic_cache *c, const struct cached_table *t,
		     const struct wire_object *key, char **out, struct cs_error *err) CS_CHECKED;
/* Bind one of the values of that JSON. */
cs_status extra_bind(sqlite3_stmt *stmt, int parameter, const json_t *value,
		     struct cs_error *err) CS_CHECKED;
/* The number of a new row, so that none of a parked row is taken; *out NULL: SQLite's choice. */
cs_status extra_number(struct clinic_cache *c, struct cached_table *t, json_t **out,
		       struct cs_error *err) CS_CHECKED;
/* `, "a"` (names) or `, ''`: columns that must get something and are not among those. */
void extra_add_fills(struct dynbuf *b, const struct cached_table *t, const uint16_t *columns,
		     size_t column_count, bool names);
/* A row with these values was parked. */
void extra_note_kept(struct cached_table *t, const char *kept);
/* Part of table_free() and table_read_local(). */
void extra_free(struct cached_table *t);

/* ---- rows from elsewhere: cache_apply.c -------------------------------------------------------
 */

/* Put a row from elsewhere into the app's table t, or park it; fresh: it is not in main. */
cs_status apply_loaded(struct clinic_cache *c, struct cached_table *t,
		       const struct wire_change *change, bool fresh,
		       struct cs_error *err) CS_CHECKED;
/* Try a parked row once more; *reason (bytes long) why it is refused, empty: it is in. */
cs_status apply_parked(struct clinic_cache *c, struct cached_table *t, const char *message,
		       size_t len, const char *kept, char *reason, size_t reason_bytes,
		       struct cs_error *err) CS_CHECKED;

#endif
