/*
 * Many devices in one thread, and what they have seen of a stream of numbered
 * changes. device_load.c drives it; load_device.c is one device's link,
 * load_count.c the bookkeeping.
 *
 * Each device marks every sequence number in a bitmap of its own: one that is
 * marked twice is a double, one that is not marked at the end is missing.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"
#include "messages.h"
#include "stamps.h"

enum device_state {
	DEVICE_AWAY,       /* no link, none wanted */
	DEVICE_WAITING,    /* no link until due_ns */
	DEVICE_CONNECTING, /* connect() under way */
	DEVICE_UPGRADING,  /* asked for a WebSocket */
	DEVICE_GREETING,   /* a WebSocket, not yet ready */
	DEVICE_FOLLOWING
};

struct device {
	struct load *load;
	int number;
	int fd;
	enum device_state state;
	bool paused; /* does not read */
	char cursor[CURSOR_BYTES];
	int64_t due_ns;
	uint64_t got; /* changes marked */
	uint64_t *seen;
	char *held; /* bytes of a frame that is not yet whole */
	size_t held_len;
	size_t held_cap;
	char *pieces; /* a message that came in several WebSocket frames */
	size_t pieces_len;
	size_t pieces_cap;
	struct change *staged; /* changes of a batch in parts, until its last part */
	size_t staged_count;
	size_t staged_cap;
};

/* What makes a run fail, and what only shows. */
struct load_counts {
	uint64_t doubles;    /* a change a device had before */
	uint64_t strays;     /* a change nobody was to send */
	uint64_t gaps;       /* a frame that does not follow from the cursor */
	uint64_t broken;     /* bytes that are no protocol */
	uint64_t lost_links; /* a link that ended unasked */
	uint64_t resyncs;
	uint64_t errors;
	uint64_t lagged;      /* not a failure: a slow device was told so */
	uint64_t unavailable; /* nor this: the relay is not through to its database */
	uint64_t asked;       /* request_digest, and what came of it */
	uint64_t digests;
	uint64_t digests_failed;
	uint64_t retries; /* nor this: nobody listened yet */
	uint64_t messages;
	uint64_t bytes;
	uint64_t deliveries;
};

struct load {
	struct device *devices;
	int device_count;
	bool bare; /* the bare loop's stream: no handshake, no cursors */
	int port;
	int receive_bytes; /* 0: as the system has it */
	int epoll_fd;
	const char *access_code;
	const char *row_counts; /* what devices claim to hold, as a JSON object */
	uint64_t first;         /* sequence number of the first change to come */
	uint64_t most;          /* how many may come */
	struct stamps stamps;
	struct messages messages;

	bool away_allowed; /* a link that ends is no failure now */
	bool resuming;     /* and comes back */
	int64_t resume_ns; /* when it was told to */
	int64_t spread_ms; /* what the relay said last */
	int following;
	int in_flight;   /* between connect() and ready */
	int waiting;     /* in DEVICE_WAITING */
	uint64_t target; /* changes each reading device must have */
	int level;       /* reading devices that have them */
	int64_t last_ready_ns;
	int64_t last_change_ns;

	struct load_counts counts;
	struct histogram from_returned;
	struct histogram from_sent;
	struct histogram ready_after; /* of a resume */
	struct histogram level_after;
};

/* ---- load_device.c ---- */

/* Begin to connect. */
void device_connect(struct device *d);
/* The link has something to say. */
void device_event(struct device *d, unsigned events);
/* Close it without being asked back. */
void device_drop(struct device *d);
/* Stop or go on reading. */
void device_pause(struct device *d, bool pause);
/* Ask for the periodic proof, if it follows. */
void device_ask_digest(struct device *d);

/* ---- load_count.c ---- */

/* One message arrived, at now_ns. */
void load_take(struct device *d, const struct message *m, int64_t now_ns);
/* From now on target changes are wanted: count the devices that have them. */
void load_set_target(struct load *l, uint64_t target);
/* Reading devices, and the changes they lack. */
int load_readers(const struct load *l);
uint64_t load_missing(const struct load *l);
/* Something happened that makes a figure worthless. */
bool load_failed(const struct load *l);
/* Forget times and traffic, not what devices have. */
void load_reset(struct load *l);
/* One line of JSON. */
void load_print(const struct load *l, const char *event);

#endif
