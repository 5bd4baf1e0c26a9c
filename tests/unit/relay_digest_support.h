/*
 * What the tests of proofs share: three published tables, and a job that says
 * what the test has it say.
 */
#ifndef CLINIC_TEST_RELAY_DIGEST_SUPPORT_H
#define CLINIC_TEST_RELAY_DIGEST_SUPPORT_H

#include "relay_asks_support.h"

static char *names[] = {"bills", "patients", "payments"};

struct world {
	struct office office;
	struct digest_env env;
	bool tables_known, no_process;
	uint64_t rows[3]; /* of the tables, as the server says */
	uint64_t read_ms; /* when it said so */
	uint64_t turn_ms; /* when a turn is due; UINT64_MAX: none */
	/* the job */
	const struct digest_events *events;
	void *job_ctx;
	json_t *spec;
	int jobs;
	void (*on_start)(struct world *w);
};

static struct world *started; /* job starts come without a context of ours */

static bool published(void *ctx, uint64_t age_most_ms, char *const **out, const uint64_t **rows,
		      size_t *count)
{
	struct world *w = ctx;

	*out = names;
	*rows = w->rows;
	*count = 3;
	/* asked for, and there at the next turn */
	if (w->tables_known && clock_ms - w->read_ms > age_most_ms) {
		w->read_ms = clock_ms;
		w->turn_ms = clock_ms;
		return false;
	}
	return w->tables_known;
}

static void turn_in(void *ctx, uint32_t delay_ms)
{
	((struct world *)ctx)->turn_ms = clock_ms + delay_ms;
}

static struct job *start(const char *spec, const struct digest_events *events, void *ctx)
{
	struct world *w = started;

	assert_null(w->spec); /* one at a time */
	if (w->no_process)
		return NULL;
	w->spec = json_loads(spec, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(w->spec);
	w->events = events;
	w->job_ctx = ctx;
	w->jobs++;
	if (w->on_start)
		w->on_start(w);
	return (struct job *)w;
}

static void forget_job(struct world *w)
{
	json_decref(w->spec);
	w->spec = NULL;
}

static void cancel(struct job *j)
{
	forget_job((struct world *)j);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	started = w;
	w->turn_ms = UINT64_MAX;
	w->tables_known = true;
	memcpy(w->rows, (uint64_t[]){10, 100, 20}, sizeof(w->rows));
	office_open(&w->office);
	w->env = (struct digest_env){.config = &w->office.config,
				     .now_ms = read_clock,
				     .published = published,
				     .start = start,
				     .cancel = cancel,
				     .turn_in = turn_in,
				     .ctx = w};
	w->office.env.digests = digest_rounds_new(&w->env);
	digest_rounds_connected(w->office.env.digests, true);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	office_close(&w->office);
	digest_rounds_free(w->office.env.digests);
	json_decref(w->spec);
	free(w);
	return 0;
}

/* ---- time and the job ---------------------------------------------------------------- */

static void pass(struct world *w, uint64_t ms)
{
	uint64_t until_ms = clock_ms + ms;

	while (w->turn_ms <= until_ms) {
		clock_ms = w->turn_ms > clock_ms ? w->turn_ms : clock_ms;
		w->turn_ms = UINT64_MAX;
		digest_rounds_turn(w->office.env.digests);
	}
	clock_ms = until_ms;
}

static void line(struct world *w, const char *text)
{
	w->events->on_line(w->job_ctx, text, strlen(text));
}

static void end(struct world *w, bool ok)
{
	forget_job(w);
	w->events->on_end(w->job_ctx, ok);
}

static size_t slice_count(const struct world *w)
{
	return json_array_size(json_object_get(w->spec, "slices"));
}

static const json_t *slice(const struct world *w, size_t i)
{
	return json_array_get(json_object_get(w->spec, "slices"), i);
}

/* The job says everything; every slice has so many rows. */
static void finish_job(struct world *w, int64_t batch, int rows)
{
	char text[200], cursor[CURSOR_TEXT_BYTES];
	struct cursor c = cursor_of(batch);

	snprintf(text, sizeof(text), "{\"cursor\":\"%s\"}", cursor_format(&c, cursor));
	line(w, text);
	for (size_t i = 0; i < slice_count(w); i++) {
		snprintf(text, sizeof(text),
			 "{\"slice\":%zu,\"rows\":%d,\"hash\":\"00000000000000%02x\"}", i, rows,
			 (unsigned)i);
		line(w, text);
	}
	end(w, true);
}

#define COUNTS "\"counts\":{\"bills\":10,\"patients\":100,\"payments\":20}"

static void ask_with(struct peer *p, const char *scope, const char *more)
{
	char text[400];

	snprintf(text, sizeof(text),
		 "{\"type\":\"request_digest\",\"scope\":\"%s\",\"cursor\":\"10-abcdef000000000a\","
		 "%s}",
		 scope, more);
	say(p, text);
}

static void ask(struct peer *p)
{
	ask_with(p, "slice", COUNTS);
}

static void expect_failed(struct peer *p)
{
	const json_t *m = expect(p, "digest");

	assert_true(json_is_true(json_object_get(m, "failed")));
	assert_true(json_is_true(json_object_get(m, "last")));
}

/* One table that is large. */
#define LARGE "\"counts\":{\"bills\":10,\"patients\":35000,\"payments\":20}"

#endif
