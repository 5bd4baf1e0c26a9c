/* JSON values of the wire into SQLite parameters and key texts. */
#include "cache_internal.h"

#include <stdio.h>
#include <string.h>

cs_status wire_value_take(const json_t *value, struct wire_value *out, struct cs_error *err)
{
	switch (value ? json_typeof(value) : JSON_OBJECT) {
	case JSON_NULL:
		out->text = NULL;
		out->len = 0;
		return CS_OK;
	case JSON_STRING:
		out->text = json_string_value(value);
		out->len = json_string_length(value);
		return CS_OK;
	case JSON_TRUE:
	case JSON_FALSE:
		out->text = json_is_true(value) ? "true" : "false";
		out->len = strlen(out->text);
		return CS_OK;
	case JSON_INTEGER:
		out->len = (size_t)snprintf(out->digits, sizeof(out->digits),
					    "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		out->text = out->digits;
		return CS_OK;
	default:
		return cs_fail(err, CS_ERR_PROTOCOL,
			       "a value is neither text, boolean, integer nor null");
	}
}

/* Literals without quotes only where the protocol writes them; otherwise they are not canonical. */
static bool form_fits(const struct schema_column *column, const json_t *value)
{
	if (json_is_boolean(value))
		return column->class == CLASS_BOOLEAN;
	if (json_is_integer(value))
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

cs_status bind_value(sqlite3_stmt *stmt, int parameter, const struct schema_column *column,
		     const json_t *value, struct dynbuf *scratch, bool *exact, struct cs_error *err)
{
	struct wire_value wire;
	struct bound_value bound = {.kind = BIND_NULL, .exact = true};
	cs_status st = wire_value_take(value, &wire, err);

	*exact = true;
	if (st != CS_OK)
		return st;
	if (wire.text) {
		if (!form_fits(column, value) ||
		    !value_decide(column, wire.text, wire.len, scratch, &bound))
			return cs_fail(err, CS_ERR_PROTOCOL,
				       "column %s: a value is no canonical text of its class",
				       column->name);
	} else if (column->key_position >= 0) {
		return cs_fail(err, CS_ERR_PROTOCOL, "column %s: a key value is null",
			       column->name);
	}
	if (bind_decided(stmt, parameter, &bound) != SQLITE_OK)
		return cs_fail(err, CS_ERR_STORE, "a value is too large for SQLite");
	*exact = bound.exact;
	return CS_OK;
}

cs_status bind_key(sqlite3_stmt *stmt, int parameter, const struct schema *s, const json_t *key,
		   struct dynbuf *scratch, struct cs_error *err)
{
	bool exact;

	if (json_object_size(key) != s->key_count)
		return cs_fail(err, CS_ERR_PROTOCOL, "table %s: a key has other columns", s->table);
	for (size_t i = 0; i < s->key_count; i++) {
		const struct schema_column *column = &s->columns[s->key[i]];
		const json_t *value = json_object_get(key, column->name);
		cs_status st;

		if (!value)
			return cs_fail(err, CS_ERR_PROTOCOL, "table %s: a key has other columns",
				       s->table);
		st = bind_value(stmt, parameter + (int)i, column, value, scratch, &exact, err);
		if (st != CS_OK)
			return st;
	}
	return CS_OK;
}

cs_status key_text(const struct schema *s, const json_t *key, struct dynbuf *out,
		   struct cs_error *err)
{
	struct wire_value wire;

	dynbuf_reset(out);
	for (size_t i = 0; i < s->key_count; i++) {
		const struct schema_column *column = &s->columns[s->key[i]];
		cs_status st = wire_value_take(json_object_get(key, column->name), &wire, err);

		if (st != CS_OK)
			return st;
		dynbuf_adds(out, i ? "," : "{");
		dynbuf_add_json(out, column->name, strlen(column->name));
		dynbuf_adds(out, ":");
		value_add_json(out, column, wire.text, wire.len);
	}
	if (!dynbuf_adds(out, "}"))
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return CS_OK;
}
