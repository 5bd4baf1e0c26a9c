/*
 * What an app keeps in columns of its own in a synced table.
 *
 * Nobody delivers them, so they must outlive their row's being parked: they
 * wait beside it as JSON, and go into the INSERT that brings the row back.  One
 * of them may be the row's number (INTEGER PRIMARY KEY), which the app's other
 * tables refer to: no new row may take that of a row that is parked.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

static cs_status nomem(struct cs_error *err)
{
	return cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

/* ---- as JSON ------------------------------------------------------------------------------ */

/* Bytes that JSON cannot hold travel in hexadecimal. */
static json_t *bytes_as_json(const unsigned char *bytes, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	char *text = malloc(len * 2 + 1);
	json_t *out;

	if (!text)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		text[2 * i] = hex[bytes[i] >> 4];
		text[2 * i + 1] = hex[bytes[i] & 15];
	}
	out = json_pack("{s:s%}", "hex", text, (int)(len * 2));
	free(text);
	return out;
}

static json_t *column_as_json(sqlite3_stmt *stmt, int i)
{
	json_t *out;

	switch (sqlite3_column_type(stmt, i)) {
	case SQLITE_NULL:
		return json_null();
	case SQLITE_INTEGER:
		return json_integer(sqlite3_column_int64(stmt, i));
	case SQLITE_FLOAT:
		out = json_real(sqlite3_column_double(stmt, i));
		/* infinity */
		return out ? out : json_string((const char *)sqlite3_column_text(stmt, i));
	case SQLITE_TEXT:
		out = json_stringn((const char *)sqlite3_column_text(stmt, i),
				   (size_t)sqlite3_column_bytes(stmt, i));
		if (out)
			return out;
		break;
	default:
		break;
	}
	return bytes_as_json(sqlite3_column_blob(stmt, i), (size_t)sqlite3_column_bytes(stmt, i));
}

static cs_status row_as_json(sqlite3_stmt *stmt, char **out, struct cs_error *err)
{
	json_t *row = json_object();

	for (int i = 0; i < sqlite3_column_count(stmt); i++)
		if (json_object_set_new(row, sqlite3_column_name(stmt, i),
					column_as_json(stmt, i)) != 0) {
			json_decref(row);
			return nomem(err);
		}
	*out = json_dumps(row, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17));
	json_decref(row);
	return *out ? CS_OK : nomem(err);
}

cs_status extra_read(struct clinic_cache *c, const struct cached_table *t,
		     const struct wire_object *key, char **out, struct cs_error *err)
{
	struct dynbuf *sql = &c->sql;
	sqlite3_stmt *stmt = NULL;
	cs_status st;
	int rc;

	*out = NULL;
	if (!t->extra_names)
		return CS_OK;
	dynbuf_reset(sql);
	dynbuf_addf(sql, "SELECT %s FROM main.", t->extra_names);
	schema_add_identifier(sql, t->schema->table);
	dynbuf_adds(sql, " WHERE ");
	table_add_key_condition(sql, t, 1);
	st = sql->failed ? nomem(err) : store_prepare(c->db, sql->data, &stmt, err);
	if (st == CS_OK)
		st = bind_key(stmt, 1, t, key, &c->scratch, err);
	if (st == CS_OK) {
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW)
			st = row_as_json(stmt, out, err);
		else if (rc != SQLITE_DONE)
			st = store_fail(c->db, "read a row", err);
	}
	sqlite3_finalize(stmt);
	return st;
}

static int hex_digit(char c)
{
	return c >= 'a' ? c - 'a' + 10 : c - '0';
}

static int bind_bytes(sqlite3_stmt *stmt, int parameter, const json_t *value)
{
	const char *text = json_string_value(json_object_get(value, "hex"));
	size_t len = text ? strlen(text) / 2 : 0;
	char *bytes = malloc(len + 1);
	int rc;

	if (!bytes)
		return SQLITE_NOMEM;
	for (size_t i = 0; i < len; i++)
		bytes[i] = (char)(hex_digit(text[2 * i]) * 16 + hex_digit(text[2 * i + 1]));
	rc = sqlite3_bind_blob64(stmt, parameter, bytes, len, SQLITE_TRANSIENT);
	free(bytes);
	return rc;
}

static int bind_kept(sqlite3_stmt *stmt, int parameter, const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_INTEGER:
		return sqlite3_bind_int64(stmt, parameter, json_integer_value(value));
	case JSON_REAL:
		return sqlite3_bind_double(stmt, parameter, json_real_value(value));
	case JSON_STRING:
		return sqlite3_bind_text64(stmt, parameter, json_string_value(value),
					   json_string_length(value), SQLITE_TRANSIENT,
					   SQLITE_UTF8);
	case JSON_OBJECT:
		return bind_bytes(stmt, parameter, value);
	default:
		return sqlite3_bind_null(stmt, parameter);
	}
}

cs_status extra_bind(sqlite3_stmt *stmt, int parameter, const json_t *value, struct cs_error *err)
{
	return bind_kept(stmt, parameter, value) == SQLITE_OK ? CS_OK : nomem(err);
}

/* ---- columns of new rows ------------------------------------------------------------------- */

static bool is_bound(const uint16_t *columns, size_t column_count, size_t position)
{
	for (size_t i = 0; i < column_count; i++)
		if (columns[i] == position)
			return true;
	return false;
}

void extra_add_fills(struct dynbuf *b, const struct cached_table *t, const uint16_t *columns,
		     size_t column_count, bool names)
{
	for (size_t i = 0; i < t->extra_count; i++) {
		if (!t->extra[i].fill ||
		    is_bound(columns, column_count, t->schema->column_count + i))
			continue;
		dynbuf_adds(b, ", ");
		if (names)
			schema_add_identifier(b, t->extra[i].name);
		else
			dynbuf_adds(b, t->extra[i].fill);
	}
}

void extra_free(struct cached_table *t)
{
	for (size_t i = 0; i < t->extra_count; i++)
		free(t->extra[i].name);
	free(t->extra);
	t->extra = NULL;
	t->extra_count = 0;
}

/* ---- numbers of rows ----------------------------------------------------------------------- */

void extra_note_kept(struct cached_table *t, const char *kept)
{
	json_t *row;
	const json_t *number;

	if (t->numbered < 0 || t->kept_most == NUMBER_UNKNOWN)
		return;
	row = json_loads(kept, 0, NULL);
	number = json_object_get(row, t->extra[t->numbered].name);
	if (json_is_integer(number) && json_integer_value(number) > t->kept_most)
		t->kept_most = json_integer_value(number);
	json_decref(row);
}

/* The largest of a query with two %Q or %w; 0: none is positive. */
static cs_status largest(struct clinic_cache *c, const char *format, const char *first,
			 const char *second, int64_t *out, struct cs_error *err)
{
	char *sql = sqlite3_mprintf(format, first, second);
	cs_status st = sql ? store_integer(c->db, sql, out, err) : nomem(err);

	sqlite3_free(sql);
	if (*out < 0)
		*out = 0;
	return st;
}

cs_status extra_number(struct clinic_cache *c, struct cached_table *t, json_t **out,
		       struct cs_error *err)
{
	const char *name = t->numbered < 0 ? NULL : t->extra[t->numbered].name;
	int64_t most = 0;
	cs_status st = CS_OK;

	*out = NULL;
	if (!name || !t->has_parked)
		return CS_OK;
	if (t->kept_most == NUMBER_UNKNOWN)
		st = largest(c,
			     "SELECT max(kept ->> %Q) FROM main.clinic_cache_parked"
			     " WHERE \"table\" = %Q",
			     name, t->schema->table, &t->kept_most, err);
	if (st == CS_OK)
		st = largest(c, "SELECT max(\"%w\") FROM main.\"%w\"", name, t->schema->table,
			     &most, err);
	/* beyond what is parked SQLite's own choice is as good; at the end of all numbers it must
	 * be */
	if (st != CS_OK || most > t->kept_most || t->kept_most == INT64_MAX)
		return st;
	*out = json_integer(t->kept_most + 1);
	return *out ? CS_OK : nomem(err);
}
