/* Rounds of proof: when one begins, what the job is told and what it says; see digest_round.h. */
#include "digest_round.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "log.h"
#include "metrics.h"
#include "protocol_out.h"

/* The database rests so many times as long as it worked for a periodic round. */
#define REST_FACTOR 19
/* A device that has not taken a round of a whole proof after this holds up the others no more. */
#define LAGGARD_MS 2000
/* Whole proofs of the same tables: a pause as long as the proof took, at most this. */
#define PAUSE_MOST_MS 60000
/* Names of a thousand tables beside the slices. */
#define TEXT_MOST_BYTES ((size_t)JOB_SPEC_MOST_BYTES)

static void on_line(void *ctx, const char *line, size_t len);
static void on_end(void *ctx, bool ok);

static const struct digest_events events = {.on_line = on_line, .on_end = on_end};

static const char *scope_of(const struct digest_class *c)
{
	return c->whole ? "tables" : "slice";
}

/* ---- life -------------------------------------------------------------------------- */

struct digest_rounds *digest_rounds_new(const struct digest_env *env)
{
	struct digest_rounds *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->env = env;
	dynbuf_init(&r->round.counts, TEXT_MOST_BYTES);
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

static void next_due(const struct digest_rounds *r, struct digest_class *c, uint64_t now_ms)
{
	uint64_t interval_ms = (uint64_t)r->env->config->sync_interval_s * 1000;

	if (!interval_ms)
		interval_ms = 1000; /* switched off; those who asked before get their answer */
	if (c->due_ms <= now_ms)
		c->due_ms += ((now_ms - c->due_ms) / interval_ms + 1) * interval_ms;
}

/* No round is under way any more. */
static void close_round(struct digest_rounds *r)
{
	struct digest_round *round = &r->round;
	struct digest_class *c = round->class;
	uint64_t now_ms = r->env->now_ms();

	if (round->worked_at_ms)
		round->worked_ms += now_ms - round->worked_at_ms;
	metric_add(METRIC_DIGEST_MS, round->worked_ms);
	if (!c->whole)
		r->not_before_ms = now_ms + REST_FACTOR * round->worked_ms;
	c->worked_ms += round->worked_ms;
	round->stage = ROUND_NONE;
	round->class = NULL;
	round->job = NULL;
}

/* The next proof of these tables has to wait a little. */
static void close_proof(struct digest_rounds *r, struct digest_class *c, bool failed)
{
	uint64_t pause_ms = c->worked_ms < PAUSE_MOST_MS ? c->worked_ms : PAUSE_MOST_MS;

	if (failed && pause_ms < 1000)
		pause_ms = 1000;
	c->under_way = false;
	c->worked_ms = 0;
	if (c->whole)
		c->due_ms = r->env->now_ms() + pause_ms;
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
	close_proof(r, c, true);
	fail_asks(r, c, begun);
	r->env->turn_in(r->env->ctx, 0);
}

static struct frame *print_digest(const struct digest_rounds *r)
{
	const struct digest_round *round = &r->round;
	char cursor[CURSOR_TEXT_BYTES];
	struct dynbuf b;

	dynbuf_init(&b, TEXT_MOST_BYTES);
	dynbuf_addf(&b,
		    "{\"type\":\"digest\",\"id\":%" PRIu64 ",\"scope\":\"%s\",\"cursor\":\"%s\","
		    "\"slices\":[",
		    round->id, scope_of(round->class), cursor_format(&round->cursor, cursor));
	for (size_t i = 0; i < round->slice_count; i++)
		dynbuf_addf(&b, "%s{\"rows\":%" PRIu64 ",\"hash\":\"%s\"}", i ? "," : "",
			    round->results[i].rows, round->results[i].hash);
	dynbuf_addf(&b, "],\"counts\":{%s},\"last\":%s}",
		    round->counts.len ? round->counts.data : "", round->is_last ? "true" : "false");
	return out_message(&b);
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

static bool is_complete(const struct digest_round *round)
{
	for (size_t i = 0; i < round->slice_count; i++)
		if (!round->results[i].known)
			return false;
	return round->cursor.batch && !round->counts.failed;
}

static void finish_round(struct digest_rounds *r)
{
	struct digest_round *round = &r->round;
	struct digest_class *c = round->class;
	struct frame *f = is_complete(round) ? print_digest(r) : NULL;

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
		close_proof(r, c, false);
	else
		c->due_ms = r->env->now_ms() + LAGGARD_MS;
	c->since_ms = r->env->now_ms();
	digest_rounds_look(r);
	r->env->turn_in(r->env->ctx, 0);
}

/* ---- the job ------------------------------------------------------------------------------ */

static void take_slice(struct digest_round *round, const json_t *m)
{
	const char *hash = json_string_value(json_object_get(m, "hash"));
	json_int_t i = json_integer_value(json_object_get(m, "slice"));
	json_int_t rows = json_integer_value(json_object_get(m, "rows"));
	struct slice_result *result;

	if (i < 0 || (size_t)i >= round->slice_count || rows < 0 || !hash || strlen(hash) != 16 ||
	    strspn(hash, "0123456789abcdef") != 16)
		return;
	result = &round->results[i];
	result->known = true;
	result->rows = (uint64_t)rows;
	memcpy(result->hash, hash, sizeof(result->hash));
}

static void take_count(struct digest_round *round, const char *table, const json_t *rows)
{
	struct dynbuf *b = &round->counts;

	if (b->len)
		dynbuf_adds(b, ",");
	dynbuf_add_json(b, table, strlen(table));
	if (json_is_integer(rows))
		dynbuf_addf(b, ":%lld", (long long)json_integer_value(rows));
	else
		dynbuf_adds(b, ":null");
}

static void on_line(void *ctx, const char *line, size_t len)
{
	struct digest_rounds *r = ctx;
	struct digest_round *round = &r->round;
	json_t *m = json_loadb(line, len, 0, NULL);
	const char *cursor = json_string_value(json_object_get(m, "cursor"));
	const char *error = json_string_value(json_object_get(m, "error"));
	const char *count = json_string_value(json_object_get(m, "count"));
	const char *bounds = json_string_value(json_object_get(m, "bounds"));

	/* what came before was the start of a process */
	if (!round->worked_at_ms)
		round->worked_at_ms = r->env->now_ms();
	if (cursor && !cursor_parse(cursor, strlen(cursor), &round->cursor))
		error = "no cursor";
	if (json_object_get(m, "slice"))
		take_slice(round, m);
	if (count)
		take_count(round, count, json_object_get(m, "rows"));
	if (bounds && (round->stage != ROUND_BOUNDS ||
		       !class_take_bounds(round->class, bounds, json_object_get(m, "keys"))))
		error = "bounds that nobody asked for";
	if (error && !round->error[0])
		snprintf(round->error, sizeof(round->error), "%s", error);
	json_decref(m);
}

static void start_slices(struct digest_rounds *r);

static void on_end(void *ctx, bool ok)
{
	struct digest_rounds *r = ctx;
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

/* ---- the beginning of a round -------------------------------------------------------------- */

static void add_slices(const struct digest_round *round, bool for_job, struct dynbuf *b)
{
	dynbuf_adds(b, "\"slices\":[");
	for (size_t i = 0; i < round->slice_count; i++) {
		const struct class_table *t = round->slices[i].table;

		dynbuf_adds(b, i ? ",{\"table\":" : "{\"table\":");
		dynbuf_add_json(b, t->name, strlen(t->name));
		dynbuf_adds(b, ",");
		if (for_job && t->skip)
			dynbuf_addf(b, "\"skip\":%s,", t->skip);
		class_add_range(&round->slices[i], b);
		dynbuf_adds(b, "}");
	}
	dynbuf_adds(b, "]");
}

static bool is_whole_in(const struct digest_round *round, const struct class_table *t)
{
	for (size_t i = 0; i < round->slice_count; i++)
		if (round->slices[i].table == t)
			return class_is_whole_table(&round->slices[i]);
	return false;
}

/* Tables of which a part is proved, or nothing, are counted; a whole proof sees every row. */
static void add_counts(const struct digest_round *round, struct dynbuf *b)
{
	const struct digest_class *c = round->class;
	bool first = true;

	dynbuf_adds(b, ",\"counts\":[");
	for (size_t i = 0; !c->whole && i < c->table_count; i++) {
		if (is_whole_in(round, &c->tables[i]))
			continue;
		dynbuf_adds(b, first ? "" : ",");
		dynbuf_add_json(b, c->tables[i].name, strlen(c->tables[i].name));
		first = false;
	}
	dynbuf_adds(b, "]");
}

static bool start_job(struct digest_rounds *r, struct dynbuf *spec)
{
	struct digest_round *round = &r->round;

	dynbuf_addf(spec, ",\"slice_rows\":%d}", SLICE_ROWS);
	round->worked_at_ms = 0;
	round->job = spec->failed ? NULL : r->env->start(spec->data, &events, r);
	dynbuf_free(spec);
	return round->job != NULL;
}

static struct frame *print_begin(const struct digest_round *round)
{
	struct dynbuf b;

	dynbuf_init(&b, TEXT_MOST_BYTES);
	dynbuf_addf(&b, "{\"type\":\"digest_begin\",\"id\":%" PRIu64 ",\"scope\":\"%s\",",
		    round->id, scope_of(round->class));
	add_slices(round, false, &b);
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
	dynbuf_init(&spec, TEXT_MOST_BYTES);
	dynbuf_adds(&spec, "{");
	add_slices(round, true, &spec);
	add_counts(round, &spec);
	/* first the devices, then the job: see digest_round.h */
	say_begin(r);
	if (!start_job(r, &spec))
		fail_round(r, "no job could be started");
}

static void start_bounds(struct digest_rounds *r, const char *table)
{
	struct dynbuf spec;

	r->round.stage = ROUND_BOUNDS;
	dynbuf_init(&spec, TEXT_MOST_BYTES);
	dynbuf_adds(&spec, "{\"bounds\":[");
	dynbuf_add_json(&spec, table, strlen(table));
	dynbuf_adds(&spec, "]");
	class_await_bounds(r->round.class);
	if (!start_job(r, &spec))
		fail_round(r, "no job could be started");
	/* here the first line is the end of the work */
	r->round.worked_at_ms = r->env->now_ms();
}

/* False: the list of tables is not known yet. */
static bool refresh_tables(struct digest_rounds *r, struct digest_class *c)
{
	char *const *names = c->asked;
	size_t count = c->asked_count;
	bool is_new = !c->table_count;

	if (!names && !r->env->published(r->env->ctx, &names, &count))
		return false;
	/* without memory for all of them those that fitted are proved */
	if (!class_set_tables(c, names, count))
		log_warning("out of memory for the tables of a proof");
	if (is_new && !c->whole)
		class_begin_at(c, c->begin_at);
	return true;
}

static void begin_round(struct digest_rounds *r, struct digest_class *c)
{
	const char *table;

	if (!c->under_way) {
		if (!refresh_tables(r, c))
			return;
		if (c->whole)
			class_begin_at(c, 0);
		next_due(r, c, r->env->now_ms());
	}
	r->round.class = c;
	r->round.worked_ms = 0;
	r->round.worked_at_ms = 0;
	r->round.error[0] = '\0';
	table = class_bounds_due(c);
	if (table)
		start_bounds(r, table);
	else
		start_slices(r);
}

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

static uint64_t when(const struct digest_rounds *r, const struct digest_class *c)
{
	if (c->under_way)
		return waits_for_device(c) ? c->due_ms : c->since_ms;
	return c->whole || c->due_ms > r->not_before_ms ? c->due_ms : r->not_before_ms;
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

void digest_rounds_turn(struct digest_rounds *r)
{
	struct digest_class *first = NULL;
	uint64_t now_ms = r->env->now_ms();

	ask_serve_line(r);
	if (r->round.class || !r->connected)
		return;
	for (struct digest_class *c = r->classes; c; c = c->next) {
		if (is_deserted(c))
			close_proof(r, c, false);
		if (c->asks && (!first || comes_before(r, c, first)))
			first = c;
	}
	if (!first)
		return;
	if (when(r, first) > now_ms) {
		r->env->turn_in(r->env->ctx, (uint32_t)(when(r, first) - now_ms));
		return;
	}
	drop_laggards(r, first);
	begin_round(r, first);
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
			close_proof(r, c, true);
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
