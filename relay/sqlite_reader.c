/*
 * The snapshot file, read; see sqlite_reader.h.
 *
 * The file never changes once it is whole, so SQLite is told that it is
 * immutable: no locks, no look for a journal beside it.
 */
#include "sqlite_reader.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "schema.h"
#include "sqlite_reader_internal.h"

#define SQL_MOST_BYTES ((size_t)1024 * 1024)
/* As in the writer: above any row that max_row_bytes lets in, escaped. */
#define ROW_MOST_BYTES ((size_t)512 * 1024 * 1024)

static cs_status fail(const struct snapshot_reader *r, const char *what, struct cs_error *err)
{
	/* the code, not the message: that may name values */
	return cs_fail(err, CS_ERR_STORE, "snapshot file: %s: %s", what,
		       sqlite3_errstr(sqlite3_extended_errcode(r->db)));
}

static cs_status out_of_memory(struct cs_error *err)
{
	return cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

static cs_status prepare(struct snapshot_reader *r, const char *sql, sqlite3_stmt **out,
			 struct cs_error *err)
{
	return sqlite3_prepare_v2(r->db, sql, -1, out, NULL) == SQLITE_OK ? CS_OK
									  : fail(r, "prepare", err);
}

/* ---- opening -------------------------------------------------------------------------------- */

static cs_status open_file(struct snapshot_reader *r, const char *path, struct cs_error *err)
{
	struct dynbuf uri;
	cs_status status = CS_OK;

	dynbuf_init(&uri, SQL_MOST_BYTES);
	dynbuf_adds(&uri, "file:");
	for (const char *c = path; *c; c++) {
		if (strchr("%?#", *c))
			dynbuf_addf(&uri, "%%%02X", (unsigned)*c);
		else
			dynbuf_add(&uri, c, 1);
	}
	if (!dynbuf_adds(&uri, "?immutable=1"))
		status = out_of_memory(err);
	else if (sqlite3_open_v2(uri.data, &r->db,
				 SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX,
				 NULL) != SQLITE_OK ||
		 sqlite3_exec(r->db, "PRAGMA cache_size = -256", NULL, NULL, NULL) != SQLITE_OK)
		status = fail(r, "open", err);
	dynbuf_free(&uri);
	return status;
}

static cs_status read_meta(struct snapshot_reader *r, struct cs_error *err)
{
	sqlite3_stmt *s;
	cs_status status = prepare(r,
				   "SELECT key, value FROM clinic_sync_meta"
				   " WHERE key IN ('cursor', 'created_at')",
				   &s, err);

	if (status != CS_OK)
		return status;
	while (sqlite3_step(s) == SQLITE_ROW) {
		const char *key = (const char *)sqlite3_column_text(s, 0);
		const char *value = (const char *)sqlite3_column_text(s, 1);
		char **to = key && strcmp(key, "cursor") == 0 ? &r->cursor : &r->created_at;

		free(*to);
		*to = value ? strdup(value) : NULL;
	}
	sqlite3_finalize(s);
	return r->cursor && r->created_at ? CS_OK : fail(r, "no cursor", err);
}

static cs_status add_table(struct snapshot_reader *r, sqlite3_stmt *s, struct cs_error *err)
{
	const char *name = (const char *)sqlite3_column_text(s, 0);
	const char *schema = (const char *)sqlite3_column_text(s, 1);
	struct reader_table *tables = realloc(r->tables, (r->table_count + 1) * sizeof(*r->tables));

	if (!tables)
		return out_of_memory(err);
	r->tables = tables;
	tables[r->table_count] = (struct reader_table){
		.name = name ? strdup(name) : NULL,
		.schema_json = schema ? strdup(schema) : NULL,
		.rows = (uint64_t)sqlite3_column_int64(s, 2),
	};
	r->table_count++;
	return tables[r->table_count - 1].name && tables[r->table_count - 1].schema_json
		       ? CS_OK
		       : out_of_memory(err);
}

static cs_status read_tables(struct snapshot_reader *r, struct cs_error *err)
{
	sqlite3_stmt *s;
	cs_status status = prepare(
		r, "SELECT name, schema, rows FROM clinic_sync_table ORDER BY rowid", &s, err);
	int rc;

	if (status != CS_OK)
		return status;
	while ((rc = sqlite3_step(s)) == SQLITE_ROW && status == CS_OK)
		status = add_table(r, s, err);
	if (status == CS_OK && rc != SQLITE_DONE)
		status = fail(r, "read the list of tables", err);
	sqlite3_finalize(s);
	return status;
}

cs_status snapshot_reader_open(const char *path, struct snapshot_reader **out, struct cs_error *err)
{
	struct snapshot_reader *r = calloc(1, sizeof(*r));
	cs_status status;

	*out = NULL;
	if (!r)
		return out_of_memory(err);
	dynbuf_init(&r->row, ROW_MOST_BYTES);
	dynbuf_init(&r->text, ROW_MOST_BYTES);
	dynbuf_init(&r->key, ROW_MOST_BYTES);
	status = open_file(r, path, err);
	if (status == CS_OK)
		status = read_meta(r, err);
	if (status == CS_OK)
		status = read_tables(r, err);
	if (status != CS_OK)
		goto fail;
	*out = r;
	return CS_OK;
fail:
	snapshot_reader_close(r);
	return status;
}

static void end_table(struct snapshot_reader *r)
{
	sqlite3_finalize(r->select);
	sqlite3_finalize(r->exact);
	r->select = r->exact = NULL;
	for (size_t i = 0; r->labels && i < r->schema->column_count; i++)
		dynbuf_free(&r->labels[i]);
	free(r->labels);
	free(r->asks);
	schema_free(r->schema);
	r->labels = NULL;
	r->asks = NULL;
	r->schema = NULL;
	r->given = 0;
	r->held = r->over = false;
}

void snapshot_reader_close(struct snapshot_reader *r)
{
	if (!r)
		return;
	end_table(r);
	sqlite3_close(r->db);
	for (size_t i = 0; i < r->table_count; i++) {
		free(r->tables[i].name);
		free(r->tables[i].schema_json);
	}
	free(r->tables);
	free(r->cursor);
	free(r->created_at);
	dynbuf_free(&r->row);
	dynbuf_free(&r->text);
	dynbuf_free(&r->key);
	free(r);
}

const char *snapshot_reader_cursor(const struct snapshot_reader *r)
{
	return r->cursor;
}

const char *snapshot_reader_created_at(const struct snapshot_reader *r)
{
	return r->created_at;
}

size_t snapshot_reader_table_count(const struct snapshot_reader *r)
{
	return r->table_count;
}

const char *snapshot_reader_table(const struct snapshot_reader *r, size_t i)
{
	return r->tables[i].name;
}

uint64_t snapshot_reader_table_rows(const struct snapshot_reader *r, size_t i)
{
	return r->tables[i].rows;
}

/* ---- a table -------------------------------------------------------------------------------- */

static cs_status prepare_select(struct snapshot_reader *r, struct cs_error *err)
{
	struct dynbuf sql;
	cs_status status;

	dynbuf_init(&sql, SQL_MOST_BYTES);
	for (size_t i = 0; i < r->schema->column_count; i++) {
		dynbuf_adds(&sql, i ? ", " : "SELECT ");
		schema_add_identifier(&sql, r->schema->columns[i].name);
	}
	dynbuf_adds(&sql, " FROM ");
	schema_add_identifier(&sql, r->schema->table);
	/* the order they were written in, never that of an index that covers the columns */
	status = dynbuf_adds(&sql, " ORDER BY rowid") ? prepare(r, sql.data, &r->select, err)
						      : out_of_memory(err);
	dynbuf_free(&sql);
	return status;
}

/* Which columns have texts in clinic_sync_exact; r->exact is made where any has. */
static cs_status note_exact_columns(struct snapshot_reader *r, struct cs_error *err)
{
	bool any = false;
	sqlite3_stmt *s;
	cs_status status = prepare(
		r, "SELECT DISTINCT column FROM clinic_sync_exact WHERE \"table\" = ?1", &s, err);
	int rc;

	if (status != CS_OK)
		return status;
	sqlite3_bind_text(s, 1, r->table->name, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(s, 0);
		int at = name ? schema_find(r->schema, name) : -1;

		if (at >= 0)
			any = r->asks[at] = true;
	}
	if (rc != SQLITE_DONE)
		status = fail(r, "read exact texts", err);
	sqlite3_finalize(s);
	if (status == CS_OK && any)
		status = prepare(r,
				 "SELECT value FROM clinic_sync_exact"
				 " WHERE \"table\" = ?1 AND key = ?2 AND column = ?3",
				 &r->exact, err);
	return status;
}

static cs_status make_labels(struct snapshot_reader *r, struct cs_error *err)
{
	const struct schema *schema = r->schema;

	r->labels = calloc(schema->column_count, sizeof(*r->labels));
	r->asks = calloc(schema->column_count, sizeof(*r->asks));
	if (!r->labels || !r->asks)
		return out_of_memory(err);
	for (size_t i = 0; i < schema->column_count; i++) {
		const char *name = schema->columns[i].name;

		dynbuf_init(&r->labels[i], SQL_MOST_BYTES);
		dynbuf_add_json(&r->labels[i], name, strlen(name));
		if (!dynbuf_adds(&r->labels[i], ":"))
			return out_of_memory(err);
	}
	return CS_OK;
}

cs_status snapshot_reader_begin(struct snapshot_reader *r, const char *table,
				const char **schema_json, uint64_t *rows, struct cs_error *err)
{
	cs_status status;

	end_table(r);
	r->table = NULL;
	for (size_t i = 0; i < r->table_count && !r->table; i++)
		if (strcmp(r->tables[i].name, table) == 0)
			r->table = &r->tables[i];
	if (!r->table)
		return cs_fail(err, CS_ERR_CONFIG, "the snapshot file does not have that table");
	status = schema_parse_text(r->table->schema_json, strlen(r->table->schema_json), &r->schema,
				   err);
	if (status == CS_OK)
		status = make_labels(r, err);
	if (status == CS_OK)
		status = prepare_select(r, err);
	if (status == CS_OK)
		status = note_exact_columns(r, err);
	if (status != CS_OK)
		return status;
	*schema_json = r->table->schema_json;
	*rows = r->table->rows;
	return CS_OK;
}

/* ---- rows --------------------------------------------------------------------------------- */

/* The next row into r->row and held, or over. */
static cs_status next_row(struct snapshot_reader *r, struct cs_error *err)
{
	cs_status status;

	switch (sqlite3_step(r->select)) {
	case SQLITE_ROW:
		status = snapshot_row_print(r, err);
		r->held = status == CS_OK;
		return status;
	case SQLITE_DONE:
		r->over = true;
		return r->given == r->table->rows ? CS_OK
						  : cs_fail(err, CS_ERR_STORE,
							    "snapshot file: a table's rows are not "
							    "as many as written");
	default:
		return fail(r, "read a row", err);
	}
}

cs_status snapshot_reader_rows(struct snapshot_reader *r, struct dynbuf *out, size_t most_bytes,
			       uint64_t *rows, bool *end, struct cs_error *err)
{
	cs_status status = CS_OK;

	*rows = 0;
	*end = false;
	while (!r->over) {
		if (!r->held)
			status = next_row(r, err);
		if (status != CS_OK)
			return status;
		if (r->over)
			break;
		if (*rows && out->len + 1 + r->row.len > most_bytes)
			return CS_OK;
		if (*rows)
			dynbuf_add(out, ",", 1);
		if (!dynbuf_add(out, r->row.data, r->row.len))
			return out_of_memory(err);
		r->held = false;
		r->given++;
		++*rows;
	}
	*end = true;
	return CS_OK;
}

cs_status snapshot_reader_oversize(struct snapshot_reader *r, struct dynbuf *out,
				   struct cs_error *err)
{
	const char *separator = "[";
	sqlite3_stmt *s;
	cs_status status =
		prepare(r, "SELECT key FROM clinic_sync_oversize WHERE \"table\" = ?1", &s, err);
	int rc;

	if (status != CS_OK)
		return status;
	sqlite3_bind_text(s, 1, r->table->name, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
		dynbuf_adds(out, separator);
		dynbuf_add(out, sqlite3_column_text(s, 0), (size_t)sqlite3_column_bytes(s, 0));
		separator = ",";
	}
	if (rc != SQLITE_DONE)
		status = fail(r, "read the rows not held", err);
	sqlite3_finalize(s);
	if (status == CS_OK &&
	    !(*separator == '[' ? dynbuf_adds(out, "[]") : dynbuf_adds(out, "]")))
		status = out_of_memory(err);
	return status;
}
