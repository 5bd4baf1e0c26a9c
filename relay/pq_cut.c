/* Cutting a batch and holding its snapshot; see pq_cut.h. */
#include "pq_cut.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "dynbuf.h"
#include "job_orders.h"
#include "log.h"
#include "pq_params.h"

/* What the canonical texts rest on (docs/protocol.md, "Values"). row_security=off: an error
   instead of silently fewer rows. */
#define CANONICAL_SETTINGS                                                                         \
	" -c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=1"      \
	" -c bytea_output=hex -c row_security=off"
#define CUTTER_SETTINGS                                                                            \
	"-c lock_timeout=10000 -c statement_timeout=60000 -c synchronous_commit=on"                \
	" -c idle_in_transaction_session_timeout=10000"
#define READER_SETTINGS "-c lock_timeout=10000 -c statement_timeout=0" CANONICAL_SETTINGS

/* Cuts in a row that found a table emptied or rewritten under them. */
#define CUT_TRIES_MOST 10
#define HOLD_MOST_BYTES (1024 * 1024)

enum { COL_RELATION, COL_NAME, COL_SCHEMA, COL_QUERY, COL_OVERSIZE };

cs_status pq_cut_fail(PGconn *conn, const char *what, struct cs_error *err)
{
	const char *text = PQerrorMessage(conn);
	char line[256], shown[300];

	/* the first line only: DETAIL and CONTEXT may hold row data */
	snprintf(line, sizeof(line), "%.*s", (int)strcspn(text, "\n"), text);
	return cs_fail(err, CS_ERR_UPSTREAM, "%s: %s", what,
		       log_quote(line[0] ? line : "failed", shown, sizeof(shown)));
}

static void on_notice(void *arg, const PGresult *notice)
{
	const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);

	if (severity && strcmp(severity, "WARNING") == 0)
		*(bool *)arg = true;
}

/* The first field of the first row (NULL: no row) as a copy in out. */
static cs_status ask(PGconn *conn, const char *sql, char *out, size_t size, struct cs_error *err)
{
	PGresult *r = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(r);

	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
		PQclear(r);
		return pq_cut_fail(conn, "cannot cut a batch", err);
	}
	if (out)
		snprintf(out, size, "%s", PQntuples(r) > 0 ? PQgetvalue(r, 0, 0) : "");
	PQclear(r);
	return CS_OK;
}

static cs_status import_snapshot(PGconn *conn, const char *snapshot, struct cs_error *err)
{
	char sql[160];
	cs_status status =
		ask(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, 0, err);

	if (status != CS_OK)
		return status;
	snprintf(sql, sizeof(sql), "SET TRANSACTION SNAPSHOT '%s'", snapshot);
	return ask(conn, sql, NULL, 0, err);
}

static cs_status cut(PGconn *cutter, struct pq_cut *c, struct cs_error *err)
{
	char snapshot[64];
	cs_status status;
	struct cursor cursor;

	/* the lock before the snapshot: no batch can come in between */
	status = ask(cutter, "BEGIN ISOLATION LEVEL REPEATABLE READ", NULL, 0, err);
	if (status == CS_OK)
		status = ask(cutter, "LOCK TABLE clinic_sync.batch_lock IN EXCLUSIVE MODE", NULL, 0,
			     err);
	if (status == CS_OK)
		status = ask(cutter, "SELECT cursor FROM clinic_sync.make_batch(true)", c->cursor,
			     sizeof(c->cursor), err);
	if (status == CS_OK && !cursor_parse(c->cursor, strlen(c->cursor), &cursor))
		return cs_fail(err, CS_ERR_UPSTREAM, "no batch could be cut; try again");
	if (status == CS_OK)
		status = ask(cutter, "SELECT pg_catalog.pg_export_snapshot()", snapshot,
			     sizeof(snapshot), err);
	if (status == CS_OK)
		status = import_snapshot(c->conn, snapshot, err);
	return status;
}

static cs_status connect_to(const char *dsn, const char *role, const char *settings, PGconn **out,
			    struct cs_error *err)
{
	*out = pq_connect(dsn, role, settings);
	if (!*out)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (PQstatus(*out) != CONNECTION_OK)
		return pq_cut_fail(*out, "cannot connect", err);
	return CS_OK;
}

static cs_status cut_and_commit(const char *dsn, const char *role, struct pq_cut *c,
				struct cs_error *err)
{
	PGconn *cutter;
	bool warned = false;
	cs_status status = connect_to(dsn, role, CUTTER_SETTINGS, &cutter, err);

	if (status == CS_OK) {
		PQsetNoticeReceiver(cutter, on_notice, &warned);
		status = cut(cutter, c, err);
	}
	if (status == CS_OK)
		status = ask(cutter, "COMMIT", NULL, 0, err);
	if (status == CS_OK && warned)
		status = cs_fail(err, CS_ERR_UPSTREAM,
				 "the batch is not proven: its commit answered with a warning");
	PQfinish(cutter);
	return status;
}

/* ---- which tables ------------------------------------------------------------------------ */

static char *field_copy(const PGresult *r, int row, int column)
{
	return PQgetisnull(r, row, column) ? NULL : strdup(PQgetvalue(r, row, column));
}

static cs_status take_table(struct pq_cut *c, const PGresult *r, int row, struct cs_error *err)
{
	struct pq_table *t = &c->tables[c->table_count++];

	t->relation = field_copy(r, row, COL_RELATION);
	t->query = field_copy(r, row, COL_QUERY);
	t->oversize_query = field_copy(r, row, COL_OVERSIZE);
	if (!t->relation || !t->query)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return schema_parse_text(PQgetvalue(r, row, COL_SCHEMA),
				 (size_t)PQgetlength(r, row, COL_SCHEMA), &t->schema, err);
}

static cs_status find_tables(struct pq_cut *c, const char *tables, bool *no_such_table,
			     struct cs_error *err)
{
	PGresult *r = PQexec(c->conn, "SELECT relation, name, schema, query, oversize_query"
				      " FROM clinic_sync.snapshot_tables()");
	int rows = PQntuples(r);
	cs_status status = CS_OK;

	if (PQresultStatus(r) != PGRES_TUPLES_OK) {
		status = pq_cut_fail(c->conn, "snapshot_tables()", err);
		goto done;
	}
	c->tables = calloc((size_t)rows + 1, sizeof(*c->tables));
	if (!c->tables) {
		status = cs_fail(err, CS_ERR_NOMEM, "out of memory");
		goto done;
	}
	for (int row = 0; row < rows && status == CS_OK; row++) {
		if (job_list_has(tables, PQgetvalue(r, row, COL_NAME)))
			status = take_table(c, r, row, err);
	}
	if (status == CS_OK && *tables && c->table_count != job_list_length(tables)) {
		*no_such_table = true;
		status = cs_fail(err, CS_ERR_REFUSED, "no such table is published");
	}
done:
	PQclear(r);
	return status;
}

static void free_tables(struct pq_cut *c)
{
	for (size_t i = 0; i < c->table_count; i++) {
		struct pq_table *t = &c->tables[i];

		free(t->relation);
		free(t->query);
		free(t->oversize_query);
		schema_free(t->schema);
	}
	free(c->tables);
	c->tables = NULL;
	c->table_count = 0;
}

/* ---- tables as the snapshot saw them ------------------------------------------------------- */

/*
 * TRUNCATE and DDL that rewrites a table or changes its partitions do not obey
 * snapshots: an older one finds the table as it is afterwards.  So the tables
 * are locked (as reading would, and with no more than the right to read), and
 * once they cannot change any more, looked at: is their storage still what the
 * catalog said at the snapshot?
 */
static cs_status hold_table(struct pq_cut *c, const struct pq_table *t, struct cs_error *err)
{
	struct dynbuf sql;
	cs_status status;

	dynbuf_init(&sql, HOLD_MOST_BYTES);
	if (dynbuf_addf(&sql, "SELECT FROM (%s) held LIMIT 0", t->query))
		status = ask(c->conn, sql.data, NULL, 0, err);
	else
		status = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	dynbuf_free(&sql);
	return status;
}

static const char storage_changed[] =
	"WITH RECURSIVE seen(oid) AS ("
	" SELECT $1::pg_catalog.regclass::pg_catalog.oid"
	" UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i, seen WHERE i.inhparent = "
	"seen.oid),"
	" held(oid) AS ("
	" SELECT $1::pg_catalog.regclass::pg_catalog.oid"
	" UNION SELECT t.relid FROM pg_catalog.pg_partition_tree($1::pg_catalog.regclass) t)"
	" SELECT EXISTS (SELECT FROM seen FULL JOIN held ON held.oid = seen.oid"
	" LEFT JOIN pg_catalog.pg_class c ON c.oid = held.oid"
	" WHERE seen.oid IS NULL OR held.oid IS NULL OR c.relfilenode IS DISTINCT FROM"
	" coalesce(pg_catalog.pg_relation_filenode(held.oid), 0::pg_catalog.oid))";

static cs_status check_table(struct pq_cut *c, const struct pq_table *t, bool *is_whole,
			     struct cs_error *err)
{
	const char *params[] = {t->relation};
	PGresult *r = PQexecParams(c->conn, storage_changed, 1, NULL, params, NULL, NULL, 0);
	cs_status status = CS_OK;

	if (PQresultStatus(r) != PGRES_TUPLES_OK)
		status = pq_cut_fail(c->conn, "cannot look at a table's storage", err);
	else if (strcmp(PQgetvalue(r, 0, 0), "f") != 0)
		*is_whole = false;
	PQclear(r);
	return status;
}

static cs_status hold_tables(struct pq_cut *c, bool *is_whole, struct cs_error *err)
{
	cs_status status = CS_OK;

	*is_whole = true;
	for (size_t i = 0; i < c->table_count && status == CS_OK; i++)
		status = hold_table(c, &c->tables[i], err);
	for (size_t i = 0; i < c->table_count && status == CS_OK; i++)
		status = check_table(c, &c->tables[i], is_whole, err);
	return status;
}

static cs_status cut_once(const char *dsn, const char *role, const char *tables, struct pq_cut *c,
			  bool *is_whole, bool *no_such_table, struct cs_error *err)
{
	cs_status status = cut_and_commit(dsn, role, c, err);

	if (status == CS_OK)
		status = find_tables(c, tables, no_such_table, err);
	if (status == CS_OK)
		status = hold_tables(c, is_whole, err);
	if (status == CS_OK && !*is_whole) {
		free_tables(c);
		status = ask(c->conn, "ROLLBACK", NULL, 0, err);
	}
	return status;
}

cs_status pq_cut_open(const char *dsn, const char *role, const char *tables, struct pq_cut *out,
		      bool *no_such_table, struct cs_error *err)
{
	bool is_whole = false;
	cs_status status;

	memset(out, 0, sizeof(*out));
	*no_such_table = false;
	status = connect_to(dsn, role, READER_SETTINGS, &out->conn, err);
	for (int i = 0; i < CUT_TRIES_MOST && status == CS_OK && !is_whole; i++)
		status = cut_once(dsn, role, tables, out, &is_whole, no_such_table, err);
	if (status == CS_OK && !is_whole)
		status = cs_fail(err, CS_ERR_UPSTREAM,
				 "tables are emptied or rewritten again and again; try later");
	if (status != CS_OK)
		pq_cut_close(out);
	return status;
}

cs_status pq_cut_look(const char *dsn, const char *role, const char *tables, struct pq_cut *out,
		      bool *no_such_table, struct cs_error *err)
{
	cs_status status;

	memset(out, 0, sizeof(*out));
	*no_such_table = false;
	status = connect_to(dsn, role, READER_SETTINGS, &out->conn, err);
	if (status == CS_OK)
		status = find_tables(out, tables, no_such_table, err);
	if (status != CS_OK)
		pq_cut_close(out);
	return status;
}

const struct pq_table *pq_cut_find(const struct pq_cut *c, const char *table)
{
	for (size_t i = 0; i < c->table_count; i++)
		if (strcmp(c->tables[i].schema->table, table) == 0)
			return &c->tables[i];
	return NULL;
}

void pq_cut_close(struct pq_cut *c)
{
	free_tables(c);
	PQfinish(c->conn);
	memset(c, 0, sizeof(*c));
}
