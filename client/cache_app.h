/*
 * What the rest of the library knows of an app in the same file: that it
 * changes the schema below us, which journal both can live with, what of its
 * rows and columns must outlive a snapshot.  Part of cache_internal.h.
 */
#ifndef CLINIC_CACHE_APP_H
#define CLINIC_CACHE_APP_H

/* ---- drift: cache_drift.c ----------------------------------------------------------------- */

/* In a write transaction: has somebody else changed the schema since we knew it? */
cs_status drift_has_moved(struct clinic_cache *c, bool *moved, struct cs_error *err) CS_CHECKED;
/* In a write transaction: make tables that are gone or unfit usable, note what is to be fetched
 * whole. */
cs_status drift_settle(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
/* In a write transaction: the synced tables are as they should be; know them by what they look
 * like now. Does nothing if that is known. */
cs_status drift_note(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
/* The file's table beside the schema it was made for: columns that are missing and that are the
 * app's; *as_we_made: those that are there are declared as ours are. */
cs_status drift_compare(struct clinic_cache *c, const struct schema *s, size_t *missing,
			size_t *extra, bool *as_we_made, struct cs_error *err) CS_CHECKED;
/* In a write transaction: this table is to be fetched whole, and lenient until it was. */
cs_status drift_add_due(struct clinic_cache *c, const char *table, struct cs_error *err) CS_CHECKED;
/* In the transaction that made the table the server's again; NULL: all tables. */
cs_status drift_forget_due(struct clinic_cache *c, const char *table,
			   struct cs_error *err) CS_CHECKED;
/* Every now and then: look, also while no frame comes; prove what is in doubt. */
void drift_tick(struct clinic_cache *c);
/* A sync now has ended; every table it was begun for is the server's, or not. */
void drift_proven(struct clinic_cache *c, bool all);
/* After each tables_load(): the tables that are due or in doubt are lenient. */
cs_status drift_mark(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;

/* ---- constraints of an app's: cache_constraint.c ------------------------------------------ */

/* Has the file's table a UNIQUE that schema does not have, or its CREATE TABLE a CHECK? */
cs_status constraint_find(sqlite3 *db, const struct schema *s, const char *sql, bool *out,
			  struct cs_error *err) CS_CHECKED;

/* ---- the journal: cache_journal.c --------------------------------------------------------- */

struct journal_facts {
	int ours;     /* SQLite versions as sqlite3_libversion_number() has them */
	int app;      /* what the app says of itself; 0: nothing */
	int header;   /* of another program that wrote the file; 0: not known */
	bool foreign; /* another program writes the file */
	bool made;    /* the file is ours, no app's */
};
struct journal_choice {
	bool wal;
	char reason[200];
};
void journal_choose(const struct journal_facts *facts, struct journal_choice *out);
/* "3.51.3" as a number; 0: it is none. */
int journal_parse_version(const char *text);
/* The SQLite that wrote the file last, as its header says; 0: not known. */
int journal_header(const struct clinic_cache *c);
/* In a write transaction: that was the app's. */
cs_status journal_note_header(struct clinic_cache *c, int version, struct cs_error *err) CS_CHECKED;
/* Put a synced file into the mode it should have, if it can be now; remember why. */
cs_status journal_apply(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;

/* The attached snapshot; the lender of a connection attaches files under names of its own. */
#define SNAPSHOT_SCHEMA "clinic_snapshot"

/* ---- the app's rows: cache_difference.c, cache_adopt.c; with the snapshot attached -------- */

/* In a read transaction: compare the tables of the file that never were synced. Only those that
 * have rows are in out; fails if one cannot take the server's rows. */
cs_status difference_find(struct clinic_cache *c, struct clinic_cache_difference *out,
			  struct cs_error *err) CS_CHECKED;
void difference_free(struct clinic_cache_difference *d);
/* Names of tables that the file has, the snapshot brings, and that never were synced. */
cs_status adopt_list(struct clinic_cache *c, char ***names, size_t *count,
		     struct cs_error *err) CS_CHECKED;
/* The same of all tables that both have. */
cs_status adopt_list_both(struct clinic_cache *c, char ***names, size_t *count,
			  struct cs_error *err) CS_CHECKED;
/* The file's table beside the snapshot's schema of it, if it can take its rows; owned. */
cs_status adopt_table(struct clinic_cache *c, const char *table, struct cached_table **out,
		      struct cs_error *err) CS_CHECKED;
/* ` FROM main.t AS m WHERE NOT EXISTS …`: rows whose key the snapshot does not have. */
void adopt_add_only_here(struct dynbuf *b, const struct cached_table *t);
/* With the write lock held and nothing written: a durable copy of the file; its name is the
 * caller's. */
cs_status adopt_backup(struct clinic_cache *c, char **name, struct cs_error *err) CS_CHECKED;
/* The transaction came to nothing: so did the copy, unless the file names it. */
void adopt_drop_backup(struct clinic_cache *c, const char *name);
/* Half a copy that a killed process left. */
void adopt_remove_part(struct clinic_cache *c);
/* In the transaction: keep the rows that the snapshot does not have. */
cs_status adopt_keep_orphans(struct clinic_cache *c, const struct cached_table *t,
			     struct cs_error *err) CS_CHECKED;

/* The same of rows of main that have anything in the columns (`"a", "b"`). */
cs_status adopt_keep_values(struct clinic_cache *c, const struct schema *s, const char *names,
			    struct cs_error *err) CS_CHECKED;

/* ---- what no second try mends: cache_fit.c ------------------------------------------------ */

/* Can rows of this schema go into the file's own table of that name? CS_ERR_CONFIG: why not. */
cs_status adopt_check(sqlite3 *db, const struct schema *s, struct cs_error *err) CS_CHECKED;
/* Of a file that never was synced. */
cs_status fit_check_file(sqlite3 *db, struct cs_error *err) CS_CHECKED;
/* With the snapshot attached: can the file's tables of its names be written to? */
cs_status fit_check_tables(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;

/* ---- a table of ours, made anew: cache_rebuild.c ------------------------------------------ */

/* Has the app added what could not be made anew: a generated column, a reference, a check? */
cs_status rebuild_loses(struct clinic_cache *c, const struct schema *s, bool *out,
			struct cs_error *err) CS_CHECKED;
/*
 * For schema new where it was made for old (or NULL): empty, with the app's
 * columns, indexes and triggers; *kept: the values of those columns wait for
 * rebuild_restore(). Without same_key they belong to no row any more, and the
 * rows that had any become orphans.
 */
cs_status rebuild_table(struct clinic_cache *c, const struct schema *old, const struct schema *new,
			bool same_key, bool *kept, struct cs_error *err) CS_CHECKED;
/* Give the columns (`"a", "b"`) their values back, in the rows of now. */
cs_status rebuild_restore(struct clinic_cache *c, const struct schema *s, const char *names,
			  struct cs_error *err) CS_CHECKED;

#endif
