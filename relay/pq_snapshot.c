/*
 * The snapshot job: COPY each table out of the server, row by row into SQLite.
 *
 * Memory holds one row and SQLite's page cache, however large the table is.
 * The file is built under another name and takes its own when it is whole.
 */
#include <libpq-fe.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dynbuf.h"
#include "pq_cut.h"
#include "pq_jobs.h"
#include "sqlite_snapshot.h"

#define SQL_MOST_BYTES (1024 * 1024)

/* Hand the rows of a running COPY to add_row. */
typedef cs_status (*add_row_fn)(struct snapshot_file *f, struct copy_field *fields, int count,
				struct cs_error *err);

static cs_status take_rows(PGconn *conn, struct snapshot_file *file, int columns,
			   add_row_fn add_row, struct cs_error *err)
{
	struct copy_field *fields = calloc((size_t)columns, sizeof(*fields));
	cs_status status = fields ? CS_OK : cs_fail(err, CS_ERR_NOMEM, "out of memory");
	char *row;
	int len = 0;

	while (status == CS_OK && (len = PQgetCopyData(conn, &row, 0)) > 0) {
		if (copy_text_split(row, (size_t)len, fields, columns) != columns)
			status = cs_fail(err, CS_ERR_PROTOCOL, "a row has not %d columns", columns);
		else
			status = add_row(file, fields, columns, err);
		PQfreemem(row);
	}
	free(fields);
	if (status == CS_OK && len < -1)
		status = pq_cut_fail(conn, "COPY", err);
	return status;
}

static cs_status copy_query(PGconn *conn, const char *query, struct snapshot_file *file,
			    int columns, add_row_fn add_row, struct cs_error *err)
{
	struct dynbuf sql;
	PGresult *r = NULL;
	cs_status status;

	dynbuf_init(&sql, SQL_MOST_BYTES);
	if (!dynbuf_addf(&sql, "COPY (%s) TO STDOUT", query)) {
		dynbuf_free(&sql);
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	}
	r = PQexec(conn, sql.data);
	dynbuf_free(&sql);
	status = PQresultStatus(r) == PGRES_COPY_OUT ? take_rows(conn, file, columns, add_row, err)
						     : pq_cut_fail(conn, "COPY", err);
	PQclear(r);
	if (status != CS_OK)
		return status;
	r = PQgetResult(conn);
	if (PQresultStatus(r) != PGRES_COMMAND_OK)
		status = pq_cut_fail(conn, "COPY", err);
	PQclear(r);
	while ((r = PQgetResult(conn)) != NULL)
		PQclear(r);
	return status;
}

static cs_status add_table_row(struct snapshot_file *f, struct copy_field *fields, int count,
			       struct cs_error *err)
{
	(void)count;
	return snapshot_file_add_row(f, fields, err);
}

static cs_status add_oversize_key(struct snapshot_file *f, struct copy_field *fields, int count,
				  struct cs_error *err)
{
	(void)count;
	if (!fields[0].text)
		return cs_fail(err, CS_ERR_PROTOCOL, "a row over max_row_bytes has no key");
	return snapshot_file_add_oversize(f, fields[0].text, fields[0].len, err);
}

static cs_status copy_table(struct pq_cut *cut, const struct pq_table *t,
			    struct snapshot_file *file, struct cs_error *err)
{
	struct cs_error inner = {0};
	struct dynbuf name;
	uint64_t rows = 0;
	cs_status status = snapshot_file_begin_table(file, t->schema, &inner);

	if (status == CS_OK)
		status = copy_query(cut->conn, t->query, file, (int)t->schema->column_count,
				    add_table_row, &inner);
	if (status == CS_OK && t->oversize_query)
		status =
			copy_query(cut->conn, t->oversize_query, file, 1, add_oversize_key, &inner);
	if (status == CS_OK)
		status = snapshot_file_end_table(file, &rows, &inner);
	if (status != CS_OK)
		return cs_fail(err, status, "table %s: %s", t->schema->table, inner.text);
	dynbuf_init(&name, SQL_MOST_BYTES);
	if (dynbuf_add_json(&name, t->schema->table, strlen(t->schema->table)))
		printf("{\"table\":%s,\"rows\":%llu}\n", name.data, (unsigned long long)rows);
	fflush(stdout);
	dynbuf_free(&name);
	return CS_OK;
}

static cs_status fill(struct pq_cut *cut, const char *path, uint64_t *bytes, struct cs_error *err)
{
	struct snapshot_file *file;
	cs_status status = snapshot_file_create(path, &file, err);

	if (status != CS_OK)
		return status;
	for (size_t i = 0; i < cut->table_count && status == CS_OK; i++)
		status = copy_table(cut, &cut->tables[i], file, err);
	if (status == CS_OK)
		status = snapshot_file_finish(file, cut->cursor, bytes, err);
	snapshot_file_close(file);
	return status;
}

cs_status pq_snapshot_job(const struct job_orders *orders, uint64_t *bytes, bool *no_such_table,
			  struct cs_error *err)
{
	struct pq_cut cut;
	char part[4096];
	cs_status status = pq_cut_open_list(orders, "snapshot", &cut, no_such_table, err);

	if (status != CS_OK)
		return status;
	printf("{\"cursor\":\"%s\"}\n", cut.cursor);
	fflush(stdout);
	snprintf(part, sizeof(part), "%s" JOB_PART_SUFFIX, orders->path);
	status = fill(&cut, part, bytes, err);
	pq_cut_close(&cut);
	if (status == CS_OK && rename(part, orders->path) < 0)
		status = cs_fail(err, CS_ERR_STORE, "snapshot file: cannot rename it");
	if (status != CS_OK)
		unlink(part);
	return status;
}
