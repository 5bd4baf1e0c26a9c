/*
 * Digest and row hashes of docs/protocol.md over what a file holds.
 *
 * Every stored value is printed back as its canonical text; where the column
 * could not hold it, the text comes from clinic_sync_exact.  That side table
 * is asked only for columns that have anything in it.
 */
#include "cache_view.h"

#include <stdlib.h>
#include <string.h>

/* One walk over a table. */
struct scan {
	struct clinic_cache_view *v;
	const struct cached_table *t;
	sqlite3_stmt *rows;  /* the columns in byte order of their names */
	sqlite3_stmt *exact; /* NULL: the table has none */
	bool *asks;          /* by position: the column has exact texts */
	struct row_hash *hash;
	struct dynbuf text;
	struct dynbuf key;
	struct cs_error *err;
};

static cs_status prepare_rows(struct scan *s)
{
	const struct schema *schema = s->t->schema;
	cs_status st;

	dynbuf_reset(&s->text);
	for (size_t i = 0; i < schema->column_count; i++) {
		dynbuf_adds(&s->text, i ? ", " : "SELECT ");
		schema_add_identifier(&s->text, schema->columns[schema->by_name[i]].name);
	}
	dynbuf_adds(&s->text, " FROM main.");
	if (!schema_add_identifier(&s->text, schema->table))
		return cs_fail(s->err, CS_ERR_NOMEM, "out of memory");
	st = store_prepare(s->v->db, s->text.data, &s->rows, s->err);
	return st;
}

static cs_status note_exact_columns(struct scan *s)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(
		s->v->db, "SELECT DISTINCT column FROM main.clinic_sync_exact WHERE \"table\" = ?1",
		&stmt, s->err);
	int rc = SQLITE_DONE;

	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, s->t->schema->table, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(stmt, 0);
		int at = name ? schema_find(s->t->schema, name) : -1;

		if (at >= 0)
			s->asks[at] = true;
	}
	if (rc != SQLITE_DONE)
		st = store_fail(s->v->db, "read clinic_sync_exact", s->err);
	sqlite3_finalize(stmt);
	return st;
}

static void scan_end(struct scan *s)
{
	sqlite3_finalize(s->rows);
	sqlite3_finalize(s->exact);
	row_hash_free(s->hash);
	free(s->asks);
	dynbuf_free(&s->text);
	dynbuf_free(&s->key);
}

static cs_status scan_begin(struct scan *s, const char *table)
{
	cs_status st;

	dynbuf_init(&s->text, CACHE_MESSAGE_BYTES_MOST);
	dynbuf_init(&s->key, CACHE_MESSAGE_BYTES_MOST);
	s->t = tables_find(&s->v->tables, table, strlen(table));
	if (!s->t)
		return cs_fail(s->err, CS_ERR_CONFIG, "the file does not sync that table");
	s->hash = row_hash_new();
	s->asks = calloc(s->t->schema->column_count, sizeof(*s->asks));
	if (!s->hash || !s->asks)
		return cs_fail(s->err, CS_ERR_NOMEM, "out of memory");
	st = prepare_rows(s);
	if (st != CS_OK || !s->t->has_exact)
		return st;
	st = note_exact_columns(s);
	if (st == CS_OK)
		st = store_prepare(s->v->db,
				   "SELECT value FROM main.clinic_sync_exact"
				   " WHERE \"table\" = ?1 AND key = ?2 AND column = ?3",
				   &s->exact, s->err);
	return st;
}

/* Canonical text of the value in result column i, printed anew or where SQLite has it. */
static bool stored_text(struct scan *s, int i, const struct schema_column *column,
			const char **text, size_t *len)
{
	struct bound_value v = {0};

	switch (sqlite3_column_type(s->rows, i)) {
	case SQLITE_NULL:
		v.kind = BIND_NULL;
		break;
	case SQLITE_INTEGER:
		v.kind = BIND_INTEGER;
		v.integer = sqlite3_column_int64(s->rows, i);
		break;
	case SQLITE_FLOAT:
		v.kind = BIND_REAL;
		v.real = sqlite3_column_double(s->rows, i);
		break;
	case SQLITE_BLOB:
		v.kind = BIND_BLOB;
		v.len = (size_t)sqlite3_column_bytes(s->rows, i);
		v.bytes = sqlite3_column_blob(s->rows, i);
		break;
	default:
		v.kind = BIND_TEXT;
		v.bytes = (const char *)sqlite3_column_text(s->rows, i);
		v.len = (size_t)sqlite3_column_bytes(s->rows, i);
		if (!v.bytes)
			return false;
	}
	return value_print_stored(column, &v, &s->text, text, len);
}

/* Where column position is found in the result. */
static int result_column(const struct schema *schema, size_t position)
{
	for (size_t i = 0; i < schema->column_count; i++)
		if (schema->by_name[i] == position)
			return (int)i;
	return 0;
}

/* With minus_zero: a float that is 0 is printed as -0. */
static cs_status print_key(struct scan *s, bool minus_zero)
{
	const struct schema *schema = s->t->schema;

	dynbuf_reset(&s->key);
	for (size_t i = 0; i < schema->key_count; i++) {
		const struct schema_column *column = &schema->columns[schema->key[i]];
		const char *text;
		size_t len;

		if (!stored_text(s, result_column(schema, schema->key[i]), column, &text, &len))
			return cs_fail(s->err, CS_ERR_NOMEM, "out of memory");
		if (minus_zero && column->class == CLASS_FLOAT && len == 1 && text[0] == '0') {
			text = "-0";
			len = 2;
		}
		dynbuf_adds(&s->key, i ? "," : "{");
		dynbuf_add_json(&s->key, column->name, strlen(column->name));
		dynbuf_adds(&s->key, ":");
		value_add_json(&s->key, column, text, len);
	}
	return dynbuf_adds(&s->key, "}") ? CS_OK : cs_fail(s->err, CS_ERR_NOMEM, "out of memory");
}

/* True if the side table has the text of this row's column; valid until the next call. */
static bool exact_text(struct scan *s, const struct schema_column *column, const char **text,
		       size_t *len)
{
	sqlite3_reset(s->exact);
	sqlite3_bind_text(s->exact, 1, s->t->schema->table, -1, SQLITE_STATIC);
	sqlite3_bind_text64(s->exact, 2, s->key.data, s->key.len, SQLITE_STATIC, SQLITE_UTF8);
	sqlite3_bind_text(s->exact, 3, column->name, -1, SQLITE_STATIC);
	if (sqlite3_step(s->exact) != SQLITE_ROW)
		return false;
	*text = (const char *)sqlite3_column_text(s->exact, 0);
	*len = (size_t)sqlite3_column_bytes(s->exact, 0);
	return *text != NULL;
}

/*
 * The key as the wire writes it.  A column holds -0 as 0: the side table says
 * which of the two a key was.
 */
static cs_status find_key(struct scan *s)
{
	const struct schema *schema = s->t->schema;
	const char *text;
	size_t len;
	cs_status st = CS_OK;

	for (size_t i = 0; i < schema->key_count && st == CS_OK; i++) {
		const struct schema_column *column = &schema->columns[schema->key[i]];

		if (!s->asks[schema->key[i]] || column->class != CLASS_FLOAT)
			continue;
		st = print_key(s, true);
		if (st == CS_OK && exact_text(s, column, &text, &len))
			return CS_OK;
	}
	return st == CS_OK ? print_key(s, false) : st;
}

static cs_status hash_row(struct scan *s, bool with_key, uint64_t *out)
{
	const struct schema *schema = s->t->schema;
	cs_status st = with_key || s->exact ? find_key(s) : CS_OK;

	if (st != CS_OK)
		return st;
	if (!row_hash_begin(s->hash))
		return cs_fail(s->err, CS_ERR_NOMEM, "SHA-256 is not to be had");
	for (size_t i = 0; i < schema->column_count; i++) {
		const struct schema_column *column = &schema->columns[schema->by_name[i]];
		const char *text;
		size_t len;

		if (!(s->asks[schema->by_name[i]] && exact_text(s, column, &text, &len)) &&
		    !stored_text(s, (int)i, column, &text, &len))
			return cs_fail(s->err, CS_ERR_NOMEM, "out of memory");
		row_hash_add(s->hash, text, len);
	}
	if (!row_hash_end(s->hash, out))
		return cs_fail(s->err, CS_ERR_NOMEM, "SHA-256 is not to be had");
	return CS_OK;
}

static void print_hash(uint64_t value, char out[17])
{
	static const char hex[] = "0123456789abcdef";

	for (int i = 0; i < 16; i++)
		out[i] = hex[value >> (60 - 4 * i) & 15];
	out[16] = '\0';
}

/* Walk the table; add the hashes up, and tell each one where somebody listens. */
static cs_status scan_all(struct scan *s, int64_t *rows, uint64_t *sum,
			  void (*on_row)(const char *key, const char *row_hash, void *context),
			  void *context)
{
	char text[17];
	int rc;

	while ((rc = sqlite3_step(s->rows)) == SQLITE_ROW) {
		uint64_t hash;
		cs_status st = hash_row(s, on_row != NULL, &hash);

		if (st != CS_OK)
			return st;
		*sum += hash;
		++*rows;
		if (!on_row)
			continue;
		print_hash(hash, text);
		on_row(s->key.data, text, context);
	}
	return rc == SQLITE_DONE ? CS_OK : store_fail(s->v->db, "read a table", s->err);
}

clinic_cache_status clinic_cache_view_digest(struct clinic_cache_view *v, const char *table,
					     int64_t *rows, char hash[17],
					     struct clinic_cache_error *err)
{
	struct cs_error why = {0};
	struct scan s = {.v = v, .err = &why};
	uint64_t sum = 0;
	cs_status st = scan_begin(&s, table);

	*rows = 0;
	if (st == CS_OK)
		st = scan_all(&s, rows, &sum, NULL, NULL);
	scan_end(&s);
	print_hash(sum, hash);
	return st == CS_OK ? CLINIC_CACHE_OK : cache_publish_error(&why, err);
}

clinic_cache_status
clinic_cache_view_row_hashes(struct clinic_cache_view *v, const char *table,
			     void (*on_row)(const char *key, const char *row_hash, void *context),
			     void *context, struct clinic_cache_error *err)
{
	struct cs_error why = {0};
	struct scan s = {.v = v, .err = &why};
	int64_t rows = 0;
	uint64_t sum = 0;
	cs_status st = scan_begin(&s, table);

	if (st == CS_OK)
		st = scan_all(&s, &rows, &sum, on_row, context);
	scan_end(&s);
	return st == CS_OK ? CLINIC_CACHE_OK : cache_publish_error(&why, err);
}
