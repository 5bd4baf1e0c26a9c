/*
 * Rows that come over the link, staged in a snapshot file beside the cache.
 *
 * They are not the cache's before all of them are there, and may be millions:
 * so they wait in FILE.table-part, a database of its own.  Nobody else reads
 * it and it is thrown away whenever anything goes wrong, so it needs neither
 * a journal nor a flush on the way.  Its form is that of the snapshot file of
 * docs/protocol.md: what takes a download takes this.
 */
#include "cache_repair.h"
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct table_part {
	sqlite3 *db;
	struct cached_table *table; /* that is being filled, as its schema says; NULL: none */
	int64_t rows;               /* in it so far */
	sqlite3_stmt *insert;
	sqlite3_stmt *insert_exact;
	sqlite3_stmt *insert_oversize;
	struct wire_field *fields; /* of the row in hand … */
	char (*numbers)[24];       /* … and the texts of its numbers */
	size_t room;
	struct dynbuf indexes; /* for the end */
	struct dynbuf scratch;
	struct dynbuf key;
};

static const char layout_sql[] =
	"PRAGMA page_size = 4096;"
	"PRAGMA journal_mode = OFF;"
	"PRAGMA synchronous = OFF;"
	"PRAGMA locking_mode = EXCLUSIVE;"
	"PRAGMA cache_size = -8192;"
	"BEGIN;"
	"CREATE TABLE clinic_sync_meta(key TEXT PRIMARY KEY, value TEXT);"
	"CREATE TABLE clinic_sync_table(name TEXT PRIMARY KEY, schema TEXT, rows INTEGER);"
	"CREATE TABLE clinic_sync_exact(\"table\" TEXT, key TEXT, column TEXT, value TEXT,"
	" PRIMARY KEY(\"table\", key, column));"
	"CREATE TABLE clinic_sync_oversize(\"table\" TEXT, key TEXT, PRIMARY KEY(\"table\", key))";

static cs_status open_file(struct table_part *p, const char *path, struct cs_error *err)
{
	cs_status st;

	platform_remove(path);
	beside_remove(path);
	if (sqlite3_open_v2(path, &p->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK)
		return store_fail(p->db, "stage a table beside the cache", err);
	sqlite3_extended_result_codes(p->db, 1);
	st = store_exec(p->db, layout_sql, err);
	if (st == CS_OK)
		st = store_prepare(p->db, "INSERT INTO clinic_sync_exact VALUES(?1, ?2, ?3, ?4)",
				   &p->insert_exact, err);
	if (st == CS_OK)
		st = store_prepare(p->db, "INSERT INTO clinic_sync_oversize VALUES(?1, ?2)",
				   &p->insert_oversize, err);
	return st;
}

cs_status table_part_create(const char *path, struct table_part **out, struct cs_error *err)
{
	struct table_part *p = calloc(1, sizeof(*p));
	cs_status st;

	*out = NULL;
	if (!p)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	dynbuf_init(&p->indexes, CACHE_SQL_BYTES_MOST);
	dynbuf_init(&p->scratch, CACHE_MESSAGE_BYTES_MOST);
	dynbuf_init(&p->key, CACHE_MESSAGE_BYTES_MOST);
	st = open_file(p, path, err);
	if (st == CS_OK)
		*out = p;
	else
		table_part_close(p);
	return st;
}

void table_part_close(struct table_part *p)
{
	if (!p)
		return;
	sqlite3_finalize(p->insert);
	sqlite3_finalize(p->insert_exact);
	sqlite3_finalize(p->insert_oversize);
	sqlite3_close(p->db);
	table_free(p->table);
	free(p->fields);
	free(p->numbers);
	dynbuf_free(&p->indexes);
	dynbuf_free(&p->scratch);
	dynbuf_free(&p->key);
	free(p);
}

/* ---- a table ---------------------------------------------------------------------------- */

static cs_status prepare_insert(struct table_part *p, struct cs_error *err)
{
	struct dynbuf *sql = &p->scratch;

	dynbuf_reset(sql);
	dynbuf_adds(sql, "INSERT INTO ");
	schema_add_identifier(sql, p->table->schema->table);
	for (size_t i = 0; i < p->table->schema->column_count; i++)
		dynbuf_addf(sql, "%s?%zu", i ? ", " : " VALUES(", i + 1);
	if (!dynbuf_adds(sql, ")"))
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return store_prepare(p->db, sql->data, &p->insert, err);
}

static cs_status begin_table(struct table_part *p, const json_t *schema, struct cs_error *err)
{
	struct dynbuf *sql = &p->scratch;
	cs_status st;

	table_free(p->table);
	p->table = calloc(1, sizeof(*p->table));
	if (!p->table)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	st = schema_parse(schema, &p->table->schema, err);
	p->rows = 0;
	if (st != CS_OK)
		return st;
	p->table->local = calloc(p->table->schema->column_count, sizeof(*p->table->local));
	if (!p->table->local)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (store_table_exists(p->db, "main", p->table->schema->table))
		return cs_fail(err, CS_ERR_PROTOCOL, "a table comes twice");
	dynbuf_reset(sql);
	if (!schema_add_create_table(sql, p->table->schema))
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	st = store_exec(p->db, sql->data, err);
	for (size_t i = 0; i < p->table->schema->index_count; i++) {
		schema_add_create_index(&p->indexes, p->table->schema,
					&p->table->schema->indexes[i]);
		dynbuf_adds(&p->indexes, ";");
	}
	return st == CS_OK ? prepare_insert(p, err) : st;
}

const struct schema *table_part_schema(const struct table_part *p)
{
	return p->table ? p->table->schema : NULL;
}

int64_t table_part_rows(const struct table_part *p)
{
	return p->rows;
}

static cs_status make_room(struct table_part *p, size_t count, struct cs_error *err)
{
	struct wire_field *fields;
	char(*numbers)[24];

	if (count <= p->room)
		return CS_OK;
	fields = realloc(p->fields, count * sizeof(*fields));
	if (fields)
		p->fields = fields;
	numbers = realloc(p->numbers, count * sizeof(*numbers));
	if (numbers)
		p->numbers = numbers;
	if (!fields || !numbers)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	p->room = count;
	return CS_OK;
}

static void take_value(const json_t *json, char number[24], struct wire_value *out)
{
	memset(out, 0, sizeof(*out));
	switch (json_typeof(json)) {
	case JSON_NULL:
		out->form = WIRE_NULL;
		return;
	case JSON_STRING:
		out->form = WIRE_STRING;
		out->text = json_string_value(json);
		out->len = json_string_length(json);
		return;
	case JSON_TRUE:
	case JSON_FALSE:
		out->form = WIRE_BOOLEAN;
		out->text = json_is_true(json) ? "true" : "false";
		break;
	case JSON_INTEGER:
		out->form = WIRE_NUMBER;
		snprintf(number, 24, "%lld", (long long)json_integer_value(json));
		out->text = number;
		break;
	default:
		out->form = WIRE_OTHER;
		return;
	}
	out->len = strlen(out->text);
}

/* A row or key as the functions for changes know it; valid as long as the JSON and the next call.
 */
static cs_status take_object(struct table_part *p, const json_t *json, struct wire_object *out,
			     struct cs_error *err)
{
	const char *name;
	json_t *value;
	cs_status st;

	memset(out, 0, sizeof(*out));
	if (!json_is_object(json))
		return cs_fail(err, CS_ERR_PROTOCOL, "table %s: a row is no object",
			       p->table->schema->table);
	st = make_room(p, json_object_size(json), err);
	if (st != CS_OK)
		return st;
	out->there = true;
	out->fields = p->fields;
	json_object_foreach((json_t *)(uintptr_t)json, name, value)
	{
		struct wire_field *field = &p->fields[out->count];

		field->name = name;
		field->name_len = strlen(name);
		take_value(value, p->numbers[out->count], &field->value);
		out->count++;
	}
	return CS_OK;
}

static cs_status step(struct table_part *p, sqlite3_stmt *stmt, struct cs_error *err)
{
	int rc = sqlite3_step(stmt);
	cs_status st = CS_OK;

	if ((rc & 0xff) == SQLITE_CONSTRAINT)
		st = cs_fail(err, CS_ERR_PROTOCOL, "table %s: a row comes twice",
			     p->table->schema->table);
	else if (rc != SQLITE_DONE)
		st = store_fail(p->db, "stage a table beside the cache", err);
	sqlite3_reset(stmt);
	return st;
}

static cs_status keep_exact(struct table_part *p, const struct wire_object *row,
			    const struct schema_column *column, const struct wire_value *value,
			    struct cs_error *err)
{
	cs_status st = key_text(p->table->schema, row, &p->key, err);

	if (st != CS_OK)
		return st;
	sqlite3_bind_text(p->insert_exact, 1, p->table->schema->table, -1, SQLITE_STATIC);
	sqlite3_bind_text64(p->insert_exact, 2, p->key.data, p->key.len, SQLITE_STATIC,
			    SQLITE_UTF8);
	sqlite3_bind_text(p->insert_exact, 3, column->name, -1, SQLITE_STATIC);
	sqlite3_bind_text64(p->insert_exact, 4, value->text, value->len, SQLITE_STATIC,
			    SQLITE_UTF8);
	return step(p, p->insert_exact, err);
}

static cs_status add_row(struct table_part *p, const json_t *json, struct cs_error *err)
{
	const struct schema *s = p->table->schema;
	struct wire_object row;
	cs_status st = take_object(p, json, &row, err);

	if (st == CS_OK && row.count != s->column_count)
		st = cs_fail(err, CS_ERR_PROTOCOL, "table %s: a row has other columns", s->table);
	for (size_t i = 0; i < s->column_count && st == CS_OK; i++) {
		const struct schema_column *column = &s->columns[i];
		const struct wire_value *value = wire_object_get(&row, i, column->name);
		bool exact = true;

		if (!value)
			return cs_fail(err, CS_ERR_PROTOCOL, "table %s: a row has other columns",
				       s->table);
		st = bind_value(p->insert, (int)i + 1, p->table, i, value, &p->scratch, &exact,
				err);
		if (st == CS_OK && !exact)
			st = keep_exact(p, &row, column, value, err);
	}
	p->rows++;
	return st == CS_OK ? step(p, p->insert, err) : st;
}

static cs_status add_oversize(struct table_part *p, const json_t *json, struct cs_error *err)
{
	struct wire_object key;
	cs_status st = take_object(p, json, &key, err);

	if (st == CS_OK && key.count != p->table->schema->key_count)
		st = cs_fail(err, CS_ERR_PROTOCOL, "table %s: a key has other columns",
			     p->table->schema->table);
	if (st == CS_OK)
		st = key_text(p->table->schema, &key, &p->key, err);
	if (st != CS_OK)
		return st;
	sqlite3_bind_text(p->insert_oversize, 1, p->table->schema->table, -1, SQLITE_STATIC);
	sqlite3_bind_text64(p->insert_oversize, 2, p->key.data, p->key.len, SQLITE_STATIC,
			    SQLITE_UTF8);
	return step(p, p->insert_oversize, err);
}

cs_status table_part_end(struct table_part *p, struct cs_error *err)
{
	cs_status st;

	sqlite3_finalize(p->insert);
	p->insert = NULL;
	st = table_remember(p->db, p->table->schema, p->rows, err);
	table_free(p->table);
	p->table = NULL;
	return st;
}

/* ---- messages --------------------------------------------------------------------------- */

static cs_status add_all(struct table_part *p, const json_t *array,
			 cs_status (*add)(struct table_part *, const json_t *, struct cs_error *),
			 struct cs_error *err)
{
	size_t i;
	json_t *item;
	cs_status st = CS_OK;

	json_array_foreach((json_t *)(uintptr_t)array, i, item)
	{
		st = add(p, item, err);
		if (st != CS_OK)
			break;
	}
	return st;
}

cs_status table_part_take(struct table_part *p, const json_t *message, int64_t *next_part,
			  struct cs_error *err)
{
	const json_t *rows = json_object_get(message, "rows");
	const json_t *part = json_object_get(message, "part");
	const json_t *oversize = json_object_get(message, "oversize");
	const char *table = json_string_value(json_object_get(message, "table"));
	cs_status st = CS_OK;

	if (!table || !json_is_array(rows) || !json_is_integer(part) ||
	    !json_is_boolean(json_object_get(message, "last")) ||
	    json_integer_value(part) != *next_part || (oversize && !json_is_array(oversize)))
		return cs_fail(err, CS_ERR_PROTOCOL, "a piece of a table is of the wrong form");
	if (++*next_part == 1)
		st = begin_table(p, json_object_get(message, "schema"), err);
	if (st == CS_OK && (!p->table || strcmp(p->table->schema->table, table) != 0))
		st = cs_fail(err, CS_ERR_PROTOCOL, "a piece of a table is of another one");
	if (st == CS_OK)
		st = add_all(p, rows, add_row, err);
	if (st == CS_OK && oversize)
		st = add_all(p, oversize, add_oversize, err);
	return st;
}

cs_status table_part_finish(struct table_part *p, const char *cursor, bool with_indexes,
			    struct cs_error *err)
{
	char now[CLOCK_TEXT_BYTES];
	cs_status st = meta_set(p->db, "format", "1", err);

	if (st == CS_OK)
		st = meta_set(p->db, "cursor", cursor, err);
	if (st == CS_OK)
		st = meta_set(p->db, "created_at", clock_utc_text(now), err);
	if (st == CS_OK && p->indexes.failed)
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (st == CS_OK && with_indexes && p->indexes.len)
		st = store_exec(p->db, p->indexes.data, err);
	return st == CS_OK ? store_exec(p->db, "COMMIT", err) : st;
}
