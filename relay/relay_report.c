/* Reports; see relay_report.h. */
#include "relay_report.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "log.h"
#include "upstream.h"

static json_t *cursor_json(const struct cursor *c)
{
	char text[CURSOR_TEXT_BYTES];

	return c->batch ? json_string(cursor_format(c, text)) : json_null();
}

static json_t *device_json(const struct device *d)
{
	return json_pack("{s:s, s:s, s:s, s:b, s:s, s:o, s:s, s:I}", "id", d->info.device_id,
			 "name", d->info.name, "app_version", d->info.app_version, "connected", 1,
			 "connected_at", d->connected_at, "cursor", cursor_json(&d->cursor),
			 "state", device_state_name(d->state), "queue_bytes",
			 (json_int_t)device_behind(d));
}

/*
 * Two links of one device (the old one not dead yet) are one row: the newest,
 * which stands first in the list.
 */
static char *devices_text(const struct relay *r)
{
	json_t *by_id = json_object(), *array = json_array(), *row;
	const char *id;
	char *text;

	for (const struct device *d = r->devices; d; d = d->next)
		if (d->known && !json_object_get(by_id, d->info.device_id))
			json_object_set_new(by_id, d->info.device_id, device_json(d));
	json_object_foreach(by_id, id, row) json_array_append(array, row);
	text = json_dumps(array, JSON_COMPACT);
	json_decref(array);
	json_decref(by_id);
	return text;
}

static char *relay_text(const struct relay *r)
{
	uint64_t behind = 0;
	json_t *relay;
	char *text;

	for (const struct device *d = r->devices; d; d = d->next)
		behind += device_behind(d);
	relay = json_pack("{s:s, s:s, s:s, s:i, s:s, s:I, s:o, s:I}", "id", r->id, "name",
			  r->config->relay_name, "version", CLINIC_SYNC_VERSION, "pid",
			  (int)getpid(), "started_at", r->started_at, "devices",
			  (json_int_t)r->device_count, "cursor", cursor_json(feed_cursor(r->feed)),
			  "queue_bytes", (json_int_t)behind);
	text = relay ? json_dumps(relay, JSON_COMPACT) : NULL;
	json_decref(relay);
	return text;
}

void relay_report(struct relay *r)
{
	char *relay = relay_text(r);
	char *devices = devices_text(r);

	if (!relay || !devices || !upstream_report(relay, devices))
		log_warning("out of memory for the report to the database");
	free(relay);
	free(devices);
}
