/*
 * Reading batches over one link: feed() page by page, a giant batch row by row.
 *
 * Used alike by the live reader and by devices that catch up; they differ in
 * how far they may read.  Beyond that a batch is given only if the worker that
 * cut it vouches for it and the reader trusts that; of one that is not, what
 * was given is abandoned, and nothing after it is given.
 */
#ifndef CLINIC_RELAY_PQ_FEED_H
#define CLINIC_RELAY_PQ_FEED_H

#include "pq_link.h"
#include "upstream.h"

enum pq_feed_end {
	FEED_MORE,    /* this page gave batches; the next may give more */
	FEED_NOTHING, /* no batch within the limit */
	FEED_REFUSED, /* the cursor is not good here; reason says why */
	FEED_ERROR,   /* the server answered with an error; answer says which */
};

struct pq_feed_sink {
	void (*on_giant_begin)(void *ctx, const struct upstream_batch *b);
	void (*on_change)(void *ctx, const struct upstream_change *c);
	void (*on_batch_end)(void *ctx, const struct upstream_batch *b);
	void (*on_abandoned)(void *ctx);
	/* answer: only with FEED_ERROR */
	void (*on_page)(void *ctx, enum pq_feed_end end, const char *reason,
			const struct pq_answer *answer);
};

struct pq_feed {
	struct pq_link *link;
	const struct pq_feed_sink *sink;
	void *ctx;
	struct cursor cursor; /* last batch given */
	int64_t limit;        /* last batch that may be given */
	bool trusting;        /* so may those that the worker vouches for */
	bool prepared;        /* pq_feed_prepare() was done on this connection */

	uint64_t batches; /* given in this page */
	uint64_t vouched; /* of these beyond the limit, on the worker's word */
	int64_t unproven; /* the last batch of this page, if it was not given; else 0 */
	uint64_t changes; /* given since the last end of a batch */
	bool open;        /* in the middle of a batch */
	char refused[32];
	struct upstream_batch giant; /* changes 0: none */
	char resync[16384];          /* of giant */
};

/* For one who reads all day: see pq_link_prepare().  If it went well, on_done sets
   f->prepared. */
void pq_feed_prepare(struct pq_feed *f, pq_done_fn on_done, void *ctx);
/* Ask for one page after f->cursor; ends with on_page unless the link goes down first. */
void pq_feed_read_page(struct pq_feed *f);
/* The link went down or is about to: what is open is void. */
void pq_feed_abandon(struct pq_feed *f);

/* Cursor in a field of a row; false: NULL or no cursor. */
bool pq_field_cursor(const struct pg_result *row, int column, struct cursor *out);

#endif
