/*
 * The digest job: row count and hash of each table at one batch, and on demand
 * the hash of each row.  The server computes; we pass lines on.
 */
#include <jansson.h>
#include <libpq-fe.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "dynbuf.h"
#include "pq_cut.h"
#include "pq_jobs.h"

#define LINE_MOST_BYTES (1024 * 1024)

/* Print what line holds and empty it. */
static cs_status print_line(struct dynbuf *line, struct cs_error *err)
{
	if (line->failed || fwrite(line->data, 1, line->len, stdout) != line->len ||
	    putchar('\n') == EOF)
		return cs_fail(err, CS_ERR_STORE, "cannot write a line");
	dynbuf_reset(line);
	return CS_OK;
}

/*
 * The columns of t that are not in the comma list of table.column, as an SQL
 * array; NULL: all.
 */
static const char *columns_of(const struct pq_table *t, const char *list, struct dynbuf *columns)
{
	const char *table = t->schema->table;
	json_t *skip = list && *list ? json_array() : NULL;

	for (const char *at = list; skip && *at;) {
		size_t len = strcspn(at, ","), name = strlen(table);

		if (len > name && strncmp(at, table, name) == 0 && at[name] == '.')
			json_array_append_new(skip, json_stringn(at + name + 1, len - name - 1));
		at += len + (at[len] == ',');
	}
	if (!json_array_size(skip)) {
		json_decref(skip);
		return NULL;
	}
	pq_columns_without(columns, t->schema, skip);
	json_decref(skip);
	return columns->data;
}

static cs_status table_line(PGconn *conn, const struct pq_table *t, const char *columns,
			    struct dynbuf *line, struct cs_error *err)
{
	const char *params[] = {t->relation, columns};
	PGresult *r = PQexecParams(conn,
				   "SELECT rows, hash FROM clinic_sync.digest_scan("
				   "$1::pg_catalog.regclass, $2::pg_catalog.name[])",
				   2, NULL, params, NULL, NULL, 0);
	cs_status status;

	if (PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1) {
		dynbuf_adds(line, "{\"table\":");
		dynbuf_add_json(line, t->schema->table, strlen(t->schema->table));
		dynbuf_addf(line, ",\"rows\":%s,\"hash\":\"%s\"}", PQgetvalue(r, 0, 0),
			    PQgetvalue(r, 0, 1));
		status = print_line(line, err);
	} else {
		status = pq_cut_fail(conn, "digest_scan()", err);
	}
	PQclear(r);
	return status;
}

static cs_status row_line(const PGresult *r, const struct pq_table *t, struct dynbuf *line,
			  struct cs_error *err)
{
	dynbuf_adds(line, "{\"table\":");
	dynbuf_add_json(line, t->schema->table, strlen(t->schema->table));
	/* the key is JSON already */
	dynbuf_addf(line, ",\"key\":%s,\"row_hash\":\"%s\"}", PQgetvalue(r, 0, 0),
		    PQgetvalue(r, 0, 1));
	return print_line(line, err);
}

static cs_status row_lines(PGconn *conn, const struct pq_table *t, const char *columns,
			   struct dynbuf *line, struct cs_error *err)
{
	const char *params[] = {t->relation, columns};
	cs_status status = CS_OK;
	PGresult *r;

	if (!PQsendQueryParams(conn,
			       "SELECT key, row_hash FROM clinic_sync.row_hashes("
			       "$1::pg_catalog.regclass, $2::pg_catalog.name[])",
			       2, NULL, params, NULL, NULL, 0) ||
	    !PQsetSingleRowMode(conn))
		return pq_cut_fail(conn, "row_hashes()", err);
	while ((r = PQgetResult(conn)) != NULL) {
		ExecStatusType result = PQresultStatus(r);

		if (status == CS_OK && result == PGRES_SINGLE_TUPLE)
			status = row_line(r, t, line, err);
		else if (status == CS_OK && result != PGRES_TUPLES_OK)
			status = pq_cut_fail(conn, "row_hashes()", err);
		PQclear(r);
	}
	return status;
}

cs_status pq_digest_job(const struct job_orders *orders, bool *no_such_table, struct cs_error *err)
{
	struct pq_cut cut;
	struct dynbuf line, names;
	cs_status status = pq_cut_open_list(orders, "digest", &cut, no_such_table, err);

	if (status != CS_OK)
		return status;
	dynbuf_init(&line, LINE_MOST_BYTES);
	dynbuf_init(&names, LINE_MOST_BYTES);
	/* at once: whoever compares needs the cursor before it has moved past it */
	printf("{\"cursor\":\"%s\"}\n", cut.cursor);
	fflush(stdout);
	for (size_t i = 0; i < cut.table_count && status == CS_OK; i++) {
		const char *columns = columns_of(&cut.tables[i], orders->skip, &names);

		status = table_line(cut.conn, &cut.tables[i], columns, &line, err);
		if (status == CS_OK && orders->rows)
			status = row_lines(cut.conn, &cut.tables[i], columns, &line, err);
	}
	dynbuf_free(&line);
	dynbuf_free(&names);
	pq_cut_close(&cut);
	return status;
}
