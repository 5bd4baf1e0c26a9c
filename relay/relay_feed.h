/* What joins upstream, feed and devices: the events of both, whose context is the relay. */
#ifndef CLINIC_RELAY_RELAY_FEED_H
#define CLINIC_RELAY_RELAY_FEED_H

#include "feed.h"
#include "relay_state.h"
#include "upstream.h"

extern const struct feed_events relay_feed_events;
extern const struct upstream_events relay_upstream_events;
/* struct fan_out: go on from the loop. */
void relay_fan_out_next_turn(void *ctx);

#endif
