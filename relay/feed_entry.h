/*
 * One step of a group's feed, from one cursor to the next: a frame, a
 * heartbeat, or a batch too large for one frame, whose parts wait in a spool.
 *
 *     FRAME      frame ──> one message
 *     HEARTBEAT  frame ──> one message
 *     GIANT      spool ──> part 0, part 1, … last   (same from and to)
 *
 * Counted by references: the ring and every queue that holds it.
 */
#ifndef CLINIC_RELAY_FEED_ENTRY_H
#define CLINIC_RELAY_FEED_ENTRY_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "cursor.h"
#include "dynbuf.h"
#include "entry_marks.h"
#include "frame.h"
#include "spool.h"
#include "table_counts.h"

/* Bytes in front of the changes: the frame's headroom and its JSON head, written last. */
#define ENTRY_SLACK_BYTES 384
/* Bytes that close the message after the changes. */
#define ENTRY_TAIL_BYTES 2

typedef enum { ENTRY_FRAME, ENTRY_HEARTBEAT, ENTRY_GIANT } entry_kind;

struct feed_step {
	struct cursor from, to;
	char time[CLOCK_TEXT_BYTES]; /* when batch `to` was cut */
};

struct entry_part {
	uint64_t at;
	size_t len;
};

struct feed_entry {
	unsigned references;
	entry_kind kind;
	struct feed_step step;
	struct table_counts counts;
	struct entry_marks marks; /* offsets in frame->buffer */
	struct frame *frame;      /* ENTRY_FRAME, ENTRY_HEARTBEAT */
	struct spool *spool;      /* ENTRY_GIANT, with: */
	struct entry_part *parts;
	size_t part_count;
	struct frame *loaded; /* the part that was read last: devices mostly go side by side */
	size_t loaded_part;
	uint64_t end_bytes; /* the ring's: memory of all entries up to this one */
};

/*
 * Take over the changes in body (they begin at ENTRY_SLACK_BYTES, commas
 * between them).  body is empty afterwards.  NULL: out of memory.
 */
struct feed_entry *feed_entry_of_changes(const struct feed_step *step, struct dynbuf *body);
struct feed_entry *feed_entry_of_heartbeat(const struct feed_step *step);
/* Takes over spool and parts, also when it fails. */
struct feed_entry *feed_entry_of_parts(const struct feed_step *step, struct spool *spool,
				       struct entry_part *parts, size_t part_count);
/* The rest of e after one of its marks, as an entry of its own.  NULL: out of memory. */
struct feed_entry *feed_entry_of_rest(const struct feed_entry *e, const struct entry_mark *mark);
struct feed_entry *feed_entry_ref(struct feed_entry *e);
/* Accepts NULL. */
void feed_entry_unref(struct feed_entry *e);

/* Messages it is made of: 1, or the parts. */
size_t feed_entry_messages(const struct feed_entry *e);
/* Message i, with a reference for the caller.  NULL: no memory, or the spool failed. */
struct frame *feed_entry_message(struct feed_entry *e, size_t i);
/* What it costs in memory (a spool costs disk). */
size_t feed_entry_memory(const struct feed_entry *e);
/* On disk. */
uint64_t feed_entry_spooled(const struct feed_entry *e);
/*
 * What its spool counts for where spools are bounded.  Each holds a descriptor,
 * so one bound serves both: a spool counts as if it had so many bytes at least.
 */
#define SPOOL_COST_LEAST ((uint64_t)32 << 20)
uint64_t feed_entry_spool_cost(const struct feed_entry *e);

#endif
