/*
 * Ranges of keys: docs/protocol.md, "Slices".
 *
 * Keys are in order column by column; integers by their number, texts by the
 * bytes of the canonical text, whatever collation or type the app gave the
 * column.  Tables with a key of another class are not cut into ranges.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

static bool is_integer(const struct schema_column *column)
{
	return column->class == CLASS_INTEGER || column->class == CLASS_BIGINT;
}

/* int4 keys are numbers on the wire, int8 keys strings. */
static int64_t integer_of(const json_t *value)
{
	const char *text = json_string_value(value);

	return text ? strtoll(text, NULL, 10) : json_integer_value(value);
}

cs_status key_bound_parse(const struct schema *s, const char *text, struct key_bound *out,
			  struct cs_error *err)
{
	out->key = NULL;
	if (!text)
		return CS_OK;
	/* the parser's own error text would quote the key */
	out->key = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	if (json_object_size(out->key) != s->key_count)
		return cs_fail(err, CS_ERR_PROTOCOL, "table %s: a key has other columns", s->table);
	for (size_t i = 0; i < s->key_count; i++) {
		const struct schema_column *column = &s->columns[s->key[i]];
		const json_t *value = json_object_get(out->key, column->name);

		if (!is_integer(column) && column->class != CLASS_TEXT)
			return cs_fail(err, CS_ERR_PROTOCOL,
				       "table %s: its keys cannot be cut into ranges", s->table);
		if (!json_is_string(value) && !(is_integer(column) && json_is_integer(value)))
			return cs_fail(err, CS_ERR_PROTOCOL, "table %s: a key has other columns",
				       s->table);
	}
	return CS_OK;
}

void key_bound_free(struct key_bound *b)
{
	json_decref(b->key);
	b->key = NULL;
}

static int compare_values(const struct schema_column *column, const json_t *a, const json_t *b)
{
	int64_t left, right;

	if (!is_integer(column)) {
		const char *one = json_string_value(a);
		const char *other = json_string_value(b);

		return strcmp(one ? one : "", other ? other : "");
	}
	left = integer_of(a);
	right = integer_of(b);
	return (left > right) - (left < right);
}

static int compare_keys(const struct schema *s, const json_t *a, const json_t *b)
{
	int order = 0;

	for (size_t i = 0; i < s->key_count && order == 0; i++) {
		const struct schema_column *column = &s->columns[s->key[i]];

		order = compare_values(column, json_object_get(a, column->name),
				       json_object_get(b, column->name));
	}
	return order;
}

bool key_is_within(const struct schema *s, const json_t *key, const struct key_bound *after,
		   const struct key_bound *upto)
{
	return (!after->key || compare_keys(s, key, after->key) > 0) &&
	       (!upto->key || compare_keys(s, key, upto->key) <= 0);
}

/* A key column as it is compared; local: in the file's own table, which may differ from ours. */
static void add_operand(struct dynbuf *b, const struct cached_table *t, size_t i, bool local)
{
	size_t at = t->schema->key[i];
	const struct schema_column *column = &t->schema->columns[at];
	bool cast = local && t->local[at].converted;

	dynbuf_adds(b, cast ? "CAST(stored." : "stored.");
	schema_add_identifier(b, column->name);
	if (cast)
		dynbuf_addf(b, " AS %s)", is_integer(column) ? "INTEGER" : "TEXT");
	if (local && t->local[at].collated)
		dynbuf_adds(b, " COLLATE BINARY");
}

static void add_operands(struct dynbuf *b, const struct cached_table *t, bool local)
{
	for (size_t i = 0; i < t->schema->key_count; i++) {
		dynbuf_adds(b, i ? ", " : "");
		add_operand(b, t, i, local);
	}
}

static void add_comparison(struct dynbuf *b, const struct cached_table *t, bool local,
			   const char *operator, size_t first_parameter)
{
	dynbuf_adds(b, "(");
	add_operands(b, t, local);
	dynbuf_addf(b, ") %s (", operator);
	for (size_t i = 0; i < t->schema->key_count; i++)
		dynbuf_addf(b, "%s?%zu", i ? ", " : "", first_parameter + i);
	dynbuf_adds(b, ")");
}

void key_add_range(struct dynbuf *b, const struct cached_table *t, bool local,
		   const struct key_bound *after, const struct key_bound *upto)
{
	if (!after->key && !upto->key)
		return;
	dynbuf_adds(b, " WHERE ");
	if (after->key)
		add_comparison(b, t, local, ">", 1);
	dynbuf_adds(b, after->key && upto->key ? " AND " : "");
	if (upto->key)
		add_comparison(b, t, local, "<=", 1 + t->schema->key_count);
}

void key_add_order(struct dynbuf *b, const struct cached_table *t, bool local)
{
	dynbuf_adds(b, " ORDER BY ");
	add_operands(b, t, local);
}

static int bind_bound(sqlite3_stmt *stmt, const struct schema *s, const struct key_bound *bound,
		      int first_parameter)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; bound->key && i < s->key_count && rc == SQLITE_OK; i++) {
		const struct schema_column *column = &s->columns[s->key[i]];
		const json_t *value = json_object_get(bound->key, column->name);

		if (is_integer(column))
			rc = sqlite3_bind_int64(stmt, first_parameter + (int)i, integer_of(value));
		else
			rc = sqlite3_bind_text(stmt, first_parameter + (int)i,
					       json_string_value(value), -1, SQLITE_TRANSIENT);
	}
	return rc;
}

cs_status key_bind_range(sqlite3_stmt *stmt, const struct schema *s, const struct key_bound *after,
			 const struct key_bound *upto, struct cs_error *err)
{
	if (bind_bound(stmt, s, after, 1) != SQLITE_OK ||
	    bind_bound(stmt, s, upto, 1 + (int)s->key_count) != SQLITE_OK)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return CS_OK;
}
