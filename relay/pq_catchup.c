/*
 * Catching up from the log; see "catching up" in upstream.h.
 *
 * A few connections ("slots") serve a queue of readers, a page at a time, so
 * that one who is far behind does not keep the others waiting.  They read only
 * what the live feed has given already, which is proven; for that to be the
 * same history a fresh connection first shows the live cursor to its server
 * (after a failover two connections could be on two servers for a moment).
 */
#include "pq_catchup.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "pq_feed.h"
#include "pq_reader.h"
#include "ws_loop.h"

#define SLOT_MOST 8
#define WAITING_MOST 10000
/* A giant batch read this slowly holds back the server's vacuum; better to begin again. */
#define PAUSE_MOST_MS 60000

#define CATCHUP_SETTINGS "-c statement_timeout=60000 -c lock_timeout=5000"

struct catch_up {
	struct catch_up *next; /* in the queue */
	struct slot *slot;     /* being served by; NULL: in the queue */
	struct cursor cursor;
	struct cursor nothing_at; /* live cursor when there was nothing to read; batch 0: none */
	const struct catch_up_events *events;
	void *ctx;
	bool paused;
};

struct slot {
	struct pq_link *link;
	struct pq_feed feed;
	struct catch_up *reader; /* NULL: idle, or what comes is for nobody */
	struct loop_timer pause_limit;
	bool same_history; /* the live cursor is good on this connection */
};

static struct catcher {
	struct upstream_status *status;
	struct slot slots[SLOT_MOST];
	int slot_count;
	struct catch_up *first, *last; /* waiting */
	struct loop_timer pump;        /* look at the queue from the loop, not from a callback */
	bool started;
} catcher;

static void pump(void *ctx);

/* ---- the queue ------------------------------------------------------------------ */

static void queue_add(struct catch_up *c)
{
	c->next = NULL;
	c->slot = NULL;
	if (catcher.last)
		catcher.last->next = c;
	else
		catcher.first = c;
	catcher.last = c;
}

static void queue_remove(struct catch_up *c)
{
	struct catch_up *before = NULL;

	for (struct catch_up *at = catcher.first; at != c; at = at->next)
		before = at;
	if (before)
		before->next = c->next;
	else
		catcher.first = c->next;
	if (catcher.last == c)
		catcher.last = before;
}

static void pump_soon(void)
{
	if (catcher.started)
		loop_timer_set(&catcher.pump, 0, pump, NULL);
}

/* Take the reader out of everything; the caller has its last words and then frees it. */
static void detach(struct catch_up *c)
{
	struct slot *s = c->slot;

	catcher.status->catch_ups--;
	if (!s) {
		queue_remove(c);
		return;
	}
	loop_timer_cancel(&s->pause_limit);
	s->reader = NULL;
	c->slot = NULL;
	if (pq_link_is_up(s->link))
		pq_link_resume(s->link);
	pump_soon();
}

static void fail(struct catch_up *c)
{
	detach(c);
	c->events->on_failed(c->ctx);
	free(c);
}

/* ---- one page -------------------------------------------------------------------- */

static void on_giant_begin(void *ctx, const struct upstream_batch *b)
{
	struct slot *s = ctx;

	if (s->reader)
		s->reader->events->on_giant_begin(s->reader->ctx, b);
}

static void on_change(void *ctx, const struct upstream_change *c)
{
	struct slot *s = ctx;

	if (!s->reader)
		return;
	catcher.status->catch_up_changes++;
	s->reader->events->on_change(s->reader->ctx, c);
}

static void on_batch_end(void *ctx, const struct upstream_batch *b)
{
	struct slot *s = ctx;

	if (!s->reader)
		return;
	s->reader->cursor = b->cursor;
	s->reader->events->on_batch_end(s->reader->ctx, b);
}

/* Who reads learns it from on_failed or on_refused. */
static void on_abandoned(void *ctx)
{
	(void)ctx;
}

/*
 * A good cursor with nothing behind it that may be given: it comes from a
 * snapshot, whose batch the live feed has not seen yet.
 */
static void wait_for_live(struct catch_up *c)
{
	c->nothing_at = catcher.status->cursor;
	pq_reader_ring(&(struct pq_bells){.look = true});
}

static void on_page(void *ctx, enum pq_feed_end end, const char *reason,
		    const struct pq_answer *answer)
{
	struct slot *s = ctx;
	struct catch_up *c = s->reader;

	if (end == FEED_ERROR)
		log_warning("database (catch-up): feed(): %s (%s)", answer->message,
			    answer->sqlstate);
	pump_soon();
	if (!c)
		return;
	if (end == FEED_ERROR) {
		fail(c);
	} else if (end == FEED_REFUSED) {
		char copy[32];

		snprintf(copy, sizeof(copy), "%s", reason);
		detach(c);
		c->events->on_refused(c->ctx, copy);
		free(c);
	} else {
		/* to the end of the queue: the others have their page now */
		loop_timer_cancel(&s->pause_limit);
		s->reader = NULL;
		queue_add(c);
		if (end == FEED_NOTHING)
			wait_for_live(c);
	}
}

static const struct pq_feed_sink feed_sink = {
	.on_giant_begin = on_giant_begin,
	.on_change = on_change,
	.on_batch_end = on_batch_end,
	.on_abandoned = on_abandoned,
	.on_page = on_page,
};

static void on_checked(void *ctx, const struct pq_answer *answer)
{
	struct slot *s = ctx;

	if (answer->ok && PQntuples(answer->result) == 1 &&
	    strcmp(PQgetvalue(answer->result, 0, 0), "ok") == 0) {
		pq_link_good(s->link);
		s->same_history = true;
		pump_soon();
		return;
	}
	pq_link_restart(s->link, "this server does not know the live cursor");
}

static void check_history(struct slot *s)
{
	char text[CURSOR_TEXT_BYTES];
	const char *params[] = {cursor_format(&catcher.status->cursor, text)};

	pq_link_query(s->link, "SELECT clinic_sync.check_cursor($1)", 1, params, NULL, on_checked,
		      s);
}

static void on_paused_too_long(void *ctx)
{
	struct slot *s = ctx;

	if (s->reader)
		fail(s->reader);
	pq_link_restart(s->link, "its reader stood still for too long");
}

static void limit_pause(struct catch_up *c)
{
	if (!pq_link_is_up(c->slot->link))
		return;
	pq_link_pause(c->slot->link);
	loop_timer_set(&c->slot->pause_limit, PAUSE_MOST_MS, on_paused_too_long, c->slot);
}

static void serve(struct slot *s, struct catch_up *c)
{
	queue_remove(c);
	c->slot = s;
	s->reader = c;
	s->feed.cursor = c->cursor;
	s->feed.limit = catcher.status->cursor.batch;
	pq_feed_read_page(&s->feed);
}

/* ---- who is next ------------------------------------------------------------------ */

static bool is_level(const struct catch_up *c)
{
	return cursor_equal(&c->cursor, &catcher.status->cursor);
}

/* A slot that can read now; opens and checks those that could. */
static struct slot *free_slot(void)
{
	for (int i = 0; i < catcher.slot_count; i++) {
		struct slot *s = &catcher.slots[i];

		pq_link_open(s->link);
		if (!pq_link_is_up(s->link) || pq_link_is_busy(s->link))
			continue;
		if (s->same_history)
			return s;
		check_history(s);
	}
	return NULL;
}

/* The first in the queue that wants a page, or that has read everything. */
static struct catch_up *next_ready(bool level)
{
	for (struct catch_up *c = catcher.first; c; c = c->next) {
		if (c->paused || is_level(c) != level)
			continue;
		if (level || !cursor_equal(&c->nothing_at, &catcher.status->cursor))
			return c;
	}
	return NULL;
}

static void pump(void *ctx)
{
	struct catch_up *c;
	struct slot *s;

	(void)ctx;
	if (!pq_reader_is_live() || catcher.status->cursor.batch == 0)
		return;
	/* in the middle of a batch of the live feed nobody can join it */
	while (!pq_reader_in_batch() && (c = next_ready(true)) != NULL) {
		detach(c);
		c->events->on_level(c->ctx);
		free(c);
	}
	while ((c = next_ready(false)) != NULL && (s = free_slot()) != NULL)
		serve(s, c);
}

/* ---- links and life ---------------------------------------------------------------- */

static void on_up(void *ctx)
{
	(void)ctx;
	pump_soon();
}

static void on_down(void *ctx)
{
	struct slot *s = ctx;

	s->same_history = false;
	pq_feed_abandon(&s->feed);
	if (s->reader)
		fail(s->reader);
}

static const struct pq_link_events link_events = {.on_up = on_up, .on_down = on_down};

void pq_catchup_moved(void)
{
	if (catcher.first)
		pump_soon();
}

void pq_catchup_unsure(void)
{
	for (int i = 0; i < catcher.slot_count; i++)
		pq_link_restart(catcher.slots[i].link, NULL);
}

cs_status pq_catchup_start(const struct config *config, struct upstream_status *status,
			   struct cs_error *err)
{
	memset(&catcher, 0, sizeof(catcher));
	catcher.status = status;
	catcher.slot_count = config->catch_up_connections;
	for (int i = 0; i < catcher.slot_count; i++) {
		struct slot *s = &catcher.slots[i];

		s->link = pq_link_new(config, "catch-up", CATCHUP_SETTINGS, &link_events, s);
		if (!s->link) {
			pq_catchup_stop();
			return cs_fail(err, CS_ERR_NOMEM, "out of memory");
		}
		s->feed.link = s->link;
		s->feed.sink = &feed_sink;
		s->feed.ctx = s;
	}
	catcher.started = true;
	return CS_OK;
}

void pq_catchup_stop(void)
{
	catcher.started = false;
	loop_timer_cancel(&catcher.pump);
	while (catcher.first)
		upstream_catch_up_cancel(catcher.first);
	for (int i = 0; i < catcher.slot_count; i++) {
		struct slot *s = &catcher.slots[i];

		loop_timer_cancel(&s->pause_limit);
		free(s->reader);
		s->reader = NULL;
		pq_link_free(s->link);
		s->link = NULL;
	}
	catcher.slot_count = 0;
}

struct catch_up *upstream_catch_up(const struct cursor *from, const struct catch_up_events *events,
				   void *ctx)
{
	struct catch_up *c;

	if (!catcher.started || catcher.status->catch_ups >= WAITING_MOST)
		return NULL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->cursor = *from;
	c->events = events;
	c->ctx = ctx;
	catcher.status->catch_ups++;
	queue_add(c);
	pump_soon();
	return c;
}

void upstream_catch_up_cancel(struct catch_up *c)
{
	struct slot *s;

	if (!c)
		return;
	s = c->slot;
	detach(c);
	/* the rest of a giant batch would come for nobody */
	if (s && s->feed.open)
		pq_link_restart(s->link, NULL);
	free(c);
}

void upstream_catch_up_pause(struct catch_up *c)
{
	if (c->paused)
		return;
	c->paused = true;
	if (c->slot)
		limit_pause(c);
}

void upstream_catch_up_resume(struct catch_up *c)
{
	if (!c->paused)
		return;
	c->paused = false;
	if (!c->slot) {
		pump_soon();
		return;
	}
	loop_timer_cancel(&c->slot->pause_limit);
	pq_link_resume(c->slot->link);
}
