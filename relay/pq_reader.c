/*
 * The live reader; see pq_reader.h: its connection, the doorbells that wait,
 * and what it hands on.  What it does in between are rounds (pq_round.c).
 */
#include "pq_round.h"

#include <stdio.h>
#include <string.h>

/* A doorbell that brings nothing can be rung by anybody: from so many in a row on they wait. */
#define FALSE_ALARMS_MOST 8
#define FALSE_ALARM_WAIT_MS 10

#define READER_SETTINGS                                                                            \
	"-c synchronous_commit=on -c lock_timeout=5000 -c statement_timeout=60000"                 \
	" -c idle_in_transaction_session_timeout=10000"

struct reader reader;

void reader_note_answer(const struct pq_answer *answer)
{
	if (answer->warned)
		reader.owner.status->unproven++;
}

void reader_set_live(bool live)
{
	if (reader.live == live)
		return;
	reader.live = live;
	reader.owner.status->connected = live;
	if (!live)
		reader.owner.on_unsure();
	reader.owner.events->on_state(reader.owner.ctx, live);
	if (live)
		reader.owner.on_moved();
}

bool reader_bells_wait(void)
{
	return pq_bells_wait(&reader.bells, reader.feed.cursor.batch);
}

void reader_answer_bell(void)
{
	reader.by_bell = true;
	if (reader.false_alarms > FALSE_ALARMS_MOST)
		loop_timer_set(&reader.poll, FALSE_ALARM_WAIT_MS, round_begin, NULL);
	else
		round_begin(NULL);
}

/* ---- handed on -------------------------------------------------------------------- */

static void on_giant_begin(void *ctx, const struct upstream_batch *b)
{
	(void)ctx;
	reader.owner.events->on_giant_begin(reader.owner.ctx, b);
}

static void on_change(void *ctx, const struct upstream_change *c)
{
	(void)ctx;
	reader.owner.status->changes++;
	if (reader.warm.running)
		pq_warm_count(&reader.warm, c);
	reader.owner.events->on_change(reader.owner.ctx, c);
}

static void on_batch_end(void *ctx, const struct upstream_batch *b)
{
	struct upstream_status *status = reader.owner.status;

	(void)ctx;
	reader.round_batches++;
	status->batches++;
	status->cursor = b->cursor;
	memcpy(status->batch_time, b->time, sizeof(status->batch_time));
	reader.owner.events->on_batch_end(reader.owner.ctx, b);
	reader.owner.on_moved();
}

static void on_page(void *ctx, enum pq_feed_end end, const char *reason,
		    const struct pq_answer *answer)
{
	(void)ctx;
	round_on_page(end, reason, answer);
}

static void on_abandoned(void *ctx)
{
	(void)ctx;
	reader.owner.events->on_batch_abandoned(reader.owner.ctx);
}

static const struct pq_feed_sink feed_sink = {
	.on_giant_begin = on_giant_begin,
	.on_change = on_change,
	.on_batch_end = on_batch_end,
	.on_abandoned = on_abandoned,
	.on_page = on_page,
};

/* ---- the link ---------------------------------------------------------------------- */

static void on_up(void *ctx)
{
	struct upstream_status *status = reader.owner.status;
	int version = pq_link_server_version(reader.link);

	(void)ctx;
	status->connects++;
	snprintf(status->server_version, sizeof(status->server_version), "%d.%d", version / 10000,
		 version % 10000);
	round_forget_proof();
	reader.feed.prepared = reader.cut_prepared = false;
	reader.prepare_due = true;
	if (reader.paused)
		pq_link_pause(reader.link);
	round_begin(NULL);
}

static void on_down(void *ctx)
{
	(void)ctx;
	loop_timer_cancel(&reader.poll);
	reader.in_round = reader.by_bell = false;
	memset(&reader.bells, 0, sizeof(reader.bells)); /* the next connect looks anyway */
	round_forget_proof();
	pq_feed_abandon(&reader.feed);
	round_hand_out();
	reader.round_batches = 0;
	reader_set_live(false);
}

static const struct pq_link_events link_events = {.on_up = on_up, .on_down = on_down};

cs_status pq_reader_start(const struct pq_reader_owner *owner, struct cs_error *err)
{
	memset(&reader, 0, sizeof(reader));
	reader.owner = *owner;
	pq_warm_init(&reader.warm, owner->config);
	reader.link = pq_link_new(owner->config, "live", READER_SETTINGS, &link_events, NULL);
	if (!reader.link)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	reader.feed.link = reader.link;
	reader.feed.sink = &feed_sink;
	pq_link_open(reader.link);
	return CS_OK;
}

void pq_reader_stop(void)
{
	loop_timer_cancel(&reader.poll);
	pq_link_free(reader.link);
	reader.link = NULL;
	reader.live = false;
}

void pq_reader_ring(const struct pq_bells *bells)
{
	if (bells->look)
		pq_bells_add(&reader.bells, 0);
	if (bells->batch)
		pq_bells_add(&reader.bells, bells->batch);
	if (reader.link && pq_link_is_up(reader.link) && !reader.in_round && !reader.by_bell &&
	    reader_bells_wait())
		reader_answer_bell();
}

void pq_reader_want(uint64_t after_round)
{
	if (reader.in_round && !reader.reading && reader.owner.status->rounds > after_round)
		return;
	pq_reader_ring(&(struct pq_bells){.look = true});
}

void pq_reader_distrust(void)
{
	reader.trusting = false;
}

void pq_reader_pause(void)
{
	reader.paused = true;
	if (reader.link)
		pq_link_pause(reader.link);
}

void pq_reader_resume(void)
{
	reader.paused = false;
	if (reader.link)
		pq_link_resume(reader.link);
}

void pq_reader_suspect(uint64_t longer_than_ms)
{
	if (reader.link && pq_link_is_busy(reader.link) && !reader.paused &&
	    clock_monotonic_ms() - reader.asked_ms > longer_than_ms)
		pq_link_restart(reader.link, "no answer, and none elsewhere");
}

bool pq_reader_is_live(void)
{
	return reader.live;
}

bool pq_reader_in_batch(void)
{
	return reader.feed.open;
}
