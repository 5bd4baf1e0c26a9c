/*
 * Schema objects; see schema.h.
 *
 * The object comes from the network and ends up in DDL, so nothing of it is
 * believed: sizes, names, references between its parts and names that SQLite
 * cannot hold side by side are all checked here, once.
 */
#include "schema.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_BYTES_MOST 63 /* PostgreSQL's NAMEDATALEN - 1 */
#define TYPE_BYTES_MOST 255
#define COLUMNS_MOST 1600 /* PostgreSQL's own limit */
#define INDEXES_MOST 1000
#define DECIMAL_DIGITS_MOST 15 /* what a double holds whatever the digits are */

static const struct {
	const char *name;
	value_class class;
	const char *sqlite_type;
} classes[] = {
	{"text", CLASS_TEXT, "TEXT"},          {"boolean", CLASS_BOOLEAN, "INTEGER"},
	{"integer", CLASS_INTEGER, "INTEGER"}, {"bigint", CLASS_BIGINT, "INTEGER"},
	{"float", CLASS_FLOAT, "REAL"},        {"decimal", CLASS_DECIMAL, "REAL"},
	{"blob", CLASS_BLOB, "BLOB"},
};
#define CLASS_COUNT (sizeof(classes) / sizeof(classes[0]))

const char *schema_sqlite_type(value_class class)
{
	for (size_t i = 0; i < CLASS_COUNT; i++)
		if (classes[i].class == class)
			return classes[i].sqlite_type;
	return "TEXT";
}

/* Copy a string member of 1..most bytes; the JSON parser has refused NUL and bad UTF-8. */
static cs_status take_string(const json_t *value, const char *what, size_t most, char **out,
			     struct cs_error *err)
{
	const char *text = json_string_value(value);

	if (!text || json_string_length(value) == 0 || json_string_length(value) > most ||
	    strlen(text) != json_string_length(value))
		return cs_fail(err, CS_ERR_PROTOCOL, "schema: %s is missing or of the wrong form",
			       what);
	*out = strdup(text);
	return *out ? CS_OK : cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

/* Precision and scale of "numeric(12,2)"; the class promises 0 <= scale <= precision <= 15. */
static cs_status take_scale(struct schema_column *column, struct cs_error *err)
{
	int precision;
	int scale = 0;
	int end = 0;

	if (sscanf(column->type, "numeric(%2d,%2d)%n", &precision, &scale, &end) != 2 &&
	    sscanf(column->type, "numeric(%2d)%n", &precision, &end) != 1)
		end = 0;
	if (end == 0 || column->type[end] != '\0' || precision < 1 ||
	    precision > DECIMAL_DIGITS_MOST || scale < 0 || scale > precision)
		return cs_fail(err, CS_ERR_PROTOCOL, "schema: class decimal on an unfit type");
	column->scale = scale;
	return CS_OK;
}

static cs_status take_class(struct schema_column *column, const json_t *value, struct cs_error *err)
{
	const char *name = json_string_value(value);

	for (size_t i = 0; name && i < CLASS_COUNT; i++) {
		if (strcmp(classes[i].name, name) == 0) {
			column->class = classes[i].class;
			return column->class == CLASS_DECIMAL ? take_scale(column, err) : CS_OK;
		}
	}
	return cs_fail(err, CS_ERR_PROTOCOL, "schema: a column has no recognized class");
}

static cs_status take_column(struct schema *s, const json_t *object, struct cs_error *err)
{
	struct schema_column *column = &s->columns[s->column_count];
	const json_t *nullable = json_object_get(object, "nullable");
	const json_t *identity = json_object_get(object, "identity");
	cs_status st;

	column->key_position = -1;
	/* counted first, so that schema_free() finds a half-filled one too */
	s->column_count++;
	st = take_string(json_object_get(object, "name"), "column name", NAME_BYTES_MOST,
			 &column->name, err);
	if (st == CS_OK)
		st = take_string(json_object_get(object, "type"), "column type", TYPE_BYTES_MOST,
				 &column->type, err);
	if (st == CS_OK)
		st = take_class(column, json_object_get(object, "class"), err);
	if (st != CS_OK)
		return st;
	if (!json_is_boolean(nullable) || (identity && !json_is_boolean(identity)))
		return cs_fail(err, CS_ERR_PROTOCOL, "schema: nullable or identity is no boolean");
	column->nullable = json_is_true(nullable);
	column->identity = json_is_true(identity);
	for (size_t i = 0; i + 1 < s->column_count; i++)
		if (strcasecmp(s->columns[i].name, column->name) == 0)
			return cs_fail(err, CS_ERR_PROTOCOL,
				       "schema: two columns differ in nothing but case");
	return CS_OK;
}

static cs_status take_columns(struct schema *s, const json_t *array, struct cs_error *err)
{
	size_t count = json_array_size(array);
	cs_status st = CS_OK;

	if (count == 0 || count > COLUMNS_MOST)
		return cs_fail(err, CS_ERR_PROTOCOL, "schema: columns are missing or too many");
	s->columns = calloc(count, sizeof(*s->columns));
	if (!s->columns)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < count && st == CS_OK; i++)
		st = take_column(s, json_array_get(array, i), err);
	return st;
}

static cs_status take_key(struct schema *s, const json_t *array, struct cs_error *err)
{
	size_t count = json_array_size(array);

	if (count == 0 || count > s->column_count)
		return cs_fail(err, CS_ERR_PROTOCOL, "schema: the key is missing or too long");
	s->key = calloc(count, sizeof(*s->key));
	if (!s->key)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		const char *name = json_string_value(json_array_get(array, i));
		int at = name ? schema_find(s, name) : -1;

		if (at < 0 || s->columns[at].key_position >= 0)
			return cs_fail(err, CS_ERR_PROTOCOL,
				       "schema: the key names no column, or one twice");
		s->columns[at].key_position = (int)i;
		s->key[i] = (size_t)at;
	}
	s->key_count = count;
	return CS_OK;
}

static cs_status take_index(struct schema *s, const json_t *object, struct cs_error *err)
{
	struct schema_index *index = &s->indexes[s->index_count];
	const json_t *array = json_object_get(object, "columns");
	const json_t *unique = json_object_get(object, "unique");
	size_t count = json_array_size(array);
	cs_status st;

	s->index_count++;
	st = take_string(json_object_get(object, "name"), "index name", NAME_BYTES_MOST,
			 &index->name, err);
	if (st != CS_OK)
		return st;
	if (strncasecmp(index->name, "sqlite_", 7) == 0)
		return cs_fail(err, CS_ERR_PROTOCOL, "schema: an index has a reserved name");
	if (count == 0 || count > s->column_count || !json_is_boolean(unique))
		return cs_fail(err, CS_ERR_PROTOCOL, "schema: an index is of the wrong form");
	index->unique = json_is_true(unique);
	index->columns = calloc(count, sizeof(*index->columns));
	if (!index->columns)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < count && st == CS_OK; i++) {
		st = take_string(json_array_get(array, i), "index column", NAME_BYTES_MOST,
				 &index->columns[i], err);
		if (st != CS_OK)
			return st;
		index->column_count = i + 1;
		if (schema_find(s, index->columns[i]) < 0)
			return cs_fail(err, CS_ERR_PROTOCOL, "schema: an index names no column");
	}
	return st;
}

static cs_status take_indexes(struct schema *s, const json_t *array, struct cs_error *err)
{
	size_t count = json_array_size(array);
	cs_status st = CS_OK;

	if (!array)
		return CS_OK;
	if (!json_is_array(array) || count > INDEXES_MOST)
		return cs_fail(err, CS_ERR_PROTOCOL, "schema: indexes are of the wrong form");
	s->indexes = calloc(count + 1, sizeof(*s->indexes));
	if (!s->indexes)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < count && st == CS_OK; i++)
		st = take_index(s, json_array_get(array, i), err);
	return st;
}

/* Insertion sort: at most 1,600 names, once per schema. */
static cs_status sort_names(struct schema *s, struct cs_error *err)
{
	s->by_name = calloc(s->column_count, sizeof(*s->by_name));
	if (!s->by_name)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < s->column_count; i++) {
		size_t at = i;

		for (;
		     at > 0 && strcmp(s->columns[s->by_name[at - 1]].name, s->columns[i].name) > 0;
		     at--)
			s->by_name[at] = s->by_name[at - 1];
		s->by_name[at] = i;
	}
	return CS_OK;
}

static cs_status take_table(struct schema *s, const json_t *object, struct cs_error *err)
{
	const json_t *version = json_object_get(object, "version");
	cs_status st;

	st = take_string(json_object_get(object, "table"), "table", NAME_BYTES_MOST, &s->table,
			 err);
	if (st == CS_OK)
		st = take_string(json_object_get(object, "event"), "event", NAME_BYTES_MOST,
				 &s->event, err);
	if (st != CS_OK)
		return st;
	/* these name spaces are SQLite's and the cache's own */
	if (strncasecmp(s->table, "sqlite_", 7) == 0 ||
	    strncasecmp(s->table, "clinic_sync_", 12) == 0)
		return cs_fail(err, CS_ERR_PROTOCOL, "schema: a table has a reserved name");
	if (!json_is_integer(version) || json_integer_value(version) < 0 ||
	    json_integer_value(version) > INT32_MAX)
		return cs_fail(err, CS_ERR_PROTOCOL, "schema: version is of the wrong form");
	s->version = (int)json_integer_value(version);
	s->json = json_dumps(object, JSON_COMPACT);
	return s->json ? CS_OK : cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

cs_status schema_parse(const json_t *object, struct schema **out, struct cs_error *err)
{
	struct schema *s;
	cs_status st;

	*out = NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	st = take_table(s, object, err);
	if (st == CS_OK)
		st = take_columns(s, json_object_get(object, "columns"), err);
	if (st == CS_OK)
		st = take_key(s, json_object_get(object, "key"), err);
	if (st == CS_OK)
		st = take_indexes(s, json_object_get(object, "indexes"), err);
	if (st == CS_OK)
		st = sort_names(s, err);
	if (st != CS_OK) {
		schema_free(s);
		return st;
	}
	*out = s;
	return CS_OK;
}

cs_status schema_parse_text(const char *text, size_t len, struct schema **out, struct cs_error *err)
{
	json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	cs_status st;

	*out = NULL;
	if (!object)
		return cs_fail(err, CS_ERR_PROTOCOL, "schema: not JSON");
	st = schema_parse(object, out, err);
	json_decref(object);
	return st;
}

void schema_free(struct schema *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->column_count; i++) {
		free(s->columns[i].name);
		free(s->columns[i].type);
	}
	for (size_t i = 0; i < s->index_count; i++) {
		for (size_t j = 0; j < s->indexes[i].column_count; j++)
			free(s->indexes[i].columns[j]);
		free(s->indexes[i].columns);
		free(s->indexes[i].name);
	}
	free(s->columns);
	free(s->indexes);
	free(s->key);
	free(s->by_name);
	free(s->table);
	free(s->event);
	free(s->json);
	free(s);
}

int schema_find(const struct schema *s, const char *column)
{
	for (size_t i = 0; i < s->column_count; i++)
		if (strcmp(s->columns[i].name, column) == 0)
			return (int)i;
	return -1;
}

bool schema_add_identifier(struct dynbuf *b, const char *name)
{
	dynbuf_add(b, "\"", 1);
	for (; *name; name++)
		dynbuf_add(b, *name == '"' ? "\"\"" : name, *name == '"' ? 2 : 1);
	return dynbuf_add(b, "\"", 1);
}

bool schema_add_create_table(struct dynbuf *b, const struct schema *s)
{
	bool counted = s->key_count == 1 && s->columns[s->key[0]].identity &&
		       strcmp(schema_sqlite_type(s->columns[s->key[0]].class), "INTEGER") == 0;

	dynbuf_adds(b, "CREATE TABLE ");
	schema_add_identifier(b, s->table);
	for (size_t i = 0; i < s->column_count; i++) {
		const struct schema_column *column = &s->columns[i];

		dynbuf_adds(b, i ? ", " : "(");
		schema_add_identifier(b, column->name);
		dynbuf_addf(b, " %s", schema_sqlite_type(column->class));
		if (column->key_position >= 0)
			dynbuf_adds(b, counted ? " PRIMARY KEY AUTOINCREMENT" : " NOT NULL");
	}
	for (size_t i = 0; !counted && i < s->key_count; i++) {
		dynbuf_adds(b, i ? ", " : ", PRIMARY KEY (");
		schema_add_identifier(b, s->columns[s->key[i]].name);
	}
	return dynbuf_adds(b, counted ? ")" : "))");
}

bool schema_add_create_index(struct dynbuf *b, const struct schema *s, const struct schema_index *i)
{
	/* a connection that an app lends us may have a temporary table of that name */
	dynbuf_addf(b, "CREATE %sINDEX IF NOT EXISTS main.", i->unique ? "UNIQUE " : "");
	schema_add_identifier(b, i->name);
	dynbuf_adds(b, " ON ");
	schema_add_identifier(b, s->table);
	for (size_t j = 0; j < i->column_count; j++) {
		dynbuf_adds(b, j ? ", " : " (");
		schema_add_identifier(b, i->columns[j]);
	}
	return dynbuf_adds(b, ")");
}
