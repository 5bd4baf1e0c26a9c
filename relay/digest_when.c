/*
 * Which class's round is the next, and when; see digest_round.h.
 *
 * Periodic rounds of a class keep to a grid of sync_interval_s, and none begins
 * before the database has rested 19 times as long as it worked for the last, of
 * whatever class.  The rounds of a whole proof follow each other, but one such
 * proof at a time, and none before the relay has rested as long as the last
 * took; a device's own next one waits as long as its last took (digest_ask.c).
 * So one who asks after a while is answered at once, and those who ask on and
 * on, for whatever tables, take half of the time at most.
 */
#include "digest_round.h"

/* The database rests so many times as long as it worked for a periodic round. */
#define REST_FACTOR 19

/* ---- what a round leaves ------------------------------------------------------------------- */

void when_round_begins(struct digest_rounds *r, struct digest_class *c)
{
	uint64_t now_ms = r->env->now_ms();
	uint64_t interval_ms = (uint64_t)r->env->config->sync_interval_s * 1000;

	if (!interval_ms)
		interval_ms = 1000; /* switched off; those who asked before get their answer */
	if (c->due_ms <= now_ms)
		c->due_ms += ((now_ms - c->due_ms) / interval_ms + 1) * interval_ms;
}

void when_round_ended(struct digest_rounds *r)
{
	const struct digest_round *round = &r->round;
	struct digest_class *c = round->class;
	uint64_t now_ms = r->env->now_ms();

	if (c->whole)
		c->took_ms += now_ms - round->began_ms;
	else
		r->not_before_ms = now_ms + REST_FACTOR * round->worked_ms;
}

void when_proof_ended(struct digest_rounds *r, struct digest_class *c, bool failed)
{
	uint64_t now_ms = r->env->now_ms();
	uint64_t pause_ms = c->took_ms < PAUSE_MOST_MS ? c->took_ms : PAUSE_MOST_MS;

	c->under_way = false;
	c->took_ms = 0;
	if (!c->whole)
		return;
	r->whole_not_before_ms = now_ms + pause_ms;
	c->due_ms = now_ms + (failed && pause_ms < 1000 ? 1000 : pause_ms);
}

/* ---- the next one ---------------------------------------------------------------------------- */

/* Does the next round of a whole proof have to wait for a device? */
static bool waits_for_device(const struct digest_class *c)
{
	for (const struct digest_ask *a = c->asks; a; a = a->next)
		if (a->held)
			return true;
	return false;
}

/* All who were to have its proof are gone. */
static bool is_deserted(const struct digest_class *c)
{
	for (const struct digest_ask *a = c->asks; a; a = a->next)
		if (a->id)
			return false;
	return c->under_way;
}

static bool whole_under_way(const struct digest_rounds *r)
{
	for (const struct digest_class *c = r->classes; c; c = c->next)
		if (c->under_way)
			return true;
	return false;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* UINT64_MAX: not before another one's end, which is followed by a turn. */
static uint64_t when(const struct digest_rounds *r, const struct digest_class *c)
{
	if (c->under_way)
		return waits_for_device(c) ? c->due_ms : c->since_ms;
	if (!c->whole)
		return later(c->due_ms, r->not_before_ms);
	return whole_under_way(r) ? UINT64_MAX : later(c->due_ms, r->whole_not_before_ms);
}

/* While the database rests several are due: the one that has been for the longest. */
static bool comes_before(const struct digest_rounds *r, const struct digest_class *a,
			 const struct digest_class *b)
{
	if (when(r, a) != when(r, b))
		return when(r, a) < when(r, b);
	return a->due_ms <= b->due_ms;
}

/* Nobody waits for those who still have not taken the round before. */
static void drop_laggards(struct digest_rounds *r, struct digest_class *c)
{
	for (r->walk = c->under_way ? c->asks : NULL; r->walk;) {
		struct digest_ask *a = r->walk;

		r->walk = a->next;
		if (a->held)
			ask_fail(r, a);
	}
}

static struct digest_class *choose(struct digest_rounds *r)
{
	struct digest_class *first = NULL;

	for (struct digest_class *c = r->classes; c; c = c->next)
		if (is_deserted(c))
			when_proof_ended(r, c, false);
	for (struct digest_class *c = r->classes; c; c = c->next)
		if (c->asks && (!first || comes_before(r, c, first)))
			first = c;
	return first;
}

void digest_rounds_turn(struct digest_rounds *r)
{
	uint64_t now_ms = r->env->now_ms(), at_ms, rested_ms;
	struct digest_class *first;

	ask_serve_line(r);
	if (r->round.class || !r->connected)
		return;
	first = choose(r);
	at_ms = first ? when(r, first) : UINT64_MAX;
	if (at_ms <= now_ms) {
		drop_laggards(r, first);
		digest_round_begin(r, first);
		return;
	}
	rested_ms = ask_rested_ms(r);
	at_ms = at_ms < rested_ms ? at_ms : rested_ms;
	if (at_ms != UINT64_MAX)
		r->env->turn_in(r->env->ctx, (uint32_t)(at_ms - now_ms));
}
