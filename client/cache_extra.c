/*
 * What an app keeps in columns of its own in a synced table.
 *
 * Nobody delivers them, so they must outlive their row's being taken out and
 * put in again: as JSON beside a parked row, or in a temporary table while
 * many rows are replaced.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

static cs_status nomem(struct cs_error *err)
{
	return cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

/* ---- one row, as JSON --------------------------------------------------------------------- */

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

cs_status extra_read(struct clinic_cache *c, const struct cached_table *t, const char *from,
		     const struct wire_object *key, char **out, struct cs_error *err)
{
	struct dynbuf sql;
	sqlite3_stmt *stmt = NULL;
	cs_status st;
	int rc;

	*out = NULL;
	dynbuf_init(&sql, CACHE_SQL_BYTES_MOST);
	dynbuf_addf(&sql, "SELECT %s FROM %s WHERE ", t->extra_names, from);
	table_add_key_condition(&sql, t, 1);
	st = sql.failed ? nomem(err) : store_prepare(c->db, sql.data, &stmt, err);
	dynbuf_free(&sql);
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

/* `UPDATE into SET "a" = ?N …` for the columns of row, the key's parameters first. */
static bool add_update(struct dynbuf *sql, const struct cached_table *t, const char *into,
		       json_t *row)
{
	size_t parameter = t->schema->key_count;
	bool any = false;
	const char *name;
	json_t *value;

	dynbuf_adds(sql, "UPDATE OR IGNORE ");
	if (into) {
		dynbuf_adds(sql, into);
	} else {
		dynbuf_adds(sql, "main.");
		schema_add_identifier(sql, t->schema->table);
	}
	json_object_foreach(row, name, value)
	{
		dynbuf_adds(sql, any ? ", " : " SET ");
		schema_add_identifier(sql, name);
		dynbuf_addf(sql, " = ?%zu", ++parameter);
		any = true;
	}
	dynbuf_adds(sql, " WHERE ");
	table_add_key_condition(sql, t, 1);
	return any && !sql->failed;
}

static cs_status write_row(struct clinic_cache *c, const struct cached_table *t, const char *into,
			   const struct wire_object *key, json_t *row, struct cs_error *err)
{
	int parameter = (int)t->schema->key_count;
	struct dynbuf sql;
	sqlite3_stmt *stmt = NULL;
	const char *name;
	json_t *value;
	cs_status st = CS_OK;

	dynbuf_init(&sql, CACHE_SQL_BYTES_MOST);
	/* a column that the app dropped meanwhile: what it kept there goes with it */
	if (!add_update(&sql, t, into, row) ||
	    store_prepare(c->db, sql.data, &stmt, NULL) != CS_OK) {
		dynbuf_free(&sql);
		return CS_OK;
	}
	dynbuf_free(&sql);
	json_object_foreach(row, name, value)
	{
		if (bind_kept(stmt, ++parameter, value) != SQLITE_OK)
			st = nomem(err);
	}
	if (st == CS_OK)
		st = bind_key(stmt, 1, t, key, &c->scratch, err);
	if (st == CS_OK && sqlite3_step(stmt) != SQLITE_DONE &&
	    (sqlite3_extended_errcode(c->db) & 0xff) != SQLITE_CONSTRAINT)
		st = store_fail(c->db, "write a row", err);
	sqlite3_finalize(stmt);
	return st;
}

cs_status extra_write(struct clinic_cache *c, const struct cached_table *t, const char *into,
		      const struct wire_object *key, const char *kept, struct cs_error *err)
{
	json_t *row = json_loads(kept, 0, NULL);
	cs_status st = json_is_object(row) ? write_row(c, t, into, key, row, err) : CS_OK;

	json_decref(row);
	return st;
}

/* ---- many rows, in a temporary table ------------------------------------------------------ */

struct keeping {
	struct clinic_cache *c;
	const struct cached_table *t;
	const char *kept;
};

/* A parked row's: it stands beside that row. */
static cs_status keep_parked(void *context, const struct wire_change *change, struct cs_error *err)
{
	struct keeping *k = context;
	const struct schema *s = k->t->schema;
	struct dynbuf sql;
	sqlite3_stmt *stmt = NULL;
	cs_status st;

	dynbuf_init(&sql, CACHE_SQL_BYTES_MOST);
	dynbuf_adds(&sql, "INSERT INTO " EXTRA_KEPT "(");
	table_add_key_names(&sql, s);
	for (size_t i = 0; i < s->key_count; i++)
		dynbuf_addf(&sql, "%s?%zu", i ? ", " : ") VALUES(", i + 1);
	dynbuf_adds(&sql, ")");
	st = sql.failed ? nomem(err) : store_prepare(k->c->db, sql.data, &stmt, err);
	dynbuf_free(&sql);
	if (st == CS_OK)
		st = bind_key(stmt, 1, k->t, &change->key, &k->c->scratch, err);
	if (st == CS_OK && sqlite3_step(stmt) != SQLITE_DONE)
		st = store_fail(k->c->db, "keep a row", err);
	sqlite3_finalize(stmt);
	if (st != CS_OK)
		return st;
	return extra_write(k->c, k->t, EXTRA_KEPT, &change->key, k->kept, err);
}

static cs_status keep_all_parked(struct clinic_cache *c, const struct cached_table *t,
				 struct cs_error *err)
{
	struct keeping k = {.c = c, .t = t};
	struct dynbuf message;
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(c->db,
				     "SELECT key, kept FROM main.clinic_cache_parked"
				     " WHERE \"table\" = ?1 AND kept IS NOT NULL",
				     &stmt, err);
	int rc = SQLITE_DONE;

	if (st != CS_OK)
		return st;
	dynbuf_init(&message, CACHE_MESSAGE_BYTES_MOST);
	sqlite3_bind_text(stmt, 1, t->schema->table, -1, SQLITE_STATIC);
	while (st == CS_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		dynbuf_reset(&message);
		dynbuf_adds(&message, "{\"changes\":[{\"key\":");
		dynbuf_adds(&message, (const char *)sqlite3_column_text(stmt, 0));
		dynbuf_adds(&message, "}]}");
		k.kept = (const char *)sqlite3_column_text(stmt, 1);
		st = message.failed ? nomem(err)
				    : changes_read(message.data, message.len, keep_parked, &k, err);
	}
	if (st == CS_OK && rc != SQLITE_DONE)
		st = store_fail(c->db, "read clinic_cache_parked", err);
	sqlite3_finalize(stmt);
	dynbuf_free(&message);
	return st;
}

cs_status extra_keep_all(struct clinic_cache *c, const struct cached_table *t, const char *list,
			 struct cs_error *err)
{
	const struct schema *s = t->schema;
	struct dynbuf *sql = &c->sql;
	cs_status st;

	dynbuf_reset(sql);
	dynbuf_adds(sql, "CREATE TABLE " EXTRA_KEPT " AS SELECT ");
	for (size_t i = 0; i < s->key_count; i++) {
		dynbuf_adds(sql, i ? ", stored." : "stored.");
		schema_add_identifier(sql, s->columns[s->key[i]].name);
	}
	dynbuf_addf(sql, ", %s FROM ", t->extra_names);
	if (list)
		dynbuf_addf(sql, "temp.%s AS listed CROSS JOIN ", list);
	dynbuf_adds(sql, "main.");
	schema_add_identifier(sql, s->table);
	dynbuf_adds(sql, " AS stored");
	if (list) {
		dynbuf_adds(sql, " ON ");
		table_add_key_match(sql, t, "stored", "listed");
	}
	dynbuf_adds(sql, "; CREATE INDEX " EXTRA_KEPT "_key ON clinic_cache_kept(");
	table_add_key_names(sql, s);
	st = dynbuf_adds(sql, ")") ? store_exec(c->db, sql->data, err) : nomem(err);
	return st == CS_OK && t->has_parked ? keep_all_parked(c, t, err) : st;
}

cs_status extra_restore_all(struct clinic_cache *c, const struct cached_table *t,
			    struct cs_error *err)
{
	struct dynbuf *sql = &c->sql;

	dynbuf_reset(sql);
	dynbuf_adds(sql, "UPDATE OR IGNORE main.");
	schema_add_identifier(sql, t->schema->table);
	dynbuf_addf(sql, " AS stored SET (%s) = (SELECT %s FROM " EXTRA_KEPT " AS kept WHERE ",
		    t->extra_names, t->extra_names);
	table_add_key_match(sql, t, "kept", "stored");
	dynbuf_adds(sql, ") WHERE (");
	table_add_key_names(sql, t->schema);
	dynbuf_adds(sql, ") IN (SELECT ");
	table_add_key_names(sql, t->schema);
	dynbuf_adds(sql, " FROM " EXTRA_KEPT ")");
	if (t->key_collates) {
		dynbuf_adds(sql, " AND EXISTS(SELECT 1 FROM " EXTRA_KEPT " AS kept WHERE ");
		table_add_key_match(sql, t, "kept", "stored");
		dynbuf_adds(sql, ")");
	}
	if (!dynbuf_adds(sql, "; DROP TABLE " EXTRA_KEPT))
		return nomem(err);
	return store_exec(c->db, sql->data, err);
}
