/*
 * The rounds of the live reader; see pq_round.h.
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
#include "pq_round.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "pq_report.h"

#define CUT_NAME "clinic_relay_cut"
static const char cut_sql[] = "SELECT cursor FROM clinic_sync.make_batch()";

static void round_look(void);

/* ---- small steps --------------------------------------------------------------- */

void round_ask(const char *sql, int param_count, const char *const *params, pq_done_fn on_done)
{
	reader.asked_ms = clock_monotonic_ms();
	pq_link_query(reader.link, sql, param_count, params, NULL, on_done, NULL);
}

/* A commit of our own after every batch up to this one has been acknowledged cleanly. */
static void note_proof(int64_t batch)
{
	reader.proven = batch;
	reader.trusting = true;
}

void round_forget_proof(void)
{
	reader.proven = 0;
	reader.trusting = false;
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
	if (reader_bells_wait())
		reader_answer_bell();
}

/* However a round ends, whole proven batches do not wait for the next. */
void round_hand_out(void)
{
	if (reader.link && reader.round_batches)
		reader.owner.events->on_poll_end(reader.owner.ctx);
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
	round_hand_out();
	reader_set_live(false);
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
 * Everything proven has been handed on.  Of a cut round that is everything there
 * was when it began, unless the cut failed; a read round knows only of what the
 * worker had cut.
 */
void round_idle(void)
{
	if (reader.cut_good) {
		reader.owner.status->proven_ms = clock_monotonic_ms();
		reader.owner.status->level_round = reader.owner.status->rounds;
	}
	if (reader.warm.running)
		adopt_end();
	reader.complained[0] = '\0';
	pq_link_good(reader.link);
	reader_set_live(true);
	round_hand_out();
	if (reader.link && reader.cut_good)
		reader.owner.events->on_level(reader.owner.ctx);
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
	reader_note_answer(answer);
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
		round_forget_proof();
	else if (cut)
		note_proof(reader.target.batch);
	if (cut && !answer->warned && reader.feed.cursor.batch > 0)
		round_page();
	else
		round_look();
}

void round_cut(void)
{
	if (reader.boundary) {
		round_ask("SELECT cursor FROM clinic_sync.make_batch(true)", 0, NULL, on_cut);
	} else if (reader.cut_prepared) {
		reader.asked_ms = clock_monotonic_ms();
		pq_link_execute(reader.link, CUT_NAME, 0, NULL, NULL, on_cut, NULL);
	} else {
		round_ask(cut_sql, 0, NULL, on_cut);
	}
}

static void on_proof(void *ctx, const struct pq_answer *answer)
{
	(void)ctx;
	reader_note_answer(answer);
	if (!answer->ok) {
		round_fail(answer, "relay_report()");
		return;
	}
	if (answer->warned) {
		/* still no standby: what is there stays unserved until a clean commit */
		round_forget_proof();
		round_end();
		return;
	}
	note_proof(reader.target.batch);
	if (reader.feed.cursor.batch == 0)
		adopt_begin();
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
	round_ask("SELECT clinic_sync.relay_report($1::pg_catalog.jsonb, $2::pg_catalog.jsonb),"
		  " pg_catalog.set_config('synchronous_commit', 'on', true)",
		  2, params, on_proof);
}

static void on_look(void *ctx, const struct pq_answer *answer)
{
	bool found;

	(void)ctx;
	reader_note_answer(answer);
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
		adopt_begin();
	} else {
		round_page();
	}
}

static void round_look(void)
{
	round_ask("SELECT clinic_sync.current_cursor()", 0, NULL, on_look);
}

/* All that rings says what to read, and a cut is not due anyway. */
static bool is_read_round(void)
{
	return reader.live && !reader.bells.look && reader_bells_wait() &&
	       clock_monotonic_ms() < reader.cut_due_ms;
}

void round_begin(void *ctx)
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

/* ---- pages -------------------------------------------------------------------- */

static void lose_history(const char *reason)
{
	if (reader.warm.running)
		reader.warm.most = 0; /* not again and again */
	reader.warm.running = false;
	round_forget_proof();
	memset(&reader.feed.cursor, 0, sizeof(reader.feed.cursor));
	memset(&reader.owner.status->cursor, 0, sizeof(reader.owner.status->cursor));
	/* until memory is filled anew nobody knows what there is; the devices' last word is that
	   they need a snapshot */
	reader_set_live(false);
	reader.owner.on_unsure();
	if (reader.link)
		reader.owner.events->on_history_lost(reader.owner.ctx, reason);
	if (reader.link)
		round_cut();
}

static void on_refused(const char *reason)
{
	bool is_other = strcmp(reason, "history_lost") == 0;

	if (reader.warm.running && reader.target.batch && !is_other)
		adopt_without_past(reason);
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
		/* the proof may take long, or fail */
		round_hand_out();
		if (reader.link)
			round_prove();
	} else if (any && reader.warm.running && pq_warm_overflows(&reader.warm)) {
		adopt_begin();
	} else if (any && reader.feed.cursor.batch < reader.target.batch) {
		round_page();
	} else {
		round_idle();
	}
}

void round_on_page(enum pq_feed_end end, const char *reason, const struct pq_answer *answer)
{
	if (end == FEED_ERROR)
		round_fail(answer, "feed()");
	else if (end == FEED_REFUSED)
		on_refused(reason);
	else
		after_page(end == FEED_MORE);
}

void round_page(void)
{
	reader.asked_ms = clock_monotonic_ms();
	reader.feed.limit = reader.proven;
	reader.feed.trusting = reader.reading && reader.trusting;
	pq_feed_read_page(&reader.feed);
}
