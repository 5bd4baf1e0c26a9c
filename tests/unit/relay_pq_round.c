/*
 * How the rounds of the live reader end: what has been read is handed out,
 * whatever comes then, and what it is known to be all of.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "log.h"
#include "pq_round.h"
#include "relay_support.h"

static struct config config;
static struct upstream_status status;
static const struct pq_link_events *link_events;
static char told[200]; /* what happened, in order */

static void tell(const char *what)
{
	size_t len = strlen(told);

	snprintf(told + len, sizeof(told) - len, "%s%s", len ? " " : "", what);
}

/* ---- in the link's place ----------------------------------------------------------- */

struct pq_link *__wrap_pq_link_new(const struct config *c, const char *role, const char *settings,
				   const struct pq_link_events *events, void *ctx);
void __wrap_pq_link_open(struct pq_link *l);
bool __wrap_pq_link_is_up(const struct pq_link *l);
void __wrap_pq_link_good(struct pq_link *l);
void __wrap_pq_link_query(struct pq_link *l, const char *sql, int param_count,
			  const char *const *params, pq_row_fn on_row, pq_done_fn on_done,
			  void *ctx);

struct pq_link *__wrap_pq_link_new(const struct config *c, const char *role, const char *settings,
				   const struct pq_link_events *events, void *ctx)
{
	static int link;

	(void)c;
	(void)role;
	(void)settings;
	(void)ctx;
	link_events = events;
	return (struct pq_link *)(void *)&link;
}

void __wrap_pq_link_open(struct pq_link *l)
{
	(void)l;
}

bool __wrap_pq_link_is_up(const struct pq_link *l)
{
	(void)l;
	return true;
}

void __wrap_pq_link_good(struct pq_link *l)
{
	(void)l;
}

void __wrap_pq_link_query(struct pq_link *l, const char *sql, int param_count,
			  const char *const *params, pq_row_fn on_row, pq_done_fn on_done,
			  void *ctx)
{
	(void)l;
	(void)param_count;
	(void)params;
	(void)on_row;
	(void)on_done;
	(void)ctx;
	tell(strstr(sql, "relay_report") ? "prove" : "query");
}

/* ---- the owner ---------------------------------------------------------------------- */

static void on_cursor(void *ctx, const struct cursor *cursor)
{
	(void)ctx;
	(void)cursor;
}

static void on_batch(void *ctx, const struct upstream_batch *b)
{
	(void)ctx;
	(void)b;
}

static void on_change(void *ctx, const struct upstream_change *c)
{
	(void)ctx;
	(void)c;
}

static void on_abandoned(void *ctx)
{
	(void)ctx;
	tell("abandoned");
}

static void on_poll_end(void *ctx)
{
	(void)ctx;
	tell("handed");
}

static void on_level(void *ctx)
{
	(void)ctx;
	tell("level");
}

static void on_state(void *ctx, bool connected)
{
	(void)ctx;
	tell(connected ? "back" : "gone");
}

static void on_history_lost(void *ctx, const char *reason)
{
	(void)ctx;
	(void)reason;
	tell("lost");
}

static void nothing(void)
{
}

static const struct upstream_events events = {
	.on_start = on_cursor,
	.on_giant_begin = on_batch,
	.on_change = on_change,
	.on_batch_end = on_batch,
	.on_batch_abandoned = on_abandoned,
	.on_poll_end = on_poll_end,
	.on_level = on_level,
	.on_state = on_state,
	.on_history_lost = on_history_lost,
};

/* A read round has brought one proven batch. */
static int set_up(void **state)
{
	struct pq_reader_owner owner = {.config = &config,
					.status = &status,
					.events = &events,
					.on_moved = nothing,
					.on_unsure = nothing};
	struct cs_error err = {0};

	(void)state;
	config_defaults(&config);
	assert_int_equal(pq_reader_start(&owner, &err), CS_OK);
	reader.live = reader.in_round = reader.reading = true;
	reader.round_batches = 1;
	reader.feed.cursor = cursor_of(11);
	status = (struct upstream_status){.connected = true, .rounds = 5};
	told[0] = '\0';
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	loop_timer_cancel(&reader.poll);
	reader.link = NULL;
	return 0;
}

static void what_is_proven_does_not_wait_for_a_proof(void **state)
{
	(void)state;
	reader.feed.unproven = 12;
	round_on_page(FEED_MORE, NULL, NULL);
	assert_string_equal(told, "handed prove");
}

static void an_error_does_not_keep_what_came_before(void **state)
{
	struct pq_answer answer = {.sqlstate = "57014", .message = "canceled"};

	(void)state;
	round_on_page(FEED_ERROR, NULL, &answer);
	assert_string_equal(told, "handed gone");
}

static void neither_does_a_broken_connection(void **state)
{
	(void)state;
	reader.feed.open = true;
	link_events->on_down(NULL);
	assert_string_equal(told, "abandoned handed gone");
	/* once */
	link_events->on_down(NULL);
	assert_string_equal(told, "abandoned handed gone");
}

/* The new history is read into memory first; until then nobody may be told that it is level. */
static void with_the_history_the_database_is_gone(void **state)
{
	(void)state;
	round_on_page(FEED_REFUSED, "history_lost", NULL);
	assert_string_equal(told, "gone lost query");
	assert_false(status.connected);
}

/* The worker may not have cut what was committed a moment ago. */
static void a_read_round_does_not_make_level(void **state)
{
	(void)state;
	round_idle();
	assert_string_equal(told, "handed");
	assert_int_equal(status.level_round, 0);
}

static void a_cut_round_does_and_has_handed_out_before(void **state)
{
	(void)state;
	reader.reading = false;
	reader.cut_good = true;
	round_idle();
	assert_string_equal(told, "handed level");
	assert_int_equal(status.level_round, 5);
}

static void neither_does_one_that_could_not_cut(void **state)
{
	(void)state;
	reader.reading = false;
	round_idle();
	assert_string_equal(told, "handed");
	assert_int_equal(status.level_round, 0);
}

/* Devices that come while a round runs share the next one. */
static void a_round_is_wanted_that_cuts_and_begins_later(void **state)
{
	(void)state;
	reader.reading = false;
	pq_reader_want(4);
	assert_false(reader.bells.look);
	reader.reading = true;
	pq_reader_want(4);
	assert_true(reader.bells.look);
	reader.reading = reader.bells.look = false;
	pq_reader_want(5);
	pq_reader_want(5);
	assert_true(reader.bells.look);
	assert_string_equal(told, "");
	/* it begins with the end of this one */
	reader.cut_good = true;
	round_idle();
	assert_string_equal(told, "handed level query");
	assert_int_equal(status.rounds, 6);
	assert_int_equal(status.level_round, 5);
	assert_false(reader.reading);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_is_proven_does_not_wait_for_a_proof),
		test(an_error_does_not_keep_what_came_before),
		test(neither_does_a_broken_connection),
		test(with_the_history_the_database_is_gone),
		test(a_read_round_does_not_make_level),
		test(a_cut_round_does_and_has_handed_out_before),
		test(neither_does_one_that_could_not_cut),
		test(a_round_is_wanted_that_cuts_and_begins_later),
	};

	log_set_stream(fopen("/dev/null", "w"));
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
