/*
 * New entries of the feed to the devices of each group, a slice at a time.
 *
 * Writing to thousands of sockets takes tens of milliseconds.  So that the
 * database's answers and new devices do not wait so long, the walk over a
 * group's devices stops after a millisecond and goes on in the next turn of
 * the loop.  Meanwhile batches gather in the group's builder; they leave in
 * one frame when the walk is over: the more there is to do, the fewer frames
 * it takes.
 *
 *     entry ──> walk [d d d d ...] turn of the loop [d d d d ...] end ──> gathered entry ──> walk
 *
 * Pure: the clock and the next turn are the owner's.
 */
#ifndef CLINIC_RELAY_FAN_OUT_H
#define CLINIC_RELAY_FAN_OUT_H

#include <stdbool.h>
#include <stdint.h>

#include "feed.h"

struct fan_out {
	struct feed *feed;
	uint64_t (*now_us)(void);
	/* Call fan_out_go() when what waits in the loop has had its turn. */
	void (*next_turn)(void *ctx);
	void *ctx;
	uint64_t walks;
	bool going; /* in fan_out_go() */
	bool next_asked;
};

/* The group's devices have something new, or their place is gone. */
void fan_out_begin(struct fan_out *o, struct feed_group *g);
void fan_out_go(struct fan_out *o);

#endif
