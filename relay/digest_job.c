/*
 * The job of a round: what it is told, what it says line by line, and what
 * devices are told of that; see digest_round.h.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "digest_round.h"
#include "protocol_out.h"

const char *digest_round_scope(const struct digest_round *round)
{
	return round->class->whole ? "tables" : "slice";
}

/* ---- what it says -------------------------------------------------------------------------- */

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
	if (!json_is_integer(rows)) {
		dynbuf_adds(b, ":null");
		return;
	}
	dynbuf_addf(b, ":%lld", (long long)json_integer_value(rows));
	if (json_integer_value(rows) >= 0)
		class_table_counted(round->class, table, (uint64_t)json_integer_value(rows));
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

static void on_end(void *ctx, bool ok)
{
	digest_round_job_ended(ctx, ok);
}

static const struct digest_events events = {.on_line = on_line, .on_end = on_end};

/* ---- what it is told ----------------------------------------------------------------------- */

void digest_round_add_slices(const struct digest_round *round, bool for_job, struct dynbuf *b)
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
void digest_round_add_counts(const struct digest_round *round, struct dynbuf *b)
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

bool digest_round_start_job(struct digest_rounds *r, struct dynbuf *spec)
{
	struct digest_round *round = &r->round;

	dynbuf_addf(spec, ",\"slice_rows\":%d}", SLICE_ROWS);
	round->worked_at_ms = 0;
	round->job = spec->failed ? NULL : r->env->start(spec->data, &events, r);
	dynbuf_free(spec);
	return round->job != NULL;
}

/* ---- what devices are told ------------------------------------------------------------------- */

static bool is_complete(const struct digest_round *round)
{
	for (size_t i = 0; i < round->slice_count; i++)
		if (!round->results[i].known)
			return false;
	return round->cursor.batch && !round->counts.failed;
}

struct frame *digest_round_print_digest(const struct digest_round *round)
{
	char cursor[CURSOR_TEXT_BYTES];
	struct dynbuf b;

	if (!is_complete(round))
		return NULL;
	dynbuf_init(&b, ROUND_SPEC_MOST);
	dynbuf_addf(&b,
		    "{\"type\":\"digest\",\"id\":%" PRIu64 ",\"scope\":\"%s\",\"cursor\":\"%s\","
		    "\"slices\":[",
		    round->id, digest_round_scope(round), cursor_format(&round->cursor, cursor));
	for (size_t i = 0; i < round->slice_count; i++)
		dynbuf_addf(&b, "%s{\"rows\":%" PRIu64 ",\"hash\":\"%s\"}", i ? "," : "",
			    round->results[i].rows, round->results[i].hash);
	dynbuf_addf(&b, "],\"counts\":{%s},\"last\":%s}",
		    round->counts.len ? round->counts.data : "", round->is_last ? "true" : "false");
	return out_message(&b);
}
