/*
 * Reading the log for devices; see catch_up.h.
 *
 *     reader  from ─────────> at ─────────────────────────> level
 *             members: are given every entry
 *             waiters: stand at batches ahead, and become members as it passes them
 *
 * So devices that come back from different places share one reading of what
 * they all lack, from the oldest of their cursors on.  A waiter whose cursor is
 * not on the way (it is of another history) asks the log alone.
 *
 * The slowest member must not hold the others up: one that is full leaves (it
 * asks again when its socket has drained) unless it is alone; then the reader
 * is paused.
 *
 * Telling a device something may make it cancel, even make it start anew: while
 * a callback runs a member is struck out (NULL) and swept up at its end.
 */
#include "catch_up.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "metrics.h"
#include "upstream.h"

/* A waiter does not wait for more batches than this to be read for others. */
#define WAIT_MOST_BATCHES 20000

struct member {
	struct device *device; /* NULL: struck out */
	bool waits;            /* for the reader to reach its cursor */
};

struct reader {
	struct catch_ups *all;
	struct reader *next;
	struct catch_up *handle; /* NULL: it has ended */
	struct feed_group *group;
	struct cursor from;
	int64_t at; /* the last batch it has read */
	struct member *members;
	size_t member_count, capacity;
	unsigned busy; /* in a callback: members are only struck out, the reader stays */
	bool begun;    /* `from` was found in the log: nobody can begin there any more */
	bool paused;
	bool ended;
	struct builder builder;
	struct table_counts total;
};

struct catch_ups {
	const struct builder_limits *limits;
	struct reader *readers;
};

struct catch_ups *catch_ups_new(const struct builder_limits *limits)
{
	struct catch_ups *c = calloc(1, sizeof(*c));

	if (c)
		c->limits = limits;
	return c;
}

static void reader_free(struct reader *r)
{
	struct reader **at = &r->all->readers;

	while (*at && *at != r)
		at = &(*at)->next;
	if (*at)
		*at = r->next;
	upstream_catch_up_cancel(r->handle);
	builder_free(&r->builder);
	table_counts_free(&r->total);
	free(r->members);
	free(r);
}

void catch_ups_free(struct catch_ups *c)
{
	if (!c)
		return;
	while (c->readers)
		reader_free(c->readers);
	free(c);
}

static bool reserve(struct reader *r, size_t more)
{
	size_t capacity = (r->member_count + more) * 2;
	struct member *members;

	if (r->member_count + more <= r->capacity)
		return true;
	members = realloc(r->members, capacity * sizeof(*members));
	if (!members)
		return false;
	r->members = members;
	r->capacity = capacity;
	return true;
}

static bool add_member(struct reader *r, struct device *d, bool waits)
{
	if (!reserve(r, 1))
		return false;
	r->members[r->member_count++] = (struct member){d, waits};
	return true;
}

static void enter(struct reader *r)
{
	r->busy++;
}

/* Sweep up; the reader may be gone after this. */
static void leave(struct reader *r)
{
	size_t kept = 0;

	if (--r->busy)
		return;
	for (size_t i = 0; i < r->member_count; i++)
		if (r->members[i].device)
			r->members[kept++] = r->members[i];
	r->member_count = kept;
	if (r->ended || !kept)
		reader_free(r);
}

/* ---- from the log ----------------------------------------------------------------- */

static void set_paused(struct reader *r, bool paused)
{
	if (!r->handle || r->paused == paused)
		return;
	r->paused = paused;
	if (paused)
		upstream_catch_up_pause(r->handle);
	else
		upstream_catch_up_resume(r->handle);
}

static void join(struct member *m)
{
	m->waits = false;
	metric_add(METRIC_RESUMES_FROM_LOG, 1);
	device_cursor_good(m->device);
}

/* Its cursor is not what the log has there: the log itself shall tell it. */
static void send_away(struct member *m)
{
	struct device *d = m->device;

	m->device = NULL;
	d->reads_alone = true;
	device_catch_up_failed(d, clock_monotonic_ms());
}

/*
 * Entry e for a waiter that it passes: what comes after the waiter's cursor, of
 * which *rest keeps the latest, since those at one cursor mostly come together.
 */
static void pass(struct member *m, struct feed_entry *e, struct feed_entry **rest)
{
	struct device *d = m->device;
	const struct entry_mark *mark;

	if (d->cursor.batch > e->step.to.batch)
		return;
	if (cursor_equal(&d->cursor, &e->step.to)) {
		join(m);
		return;
	}
	if (cursor_equal(&d->cursor, &e->step.from)) {
		join(m);
		device_catch_up_entry(d, feed_entry_ref(e));
		return;
	}
	mark = marks_find(&e->marks, &d->cursor);
	if (mark && (!*rest || !cursor_equal(&(*rest)->step.from, &mark->cursor))) {
		feed_entry_unref(*rest);
		*rest = feed_entry_of_rest(e, mark);
	}
	if (!mark || !*rest) {
		send_away(m);
		return;
	}
	join(m);
	device_catch_up_entry(d, feed_entry_ref(*rest));
}

static void on_entry(void *ctx, struct feed_entry *e)
{
	struct reader *r = ctx;
	struct feed_entry *rest = NULL;

	table_counts_add_all(&r->total, &e->counts);
	for (size_t i = 0; i < r->member_count; i++) {
		struct member *m = &r->members[i];

		if (m->device && m->waits)
			pass(m, e, &rest);
		else if (m->device)
			device_catch_up_entry(m->device, feed_entry_ref(e));
	}
	feed_entry_unref(rest);
	feed_entry_unref(e);
}

static void begin(struct reader *r)
{
	if (r->begun)
		return;
	r->begun = true;
	for (size_t i = 0; i < r->member_count; i++)
		if (r->members[i].device && !r->members[i].waits)
			join(&r->members[i]);
}

/* The log gives no more, or we want no more: each member gets its answer through `tell`. */
static void end(struct reader *r,
		void (*tell)(struct reader *r, struct device *d, const void *what),
		const void *what)
{
	r->begun = true;
	r->ended = true;
	for (size_t i = 0; i < r->member_count; i++) {
		struct member m = r->members[i];

		r->members[i].device = NULL;
		/* what is told of one cursor need not be true of those ahead of it */
		if (m.device && m.waits)
			device_catch_up_failed(m.device, clock_monotonic_ms());
		else if (m.device)
			tell(r, m.device, what);
	}
}

/* The same, and upstream does not know yet. */
static void break_off(struct reader *r,
		      void (*tell)(struct reader *r, struct device *d, const void *what),
		      const void *what)
{
	struct catch_up *handle = r->handle;

	r->handle = NULL;
	upstream_catch_up_cancel(handle);
	end(r, tell, what);
}

static void tell_failed(struct reader *r, struct device *d, const void *what)
{
	(void)r;
	(void)what;
	device_catch_up_failed(d, clock_monotonic_ms());
}

static void tell_level(struct reader *r, struct device *d, const void *what)
{
	(void)what;
	device_catch_up_level(d, &r->total, clock_monotonic_ms());
}

struct resync_words {
	const char *reason;
	const struct cursor *at;
	const char *tables;
};

/*
 * The log refused the cursor.  A snapshot made a moment ago may be refused as
 * well (the log was pruned past it just now), so ask for one from now on.
 */
static void tell_refused(struct reader *r, struct device *d, const void *what)
{
	const struct cursor *now = feed_cursor(d->env->feed);

	(void)r;
	device_resync(d, what, now->batch ? now : NULL, NULL, clock_monotonic_ms());
}

static void tell_resync(struct reader *r, struct device *d, const void *what)
{
	const struct resync_words *w = what;

	(void)r;
	device_resync(d, w->reason, w->at, w->tables, clock_monotonic_ms());
}

static void on_giant_begin(void *ctx, const struct upstream_batch *b)
{
	struct reader *r = ctx;

	(void)b;
	enter(r);
	begin(r);
	leave(r);
}

static void on_change(void *ctx, const struct upstream_change *c)
{
	struct reader *r = ctx;

	enter(r);
	if (feed_group_has(r->group, c->table.text, c->table.len))
		builder_add(&r->builder, c);
	leave(r);
}

/* Only a full member ends a pause, when it drains: so there is none unless one is left. */
static void heed_full(struct reader *r)
{
	size_t left = 0, full = 0;

	for (size_t i = 0; i < r->member_count; i++) {
		left += r->members[i].device != NULL;
		full += r->members[i].device && device_catch_up_full(r->members[i].device);
	}
	for (size_t i = 0; i < r->member_count && left > 1 && full; i++) {
		struct device *d = r->members[i].device;

		if (!d || !device_catch_up_full(d))
			continue;
		r->members[i].device = NULL;
		left--;
		full--;
		device_catch_up_failed(d, clock_monotonic_ms());
	}
	set_paused(r, full > 0);
}

static void take_batch(struct reader *r, const struct upstream_batch *b)
{
	struct dynbuf tables;

	begin(r);
	r->at = b->cursor.batch;
	if (feed_group_resynced(r->group, b, &tables)) {
		struct resync_words words = {"table_changed", &b->cursor,
					     tables.failed ? NULL : tables.data};

		break_off(r, tell_resync, &words);
	} else if (!builder_batch_end(&r->builder, b)) {
		log_error("no room to hold a batch of %llu changes for a device that catches up",
			  (unsigned long long)b->changes);
		break_off(r, tell_failed, NULL);
	} else {
		heed_full(r);
	}
	dynbuf_free(&tables);
}

static void on_batch_end(void *ctx, const struct upstream_batch *b)
{
	struct reader *r = ctx;

	enter(r);
	take_batch(r, b);
	leave(r);
}

static void on_level(void *ctx)
{
	struct reader *r = ctx;

	enter(r);
	r->handle = NULL;
	begin(r);
	if (!builder_boundary(&r->builder))
		end(r, tell_failed, NULL);
	else
		end(r, tell_level, NULL);
	leave(r);
}

static void on_refused(void *ctx, const char *reason)
{
	struct reader *r = ctx;

	/* the log itself is incomplete: nothing that was ever a cursor continues */
	if (strcmp(reason, "log_incomplete") == 0)
		reason = "history_lost";
	enter(r);
	r->handle = NULL;
	end(r, tell_refused, reason);
	leave(r);
}

static void on_failed(void *ctx)
{
	struct reader *r = ctx;

	enter(r);
	r->handle = NULL;
	/* whole batches that wait in the builder are good; those who retry begin after them */
	if (!builder_flush(&r->builder))
		log_warning("out of memory while a device caught up");
	end(r, tell_failed, NULL);
	leave(r);
}

static const struct catch_up_events events = {
	.on_giant_begin = on_giant_begin,
	.on_change = on_change,
	.on_batch_end = on_batch_end,
	.on_level = on_level,
	.on_refused = on_refused,
	.on_failed = on_failed,
};

/* ---- from devices ------------------------------------------------------------------- */

static struct reader *reader_new(struct catch_ups *c, struct device *d)
{
	struct reader *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->all = c;
	r->group = d->group;
	r->from = d->cursor;
	r->at = d->cursor.batch;
	builder_init(&r->builder, c->limits, &d->cursor, on_entry, r);
	if (add_member(r, d, false))
		r->handle = upstream_catch_up(&d->cursor, &events, r);
	if (!r->handle) {
		reader_free(r);
		return NULL;
	}
	r->next = c->readers;
	c->readers = r;
	return r;
}

/* r comes past this cursor soon, or begins there. */
static bool leads_past(const struct reader *r, const struct device *d)
{
	if (r->ended || r->group != d->group)
		return false;
	if (!r->begun && cursor_equal(&r->from, &d->cursor))
		return true;
	return !d->reads_alone && d->cursor.batch > r->at &&
	       d->cursor.batch <= feed_cursor(d->env->feed)->batch &&
	       d->cursor.batch - r->at <= WAIT_MOST_BATCHES;
}

/* Readers that have not begun and that r, which begins before them, makes superfluous. */
static void take_over(struct reader *r)
{
	for (struct reader *other = r->all->readers, *next; other; other = next) {
		next = other->next;
		if (other == r || other->begun || other->busy ||
		    !leads_past(r, other->members[0].device) || !reserve(r, other->member_count))
			continue;
		for (size_t i = 0; i < other->member_count; i++)
			r->members[r->member_count++] =
				(struct member){other->members[i].device, true};
		reader_free(other);
	}
}

static bool add_to(struct reader *r, struct device *d)
{
	if (!add_member(r, d, r->begun || !cursor_equal(&r->from, &d->cursor)))
		return false;
	/* one that stands still for its only member does so no longer */
	enter(r);
	if (r->paused)
		heed_full(r);
	leave(r);
	return true;
}

bool catch_up_start(struct catch_ups *c, struct device *d)
{
	struct reader *r;

	for (r = c->readers; r; r = r->next)
		if (leads_past(r, d))
			return add_to(r, d);
	r = reader_new(c, d);
	if (r && !d->reads_alone)
		take_over(r);
	return r != NULL;
}

/* The reader of d and d's place in it. */
static struct reader *find(struct catch_ups *c, const struct device *d, size_t *at)
{
	for (struct reader *r = c->readers; r; r = r->next)
		for (*at = 0; *at < r->member_count; (*at)++)
			if (r->members[*at].device == d)
				return r;
	return NULL;
}

void catch_up_cancel(struct catch_ups *c, struct device *d)
{
	size_t at;
	struct reader *r = find(c, d, &at);

	if (!r)
		return;
	enter(r);
	r->members[at].device = NULL;
	leave(r);
}

void catch_up_resume(struct catch_ups *c, struct device *d)
{
	size_t at;
	struct reader *r = find(c, d, &at);

	if (r)
		set_paused(r, false);
}
