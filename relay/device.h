/*
 * One device: where it stands and what it is to be told next.
 *
 *  WAIT_CLIENT_INFO ──> WAIT_REQUEST ──> CATCH_UP ──> LIVE <──> LAGGED
 *                            ^               |          |          |
 *                            └── resync_required ───────┴──────────┘
 *  and from anywhere REFUSED: an error is said, then the link is closed.
 *
 * CATCH_UP takes entries from the group's ring when that reaches back to the
 * device's cursor, else from the log, through catch_up.c, into a queue of its
 * own; at the end of the log it goes on in the ring.  LAGGED takes nothing
 * until the socket has drained, then it is CATCH_UP again.
 *
 * Pure: no sockets; time is passed in and what it needs of the world is in
 * struct device_env.
 */
#ifndef CLINIC_RELAY_DEVICE_H
#define CLINIC_RELAY_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "digest_round.h"
#include "feed.h"
#include "protocol_in.h"
#include "sync_request.h"
#include "table_stream.h"

typedef enum {
	DEVICE_WAIT_CLIENT_INFO,
	DEVICE_WAIT_REQUEST,
	DEVICE_CATCH_UP,
	DEVICE_LIVE,
	DEVICE_LAGGED,
	DEVICE_REFUSED,
} device_state;

/* WebSocket close codes; docs/protocol.md. */
enum {
	CLOSE_GOING_DOWN = 1001,
	CLOSE_NOT_TEXT = 1003,
	CLOSE_TOO_LARGE = 1009,
	CLOSE_INTERNAL = 1011,
	CLOSE_BAD_MESSAGE = 4400,
	CLOSE_BAD_ACCESS_CODE = 4401,
	CLOSE_BAD_TABLE = 4404,
	CLOSE_CLIENT_INFO_TIMEOUT = 4408,
	CLOSE_TOO_MANY_DEVICES = 4429,
};

struct device;

struct device_env {
	const struct config *config;
	struct feed *feed;
	/* There is something to send, or the link is to be closed (d->close_code). */
	void (*wake)(void *ctx, struct device *d);
	bool (*access_code_good)(void *ctx, const char *code);
	/* Are these published?  False: not known; device_tables_checked() will say. */
	bool (*tables_known)(void *ctx, char *const *tables, size_t table_count);
	/* d wants to resume: now?  Else device_follow() is called in its turn. */
	bool (*admit)(void *ctx, struct device *d);
	/* d is ready, or wants nothing any more.  Harmless when it was not admitted. */
	void (*admitted)(void *ctx, struct device *d);
	/* Read the log for d from d->cursor on.  False: too many wait, try again later. */
	bool (*catch_up)(void *ctx, struct device *d);
	/* d wants no more of it. Harmless when none runs. */
	void (*catch_up_cancel)(void *ctx, struct device *d);
	/* d's queue has room again. */
	void (*catch_up_resume)(void *ctx, struct device *d);
	/* Has the database answered lately?  If not, no device is told that it is level. */
	bool (*database_proven)(void *ctx, uint64_t now_ms);
	/* The number of the last round to the database that began; and does the relay have all
	   that was committed before then?  If not, device_look_for_proof() is called when it
	   may. */
	uint64_t (*database_round)(void *ctx);
	bool (*database_level)(void *ctx, uint64_t round);
	void *ctx;
	uint32_t reconnect_spread_ms; /* told to who connects now */
	/* NULL in tests that need none: then nobody ever hears of them. */
	struct digest_rounds *digests;
	struct table_streams *streams;
	struct sync_requests *requests;
};

/* Messages of the relay's own that may wait for one socket. */
#define CONTROL_MOST 16

struct entry_link {
	struct feed_entry *entry;
	struct entry_link *next;
};

/* What client_info said; "" before that. One block of memory, begun by device_id. */
struct device_info {
	const char *device_id, *name, *app_version;
	char *block;
};

/* What a device says it holds, for the view clinic_sync.devices. */
struct device_holdings {
	bool said;
	uint64_t rows, repairs, parked;
	char answered_at[CLOCK_TEXT_BYTES]; /* when it was given its last whole answer; "" not yet
					     */
	char proven_at[CLOCK_TEXT_BYTES];   /* ... one that proved all it asked for; "" never */
};

struct device {
	struct device_env *env;
	void *session;              /* ws_session.c's */
	struct device *prev, *next; /* all devices */
	struct device *group_prev, *group_next;
	struct device *line_prev, *line_next; /* admission.c's */
	bool in_line, admitted;
	device_state state;

	struct device_info info;
	bool authorized; /* by header; or by client_info's code */
	bool known;      /* client_info was accepted */
	char connected_at[CLOCK_TEXT_BYTES];
	uint64_t deadline_ms; /* for client_info */
	double messages_left; /* token bucket */
	uint64_t messages_at_ms;

	bool request_waits; /* until its tables are checked */
	struct in_request_sync request;

	struct feed_group *group;
	struct cursor cursor; /* everything up to here was given to the socket */
	bool from_log;        /* CATCH_UP: by the queue below; else by the ring from seq on */
	bool reads_alone;     /* its cursor was not on another reader's way */
	bool log_ended;       /* from_log: after the queue the ring goes on at seq */
	bool ready_due;       /* the cursor is not proven good yet: `ready` is still to be said */
	bool level_due;       /* LIVE: it has everything and is still to be told */
	uint64_t asked_round; /* level is who has what a later round than this found */
	uint64_t seq;
	uint64_t retry_ms; /* CATCH_UP from the log could not start: again then; 0: no */

	struct frame *control[CONTROL_MOST];
	size_t control_first, control_len;
	struct entry_link *queue, **queue_end; /* from the log */
	uint64_t queue_bytes;
	struct feed_entry *current; /* being sent; its next message: */
	size_t current_message;

	struct digest_ask asks[2];    /* what it wants proved: the next slices, whole tables */
	struct table_stream *stream;  /* tables on their way to it; NULL: none */
	bool after_you;               /* what it was given last lets the other devices go first */
	bool pieces_rest;             /* no more of a table before it has read what is under way */
	int64_t sync_request;         /* the last request from SQL it was told */
	struct device_holdings holds; /* as it said when it last asked for a proof */

	int close_code;         /* not 0: close when the control messages are sent */
	const char *close_text; /* lives as long as the process */
};

/* NULL: out of memory.  authorized: the upgrade request carried the access code. */
struct device *device_new(struct device_env *env, bool authorized, uint64_t now_ms);
/* Accepts NULL. */
void device_free(struct device *d, uint64_t now_ms);

/* ---- from the socket --------------------------------------------------------- */

void device_receive(struct device *d, const char *text, size_t len, uint64_t now_ms);
/*
 * The next message, with a reference for the caller, or NULL: nothing now.
 * Call it only when the socket can take one: that it is called is how a lagging
 * device learns that its socket has drained.
 */
struct frame *device_next(struct device *d, uint64_t now_ms);
/* Once a second. */
void device_tick(struct device *d, uint64_t now_ms);
/* Close without another word.  text, and code below, must be literals. */
void device_close(struct device *d, int close_code, const char *text);
/* Say error `code`, then close. */
void device_refuse(struct device *d, int close_code, const char *code, const char *message);

/* What d->request waits for: unknown is the first of its tables that is not published, or NULL. */
void device_tables_checked(struct device *d, const char *unknown, uint64_t now_ms);

/* ---- from the feed ------------------------------------------------------------ */

/* An entry, or a gap where one should be. */
void device_entry_came(struct device *d);
void device_resync(struct device *d, const char *reason, const struct cursor *at,
		   const char *tables, uint64_t now_ms);
/* Nothing leads across batch `at` for those of the group who stand before it. */
void device_tables_changed(struct device *d, const struct cursor *at, const char *tables,
			   uint64_t now_ms);
void device_idle(struct device *d, struct frame *heartbeat, uint64_t now_ms);
/* The relay lost the database: nobody is level until it is back. */
void device_database_gone(struct device *d);
/* It is back: what d waits for in the log may be in memory by now. */
void device_database_back(struct device *d, uint64_t now_ms);
/* Say something beside the feed; takes over the reference, NULL is out of memory. */
void device_say(struct device *d, struct frame *f);

/* ---- from the log (catch_up.c) ------------------------------------------------ */

/* The cursor was found in the log. */
void device_cursor_good(struct device *d);
void device_catch_up_entry(struct device *d, struct feed_entry *e);
/* Over its bound: give it nothing more until catch_up_resume. */
bool device_catch_up_full(const struct device *d);
/* The log is at its end, the feed's cursor: on in the ring.  total: what the log gave. */
void device_catch_up_level(struct device *d, const struct table_counts *total, uint64_t now_ms);
/* No more comes from the log now; what came is good. */
void device_catch_up_failed(struct device *d, uint64_t now_ms);

/* ---- between device.c and device_flow.c --------------------------------------- */

/* Send what comes after d->cursor, from the ring or the log. */
void device_follow(struct device *d, uint64_t now_ms);
/* Forget all that waits but the relay's own messages; state and group stay. */
void device_halt(struct device *d);
/* If it waits to hear that it is level, it may hear it now. */
void device_look_for_proof(struct device *d, uint64_t now_ms);
/* Leave the group, if any. */
void device_leave_group(struct device *d, uint64_t now_ms);

/* ---- proofs and tables sent again (device_ask.c) ------------------------------------ */

void device_take_ask(struct device *d, struct in_message *m);
/* It asks for nothing any more but whole tables beside the feed (full syncs). */
void device_drop_asks(struct device *d);
/* Was everything up to this batch given to the socket? */
bool device_was_given(const struct device *d, const struct cursor *at);
/* It was given the last of a proof's answers. */
void device_proof_given(struct device *d);
/* What may be said between two entries of the feed, and what when nothing else waits. */
struct frame *device_next_answer(struct device *d);
struct frame *device_next_piece(struct device *d);

/* ---- for status ---------------------------------------------------------------- */

const char *device_state_name(device_state s);
/* Bytes that wait for this device, in its queue or in the ring. */
uint64_t device_behind(const struct device *d);

#endif
