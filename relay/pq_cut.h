/*
 * A consistent view of the database exactly at a batch, for jobs (which may wait).
 *
 * One connection cuts a batch and exports that very snapshot, another imports
 * it; then the first commits, and only if that commit is clean may the view be
 * used: the batch is proven.  Reading goes on outside the batcher's lock.
 *
 * The tables are held (ACCESS SHARE, as by any reader) until the view is closed,
 * and are what they were at the batch, also if somebody truncated one meanwhile.
 * Nothing waits for a lock while it holds one (pq_hold.h): where a table is
 * locked all are let go, and a new batch is cut when it is free.
 */
#ifndef CLINIC_RELAY_PQ_CUT_H
#define CLINIC_RELAY_PQ_CUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "cursor.h"
#include "schema.h"
#include "status.h"

struct pg_conn;
struct job_orders;

struct pq_table {
	char *relation; /* for SQL: qualified and quoted */
	bool to_hold;   /* from the beginning; else see pq_hold_briefly() */
	struct schema *schema;
	char *query;          /* rows, canonical texts in the schema's column order */
	char *oversize_query; /* keys of the rows that query leaves out; NULL: none can be */
};

struct pq_cut {
	struct pg_conn *conn; /* in a READ ONLY transaction on the batch's snapshot */
	char cursor[CURSOR_TEXT_BYTES];
	struct pq_table *tables;
	size_t table_count;
};

/*
 * names: the tables as the members of an object, those that are not false to be held;
 * NULL or empty: all.  patience_ms: so long a table may be locked; then CS_ERR_BUSY.
 * *no_such_table: the names have one that is not published.
 */
cs_status pq_cut_open(const char *dsn, const char *role, const json_t *names, int patience_ms,
		      struct pq_cut *out, bool *no_such_table, struct cs_error *err) CS_CHECKED;
/* The same for the list of tables in a job's orders; waits some seconds. */
cs_status pq_cut_open_list(const struct job_orders *orders, const char *role, struct pq_cut *out,
			   bool *no_such_table, struct cs_error *err) CS_CHECKED;
/* The same without a batch: cursor is "", and the tables are as they are now, held by nobody. */
cs_status pq_cut_look(const char *dsn, const char *role, const json_t *names, struct pq_cut *out,
		      bool *no_such_table, struct cs_error *err) CS_CHECKED;
const struct pq_table *pq_cut_find(const struct pq_cut *c, const char *table);
void pq_cut_close(struct pq_cut *c);

/* Fill err from a failed statement: primary message and SQLSTATE, no detail (it may hold data). */
cs_status pq_cut_fail(struct pg_conn *conn, const char *what, struct cs_error *err);
/* A statement without an answer. */
cs_status pq_command(struct pg_conn *conn, const char *sql, struct cs_error *err) CS_CHECKED;

#endif
