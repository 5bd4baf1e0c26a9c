/* Events: told after the COMMIT that made them true; see clinic_cache.h. */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

static void tell(struct clinic_cache *c, const struct clinic_cache_event *event)
{
	if (c->on_event)
		c->on_event(event, c->context);
}

static const char *cursor_or_null(const struct clinic_cache *c)
{
	return c->cursor[0] ? c->cursor : NULL;
}

void event_simple(struct clinic_cache *c, const char *type, const char *detail)
{
	tell(c, &(struct clinic_cache_event){
			.type = type, .cursor = cursor_or_null(c), .detail = detail, .rows = -1});
}

static void tell_refresh(struct clinic_cache *c, const char **tables, size_t count)
{
	if (count > 0)
		tell(c, &(struct clinic_cache_event){.type = "ui_refresh_requested",
						     .cursor = cursor_or_null(c),
						     .tables = tables,
						     .table_count = count,
						     .rows = -1});
}

static void note_table(const char **tables, size_t *count, const char *table)
{
	for (size_t i = 0; i < *count; i++)
		if (tables[i] == table)
			return;
	tables[(*count)++] = table;
}

static void tell_change(struct clinic_cache *c, const json_t *change, const struct cached_table *t)
{
	const char *type = json_string_value(json_object_get(change, "event"));
	const json_t *key = json_object_get(change, "key");
	bool keyed = json_is_object(key) && key_text(t->schema, key, &c->key, NULL) == CS_OK;

	tell(c, &(struct clinic_cache_event){
			.type = type ? type : t->schema->event,
			.table = t->schema->table,
			.operation = json_string_value(json_object_get(change, "operation")),
			.key = keyed ? c->key.data : NULL,
			.origin = json_string_value(json_object_get(change, "origin")),
			.cursor = cursor_or_null(c),
			.rows = -1,
		});
}

/* Every change; notes the tables in the order they come. */
static void tell_changes(struct clinic_cache *c, struct frame_source *source, const char **tables,
			 size_t *count)
{
	const json_t *message;

	source_rewind(source);
	while (source_next(source, &message, NULL) == CS_OK && message) {
		const json_t *change;
		size_t i;

		json_array_foreach(json_object_get(message, "changes"), i, change)
		{
			struct cached_table *t = tables_find(
				&c->tables, json_string_value(json_object_get(change, "table")));

			if (!t)
				continue;
			tell_change(c, change, t);
			note_table(tables, count, t->schema->table);
		}
	}
}

void event_frame(struct clinic_cache *c, struct frame_source *source)
{
	const char **tables = c->on_event ? malloc((c->tables.count + 1) * sizeof(*tables)) : NULL;
	size_t count = 0;

	if (!tables)
		return;
	if (!c->no_change_events)
		tell_changes(c, source, tables, &count);
	for (size_t i = 0; c->no_change_events && i < c->tables.count; i++)
		if (c->tables.items[i]->touched)
			tables[count++] = c->tables.items[i]->schema->table;
	tell_refresh(c, tables, count);
	free(tables);
}

void event_snapshot(struct clinic_cache *c)
{
	const char **tables = malloc((c->tables.count + 1) * sizeof(*tables));
	sqlite3_stmt *stmt = NULL;
	int64_t total = 0;
	size_t count = 0;

	if (!tables ||
	    store_prepare(c->db, "SELECT name, rows FROM main.clinic_sync_table ORDER BY name",
			  &stmt, NULL) != CS_OK) {
		free(tables);
		return;
	}
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		struct cached_table *t =
			tables_find(&c->tables, (const char *)sqlite3_column_text(stmt, 0));
		int64_t rows = sqlite3_column_int64(stmt, 1);

		if (!t)
			continue;
		total += rows;
		tables[count++] = t->schema->table;
		tell(c, &(struct clinic_cache_event){.type = "table_sync_completed",
						     .table = t->schema->table,
						     .cursor = cursor_or_null(c),
						     .rows = rows});
	}
	sqlite3_finalize(stmt);
	tell(c, &(struct clinic_cache_event){
			.type = "full_sync_completed", .cursor = cursor_or_null(c), .rows = total});
	tell_refresh(c, tables, count);
	free(tables);
}
