/* From changes to entries; see feed_builder.h. */
#include "feed_builder.h"

#include <stdlib.h>
#include <string.h>

/* PostgreSQL holds no value of 1 GB; escaped on the wire one may come near this. */
#define BODY_MOST_BYTES ((size_t)4 << 30)
/* Parts of one giant; at 256 KB each, 16 GB. */
#define PARTS_MOST 65536

void builder_init(struct builder *b, const struct builder_limits *limits, const struct cursor *from,
		  void (*emit)(void *ctx, struct feed_entry *e), void *ctx)
{
	memset(b, 0, sizeof(*b));
	b->limits = limits;
	b->emit = emit;
	b->ctx = ctx;
	b->step.from = b->step.to = *from;
	clock_utc_text(b->step.time);
	dynbuf_init(&b->body, BODY_MOST_BYTES);
	b->settled = ENTRY_SLACK_BYTES;
}

static void drop_giant(struct builder *b)
{
	spool_close(b->spool);
	free(b->parts);
	b->spool = NULL;
	b->parts = NULL;
	b->part_count = 0;
}

static void drop_body(struct builder *b)
{
	/* one row may have made it far larger than a frame; do not keep that */
	if (b->body.cap > 4 * b->limits->max_frame_bytes)
		dynbuf_free(&b->body);
	dynbuf_reset(&b->body);
	b->settled = ENTRY_SLACK_BYTES;
}

void builder_free(struct builder *b)
{
	drop_giant(b);
	dynbuf_free(&b->body);
	table_counts_free(&b->counts);
	table_counts_free(&b->batch_counts);
	marks_free(&b->marks);
}

void builder_restart(struct builder *b, const struct cursor *from, const char *time)
{
	drop_giant(b);
	drop_body(b);
	table_counts_free(&b->counts);
	table_counts_free(&b->batch_counts);
	marks_free(&b->marks);
	b->step.from = b->step.to = *from;
	snprintf(b->step.time, sizeof(b->step.time), "%s", time);
	b->failed = false;
}

/* ---- entries --------------------------------------------------------------- */

static bool finish(struct builder *b, struct feed_entry *e, struct table_counts *counts)
{
	if (!e)
		return false;
	e->counts = *counts;
	memset(counts, 0, sizeof(*counts));
	if (e->kind == ENTRY_GIANT)
		marks_free(&b->marks); /* only of batches that brought nothing before it */
	marks_close(&b->marks, &b->step.to);
	e->marks = b->marks;
	memset(&b->marks, 0, sizeof(b->marks));
	b->step.from = b->step.to;
	b->emit(b->ctx, e);
	return true;
}

/* Emit the settled part of body; what came after it moves to the front of a new one. */
static bool emit_settled(struct builder *b)
{
	struct dynbuf rest;
	size_t rest_bytes = b->body.len > b->settled ? b->body.len - b->settled - 1 : 0;
	struct feed_entry *e;
	bool ok = true;

	if (b->settled == ENTRY_SLACK_BYTES)
		return true;
	dynbuf_init(&rest, BODY_MOST_BYTES);
	if (rest_bytes) /* without the comma between the two */
		ok = dynbuf_extend(&rest, ENTRY_SLACK_BYTES) &&
		     dynbuf_add(&rest, b->body.data + b->settled + 1, rest_bytes);
	b->body.len = b->settled;
	e = ok ? feed_entry_of_changes(&b->step, &b->body) : NULL;
	dynbuf_free(&b->body);
	b->body = rest;
	b->settled = ENTRY_SLACK_BYTES;
	return finish(b, e, &b->counts);
}

/* The body is one more part of the giant under way, or the first of a new one. */
static bool spool_part(struct builder *b)
{
	size_t len = b->body.len - ENTRY_SLACK_BYTES;
	struct entry_part *parts;

	if (!b->spool)
		b->spool = spool_open(b->limits->spool_dir);
	if (!b->spool || b->part_count == PARTS_MOST)
		return false;
	parts = realloc(b->parts, (b->part_count + 1) * sizeof(*parts));
	if (!parts)
		return false;
	b->parts = parts;
	parts[b->part_count].at = spool_bytes(b->spool);
	parts[b->part_count].len = len;
	if (!spool_append(b->spool, b->body.data + ENTRY_SLACK_BYTES, len))
		return false;
	b->part_count++;
	drop_body(b);
	return true;
}

static bool emit_giant(struct builder *b)
{
	struct feed_entry *e;

	if (b->body.len > ENTRY_SLACK_BYTES && !spool_part(b))
		return false;
	e = feed_entry_of_parts(&b->step, b->spool, b->parts, b->part_count);
	b->spool = NULL;
	b->parts = NULL;
	b->part_count = 0;
	return finish(b, e, &b->batch_counts);
}

/* ---- changes --------------------------------------------------------------- */

static bool add_json_or_null(struct dynbuf *out, const struct upstream_text *t)
{
	return t->text ? dynbuf_add(out, t->text, t->len) : dynbuf_adds(out, "null");
}

/* Key, data and origin are JSON already: their bytes go through as they are. */
static bool add_change(struct dynbuf *out, const struct upstream_change *c)
{
	if (out->len == 0 && !dynbuf_extend(out, ENTRY_SLACK_BYTES))
		return false;
	if (out->len > ENTRY_SLACK_BYTES)
		dynbuf_adds(out, ",");
	dynbuf_adds(out, "{\"event\":");
	dynbuf_add_json(out, c->event.text, c->event.len);
	dynbuf_adds(out, ",\"table\":");
	dynbuf_add_json(out, c->table.text, c->table.len);
	dynbuf_adds(out, ",\"operation\":");
	dynbuf_add_json(out, c->operation.text, c->operation.len);
	dynbuf_adds(out, ",\"key\":");
	add_json_or_null(out, &c->key);
	dynbuf_adds(out, ",\"data\":");
	add_json_or_null(out, &c->data);
	dynbuf_adds(out, ",\"origin\":");
	add_json_or_null(out, &c->origin);
	return dynbuf_adds(out, "}");
}

/* A little more than the change takes on the wire. */
static size_t change_bytes(const struct upstream_change *c)
{
	return 96 + c->event.len + c->table.len + c->operation.len + c->key.len + c->data.len +
	       c->origin.len;
}

void builder_add(struct builder *b, const struct upstream_change *c)
{
	size_t room_for = change_bytes(c) + ENTRY_TAIL_BYTES;

	if (b->failed)
		return;
	/* first what is whole goes out as a frame; if this batch alone is too much, it is a giant
	 */
	if (b->body.len + room_for > b->limits->max_frame_bytes && !builder_flush(b))
		b->failed = true;
	if (!b->failed && b->body.len > ENTRY_SLACK_BYTES &&
	    b->body.len + room_for > b->limits->max_frame_bytes && !spool_part(b))
		b->failed = true;
	if (b->failed || !add_change(&b->body, c) ||
	    !table_counts_add(&b->batch_counts, c->table.text, c->table.len, 1))
		b->failed = true;
}

/* False: no memory. */
static bool settle(struct builder *b, const struct cursor *cursor)
{
	bool ok = true;

	if (b->body.len > b->settled) {
		b->settled = b->body.len;
		ok = table_counts_add_all(&b->counts, &b->batch_counts);
	}
	marks_add(&b->marks, cursor, b->settled, &b->batch_counts);
	table_counts_free(&b->batch_counts);
	return ok;
}

bool builder_batch_end(struct builder *b, const struct upstream_batch *batch)
{
	bool ok = !b->failed;

	b->step.to = batch->cursor;
	snprintf(b->step.time, sizeof(b->step.time), "%s", batch->time);
	/* a single row may be larger than a frame: it goes the giant's way, on disk */
	if (ok && (b->spool ||
		   (b->settled == ENTRY_SLACK_BYTES && b->body.len > b->limits->max_frame_bytes))) {
		ok = emit_giant(b);
	} else if (ok) {
		ok = settle(b, &batch->cursor);
	}
	if (ok && (batch->boundary || b->marks.len == MARKS_MOST))
		ok = builder_boundary(b);
	if (!ok)
		builder_restart(b, &batch->cursor, batch->time);
	return ok;
}

void builder_abandon(struct builder *b)
{
	drop_giant(b);
	table_counts_free(&b->batch_counts);
	if (b->settled == ENTRY_SLACK_BYTES) {
		drop_body(b);
	} else if (b->body.len > b->settled) {
		b->body.len = b->settled;
		b->body.failed = false;
	}
	b->failed = false;
}

bool builder_flush(struct builder *b)
{
	struct feed_step step = b->step;

	if (emit_settled(b))
		return true;
	builder_restart(b, &step.to, step.time);
	return false;
}

bool builder_boundary(struct builder *b)
{
	if (!builder_flush(b))
		return false;
	if (cursor_equal(&b->step.from, &b->step.to))
		return true;
	return finish(b, feed_entry_of_heartbeat(&b->step), &b->counts);
}
