/*
 * What the relay says of itself: /status for people and the app, /healthz and
 * /readyz for whoever restarts or routes, /metrics for Prometheus.  No
 * secrets, no names of devices.
 */
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "http.h"
#include "metrics.h"
#include "relay_state.h"
#include "upstream.h"

static uint64_t age_ms(uint64_t since_ms)
{
	return since_ms ? clock_monotonic_ms() - since_ms : 0;
}

void http_status(struct http_exchange *x)
{
	struct relay *r = x->relay;
	struct upstream_status up;
	char cursor[CURSOR_TEXT_BYTES] = "";

	upstream_get_status(&up);
	if (up.cursor.batch)
		cursor_format(&up.cursor, cursor);
	dynbuf_addf(&x->text,
		    "{\"status\":\"%s\",\"version\":\"%s\",\"activeConnections\":%zu,"
		    "\"lastSyncTime\":",
		    relay_is_proven(r, clock_monotonic_ms()) ? "ok" : "degraded",
		    CLINIC_SYNC_VERSION, r->device_count);
	if (up.batch_time[0])
		dynbuf_add_json(&x->text, up.batch_time, strlen(up.batch_time));
	else
		dynbuf_adds(&x->text, "null");
	dynbuf_addf(&x->text, cursor[0] ? ",\"cursor\":\"%s\"" : ",\"cursor\":null%s", cursor);
	dynbuf_addf(&x->text,
		    ",\"database\":\"%s\",\"databaseVersion\":\"%s\",\"provenAgeMs\":%llu,"
		    "\"startedAt\":\"%s\",\"uptimeSeconds\":%llu,\"ringBytes\":%llu,"
		    "\"syncIntervalSeconds\":%d,\"digestRounds\":%llu,\"repairs\":%llu,"
		    "\"tableStreams\":%zu}\n",
		    up.connected ? "connected" : "disconnected", up.server_version,
		    (unsigned long long)age_ms(up.proven_ms), r->started_at,
		    (unsigned long long)(age_ms(r->started_ms) / 1000),
		    (unsigned long long)feed_memory(r->feed), r->config->sync_interval_s,
		    (unsigned long long)metric_get(METRIC_DIGEST_ROUNDS),
		    (unsigned long long)metric_get(METRIC_REPAIRS),
		    table_streams_active(r->env.streams));
	http_answer_text(x, 200, "application/json");
}

void http_healthz(struct http_exchange *x)
{
	http_answer_line(x, 200, "ok");
}

void http_readyz(struct http_exchange *x)
{
	if (relay_is_proven(x->relay, clock_monotonic_ms()))
		http_answer_line(x, 200, "ready");
	else
		http_answer_line(x, 503, "no proven round trip to PostgreSQL");
}

static void set_gauges(struct relay *r)
{
	struct upstream_status up;
	uint64_t live = 0, behind = 0, parked = 0;

	upstream_get_status(&up);
	for (const struct device *d = r->devices; d; d = d->next) {
		live += d->state == DEVICE_LIVE;
		behind += device_behind(d);
		parked += d->holds.parked;
	}
	metric_set(METRIC_DEVICES, r->device_count);
	metric_set(METRIC_DEVICES_LIVE, live);
	metric_set(METRIC_DEVICES_IN_LINE, r->admission.waiting);
	metric_set(METRIC_GROUPS, feed_group_count(r->feed));
	metric_set(METRIC_QUEUE_BYTES, behind);
	metric_set(METRIC_RING_BYTES, feed_memory(r->feed));
	metric_set(METRIC_SPOOL_BYTES, feed_spooled(r->feed));
	metric_set(METRIC_CATCH_UPS, up.catch_ups);
	metric_set(METRIC_TABLE_STREAMS, table_streams_active(r->env.streams));
	metric_set(METRIC_TABLE_STREAMS_IN_LINE, table_streams_in_line(r->env.streams));
	metric_set(METRIC_ROWS_PARKED, parked);
	metric_set(METRIC_DATABASE_CONNECTED, up.connected);
	metric_set(METRIC_PROVEN_AGE_MS, age_ms(up.proven_ms));
	metric_set(METRIC_BATCH, (uint64_t)up.cursor.batch);
	metric_set(METRIC_WARM_CHANGES, up.warm_changes);
	metric_set(METRIC_WARM_MS, up.warm_ms);
	metric_set(METRIC_BATCHES, up.batches);
	metric_set(METRIC_CHANGES, up.changes);
	metric_set(METRIC_ROUNDS, up.rounds);
	metric_set(METRIC_READ_ROUNDS, up.read_rounds);
	metric_set(METRIC_ABANDONED_ROUNDS, up.abandoned);
	metric_set(METRIC_DOORBELLS, up.doorbells);
	metric_set(METRIC_DATABASE_CONNECTS, up.connects);
	metric_set(METRIC_UNPROVEN_COMMITS, up.unproven);
	metric_set(METRIC_CATCH_UP_CHANGES, up.catch_up_changes);
}

void http_metrics(struct http_exchange *x)
{
	set_gauges(x->relay);
	metrics_print(&x->text);
	http_answer_text(x, 200, "text/plain; version=0.0.4; charset=utf-8");
}
