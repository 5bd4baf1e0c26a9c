/*
 * A growing byte buffer that knows its maximum.
 *
 * Appending past the maximum fails and leaves the content as it was; after a
 * failure every further append fails too (`failed`), so a builder may check
 * once at the end.  The content is always NUL-terminated.
 */
#ifndef CLINIC_SYNC_DYNBUF_H
#define CLINIC_SYNC_DYNBUF_H

#include <stdbool.h>
#include <stddef.h>

#include "status.h"

struct dynbuf {
	char *data; /* owned; NULL while empty */
	size_t len;
	size_t cap;
	size_t max_bytes;
	bool failed;
};

void dynbuf_init(struct dynbuf *b, size_t max_bytes);
void dynbuf_free(struct dynbuf *b);
/* Forget the content, keep the memory. */
void dynbuf_reset(struct dynbuf *b);
/* False (and failed set) when memory or max_bytes ran out. */
bool dynbuf_add(struct dynbuf *b, const void *bytes, size_t len);
bool dynbuf_adds(struct dynbuf *b, const char *text);
bool dynbuf_addf(struct dynbuf *b, const char *fmt, ...) CS_PRINTF(2, 3);
/* Append len bytes for the caller to fill; NULL (and failed set) as above. */
char *dynbuf_extend(struct dynbuf *b, size_t len);
/* Append text as a JSON string, quotes included. */
bool dynbuf_add_json(struct dynbuf *b, const char *text, size_t len);

#endif
