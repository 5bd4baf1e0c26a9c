/* What the app is told, as JSON. */
#include "loadable.h"

#include <jansson.h>
#include <stdlib.h>

/* The object is used up. */
static void give(sqlite3_context *call, json_t *object)
{
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	if (text)
		sqlite3_result_text(call, text, -1, SQLITE_TRANSIENT);
	else
		sqlite3_result_error_nomem(call);
	free(text);
	json_decref(object);
}

void loadable_show_todo(sqlite3_context *call, struct loaded *l,
			const struct clinic_cache_todo *todo)
{
	switch (todo->action) {
	case CLINIC_CACHE_CONNECT:
		give(call, json_pack("{s:s, s:s}", "action", "connect", "url", todo->url));
		return;
	case CLINIC_CACHE_FETCH_SNAPSHOT:
		give(call, json_pack("{s:s, s:s, s:s}", "action", "fetch_snapshot", "path",
				     todo->fetch_path, "file", todo->fetch_file));
		return;
	case CLINIC_CACHE_STOP:
		give(call, json_pack("{s:s, s:s}", "action", "stop", "error",
				     clinic_cache_last_error(l->cache)->text));
		return;
	case CLINIC_CACHE_WAIT:
		break;
	}
	give(call, json_pack("{s:s, s:I}", "action", "wait", "wait_ms", (json_int_t)todo->wait_ms));
}

static json_t *last_error(const struct clinic_cache *c)
{
	const struct clinic_cache_error *error = clinic_cache_last_error(c);

	if (error->status == CLINIC_CACHE_OK)
		return json_null();
	return json_pack("{s:s, s:s}", "status", clinic_cache_status_name(error->status), "text",
			 error->text);
}

static json_t *sync_now(const struct clinic_cache *c)
{
	static const char *const names[] = {
		[CLINIC_CACHE_SYNC_NOW_NONE] = "none",
		[CLINIC_CACHE_SYNC_NOW_RUNNING] = "running",
		[CLINIC_CACHE_SYNC_NOW_DONE] = "done",
		[CLINIC_CACHE_SYNC_NOW_FAILED] = "failed",
	};

	return json_pack("{s:s, s:s?, s:I}", "state", names[clinic_cache_sync_now_state(c)],
			 "problem", clinic_cache_sync_now_problem(c), "repairs",
			 (json_int_t)clinic_cache_sync_now_repairs(c));
}

/* What stood against taking the file over; null: nothing. */
static json_t *difference(const struct clinic_cache *c)
{
	const struct clinic_cache_difference *d = clinic_cache_difference_of(c);
	json_t *list = d ? json_array() : json_null();

	for (size_t i = 0; d && list && i < d->table_count; i++) {
		const struct clinic_cache_table_difference *t = &d->tables[i];

		if (json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "table",
							  t->name, "here", (json_int_t)t->here,
							  "there", (json_int_t)t->there,
							  "only_here", (json_int_t)t->only_here,
							  "only_there", (json_int_t)t->only_there,
							  "different", (json_int_t)t->different)) !=
		    0) {
			json_decref(list);
			list = NULL;
		}
	}
	return list;
}

void loadable_show_state(sqlite3_context *call, struct loaded *l)
{
	const struct clinic_cache *c = l->cache;

	if (!c) {
		give(call, json_pack("{s:b}", "open", 0));
		return;
	}
	give(call,
	     json_pack("{s:b, s:b, s:b, s:b, s:s?, s:s, s:o, s:o, s:o, s:I, s:I, s:s?}", "open", 1,
		       "level", clinic_cache_is_level(c), "stopped", clinic_cache_is_stopped(c),
		       "holds", clinic_cache_holds(c), "cursor", clinic_cache_cursor(c),
		       "device_id", clinic_cache_device_id(c), "last_error", last_error(c),
		       "difference", difference(c), "sync_now", sync_now(c), "events_waiting",
		       (json_int_t)l->events.count, "events_lost", (json_int_t)l->events.lost_ever,
		       "remark", clinic_cache_remark()));
}
