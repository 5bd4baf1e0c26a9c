/*
 * One WebSocket message, made once and sent to many.
 *
 * Immutable after it was made, counted by references, with room in front of
 * the text where libwebsockets writes the WebSocket header: the header of a
 * server's text message depends only on its length, so all devices may share
 * the very bytes.  Pure.
 */
#ifndef CLINIC_RELAY_FRAME_H
#define CLINIC_RELAY_FRAME_H

#include <stddef.h>

#include "dynbuf.h"

#define FRAME_HEADROOM 16 /* LWS_PRE; ws_send.c asserts it */

struct frame {
	unsigned references;
	size_t len;
	char *text; /* inside buffer, with at least FRAME_HEADROOM bytes in front of it */
	char *buffer;
};

/* A copy of text. NULL: out of memory. The caller holds the one reference. */
struct frame *frame_new(const char *text, size_t len);
/*
 * Take over the memory of b, whose message begins at `start` (at least
 * FRAME_HEADROOM).  b is empty afterwards, whether or not this succeeds.
 */
struct frame *frame_take(struct dynbuf *b, size_t start);
struct frame *frame_ref(struct frame *f);
/* Accepts NULL. */
void frame_unref(struct frame *f);

#endif
