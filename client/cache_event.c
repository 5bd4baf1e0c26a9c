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

void event_row(struct clinic_cache *c, const char *type, const char *table, const char *key)
{
	tell(c, &(struct clinic_cache_event){.type = type,
					     .table = table,
					     .key = key,
					     .cursor = cursor_or_null(c),
					     .rows = -1});
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

/* The texts of an event end with NUL: copies, one behind the other in b. */
static size_t add_text(struct dynbuf *b, const struct wire_value *value)
{
	size_t at = b->len;

	dynbuf_add(b, value->text, value->form == WIRE_STRING ? value->len : 0);
	dynbuf_add(b, "", 1);
	return at;
}

static const char *text_or_null(const struct dynbuf *b, size_t at, const struct wire_value *value)
{
	return value->form == WIRE_STRING ? b->data + at : NULL;
}

static void tell_change(struct clinic_cache *c, const struct wire_change *change,
			const struct cached_table *t)
{
	struct dynbuf *texts = &c->scratch;
	size_t type, operation, origin;
	bool keyed = change->key.there && key_text(t->schema, &change->key, &c->key, NULL) == CS_OK;

	dynbuf_reset(texts);
	type = add_text(texts, &change->event);
	operation = add_text(texts, &change->operation);
	origin = add_text(texts, &change->origin);
	if (texts->failed)
		return;
	tell(c, &(struct clinic_cache_event){
			.type = change->event.form == WIRE_STRING ? texts->data + type
								  : t->schema->event,
			.table = t->schema->table,
			.operation = text_or_null(texts, operation, &change->operation),
			.key = keyed ? c->key.data : NULL,
			.origin = text_or_null(texts, origin, &change->origin),
			.cursor = cursor_or_null(c),
			.rows = -1,
		});
}

struct telling {
	struct clinic_cache *c;
	const char **tables;
	size_t *count;
};

static cs_status tell_one(void *context, const struct wire_change *change, struct cs_error *err)
{
	struct telling *telling = context;
	const struct cached_table *t =
		tables_find(&telling->c->tables, change->table.text, change->table.len);

	(void)err;
	if (t) {
		tell_change(telling->c, change, t);
		note_table(telling->tables, telling->count, t->schema->table);
	}
	return CS_OK;
}

/* Every change; notes the tables in the order they come. */
static void tell_changes(struct clinic_cache *c, struct frame_source *source, const char **tables,
			 size_t *count)
{
	struct telling telling = {c, tables, count};
	const char *message;
	size_t len;

	source_rewind(source);
	while (source_next(source, &message, &len, NULL) == CS_OK && message)
		if (changes_read(message, len, tell_one, &telling, NULL) != CS_OK)
			return;
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
			tables_find(&c->tables, (const char *)sqlite3_column_text(stmt, 0),
				    (size_t)sqlite3_column_bytes(stmt, 0));
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

void event_table(struct clinic_cache *c, const char *table, int64_t rows, const char *detail)
{
	const char *tables[] = {table};

	tell(c, &(struct clinic_cache_event){.type = "table_sync_completed",
					     .table = table,
					     .cursor = cursor_or_null(c),
					     .detail = detail,
					     .rows = rows});
	tell_refresh(c, tables, 1);
}

void event_table_differs(struct clinic_cache *c, const char *table)
{
	tell(c, &(struct clinic_cache_event){.type = "table_differs",
					     .table = table,
					     .cursor = cursor_or_null(c),
					     .rows = -1});
}

void event_sync_now(struct clinic_cache *c, int64_t repairs)
{
	tell(c, &(struct clinic_cache_event){.type = "sync_now_completed",
					     .cursor = cursor_or_null(c),
					     .rows = repairs});
}
