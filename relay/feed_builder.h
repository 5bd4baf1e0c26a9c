/*
 * Turns changes into the entries of one feed.
 *
 * An entry takes in whole batches, as many as were read in one go and fit into
 * max_frame_bytes; a batch that is larger alone becomes a giant, whose parts
 * go to a spool as they come, since its cursor is known only at its end.
 *
 *     body   [slack][batch][batch][batch so far ...
 *                                ^settled
 *
 * Entries follow each other without a gap: each begins where the one before
 * ended.  Batches that held nothing for this feed just widen the next step.
 * Where each batch ended is marked (entry_marks.h).
 * Pure but for the spool.
 */
#ifndef CLINIC_RELAY_FEED_BUILDER_H
#define CLINIC_RELAY_FEED_BUILDER_H

#include <stdbool.h>

#include "feed_entry.h"
#include "upstream.h"

struct builder_limits {
	size_t max_frame_bytes;
	char spool_dir[CONFIG_PATH_BYTES];
};

struct builder {
	const struct builder_limits *limits;
	/* Hands on a finished entry, with its reference. */
	void (*emit)(void *ctx, struct feed_entry *e);
	void *ctx;

	struct feed_step step; /* from: end of the last entry; to, time: last whole batch */
	struct dynbuf body;
	size_t settled;                   /* length of body up to the end of the last whole batch */
	struct table_counts counts;       /* of the settled part */
	struct table_counts batch_counts; /* of the batch so far */
	struct entry_marks marks;         /* of the whole batches since step.from */

	struct spool *spool; /* a giant is under way */
	struct entry_part *parts;
	size_t part_count;
	bool failed; /* memory or disk ran out in this batch */
};

void builder_init(struct builder *b, const struct builder_limits *limits, const struct cursor *from,
		  void (*emit)(void *ctx, struct feed_entry *e), void *ctx);
void builder_free(struct builder *b);
/* Forget everything, go on from this cursor. */
void builder_restart(struct builder *b, const struct cursor *from, const char *time);

void builder_add(struct builder *b, const struct upstream_change *c);
/*
 * The batch is whole.  False: memory or disk ran out and the batch is not in
 * the feed: there is a gap; the builder goes on after it (as builder_restart).
 */
bool builder_batch_end(struct builder *b, const struct upstream_batch *batch) CS_CHECKED;
/* Forget what came since the last batch end. */
void builder_abandon(struct builder *b);
/* Emit the whole batches that wait.  False: a gap, as above. */
bool builder_flush(struct builder *b) CS_CHECKED;
/* The same, and end exactly at the last batch: with a heartbeat if nothing else leads there. */
bool builder_boundary(struct builder *b) CS_CHECKED;

#endif
