/* Values of the wire into SQLite parameters and key texts. */
#include "cache_internal.h"

#include <string.h>

/* Literals without quotes only where the protocol writes them; otherwise they are not canonical. */
static bool form_fits(const struct schema_column *column, const struct wire_value *value)
{
	if (value->form == WIRE_BOOLEAN)
		return column->class == CLASS_BOOLEAN;
	if (value->form == WIRE_NUMBER)
		return column->class == CLASS_INTEGER;
	return true;
}

static int bind_decided(sqlite3_stmt *stmt, int parameter, const struct bound_value *v)
{
	switch (v->kind) {
	case BIND_NULL:
		return sqlite3_bind_null(stmt, parameter);
	case BIND_INTEGER:
		return sqlite3_bind_int64(stmt, parameter, v->integer);
	case BIND_REAL:
		return sqlite3_bind_double(stmt, parameter, v->real);
	case BIND_TEXT:
		/* lives in the message, which outlives the step */
		return sqlite3_bind_text64(stmt, parameter, v->bytes, v->len, SQLITE_STATIC,
					   SQLITE_UTF8);
	case BIND_BLOB:
		/* the scratch buffer serves the next column too */
		return sqlite3_bind_blob64(stmt, parameter, v->bytes, v->len, SQLITE_TRANSIENT);
	}
	return SQLITE_MISUSE;
}

/* Whole numbers up to 2^53 are exact in a REAL. */
#define WHOLE_REAL_MOST ((int64_t)1 << 53)

/* May SQLite take the text for a number? Rather once too often than once too few. */
static bool looks_numeric(const char *text, size_t len)
{
	bool digit = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c >= '0' && c <= '9')
			digit = true;
		else if (c == '-' || c == '+') {
			/* a sign inside: a date, a telephone number */
			if (digit && text[i - 1] != 'e' && text[i - 1] != 'E')
				return false;
		} else if (!strchr(" \t\n\v\f\r.eE", c))
			return false;
	}
	return digit;
}

/* What an INTEGER column makes of it is the same text again. */
static bool is_whole_number(const char *text, size_t len)
{
	size_t first = len > 1 && text[0] == '-' ? 1 : 0;

	for (size_t i = first; i < len; i++)
		if (text[i] < '0' || text[i] > '9')
			return false;
	return len - first <= 18 && (text[first] != '0' || len == 1);
}

/* An app's column of another affinity: what it stores, and whether that prints back. */
static void convert(const struct schema_column *column, column_affinity affinity,
		    const struct wire_value *value, struct bound_value *v)
{
	if (v->kind == BIND_NULL || v->kind == BIND_BLOB)
		return;
	if (affinity == AFFINITY_TEXT) {
		/* 0 and 1, which the app compares with; numbers as the server writes them */
		v->bytes = column->class == CLASS_BOOLEAN ? (v->integer ? "1" : "0") : value->text;
		v->len = column->class == CLASS_BOOLEAN ? 1 : value->len;
		v->kind = BIND_TEXT;
	} else if (v->kind == BIND_TEXT && column->class == CLASS_TEXT) {
		v->exact = !looks_numeric(v->bytes, v->len) ||
			   (affinity == AFFINITY_NUMERIC && is_whole_number(v->bytes, v->len));
	} else if (v->kind == BIND_INTEGER) {
		v->exact = v->integer >= -WHOLE_REAL_MOST && v->integer <= WHOLE_REAL_MOST;
	}
}

static cs_status decide(const struct cached_table *t, size_t position,
			const struct wire_value *value, struct dynbuf *scratch,
			struct bound_value *out, struct cs_error *err)
{
	const struct schema_column *column = &t->schema->columns[position];

	if (value->form == WIRE_OTHER || value->form == WIRE_ABSENT)
		return cs_fail(err, CS_ERR_PROTOCOL,
			       "column %s: a value is neither text, boolean, integer nor null",
			       column->name);
	if (value->form != WIRE_NULL) {
		if (!form_fits(column, value) ||
		    !value_decide(column, value->text, value->len, scratch, out))
			return cs_fail(err, CS_ERR_PROTOCOL,
				       "column %s: a value is no canonical text of its class",
				       column->name);
	} else if (column->key_position >= 0) {
		return cs_fail(err, CS_ERR_PROTOCOL, "column %s: a key value is null",
			       column->name);
	}
	if (t->local[position].converted)
		convert(column, t->local[position].affinity, value, out);
	return CS_OK;
}

cs_status bind_value(sqlite3_stmt *stmt, int parameter, const struct cached_table *t,
		     size_t position, const struct wire_value *value, struct dynbuf *scratch,
		     bool *exact, struct cs_error *err)
{
	struct bound_value bound = {.kind = BIND_NULL, .exact = true};
	cs_status st = decide(t, position, value, scratch, &bound, err);

	*exact = bound.exact;
	if (st == CS_OK && bind_decided(stmt, parameter, &bound) != SQLITE_OK)
		return cs_fail(err, CS_ERR_STORE, "a value is too large for SQLite");
	return st;
}

/* The value of a key's i-th column. */
static cs_status key_value(const struct schema *s, const struct wire_object *key, size_t i,
			   const struct wire_value **out, struct cs_error *err)
{
	*out = wire_object_get(key, i, s->columns[s->key[i]].name);
	if (!*out || key->count != s->key_count)
		return cs_fail(err, CS_ERR_PROTOCOL, "table %s: a key has other columns", s->table);
	return CS_OK;
}

cs_status bind_key(sqlite3_stmt *stmt, int parameter, const struct cached_table *t,
		   const struct wire_object *key, struct dynbuf *scratch, struct cs_error *err)
{
	const struct schema *s = t->schema;
	bool exact;

	for (size_t i = 0; i < s->key_count; i++) {
		const struct wire_value *value;
		cs_status st = key_value(s, key, i, &value, err);

		if (st == CS_OK)
			st = bind_value(stmt, parameter + (int)i, t, s->key[i], value, scratch,
					&exact, err);
		if (st != CS_OK)
			return st;
	}
	return CS_OK;
}

cs_status key_fits(const struct cached_table *t, const struct wire_object *key,
		   struct dynbuf *scratch, bool *fits, struct cs_error *err)
{
	const struct schema *s = t->schema;

	*fits = true;
	for (size_t i = 0; i < s->key_count && t->key_converts; i++) {
		struct bound_value bound = {.kind = BIND_NULL, .exact = true};
		const struct wire_value *value;
		cs_status st = key_value(s, key, i, &value, err);

		if (st == CS_OK)
			st = decide(t, s->key[i], value, scratch, &bound, err);
		if (st != CS_OK)
			return st;
		*fits = *fits && (bound.exact || !t->local[s->key[i]].converted);
	}
	return CS_OK;
}

cs_status key_text(const struct schema *s, const struct wire_object *key, struct dynbuf *out,
		   struct cs_error *err)
{
	dynbuf_reset(out);
	for (size_t i = 0; i < s->key_count; i++) {
		const struct schema_column *column = &s->columns[s->key[i]];
		const struct wire_value *value = wire_object_get(key, i, column->name);

		if (!value || value->form == WIRE_OTHER)
			return cs_fail(err, CS_ERR_PROTOCOL, "table %s: a key has other columns",
				       s->table);
		dynbuf_adds(out, i ? "," : "{");
		dynbuf_add_json(out, column->name, strlen(column->name));
		dynbuf_adds(out, ":");
		value_add_json(out, column, value->form == WIRE_NULL ? NULL : value->text,
			       value->len);
	}
	if (!dynbuf_adds(out, "}"))
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return CS_OK;
}
