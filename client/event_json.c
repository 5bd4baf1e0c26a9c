/* Events as JSON; see event_json.h. */
#include "event_json.h"

#include <string.h>

#include "clock.h"

static void add_name(struct dynbuf *b, const char *name)
{
	dynbuf_addf(b, ",\"%s\":", name);
}

static void add_present(struct dynbuf *b, const char *name, const char *value)
{
	if (!value)
		return;
	add_name(b, name);
	dynbuf_add_json(b, value, strlen(value));
}

static void add_tables(struct dynbuf *b, const struct clinic_cache_event *event)
{
	add_name(b, "tables");
	dynbuf_adds(b, "[");
	for (size_t i = 0; i < event->table_count; i++) {
		dynbuf_adds(b, i ? "," : "");
		dynbuf_add_json(b, event->tables[i], strlen(event->tables[i]));
	}
	dynbuf_adds(b, "]");
}

void event_json_add(struct dynbuf *out, const struct clinic_cache_event *event)
{
	char now[CLOCK_TEXT_BYTES];

	dynbuf_adds(out, "{\"type\":");
	dynbuf_add_json(out, event->type, strlen(event->type));
	add_present(out, "time", clock_utc_text(now));
	add_present(out, "table", event->table);
	add_present(out, "operation", event->operation);
	if (event->key) {
		add_name(out, "key");
		dynbuf_adds(out, event->key);
	}
	add_present(out, "origin", event->origin);
	add_present(out, "cursor", event->cursor);
	add_present(out, "detail", event->detail);
	if (event->tables)
		add_tables(out, event);
	if (event->rows >= 0)
		dynbuf_addf(out, ",\"rows\":%lld", (long long)event->rows);
	dynbuf_adds(out, "}");
}
