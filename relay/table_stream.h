/*
 * Tables sent again over the link: one table for a device that found it to be
 * different, or all of them as a full sync.
 *
 *   request ──> line ──> snapshot (job.h, shared by all who ask) ──> frames
 *
 * Only tables that are published and followed get as far as a snapshot.  What
 * fails is said at the pace of the socket like everything else.
 *
 * A device reads at the pace of its own socket: the next frame is made when the
 * socket takes one and nothing else waits for the device, so a slow one holds a
 * file open and no memory, and its live events go first.  The last
 * frame of a repair waits until the device was given everything up to the
 * snapshot's batch, so that its kept changes reach at least as far.
 */
#ifndef CLINIC_RELAY_TABLE_STREAM_H
#define CLINIC_RELAY_TABLE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "cursor.h"
#include "frame.h"
#include "job.h"
#include "protocol_in.h"
#include "published.h"

/* Requests of one device that may wait. */
#define STREAM_REQUESTS_MOST 16
/* A frame is so large at most, or max_frame_bytes: one write, and live events never wait for
   more. */
#define STREAM_FRAME_BYTES ((size_t)64 * 1024)
/* A device that takes nothing for so long makes room for others; one that takes less than this in
   it does if others wait. */
#define STREAM_STALLED_MS 60000
#define STREAM_LEAST_BYTES ((size_t)256 * 1024)

struct device;
struct table_stream;
struct table_streams;

struct table_streams_env {
	const struct config *config;
	uint64_t (*now_ms)(void);
	/* job_start_snapshot() and snapshot_cancel() */
	struct snapshot_wait *(*start)(const char *tables, const struct cursor *min,
				       const struct snapshot_events *events, void *ctx,
				       bool *answered);
	void (*cancel)(struct snapshot_wait *w);
	/* published_look(); table_streams_turn() when a word that was asked for is there */
	table_word (*look)(const char *table, uint64_t *asked);
	/* Call table_streams_turn() from the loop, not from here. */
	void (*turn_soon)(void *ctx);
	void *ctx;
};

/* env is kept by reference.  NULL: out of memory. */
struct table_streams *table_streams_new(const struct table_streams_env *env);
/* All devices must have left.  Accepts NULL. */
void table_streams_free(struct table_streams *s);
/* The feed went on: who waits for it may have the last frame now. */
void table_streams_look(struct table_streams *s);
/* Those in line, as far as there is room now. */
void table_streams_turn(struct table_streams *s);
/* Once a second. */
void table_streams_tick(struct table_streams *s);
size_t table_streams_active(const struct table_streams *s);
size_t table_streams_in_line(const struct table_streams *s);

/* ---- for devices; s NULL: nothing is ever asked for -------------------------------- */

/* d follows a group.  What it asked for the same table before is forgotten. */
void table_streams_ask_table(struct table_streams *s, struct device *d,
			     const struct in_request_table_sync *request);
/* Takes over the names in request. */
void table_streams_ask_full(struct table_streams *s, struct device *d,
			    struct in_request_full_sync *request);
/* d's place in the feed changed: its single tables are of no use any more. */
void table_streams_forget_tables(struct table_streams *s, struct device *d);
/* d is gone. */
void table_streams_leave(struct table_streams *s, struct device *d);
/* The next frame for d, with a reference for the caller; NULL: none now. */
struct frame *table_streams_next(struct table_streams *s, struct device *d);

/* ---- between table_stream.c and table_frame.c ---------------------------------------- */

struct stream_request {
	struct stream_request *next;
	char *table;   /* NULL: a full sync of: */
	char **tables; /* NULL: all */
	size_t table_count;
	struct cursor min; /* what comes is at or after it; batch 0: any */
	int64_t id;        /* the device's own */
	uint64_t asked;    /* published_look()'s */
	uint64_t asked_ms; /* since when its word is waited for; 0: it never was */
};

/* FAILED: the next frame says so; like IN_LINE it takes no room. */
typedef enum { STREAM_IN_LINE, STREAM_BUILDING, STREAM_SENDING, STREAM_FAILED } stream_state;

/* A device that waits for tables, or gets them. */
struct table_stream {
	struct table_stream *next; /* in the order of their coming */
	struct table_streams *owner;
	struct device *device;
	stream_state state;
	struct stream_request *requests; /* the first is the one served */
	size_t request_count;
	struct snapshot_wait *wait;

	struct snapshot_reader *reader;
	struct cursor cursor;
	bool head_sent;     /* full_sync */
	size_t tables_sent; /* whole tables */
	bool table_begun;
	bool rows_end; /* all rows of the table were sent; its last frame waits */
	uint64_t part, rows;
	uint64_t given_ms; /* when something was last taken */
	uint64_t pace_ms;  /* since when this much was: */
	size_t pace_bytes;
	struct frame *failure; /* FAILED */
};

struct table_streams {
	const struct table_streams_env *env;
	struct table_stream *first;
	struct table_stream *walk; /* the next of a walk under way */
};

/* The request served is over: the next one of this device lines up again.  The stream may be gone.
 */
void stream_end_request(struct table_stream *t);
/* What an error says of it; counted. */
struct frame *stream_print_failure(const struct stream_request *q, const char *reason,
				   bool no_such_table);
/* May a table's last frame be given? */
bool stream_may_end(const struct table_stream *t);
/* The next frame of the request served; it may end it. */
struct frame *stream_next_frame(struct table_stream *t);

#endif
