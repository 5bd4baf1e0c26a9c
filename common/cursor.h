/*
 * A cursor names one batch of one history: "<batch id>-<nonce, 16 hex>".
 *
 * The id orders batches of the same history; the nonce, drawn by the server
 * when the batch was cut, tells histories apart.  Devices treat the text as
 * opaque; the relay parses it.  Pure.
 */
#ifndef CLINIC_SYNC_CURSOR_H
#define CLINIC_SYNC_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CURSOR_TEXT_BYTES 64 /* longest text, NUL included */

struct cursor {
	int64_t batch; /* 0: none */
	uint64_t nonce;
};

/* False if text is not exactly what cursor_format() writes. */
bool cursor_parse(const char *text, size_t len, struct cursor *out);
/* Writes at most CURSOR_TEXT_BYTES into out; returns out. */
const char *cursor_format(const struct cursor *c, char *out);
bool cursor_equal(const struct cursor *a, const struct cursor *b);

#endif
