/* Rounds of proof, from digest_begin to the digests; see digest_round.h. */
#include "digest_round.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "log.h"
#include "metrics.h"
#include "protocol_out.h"

/* A device that has not taken a round of a whole proof after this holds up the others no more. */
#define LAGGARD_MS 2000
/* How large tables are is read anew for a new class after this, the names if one is missing. */
#define SIZES_KEPT_MS 60000
#define NAMES_KEPT_MS 1000

/* ---- life -------------------------------------------------------------------------- */

struct digest_rounds *digest_rounds_new(const struct digest_env *env)
{
	struct digest_rounds *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->env = env;
	dynbuf_init(&r->round.counts, ROUND_SPEC_MOST);
	return r;
}

void digest_rounds_free(struct digest_rounds *r)
{
	if (!r)
		return;
	if (r->round.job)
		r->env->cancel(r->round.job);
	while (r->classes) {
		struct digest_class *c = r->classes;

		r->classes = c->next;
		class_free(c);
	}
	dynbuf_free(&r->round.counts);
	free(r);
}

/* ---- the end of a round --------------------------------------------------------------- */

/* No round is under way any more. */
static void close_round(struct digest_rounds *r)
{
	struct digest_round *round = &r->round;

	if (round->worked_at_ms)
		round->worked_ms += r->env->now_ms() - round->worked_at_ms;
	metric_add(METRIC_DIGEST_MS, round->worked_ms);
	when_round_ended(r);
	round->stage = ROUND_NONE;
	round->class = NULL;
	round->job = NULL;
}

/* Those who were told that it began, or those who were not. */
static void fail_asks(struct digest_rounds *r, struct digest_class *c, bool begun)
{
	for (r->walk = c->asks; r->walk;) {
		struct digest_ask *a = r->walk;

		r->walk = a->next;
		if ((a->id != 0) == begun)
			ask_fail(r, a);
	}
}

static void fail_round(struct digest_rounds *r, const char *reason)
{
	struct digest_round *round = &r->round;
	struct digest_class *c = round->class;
	bool begun = round->stage == ROUND_SLICES || c->under_way;

	if (!r->complained)
		log_warning("proof of tables: %s", reason);
	r->complained = true;
	if (round->stage == ROUND_BOUNDS)
		class_give_up_bounds(c);
	close_round(r);
	when_proof_ended(r, c, true);
	fail_asks(r, c, begun);
	r->env->turn_in(r->env->ctx, 0);
}

/* Each gets it when it was given everything up to the round's batch. */
static void hand_out(struct digest_rounds *r, struct digest_class *c, struct frame *f)
{
	struct digest_ask *next;

	for (struct digest_ask *a = c->asks; a; a = next) {
		next = a->next;
		if (!a->id)
			continue;
		if (r->round.is_last) {
			uint64_t id = a->id;

			ask_end(r, a);
			ask_link(&r->held, a);
			a->id = id;
		}
		a->held = frame_ref(f);
		a->until = r->round.cursor;
	}
}

static void finish_round(struct digest_rounds *r)
{
	struct digest_round *round = &r->round;
	struct digest_class *c = round->class;
	struct frame *f = digest_round_print_digest(round);

	if (!f) {
		fail_round(r, "the job did not say all");
		return;
	}
	r->complained = false;
	metric_add(METRIC_DIGEST_SLICES, round->slice_count);
	for (size_t i = 0; i < round->slice_count; i++)
		class_slice_counted(&round->slices[i], round->results[i].rows);
	hand_out(r, c, f);
	frame_unref(f);
	close_round(r);
	if (round->is_last)
		when_proof_ended(r, c, false);
	else
		c->due_ms = r->env->now_ms() + LAGGARD_MS;
	c->since_ms = r->env->now_ms();
	digest_rounds_look(r);
	r->env->turn_in(r->env->ctx, 0);
}

/* ---- the beginning of a round -------------------------------------------------------------- */

static struct frame *print_begin(const struct digest_round *round)
{
	struct dynbuf b;

	dynbuf_init(&b, ROUND_SPEC_MOST);
	dynbuf_addf(&b, "{\"type\":\"digest_begin\",\"id\":%" PRIu64 ",\"scope\":\"%s\",",
		    round->id, digest_round_scope(round));
	digest_round_add_slices(round, false, &b);
	dynbuf_adds(&b, "}");
	return out_message(&b);
}

/* Who asks while a whole proof is under way gets the next one. */
static void say_begin(struct digest_rounds *r)
{
	struct digest_class *c = r->round.class;
	struct frame *f = print_begin(&r->round);
	bool joins = !c->under_way;

	for (r->walk = c->asks; f && r->walk;) {
		struct digest_ask *a = r->walk;

		r->walk = a->next;
		if (!joins && !a->id)
			continue;
		if (c->whole && !a->id)
			a->began_ms = r->env->now_ms();
		a->id = r->round.id;
		device_say(a->device, frame_ref(f));
	}
	frame_unref(f);
	c->under_way = c->whole;
}

static void start_slices(struct digest_rounds *r)
{
	struct digest_round *round = &r->round;
	struct digest_class *c = round->class;
	struct dynbuf spec;
	bool wrapped;

	round->slice_count =
		class_choose(c, c->whole ? ROUND_ROWS_WHOLE : ROUND_ROWS, round->slices, &wrapped);
	if (!round->slice_count) {
		fail_round(r, "there are no tables");
		return;
	}
	round->stage = ROUND_SLICES;
	round->is_last = !c->whole || wrapped;
	round->id = ++r->last_id;
	memset(round->results, 0, sizeof(round->results));
	memset(&round->cursor, 0, sizeof(round->cursor));
	dynbuf_reset(&round->counts);
	metric_add(METRIC_DIGEST_ROUNDS, 1);
	dynbuf_init(&spec, ROUND_SPEC_MOST);
	dynbuf_adds(&spec, "{");
	digest_round_add_slices(round, true, &spec);
	digest_round_add_counts(round, &spec);
	/* first the devices, then the job: see digest_round.h */
	say_begin(r);
	if (!digest_round_start_job(r, &spec))
		fail_round(r, "no job could be started");
}

static void start_bounds(struct digest_rounds *r, const char *table)
{
	struct dynbuf spec;

	r->round.stage = ROUND_BOUNDS;
	dynbuf_init(&spec, ROUND_SPEC_MOST);
	dynbuf_adds(&spec, "{\"bounds\":[");
	dynbuf_add_json(&spec, table, strlen(table));
	dynbuf_adds(&spec, "]");
	class_await_bounds(r->round.class);
	if (!digest_round_start_job(r, &spec))
		fail_round(r, "no job could be started");
	/* here the first line is the end of the work */
	r->round.worked_at_ms = r->env->now_ms();
}

void digest_round_job_ended(struct digest_rounds *r, bool ok)
{
	struct digest_round *round = &r->round;

	round->job = NULL;
	if (!ok || round->error[0]) {
		fail_round(r, round->error[0] ? round->error : "the job ended early");
	} else if (round->stage == ROUND_BOUNDS) {
		round->worked_ms += r->env->now_ms() - round->worked_at_ms;
		start_slices(r);
	} else {
		finish_round(r);
	}
}

static bool are_published(const struct table_sizes *all, char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t at = 0;

		while (at < all->count && strcmp(all->names[at], names[i]) != 0)
			at++;
		if (at == all->count)
			return false;
	}
	return true;
}

static bool read_published(struct digest_rounds *r, uint64_t age_most_ms, struct table_sizes *all)
{
	return r->env->published(r->env->ctx, age_most_ms, &all->names, &all->rows, &all->count);
}

/* False: the list of tables is not known yet, or one that is asked for is not in it. */
static bool refresh_tables(struct digest_rounds *r, struct digest_class *c)
{
	struct table_sizes all;
	bool is_new = !c->table_count;

	if (!read_published(r, is_new ? SIZES_KEPT_MS : UINT64_MAX, &all))
		return false;
	if (c->asked && !are_published(&all, c->asked, c->asked_count)) {
		if (read_published(r, NAMES_KEPT_MS, &all)) {
			fail_asks(r, c, false);
			r->env->turn_in(r->env->ctx, 0);
		}
		return false;
	}
	/* without memory for all of them those that fitted are proved */
	if (!class_set_tables(c, c->asked ? c->asked : all.names,
			      c->asked ? c->asked_count : all.count, &all))
		log_warning("out of memory for the tables of a proof");
	if (is_new && !c->whole)
		class_begin_at(c, c->begin_at);
	return true;
}

void digest_round_begin(struct digest_rounds *r, struct digest_class *c)
{
	const char *table;

	if (!c->under_way) {
		if (!refresh_tables(r, c))
			return;
		if (c->whole)
			class_begin_at(c, 0);
		when_round_begins(r, c);
	}
	r->round.class = c;
	r->round.began_ms = r->env->now_ms();
	r->round.worked_ms = 0;
	r->round.worked_at_ms = 0;
	r->round.error[0] = '\0';
	table = class_bounds_due(c);
	if (table)
		start_bounds(r, table);
	else
		start_slices(r);
}

void digest_rounds_connected(struct digest_rounds *r, bool connected)
{
	r->connected = connected;
	if (r->round.job)
		r->env->cancel(r->round.job);
	if (r->round.class)
		fail_round(r, "the database is out of reach");
	for (struct digest_class *c = r->classes; c; c = c->next) {
		if (c->under_way) {
			when_proof_ended(r, c, true);
			fail_asks(r, c, true);
		}
	}
	for (r->walk = r->held; r->walk;) {
		struct digest_ask *a = r->walk;

		r->walk = a->next;
		ask_fail(r, a);
	}
	r->env->turn_in(r->env->ctx, 0);
}
