/* Who may resume at once, and who waits in line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "admission.h"
#include "log.h"
#include "relay_env_support.h"

#define DEVICES 8

struct world {
	struct config config;
	struct feed_limits limits;
	struct feed *feed;
	struct device_env env;
	struct admission admission;
	struct device *devices[DEVICES];
	int catch_ups, turns_due;
	size_t most;
};

static bool env_admit(void *ctx, struct device *d)
{
	struct world *w = ctx;

	return admission_enter(&w->admission, d, w->most);
}

static void env_admitted(void *ctx, struct device *d)
{
	struct world *w = ctx;

	w->turns_due += admission_leave(&w->admission, d);
}

static bool env_catch_up(void *ctx, struct device *d)
{
	(void)d;
	((struct world *)ctx)->catch_ups++;
	return true;
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	config_defaults(&w->config);
	w->feed = feed_at_ten(&w->limits, 4096, &quiet_events, w);
	w->env = quiet_env(&w->config, w->feed, w);
	w->env.admit = env_admit;
	w->env.admitted = env_admitted;
	w->env.catch_up = env_catch_up;
	for (size_t i = 0; i < DEVICES; i++) {
		w->devices[i] = device_new(&w->env, true, 0);
		device_says_hello(w->devices[i], i);
	}
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < DEVICES; i++)
		device_free(w->devices[i], 0);
	/* whatever happened, nobody is left behind in the line */
	assert_null(w->admission.first);
	assert_null(w->admission.last);
	assert_int_equal(w->admission.waiting, 0);
	assert_int_equal(w->admission.inside, 0);
	feed_free(w->feed);
	free(w);
	return 0;
}

static void ask(struct world *w, size_t i, int64_t batch)
{
	device_asks(w->devices[i], batch, "null");
}

static void go(struct world *w, size_t i)
{
	device_free(w->devices[i], 0);
	w->devices[i] = NULL;
}

static void the_log_is_asked_for_so_many_at_once(void **state)
{
	struct world *w = *state;

	w->most = 2;
	for (size_t i = 0; i < 5; i++)
		ask(w, i, 5);
	assert_int_equal(w->catch_ups, 2);
	assert_int_equal(w->admission.waiting, 3);
	assert_int_equal(w->devices[2]->state, DEVICE_WAIT_REQUEST);
	/* ready: the next in line has its turn */
	device_cursor_good(w->devices[0]);
	assert_int_equal(w->turns_due, 1);
	assert_false(admission_turn(&w->admission, 2, 0));
	assert_int_equal(w->catch_ups, 3);
	assert_true(w->devices[2]->admitted);
	assert_int_equal(w->devices[3]->state, DEVICE_WAIT_REQUEST);
}

static void who_leaves_frees_the_place(void **state)
{
	struct world *w = *state;

	w->most = 1;
	for (size_t i = 0; i < 6; i++)
		ask(w, i, 5);
	/* from the middle, the end and the beginning of the line */
	go(w, 3);
	go(w, 5);
	go(w, 1);
	assert_int_equal(w->admission.waiting, 2);
	assert_int_equal(w->turns_due, 0);
	/* one that asks anew has one place, not two */
	ask(w, 4, 5);
	assert_int_equal(w->admission.waiting, 2);
	/* gone without having been ready */
	go(w, 0);
	assert_int_equal(w->turns_due, 1);
	admission_turn(&w->admission, 1, 0);
	assert_true(w->devices[2]->admitted);
	/* told that it needs a snapshot: it is not ready, but needs no place either */
	device_resync(w->devices[2], "too_old", NULL, NULL, 0);
	admission_turn(&w->admission, 1, 0);
	assert_true(w->devices[4]->admitted);
	assert_int_equal(w->catch_ups, 3);
}

/* From memory everybody in line is ready at once: still only so many in a turn. */
static void a_turn_admits_no_more_than_so_many(void **state)
{
	struct world *w = *state;

	w->most = 3;
	w->admission.inside = 3;
	for (size_t i = 0; i < 7; i++)
		ask(w, i, 10);
	assert_int_equal(w->admission.waiting, 7);
	w->admission.inside = 0;
	assert_true(admission_turn(&w->admission, 3, 0));
	assert_int_equal(w->admission.waiting, 4);
	assert_int_equal(w->admission.inside, 0);
	/* who comes now stands at the end */
	ask(w, 7, 10);
	assert_int_equal(w->admission.waiting, 5);
	assert_true(admission_turn(&w->admission, 3, 0));
	assert_int_equal(w->devices[7]->state, DEVICE_WAIT_REQUEST);
	assert_false(admission_turn(&w->admission, 3, 0));
	for (size_t i = 0; i < DEVICES; i++)
		assert_int_equal(w->devices[i]->state, DEVICE_CATCH_UP);
	assert_int_equal(w->catch_ups, 0);
}

/* Those who wait for the log hold nobody up who does not need it. */
static void an_outage_gives_the_seats_back(void **state)
{
	struct world *w = *state;

	w->most = 2;
	ask(w, 0, 5);
	ask(w, 1, 5);
	ask(w, 2, 10);
	ask(w, 3, 5);
	assert_int_equal(w->admission.waiting, 2);
	for (size_t i = 0; i < 4; i++)
		device_database_gone(w->devices[i]);
	assert_int_equal(w->turns_due, 2);
	assert_int_equal(w->admission.waiting, 2);
	admission_turn(&w->admission, w->most, 0);
	assert_int_equal(w->admission.waiting, 0);
	assert_false(w->devices[2]->ready_due);
	/* what was given back is not given back again */
	device_cursor_good(w->devices[0]);
	assert_int_equal(w->admission.inside, 1);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(the_log_is_asked_for_so_many_at_once),
		test(who_leaves_frees_the_place),
		test(a_turn_admits_no_more_than_so_many),
		test(an_outage_gives_the_seats_back),
	};

	log_set_level(LOG_LEVEL_WARNING);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
