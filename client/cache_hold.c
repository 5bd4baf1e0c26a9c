/*
 * Frames that wait to be applied together.
 *
 * A commit writes every page it touched and waits for the disk, so a backlog
 * of small frames costs many times what its rows do.  While the driver knows
 * that more is waiting, frames are kept as they came and then applied as one:
 * one transaction from the cursor before the first to that behind the last.
 * A reader still sees exactly one batch boundary, only fewer of them.
 *
 * What goes wrong in the midst of several is done again frame by frame, so
 * that every frame before the bad one counts and each has its own slow form.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

void hold_clear(struct clinic_cache *c)
{
	for (size_t i = 0; i < c->hold.count; i++)
		free(c->hold.copies[i]);
	c->hold.count = 0;
	c->hold.bytes = 0;
}

void hold_free(struct clinic_cache *c)
{
	hold_clear(c);
	free(c->hold.frames);
	free(c->hold.copies);
	memset(&c->hold, 0, sizeof(c->hold));
}

const char *hold_cursor(const struct clinic_cache *c)
{
	return c->hold.count ? c->hold.frames[c->hold.count - 1].to : c->cursor;
}

bool hold_is_full(const struct clinic_cache *c)
{
	return c->hold.count == CACHE_HOLD_FRAMES_MOST || c->hold.bytes >= CACHE_HOLD_BYTES_MOST;
}

static bool make_room(struct frame_hold *h)
{
	if (h->frames)
		return true;
	h->frames = malloc(CACHE_HOLD_FRAMES_MOST * sizeof(*h->frames));
	h->copies = malloc(CACHE_HOLD_FRAMES_MOST * sizeof(*h->copies));
	if (h->frames && h->copies)
		return true;
	free(h->frames);
	free(h->copies);
	h->frames = NULL;
	h->copies = NULL;
	return false;
}

cs_status hold_add(struct clinic_cache *c, const struct waiting_frame *frame, struct cs_error *err)
{
	struct frame_hold *h = &c->hold;
	char *copy = make_room(h) ? malloc(frame->len) : NULL;

	if (!copy)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	memcpy(copy, frame->bytes, frame->len);
	h->copies[h->count] = copy;
	h->frames[h->count] = *frame;
	h->frames[h->count].bytes = copy;
	h->count++;
	h->bytes += frame->len;
	return CS_OK;
}

cs_status waiting_apply(struct clinic_cache *c, const struct waiting_frame *frames, size_t count,
			size_t *applied, struct cs_error *err)
{
	const struct waiting_frame *last = &frames[count - 1];
	struct frame_source source = {.frames = frames, .count = count};
	cs_status st = frame_apply(c, &source, c->cursor, last->to,
				   last->time[0] ? last->time : NULL, err);

	*applied = source.count;
	source_done(&source);
	return st;
}

cs_status hold_apply(struct clinic_cache *c, struct cs_error *err)
{
	struct frame_hold *h = &c->hold;
	struct cs_error together = {0};
	bool one_by_one = h->count == 1;
	cs_status st = CS_OK;
	size_t done = 0;

	while (done < h->count && st == CS_OK) {
		size_t count = one_by_one ? 1 : h->count - done;
		size_t applied = 0;

		st = waiting_apply(c, h->frames + done, count, &applied,
				   one_by_one ? err : &together);
		if (st == CS_OK) {
			done += applied;
		} else if (!one_by_one && (c->use.gave_way || !c->db)) {
			(void)cs_fail(err, st, "%s", together.text);
		} else if (!one_by_one) {
			one_by_one = true;
			st = CS_OK;
		}
	}
	hold_clear(c);
	return st;
}
