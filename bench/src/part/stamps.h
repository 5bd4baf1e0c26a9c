/*
 * The times of each change, in a file that writer, receiver and the case that
 * runs them share: when its commit returned is known only after its row has
 * left. One writer per field; a field that is not yet known is 0.
 */
#ifndef BENCH_STAMPS_H
#define BENCH_STAMPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Eight int64 in the machine's order; cases read them with unpack('q8'). */
struct stamp {
	int64_t due_ns;      /* when the open loop wanted it sent */
	int64_t sent_ns;     /* when the statement that commits it was sent */
	int64_t returned_ns; /* when that commit had returned */
	int64_t bell_ns;     /* when another session heard the NOTIFY */
	int64_t batch;       /* the batch it named; 0: none */
	int64_t first_ns;    /* when the first device had it */
	int64_t last_ns;     /* when the last device had it */
	int64_t spare;
};

struct stamps {
	struct stamp *items; /* NULL: no file was named */
	size_t count;
};

/* Map `path`, made if it is not there, for sequence numbers 0 to count - 1. */
bool stamps_open(struct stamps *s, const char *path, size_t count);

static inline struct stamp *stamps_at(const struct stamps *s, uint64_t seq)
{
	return s->items && seq < s->count ? &s->items[seq] : NULL;
}

#endif
