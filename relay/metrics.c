/* Counters and gauges; see metrics.h. */
#include "metrics.h"

#include <assert.h>
#include <stddef.h>

static const struct {
	const char *name;
	const char *help;
} table[METRIC_COUNT] = {
	[METRIC_CONNECTIONS] = {"connections_total", "WebSocket connections accepted"},
	[METRIC_HTTP_REQUESTS] = {"http_requests_total", "HTTP requests"},
	[METRIC_HANDSHAKES_REFUSED] = {"handshakes_refused_total",
				       "connections refused: no descriptors left; "
				       "upgrades: version, subprotocol, origin"},
	[METRIC_DEVICES_REFUSED] = {"devices_refused_total", "devices told an error and closed"},
	[METRIC_BAD_ACCESS_CODES] = {"bad_access_codes_total", "wrong or missing access codes"},
	[METRIC_MESSAGES_RECEIVED] = {"messages_received_total", "messages from devices"},
	[METRIC_FRAMES_SENT] = {"frames_sent_total", "frames and heartbeats of the feed sent"},
	[METRIC_BYTES_SENT] = {"sent_bytes_total", "bytes of WebSocket messages sent"},
	[METRIC_RESUMES_FROM_MEMORY] = {"resumes_memory_total", "resumes served from memory"},
	[METRIC_RESUMES_FROM_LOG] = {"resumes_log_total", "resumes served from the change log"},
	[METRIC_RESYNCS] = {"resyncs_total", "devices told to take a snapshot"},
	[METRIC_LAGGED] = {"lagged_total", "devices that read too slowly and were halted"},
	[METRIC_DEAD_LINKS] = {"dead_links_total", "links dropped after silence"},
	[METRIC_SNAPSHOTS_SERVED] = {"snapshots_served_total", "snapshot downloads begun"},
	[METRIC_SNAPSHOT_BYTES] = {"snapshot_sent_bytes_total", "bytes of snapshots sent"},
	[METRIC_DIGESTS_SERVED] = {"digests_served_total", "digests begun"},
	[METRIC_DIGEST_ASKS] = {"digest_asks_total", "proofs that devices asked for"},
	[METRIC_DIGEST_ROUNDS] =
		{"digest_rounds_total",
		 "rounds of proof computed, each for all devices that asked for the same"},
	[METRIC_DIGEST_SLICES] = {"digest_slices_total", "slices of tables computed in them"},
	[METRIC_DIGEST_MS] = {"digest_milliseconds_total", "time the database worked on proofs"},
	[METRIC_DIGESTS_FAILED] = {"digests_failed_total", "devices told that their proof failed"},
	[METRIC_JOBS_LOCKED_OUT] = {"jobs_locked_out_total",
				    "snapshots, digests and rounds of proof given up "
				    "since a table was locked for too long"},
	[METRIC_REPAIRS] =
		{"repairs_total",
		 "tables that devices reported to have fetched again since they differed"},
	[METRIC_TABLE_SYNCS] = {"table_syncs_total", "tables begun to be sent again over the link"},
	[METRIC_FULL_SYNCS] = {"full_syncs_total", "full syncs over the link begun"},
	[METRIC_TABLE_SYNCS_FAILED] = {"table_syncs_failed_total",
				       "of both, those that ended with an error"},
	[METRIC_TABLE_SYNC_BYTES] = {"table_sync_bytes_total",
				     "bytes of table_sync messages given to the sockets"},
	[METRIC_SYNCS_REQUESTED] = {"syncs_requested_total", "requests from SQL for a sync"},
	[METRIC_ROWS_SERVED] = {"json_served_total", "snapshots and tables served as JSON, begun"},
	[METRIC_CHANGES_SERVED] = {"changes_served_total", "answers of /db/changes begun"},
	[METRIC_BATCHES] = {"batches_total", "batches read"},
	[METRIC_CHANGES] = {"changes_total", "changes read"},
	[METRIC_ROUNDS] = {"rounds_total", "rounds of cutting and reading batches"},
	[METRIC_READ_ROUNDS] = {"read_rounds_total",
				"rounds that read what the database's worker had cut"},
	[METRIC_ABANDONED_ROUNDS] = {"abandoned_rounds_total",
				     "read rounds that met a batch which had to be proven first"},
	[METRIC_DOORBELLS] = {"doorbells_total", "notifications received"},
	[METRIC_DATABASE_CONNECTS] = {"database_connects_total", "connections to PostgreSQL made"},
	[METRIC_UNPROVEN_COMMITS] = {"unproven_commits_total",
				     "commits that answered with a warning"},
	[METRIC_CATCH_UP_CHANGES] = {"catch_up_changes_total", "changes read again for one device"},
	[METRIC_DEVICES] = {"devices", "WebSocket connections open"},
	[METRIC_DEVICES_LIVE] = {"devices_live", "devices that are level with the feed"},
	[METRIC_DEVICES_IN_LINE] = {"devices_in_line", "devices that wait to be admitted"},
	[METRIC_GROUPS] = {"groups", "lists of tables that a feed is kept for"},
	[METRIC_QUEUE_BYTES] = {"queue_bytes", "bytes that wait for devices, all together"},
	[METRIC_RING_BYTES] = {"ring_bytes", "memory of the frames kept for resuming"},
	[METRIC_SPOOL_BYTES] = {"spool_bytes", "disk of large batches kept for resuming"},
	[METRIC_CATCH_UPS] = {"catch_ups", "readers of the log, running and waiting"},
	[METRIC_TABLE_STREAMS] = {"table_streams", "devices to which tables are being sent"},
	[METRIC_TABLE_STREAMS_IN_LINE] = {"table_streams_in_line", "devices that wait for tables"},
	[METRIC_ROWS_PARKED] =
		{"rows_parked",
		 "rows that connected devices hold but cannot put into their tables"},
	[METRIC_CHANGES_BYTES] = {"changes_bytes",
				  "memory and disk held for answers of /db/changes"},
	[METRIC_ROW_STREAMS] = {"json_streams", "answers in JSON that read a snapshot now"},
	[METRIC_DATABASE_CONNECTED] = {"database_connected", "1: the database answers"},
	[METRIC_PROVEN_AGE_MS] = {"proven_age_milliseconds",
				  "time since the last proven round trip to PostgreSQL"},
	[METRIC_BATCH] = {"batch", "number of the last batch"},
	[METRIC_WARM_CHANGES] = {"warm_changes",
				 "changes read into memory before the first device was answered"},
	[METRIC_WARM_MS] = {"warm_milliseconds", "time that reading them took"},
};

static uint64_t values[METRIC_COUNT];

void metric_add(metric m, uint64_t n)
{
	values[m] += n;
}

void metric_set(metric m, uint64_t value)
{
	values[m] = value;
}

uint64_t metric_get(metric m)
{
	return values[m];
}

void metrics_print(struct dynbuf *out)
{
	for (int m = 0; m < METRIC_COUNT; m++) {
		assert(table[m].name);
		dynbuf_addf(out,
			    "# HELP clinic_relay_%s %s\n# TYPE clinic_relay_%s %s\n"
			    "clinic_relay_%s %llu\n",
			    table[m].name, table[m].help, table[m].name,
			    m < METRIC_DEVICES ? "counter" : "gauge", table[m].name,
			    (unsigned long long)values[m]);
	}
}
