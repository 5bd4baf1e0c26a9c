/*
 * Is the file what the server is?
 *
 * Every sync interval the device asks for a round of proof, and the relay
 * answers all devices of the clinic with one: digest_begin names slices of the
 * tables, digest brings what the server has there (docs/protocol.md, "Proof").
 * A table that differs is fetched anew (cache_repair.c).  One that changed
 * meanwhile, so that nothing can be said, is looked at in the next round; if
 * that goes on for some rounds it is fetched, too: fetching finds out.
 */
#include "cache_prove.h"
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MOST_MS (10 * 60 * 1000)

/* ---- life ------------------------------------------------------------------------------- */

cs_status prove_new(struct clinic_cache *c, struct cs_error *err)
{
	c->prove = calloc(1, sizeof(*c->prove));
	if (!c->prove)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	c->prove->relay_interval_s = -1;
	return CS_OK;
}

void prove_free(struct clinic_cache *c)
{
	if (!c->prove)
		return;
	prove_reset(c);
	for (size_t i = 0; i < c->prove->table_count; i++)
		free(c->prove->tables[i].covered);
	free(c->prove->tables);
	free(c->prove);
	c->prove = NULL;
}

void prove_reset(struct clinic_cache *c)
{
	for (int scope = 0; scope < PROOF_SCOPES; scope++)
		round_clear(&c->prove->rounds[scope]);
	c->prove->next_at = 0;
	sync_now_reset(c);
}

int proof_table_of(struct prove *p, const char *name)
{
	struct proof_table *table;

	for (size_t i = 0; i < p->table_count; i++)
		if (strcmp(p->tables[i].name, name) == 0)
			return (int)i;
	table = realloc(p->tables, (p->table_count + 1) * sizeof(*table));
	if (!table)
		return -1;
	p->tables = table;
	table = &p->tables[p->table_count];
	memset(table, 0, sizeof(*table));
	snprintf(table->name, sizeof(table->name), "%s", name);
	return (int)p->table_count++;
}

/* ---- the file's own memory -------------------------------------------------------------- */

void prove_write_meta(struct clinic_cache *c, const char *key, const char *value)
{
	/* what cannot be written now is written the next time */
	if (!c->db || write_begin(c, WRITE_SHORT, NULL) != CS_OK)
		return;
	if (meta_set(c->db, key, value, NULL) != CS_OK || write_commit(c, NULL) != CS_OK)
		write_rollback(c);
}

int64_t prove_sync_request(struct clinic_cache *c)
{
	char text[32];

	if (!c->db || !c->cursor[0] ||
	    meta_get(c->db, "main", "sync_request", text, sizeof(text), NULL) != CS_OK || !text[0])
		return -1;
	return strtoll(text, NULL, 10);
}

static int interval_s(const struct clinic_cache *c)
{
	if (c->sync_interval_s < 0 || c->prove->relay_interval_s < 0)
		return 0;
	return c->sync_interval_s ? c->sync_interval_s : c->prove->relay_interval_s;
}

static void remember_number(struct clinic_cache *c, const char *key, json_int_t value)
{
	char text[32], now[32];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	if (c->db && c->cursor[0] &&
	    meta_get(c->db, "main", key, now, sizeof(now), NULL) == CS_OK && strcmp(now, text) != 0)
		prove_write_meta(c, key, text);
}

/* A file that never did one is as new as the newest. */
void prove_file_arrived(struct clinic_cache *c)
{
	remember_number(c, "sync_interval_s", interval_s(c));
	if (prove_sync_request(c) < 0 && c->prove->newest_request >= 0)
		remember_number(c, "sync_request", c->prove->newest_request);
}

void prove_connected(struct clinic_cache *c, const json_t *message)
{
	const json_t *interval = json_object_get(message, "sync_interval_s");
	const json_t *request = json_object_get(message, "sync_request");
	json_int_t seconds = json_integer_value(interval);

	c->prove->newest_request = json_is_integer(request) ? json_integer_value(request) : -1;
	c->prove->relay_interval_s = -1;
	if (json_is_integer(interval) && seconds >= 0 && seconds <= 3600)
		c->prove->relay_interval_s = (int)seconds;
	prove_file_arrived(c);
}

bool prove_is_known(const struct clinic_cache *c)
{
	return c->prove->relay_interval_s >= 0;
}

/* ---- answers ---------------------------------------------------------------------------- */

static bool take_scope(const json_t *message, proof_scope *out)
{
	const char *name = json_string_value(json_object_get(message, "scope"));

	for (int i = 0; name && i < PROOF_SCOPES; i++) {
		*out = (proof_scope)i;
		if (strcmp(name, proof_scope_name(*out)) == 0)
			return true;
	}
	return false;
}

cs_status prove_on_begin(struct clinic_cache *c, const json_t *message, struct cs_error *err)
{
	proof_scope scope;

	if (!take_scope(message, &scope))
		return cs_fail(err, CS_ERR_PROTOCOL, "a round of proof is of the wrong form");
	/* one that is wanted no more */
	if (c->link != LINK_READY || !c->prove->rounds[scope].asked)
		return CS_OK;
	prove_progress(c);
	return round_begin(c, scope, message, err);
}

static void note_verdict(struct clinic_cache *c, size_t table, proof_verdict verdict)
{
	struct proof_table *t = &c->prove->tables[table];

	if (!t->judged || verdict > t->verdict)
		t->verdict = verdict;
	t->judged = true;
}

static cs_status judge_slices(struct clinic_cache *c, proof_scope scope, const json_t *message,
			      struct cs_error *err)
{
	struct round *r = &c->prove->rounds[scope];
	const json_t *slices = json_object_get(message, "slices");
	const char *cursor = json_string_value(json_object_get(message, "cursor"));

	if (!cursor || json_array_size(slices) != r->slice_count)
		return cs_fail(err, CS_ERR_PROTOCOL, "a digest is of the wrong form");
	for (size_t i = 0; i < r->slice_count; i++) {
		const json_t *slice = json_array_get(slices, i);
		const json_t *rows = json_object_get(slice, "rows");
		const char *hash = json_string_value(json_object_get(slice, "hash"));
		proof_verdict verdict;

		if (!json_is_integer(rows) || !hash)
			return cs_fail(err, CS_ERR_PROTOCOL, "a digest is of the wrong form");
		verdict = round_judge(c, r, i, cursor, json_integer_value(rows), hash);
		note_verdict(c, r->slices[i].table, verdict);
		if (scope == PROOF_TABLES)
			sync_now_judged(c, &r->slices[i], verdict);
	}
	return CS_OK;
}

/* Rows of whole tables: slices go round, this finds a lost or an extra row at once. */
static void judge_counts(struct clinic_cache *c, proof_scope scope, const json_t *message)
{
	const char *name;
	json_t *count;

	json_object_foreach(json_object_get(message, "counts"), name, count)
	{
		struct cached_table *t = tables_find(&c->tables, name, strlen(name));
		int at = t ? proof_table_of(c->prove, name) : -1;
		int64_t rows = 0;

		if (!json_is_integer(count) || at < 0 || repair_is_wanted(c, name) ||
		    c->prove->tables[at].touched[scope] ||
		    table_count_rows(c, t, &rows, NULL) != CS_OK)
			continue;
		if (rows != json_integer_value(count))
			note_verdict(c, (size_t)at, PROOF_DIFFERS);
	}
}

/* Returns whether everything was equal. */
static cs_status draw_conclusions(struct clinic_cache *c, bool *all_equal, struct cs_error *err)
{
	*all_equal = true;
	for (size_t i = 0; i < c->prove->table_count; i++) {
		struct proof_table *t = &c->prove->tables[i];
		cs_status st = CS_OK;

		if (!t->judged)
			continue;
		t->judged = false;
		*all_equal = *all_equal && t->verdict == PROOF_EQUAL;
		if (t->verdict == PROOF_DOUBT && ++t->doubts >= PROOF_DOUBTS_MOST)
			t->verdict = PROOF_DIFFERS;
		if (t->verdict == PROOF_EQUAL) {
			t->doubts = 0;
			repair_proven(c, t->name);
		}
		if (t->verdict != PROOF_DIFFERS)
			continue;
		t->doubts = 0;
		if (t->want == WANT_PROOF)
			t->want = WANT_REPAIR;
		event_table_differs(c, t->name);
		st = repair_want(c, t->name, REPAIR_DIFFERS, err);
		if (st != CS_OK)
			return st;
	}
	return CS_OK;
}

/* The round has come to its end, or to nothing. */
static void end_round(struct clinic_cache *c, proof_scope scope, bool last, bool failed)
{
	struct round *r = &c->prove->rounds[scope];
	uint64_t asked_at = r->asked_at;

	round_clear(r);
	r->asked = !last;
	r->asked_at = asked_at;
	if (last && scope == PROOF_TABLES)
		sync_now_answered(c, failed);
}

cs_status prove_on_digest(struct clinic_cache *c, const json_t *message, struct cs_error *err)
{
	const json_t *last = json_object_get(message, "last");
	char now[CLOCK_TEXT_BYTES];
	bool all_equal = false;
	proof_scope scope;
	struct round *r;
	cs_status st;

	if (!take_scope(message, &scope) || !json_is_boolean(last))
		return cs_fail(err, CS_ERR_PROTOCOL, "a digest is of the wrong form");
	r = &c->prove->rounds[scope];
	if (c->link != LINK_READY || !r->asked)
		return CS_OK;
	if (json_is_true(json_object_get(message, "failed"))) {
		end_round(c, scope, json_is_true(last), true);
		return CS_OK;
	}
	if (!r->begun || json_integer_value(json_object_get(message, "id")) != r->id)
		return CS_OK;
	prove_progress(c);
	while (c->db && r->computed < r->slice_count)
		round_step(c, r);
	st = judge_slices(c, scope, message, err);
	if (st == CS_OK)
		judge_counts(c, scope, message);
	if (st == CS_OK)
		st = draw_conclusions(c, &all_equal, err);
	if (st != CS_OK)
		return st;
	if (scope == PROOF_SLICE)
		c->prove->found_equal = all_equal;
	if (all_equal)
		prove_write_meta(c, "proven_at", clock_utc_text(now));
	end_round(c, scope, json_is_true(last), false);
	return CS_OK;
}

void prove_on_error(struct clinic_cache *c, const char *table)
{
	if (!c->prove->rounds[PROOF_TABLES].asked)
		return;
	for (size_t i = 0; i < c->prove->table_count; i++) {
		struct proof_table *t = &c->prove->tables[i];

		if (t->want == WANT_PROOF && (!table || strcmp(t->name, table) == 0))
			sync_now_fail(c,
				      "sync now: the relay does not publish a table of the file");
	}
}

/* ---- between messages --------------------------------------------------------------------- */

bool prove_watches(const struct clinic_cache *c)
{
	return c->prove->rounds[PROOF_SLICE].begun || c->prove->rounds[PROOF_TABLES].begun;
}

static struct round *uncomputed(const struct clinic_cache *c)
{
	for (int scope = 0; scope < PROOF_SCOPES; scope++) {
		struct round *r = &c->prove->rounds[scope];

		if (r->begun && r->computed < r->slice_count)
			return r;
	}
	return NULL;
}

void prove_settle(struct clinic_cache *c, struct frame_source *source)
{
	for (int scope = 0; c->db && scope < PROOF_SCOPES; scope++)
		round_settle(c, &c->prove->rounds[scope], source);
}

void prove_moved(struct clinic_cache *c, struct frame_source *source)
{
	for (int scope = 0; scope < PROOF_SCOPES; scope++)
		round_moved(c, (proof_scope)scope, source);
}

void prove_repaired(struct clinic_cache *c, const char *table, bool differed)
{
	struct prove *p = c->prove;
	int at = proof_table_of(p, table);

	prove_progress(c);
	if (at < 0)
		return;
	for (int scope = 0; scope < PROOF_SCOPES; scope++)
		round_forget_table(&p->rounds[scope], (size_t)at);
	p->tables[at].doubts = 0;
	if (p->tables[at].want == WANT_REPAIR || p->tables[at].want == WANT_FETCH)
		p->tables[at].want = WANT_NOTHING;
	else if (p->tables[at].want == WANT_NOTHING)
		return;
	if (differed)
		p->repairs++;
}

static bool periodic_is_due(const struct clinic_cache *c)
{
	return interval_s(c) > 0 && !c->prove->rounds[PROOF_SLICE].asked &&
	       c->now_ms >= c->prove->next_at;
}

/* Not all devices of a clinic that came back together at the same moment. */
static void set_first_time(struct clinic_cache *c)
{
	uint32_t random;

	if (c->prove->next_at || interval_s(c) <= 0)
		return;
	sqlite3_randomness(sizeof(random), &random);
	c->prove->next_at = c->now_ms + random % ((uint32_t)interval_s(c) * 1000) + 1;
}

static void drop_silent(struct clinic_cache *c)
{
	for (int scope = 0; scope < PROOF_SCOPES; scope++) {
		struct round *r = &c->prove->rounds[scope];

		if (r->asked && c->now_ms > r->asked_at + ANSWER_MOST_MS)
			end_round(c, (proof_scope)scope, true, true);
	}
}

void prove_tick(struct clinic_cache *c)
{
	struct round *r;
	struct cs_error err = {0};

	sync_now_tick(c);
	if (!c->db || c->link != LINK_READY)
		return;
	r = uncomputed(c);
	if (r) {
		round_step(c, r);
		return;
	}
	drop_silent(c);
	set_first_time(c);
	if (!periodic_is_due(c) || session_is_full(c))
		return;
	c->prove->next_at = c->now_ms + (uint64_t)interval_s(c) * 1000;
	if (prove_ask(c, PROOF_SLICE, &err) != CS_OK)
		event_simple(c, "sync_error", err.text);
}

uint32_t prove_wait_ms(const struct clinic_cache *c, uint32_t most)
{
	const struct prove *p = c->prove;
	uint64_t at = c->now_ms + most;

	if (sync_now_is_over(c))
		return 0;
	if (p->now == CLINIC_CACHE_SYNC_NOW_RUNNING &&
	    p->progress_at + CLINIC_CACHE_SYNC_NOW_MS < at)
		at = p->progress_at + CLINIC_CACHE_SYNC_NOW_MS + 1;
	if (c->db && c->link == LINK_READY) {
		if (uncomputed(c))
			return 0;
		if (p->now == CLINIC_CACHE_SYNC_NOW_RUNNING && sync_now_may_ask(c) &&
		    p->ask_at < at)
			at = p->ask_at;
		if (interval_s(c) > 0 && !p->rounds[PROOF_SLICE].asked && p->next_at < at)
			at = p->next_at;
	}
	return at <= c->now_ms ? 0 : (uint32_t)(at - c->now_ms);
}
