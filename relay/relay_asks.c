/* What devices ask for beside the feed; see relay_asks.h. */
#include "relay_asks.h"

#include "clock.h"
#include "http.h"
#include "job.h"
#include "log.h"
#include "metrics.h"
#include "published.h"

static bool env_published(void *ctx, uint64_t age_most_ms, char *const **names,
			  const uint64_t **rows, size_t *count)
{
	(void)ctx;
	if (published_tables(age_most_ms, names, rows, count))
		return true;
	published_ask();
	return false;
}

static void on_digest_turn(void *ctx)
{
	digest_rounds_turn(((struct relay *)ctx)->env.digests);
}

static void env_digest_turn(void *ctx, uint32_t delay_ms)
{
	loop_timer_set(&((struct relay *)ctx)->digest_turn, delay_ms, on_digest_turn, ctx);
}

static void on_stream_turn(void *ctx)
{
	table_streams_turn(((struct relay *)ctx)->env.streams);
}

static void env_stream_turn(void *ctx)
{
	loop_timer_set(&((struct relay *)ctx)->stream_turn, 0, on_stream_turn, ctx);
}

cs_status relay_asks_start(struct relay *r, struct cs_error *err)
{
	r->digest_env = (struct digest_env){
		.config = r->config,
		.now_ms = clock_monotonic_ms,
		.published = env_published,
		.start = job_start_proof,
		.cancel = job_cancel,
		.turn_in = env_digest_turn,
		.ctx = r,
	};
	r->streams_env = (struct table_streams_env){
		.config = r->config,
		.now_ms = clock_monotonic_ms,
		.look = published_look,
		.start = job_start_snapshot,
		.cancel = snapshot_cancel,
		.turn_soon = env_stream_turn,
		.ctx = r,
	};
	r->env.digests = digest_rounds_new(&r->digest_env);
	r->env.streams = table_streams_new(&r->streams_env);
	r->env.requests = sync_requests_new();
	if (!r->env.digests || !r->env.streams || !r->env.requests)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return CS_OK;
}

void relay_asks_stop(struct relay *r)
{
	loop_timer_cancel(&r->digest_turn);
	loop_timer_cancel(&r->stream_turn);
	digest_rounds_free(r->env.digests);
	table_streams_free(r->env.streams);
	sync_requests_free(r->env.requests);
	r->env.digests = NULL;
	r->env.streams = NULL;
	r->env.requests = NULL;
}

void relay_asks_look(struct relay *r)
{
	digest_rounds_look(r->env.digests);
	table_streams_look(r->env.streams);
}

void relay_asks_published(struct relay *r)
{
	digest_rounds_turn(r->env.digests);
	table_streams_turn(r->env.streams);
	http_rows_look();
}

void relay_asks_tick(struct relay *r)
{
	digest_rounds_turn(r->env.digests);
	table_streams_tick(r->env.streams);
	http_rows_look();
}

void relay_asks_database(struct relay *r)
{
	digest_rounds_connected(r->env.digests, r->database_connected);
}

/* Each finds for itself whether it is meant. */
static void wake_all(struct relay *r)
{
	for (struct device *d = r->devices, *next; d; d = next) {
		next = d->next;
		if (d->group)
			d->env->wake(d->env->ctx, d);
	}
}

void relay_asks_requested(struct relay *r, int64_t id, const char *kind, const char *tables_json,
			  const char *device, uint64_t keep_ms)
{
	if (!sync_requests_add(r->env.requests, id, kind, tables_json, device,
			       clock_monotonic_ms() + keep_ms)) {
		log_warning("out of memory for a request for a sync");
		return;
	}
	metric_add(METRIC_SYNCS_REQUESTED, 1);
	wake_all(r);
}

void relay_asks_requests_read(struct relay *r)
{
	bool is_first = sync_requests_newest(r->env.requests) < 0;

	sync_requests_all_read(r->env.requests);
	if (is_first)
		wake_all(r);
}
