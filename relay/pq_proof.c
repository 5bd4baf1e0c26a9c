/*
 * The proof job: digests of slices and counts at one batch, and where to divide
 * tables into slices.  Its orders and lines are described in job.h; the server
 * computes, we pass lines on.
 *
 * Slices of one table that follow each other go to the server as one question,
 * so that it reads the table once.
 */
#include <jansson.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dynbuf.h"
#include "pq_cut.h"
#include "pq_hold.h"
#include "pq_jobs.h"

#define TEXT_MOST_BYTES (1024 * 1024)
/* A line of bounds ends behind this, far below JOB_LINE_MOST_BYTES. */
#define BOUNDS_LINE_BYTES (256 * 1024)
/* What clinic_sync.digest_slices() takes at once. */
#define SLICES_AT_ONCE 100

/* Devices wait, and ask again soon. */
#define LOCK_PATIENCE_MS 1000

struct proof {
	const json_t *slices, *counts, *bounds; /* NULL: none */
	int slice_rows;
	int patience_ms; /* left, for tables that are locked */
	struct pq_cut cut;
	struct dynbuf columns, after, upto; /* parameters: SQL arrays */
};

static cs_status bad_spec(struct cs_error *err)
{
	return cs_fail(err, CS_ERR_PROTOCOL, "the specification of a proof is not well formed");
}

/* ---- the specification ----------------------------------------------------------------- */

static cs_status take_spec(struct proof *p, const json_t *spec, struct cs_error *err)
{
	const json_t *rows = json_object_get(spec, "slice_rows");

	p->slices = json_object_get(spec, "slices");
	p->counts = json_object_get(spec, "counts");
	p->bounds = json_object_get(spec, "bounds");
	p->slice_rows = (int)json_integer_value(rows);
	if (!json_is_object(spec) || (json_array_size(p->bounds) && p->slice_rows < 1))
		return bad_spec(err);
	return CS_OK;
}

/* A table of which slices are proved is held until all is said, others only while counted. */
static bool add_name(json_t *names, const json_t *name, bool to_hold)
{
	const char *text = json_string_value(name);

	if (!text)
		return false;
	if (json_is_true(json_object_get(names, text)))
		return true;
	return json_object_set_new(names, text, json_boolean(to_hold)) == 0;
}

/* All tables of the specification, for pq_cut_open(); NULL: it is not well formed. */
static json_t *tables_of(const struct proof *p)
{
	json_t *names = json_object();
	bool good = names != NULL;
	size_t i;
	json_t *item;

	json_array_foreach(p->slices, i, item)
	{
		good = good && add_name(names, json_object_get(item, "table"), true);
	}
	json_array_foreach(p->counts, i, item)
	{
		good = good && add_name(names, item, false);
	}
	json_array_foreach(p->bounds, i, item)
	{
		good = good && add_name(names, item, false);
	}
	if (good && json_object_size(names) > 0)
		return names;
	json_decref(names);
	return NULL;
}

static const struct pq_table *table_of(const struct proof *p, const json_t *name)
{
	return pq_cut_find(&p->cut, json_string_value(name));
}

/* ---- SQL arrays -------------------------------------------------------------------------- */

static void array_begin(struct dynbuf *array)
{
	dynbuf_reset(array);
	dynbuf_adds(array, "{");
}

/* A key object, or null for an open end. */
static bool array_add_key(struct dynbuf *array, const json_t *key)
{
	char *text;

	if (!key || json_is_null(key)) {
		pq_array_add(array, NULL);
		return true;
	}
	text = json_is_object(key) ? json_dumps(key, JSON_COMPACT) : NULL;
	if (!text)
		return false;
	pq_array_add(array, text);
	free(text);
	return true;
}

static bool is_skipped(const json_t *skip, const char *column)
{
	size_t i;
	json_t *item;

	json_array_foreach(skip, i, item)
	{
		if (json_is_string(item) && strcmp(json_string_value(item), column) == 0)
			return true;
	}
	return false;
}

void pq_columns_without(struct dynbuf *columns, const struct schema *schema, const json_t *skip)
{
	array_begin(columns);
	for (size_t i = 0; i < schema->column_count; i++)
		if (!is_skipped(skip, schema->columns[i].name))
			pq_array_add(columns, schema->columns[i].name);
	dynbuf_adds(columns, "}");
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* How many slices from `first` on are of one table and leave out the same columns. */
static size_t alike(const json_t *slices, size_t first)
{
	const json_t *a = json_array_get(slices, first);
	const json_t *a_skip = json_object_get(a, "skip");
	size_t count = 1;

	for (; first + count < json_array_size(slices) && count < SLICES_AT_ONCE; count++) {
		const json_t *b = json_array_get(slices, first + count);
		const json_t *b_skip = json_object_get(b, "skip");

		if (!json_equal(json_object_get(a, "table"), json_object_get(b, "table")) ||
		    (a_skip != b_skip && !json_equal(a_skip, b_skip)))
			break;
	}
	return count;
}

static cs_status ask_slices(struct proof *p, const struct pq_table *t, size_t first, size_t count,
			    struct cs_error *err)
{
	const char *params[] = {t->relation, p->columns.data, p->after.data, p->upto.data};
	PGresult *r = PQexecParams(p->cut.conn,
				   "SELECT rows, hash FROM clinic_sync.digest_slices("
				   "$1::pg_catalog.regclass, $2::pg_catalog.name[],"
				   " $3::pg_catalog.text[], $4::pg_catalog.text[]) ORDER BY slice",
				   4, NULL, params, NULL, NULL, 0);
	cs_status status = CS_OK;

	if (PQresultStatus(r) != PGRES_TUPLES_OK || PQntuples(r) != (int)count)
		status = pq_cut_fail(p->cut.conn, "digest_slices()", err);
	for (int i = 0; i < (int)count && status == CS_OK; i++)
		printf("{\"slice\":%zu,\"rows\":%s,\"hash\":\"%s\"}\n", first + (size_t)i,
		       PQgetvalue(r, i, 0), PQgetvalue(r, i, 1));
	PQclear(r);
	return status;
}

static cs_status slice_lines(struct proof *p, size_t first, size_t count, struct cs_error *err)
{
	const json_t *slice = json_array_get(p->slices, first);
	const struct pq_table *t = table_of(p, json_object_get(slice, "table"));

	pq_columns_without(&p->columns, t->schema, json_object_get(slice, "skip"));
	array_begin(&p->after);
	array_begin(&p->upto);
	for (size_t i = first; i < first + count; i++) {
		slice = json_array_get(p->slices, i);
		if (!array_add_key(&p->after, json_object_get(slice, "after")) ||
		    !array_add_key(&p->upto, json_object_get(slice, "upto")))
			return bad_spec(err);
	}
	dynbuf_adds(&p->after, "}");
	dynbuf_adds(&p->upto, "}");
	if (p->columns.failed || p->after.failed || p->upto.failed)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return ask_slices(p, t, first, count, err);
}

static void print_table(const char *kind, const struct pq_table *t)
{
	struct dynbuf name;

	dynbuf_init(&name, TEXT_MOST_BYTES);
	dynbuf_add_json(&name, t->schema->table, strlen(t->schema->table));
	printf("{\"%s\":%s,", kind, name.failed ? "null" : name.data);
	dynbuf_free(&name);
}

/* The text of the count in out, "null" if the server does not count so large a table. */
static cs_status ask_count(struct proof *p, const struct pq_table *t, char *out, size_t size,
			   struct cs_error *err)
{
	const char *params[] = {t->relation};
	PGresult *r =
		PQexecParams(p->cut.conn, "SELECT clinic_sync.exact_count($1::pg_catalog.regclass)",
			     1, NULL, params, NULL, NULL, 0);
	cs_status status = CS_OK;

	if (PQresultStatus(r) != PGRES_TUPLES_OK || PQntuples(r) != 1)
		status = pq_cut_fail(p->cut.conn, "exact_count()", err);
	else if (!PQgetisnull(r, 0, 0))
		snprintf(out, size, "%s", PQgetvalue(r, 0, 0));
	PQclear(r);
	return status;
}

/* A table that is locked just now is not counted: the proof goes on without. */
static cs_status count_line(struct proof *p, const struct pq_table *t, struct cs_error *err)
{
	char rows[32] = "null";
	bool held = true;
	cs_status status = CS_OK;

	if (!t->to_hold)
		status = pq_hold_briefly(&p->cut, t, &held, err);
	if (status == CS_OK && held)
		status = ask_count(p, t, rows, sizeof(rows), err);
	if (status == CS_OK && !t->to_hold)
		status = pq_hold_release(&p->cut, err);
	if (status != CS_OK)
		return status;
	print_table("count", t);
	printf("\"rows\":%s}\n", rows);
	return CS_OK;
}

/* Keys are JSON already; a line that has grown long is ended and another begun. */
static size_t print_key(const struct pq_table *t, const char *key, size_t line_bytes)
{
	if (line_bytes > BOUNDS_LINE_BYTES) {
		puts("]}");
		print_table("bounds", t);
		line_bytes = 0;
	}
	line_bytes += (size_t)printf("%s%s", line_bytes ? "," : "\"keys\":[", key);
	return line_bytes;
}

static cs_status print_bounds(struct proof *p, const struct pq_table *t, struct cs_error *err)
{
	char slice_rows[16];
	const char *params[] = {t->relation, slice_rows};
	size_t line_bytes = 0;
	cs_status status = CS_OK;
	PGresult *r;

	snprintf(slice_rows, sizeof(slice_rows), "%d", p->slice_rows);
	if (!PQsendQueryParams(
		    p->cut.conn,
		    "SELECT clinic_sync.slice_bounds($1::pg_catalog.regclass, $2::pg_catalog.int4)",
		    2, NULL, params, NULL, NULL, 0) ||
	    !PQsetSingleRowMode(p->cut.conn))
		return pq_cut_fail(p->cut.conn, "slice_bounds()", err);
	print_table("bounds", t);
	while ((r = PQgetResult(p->cut.conn)) != NULL) {
		ExecStatusType result = PQresultStatus(r);

		if (status == CS_OK && result == PGRES_SINGLE_TUPLE)
			line_bytes = print_key(t, PQgetvalue(r, 0, 0), line_bytes);
		else if (status == CS_OK && result != PGRES_TUPLES_OK)
			status = pq_cut_fail(p->cut.conn, "slice_bounds()", err);
		PQclear(r);
	}
	puts(line_bytes ? "]}" : "\"keys\":[]}");
	return status;
}

/* A snapshot of its own for a table, in which it is held; *held false: it is locked. */
static cs_status hold_alone(struct proof *p, const struct pq_table *t, bool *held,
			    struct cs_error *err)
{
	cs_status status =
		pq_command(p->cut.conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err);

	if (status == CS_OK)
		status = pq_hold_briefly(&p->cut, t, held, err);
	if (status == CS_OK && !*held)
		status = pq_command(p->cut.conn, "ROLLBACK", err);
	return status;
}

/* Bounds need no batch: each table as it is when it is free. */
static cs_status bounds_line(struct proof *p, const struct pq_table *t, struct cs_error *err)
{
	bool held = false;
	cs_status status = hold_alone(p, t, &held, err);

	while (status == CS_OK && !held && p->patience_ms > 0) {
		p->patience_ms -= pq_hold_pause();
		status = hold_alone(p, t, &held, err);
	}
	if (status == CS_OK && !held)
		status = pq_hold_failed(err);
	if (status == CS_OK)
		status = print_bounds(p, t, err);
	if (status == CS_OK)
		status = pq_command(p->cut.conn, "COMMIT", err);
	return status;
}

/* ---- the job --------------------------------------------------------------------------------- */

static cs_status print_lines(struct proof *p, struct cs_error *err)
{
	cs_status status = CS_OK;
	size_t i, count;
	json_t *item;

	for (i = 0; i < json_array_size(p->slices) && status == CS_OK; i += count) {
		count = alike(p->slices, i);
		status = slice_lines(p, i, count, err);
	}
	json_array_foreach(p->counts, i, item)
	{
		if (status == CS_OK)
			status = count_line(p, table_of(p, item), err);
	}
	if (status == CS_OK && p->cut.cursor[0] && json_array_size(p->bounds))
		status = pq_command(p->cut.conn, "COMMIT", err);
	json_array_foreach(p->bounds, i, item)
	{
		if (status == CS_OK)
			status = bounds_line(p, table_of(p, item), err);
	}
	return status;
}

/* A batch is cut only for what must be true at one. */
static cs_status open_cut(struct proof *p, const char *dsn, const json_t *tables,
			  bool *no_such_table, struct cs_error *err)
{
	cs_status status;

	if (!json_array_size(p->slices) && !json_array_size(p->counts))
		return pq_cut_look(dsn, "proof", tables, &p->cut, no_such_table, err);
	status = pq_cut_open(dsn, "proof", tables, p->patience_ms, &p->cut, no_such_table, err);
	if (status == CS_OK) {
		/* at once: devices wait until the feed has come to it */
		printf("{\"cursor\":\"%s\"}\n", p->cut.cursor);
		fflush(stdout);
	}
	return status;
}

cs_status pq_proof_job(const struct job_orders *orders, bool *no_such_table, struct cs_error *err)
{
	struct proof p = {.patience_ms = LOCK_PATIENCE_MS};
	json_t *tables = NULL;
	cs_status status = take_spec(&p, orders->spec, err);

	if (status == CS_OK) {
		tables = tables_of(&p);
		status = tables ? CS_OK : bad_spec(err);
	}
	if (status == CS_OK)
		status = open_cut(&p, orders->dsn, tables, no_such_table, err);
	json_decref(tables);
	if (status != CS_OK)
		return status;
	dynbuf_init(&p.columns, TEXT_MOST_BYTES);
	dynbuf_init(&p.after, TEXT_MOST_BYTES);
	dynbuf_init(&p.upto, TEXT_MOST_BYTES);
	status = print_lines(&p, err);
	dynbuf_free(&p.columns);
	dynbuf_free(&p.after);
	dynbuf_free(&p.upto);
	pq_cut_close(&p.cut);
	return status;
}
