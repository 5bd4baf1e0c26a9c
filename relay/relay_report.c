/*
 * Reports; see relay_report.h.
 *
 * Written straight as text: with thousands of devices a tree of JSON values
 * would hold the loop for tens of milliseconds.
 */
#include "relay_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dynbuf.h"
#include "log.h"
#include "upstream.h"

#define REPORT_MOST_BYTES ((size_t)256 * 1024 * 1024)

static void add_text(struct dynbuf *b, const char *key, const char *value)
{
	dynbuf_addf(b, "\"%s\":", key);
	dynbuf_add_json(b, value, strlen(value));
	dynbuf_adds(b, ",");
}

static void add_cursor(struct dynbuf *b, const struct cursor *c)
{
	char text[CURSOR_TEXT_BYTES];

	if (c->batch)
		add_text(b, "cursor", cursor_format(c, text));
	else
		dynbuf_adds(b, "\"cursor\":null,");
}

/* As it said when it last asked for a proof; before that nothing is known. */
static void add_holdings(struct dynbuf *b, const struct device_holdings *h)
{
	if (!h->said)
		return;
	dynbuf_addf(b, "\"rows\":%" PRIu64 ",\"repairs\":%" PRIu64 ",\"parked\":%" PRIu64 ",",
		    h->rows, h->repairs, h->parked);
	if (h->proven_at[0])
		add_text(b, "proven_at", h->proven_at);
}

static void add_device(struct dynbuf *b, const struct device *d)
{
	dynbuf_adds(b, b->len > 1 ? ",{" : "{");
	add_text(b, "id", d->info.device_id);
	add_text(b, "name", d->info.name);
	add_text(b, "app_version", d->info.app_version);
	add_text(b, "connected_at", d->connected_at);
	add_text(b, "state", device_state_name(d->state));
	add_cursor(b, &d->cursor);
	add_holdings(b, &d->holds);
	dynbuf_addf(b, "\"connected\":true,\"queue_bytes\":%" PRIu64 "}", device_behind(d));
}

/* ---- one row for a device ---------------------------------------------------------- */

/* Ids seen in one report; open addressing, at most half full. */
struct seen {
	const char **ids;
	size_t capacity; /* a power of two */
};

static bool seen_init(struct seen *s, size_t devices)
{
	for (s->capacity = 16; s->capacity < 2 * devices; s->capacity *= 2)
		;
	s->ids = calloc(s->capacity, sizeof(*s->ids));
	return s->ids != NULL;
}

/* True: for the first time. */
static bool seen_first(struct seen *s, const char *id)
{
	uint64_t hash = UINT64_C(14695981039346656037);
	size_t at;

	for (const char *c = id; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
	for (at = hash & (s->capacity - 1); s->ids[at]; at = (at + 1) & (s->capacity - 1))
		if (strcmp(s->ids[at], id) == 0)
			return false;
	s->ids[at] = id;
	return true;
}

/*
 * Two links of one device (the old one not dead yet) are one row: the newest,
 * which stands first in the list.
 */
static void write_devices(const struct relay *r, struct dynbuf *b)
{
	struct seen seen;

	if (!seen_init(&seen, r->device_count)) {
		b->failed = true;
		return;
	}
	dynbuf_adds(b, "[");
	for (const struct device *d = r->devices; d; d = d->next)
		if (d->known && seen_first(&seen, d->info.device_id))
			add_device(b, d);
	dynbuf_adds(b, "]");
	free(seen.ids);
}

static void write_relay(const struct relay *r, struct dynbuf *b)
{
	uint64_t behind = 0;

	for (const struct device *d = r->devices; d; d = d->next)
		behind += device_behind(d);
	dynbuf_adds(b, "{");
	add_text(b, "id", r->id);
	add_text(b, "name", r->config->relay_name);
	add_text(b, "version", CLINIC_SYNC_VERSION);
	add_text(b, "started_at", r->started_at);
	add_cursor(b, feed_cursor(r->feed));
	dynbuf_addf(b, "\"pid\":%d,\"devices\":%zu,\"queue_bytes\":%" PRIu64 "}", (int)getpid(),
		    r->device_count, behind);
}

void relay_report(struct relay *r)
{
	struct dynbuf relay, devices;

	dynbuf_init(&relay, REPORT_MOST_BYTES);
	dynbuf_init(&devices, REPORT_MOST_BYTES);
	write_relay(r, &relay);
	write_devices(r, &devices);
	if (relay.failed || devices.failed || !upstream_report(relay.data, devices.data))
		log_warning("out of memory for the report to the database");
	dynbuf_free(&relay);
	dynbuf_free(&devices);
}
