/*
 * Upstream as a whole; see upstream.h.
 *
 * Four kinds of connections, each with one task, so that none waits behind
 * another: live (batches), listen (doorbells), report (upkeep), catch-up (the
 * log for devices that were away).
 */
#include <string.h>

#include "pq_catchup.h"
#include "pq_listen.h"
#include "pq_reader.h"
#include "pq_report.h"
#include "upstream.h"

static struct upstream {
	struct upstream_status status;
	char relay_id[65];
	void (*on_stopped)(void *ctx);
	void *stopped_ctx;
} upstream;

static bool is_plain_name(const char *name)
{
	size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				  "0123456789._-");

	return len > 0 && len < sizeof(upstream.relay_id) && name[len] == '\0';
}

static void stop_all(void)
{
	pq_listen_stop();
	pq_catchup_stop();
	pq_reader_stop();
}

cs_status upstream_start(const struct config *config, const char *relay_id,
			 const struct upstream_events *events, void *ctx, struct cs_error *err)
{
	struct pq_reader_owner owner = {
		.config = config,
		.status = &upstream.status,
		.events = events,
		.ctx = ctx,
		.on_moved = pq_catchup_moved,
		.on_unsure = pq_catchup_unsure,
	};
	cs_status status;

	memset(&upstream, 0, sizeof(upstream));
	if (!is_plain_name(relay_id))
		return cs_fail(err, CS_ERR_CONFIG, "a relay id is 1-64 of A-Z a-z 0-9 . _ -");
	strcpy(upstream.relay_id, relay_id);
	/* the listener first: a change after its LISTEN cannot be missed */
	status = pq_listen_start(config, &upstream.status, err);
	if (status == CS_OK)
		status = pq_catchup_start(config, &upstream.status, err);
	if (status == CS_OK)
		status = pq_report_start(config, upstream.relay_id, events, ctx, err);
	if (status == CS_OK)
		status = pq_reader_start(&owner, err);
	if (status != CS_OK)
		stop_all();
	return status;
}

static void on_goodbye_said(void)
{
	if (upstream.on_stopped)
		upstream.on_stopped(upstream.stopped_ctx);
}

void upstream_stop(uint32_t limit_ms, void (*on_stopped)(void *ctx), void *ctx)
{
	upstream.on_stopped = on_stopped;
	upstream.stopped_ctx = ctx;
	upstream.status.connected = false;
	stop_all();
	pq_report_stop(limit_ms, on_goodbye_said);
}

void upstream_ring(void)
{
	pq_reader_ring(&(struct pq_bells){.look = true});
}

uint64_t upstream_round(void)
{
	return upstream.status.rounds;
}

bool upstream_level_since(uint64_t round)
{
	if (upstream.status.connected && upstream.status.level_round > round)
		return true;
	pq_reader_want(round);
	return false;
}

void upstream_pause(void)
{
	pq_reader_pause();
}

void upstream_resume(void)
{
	pq_reader_resume();
}

void upstream_get_status(struct upstream_status *out)
{
	*out = upstream.status;
}

bool upstream_report(const char *relay_json, const char *devices_json)
{
	return pq_report_set(relay_json, devices_json);
}
