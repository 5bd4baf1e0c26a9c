/*
 * The snapshot file; see sqlite_snapshot.h.
 *
 * Nobody reads the file before it is whole, so it needs neither a journal nor
 * a flush on the way: one transaction, then fsync() once.  Indexes come last,
 * built by sorting.
 */
#include "sqlite_snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "value.h"

#define SQL_MOST_BYTES (1024 * 1024)
#define BLOB_MOST_BYTES (512 * 1024 * 1024)

struct snapshot_file {
	sqlite3 *db;
	char *path;
	const struct schema *schema; /* of the table being filled */
	uint64_t rows;               /* in it so far */
	sqlite3_stmt *insert;
	sqlite3_stmt *insert_exact;
	sqlite3_stmt *insert_oversize;
	struct dynbuf indexes; /* CREATE INDEX statements for the end */
	struct dynbuf blob;    /* decoded bytes of the value being bound */
	struct dynbuf key;     /* key object of the row */
};

static const char layout_sql[] =
	"PRAGMA page_size = 4096;"
	"PRAGMA journal_mode = OFF;"
	"PRAGMA synchronous = OFF;"
	"PRAGMA locking_mode = EXCLUSIVE;"
	"PRAGMA temp_store = FILE;"
	"PRAGMA cache_size = -32768;"
	"BEGIN;"
	"CREATE TABLE clinic_sync_meta(key TEXT PRIMARY KEY, value TEXT);"
	"CREATE TABLE clinic_sync_table(name TEXT PRIMARY KEY, schema TEXT, rows INTEGER);"
	"CREATE TABLE clinic_sync_exact(\"table\" TEXT, key TEXT, column TEXT, value TEXT,"
	" PRIMARY KEY(\"table\", key, column));"
	"CREATE TABLE clinic_sync_oversize(\"table\" TEXT, key TEXT, PRIMARY KEY(\"table\", key));";

static cs_status fail(struct snapshot_file *f, const char *what, struct cs_error *err)
{
	/* the code, not the message: that may name values */
	return cs_fail(err, CS_ERR_STORE, "snapshot file: %s: %s", what,
		       sqlite3_errstr(sqlite3_extended_errcode(f->db)));
}

static cs_status run(struct snapshot_file *f, const char *sql, struct cs_error *err)
{
	return sqlite3_exec(f->db, sql, NULL, NULL, NULL) == SQLITE_OK ? CS_OK
								       : fail(f, "SQL", err);
}

static cs_status prepare(struct snapshot_file *f, const char *sql, sqlite3_stmt **out,
			 struct cs_error *err)
{
	return sqlite3_prepare_v3(f->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) == SQLITE_OK
		       ? CS_OK
		       : fail(f, "prepare", err);
}

/* Run a statement whose values are bound, ready for the next. */
static cs_status step(struct snapshot_file *f, sqlite3_stmt *s, struct cs_error *err)
{
	int result = sqlite3_step(s);

	sqlite3_reset(s);
	return result == SQLITE_DONE ? CS_OK : fail(f, "insert", err);
}

cs_status snapshot_file_create(const char *path, struct snapshot_file **out, struct cs_error *err)
{
	struct snapshot_file *f = calloc(1, sizeof(*f));
	cs_status status = CS_ERR_NOMEM;

	*out = NULL;
	if (!f)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	dynbuf_init(&f->indexes, SQL_MOST_BYTES);
	dynbuf_init(&f->blob, BLOB_MOST_BYTES);
	dynbuf_init(&f->key, BLOB_MOST_BYTES);
	f->path = strdup(path);
	if (!f->path)
		goto fail;
	if (unlink(path) < 0 && errno != ENOENT) {
		status = cs_fail(err, CS_ERR_STORE, "snapshot file: %s", strerror(errno));
		goto fail;
	}
	if (sqlite3_open_v2(path, &f->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK) {
		status = fail(f, "open", err);
		goto fail;
	}
	status = run(f, layout_sql, err);
	if (status == CS_OK)
		status = prepare(f, "INSERT INTO clinic_sync_exact VALUES (?1, ?2, ?3, ?4)",
				 &f->insert_exact, err);
	if (status == CS_OK)
		status = prepare(f, "INSERT INTO clinic_sync_oversize VALUES (?1, ?2)",
				 &f->insert_oversize, err);
	if (status != CS_OK)
		goto fail;
	*out = f;
	return CS_OK;
fail:
	snapshot_file_close(f);
	return cs_fail(err, status, "out of memory");
}

void snapshot_file_close(struct snapshot_file *f)
{
	if (!f)
		return;
	sqlite3_finalize(f->insert);
	sqlite3_finalize(f->insert_exact);
	sqlite3_finalize(f->insert_oversize);
	sqlite3_close(f->db);
	dynbuf_free(&f->indexes);
	dynbuf_free(&f->blob);
	dynbuf_free(&f->key);
	free(f->path);
	free(f);
}

/* ---- a table -------------------------------------------------------------------------------- */

static cs_status prepare_insert(struct snapshot_file *f, struct cs_error *err)
{
	struct dynbuf sql;
	cs_status status;

	dynbuf_init(&sql, SQL_MOST_BYTES);
	dynbuf_adds(&sql, "INSERT INTO ");
	schema_add_identifier(&sql, f->schema->table);
	dynbuf_adds(&sql, " VALUES (?1");
	for (size_t i = 1; i < f->schema->column_count; i++)
		dynbuf_addf(&sql, ",?%zu", i + 1);
	dynbuf_adds(&sql, ")");
	status = sql.failed ? cs_fail(err, CS_ERR_NOMEM, "out of memory")
			    : prepare(f, sql.data, &f->insert, err);
	dynbuf_free(&sql);
	return status;
}

cs_status snapshot_file_begin_table(struct snapshot_file *f, const struct schema *schema,
				    struct cs_error *err)
{
	struct dynbuf sql;
	cs_status status;

	f->schema = schema;
	f->rows = 0;
	dynbuf_init(&sql, SQL_MOST_BYTES);
	schema_add_create_table(&sql, schema);
	status = sql.failed ? cs_fail(err, CS_ERR_NOMEM, "out of memory") : run(f, sql.data, err);
	dynbuf_free(&sql);
	for (size_t i = 0; i < schema->index_count; i++) {
		schema_add_create_index(&f->indexes, schema, &schema->indexes[i]);
		dynbuf_adds(&f->indexes, ";");
	}
	if (status == CS_OK)
		status = prepare_insert(f, err);
	return status;
}

/* The key object as the wire writes it: canonical literals of boolean and int bare, else strings.
 */
static bool make_key(struct snapshot_file *f, const struct copy_field *fields)
{
	const struct schema *s = f->schema;

	dynbuf_reset(&f->key);
	for (size_t i = 0; i < s->key_count; i++) {
		const struct schema_column *column = &s->columns[s->key[i]];
		const struct copy_field *field = &fields[s->key[i]];

		dynbuf_adds(&f->key, i ? "," : "{");
		dynbuf_add_json(&f->key, column->name, strlen(column->name));
		dynbuf_adds(&f->key, ":");
		if (column->class == CLASS_BOOLEAN || column->class == CLASS_INTEGER)
			dynbuf_add(&f->key, field->text, field->len);
		else
			dynbuf_add_json(&f->key, field->text, field->len);
	}
	return dynbuf_adds(&f->key, "}");
}

static cs_status add_exact(struct snapshot_file *f, const struct copy_field *fields, size_t column,
			   struct cs_error *err)
{
	sqlite3_stmt *s = f->insert_exact;

	if (!make_key(f, fields))
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	sqlite3_bind_text(s, 1, f->schema->table, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, f->key.data, (int)f->key.len, SQLITE_STATIC);
	sqlite3_bind_text(s, 3, f->schema->columns[column].name, -1, SQLITE_STATIC);
	sqlite3_bind_text64(s, 4, fields[column].text, fields[column].len, SQLITE_STATIC,
			    SQLITE_UTF8);
	return step(f, s, err);
}

/*
 * Blobs are decoded into one scratch buffer, so SQLite has to copy them; all
 * else points into the row, which outlives the step.
 */
static int bind_value(struct snapshot_file *f, int at, const struct bound_value *v)
{
	switch (v->kind) {
	case BIND_NULL:
		return sqlite3_bind_null(f->insert, at);
	case BIND_INTEGER:
		return sqlite3_bind_int64(f->insert, at, v->integer);
	case BIND_REAL:
		return sqlite3_bind_double(f->insert, at, v->real);
	case BIND_TEXT:
		return sqlite3_bind_text64(f->insert, at, v->bytes, v->len, SQLITE_STATIC,
					   SQLITE_UTF8);
	case BIND_BLOB:
		return v->len ? sqlite3_bind_blob64(f->insert, at, v->bytes, v->len,
						    SQLITE_TRANSIENT)
			      : sqlite3_bind_zeroblob(f->insert, at, 0);
	}
	return SQLITE_MISUSE;
}

cs_status snapshot_file_add_row(struct snapshot_file *f, const struct copy_field *fields,
				struct cs_error *err)
{
	struct bound_value value;

	for (size_t i = 0; i < f->schema->column_count; i++) {
		int at = (int)i + 1;

		if (!fields[i].text) {
			sqlite3_bind_null(f->insert, at);
			continue;
		}
		dynbuf_reset(&f->blob);
		if (!value_decide(&f->schema->columns[i], fields[i].text, fields[i].len, &f->blob,
				  &value))
			return cs_fail(err, CS_ERR_PROTOCOL,
				       "table %s column %s: a text is not canonical",
				       f->schema->table, f->schema->columns[i].name);
		if (bind_value(f, at, &value) != SQLITE_OK)
			return fail(f, "bind", err);
		if (!value.exact) {
			cs_status status = add_exact(f, fields, i, err);

			if (status != CS_OK)
				return status;
		}
	}
	f->rows++;
	return step(f, f->insert, err);
}

cs_status snapshot_file_add_oversize(struct snapshot_file *f, const char *key, size_t len,
				     struct cs_error *err)
{
	sqlite3_bind_text(f->insert_oversize, 1, f->schema->table, -1, SQLITE_STATIC);
	sqlite3_bind_text64(f->insert_oversize, 2, key, len, SQLITE_STATIC, SQLITE_UTF8);
	return step(f, f->insert_oversize, err);
}

cs_status snapshot_file_end_table(struct snapshot_file *f, uint64_t *rows, struct cs_error *err)
{
	sqlite3_stmt *s;
	cs_status status;

	*rows = f->rows;
	sqlite3_finalize(f->insert);
	f->insert = NULL;
	status = prepare(f, "INSERT INTO clinic_sync_table VALUES (?1, ?2, ?3)", &s, err);
	if (status != CS_OK)
		return status;
	sqlite3_bind_text(s, 1, f->schema->table, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, f->schema->json, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s, 3, (sqlite3_int64)f->rows);
	status = step(f, s, err);
	sqlite3_finalize(s);
	return status;
}

/* ---- the end ----------------------------------------------------------------------------------
 */

static cs_status add_meta(struct snapshot_file *f, const char *cursor, struct cs_error *err)
{
	char now[CLOCK_TEXT_BYTES];
	sqlite3_stmt *s;
	cs_status status = prepare(f,
				   "INSERT INTO clinic_sync_meta VALUES"
				   " ('format', '1'), ('cursor', ?1), ('created_at', ?2)",
				   &s, err);

	if (status != CS_OK)
		return status;
	sqlite3_bind_text(s, 1, cursor, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, clock_utc_text(now), -1, SQLITE_STATIC);
	status = step(f, s, err);
	sqlite3_finalize(s);
	return status;
}

static cs_status flush_file(const char *path, uint64_t *bytes, struct cs_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	bool flushed = fd >= 0 && fsync(fd) == 0 && fstat(fd, &st) == 0;

	if (!flushed)
		cs_fail(err, CS_ERR_STORE, "snapshot file: %s", strerror(errno));
	else
		*bytes = (uint64_t)st.st_size;
	if (fd >= 0)
		close(fd);
	return flushed ? CS_OK : CS_ERR_STORE;
}

cs_status snapshot_file_finish(struct snapshot_file *f, const char *cursor, uint64_t *bytes,
			       struct cs_error *err)
{
	cs_status status = add_meta(f, cursor, err);

	if (status == CS_OK && f->indexes.failed)
		status = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (status == CS_OK && f->indexes.len)
		status = run(f, f->indexes.data, err);
	if (status == CS_OK)
		status = run(f, "COMMIT", err);
	if (status != CS_OK)
		return status;
	sqlite3_finalize(f->insert_exact);
	sqlite3_finalize(f->insert_oversize);
	f->insert_exact = f->insert_oversize = NULL;
	if (sqlite3_close(f->db) != SQLITE_OK)
		return fail(f, "close", err);
	f->db = NULL;
	return flush_file(f->path, bytes, err);
}
