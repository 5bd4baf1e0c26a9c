/* The running relay, as its own parts see it. One per process, owned by relay.c. */
#ifndef CLINIC_RELAY_RELAY_STATE_H
#define CLINIC_RELAY_RELAY_STATE_H

#include "admission.h"
#include "catch_up.h"
#include "config.h"
#include "device.h"
#include "fan_out.h"
#include "feed.h"
#include "ws_loop.h"

struct relay {
	struct config *config;
	void (*reload)(struct config *config);
	char id[40]; /* this process, in clinic_sync.relay */
	char started_at[CLOCK_TEXT_BYTES];
	uint64_t started_ms;
	struct feed_limits limits;
	struct feed *feed;
	struct fan_out fan_out;
	struct loop_timer fan_out_turn;
	struct admission admission;
	struct loop_timer admission_turn;
	struct catch_ups *catch_ups;
	struct device_env env;
	struct digest_env digest_env;
	struct loop_timer digest_turn;
	struct table_streams_env streams_env;
	struct loop_timer stream_turn;
	struct device *devices;
	size_t device_count;
	size_t device_count_most; /* since the start */
	bool database_connected;
	bool level_wanted; /* a device waits for the end of a round */
	bool going_down;
	bool upstream_stopped;
	uint64_t goodbye_until_ms;
	uint64_t report_at_ms;
	struct loop_timer tick;
};

/* A WebSocket opened: its device, in the relay's list, with something to say already; the caller
   sets d->session and wakes it.  NULL: out of memory. */
struct device *relay_device_open(struct relay *r, bool authorized);
void relay_device_close(struct relay *r, struct device *d);
/* Has the database answered so recently that nothing can be missing? */
bool relay_is_proven(const struct relay *r, uint64_t now_ms);

#endif
