/*
 * Everything the relay counts, in one table: GET /metrics prints it, and
 * docs/clinic-relay.conf.5.md names it.  Counts only, no names of people,
 * devices or rows.
 */
#ifndef CLINIC_RELAY_METRICS_H
#define CLINIC_RELAY_METRICS_H

#include <stdint.h>

#include "dynbuf.h"

typedef enum {
	/* counters, in the order they are printed */
	METRIC_CONNECTIONS,
	METRIC_HTTP_REQUESTS,
	METRIC_HANDSHAKES_REFUSED,
	METRIC_DEVICES_REFUSED,
	METRIC_BAD_ACCESS_CODES,
	METRIC_MESSAGES_RECEIVED,
	METRIC_FRAMES_SENT,
	METRIC_BYTES_SENT,
	METRIC_RESUMES_FROM_MEMORY,
	METRIC_RESUMES_FROM_LOG,
	METRIC_RESYNCS,
	METRIC_LAGGED,
	METRIC_DEAD_LINKS,
	METRIC_SNAPSHOTS_SERVED,
	METRIC_SNAPSHOT_BYTES,
	METRIC_DIGESTS_SERVED,
	METRIC_BATCHES,
	METRIC_CHANGES,
	METRIC_ROUNDS,
	METRIC_READ_ROUNDS,
	METRIC_ABANDONED_ROUNDS,
	METRIC_DOORBELLS,
	METRIC_DATABASE_CONNECTS,
	METRIC_UNPROVEN_COMMITS,
	METRIC_CATCH_UP_CHANGES,
	/* gauges */
	METRIC_DEVICES,
	METRIC_DEVICES_LIVE,
	METRIC_DEVICES_IN_LINE,
	METRIC_GROUPS,
	METRIC_QUEUE_BYTES,
	METRIC_RING_BYTES,
	METRIC_SPOOL_BYTES,
	METRIC_CATCH_UPS,
	METRIC_DATABASE_CONNECTED,
	METRIC_PROVEN_AGE_MS,
	METRIC_BATCH,
	METRIC_WARM_CHANGES,
	METRIC_WARM_MS,
	METRIC_COUNT,
} metric;

void metric_add(metric m, uint64_t n);
/* For gauges, and counters that somebody else keeps. */
void metric_set(metric m, uint64_t value);
uint64_t metric_get(metric m);
/* Prometheus text format 0.0.4. */
void metrics_print(struct dynbuf *out);

#endif
