/*
 * One round of proof: the slices of a digest_begin, and the states that the
 * file passes through until the server's digests come.
 *
 * The server's state lies somewhere between digest_begin and digest.  So the
 * digest of each slice is kept as it is at the beginning and after each frame
 * that changed a row of it, with the cursor it holds from.  If the server's
 * cursor is among those the file stood at, there is nothing to guess;
 * otherwise (a frame may span several batches) any equal state proves the
 * slice, and only one that did not change at all is known to differ.
 */
#include "cache_prove.h"

#include <stdlib.h>
#include <string.h>

/* For later states; the first one of each slice is always taken. */
#define ROWS_MOST 300000

void round_clear(struct round *r)
{
	for (size_t i = 0; i < r->slice_count; i++) {
		struct proof_slice *slice = &r->slices[i];

		free(slice->after);
		free(slice->upto);
		json_decref(slice->after_key);
		json_decref(slice->upto_key);
		free(slice->states);
	}
	free(r->slices);
	free(r->passed);
	memset(r, 0, sizeof(*r));
}

/* ---- the beginning ------------------------------------------------------------------------ */

/* A key object, or null for open. */
static cs_status take_bound(const json_t *from, const char *name, json_t **key, char **text,
			    struct cs_error *err)
{
	json_t *bound = json_object_get(from, name);

	if (json_is_null(bound))
		return CS_OK;
	if (!json_is_object(bound))
		return cs_fail(err, CS_ERR_PROTOCOL, "a slice has no bounds");
	*text = json_dumps(bound, JSON_COMPACT | JSON_ENCODE_ANY);
	if (!*text)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	*key = json_incref(bound);
	return CS_OK;
}

static cs_status take_slice(struct clinic_cache *c, const json_t *from, struct proof_slice *out,
			    struct cs_error *err)
{
	const char *name = json_string_value(json_object_get(from, "table"));
	int table;
	cs_status st;

	if (!name || strlen(name) > 63)
		return cs_fail(err, CS_ERR_PROTOCOL, "a slice has no table");
	table = proof_table_of(c->prove, name);
	if (table < 0)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	out->table = (size_t)table;
	st = take_bound(from, "after", &out->after_key, &out->after, err);
	return st == CS_OK ? take_bound(from, "upto", &out->upto_key, &out->upto, err) : st;
}

static void note_cursor(struct clinic_cache *c, struct round *r)
{
	if (r->passed_count < PROOF_PASSED_MOST)
		strcpy(r->passed[r->passed_count], c->cursor);
	/* those without a name are counted, too: a state of theirs belongs to no other */
	r->passed_count++;
}

cs_status round_begin(struct clinic_cache *c, proof_scope scope, const json_t *message,
		      struct cs_error *err)
{
	struct round *r = &c->prove->rounds[scope];
	const json_t *slices = json_object_get(message, "slices");
	const json_t *id = json_object_get(message, "id");
	size_t count = json_array_size(slices);
	uint64_t asked_at = r->asked_at;
	cs_status st = CS_OK;

	if (!json_is_array(slices) || !json_is_integer(id) || count > PROOF_SLICES_MOST)
		return cs_fail(err, CS_ERR_PROTOCOL, "a round of proof is of the wrong form");
	round_clear(r);
	r->asked = r->begun = true;
	r->asked_at = asked_at;
	r->id = json_integer_value(id);
	r->slices = calloc(count + 1, sizeof(*r->slices));
	r->passed = calloc(PROOF_PASSED_MOST, sizeof(*r->passed));
	if (!r->slices || !r->passed)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	while (st == CS_OK && r->slice_count < count) {
		st = take_slice(c, json_array_get(slices, r->slice_count),
				&r->slices[r->slice_count], err);
		r->slice_count++;
	}
	for (size_t i = 0; i < c->prove->table_count; i++)
		c->prove->tables[i].touched[scope] = false;
	note_cursor(c, r);
	return st;
}

/* ---- states ------------------------------------------------------------------------------- */

static struct cached_table *table_of(struct clinic_cache *c, const struct proof_slice *slice)
{
	const char *name = c->prove->tables[slice->table].name;

	return repair_is_wanted(c, name) ? NULL : tables_find(&c->tables, name, strlen(name));
}

static cs_status digest(struct clinic_cache *c, const struct proof_slice *slice,
			struct proof_state *out, struct cs_error *err)
{
	struct cached_table *t = table_of(c, slice);
	cs_status st = store_exec(c->db, "BEGIN", err);

	if (st == CS_OK)
		st = digest_range(c, t, slice->after, slice->upto, &out->rows, out->hash, err);
	store_rollback(c->db);
	return st;
}

static void take_state(struct clinic_cache *c, struct round *r, struct proof_slice *slice)
{
	struct proof_state *states;
	struct proof_state *state;

	if (slice->lost || !table_of(c, slice))
		return;
	slice->lost = true;
	if (slice->state_count == PROOF_STATES_MOST || r->rows > ROWS_MOST)
		return;
	states = realloc(slice->states, (slice->state_count + 1) * sizeof(*states));
	if (!states)
		return;
	slice->states = states;
	state = &states[slice->state_count];
	/* the first is taken before anything changes */
	state->since = slice->state_count ? (uint32_t)(r->passed_count - 1) : 0;
	if (digest(c, slice, state, NULL) != CS_OK)
		return;
	slice->state_count++;
	slice->lost = false;
	if (slice->state_count > 1)
		r->rows += state->rows;
}

static void take_first_state(struct clinic_cache *c, struct round *r, struct proof_slice *slice)
{
	if (!slice->taken)
		take_state(c, r, slice);
	slice->taken = true;
}

void round_step(struct clinic_cache *c, struct round *r)
{
	while (r->computed < r->slice_count && r->slices[r->computed].taken)
		r->computed++;
	if (r->computed < r->slice_count)
		take_first_state(c, r, &r->slices[r->computed++]);
}

/* ---- changes meanwhile ---------------------------------------------------------------------- */

struct hitting {
	struct clinic_cache *c;
	struct round *r;
};

/* A change without a key concerns all rows. */
static void hit(struct hitting *h, const struct wire_change *change, const struct schema *s)
{
	json_t *key = change->key.there
			      ? json_loadb(change->key.json, change->key.json_len, 0, NULL)
			      : NULL;

	for (size_t i = 0; i < h->r->slice_count; i++) {
		struct proof_slice *slice = &h->r->slices[i];
		const struct key_bound after = {slice->after_key};
		const struct key_bound upto = {slice->upto_key};

		if (strcmp(h->c->prove->tables[slice->table].name, s->table) == 0 &&
		    (!key || key_is_within(s, key, &after, &upto)))
			slice->hit = slice->touched = true;
	}
	json_decref(key);
}

static cs_status hit_by(void *context, const struct wire_change *change, struct cs_error *err)
{
	struct hitting *h = context;
	const struct cached_table *t =
		tables_find(&h->c->tables, change->table.text, change->table.len);

	(void)err;
	if (t)
		hit(h, change, t->schema);
	return CS_OK;
}

static void find_hits(struct clinic_cache *c, struct round *r, struct frame_source *source)
{
	struct hitting h = {c, r};
	const char *message;
	size_t len;

	source_rewind(source);
	while (source_next(source, &message, &len, NULL) == CS_OK && message)
		if (changes_read(message, len, hit_by, &h, NULL) != CS_OK)
			break;
}

void round_settle(struct clinic_cache *c, struct round *r, struct frame_source *source)
{
	if (!r->begun || r->computed == r->slice_count)
		return;
	find_hits(c, r, source);
	for (size_t i = 0; i < r->slice_count; i++) {
		if (r->slices[i].hit)
			take_first_state(c, r, &r->slices[i]);
		r->slices[i].hit = false;
	}
}

static void note_touched(struct clinic_cache *c, proof_scope scope)
{
	for (size_t i = 0; i < c->prove->table_count; i++) {
		struct proof_table *table = &c->prove->tables[i];
		const struct cached_table *t =
			tables_find(&c->tables, table->name, strlen(table->name));

		if (t && t->touched)
			table->touched[scope] = true;
	}
}

void round_moved(struct clinic_cache *c, proof_scope scope, struct frame_source *source)
{
	struct round *r = &c->prove->rounds[scope];

	if (!r->begun)
		return;
	note_cursor(c, r);
	if (!source)
		return;
	note_touched(c, scope);
	find_hits(c, r, source);
	for (size_t i = 0; i < r->slice_count; i++) {
		struct proof_slice *slice = &r->slices[i];

		/* what it was before is not known */
		if (slice->hit && !slice->taken)
			slice->taken = slice->lost = true;
		else if (slice->hit)
			take_state(c, r, slice);
		slice->hit = false;
	}
}

void round_forget_table(struct round *r, size_t table)
{
	for (size_t i = 0; i < r->slice_count; i++) {
		if (r->slices[i].table != table)
			continue;
		r->slices[i].touched = r->slices[i].lost = true;
		r->slices[i].state_count = 0;
	}
}

/* ---- the end -------------------------------------------------------------------------------- */

/* The state that held when the file was at cursor; NULL: not known. */
static const struct proof_state *state_at(const struct round *r, const struct proof_slice *slice,
					  const char *cursor)
{
	const struct proof_state *found = NULL;
	const size_t named =
		r->passed_count < PROOF_PASSED_MOST ? r->passed_count : PROOF_PASSED_MOST;
	size_t at = 0;

	while (at < named && strcmp(r->passed[at], cursor) != 0)
		at++;
	if (at == named)
		return NULL;
	for (size_t i = 0; i < slice->state_count && slice->states[i].since <= at; i++)
		found = &slice->states[i];
	/* after the last one there may be others that could not be taken */
	if (slice->lost && slice->state_count && found == &slice->states[slice->state_count - 1] &&
	    found->since != at)
		return NULL;
	return found;
}

proof_verdict round_judge(struct clinic_cache *c, const struct round *r, size_t i,
			  const char *cursor, int64_t rows, const char *hash)
{
	const struct proof_slice *slice = &r->slices[i];

	if (!table_of(c, slice))
		return PROOF_VOID;
	for (size_t k = 0; k < slice->state_count; k++)
		if (slice->states[k].rows == rows && strcmp(slice->states[k].hash, hash) == 0)
			return PROOF_EQUAL;
	if (slice->state_count && !slice->touched)
		return PROOF_DIFFERS;
	return state_at(r, slice, cursor) ? PROOF_DIFFERS : PROOF_DOUBT;
}
