/* Cutting a batch and holding its snapshot; see pq_cut.h. */
#include "pq_cut.h"

#include <jansson.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "job_orders.h"
#include "log.h"
#include "pq_hold.h"
#include "pq_params.h"

/* What the canonical texts rest on (docs/protocol.md, "Values"). row_security=off: an error
   instead of silently fewer rows. */
#define CANONICAL_SETTINGS                                                                         \
	" -c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=1"      \
	" -c bytea_output=hex -c row_security=off"
#define CUTTER_SETTINGS                                                                            \
	"-c lock_timeout=10000 -c statement_timeout=60000 -c synchronous_commit=on"                \
	" -c idle_in_transaction_session_timeout=10000"
/* Tables are never waited for (pq_hold.h); this is for what nobody locks for long: catalogs. */
#define READER_SETTINGS "-c lock_timeout=100 -c statement_timeout=0" CANONICAL_SETTINGS

/* Cuts in a row that found a table locked, emptied or rewritten under them. */
#define CUT_TRIES_MOST 20
/* Snapshots and digests: somebody waits for them. */
#define LOCK_PATIENCE_MS 10000

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

cs_status pq_command(PGconn *conn, const char *sql, struct cs_error *err)
{
	return ask(conn, sql, NULL, 0, err);
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

static cs_status take_table(struct pq_cut *c, const PGresult *r, int row, bool to_hold,
			    struct cs_error *err)
{
	struct pq_table *t = &c->tables[c->table_count++];

	t->to_hold = to_hold;
	t->relation = field_copy(r, row, COL_RELATION);
	t->query = field_copy(r, row, COL_QUERY);
	t->oversize_query = field_copy(r, row, COL_OVERSIZE);
	if (!t->relation || !t->query)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return schema_parse_text(PQgetvalue(r, row, COL_SCHEMA),
				 (size_t)PQgetlength(r, row, COL_SCHEMA), &t->schema, err);
}

static cs_status find_tables(struct pq_cut *c, const json_t *names, bool *no_such_table,
			     struct cs_error *err)
{
	size_t wanted = json_object_size(names);
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
		const json_t *to_hold = json_object_get(names, PQgetvalue(r, row, COL_NAME));

		if (to_hold || !wanted)
			status = take_table(c, r, row, !json_is_false(to_hold), err);
	}
	if (status == CS_OK && wanted && c->table_count != wanted) {
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

/* ---- the view ----------------------------------------------------------------------------- */

enum outcome { CUT_WHOLE, CUT_CHANGED, CUT_LOCKED };

static cs_status cut_once(const char *dsn, const char *role, const json_t *names, struct pq_cut *c,
			  enum outcome *outcome, bool *no_such_table, struct cs_error *err)
{
	bool held = false, is_whole = false;
	cs_status status = cut_and_commit(dsn, role, c, err);

	if (status == CS_OK)
		status = find_tables(c, names, no_such_table, err);
	if (status == CS_OK)
		status = pq_hold(c, &held, err);
	if (status == CS_OK && held)
		status = pq_hold_check(c, &is_whole, err);
	*outcome = !held ? CUT_LOCKED : is_whole ? CUT_WHOLE : CUT_CHANGED;
	if (status == CS_OK && !is_whole)
		status = pq_command(c->conn, "ROLLBACK", err);
	return status;
}

/* Returns when the tables are free, or have not been for so long; holds nothing meanwhile. */
static cs_status await_free(struct pq_cut *c, int *patience_ms, struct cs_error *err)
{
	bool held = false;
	cs_status status = CS_OK;

	while (status == CS_OK && !held && *patience_ms > 0) {
		*patience_ms -= pq_hold_pause();
		status = pq_hold(c, &held, err); /* no transaction: given back at once */
	}
	return status;
}

static cs_status cut_until_whole(const char *dsn, const char *role, const json_t *names,
				 int patience_ms, struct pq_cut *c, bool *no_such_table,
				 struct cs_error *err)
{
	enum outcome outcome = CUT_CHANGED;
	cs_status status = CS_OK;

	for (int tries = 0; tries < CUT_TRIES_MOST && status == CS_OK; tries++) {
		status = cut_once(dsn, role, names, c, &outcome, no_such_table, err);
		if (status != CS_OK || outcome == CUT_WHOLE)
			return status;
		if (outcome == CUT_LOCKED && patience_ms <= 0)
			break;
		if (outcome == CUT_LOCKED)
			status = await_free(c, &patience_ms, err);
		free_tables(c);
	}
	if (status == CS_OK && outcome == CUT_LOCKED)
		return pq_hold_failed(err);
	if (status == CS_OK)
		return cs_fail(err, CS_ERR_UPSTREAM,
			       "tables are emptied or rewritten again and again; try later");
	return status;
}

cs_status pq_cut_open(const char *dsn, const char *role, const json_t *names, int patience_ms,
		      struct pq_cut *out, bool *no_such_table, struct cs_error *err)
{
	cs_status status;

	memset(out, 0, sizeof(*out));
	*no_such_table = false;
	status = connect_to(dsn, role, READER_SETTINGS, &out->conn, err);
	if (status == CS_OK)
		status = cut_until_whole(dsn, role, names, patience_ms, out, no_such_table, err);
	if (status != CS_OK)
		pq_cut_close(out);
	return status;
}

cs_status pq_cut_open_list(const struct job_orders *orders, const char *role, struct pq_cut *out,
			   bool *no_such_table, struct cs_error *err)
{
	json_t *names = job_list_names(orders->tables);
	cs_status status;

	if (!names)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	status = pq_cut_open(orders->dsn, role, names, LOCK_PATIENCE_MS, out, no_such_table, err);
	json_decref(names);
	return status;
}

cs_status pq_cut_look(const char *dsn, const char *role, const json_t *names, struct pq_cut *out,
		      bool *no_such_table, struct cs_error *err)
{
	cs_status status;

	memset(out, 0, sizeof(*out));
	*no_such_table = false;
	status = connect_to(dsn, role, READER_SETTINGS, &out->conn, err);
	if (status == CS_OK)
		status = find_tables(out, names, no_such_table, err);
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
