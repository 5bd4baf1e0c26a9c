/*
 * One change on its way into the file: what cache_apply.c (operations),
 * cache_put.c (rows and their columns) and cache_refuse.c (rows that the app's
 * table does not take) know of each other.
 */
#ifndef CLINIC_CACHE_APPLY_H
#define CLINIC_CACHE_APPLY_H

#include "cache_internal.h"

#define REASON_BYTES 256

/* One change on its way into the file. */
struct applying {
	struct clinic_cache *c;
	struct cached_table *t;
	const struct wire_change *change;
	bool slow;
	bool *unique;
	bool fresh;                /* the row is not in main */
	bool parked;               /* the change is a parked row: columns may have come since */
	char *kept;                /* what the app has in the row, while it is not in main */
	json_t *own;               /* the same, and a number, on its way into an INSERT … */
	size_t own_count;          /* … so many of columns, behind the delivered ones */
	bool refused;              /* by a constraint of the app's table … */
	char reason[REASON_BYTES]; /* … namely */
	uint16_t *columns;         /* delivered columns in the order of data … */
	const struct wire_value **values; /* … and their values … */
	bool *exact;                      /* … which the column can hold or not */
	size_t column_count;
	struct cs_error *err;
};

/* ---- cache_apply.c -------------------------------------------------------------------------- */

cs_status apply_diverged(struct applying *a, const char *what);
/* Key text of the change into c->key. */
cs_status apply_name_key(struct applying *a) CS_CHECKED;
/* The row is not there: that is right only for one that is not held. */
cs_status apply_must_be_oversize(struct applying *a) CS_CHECKED;

/* ---- cache_put.c ---------------------------------------------------------------------------- */

/* One step; a constraint of the app's is noted as a refusal. */
cs_status put_step(struct applying *a, sqlite3_stmt *stmt, int *changed) CS_CHECKED;
/* Run a statement whose only parameters are the key. */
cs_status put_run_by_key(struct applying *a, statement_kind kind, bool temp,
			 int *changed) CS_CHECKED;
/* Slow form: from now on the row lives in the twin. */
cs_status put_pull_row(struct applying *a) CS_CHECKED;
/* Position of a field's column, guess first; -1: there is none. */
int put_find_column(const struct schema *s, const struct wire_field *field, size_t guess);
/* A whole row; some columns of one that is there. */
cs_status put_row(struct applying *a) CS_CHECKED;
cs_status put_update(struct applying *a) CS_CHECKED;

/* ---- cache_refuse.c ------------------------------------------------------------------------- */

/* Park the row of the change; the row that is there, with the change on top. */
cs_status refuse_row(struct applying *a) CS_CHECKED;
cs_status refuse_update(struct applying *a) CS_CHECKED;
/* The change is for a row that is parked: its new end is another, so it is parked no more. */
cs_status refuse_forget(struct applying *a, bool *found) CS_CHECKED;
/* The same for a row that comes in its place: the app's values are for that. */
cs_status refuse_take(struct applying *a) CS_CHECKED;

#endif
