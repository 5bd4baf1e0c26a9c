/*
 * All tables over the link, for a device that can only do WebSocket.
 *
 * The tables come one after the other, as they were at one cursor, and are
 * staged in a file of the form of a download.  When all of it is there the
 * file takes the name of a fetched snapshot, and everything goes on as after
 * a download: it is checked the same way, and applied in one transaction.
 */
#include "cache_repair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MOST_MS (5 * 60 * 1000)

struct full {
	char *path;              /* FILE.snapshot-link */
	struct table_part *part; /* NULL: nothing came so far */
	char cursor[CURSOR_TEXT_BYTES];
	json_t *tables; /* what was announced */
	size_t table;   /* how many of them are whole */
	int64_t next_part;
	uint64_t bytes; /* that came so far */
	uint64_t heard_at;
};

static void discard(struct full *f)
{
	table_part_close(f->part);
	platform_remove(f->path);
	beside_remove(f->path);
	json_decref(f->tables);
	free(f->path);
	free(f);
}

void full_free(struct clinic_cache *c)
{
	if (c->full)
		discard(c->full);
	c->full = NULL;
}

void full_remove_leftovers(struct clinic_cache *c)
{
	char *path = platform_format("%s.snapshot-link", c->path);

	if (!path)
		return;
	platform_remove(path);
	beside_remove(path);
	free(path);
}

/* ---- asking ----------------------------------------------------------------------------- */

static char *request_text(const struct clinic_cache *c)
{
	json_t *tables = c->wanted_count ? json_array() : json_null();
	json_t *message;
	char *text = NULL;

	for (size_t i = 0; i < c->wanted_count; i++)
		if (json_array_append_new(tables, json_string(c->wanted[i])) != 0)
			break;
	if (c->wanted_count && json_array_size(tables) != c->wanted_count) {
		json_decref(tables);
		return NULL;
	}
	message = json_pack("{s:s, s:o, s:s?}", "type", "request_full_sync", "tables", tables,
			    "min", c->snapshot_min[0] ? c->snapshot_min : NULL);
	if (message)
		text = json_dumps(message, JSON_COMPACT);
	json_decref(message);
	return text;
}

cs_status full_request(struct clinic_cache *c, struct cs_error *err)
{
	struct full *f = calloc(1, sizeof(*f));

	if (f)
		f->path = platform_format("%s.snapshot-link", c->path);
	if (!f || !f->path) {
		free(f);
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	}
	f->heard_at = c->now_ms;
	c->full = f;
	return session_send(c, request_text(c), err);
}

bool full_is_silent(const struct clinic_cache *c)
{
	return c->full && c->now_ms > c->full->heard_at + ANSWER_MOST_MS;
}

/* ---- what comes ------------------------------------------------------------------------- */

cs_status full_on_begin(struct clinic_cache *c, const json_t *message, struct cs_error *err)
{
	struct full *f = c->full;
	const char *cursor = json_string_value(json_object_get(message, "cursor"));
	json_t *tables = json_object_get(message, "tables");

	if (!f)
		return CS_OK; /* given up before the relay knew */
	if (f->part || !cursor || !cursor[0] || strlen(cursor) >= sizeof(f->cursor) ||
	    !json_is_array(tables) || json_array_size(tables) > CACHE_TABLES_MOST)
		return cs_fail(err, CS_ERR_PROTOCOL, "a full sync is of the wrong form");
	strcpy(f->cursor, cursor);
	f->tables = json_incref(tables);
	f->heard_at = c->now_ms;
	return table_part_create(f->path, &f->part, err);
}

/* A table is whole: it must be as many rows as was said. */
static cs_status end_table(struct full *f, struct cs_error *err)
{
	const json_t *announced = json_array_get(f->tables, f->table);
	const char *name = json_string_value(json_object_get(announced, "name"));
	const struct schema *s = table_part_schema(f->part);

	if (!name || strcmp(name, s->table) != 0 ||
	    json_integer_value(json_object_get(announced, "rows")) != table_part_rows(f->part))
		return cs_fail(err, CS_ERR_PROTOCOL,
			       "a full sync brings other tables or rows than it said");
	f->table++;
	f->next_part = 0;
	return table_part_end(f->part, err);
}

bool full_takes_tables(const struct clinic_cache *c)
{
	return c->full && c->full->part;
}

cs_status full_on_table_sync(struct clinic_cache *c, const json_t *message, size_t len,
			     struct cs_error *err)
{
	struct full *f = c->full;
	const char *cursor = json_string_value(json_object_get(message, "cursor"));
	cs_status st;

	if (!cursor || strcmp(cursor, f->cursor) != 0)
		return cs_fail(err, CS_ERR_PROTOCOL, "a full sync changes its cursor");
	f->heard_at = c->now_ms;
	f->bytes += len;
	if (f->bytes > c->fetch_bytes_most)
		return cs_fail(err, CS_ERR_STORE, "the tables are larger than %llu bytes",
			       (unsigned long long)c->fetch_bytes_most);
	st = table_part_take(f->part, message, &f->next_part, err);
	if (st == CS_OK && json_is_true(json_object_get(message, "last")))
		st = end_table(f, err);
	return st;
}

/* The whole file gets the name of one that was downloaded. */
static cs_status finish(struct clinic_cache *c, struct cs_error *err)
{
	struct full *f = c->full;
	char why[PLATFORM_ERROR_BYTES];
	cs_status st;

	if (f->table != json_array_size(f->tables) || f->next_part != 0)
		return cs_fail(err, CS_ERR_PROTOCOL, "a full sync ends before its last table");
	st = table_part_finish(f->part, f->cursor, true, err);
	table_part_close(f->part);
	f->part = NULL;
	if (st != CS_OK)
		return st;
	platform_remove(c->part_path);
	if (!platform_rename(f->path, c->part_path))
		return cs_fail(err, CS_ERR_STORE, "the full sync cannot be put in its place: %s",
			       platform_error(why));
	return CS_OK;
}

cs_status full_on_end(struct clinic_cache *c, const json_t *message, struct cs_error *err)
{
	const char *cursor = json_string_value(json_object_get(message, "cursor"));
	cs_status st;

	if (!full_takes_tables(c))
		return CS_OK;
	if (!cursor || strcmp(cursor, c->full->cursor) != 0)
		return cs_fail(err, CS_ERR_PROTOCOL, "a full sync changes its cursor");
	st = finish(c, err);
	if (st == CS_OK)
		full_free(c);
	return st;
}
