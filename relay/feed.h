/*
 * The feed: every group of devices has one, made once and shared by all of
 * them byte for byte.  A group is the devices that follow the same set of
 * tables.
 *
 *   changes ──> builder ──> ring  [e][e][e][e][e][e]
 *                                  ^first       ^next      one ring per group,
 *               device A ────────────────┘       |         bounded in bytes together
 *               device B ─────────────────(at the end)
 *
 * A device is a sequence number, so a slow one costs no memory here: what is
 * trimmed away under it comes from the log.  The same ring lets a device that
 * was away for a moment go on without asking the database.
 * Pure but for the spools of giants.
 */
#ifndef CLINIC_RELAY_FEED_H
#define CLINIC_RELAY_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "feed_builder.h"
#include "feed_entry.h"

struct device;
struct feed;

/* A walk over the group's devices; fan_out.c's. */
struct feed_walk {
	struct device *next; /* to be visited */
	uint64_t number;
	bool running;
	bool again; /* something came after the first were visited */
};

/* The rest of an entry, made for a device that stood in its middle and kept for the next one. */
struct feed_rest {
	struct feed_rest *next;
	uint64_t seq; /* of the entry */
	struct feed_entry *entry;
};

struct feed_group {
	struct feed *feed;
	struct feed_group *next;
	char **tables; /* in byte order, no duplicates; NULL: all */
	size_t table_count;
	unsigned members;
	uint64_t idle_since_ms; /* while members is 0 */
	struct builder builder;
	struct feed_entry **slots; /* entry n is slots[n & (capacity - 1)] */
	size_t capacity;
	uint64_t first, next_seq;
	uint64_t last_bytes; /* end_bytes of the latest entry */
	uint64_t memory, spooled;
	uint64_t spool_cost;                  /* of its spools, see feed_entry.h */
	struct feed_rest *rests, **rests_end; /* the oldest first; counted in memory */
	uint64_t rest_bytes;
	uint64_t sent_ms;       /* when the latest entry or heartbeat came */
	struct device *devices; /* device.c's list */
	struct feed_walk walk;
	bool flush_due; /* a poll ended during the walk: what it brought leaves at the walk's end */
};

struct feed_events {
	/* A new entry at the end of the group's ring. */
	void (*on_entry)(void *ctx, struct feed_group *g);
	/* Nothing continues across batch `at`; tables: JSON array or "null". The ring is empty. */
	void (*on_resync)(void *ctx, struct feed_group *g, const struct cursor *at,
			  const char *tables);
	/* This batch could not be held here (memory, disk): read it from the log. */
	void (*on_gap)(void *ctx, struct feed_group *g);
	/* Nothing happened for a while: tell those at the end of the ring. f is the callee's to
	   reference. */
	void (*on_idle)(void *ctx, struct feed_group *g, struct frame *f);
};

struct feed_limits {
	size_t ring_bytes;   /* all rings together */
	uint64_t spool_cost; /* all giants together; see feed_entry_spool_cost() */
	struct builder_limits builder;
};

/* events and limits are kept by reference; limits may change at any time. NULL: out of memory. */
struct feed *feed_new(const struct feed_limits *limits, const struct feed_events *events,
		      void *ctx);
/* All groups must have been left. Accepts NULL. */
void feed_free(struct feed *f);

/* ---- from upstream --------------------------------------------------------- */

/*
 * The changes to come are those after this cursor; what was before is
 * forgotten.  From here on there is a ring for those who follow all tables,
 * also if none of them is there yet.
 */
void feed_start(struct feed *f, const struct cursor *cursor);
void feed_change(struct feed *f, const struct upstream_change *c);
void feed_batch_end(struct feed *f, const struct upstream_batch *b);
void feed_abandon(struct feed *f);
void feed_poll_end(struct feed *f, uint64_t now_ms);
/* All devices of the group were told of its entries. */
void feed_walked(struct feed *f, struct feed_group *g);
/* Heartbeats for groups that were silent for ping_interval_ms; forgets groups long unused. */
void feed_tick(struct feed *f, uint64_t now_ms, uint32_t ping_interval_ms);

/* Last whole batch; batch 0 before feed_start(). */
const struct cursor *feed_cursor(const struct feed *f);
uint64_t feed_memory(const struct feed *f);
uint64_t feed_spooled(const struct feed *f);
size_t feed_group_count(const struct feed *f);
struct feed_group *feed_groups(const struct feed *f);

/* ---- for devices ------------------------------------------------------------ */

/*
 * Every group costs each change some time and up to a frame of memory, and a
 * device may ask for any list of tables: there is an end to their number.
 */
#define FEED_GROUPS_MOST 64

/*
 * The group of these tables (any order; NULL: all tables), with one member
 * more.  NULL: out of memory, or FEED_GROUPS_MOST other groups have members.
 */
struct feed_group *feed_join(struct feed *f, char *const *tables, size_t table_count);
void feed_leave(struct feed_group *g, uint64_t now_ms);
bool feed_group_has(const struct feed_group *g, const char *table, size_t len);
/*
 * Does batch `b` resync a table of the group?  Then tables receives a JSON
 * array of those (the caller frees it with dynbuf_free).
 */
bool feed_group_resynced(const struct feed_group *g, const struct upstream_batch *b,
			 struct dynbuf *tables);

/* The sequence number from which a device at this cursor goes on, if an entry begins or the feed
   ends there. */
bool feed_find(struct feed_group *g, const struct cursor *cursor, uint64_t *seq);
/*
 * The same for any batch that memory holds: *rest is what comes before seq,
 * the end of the entry that the cursor lies in, with a reference for the
 * caller; or NULL.
 */
bool feed_resume(struct feed_group *g, const struct cursor *cursor, uint64_t *seq,
		 struct feed_entry **rest);
/* Would feed_resume() find it? */
bool feed_holds(const struct feed_group *g, const struct cursor *cursor);
/* Entry seq, owned by the ring; NULL: the end is reached, or it was trimmed (seq < first). */
struct feed_entry *feed_at(const struct feed_group *g, uint64_t seq);
/* Bytes of memory between seq and the end. */
uint64_t feed_behind(const struct feed_group *g, uint64_t seq);
/* Whole batches gather, and come as an entry when the poll and the walk under way are over. */
bool feed_gathers(const struct feed_group *g);

#endif
