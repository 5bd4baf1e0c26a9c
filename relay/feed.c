/*
 * The feed of all groups; see feed.h.
 *
 * Before anything is emitted the group is brought into its final state, since
 * the events run devices that look at it.
 */
#include "feed.h"

#include <stdlib.h>
#include <string.h>

#include "feed_group.h"

/* How long a group nobody follows is kept up: devices come back from a dead network. */
#define GROUP_IDLE_MOST_MS (5 * 60 * 1000)

/* So much of ring_bytes may be rests of entries. */
#define REST_PART 8

struct feed {
	const struct feed_limits *limits;
	const struct feed_events *events;
	void *ctx;
	struct feed_group *groups;
	struct cursor cursor; /* last whole batch */
	char time[CLOCK_TEXT_BYTES];
	uint64_t now_ms;
	bool in_batch; /* changes came since the last batch end */
};

struct feed *feed_new(const struct feed_limits *limits, const struct feed_events *events, void *ctx)
{
	struct feed *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->limits = limits;
	f->events = events;
	f->ctx = ctx;
	clock_utc_text(f->time);
	return f;
}

void feed_free(struct feed *f)
{
	if (!f)
		return;
	while (f->groups) {
		struct feed_group *g = f->groups;

		f->groups = g->next;
		group_free(g);
	}
	free(f);
}

const struct cursor *feed_cursor(const struct feed *f)
{
	return &f->cursor;
}

uint64_t feed_memory(const struct feed *f)
{
	uint64_t bytes = 0;

	for (const struct feed_group *g = f->groups; g; g = g->next)
		bytes += g->memory;
	return bytes;
}

uint64_t feed_spooled(const struct feed *f)
{
	uint64_t bytes = 0;

	for (const struct feed_group *g = f->groups; g; g = g->next)
		bytes += g->spooled;
	return bytes;
}

size_t feed_group_count(const struct feed *f)
{
	size_t count = 0;

	for (const struct feed_group *g = f->groups; g; g = g->next)
		count++;
	return count;
}

struct feed_group *feed_groups(const struct feed *f)
{
	return f->groups;
}

/* ---- bounds ---------------------------------------------------------------- */

/* An entry whose walk has only begun stays, whatever its size: those at the end take it. */
static bool can_drop(const struct feed_group *g)
{
	return g->next_seq - g->first > (g->walk.running ? 1 : 0);
}

static struct feed_group *fattest(const struct feed *f, bool by_spool)
{
	struct feed_group *most = NULL;

	for (struct feed_group *g = f->groups; g; g = g->next) {
		uint64_t bytes = by_spool ? g->spool_cost : g->memory;

		if (bytes && can_drop(g) &&
		    (!most || bytes > (by_spool ? most->spool_cost : most->memory)))
			most = g;
	}
	return most;
}

static uint64_t spool_cost(const struct feed *f)
{
	uint64_t cost = 0;

	for (const struct feed_group *g = f->groups; g; g = g->next)
		cost += g->spool_cost;
	return cost;
}

static void trim(struct feed *f)
{
	struct feed_group *g;

	while (feed_memory(f) > f->limits->ring_bytes && (g = fattest(f, false)))
		group_drop_oldest(g);
	while (spool_cost(f) > f->limits->spool_cost && (g = fattest(f, true)))
		group_drop_oldest(g);
}

static void emit(void *ctx, struct feed_entry *e)
{
	struct feed_group *g = ctx;
	struct feed *f = g->feed;

	group_push(g, e);
	g->sent_ms = f->now_ms;
	f->events->on_entry(f->ctx, g);
	trim(f);
}

/* ---- from upstream --------------------------------------------------------- */

void feed_start(struct feed *f, const struct cursor *cursor)
{
	struct feed_group *all;

	f->cursor = *cursor;
	f->in_batch = false;
	for (struct feed_group *g = f->groups; g; g = g->next) {
		group_break(g);
		builder_restart(&g->builder, cursor, f->time);
	}
	/* most devices follow all tables: their ring fills before the first of them asks */
	all = cursor->batch ? feed_join(f, NULL, 0) : NULL;
	if (all)
		feed_leave(all, f->now_ms);
}

static void gap(struct feed_group *g)
{
	/* in the middle of a batch its beginning is lost with the rest: the end must not pass
	   for the whole */
	g->builder.failed = g->feed->in_batch;
	group_break(g);
	g->feed->events->on_gap(g->feed->ctx, g);
}

void feed_change(struct feed *f, const struct upstream_change *c)
{
	f->in_batch = true;
	for (struct feed_group *g = f->groups; g; g = g->next) {
		bool had_failed = g->builder.failed;

		if (feed_group_has(g, c->table.text, c->table.len))
			builder_add(&g->builder, c);
		/* whole batches may be lost with this one, which may yet be abandoned: those at the
		   end of the ring must not go on from there */
		if (g->builder.failed && !had_failed)
			gap(g);
	}
}

/* Nothing in memory leads across this batch: whoever follows the group needs a snapshot. */
static void resync(struct feed_group *g, const struct upstream_batch *b,
		   const struct dynbuf *tables)
{
	struct feed *f = g->feed;

	group_break(g);
	builder_restart(&g->builder, &b->cursor, b->time);
	f->events->on_resync(f->ctx, g, &b->cursor, tables->failed ? "null" : tables->data);
}

void feed_batch_end(struct feed *f, const struct upstream_batch *b)
{
	struct dynbuf tables;

	f->in_batch = false;
	f->cursor = b->cursor;
	snprintf(f->time, sizeof(f->time), "%s", b->time);
	for (struct feed_group *g = f->groups; g; g = g->next) {
		if (feed_group_resynced(g, b, &tables))
			resync(g, b, &tables);
		else if (!builder_batch_end(&g->builder, b))
			gap(g);
		dynbuf_free(&tables);
	}
}

void feed_abandon(struct feed *f)
{
	f->in_batch = false;
	for (struct feed_group *g = f->groups; g; g = g->next)
		builder_abandon(&g->builder);
}

static void flush(struct feed_group *g)
{
	g->flush_due = false;
	if (!builder_flush(&g->builder))
		gap(g);
}

void feed_poll_end(struct feed *f, uint64_t now_ms)
{
	f->now_ms = now_ms;
	for (struct feed_group *g = f->groups; g; g = g->next) {
		if (g->walk.running)
			g->flush_due = true;
		else
			flush(g);
	}
}

void feed_walked(struct feed *f, struct feed_group *g)
{
	if (g->flush_due)
		flush(g);
	trim(f);
}

static void heartbeat(struct feed_group *g, uint64_t now_ms)
{
	struct feed *f = g->feed;
	uint64_t next_seq = g->next_seq;
	struct feed_entry *e;

	g->sent_ms = now_ms;
	if (!builder_boundary(&g->builder)) {
		gap(g);
		return;
	}
	if (g->next_seq != next_seq)
		return;
	e = feed_entry_of_heartbeat(&g->builder.step);
	if (e)
		f->events->on_idle(f->ctx, g, e->frame);
	feed_entry_unref(e);
}

void feed_tick(struct feed *f, uint64_t now_ms, uint32_t ping_interval_ms)
{
	struct feed_group **at = &f->groups;

	f->now_ms = now_ms;
	while (*at) {
		struct feed_group *g = *at;

		if (!g->members && now_ms - g->idle_since_ms >= GROUP_IDLE_MOST_MS) {
			*at = g->next;
			group_free(g);
			continue;
		}
		if (f->cursor.batch && now_ms - g->sent_ms >= ping_interval_ms)
			heartbeat(g, now_ms);
		at = &g->next;
	}
}

/* ---- for devices ------------------------------------------------------------ */

/* Room for one more group: the one that was left longest ago goes. */
static bool make_room(struct feed *f)
{
	struct feed_group **oldest = NULL;

	if (feed_group_count(f) < FEED_GROUPS_MOST)
		return true;
	for (struct feed_group **at = &f->groups; *at; at = &(*at)->next)
		if (!(*at)->members && (!oldest || (*at)->idle_since_ms < (*oldest)->idle_since_ms))
			oldest = at;
	if (oldest) {
		struct feed_group *g = *oldest;

		*oldest = g->next;
		group_free(g);
	}
	return oldest != NULL;
}

struct feed_group *feed_join(struct feed *f, char *const *tables, size_t table_count)
{
	struct feed_group *g;

	for (g = f->groups; g && !group_is(g, tables, table_count); g = g->next)
		;
	if (!g) {
		if (!make_room(f))
			return NULL;
		g = group_new(f, tables, table_count);
		if (!g)
			return NULL;
		builder_init(&g->builder, &f->limits->builder, &f->cursor, emit, g);
		/* it missed the beginning of the batch that is coming in: a gap at its end */
		g->builder.failed = f->in_batch;
		g->sent_ms = f->now_ms;
		g->next = f->groups;
		f->groups = g;
	}
	g->members++;
	return g;
}

void feed_leave(struct feed_group *g, uint64_t now_ms)
{
	if (--g->members == 0)
		g->idle_since_ms = now_ms;
}

bool feed_find(struct feed_group *g, const struct cursor *cursor, uint64_t *seq)
{
	if (!cursor->batch)
		return false;
	if (group_find_start(g, cursor, seq))
		return true;
	if (!cursor_equal(cursor, &g->builder.step.from)) {
		/* at the last batch, though no entry ends there yet: make one */
		if (!cursor_equal(cursor, &g->builder.step.to))
			return false;
		if (!builder_boundary(&g->builder)) {
			gap(g);
			return false;
		}
	}
	*seq = g->next_seq;
	return true;
}

/* Rests of entries, in all groups: kept to be shared, but the ring comes first. */
static void bound_rests(struct feed *f)
{
	for (;;) {
		struct feed_group *most = NULL;
		uint64_t bytes = 0;

		for (struct feed_group *g = f->groups; g; g = g->next) {
			bytes += g->rest_bytes;
			if (!most || g->rest_bytes > most->rest_bytes)
				most = g;
		}
		if (bytes <= f->limits->ring_bytes / REST_PART)
			return;
		group_drop_rest(most);
	}
}

bool feed_holds(const struct feed_group *g, const struct cursor *cursor)
{
	const struct builder *b = &g->builder;
	uint64_t seq;

	return cursor->batch &&
	       (cursor_equal(cursor, &b->step.from) || cursor_equal(cursor, &b->step.to) ||
		marks_find(&b->marks, cursor) || group_find_start(g, cursor, &seq) ||
		group_find_inside(g, cursor, &seq));
}

bool feed_resume(struct feed_group *g, const struct cursor *cursor, uint64_t *seq,
		 struct feed_entry **rest)
{
	const struct entry_mark *mark;

	*rest = NULL;
	if (feed_find(g, cursor, seq))
		return true;
	if (!cursor->batch)
		return false;
	/* among the batches that wait to become an entry: make it now */
	if (marks_find(&g->builder.marks, cursor) && !builder_boundary(&g->builder)) {
		gap(g);
		return false;
	}
	mark = group_find_inside(g, cursor, seq);
	*rest = mark ? group_rest(g, *seq, mark) : NULL;
	if (!*rest)
		return false;
	feed_entry_ref(*rest);
	++*seq;
	bound_rests(g->feed);
	return true;
}

bool feed_gathers(const struct feed_group *g)
{
	return g->builder.settled > ENTRY_SLACK_BYTES;
}
