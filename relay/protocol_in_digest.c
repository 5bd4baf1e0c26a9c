/*
 * Parsing of request_digest; see protocol_in.h.
 *
 * What it says of each table is brought into one order and form, so that two
 * devices that hold the same are seen to do so by comparing texts.
 */
#include <stdlib.h>
#include <string.h>

#include "protocol_in.h"

/* No table of PostgreSQL has more. */
#define COLUMNS_MOST 1600
/* The sum over TABLES_MOST tables stays a number. */
#define ROWS_MOST (INT64_MAX / TABLES_MOST / 2)

static int by_name(const void *a, const void *b)
{
	return strcmp(json_string_value(*(json_t *const *)a),
		      json_string_value(*(json_t *const *)b));
}

/* An array of strings as text, in byte order and without duplicates. */
static char *print_sorted(const json_t *names)
{
	size_t count = json_array_size(names);
	json_t **items = calloc(count, sizeof(json_t *));
	json_t *sorted = json_array();
	char *text = NULL;

	if (!items || !sorted)
		goto done;
	for (size_t i = 0; i < count; i++)
		items[i] = json_array_get(names, i);
	qsort(items, count, sizeof(json_t *), by_name);
	for (size_t i = 0; i < count; i++)
		if ((i == 0 || by_name(&items[i - 1], &items[i]) != 0) &&
		    json_array_append(sorted, items[i]) != 0)
			goto done;
	text = json_dumps(sorted, JSON_COMPACT);
done:
	free(items);
	json_decref(sorted);
	return text;
}

static struct in_held *held_of(struct in_request_digest *r, const char *table)
{
	for (size_t i = 0; i < r->held_count; i++)
		if (strcmp(r->held[i].table, table) == 0)
			return &r->held[i];
	return NULL;
}

static struct in_held *held_add(struct in_request_digest *r, const char *table)
{
	struct in_held *grown = realloc(r->held, (r->held_count + 1) * sizeof(*grown));
	struct in_held *held;

	if (!grown)
		return NULL;
	r->held = grown;
	held = &grown[r->held_count];
	memset(held, 0, sizeof(*held));
	held->table = strdup(table);
	if (!held->table)
		return NULL;
	r->held_count++;
	return held;
}

static cs_status check_tables(const json_t *object, const char *key, struct cs_error *err)
{
	const char *table;
	json_t *value;

	if (!json_is_object(object) || json_object_size(object) > TABLES_MOST)
		return cs_fail(err, CS_ERR_PROTOCOL,
			       "key \"%s\" is not an object of at most %d tables", key,
			       TABLES_MOST);
	json_object_foreach((json_t *)object, table, value)
	{
		json_t *name = json_string(table);
		bool good = name && in_is_table_name(name);

		json_decref(name);
		if (!good)
			return cs_fail(err, CS_ERR_PROTOCOL,
				       "key \"%s\" holds something that is not a table's name",
				       key);
	}
	return CS_OK;
}

static cs_status parse_counts(const json_t *counts, struct in_request_digest *out,
			      struct cs_error *err)
{
	cs_status st = check_tables(counts, "counts", err);
	const char *table;
	json_t *rows;

	if (st != CS_OK)
		return st;
	json_object_foreach((json_t *)counts, table, rows)
	{
		struct in_held *held;

		if (!json_is_integer(rows) || json_integer_value(rows) < 0 ||
		    json_integer_value(rows) > ROWS_MOST)
			return cs_fail(err, CS_ERR_PROTOCOL,
				       "key \"counts\" holds something that is not a row count");
		held = held_add(out, table);
		if (!held)
			return cs_fail(err, CS_ERR_NOMEM, "out of memory");
		held->counted = true;
		held->rows = (uint64_t)json_integer_value(rows);
		out->rows += held->rows;
	}
	return CS_OK;
}

static bool are_names(const json_t *columns)
{
	if (!json_is_array(columns) || json_array_size(columns) > COLUMNS_MOST)
		return false;
	for (size_t i = 0; i < json_array_size(columns); i++)
		if (!in_is_name(json_array_get(columns, i)))
			return false;
	return true;
}

static cs_status parse_skip(const json_t *skip, struct in_request_digest *out, struct cs_error *err)
{
	cs_status st;
	const char *table;
	json_t *columns;

	if (!skip || json_is_null(skip))
		return CS_OK;
	st = check_tables(skip, "skip", err);
	if (st != CS_OK)
		return st;
	json_object_foreach((json_t *)skip, table, columns)
	{
		struct in_held *held;

		if (!are_names(columns))
			return cs_fail(err, CS_ERR_PROTOCOL,
				       "key \"skip\" holds something that is not a list of names");
		if (json_array_size(columns) == 0)
			continue;
		held = held_of(out, table);
		held = held ? held : held_add(out, table);
		if (held)
			held->skip = print_sorted(columns);
		if (!held || !held->skip)
			return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	}
	return CS_OK;
}

static cs_status parse_scope(const json_t *scope, bool *whole, struct cs_error *err)
{
	const char *text = json_string_value(scope);

	if (!text || (strcmp(text, "slice") != 0 && strcmp(text, "tables") != 0))
		return cs_fail(err, CS_ERR_PROTOCOL,
			       "key \"scope\" is neither \"slice\" nor \"tables\"");
	*whole = strcmp(text, "tables") == 0;
	return CS_OK;
}

static int by_table(const void *a, const void *b)
{
	return strcmp(((const struct in_held *)a)->table, ((const struct in_held *)b)->table);
}

static cs_status parse_outcome(const json_t *message, struct in_request_digest *out,
			       struct cs_error *err)
{
	const json_t *proven = json_object_get(message, "proven");
	int64_t repairs = 0, parked = 0;
	cs_status st = CS_OK;

	if (proven && !json_is_boolean(proven) && !json_is_null(proven))
		return cs_fail(err, CS_ERR_PROTOCOL, "key \"proven\" is not true or false");
	st = in_parse_number(message, "repairs", INT64_MAX, &repairs, err);
	if (st == CS_OK)
		st = in_parse_number(message, "parked", ROWS_MOST, &parked, err);
	out->proven = json_is_true(proven);
	out->repairs = (uint64_t)repairs;
	out->parked = (uint64_t)parked;
	return st;
}

cs_status in_parse_digest(const json_t *message, struct in_request_digest *out,
			  struct cs_error *err)
{
	cs_status st = parse_scope(json_object_get(message, "scope"), &out->whole, err);

	if (st == CS_OK)
		st = in_parse_cursor(message, "cursor", true, &out->cursor, err);
	if (st == CS_OK)
		st = in_parse_tables(json_object_get(message, "tables"), &out->tables,
				     &out->table_count, err);
	if (st == CS_OK)
		st = parse_counts(json_object_get(message, "counts"), out, err);
	if (st == CS_OK)
		st = parse_skip(json_object_get(message, "skip"), out, err);
	if (st == CS_OK)
		st = parse_outcome(message, out, err);
	if (st == CS_OK && out->held_count)
		qsort(out->held, out->held_count, sizeof(*out->held), by_table);
	return st;
}

void in_digest_free(struct in_request_digest *r)
{
	for (size_t i = 0; i < r->held_count; i++) {
		free(r->held[i].table);
		free(r->held[i].skip);
	}
	free(r->held);
	r->held = NULL;
	r->held_count = 0;
	in_names_free(&r->tables, &r->table_count);
}
