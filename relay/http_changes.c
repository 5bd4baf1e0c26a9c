/*
 * GET /db/changes/<cursor>: what came after it, for clients that ask now and
 * then instead of holding a WebSocket.
 *
 * The answer is made of the same entries that devices get: of the ring, if the
 * cursor lies in it, else read from the log.  Whole batches, CHANGES_BYTES or
 * what goes just over it; who wants more asks from `to` on.  A batch too large
 * for a frame lies on disk (feed_entry.h), so that nobody's slow socket holds a
 * reader of the log, and travels part by part.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feed.h"
#include "feed_builder.h"
#include "http.h"
#include "log.h"
#include "metrics.h"
#include "relay_state.h"
#include "upstream.h"

#define CHANGES_BYTES ((uint64_t)1024 * 1024)
/* Readers of the log are shared with devices that come back. */
#define LOG_READERS_MOST 8
#define WAIT_MOST_MS 30000
/* What slow clients keep from being freed, all together: beyond it nobody new is served. */
#define HELD_MOST_BYTES ((uint64_t)128 * 1024 * 1024)
#define HELD_SPOOL_MOST ((uint64_t)4 << 30)

struct changes {
	struct http_exchange *x;
	struct changes *next; /* of those who read the log */
	struct cursor from, to;
	bool more;

	/* what is to be sent, in order */
	struct feed_entry **entries;
	size_t count;
	uint64_t bytes;

	/* reading the log */
	struct catch_up *log;
	struct builder builder;
	bool builds; /* the builder is to be freed */
	bool failed;
	struct loop_timer limit;

	/* sending */
	size_t entry, message;       /* the next one */
	struct frame *frame;         /* the one under way */
	const char *at, *end;        /* the text under way */
	const char *then, *then_end; /* and what follows it; NULL: nothing */
	bool head_made, tail_made, any;
	char text[160];
};

static struct changes *log_readers;
static size_t log_reader_count;
static uint64_t held_bytes, held_spool;

/* ---- what is to be sent ------------------------------------------------------------------------
 */

static bool is_full(const struct changes *c)
{
	return c->bytes >= CHANGES_BYTES;
}

/* Takes over the reference. */
static bool add_entry(struct changes *c, struct feed_entry *e)
{
	struct feed_entry **entries =
		realloc(c->entries, (c->count + 1) * sizeof(struct feed_entry *));

	if (!entries) {
		feed_entry_unref(e);
		return false;
	}
	c->entries = entries;
	entries[c->count++] = e;
	c->bytes += feed_entry_memory(e) + feed_entry_spooled(e);
	c->to = e->step.to;
	held_bytes += feed_entry_memory(e);
	held_spool += feed_entry_spooled(e);
	metric_set(METRIC_CHANGES_BYTES, held_bytes + held_spool);
	return true;
}

static void stop_reading(struct changes *c)
{
	struct changes **at = &log_readers;

	loop_timer_cancel(&c->limit);
	upstream_catch_up_cancel(c->log);
	c->log = NULL;
	if (c->builds)
		builder_free(&c->builder);
	c->builds = false;
	while (*at && *at != c)
		at = &(*at)->next;
	if (*at) {
		*at = c->next;
		log_reader_count--;
	}
}

static void changes_close(struct http_exchange *x)
{
	struct changes *c = x->job;

	stop_reading(c);
	for (size_t i = 0; i < c->count; i++) {
		held_bytes -= feed_entry_memory(c->entries[i]);
		held_spool -= feed_entry_spooled(c->entries[i]);
		feed_entry_unref(c->entries[i]);
	}
	metric_set(METRIC_CHANGES_BYTES, held_bytes + held_spool);
	free(c->entries);
	frame_unref(c->frame);
	free(c);
	x->job = NULL;
}

/* ---- sending -----------------------------------------------------------------------------------
 */

/* The next message's changes, with a comma before them if there were others.  False: it cannot be
   read back. */
static bool load_message(struct changes *c)
{
	struct feed_entry *e = c->entries[c->entry];

	frame_unref(c->frame);
	c->frame = feed_entry_message(e, c->message++);
	if (!c->frame)
		return false;
	if (c->message == feed_entry_messages(e)) {
		c->entry++;
		c->message = 0;
	}
	c->at = c->end = c->text;
	if (e->kind == ENTRY_HEARTBEAT)
		return true;
	c->then = c->frame->buffer + ENTRY_SLACK_BYTES;
	c->then_end = c->frame->text + c->frame->len - ENTRY_TAIL_BYTES;
	if (c->any)
		c->end = stpcpy(c->text, ",");
	c->any = true;
	return true;
}

static void make_head(struct changes *c)
{
	char from[CURSOR_TEXT_BYTES], to[CURSOR_TEXT_BYTES];
	int len = snprintf(c->text, sizeof(c->text),
			   "{\"from\":\"%s\",\"to\":\"%s\",\"more\":%s,\"changes\":[",
			   cursor_format(&c->from, from), cursor_format(&c->to, to),
			   c->more ? "true" : "false");

	c->at = c->text;
	c->end = c->text + len;
	c->head_made = true;
}

/* The text after the one that is sent.  *over: there is none. */
static bool next_text(struct changes *c, bool *over)
{
	if (c->then) {
		c->at = c->then;
		c->end = c->then_end;
		c->then = NULL;
	} else if (!c->head_made) {
		make_head(c);
	} else if (c->entry < c->count) {
		return load_message(c);
	} else if (!c->tail_made) {
		c->at = c->text;
		c->end = stpcpy(c->text, "]}\n");
		c->tail_made = true;
	} else {
		*over = true;
	}
	return true;
}

static body_result changes_body(struct http_exchange *x, char *out, size_t size, size_t *len)
{
	struct changes *c = x->job;
	bool over = false;

	*len = 0;
	while (*len < size && !over) {
		size_t left = (size_t)(c->end - c->at);
		size_t n = left < size - *len ? left : size - *len;

		if (n)
			memcpy(out + *len, c->at, n);
		*len += n;
		c->at += n;
		if (c->at == c->end && !next_text(c, &over)) {
			log_error("cannot read a part of a large batch back");
			return BODY_FAILED;
		}
	}
	return over ? BODY_END : BODY_MORE;
}

static void answer_changes(struct changes *c, bool more)
{
	struct http_exchange *x = c->x;

	stop_reading(c);
	c->more = more;
	if (x->method == HTTP_GET)
		metric_add(METRIC_CHANGES_SERVED, 1);
	x->status = 200;
	x->content_type = "application/json";
	x->content_length = -1;
	x->body = changes_body;
	x->answered = true;
	http_wake(x);
}

/* ---- no answer ---------------------------------------------------------------------------------
 */

static void answer_busy(struct changes *c, const char *line)
{
	stop_reading(c);
	http_answer_busy(c->x, line);
}

/*
 * Nothing leads on from the cursor: a snapshot whose cursor is at or after
 * `at` (batch 0: any) does.  tables: a comma list, NULL: all.
 */
static void answer_gone(struct changes *c, const char *reason, const struct cursor *at,
			const char *tables)
{
	struct http_exchange *x = c->x;
	char cursor[CURSOR_TEXT_BYTES];

	stop_reading(c);
	dynbuf_reset(&x->text);
	dynbuf_addf(&x->text,
		    "{\"error\":\"no changes lead on from that cursor\",\"reason\":\"%s\"", reason);
	if (at->batch)
		dynbuf_addf(&x->text, ",\"at\":\"%s\",\"tables\":", cursor_format(at, cursor));
	else
		dynbuf_adds(&x->text, ",\"at\":null,\"tables\":");
	for (const char *name = tables; name && *name;) {
		size_t len = strcspn(name, ",");

		dynbuf_adds(&x->text, name == tables ? "[" : ",");
		dynbuf_add_json(&x->text, name, len);
		name += len + (name[len] == ',');
	}
	dynbuf_adds(&x->text, tables && *tables ? "]}\n" : "null}\n");
	http_answer_text(x, 410, "application/json");
}

/* ---- from the log ------------------------------------------------------------------------------
 */

static void on_entry(void *ctx, struct feed_entry *e)
{
	struct changes *c = ctx;

	if (!add_entry(c, e))
		c->failed = true;
}

static void on_giant_begin(void *ctx, const struct upstream_batch *b)
{
	(void)ctx;
	(void)b; /* the builder sees for itself */
}

static void on_change(void *ctx, const struct upstream_change *change)
{
	builder_add(&((struct changes *)ctx)->builder, change);
}

/* Whole batches gather in the builder until they are a frame: make entries of them. */
static bool flush(struct changes *c)
{
	return builder_boundary(&c->builder) && !c->failed;
}

static void answer_read(struct changes *c, bool more)
{
	if (flush(c))
		answer_changes(c, more);
	else
		answer_busy(c, "out of memory");
}

static void on_batch_end(void *ctx, const struct upstream_batch *b)
{
	struct changes *c = ctx;

	if (b->resync && !cursor_equal(&c->builder.step.to, &c->from)) {
		/* up to here it goes; the next answer says that it goes no further */
		builder_abandon(&c->builder);
		answer_read(c, true);
	} else if (b->resync) {
		answer_gone(c, "table_changed", &b->cursor, b->resync);
	} else if (!builder_batch_end(&c->builder, b) || c->failed) {
		log_error("no room to hold a batch of %" PRIu64 " changes for an answer",
			  b->changes);
		answer_busy(c, "no room to hold a large batch");
	} else if (is_full(c)) {
		answer_read(c, true);
	}
}

static void on_level(void *ctx)
{
	struct changes *c = ctx;

	c->log = NULL;
	answer_read(c, false);
}

static void on_refused(void *ctx, const char *reason)
{
	struct changes *c = ctx;

	c->log = NULL;
	/* the log itself is incomplete: nothing that was ever a cursor continues */
	if (strcmp(reason, "log_incomplete") == 0)
		reason = "history_lost";
	if (strcmp(reason, "bad_cursor") == 0) {
		stop_reading(c);
		http_answer_line(c->x, 400, "that is no cursor");
		return;
	}
	answer_gone(c, reason, feed_cursor(c->x->relay->feed), NULL);
}

static void on_failed(void *ctx)
{
	struct changes *c = ctx;

	c->log = NULL;
	answer_busy(c, "the database cannot be read now");
}

static void on_limit(void *ctx)
{
	struct changes *c = ctx;

	builder_abandon(&c->builder);
	if (cursor_equal(&c->builder.step.to, &c->from))
		answer_busy(c, "the database did not answer in time");
	else
		answer_read(c, true);
}

static const struct catch_up_events log_events = {
	.on_giant_begin = on_giant_begin,
	.on_change = on_change,
	.on_batch_end = on_batch_end,
	.on_level = on_level,
	.on_refused = on_refused,
	.on_failed = on_failed,
};

static void read_log(struct changes *c)
{
	struct relay *r = c->x->relay;

	if (log_reader_count == LOG_READERS_MOST) {
		answer_busy(c, "too many read the log");
		return;
	}
	builder_init(&c->builder, &r->limits.builder, &c->from, on_entry, c);
	c->builds = true;
	c->next = log_readers;
	log_readers = c;
	log_reader_count++;
	loop_timer_set(&c->limit, WAIT_MOST_MS, on_limit, c);
	c->log = upstream_catch_up(&c->from, &log_events, c);
	if (!c->log)
		answer_busy(c, "too many read the log");
}

void http_changes_stop(void)
{
	while (log_readers)
		answer_busy(log_readers, "the relay is going down");
}

/* ---- from memory -------------------------------------------------------------------------------
 */

/* False: the cursor is not in the ring, or memory ran out. */
static bool read_ring(struct changes *c)
{
	struct feed *feed = c->x->relay->feed;
	struct feed_group *all = feed_join(feed, NULL, 0);
	struct feed_entry *e = NULL;
	bool found;
	uint64_t seq;

	if (!all)
		return false;
	found = feed_resume(all, &c->from, &seq, &e);
	if (found && e)
		found = add_entry(c, e);
	while (found && !is_full(c) && (e = feed_at(all, seq)) != NULL) {
		found = add_entry(c, feed_entry_ref(e));
		seq++;
	}
	c->more = found && (feed_at(all, seq) || feed_gathers(all));
	feed_leave(all, clock_monotonic_ms());
	return found;
}

void http_changes(struct http_exchange *x)
{
	struct relay *r = x->relay;
	struct changes *c;
	struct cursor from;

	if (x->tables[0] || !cursor_parse(x->rest, strlen(x->rest), &from)) {
		http_answer_line(x, 400,
				 x->tables[0] ? "changes come of all tables"
					      : "after which cursor? /db/changes/<cursor>");
		return;
	}
	if (r->going_down || !feed_cursor(r->feed)->batch ||
	    !relay_is_proven(r, clock_monotonic_ms())) {
		http_answer_busy(x, "the relay cannot reach PostgreSQL");
		return;
	}
	if (held_bytes >= HELD_MOST_BYTES || held_spool >= HELD_SPOOL_MOST) {
		http_answer_busy(x, "others read their changes too slowly");
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		http_answer_busy(x, "out of memory");
		return;
	}
	c->x = x;
	c->from = c->to = from;
	x->job = c;
	x->close = changes_close;
	if (read_ring(c))
		answer_changes(c, c->more);
	else if (c->count)
		answer_busy(c, "out of memory");
	else
		read_log(c);
}
