/*
 * Sync now: a person, or somebody at the server by SQL, wants to be sure.
 *
 * Each table is proven whole, slice after slice, by rounds that begin after
 * the wish; or fetched, where that is what was asked for or what the proof
 * came to.  It is over when nothing is wanted of any table any more.  Wishes
 * that come while one is under way join it, and it begins anew.
 */
#include "cache_prove.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AFTER_FAILURE_MS 1000
#define ASK_AGAIN_MS 100
#define PASSES_MOST 100 /* answers, until every table is proven or fetched */

/* ---- wishes ----------------------------------------------------------------------------- */

static void forget_cover(struct proof_table *t)
{
	free(t->covered);
	t->covered = NULL;
	t->covered_all = t->missed = false;
}

static cs_status want(struct clinic_cache *c, const char *table, table_want what,
		      struct cs_error *err)
{
	int at = proof_table_of(c->prove, table);

	if (at < 0)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	forget_cover(&c->prove->tables[at]);
	if (what == WANT_PROOF && c->prove->tables[at].want == WANT_FETCH)
		return CS_OK;
	c->prove->tables[at].want = what;
	return what == WANT_FETCH ? repair_want(c, table, REPAIR_ASKED, err) : CS_OK;
}

static void begin(struct clinic_cache *c)
{
	struct prove *p = c->prove;

	if (p->now != CLINIC_CACHE_SYNC_NOW_RUNNING) {
		p->repairs = 0;
		p->problem[0] = '\0';
	}
	p->now = CLINIC_CACHE_SYNC_NOW_RUNNING;
	/* a round that began before says nothing of what is now */
	round_clear(&p->rounds[PROOF_TABLES]);
	p->progress_at = c->now_ms;
	p->ask_at = 0;
	p->passes = 0;
}

static bool is_patient_data(const struct schema *s)
{
	return strcmp(s->event, "patient_data_change_immediate") == 0 ||
	       strcmp(s->event, "billing_change_immediate") == 0;
}

static bool is_in_scope(const struct cached_table *t, enum clinic_cache_scope scope,
			const char *table)
{
	switch (scope) {
	case CLINIC_CACHE_SCOPE_ALL:
		return true;
	case CLINIC_CACHE_SCOPE_PATIENT_DATA:
		return is_patient_data(t->schema);
	case CLINIC_CACHE_SCOPE_TABLE:
		return table && strcmp(t->schema->table, table) == 0;
	}
	return false;
}

clinic_cache_status clinic_cache_sync_now(struct clinic_cache *c, enum clinic_cache_scope scope,
					  const char *table, uint64_t now_ms)
{
	struct cs_error err = {0};
	size_t wanted = 0;
	cs_status st = CS_OK;

	c->now_ms = now_ms;
	if (c->stopped)
		return CLINIC_CACHE_ERR_REFUSED;
	for (size_t i = 0; i < c->tables.count && st == CS_OK; i++) {
		if (!is_in_scope(c->tables.items[i], scope, table))
			continue;
		st = want(c, c->tables.items[i]->schema->table, WANT_PROOF, &err);
		wanted++;
	}
	if (st == CS_OK && c->tables.count == 0)
		st = cs_fail(&err, CS_ERR_CONFIG, "the file was never synced");
	if (st == CS_OK && wanted == 0)
		st = cs_fail(&err, CS_ERR_CONFIG, "the file does not sync %s",
			     scope == CLINIC_CACHE_SCOPE_TABLE ? "that table" : "any such table");
	if (st != CS_OK)
		return cache_result(c, &err);
	begin(c);
	if (c->link == LINK_DOWN)
		c->retry_at = now_ms;
	return CLINIC_CACHE_OK;
}

clinic_cache_sync_now_result clinic_cache_sync_now_state(const struct clinic_cache *c)
{
	return c->prove->now;
}

const char *clinic_cache_sync_now_problem(const struct clinic_cache *c)
{
	return c->prove->now == CLINIC_CACHE_SYNC_NOW_FAILED ? c->prove->problem : NULL;
}

int64_t clinic_cache_sync_now_repairs(const struct clinic_cache *c)
{
	return c->prove->repairs;
}

/* ---- by SQL ----------------------------------------------------------------------------- */

static bool names(const json_t *tables, const char *name)
{
	size_t i;
	json_t *item;

	if (json_is_null(tables))
		return true;
	json_array_foreach((json_t *)(uintptr_t)tables, i, item)
	{
		const char *text = json_string_value(item);

		if (text && strcmp(text, name) == 0)
			return true;
	}
	return false;
}

static void remember_request(struct clinic_cache *c, json_int_t id)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", (long long)id);
	prove_write_meta(c, "sync_request", text);
}

cs_status prove_on_request(struct clinic_cache *c, const json_t *message, struct cs_error *err)
{
	const json_t *tables = json_object_get(message, "tables");
	const char *kind = json_string_value(json_object_get(message, "kind"));
	json_int_t id = json_integer_value(json_object_get(message, "id"));
	bool fetch = kind && strcmp(kind, "table_sync") == 0;
	size_t wanted = 0;
	cs_status st = CS_OK;

	if (!kind || id <= 0 || (!json_is_null(tables) && !json_is_array(tables)))
		return cs_fail(err, CS_ERR_PROTOCOL, "a request for a sync is of the wrong form");
	if (id <= prove_sync_request(c))
		return CS_OK;
	for (size_t i = 0; i < c->tables.count && st == CS_OK; i++) {
		const char *name = c->tables.items[i]->schema->table;

		if (!names(tables, name))
			continue;
		st = want(c, name, fetch ? WANT_FETCH : WANT_PROOF, err);
		wanted++;
	}
	if (st != CS_OK)
		return st;
	if (wanted)
		begin(c);
	/* those before it are done when it is */
	if (wanted || c->prove->now == CLINIC_CACHE_SYNC_NOW_RUNNING)
		c->prove->request_id = id;
	else
		remember_request(c, id);
	return CS_OK;
}

/* ---- on the way ------------------------------------------------------------------------- */

void prove_progress(struct clinic_cache *c)
{
	c->prove->progress_at = c->now_ms;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

void sync_now_judged(struct clinic_cache *c, const struct proof_slice *slice, proof_verdict verdict)
{
	struct proof_table *t = &c->prove->tables[slice->table];

	/* each slice continues the one before it; the first begins with the table */
	if (!slice->after)
		forget_cover(t);
	if (verdict != PROOF_EQUAL || !same_text(t->covered, slice->after))
		t->missed = true;
	free(t->covered);
	t->covered = slice->upto ? strdup(slice->upto) : NULL;
	t->covered_all = !slice->upto && !t->missed;
	if (t->covered_all && t->want == WANT_PROOF)
		t->want = WANT_NOTHING;
}

void sync_now_answered(struct clinic_cache *c, bool failed)
{
	for (size_t i = 0; i < c->prove->table_count; i++)
		forget_cover(&c->prove->tables[i]);
	/* what is still wanted is asked for again, but not in a tight loop */
	c->prove->ask_at = c->now_ms + (failed ? AFTER_FAILURE_MS : ASK_AGAIN_MS);
	if (!failed)
		c->prove->passes++;
}

void sync_now_reset(struct clinic_cache *c)
{
	for (size_t i = 0; i < c->prove->table_count; i++)
		forget_cover(&c->prove->tables[i]);
	c->prove->ask_at = 0;
}

static bool any_wanted(const struct clinic_cache *c, bool only_proofs)
{
	for (size_t i = 0; i < c->prove->table_count; i++) {
		const struct proof_table *t = &c->prove->tables[i];

		if (only_proofs ? t->want == WANT_PROOF && !repair_is_wanted(c, t->name)
				: t->want != WANT_NOTHING)
			return true;
	}
	return false;
}

bool sync_now_is_over(const struct clinic_cache *c)
{
	return c->prove->now == CLINIC_CACHE_SYNC_NOW_RUNNING && !any_wanted(c, false);
}

bool sync_now_may_ask(const struct clinic_cache *c)
{
	return !c->prove->rounds[PROOF_TABLES].asked && !session_is_full(c) && any_wanted(c, true);
}

/* ---- the end ---------------------------------------------------------------------------- */

static void forget_wants(struct prove *p)
{
	for (size_t i = 0; i < p->table_count; i++)
		p->tables[i].want = WANT_NOTHING;
	p->request_id = 0;
}

void sync_now_fail(struct clinic_cache *c, const char *why)
{
	struct prove *p = c->prove;

	if (p->now != CLINIC_CACHE_SYNC_NOW_RUNNING)
		return;
	p->now = CLINIC_CACHE_SYNC_NOW_FAILED;
	snprintf(p->problem, sizeof(p->problem), "%s", why);
	forget_wants(p);
	round_clear(&p->rounds[PROOF_TABLES]);
	drift_proven(c, false);
	event_simple(c, "sync_error", p->problem);
}

static void complete(struct clinic_cache *c)
{
	struct prove *p = c->prove;
	json_int_t id = p->request_id;

	p->now = CLINIC_CACHE_SYNC_NOW_DONE;
	forget_wants(p);
	if (id)
		remember_request(c, id);
	drift_proven(c, true);
	event_sync_now(c, p->repairs);
}

/* Tables that are synced no more. */
static void drop_gone(struct clinic_cache *c)
{
	for (size_t i = 0; c->db && i < c->prove->table_count; i++) {
		struct proof_table *t = &c->prove->tables[i];

		if (t->want != WANT_NOTHING && !tables_find(&c->tables, t->name, strlen(t->name)))
			t->want = WANT_NOTHING;
	}
}

/* The first that is wanted; only_work: and that something can be done for before time is over. */
static const struct proof_table *first_wanted(const struct clinic_cache *c, bool only_work)
{
	const uint64_t ends_at = c->prove->progress_at + CLINIC_CACHE_SYNC_NOW_MS;

	for (size_t i = 0; i < c->prove->table_count; i++) {
		const struct proof_table *t = &c->prove->tables[i];

		if (t->want != WANT_NOTHING &&
		    (!only_work || c->now_ms + repair_pause_ms(c, t->name) <= ends_at))
			return t;
	}
	return NULL;
}

/* All that is left are tables that wait because they were put right so often, or never could be. */
static bool fail_over_pauses(struct clinic_cache *c)
{
	const struct proof_table *t = first_wanted(c, true) ? NULL : first_wanted(c, false);
	char why[200];

	if (!t)
		return false;
	snprintf(why, sizeof(why),
		 "sync now: table %s was fetched in vain too often; it is fetched again in %llu s",
		 t->name, (unsigned long long)(repair_pause_ms(c, t->name) / 1000));
	sync_now_fail(c, why);
	return true;
}

void sync_now_tick(struct clinic_cache *c)
{
	struct prove *p = c->prove;
	struct cs_error err = {0};

	if (p->now != CLINIC_CACHE_SYNC_NOW_RUNNING)
		return;
	drop_gone(c);
	if (sync_now_is_over(c)) {
		complete(c);
	} else if (c->now_ms > p->progress_at + CLINIC_CACHE_SYNC_NOW_MS) {
		sync_now_fail(c, c->link == LINK_READY
					 ? "sync now: the relay did not answer in time"
					 : "sync now: the relay could not be reached in time");
	} else if (c->link == LINK_READY && fail_over_pauses(c)) {
		return;
	} else if (p->passes > PASSES_MOST) {
		sync_now_fail(c, "sync now: what the relay proves are not the tables asked for");
	} else if (c->link != LINK_READY || !c->db) {
		return;
	} else if (!prove_is_known(c)) {
		sync_now_fail(c, "sync now: the relay is of a version that cannot do it");
	} else if (sync_now_may_ask(c) && c->now_ms >= p->ask_at) {
		if (prove_ask(c, PROOF_TABLES, &err) != CS_OK)
			sync_now_fail(c, err.text);
	}
}
