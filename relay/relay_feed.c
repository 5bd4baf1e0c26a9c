/*
 * From the database to the devices: batches from upstream go into the feed, the
 * feed's entries to the devices of each group; see relay_feed.h.
 */
#include "relay_feed.h"

#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "job.h"
#include "log.h"
#include "published.h"
#include "relay_asks.h"

/* ---- feed to devices ------------------------------------------------------------------ */

static void on_entry(void *ctx, struct feed_group *g)
{
	fan_out_begin(&((struct relay *)ctx)->fan_out, g);
}

static void on_fan_out_turn(void *ctx)
{
	fan_out_go(&((struct relay *)ctx)->fan_out);
}

void relay_fan_out_next_turn(void *ctx)
{
	struct relay *r = ctx;

	loop_timer_set(&r->fan_out_turn, 0, on_fan_out_turn, r);
}

static void on_resync(void *ctx, struct feed_group *g, const struct cursor *at, const char *tables)
{
	(void)ctx;
	for (struct device *d = g->devices, *next; d; d = next) {
		next = d->group_next;
		device_tables_changed(d, at, tables, clock_monotonic_ms());
	}
}

static void on_idle(void *ctx, struct feed_group *g, struct frame *f)
{
	(void)ctx;
	for (struct device *d = g->devices, *next; d; d = next) {
		next = d->group_next;
		device_idle(d, f, clock_monotonic_ms());
	}
}

const struct feed_events relay_feed_events = {
	.on_entry = on_entry,
	.on_resync = on_resync,
	.on_gap = on_entry, /* each finds that its place is gone and reads the log */
	.on_idle = on_idle,
};

/* ---- upstream to feed ------------------------------------------------------------------ */

static void on_start(void *ctx, const struct cursor *cursor)
{
	feed_start(((struct relay *)ctx)->feed, cursor);
}

static void on_change(void *ctx, const struct upstream_change *c)
{
	feed_change(((struct relay *)ctx)->feed, c);
}

static void on_batch_end(void *ctx, const struct upstream_batch *b)
{
	if (b->resync)
		published_forget();
	feed_batch_end(((struct relay *)ctx)->feed, b);
}

static void on_giant_begin(void *ctx, const struct upstream_batch *b)
{
	(void)ctx; /* the builder sees for itself that it is too large for a frame */
	log_info("a batch of %" PRIu64 " changes begins", b->changes);
}

static void on_batch_abandoned(void *ctx)
{
	feed_abandon(((struct relay *)ctx)->feed);
}

static void on_poll_end(void *ctx)
{
	feed_poll_end(((struct relay *)ctx)->feed, clock_monotonic_ms());
	relay_asks_look(ctx);
}

static void on_level(void *ctx)
{
	struct relay *r = ctx;
	uint64_t now_ms = clock_monotonic_ms();

	if (!r->level_wanted)
		return;
	r->level_wanted = false;
	for (struct device *d = r->devices, *next; d; d = next) {
		next = d->next;
		device_look_for_proof(d, now_ms);
	}
}

static void on_state(void *ctx, bool connected)
{
	struct relay *r = ctx;

	if (connected == r->database_connected)
		return;
	r->database_connected = connected;
	published_forget();
	for (struct device *d = r->devices, *next; d; d = next) {
		next = d->next;
		if (connected)
			device_database_back(d, clock_monotonic_ms());
		else
			device_database_gone(d);
	}
	relay_asks_database(r);
}

static void on_history_lost(void *ctx, const char *reason)
{
	struct relay *r = ctx;
	struct cursor none = {0};

	log_warning("the database does not know the relay's cursor any more (%s): all devices "
		    "need a snapshot",
		    reason);
	snapshot_forget_all();
	feed_start(r->feed, &none);
	if (strcmp(reason, "too_old") != 0)
		reason = "history_lost";
	for (struct device *d = r->devices; d; d = d->next)
		if (d->group)
			device_resync(d, reason, NULL, NULL, clock_monotonic_ms());
	relay_asks_database(r);
}

static void on_sync_request(void *ctx, int64_t id, const char *kind, const char *tables_json,
			    const char *device, uint64_t keep_ms)
{
	relay_asks_requested(ctx, id, kind, tables_json, device, keep_ms);
}

static void on_sync_requests_read(void *ctx)
{
	relay_asks_requests_read(ctx);
}

const struct upstream_events relay_upstream_events = {
	.on_start = on_start,
	.on_giant_begin = on_giant_begin,
	.on_change = on_change,
	.on_batch_end = on_batch_end,
	.on_batch_abandoned = on_batch_abandoned,
	.on_poll_end = on_poll_end,
	.on_level = on_level,
	.on_state = on_state,
	.on_history_lost = on_history_lost,
	.on_sync_request = on_sync_request,
	.on_sync_requests_read = on_sync_requests_read,
};
