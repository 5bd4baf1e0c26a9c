/* Tables sent again over the link; see table_stream.h. */
#include "table_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "log.h"
#include "metrics.h"
#include "protocol_out.h"
#include "sqlite_reader.h"

/* A thousand long names. */
#define LIST_MOST_BYTES ((size_t)1024 * 1024)

static void on_built(void *ctx, const struct snapshot *s);
static void on_failed(void *ctx, const char *reason, bool no_such_table);

static const struct snapshot_events snapshot_events = {.on_done = on_built, .on_failed = on_failed};

struct table_streams *table_streams_new(const struct table_streams_env *env)
{
	struct table_streams *s = calloc(1, sizeof(*s));

	if (s)
		s->env = env;
	return s;
}

void table_streams_free(struct table_streams *s)
{
	free(s);
}

static size_t count_of(const struct table_streams *s, stream_state state)
{
	size_t count = 0;

	for (const struct table_stream *t = s->first; t; t = t->next)
		count += t->state == state;
	return count;
}

size_t table_streams_active(const struct table_streams *s)
{
	return count_of(s, STREAM_BUILDING) + count_of(s, STREAM_SENDING);
}

size_t table_streams_in_line(const struct table_streams *s)
{
	return count_of(s, STREAM_IN_LINE);
}

/* ---- requests ------------------------------------------------------------------------ */

static void request_free(struct stream_request *q)
{
	free(q->table);
	in_names_free(&q->tables, &q->table_count);
	free(q);
}

static void pop_request(struct table_stream *t)
{
	struct stream_request *q = t->requests;

	t->requests = q->next;
	t->request_count--;
	request_free(q);
}

static void stop_serving(struct table_stream *t)
{
	t->owner->env->cancel(t->wait);
	snapshot_reader_close(t->reader);
	frame_unref(t->failure);
	t->wait = NULL;
	t->reader = NULL;
	t->failure = NULL;
	t->head_sent = t->table_begun = t->rows_end = false;
	t->tables_sent = 0;
	t->part = t->rows = 0;
	t->state = STREAM_IN_LINE;
}

static void unlink_stream(struct table_stream *t)
{
	struct table_stream **at = &t->owner->first;

	if (t->owner->walk == t)
		t->owner->walk = t->next;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	t->next = NULL;
}

static void link_last(struct table_stream *t)
{
	struct table_stream **at = &t->owner->first;

	while (*at)
		at = &(*at)->next;
	*at = t;
}

static void stream_free(struct table_stream *t)
{
	stop_serving(t);
	while (t->requests)
		pop_request(t);
	unlink_stream(t);
	t->device->stream = NULL;
	free(t);
}

static void turn_soon(struct table_streams *s)
{
	s->env->turn_soon(s->env->ctx);
}

void stream_end_request(struct table_stream *t)
{
	struct table_streams *s = t->owner;

	stop_serving(t);
	pop_request(t);
	if (t->requests) {
		unlink_stream(t);
		link_last(t);
	} else {
		stream_free(t);
	}
	turn_soon(s);
}

struct frame *stream_print_failure(const struct stream_request *q, const char *reason,
				   bool no_such_table)
{
	const char *code = q->table ? "table_sync_failed" : "full_sync_failed";

	metric_add(METRIC_TABLE_SYNCS_FAILED, 1);
	return out_table_error(no_such_table ? "no_such_table" : code, reason, q->table);
}

/* However many fail together, one at a time waits for the socket.  The stream may be gone. */
static void fail_request(struct table_stream *t, const char *reason, bool no_such_table)
{
	struct device *d = t->device;
	struct frame *f = stream_print_failure(t->requests, reason, no_such_table);

	if (!f) {
		stream_end_request(t);
		device_say(d, NULL);
		return;
	}
	stop_serving(t);
	t->state = STREAM_FAILED;
	t->failure = f;
	turn_soon(t->owner);
	d->env->wake(d->env->ctx, d);
}

static struct frame *take_failure(struct table_stream *t)
{
	struct frame *f = t->failure;

	t->failure = NULL;
	stream_end_request(t);
	return f;
}

/* ---- the snapshot ----------------------------------------------------------------------- */

static void on_built(void *ctx, const struct snapshot *snapshot)
{
	struct table_stream *t = ctx;
	struct cs_error err = {0};

	t->wait = NULL;
	t->cursor = snapshot->cursor;
	t->given_ms = t->pace_ms = t->owner->env->now_ms();
	t->pace_bytes = 0;
	t->state = STREAM_SENDING;
	if (snapshot_reader_open(snapshot->path, &t->reader, &err) != CS_OK) {
		log_error("cannot read a snapshot: %s", err.text);
		fail_request(t, "the snapshot cannot be read", false);
		return;
	}
	t->device->env->wake(t->device->env->ctx, t->device);
}

static void on_failed(void *ctx, const char *reason, bool no_such_table)
{
	struct table_stream *t = ctx;

	t->wait = NULL;
	fail_request(t, reason, no_such_table);
}

static bool list_tables(const struct stream_request *q, struct dynbuf *list)
{
	dynbuf_adds(list, q->table ? q->table : "");
	for (size_t i = 0; i < q->table_count; i++) {
		dynbuf_adds(list, i ? "," : "");
		dynbuf_adds(list, q->tables[i]);
	}
	return !list->failed;
}

static void start_building(struct table_stream *t)
{
	const struct stream_request *q = t->requests;
	struct snapshot_wait *wait = NULL;
	bool answered = false;
	struct dynbuf list;

	t->state = STREAM_BUILDING;
	metric_add(q->table ? METRIC_TABLE_SYNCS : METRIC_FULL_SYNCS, 1);
	dynbuf_init(&list, LIST_MOST_BYTES);
	if (list_tables(q, &list))
		wait = t->owner->env->start(list.data, q->min.batch ? &q->min : NULL,
					    &snapshot_events, t, &answered);
	dynbuf_free(&list);
	/* answered: it may be over already, and t gone */
	if (answered)
		return;
	if (wait)
		t->wait = wait;
	else
		fail_request(t, "too many wait for a snapshot", false);
}

/* ---- whose turn it is ------------------------------------------------------------------------ */

/* May what it asks for be sent?  No job is started to find out. */
static table_word look(struct table_stream *t)
{
	struct stream_request *q = t->requests;
	table_word (*look_at)(const char *table, uint64_t *asked) = t->owner->env->look;
	table_word word = TABLE_PUBLISHED;

	if (q->table && !feed_group_has(t->device->group, q->table, strlen(q->table)))
		return TABLE_NOT_PUBLISHED;
	if (q->table)
		word = look_at(q->table, &q->asked);
	for (size_t i = 0; i < q->table_count && word == TABLE_PUBLISHED; i++)
		word = look_at(q->tables[i], &q->asked);
	if (word == TABLE_ASKED && !q->asked_ms)
		q->asked_ms = t->owner->env->now_ms();
	return word;
}

static struct table_stream *next_to_serve(const struct table_streams *s, table_word *word)
{
	for (struct table_stream *t = s->first; t; t = t->next) {
		if (t->state != STREAM_IN_LINE)
			continue;
		*word = look(t);
		if (*word != TABLE_ASKED)
			return t;
	}
	return NULL;
}

void table_streams_turn(struct table_streams *s)
{
	struct table_stream *t;
	table_word word;

	while (table_streams_active(s) < (size_t)s->env->config->table_streams_most &&
	       (t = next_to_serve(s, &word)) != NULL) {
		if (word == TABLE_PUBLISHED)
			start_building(t);
		else
			fail_request(t, "the device follows no such table", true);
	}
}

/* ---- asking --------------------------------------------------------------------------------- */

static struct table_stream *stream_of(struct table_streams *s, struct device *d)
{
	struct table_stream *t = d->stream;

	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->owner = s;
	t->device = d;
	t->state = STREAM_IN_LINE;
	d->stream = t;
	link_last(t);
	return t;
}

/* Takes over q. */
static void line_up(struct table_streams *s, struct device *d, struct stream_request *q)
{
	struct table_stream *t = stream_of(s, d);
	struct stream_request **at;

	if (!t || t->request_count > STREAM_REQUESTS_MOST) {
		device_say(d,
			   stream_print_failure(q, "too many requests of this device wait", false));
		request_free(q);
		return;
	}
	for (at = &t->requests; *at; at = &(*at)->next)
		;
	*at = q;
	t->request_count++;
	turn_soon(s);
}

/* Frees the stream when nothing is left to ask for. */
static void drop_tables(struct table_stream *t, const char *table)
{
	struct stream_request *first = t->requests;

	if (first->table && (!table || strcmp(first->table, table) == 0))
		stop_serving(t);
	for (struct stream_request **at = &t->requests; *at;) {
		struct stream_request *q = *at;

		if (!q->table || (table && strcmp(q->table, table) != 0)) {
			at = &q->next;
			continue;
		}
		*at = q->next;
		t->request_count--;
		request_free(q);
	}
	if (!t->requests)
		stream_free(t);
}

void table_streams_ask_table(struct table_streams *s, struct device *d,
			     const struct in_request_table_sync *request)
{
	struct stream_request *q = s ? calloc(1, sizeof(*q)) : NULL;

	if (!q)
		return;
	if (d->stream)
		drop_tables(d->stream, request->table);
	q->table = strdup(request->table);
	q->id = request->id;
	/* at or after all it was given before it asked, and not more: who waits in line takes the
	   file of those before it */
	q->min = d->cursor;
	if (q->table)
		line_up(s, d, q);
	else
		free(q);
}

void table_streams_ask_full(struct table_streams *s, struct device *d,
			    struct in_request_full_sync *request)
{
	struct stream_request *q = s ? calloc(1, sizeof(*q)) : NULL;

	if (!q)
		return;
	q->tables = request->tables;
	q->table_count = request->table_count;
	q->min = request->min;
	q->id = request->id;
	request->tables = NULL;
	request->table_count = 0;
	line_up(s, d, q);
}

void table_streams_forget_tables(struct table_streams *s, struct device *d)
{
	if (!d->stream)
		return;
	drop_tables(d->stream, NULL);
	turn_soon(s);
}

void table_streams_leave(struct table_streams *s, struct device *d)
{
	if (!d->stream)
		return;
	stream_free(d->stream);
	turn_soon(s);
}

struct frame *table_streams_next(struct table_streams *s, struct device *d)
{
	struct table_stream *t = d->stream;
	struct frame *f;

	if (t && t->state == STREAM_FAILED)
		return take_failure(t);
	if (!t || t->state != STREAM_SENDING || (t->rows_end && !stream_may_end(t)))
		return NULL;
	t->given_ms = s->env->now_ms();
	f = stream_next_frame(t);
	/* that may have been its end */
	if (f && d->stream)
		d->stream->pace_bytes += f->len;
	return f;
}

/* ---- time ------------------------------------------------------------------------------------ */

void table_streams_look(struct table_streams *s)
{
	for (s->walk = s->first; s->walk;) {
		struct table_stream *t = s->walk;

		s->walk = t->next;
		if (t->state == STREAM_SENDING && t->rows_end && stream_may_end(t))
			t->device->env->wake(t->device->env->ctx, t->device);
	}
}

static bool is_over(const struct table_streams *s, uint64_t since_ms)
{
	return s->env->now_ms() - since_ms >= STREAM_STALLED_MS;
}

/* Why a stream cannot go on, or NULL. */
static const char *trouble_of(struct table_stream *t)
{
	const struct table_streams *s = t->owner;

	if (t->state == STREAM_IN_LINE && t->requests->asked_ms &&
	    is_over(s, t->requests->asked_ms) && look(t) == TABLE_ASKED)
		return "the database does not say which tables there are";
	if (t->state != STREAM_SENDING)
		return NULL;
	if (is_over(s, t->given_ms))
		return "nothing was taken for too long";
	/* who waits for the feed has taken everything there is */
	if (!t->rows_end && is_over(s, t->pace_ms) && t->pace_bytes < STREAM_LEAST_BYTES &&
	    table_streams_in_line(s))
		return "it is taken too slowly while others wait";
	return NULL;
}

static void start_pace(struct table_streams *s)
{
	for (struct table_stream *t = s->first; t; t = t->next) {
		if (t->state != STREAM_SENDING || !is_over(s, t->pace_ms))
			continue;
		t->pace_ms = s->env->now_ms();
		t->pace_bytes = 0;
	}
}

void table_streams_tick(struct table_streams *s)
{
	for (s->walk = s->first; s->walk;) {
		struct table_stream *t = s->walk;
		const char *trouble = trouble_of(t);

		s->walk = t->next;
		if (!trouble)
			continue;
		log_warning("tables for device \"%s\": %s", t->device->info.device_id, trouble);
		fail_request(t, trouble, false);
	}
	start_pace(s);
}
