/*
 * Reconnect delays with full jitter: a random time between the least delay
 * and a ceiling that doubles with each failure up to the most.  Pure: the
 * caller brings the randomness.
 * (After "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.)
 */
#ifndef CLINIC_SYNC_BACKOFF_H
#define CLINIC_SYNC_BACKOFF_H

#include <stdint.h>

struct backoff {
	uint32_t least_ms;
	uint32_t most_ms;
	unsigned failures;
};

void backoff_init(struct backoff *b, uint32_t least_ms, uint32_t most_ms);
/* Count a failure; returns the delay before the next try, in least_ms..most_ms. */
uint32_t backoff_next_ms(struct backoff *b, uint64_t random);
/* The link proved good: start again from the shortest ceiling. */
void backoff_reset(struct backoff *b);

#endif
