/* Shared messages; see frame.h. */
#include "frame.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Own `buffer`, or free it when there is no memory for the frame itself. */
static struct frame *frame_around(char *buffer, size_t start, size_t len)
{
	struct frame *f = malloc(sizeof(*f));

	if (!f) {
		free(buffer);
		return NULL;
	}
	f->references = 1;
	f->len = len;
	f->buffer = buffer;
	f->text = buffer + start;
	return f;
}

struct frame *frame_new(const char *text, size_t len)
{
	char *buffer = malloc(FRAME_HEADROOM + len);

	if (!buffer)
		return NULL;
	memcpy(buffer + FRAME_HEADROOM, text, len);
	return frame_around(buffer, FRAME_HEADROOM, len);
}

struct frame *frame_take(struct dynbuf *b, size_t start)
{
	size_t len = b->len - start;
	char *buffer = b->data;
	char *fitted;

	assert(start >= FRAME_HEADROOM && b->len >= start);
	b->data = NULL;
	dynbuf_free(b);
	/* the builder doubled its memory as it grew; a frame may live long */
	fitted = realloc(buffer, start + len);
	return frame_around(fitted ? fitted : buffer, start, len);
}

struct frame *frame_ref(struct frame *f)
{
	f->references++;
	return f;
}

void frame_unref(struct frame *f)
{
	if (!f)
		return;
	assert(f->references > 0);
	if (--f->references)
		return;
	free(f->buffer);
	free(f);
}
