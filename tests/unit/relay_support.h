/* What the tests of the relay's pure modules share: cursors, changes, batches. */
#ifndef CLINIC_TEST_RELAY_SUPPORT_H
#define CLINIC_TEST_RELAY_SUPPORT_H

#include <stdio.h>
#include <string.h>

#include "feed.h"

static inline struct cursor cursor_of(int64_t batch)
{
	struct cursor c = {batch, 0xabcdef0000000000u + (uint64_t)batch};

	return c;
}

static inline struct upstream_text text_of(const char *text)
{
	struct upstream_text t = {text, text ? strlen(text) : 0};

	return t;
}

static inline struct upstream_change change_of(const char *table, const char *data)
{
	struct upstream_change c = {
		.event = text_of("data_change_immediate"),
		.table = text_of(table),
		.operation = text_of("put"),
		.key = text_of("{\"id\":1}"),
		.data = text_of(data),
		.origin = text_of(NULL),
	};

	return c;
}

static inline struct upstream_batch batch_of(int64_t id, bool boundary, const char *resync)
{
	struct upstream_batch b = {.cursor = cursor_of(id), .boundary = boundary, .resync = resync};

	snprintf(b.time, sizeof(b.time), "2026-11-23T08:00:00.%03dZ", (int)(id % 1000));
	return b;
}

/* One batch with `changes` changes of one table, `bytes` of data each. */
static inline void feed_one_batch(struct feed *f, int64_t id, const char *table, int changes,
				  int bytes)
{
	static char data[1 << 20];
	struct upstream_batch b = batch_of(id, false, NULL);

	memset(data, 'x', (size_t)bytes);
	data[0] = data[bytes - 1] = '"';
	data[bytes] = '\0';
	for (int i = 0; i < changes; i++) {
		struct upstream_change c = change_of(table, data);

		feed_change(f, &c);
	}
	feed_batch_end(f, &b);
}

#endif
