/*
 * The database as the relay sees it: a stream of proven batches.
 *
 * upstream connects, listens for doorbells, cuts batches or reads those that the
 * database's own worker has cut, and hands them on.  Everything it hands on is
 * proven: a commit that came after the batch was cut, this relay's own or the
 * worker's, has been acknowledged without a warning, so no crash and no failover
 * under synchronous replication can take it back.
 *
 * One thread, all callbacks from the event loop (ws_loop.h).  A callback may
 * call any function here, upstream_stop() and upstream_catch_up_cancel()
 * included.
 */
#ifndef CLINIC_RELAY_UPSTREAM_H
#define CLINIC_RELAY_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "config.h"
#include "cursor.h"
#include "status.h"

/* Bytes of the current row; text NULL is SQL NULL.  Followed by a NUL. */
struct upstream_text {
	const char *text;
	size_t len;
};

/* key, data: JSON objects as the wire carries them. Valid during the call only. */
struct upstream_change {
	struct upstream_text event;
	struct upstream_text table;
	struct upstream_text operation;
	struct upstream_text key;
	struct upstream_text data;
	struct upstream_text origin;
};

struct upstream_batch {
	struct cursor cursor;
	char time[CLOCK_TEXT_BYTES]; /* when it was cut, by the server's clock */
	uint64_t changes;
	bool boundary;      /* end the frame here */
	const char *resync; /* comma list of tables that were published, unpublished or rewritten;
			       NULL: none */
};

/*
 * Order of calls: on_start, then per batch on_change ... on_batch_end, and
 * on_poll_end when there is no more for now.  A batch too large to be held in
 * memory begins with on_giant_begin.
 */
struct upstream_events {
	/* The feed goes on from this cursor: the changes that follow are those after it.
	   First thing after the first connect, and again after on_history_lost.  It is an old
	   cursor where the ring is to be filled (ring_warm_changes); on_state(true) comes when
	   that is done.  Comes twice when the first turned out to be too old. */
	void (*on_start)(void *ctx, const struct cursor *cursor);
	/* b->resync and b->boundary are valid here already. */
	void (*on_giant_begin)(void *ctx, const struct upstream_batch *b);
	void (*on_change)(void *ctx, const struct upstream_change *c);
	void (*on_batch_end)(void *ctx, const struct upstream_batch *b);
	/* The changes since the last on_batch_end are void (the connection broke, or the batch
	   is not proven yet); they come again from the first.  Never called when there were
	   none. */
	void (*on_batch_abandoned)(void *ctx);
	void (*on_poll_end)(void *ctx);
	/* What was committed when a round began that cut has been handed on: see
	   upstream_level_since(). */
	void (*on_level)(void *ctx);
	/* Connected: the database answers and the feed runs. */
	void (*on_state)(void *ctx, bool connected);
	/* The relay's own cursor was refused ("history_lost", "too_old", "log_incomplete"):
	   nothing in memory is of use any more.  on_start follows. */
	void (*on_history_lost)(void *ctx, const char *reason);
	/*
	 * Somebody asked for a sync in SQL (clinic_sync.request_sync() and its like).  Each
	 * request comes once per process, in ascending order of ids; after a start those of the
	 * last day come first.  Ids are not dense: milliseconds since 1970, or a little more.
	 * kind: "sync" or "table_sync"; tables_json: array of names, NULL: all; device: its id,
	 * NULL: all; keep_ms: so long devices that were away get it.  May be NULL: nobody wants
	 * to know.
	 */
	void (*on_sync_request)(void *ctx, int64_t id, const char *kind, const char *tables_json,
				const char *device, uint64_t keep_ms);
	/* There are no more of them now. May be NULL. */
	void (*on_sync_requests_read)(void *ctx);
};

/* Is this a connection string that libpq understands?  *has_password: it holds one. */
cs_status upstream_check_dsn(const char *dsn, bool *has_password, struct cs_error *err) CS_CHECKED;

/*
 * Begin to connect; never fails later, only waits.  relay_id names this process
 * in clinic_sync.relay.  config must outlive upstream.
 */
cs_status upstream_start(const struct config *config, const char *relay_id,
			 const struct upstream_events *events, void *ctx,
			 struct cs_error *err) CS_CHECKED;
/*
 * Say goodbye to the database and close everything; on_stopped is called at the
 * latest after limit_ms.  No other callback comes after this call.
 */
void upstream_stop(uint32_t limit_ms, void (*on_stopped)(void *ctx), void *ctx);

/* Look for new batches now, as a doorbell would. */
void upstream_ring(void);

/*
 * What is known to be missing nothing.  The number of the last round that began,
 * and: has a round that began after that one handed on all there was?  If not,
 * one follows at once, for all who ask meanwhile, and on_level after it.
 */
uint64_t upstream_round(void);
bool upstream_level_since(uint64_t round);

/*
 * While paused no on_change, on_batch_end ... of the live feed is called and
 * nothing is read from the server: memory stays flat behind a full receiver.
 */
void upstream_pause(void);
void upstream_resume(void);

struct upstream_status {
	bool connected;
	uint64_t proven_ms;   /* monotonic time of the last proven round trip; 0: never */
	uint64_t notified_ms; /* ... of the last notification this relay sent itself; 0: never */
	struct cursor cursor; /* batch 0: none yet */
	char batch_time[CLOCK_TEXT_BYTES]; /* of the last batch that came; "" none yet */
	char server_version[32];           /* "15.14"; "" before the first connect */
	uint64_t connects;
	uint64_t doorbells;
	uint64_t rounds;      /* of both kinds */
	uint64_t level_round; /* the last of them that handed on all there was when it began */
	uint64_t read_rounds; /* those that read what the worker had cut, and cut nothing */
	uint64_t batches;
	uint64_t changes;
	uint64_t unproven;     /* commits that answered with a warning */
	uint64_t abandoned;    /* read rounds that met a batch nobody had proven */
	uint64_t warm_changes; /* read into the ring before the first device was answered */
	uint64_t warm_ms;      /* time that took */
	size_t catch_ups;      /* running and waiting */
	uint64_t catch_up_changes;
};
void upstream_get_status(struct upstream_status *out);

/*
 * What clinic_sync.relay_report() is to be told from now on; the texts are
 * copied and sent every report_interval_s.  False: out of memory.
 */
bool upstream_report(const char *relay_json, const char *devices_json);

/* ---- catching up from the log -------------------------------------------- */

struct catch_up;

/*
 * Batches after `from`, one reader, then exactly one of on_level, on_refused and
 * on_failed, after which the handle is gone.
 */
struct catch_up_events {
	void (*on_giant_begin)(void *ctx, const struct upstream_batch *b);
	void (*on_change)(void *ctx, const struct upstream_change *c);
	void (*on_batch_end)(void *ctx, const struct upstream_batch *b);
	/* The last batch given is the one the live feed has just given: join it here. */
	void (*on_level)(void *ctx);
	/* "history_lost", "too_old", "bad_cursor", "log_incomplete" */
	void (*on_refused)(void *ctx, const char *reason);
	/* The database went away, or the reader was paused for too long; changes after the last
	   on_batch_end are void.  Ask again later. */
	void (*on_failed)(void *ctx);
};

/* NULL: too many wait already, or out of memory.  Works while disconnected (it waits). */
struct catch_up *upstream_catch_up(const struct cursor *from, const struct catch_up_events *events,
				   void *ctx);
/* No callback comes after this.  Accepts NULL. */
void upstream_catch_up_cancel(struct catch_up *c);
void upstream_catch_up_pause(struct catch_up *c);
void upstream_catch_up_resume(struct catch_up *c);

#endif
