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

cs_status bind_value(sqlite3_stmt *stmt, int parameter, const struct schema_column *column,
		     const struct wire_value *value, struct dynbuf *scratch, bool *exact,
		     struct cs_error *err)
{
	struct bound_value bound = {.kind = BIND_NULL, .exact = true};

	*exact = true;
	if (value->form == WIRE_OTHER || value->form == WIRE_ABSENT)
		return cs_fail(err, CS_ERR_PROTOCOL,
			       "column %s: a value is neither text, boolean, integer nor null",
			       column->name);
	if (value->form != WIRE_NULL) {
		if (!form_fits(column, value) ||
		    !value_decide(column, value->text, value->len, scratch, &bound))
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

cs_status bind_key(sqlite3_stmt *stmt, int parameter, const struct schema *s,
		   const struct wire_object *key, struct dynbuf *scratch, struct cs_error *err)
{
	bool exact;

	if (key->count != s->key_count)
		return cs_fail(err, CS_ERR_PROTOCOL, "table %s: a key has other columns", s->table);
	for (size_t i = 0; i < s->key_count; i++) {
		const struct schema_column *column = &s->columns[s->key[i]];
		const struct wire_value *value = wire_object_get(key, i, column->name);
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
