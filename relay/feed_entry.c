/* Steps of the feed; see feed_entry.h. */
#include "feed_entry.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct feed_entry *entry_new(entry_kind kind, const struct feed_step *step)
{
	struct feed_entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->references = 1;
	e->kind = kind;
	e->step = *step;
	return e;
}

/*
 * Close the message: its tail after the changes in body, its head right in
 * front of them.  `middle` is "" or the keys of a part.
 */
static struct frame *close_message(const struct feed_step *step, const char *middle,
				   struct dynbuf *body)
{
	char head[ENTRY_SLACK_BYTES - FRAME_HEADROOM];
	char from[CURSOR_TEXT_BYTES], to[CURSOR_TEXT_BYTES];
	int len = snprintf(head, sizeof(head),
			   "{\"type\":\"database_change\",\"from\":\"%s\",\"to\":\"%s\","
			   "\"time\":\"%s\",%s\"changes\":[",
			   cursor_format(&step->from, from), cursor_format(&step->to, to),
			   step->time, middle);

	assert(len > 0 && len < (int)sizeof(head));
	if (!dynbuf_adds(body, "]}")) {
		dynbuf_free(body);
		return NULL;
	}
	memcpy(body->data + ENTRY_SLACK_BYTES - len, head, (size_t)len);
	return frame_take(body, ENTRY_SLACK_BYTES - (size_t)len);
}

struct feed_entry *feed_entry_of_changes(const struct feed_step *step, struct dynbuf *body)
{
	struct feed_entry *e = entry_new(ENTRY_FRAME, step);

	if (!e) {
		dynbuf_free(body);
		return NULL;
	}
	e->frame = close_message(step, "", body);
	if (!e->frame) {
		feed_entry_unref(e);
		return NULL;
	}
	return e;
}

struct feed_entry *feed_entry_of_heartbeat(const struct feed_step *step)
{
	struct feed_entry *e = entry_new(ENTRY_HEARTBEAT, step);
	char from[CURSOR_TEXT_BYTES], to[CURSOR_TEXT_BYTES];
	char text[256];
	int len;

	if (!e)
		return NULL;
	len = snprintf(text, sizeof(text),
		       "{\"type\":\"heartbeat\",\"from\":\"%s\",\"to\":\"%s\",\"time\":\"%s\"}",
		       cursor_format(&step->from, from), cursor_format(&step->to, to), step->time);
	e->frame = frame_new(text, (size_t)len);
	if (!e->frame) {
		feed_entry_unref(e);
		return NULL;
	}
	return e;
}

struct feed_entry *feed_entry_of_parts(const struct feed_step *step, struct spool *spool,
				       struct entry_part *parts, size_t part_count)
{
	struct feed_entry *e = entry_new(ENTRY_GIANT, step);

	if (!e) {
		spool_close(spool);
		free(parts);
		return NULL;
	}
	e->spool = spool;
	e->parts = parts;
	e->part_count = part_count;
	return e;
}

/* NULL: out of memory. */
static struct feed_entry *changes_after(const struct feed_step *step, const struct frame *f,
					size_t at)
{
	/* without the comma between the two */
	const char *rest = f->buffer + at + (at > ENTRY_SLACK_BYTES ? 1 : 0);
	const char *end = f->text + f->len - ENTRY_TAIL_BYTES;
	struct dynbuf body;

	dynbuf_init(&body, ENTRY_SLACK_BYTES + (size_t)(end - rest) + ENTRY_TAIL_BYTES);
	if (!dynbuf_extend(&body, ENTRY_SLACK_BYTES) ||
	    !dynbuf_add(&body, rest, (size_t)(end - rest))) {
		dynbuf_free(&body);
		return NULL;
	}
	return feed_entry_of_changes(step, &body);
}

struct feed_entry *feed_entry_of_rest(const struct feed_entry *e, const struct entry_mark *mark)
{
	struct feed_step step = e->step;
	struct feed_entry *rest;
	bool has_changes =
		e->kind == ENTRY_FRAME &&
		e->frame->buffer + mark->at < e->frame->text + e->frame->len - ENTRY_TAIL_BYTES;

	step.from = mark->cursor;
	rest = has_changes ? changes_after(&step, e->frame, mark->at)
			   : feed_entry_of_heartbeat(&step);
	if (rest && !marks_counts_after(&e->marks, mark, &rest->counts)) {
		feed_entry_unref(rest);
		return NULL;
	}
	return rest;
}

struct feed_entry *feed_entry_ref(struct feed_entry *e)
{
	e->references++;
	return e;
}

void feed_entry_unref(struct feed_entry *e)
{
	if (!e)
		return;
	assert(e->references > 0);
	if (--e->references)
		return;
	table_counts_free(&e->counts);
	marks_free(&e->marks);
	frame_unref(e->frame);
	frame_unref(e->loaded);
	spool_close(e->spool);
	free(e->parts);
	free(e);
}

size_t feed_entry_messages(const struct feed_entry *e)
{
	return e->kind == ENTRY_GIANT ? e->part_count : 1;
}

static struct frame *load_part(const struct feed_entry *e, size_t i)
{
	const struct entry_part *part = &e->parts[i];
	struct dynbuf body;
	char middle[64];
	char *room;

	dynbuf_init(&body, ENTRY_SLACK_BYTES + part->len + ENTRY_TAIL_BYTES);
	room = dynbuf_extend(&body, ENTRY_SLACK_BYTES + part->len);
	if (!room || !spool_read(e->spool, part->at, room + ENTRY_SLACK_BYTES, part->len)) {
		dynbuf_free(&body);
		return NULL;
	}
	snprintf(middle, sizeof(middle), "\"part\":%zu,\"last\":%s,", i,
		 i + 1 == e->part_count ? "true" : "false");
	return close_message(&e->step, middle, &body);
}

struct frame *feed_entry_message(struct feed_entry *e, size_t i)
{
	if (e->kind != ENTRY_GIANT)
		return frame_ref(e->frame);
	if (!e->loaded || e->loaded_part != i) {
		struct frame *f = load_part(e, i);

		if (!f)
			return NULL;
		frame_unref(e->loaded);
		e->loaded = f;
		e->loaded_part = i;
	}
	/* the last part is the last anybody side by side wants: do not keep it for the ring's life
	 */
	if (i + 1 == e->part_count) {
		struct frame *f = e->loaded;

		e->loaded = NULL;
		return f;
	}
	return frame_ref(e->loaded);
}

size_t feed_entry_memory(const struct feed_entry *e)
{
	size_t bytes =
		sizeof(*e) + e->counts.len * sizeof(*e->counts.items) + marks_memory(&e->marks);

	if (e->frame)
		bytes += sizeof(*e->frame) + ENTRY_SLACK_BYTES + e->frame->len;
	return bytes + e->part_count * sizeof(*e->parts);
}

uint64_t feed_entry_spooled(const struct feed_entry *e)
{
	return e->spool ? spool_bytes(e->spool) : 0;
}

uint64_t feed_entry_spool_cost(const struct feed_entry *e)
{
	uint64_t bytes = feed_entry_spooled(e);

	return e->spool && bytes < SPOOL_COST_LEAST ? SPOOL_COST_LEAST : bytes;
}
