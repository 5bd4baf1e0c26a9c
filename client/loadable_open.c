/*
 * clinic_cache_open(options): the options of clinic_cache.h as one JSON object.
 *
 * Each is optional and none is guessed: a name that is not known, or a value of
 * the wrong kind, is an error that names it.
 */
#include "loadable.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache_internal.h"

#define EVENTS_MOST_MOST 1000000
#define RECONNECT_MS_MOST 3600000

/* What is read from the JSON; its texts live as long as that. */
struct opening {
	struct clinic_cache_options options;
	const char **tables;
	json_int_t events_most;
	char problem[160];
};

static bool wrong(struct opening *o, const char *name, const char *must)
{
	snprintf(o->problem, sizeof(o->problem), "clinic_cache_open: \"%s\" must be %s", name,
		 must);
	return false;
}

static bool take_text(struct opening *o, const char *name, const json_t *value, const char **out)
{
	*out = json_string_value(value);
	return *out || wrong(o, name, "a text");
}

static bool take_number(struct opening *o, const char *name, const json_t *value, json_int_t least,
			json_int_t most, json_int_t *out)
{
	char must[80];

	*out = json_integer_value(value);
	if (json_is_integer(value) && *out >= least && *out <= most)
		return true;
	snprintf(must, sizeof(must), "a whole number from %lld to %lld", (long long)least,
		 (long long)most);
	return wrong(o, name, must);
}

static bool take_tables(struct opening *o, const char *name, const json_t *value)
{
	size_t count = json_array_size(value);

	if (!json_is_array(value) || count > CACHE_TABLES_MOST)
		return wrong(o, name, "an array of at most 1000 table names");
	o->tables = calloc(count + 1, sizeof(*o->tables));
	if (!o->tables)
		return wrong(o, name, "shorter: out of memory");
	for (size_t i = 0; i < count; i++)
		if (!take_text(o, name, json_array_get(value, i), &o->tables[i]))
			return wrong(o, name, "an array of texts");
	o->options.tables = o->tables;
	o->options.table_count = count;
	return true;
}

static const struct {
	const char *name;
	size_t offset; /* of a text in struct clinic_cache_options */
} texts[] = {
	{"url", offsetof(struct clinic_cache_options, url)},
	{"access_code", offsetof(struct clinic_cache_options, access_code)},
	{"device_name", offsetof(struct clinic_cache_options, device_name)},
	{"app_version", offsetof(struct clinic_cache_options, app_version)},
	{"adopt", offsetof(struct clinic_cache_options, adopt)},
	{"full_sync", offsetof(struct clinic_cache_options, full_sync)},
};

static bool take_option(struct opening *o, const char *name, const json_t *value)
{
	struct clinic_cache_options *options = &o->options;
	json_int_t number = 0;
	bool good;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (strcmp(name, texts[i].name) == 0)
			return take_text(o, name, value,
					 (const char **)((char *)options + texts[i].offset));
	if (strcmp(name, "tables") == 0)
		return take_tables(o, name, value);
	if (strcmp(name, "change_events") == 0) {
		options->no_change_events = json_is_false(value);
		return json_is_boolean(value) || wrong(o, name, "true or false");
	}
	if (strcmp(name, "events_most") == 0)
		return take_number(o, name, value, 1, EVENTS_MOST_MOST, &o->events_most);
	if (strcmp(name, "sync_interval_s") == 0) {
		good = take_number(o, name, value, -1, 3600, &number);
		options->sync_interval_s = (int)number;
		return good;
	}
	if (strcmp(name, "reconnect_least_ms") == 0) {
		good = take_number(o, name, value, 1, RECONNECT_MS_MOST, &number);
		options->reconnect_least_ms = (uint32_t)number;
		return good;
	}
	if (strcmp(name, "reconnect_most_ms") == 0) {
		good = take_number(o, name, value, 1, RECONNECT_MS_MOST, &number);
		options->reconnect_most_ms = (uint32_t)number;
		return good;
	}
	snprintf(o->problem, sizeof(o->problem), "clinic_cache_open: there is no option \"%.60s\"",
		 name);
	return false;
}

static bool take_options(struct opening *o, json_t *json)
{
	const char *name;
	json_t *value;

	if (!json_is_object(json)) {
		snprintf(o->problem, sizeof(o->problem),
			 "clinic_cache_open: the options must be one JSON object");
		return false;
	}
	json_object_foreach(json, name, value) if (!take_option(o, name, value)) return false;
	return true;
}

static void open_cache(sqlite3_context *call, struct loaded *l, struct opening *o)
{
	const char *path = sqlite3_db_filename(l->db, "main");
	struct clinic_cache_error error = {0};

	if (!path || !path[0]) {
		loadable_fail(call, SQLITE_ERROR,
			      "the connection has no file: open one, ':memory:' cannot be synced");
		return;
	}
	if (!borrow_begin(l, call))
		return;
	event_queue_free(&l->events);
	event_queue_init(&l->events, (size_t)o->events_most);
	o->options.on_event = event_queue_put;
	o->options.context = &l->events;
	o->options.user_version = -1;
	o->options.app_sqlite_version = sqlite3_libversion();
	if (cache_open_on(l->db, path, &o->options, &l->cache, &error) == CLINIC_CACHE_OK)
		sqlite3_result_int(call, 1);
	else
		loadable_fail_cache(call, &error);
	borrow_end(l);
}

void loadable_open(sqlite3_context *call, int count, sqlite3_value **values)
{
	struct loaded *l = sqlite3_user_data(call);
	struct opening o = {.events_most = LOADABLE_EVENTS_MOST};
	const char *text = (const char *)sqlite3_value_text(values[0]);
	json_t *json;

	(void)count;
	if (l->cache) {
		loadable_fail(call, SQLITE_ERROR,
			      "a cache is open on this connection already; clinic_cache_close() it "
			      "first");
		return;
	}
	json = text ? json_loadb(text, (size_t)sqlite3_value_bytes(values[0]),
				 JSON_REJECT_DUPLICATES, NULL)
		    : NULL;
	if (take_options(&o, json))
		open_cache(call, l, &o);
	else
		loadable_fail(call, SQLITE_ERROR, o.problem);
	free(o.tables);
	json_decref(json);
}
