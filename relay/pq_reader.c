/*
 * The live reader; see pq_reader.h.
 *
 * It works in rounds, of two kinds.  A cut round begins with make_batch(); a
 * read round, for a doorbell that names a batch, begins with the feed, since
 * the database's worker has cut already.  A round ends when every proven batch
 * has been handed on; a doorbell during a round only asks for another one.
 * There is no timer between doorbell and delivery.
 *
 * Anybody may ring, so read rounds alone would prove nothing and could be made
 * to keep cut rounds away for ever: a cut round is due poll_interval_ms after
 * the last round that cut or that found the worker alive.
 *
 * Proof (promise 3).  A batch may be served when a commit that came after it
 * has been acknowledged without a warning: everything visible before that
 * commit is then as durable as the commit.  There are two ways to know:
 *
 * - By a commit of our own on this connection: make_batch() that cut a batch,
 *   or else relay_report(), which always writes.  `proven` is the last batch
 *   that this connection has such a commit for; it starts at 0 on every
 *   connection and falls back to 0 with a warning.
 * - By the worker's word.  Its batch is visible only after its own wait for
 *   the standby is over, and feed() says "proven" unless that wait was broken
 *   off.  But a server that crashed, or a standby that was promoted, shows
 *   batches whose wait nobody ended.  They are visible from its first moment
 *   on, so one commit of our own on this connection proves them all, and from
 *   then on the word is good: `trusting`.
 *
 *   cut -> look -> [prove] -> page -> page ... -> idle
 *   read:                     page -> [prove -> page] ... -> idle
 */
#include "pq_reader.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "pq_feed.h"
#include "pq_report.h"
#include "pq_warm.h"
#include "ws_loop.h"

/* A doorbell that brings nothing can be rung by anybody: from so many in a row on they wait. */
#define FALSE_ALARMS_MOST 8
#define FALSE_ALARM_WAIT_MS 10

#define READER_SETTINGS                                                                            \
	"-c synchronous_commit=on -c lock_timeout=5000 -c statement_timeout=60000"                 \
	" -c idle_in_transaction_session_timeout=10000"

#define CUT_NAME "clinic_relay_cut"
static const char cut_sql[] = "SELECT cursor FROM clinic_sync.make_batch()";

static struct reader {
	struct pq_reader_owner owner;
	struct pq_link *link;
	struct pq_feed feed; /* feed.cursor: ours, batch 0: none yet */
	struct loop_timer poll;
	struct cursor target;  /* last batch that exists, as far as this round knows */
	struct pq_bells bells; /* that no round has answered yet */
	struct pq_warm warm;
	int64_t proven;
	uint64_t asked_ms;   /* when the request under way was sent */
	uint64_t cut_due_ms; /* when a cut round must come, whatever rings */
	bool in_round;
	bool reading;      /* it is a read round */
	bool worker_lives; /* a batch of this round came on the worker's word */
	bool trusting;     /* this connection has had a clean commit of its own */
	bool cut_good;     /* the round's make_batch() found everything committed, not a lock */
	bool by_bell;      /* a doorbell began the round */
	bool cut_prepared; /* see pq_link_prepare() */
	bool prepare_due;  /* not tried on this connection yet */
	bool live;
	bool boundary; /* cut a batch even if there is nothing: the first of a history */
	bool paused;
	unsigned false_alarms;
	uint64_t round_batches;
	char complained[6]; /* SQLSTATE that the log knows about */
} reader;

static void round_begin(void *ctx);
static void round_cut(void);
static void round_look(void);
static void round_page(void);
static void round_adopt(void);
static void warm_end(void);

/* ---- small steps --------------------------------------------------------------- */

static void ask(const char *sql, int param_count, const char *const *params, pq_done_fn on_done)
{
	reader.asked_ms = clock_monotonic_ms();
	pq_link_query(reader.link, sql, param_count, params, NULL, on_done, NULL);
}

static void note_answer(const struct pq_answer *answer)
{
	if (answer->warned)
		reader.owner.status->unproven++;
}

static void set_live(bool live)
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

/* A commit of our own after every batch up to this one has been acknowledged cleanly. */
static void note_proof(int64_t batch)
{
	reader.proven = batch;
	reader.trusting = true;
}

static void forget_proof(void)
{
	reader.proven = 0;
	reader.trusting = false;
}

static bool bells_wait(void)
{
	return pq_bells_wait(&reader.bells, reader.feed.cursor.batch);
}

static void answer_bell(void)
{
	reader.by_bell = true;
	if (reader.false_alarms > FALSE_ALARMS_MOST)
		loop_timer_set(&reader.poll, FALSE_ALARM_WAIT_MS, round_begin, NULL);
	else
		round_begin(NULL);
}

static void round_end(void)
{
	uint64_t now_ms = clock_monotonic_ms();

	reader.in_round = false;
	if (!reader.link)
		return; /* stopped by a callback */
	reader.false_alarms = reader.by_bell && !reader.round_batches ? reader.false_alarms + 1 : 0;
	reader.by_bell = false;
	if (!reader.reading || reader.worker_lives)
		reader.cut_due_ms = now_ms + (uint64_t)reader.owner.config->poll_interval_ms;
	loop_timer_set(&reader.poll,
		       reader.cut_due_ms > now_ms ? (uint32_t)(reader.cut_due_ms - now_ms) : 0,
		       round_begin, NULL);
	if (bells_wait())
		answer_bell();
}

/* What to do about it, if we know. */
static void write_hint(const char *sqlstate, char *out, size_t size)
{
	char name[200];

	out[0] = '\0';
	if (strcmp(sqlstate, "3F000") == 0 || strcmp(sqlstate, "42883") == 0)
		snprintf(out, size, "; in database %s: CREATE EXTENSION clinic_sync",
			 log_quote(pq_link_database(reader.link), name, sizeof(name)));
	else if (strcmp(sqlstate, "42501") == 0)
		snprintf(out, size, "; SELECT clinic_sync.grant_relay('%s') gives it the rights",
			 log_quote(pq_link_user(reader.link), name, sizeof(name)));
}

/* The server refused a step: say so once, try again with the next poll. */
static void round_fail(const struct pq_answer *answer, const char *what)
{
	char hint[300];

	write_hint(answer->sqlstate, hint, sizeof(hint));
	if (strcmp(reader.complained, answer->sqlstate) != 0)
		log_error("database (live): %s: %s (%s)%s", what, answer->message, answer->sqlstate,
			  hint);
	snprintf(reader.complained, sizeof(reader.complained), "%s", answer->sqlstate);
	set_live(false);
	memset(&reader.bells, 0, sizeof(reader.bells));
	round_end();
	/* the server we hold became a standby: only a new connection finds the primary */
	if (strcmp(answer->sqlstate, "25006") == 0 && reader.link)
		pq_link_restart(reader.link, "the server is read-only");
}

/* ---- the end of a good round --------------------------------------------------- */

static void on_cut_prepared(void *ctx, const struct pq_answer *answer)
{
	(void)ctx;
	reader.cut_prepared = answer->ok;
	round_end();
}

static void on_feed_prepared(void *ctx, const struct pq_answer *answer)
{
	(void)ctx;
	reader.feed.prepared = answer->ok;
	pq_link_prepare(reader.link, CUT_NAME, cut_sql, on_cut_prepared, NULL);
}

/*
 * Everything proven has been handed on.  Unless the cut failed, that is
 * everything there was when the round began.
 */
static void round_idle(void)
{
	if (reader.cut_good)
		reader.owner.status->proven_ms = clock_monotonic_ms();
	if (reader.warm.running)
		warm_end();
	reader.complained[0] = '\0';
	pq_link_good(reader.link);
	set_live(true);
	if (reader.link && reader.round_batches)
		reader.owner.events->on_poll_end(reader.owner.ctx);
	if (reader.link && reader.prepare_due) {
		reader.prepare_due = false;
		pq_feed_prepare(&reader.feed, on_feed_prepared, NULL);
	} else {
		round_end();
	}
}

/* ---- cut, look, prove ----------------------------------------------------------- */

static void on_cut(void *ctx, const struct pq_answer *answer)
{
	bool cut;

	(void)ctx;
	note_answer(answer);
	if (reader.cut_prepared && pq_answer_forgot(answer)) {
		reader.cut_prepared = false;
		round_cut();
		return;
	}
	/* another batcher held the lock for too long: look at what there is */
	if (!answer->ok && strcmp(answer->sqlstate, "55P03") != 0) {
		round_fail(answer, "make_batch()");
		return;
	}
	reader.cut_good = answer->ok;
	cut = answer->ok && PQntuples(answer->result) == 1 &&
	      pq_field_cursor(answer->result, 0, &reader.target);
	reader.boundary = false;
	if (answer->warned)
		forget_proof();
	else if (cut)
		note_proof(reader.target.batch);
	if (cut && !answer->warned && reader.feed.cursor.batch > 0)
		round_page();
	else
		round_look();
}

static void round_cut(void)
{
	reader.asked_ms = clock_monotonic_ms();
	if (reader.boundary)
		ask("SELECT cursor FROM clinic_sync.make_batch(true)", 0, NULL, on_cut);
	else if (reader.cut_prepared)
		pq_link_execute(reader.link, CUT_NAME, 0, NULL, NULL, on_cut, NULL);
	else
		ask(cut_sql, 0, NULL, on_cut);
}

static void on_proof(void *ctx, const struct pq_answer *answer)
{
	(void)ctx;
	note_answer(answer);
	if (!answer->ok) {
		round_fail(answer, "relay_report()");
		return;
	}
	if (answer->warned) {
		/* still no standby: what is there stays unserved until a clean commit */
		forget_proof();
		round_end();
		return;
	}
	note_proof(reader.target.batch);
	if (reader.feed.cursor.batch == 0)
		round_adopt();
	else
		round_page();
}

/*
 * relay_report() always writes; set_config() after it makes sure that its commit
 * waits, whatever settings stand in between.
 */
static void round_prove(void)
{
	const char *params[2];

	pq_report_texts(&params[0], &params[1]);
	ask("SELECT clinic_sync.relay_report($1::pg_catalog.jsonb, $2::pg_catalog.jsonb),"
	    " pg_catalog.set_config('synchronous_commit', 'on', true)",
	    2, params, on_proof);
}

static void on_look(void *ctx, const struct pq_answer *answer)
{
	bool found;

	(void)ctx;
	note_answer(answer);
	if (!answer->ok) {
		round_fail(answer, "current_cursor()");
		return;
	}
	found = PQntuples(answer->result) == 1 &&
		pq_field_cursor(answer->result, 0, &reader.target);
	if (!found && reader.feed.cursor.batch == 0) {
		/* a new history has no batch yet, and a cursor must name one */
		reader.boundary = true;
		round_cut();
	} else if (!found) {
		reader.target.batch = 0;
		round_page(); /* to be refused */
	} else if (cursor_equal(&reader.target, &reader.feed.cursor)) {
		round_idle();
	} else if (reader.target.batch > reader.proven) {
		round_prove();
	} else if (reader.feed.cursor.batch == 0) {
		round_adopt();
	} else {
		round_page();
	}
}

static void round_look(void)
{
	ask("SELECT clinic_sync.current_cursor()", 0, NULL, on_look);
}

/* All that rings says what to read, and a cut is not due anyway. */
static bool is_read_round(void)
{
	return reader.live && !reader.bells.look && bells_wait() &&
	       clock_monotonic_ms() < reader.cut_due_ms;
}

static void round_begin(void *ctx)
{
	(void)ctx;
	if (!reader.link || !pq_link_is_up(reader.link) || reader.in_round)
		return;
	loop_timer_cancel(&reader.poll);
	reader.in_round = true;
	reader.reading = is_read_round();
	reader.worker_lives = false;
	reader.cut_good = false;
	reader.target.batch = reader.bells.batch; /* a cut round finds out for itself */
	memset(&reader.bells, 0, sizeof(reader.bells));
	reader.round_batches = 0;
	reader.owner.status->rounds++;
	if (!reader.reading) {
		round_cut();
		return;
	}
	reader.owner.status->read_rounds++;
	round_page();
}

/* ---- the first cursor ------------------------------------------------------------- */

static void start_at(const struct cursor *cursor)
{
	reader.feed.cursor = *cursor;
	reader.owner.status->cursor = *cursor;
	reader.owner.events->on_start(reader.owner.ctx, cursor);
	/* who asked while there was no cursor waits for one, and no batch may come for long */
	reader.owner.on_moved();
}

/* The ring is filled: nobody was told yet that the database is there. */
static void warm_end(void)
{
	struct upstream_status *status = reader.owner.status;

	reader.warm.running = false;
	status->warm_changes = reader.warm.changes;
	status->warm_ms = clock_monotonic_ms() - reader.warm.began_ms;
	log_info("%llu changes of the past read into memory in %llu ms",
		 (unsigned long long)status->warm_changes, (unsigned long long)status->warm_ms);
	/* what waits in the builders must be in the rings before devices look there */
	reader.owner.events->on_poll_end(reader.owner.ctx);
}

/* Then devices that come back read the log, as well as they may. */
static void note_no_warm_cursor(const struct pq_answer *answer)
{
	if (strcmp(answer->sqlstate, "42883") == 0)
		log_info("database (live): this extension is older than the relay: memory begins "
			 "empty");
	else
		log_warning("database (live): warm_cursor(): %s (%s)", answer->message,
			    answer->sqlstate);
}

static void on_warm_cursor(void *ctx, const struct pq_answer *answer)
{
	struct cursor from = reader.target, older;

	(void)ctx;
	note_answer(answer);
	if (!answer->ok)
		note_no_warm_cursor(answer);
	else if (PQntuples(answer->result) == 1 && pq_field_cursor(answer->result, 0, &older) &&
		 older.batch < from.batch)
		from = older;
	start_at(&from);
	if (!reader.link)
		return;
	if (from.batch == reader.target.batch) {
		round_idle();
		return;
	}
	pq_warm_begin(&reader.warm);
	round_page();
}

/*
 * First cursor of this relay, or the first after its history was lost.  It is
 * an older one than the last, so that the ring is filled with what devices
 * that come back have missed.
 */
static void round_adopt(void)
{
	char most[32];
	const char *params[] = {most};

	if (reader.warm.most <= 0) {
		reader.warm.running = false;
		start_at(&reader.target);
		if (reader.link)
			round_idle();
		return;
	}
	snprintf(most, sizeof(most), "%lld", (long long)reader.warm.most);
	ask("SELECT clinic_sync.warm_cursor($1)", 1, params, on_warm_cursor);
}

/* What was read of the past is of no use, what is to come does not depend on it. */
static void warm_give_up(const char *reason)
{
	log_warning("the past cannot be read into memory: %s", reason);
	reader.warm.running = false;
	reader.warm.most = 0;
	start_at(&reader.target);
	if (reader.link)
		round_idle();
}

/* ---- the feed -------------------------------------------------------------------- */

static void lose_history(const char *reason)
{
	if (reader.warm.running)
		reader.warm.most = 0; /* not again and again */
	reader.warm.running = false;
	forget_proof();
	memset(&reader.feed.cursor, 0, sizeof(reader.feed.cursor));
	memset(&reader.owner.status->cursor, 0, sizeof(reader.owner.status->cursor));
	reader.owner.on_unsure();
	reader.owner.events->on_history_lost(reader.owner.ctx, reason);
	if (reader.link)
		round_cut();
}

static void on_refused(const char *reason)
{
	bool is_other = strcmp(reason, "history_lost") == 0;

	if (reader.warm.running && reader.target.batch && !is_other)
		warm_give_up(reason);
	else
		lose_history(reason);
}

/* A page came; its batches are handed on. */
static void after_page(bool any)
{
	if (any)
		reader.owner.status->proven_ms = clock_monotonic_ms();
	if (reader.feed.vouched)
		reader.worker_lives = true;
	if (reader.reading && reader.feed.unproven > reader.proven) {
		reader.owner.status->abandoned++;
		reader.target.batch = reader.feed.unproven;
		round_prove();
	} else if (any && reader.warm.running && pq_warm_overflows(&reader.warm)) {
		round_adopt();
	} else if (any && reader.feed.cursor.batch < reader.target.batch) {
		round_page();
	} else {
		round_idle();
	}
}

static void on_page(void *ctx, enum pq_feed_end end, const char *reason,
		    const struct pq_answer *answer)
{
	(void)ctx;
	if (end == FEED_ERROR)
		round_fail(answer, "feed()");
	else if (end == FEED_REFUSED)
		on_refused(reason);
	else
		after_page(end == FEED_MORE);
}

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

static void round_page(void)
{
	reader.asked_ms = clock_monotonic_ms();
	reader.feed.limit = reader.proven;
	reader.feed.trusting = reader.reading && reader.trusting;
	pq_feed_read_page(&reader.feed);
}

/* ---- the link ---------------------------------------------------------------------- */

static void on_up(void *ctx)
{
	struct upstream_status *status = reader.owner.status;
	int version = pq_link_server_version(reader.link);

	(void)ctx;
	status->connects++;
	snprintf(status->server_version, sizeof(status->server_version), "%d.%d", version / 10000,
		 version % 10000);
	forget_proof();
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
	forget_proof();
	pq_feed_abandon(&reader.feed);
	set_live(false);
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
	    bells_wait())
		answer_bell();
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
