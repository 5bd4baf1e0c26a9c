/*
 * What the tests of the feed share: one with a group for all tables and one for
 * a single table, memory that can be out, and what a ring is to hold.
 */
#ifndef CLINIC_TEST_RELAY_FEED_SUPPORT_H
#define CLINIC_TEST_RELAY_FEED_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "relay_support.h"

#define FRAME_BYTES 4096

struct feed_entry *__real_feed_entry_of_changes(const struct feed_step *step, struct dynbuf *body);
struct feed_entry *__wrap_feed_entry_of_changes(const struct feed_step *step, struct dynbuf *body);

static bool out_of_memory;

struct feed_entry *__wrap_feed_entry_of_changes(const struct feed_step *step, struct dynbuf *body)
{
	if (!out_of_memory)
		return __real_feed_entry_of_changes(step, body);
	dynbuf_free(body);
	return NULL;
}

struct world {
	struct feed_limits limits;
	struct feed *feed;
	struct feed_group *all, *payments;
	int entries, resyncs, gaps, idles;
	struct cursor resync_at;
	char resync_tables[200];
};

static void on_entry(void *ctx, struct feed_group *g)
{
	(void)g;
	((struct world *)ctx)->entries++;
}

static void on_resync(void *ctx, struct feed_group *g, const struct cursor *at, const char *tables)
{
	struct world *w = ctx;

	(void)g;
	w->resyncs++;
	w->resync_at = *at;
	snprintf(w->resync_tables, sizeof(w->resync_tables), "%s", tables);
}

static void on_gap(void *ctx, struct feed_group *g)
{
	(void)g;
	((struct world *)ctx)->gaps++;
}

static void on_idle(void *ctx, struct feed_group *g, struct frame *f)
{
	(void)g;
	(void)f;
	((struct world *)ctx)->idles++;
}

static const struct feed_events events = {on_entry, on_resync, on_gap, on_idle};

static int set_up(void **state)
{
	static char *const names[] = {"payments"};
	struct world *w = calloc(1, sizeof(*w));
	struct cursor start = cursor_of(10);

	w->limits.ring_bytes = 1 << 20;
	w->limits.spool_cost = 1 << 30;
	w->limits.builder.max_frame_bytes = FRAME_BYTES;
	snprintf(w->limits.builder.spool_dir, sizeof(w->limits.builder.spool_dir), "/tmp");
	w->feed = feed_new(&w->limits, &events, w);
	w->all = feed_join(w->feed, NULL, 0);
	w->payments = feed_join(w->feed, names, 1);
	feed_start(w->feed, &start);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	feed_leave(w->all, 0);
	feed_leave(w->payments, 0);
	feed_free(w->feed);
	free(w);
	return 0;
}

/* Message `i` of entry `nth` from the oldest; the caller decrefs. */
static json_t *message(struct feed_group *g, uint64_t nth, size_t i)
{
	struct frame *f = feed_entry_message(feed_at(g, g->first + nth), i);
	json_t *j;

	assert_non_null(f);
	j = json_loadb(f->text, f->len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(j);
	frame_unref(f);
	return j;
}

static void expect_step(struct feed_group *g, uint64_t nth, int64_t from, int64_t to,
			size_t changes)
{
	json_t *m = message(g, nth, 0);
	char a[CURSOR_TEXT_BYTES], b[CURSOR_TEXT_BYTES];
	struct cursor c_from = cursor_of(from), c_to = cursor_of(to);

	assert_string_equal(json_string_value(json_object_get(m, "from")),
			    cursor_format(&c_from, a));
	assert_string_equal(json_string_value(json_object_get(m, "to")), cursor_format(&c_to, b));
	assert_int_equal(json_array_size(json_object_get(m, "changes")), changes);
	json_decref(m);
}

static uint64_t ring_len(const struct feed_group *g)
{
	return g->next_seq - g->first;
}

#endif
