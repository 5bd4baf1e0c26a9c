/* Cursor text; see cursor.h. */
#include "cursor.h"

#include <inttypes.h>
#include <stdio.h>

#define NONCE_DIGITS 16
#define BATCH_DIGITS_MOST 18 /* fits int64_t whatever the digits */

bool cursor_parse(const char *text, size_t len, struct cursor *out)
{
	int64_t batch = 0;
	uint64_t nonce = 0;
	size_t i = 0;

	if (len < NONCE_DIGITS + 2 || len > BATCH_DIGITS_MOST + 1 + NONCE_DIGITS || text[0] == '0')
		return false;
	for (; i < BATCH_DIGITS_MOST && text[i] >= '0' && text[i] <= '9'; i++)
		batch = batch * 10 + (text[i] - '0');
	if (i == 0 || len - i != NONCE_DIGITS + 1 || text[i] != '-')
		return false;
	for (i++; i < len; i++) {
		unsigned digit;

		if (text[i] >= '0' && text[i] <= '9')
			digit = (unsigned)(text[i] - '0');
		else if (text[i] >= 'a' && text[i] <= 'f')
			digit = (unsigned)(text[i] - 'a') + 10;
		else
			return false;
		nonce = nonce << 4 | digit;
	}
	out->batch = batch;
	out->nonce = nonce;
	return true;
}

const char *cursor_format(const struct cursor *c, char *out)
{
	snprintf(out, CURSOR_TEXT_BYTES, "%" PRId64 "-%016" PRIx64, c->batch, c->nonce);
	return out;
}

bool cursor_equal(const struct cursor *a, const struct cursor *b)
{
	return a->batch == b->batch && a->nonce == b->nonce;
}
