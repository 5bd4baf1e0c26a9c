/* The walk over a group's devices: in slices, fair, and what gathers meanwhile leaves in one frame.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fan_out.h"
#include "log.h"
#include "relay_env_support.h"

#define DEVICES 100
#define WRITE_US 50 /* what waking a device costs here: 20 to a slice */

static uint64_t clock_us;

struct world {
	struct config config;
	struct feed_limits limits;
	struct feed *feed;
	struct fan_out fan_out;
	struct device_env env;
	struct device *devices[DEVICES];
	int frames[DEVICES];   /* that each was given */
	int64_t at[DEVICES];   /* where each is by what it was given */
	size_t level[DEVICES]; /* how often it was told that it has everything */
	int wakes, turns;
	bool reads; /* devices take what they are woken for */
};

static uint64_t now_us(void)
{
	return clock_us;
}

static void next_turn(void *ctx)
{
	((struct world *)ctx)->turns++;
}

static void on_entry(void *ctx, struct feed_group *g)
{
	fan_out_begin(&((struct world *)ctx)->fan_out, g);
}

static const struct feed_events events = {on_entry, resync_group, on_entry, ignore_idle};

static size_t number_of(const struct world *w, const struct device *d)
{
	size_t i = 0;

	while (w->devices[i] != d)
		i++;
	return i;
}

static int64_t batch_after(const struct frame *f, const char *key)
{
	const char *at = memmem(f->text, f->len, key, strlen(key));

	assert_non_null(at);
	return strtoll(at + strlen(key), NULL, 10);
}

/* Whatever happens, a frame continues where the device is. */
static void take(struct world *w, size_t i, const struct frame *f)
{
	int64_t from;

	if (memmem(f->text, f->len, "\"ready\"", 7))
		w->at[i] = batch_after(f, "\"cursor\":\"");
	if (!memmem(f->text, f->len, "\"from\"", 6))
		return;
	from = batch_after(f, "\"from\":\"");
	assert_int_equal(from, w->at[i]);
	w->at[i] = batch_after(f, "\"to\":\"");
	w->frames[i] += memmem(f->text, f->len, "database_change", 15) != NULL;
	w->level[i] += from == w->at[i];
}

static void env_wake(void *ctx, struct device *d)
{
	struct world *w = ctx;
	struct frame *f;

	w->wakes++;
	clock_us += WRITE_US;
	while (w->reads && (f = device_next(d, 0))) {
		take(w, number_of(w, d), f);
		frame_unref(f);
	}
}

static void add_device(struct world *w, size_t i, const char *tables)
{
	struct device *d = device_new(&w->env, true, 0);

	w->devices[i] = d;
	d->session = w;
	device_says_hello(d, i);
	device_asks(d, 10, tables);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	config_defaults(&w->config);
	w->feed = feed_at_ten(&w->limits, 65536, &events, w);
	w->fan_out = (struct fan_out){w->feed, now_us, next_turn, w, 0, false, false};
	w->env = quiet_env(&w->config, w->feed, w);
	w->env.wake = env_wake;
	w->reads = true;
	/* every fourth follows one table only: a group of its own */
	for (size_t i = 0; i < DEVICES; i++)
		add_device(w, i, i % 4 == 0 ? "[\"payments\"]" : "null");
	for (size_t i = 0; i < DEVICES; i++)
		env_wake(w, w->devices[i]);
	w->wakes = w->turns = 0;
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < DEVICES; i++)
		device_free(w->devices[i], 0);
	feed_free(w->feed);
	free(w);
	return 0;
}

static void poll_brings(struct world *w, int64_t batch, const char *table)
{
	feed_one_batch(w->feed, batch, table, 1, 20);
	feed_poll_end(w->feed, 0);
}

static int finish(struct world *w)
{
	int slices = 1;

	while (w->turns) {
		w->turns = 0;
		fan_out_go(&w->fan_out);
		assert_true(w->turns <= 1);
		slices++;
	}
	return slices;
}

static void expect_frames(const struct world *w, int all, int payments)
{
	for (size_t i = 0; i < DEVICES; i++)
		assert_int_equal(w->frames[i], i % 4 == 0 ? payments : all);
}

static void a_walk_stops_and_goes_on(void **state)
{
	struct world *w = *state;

	poll_brings(w, 11, "patients");
	assert_int_equal(w->turns, 1);
	assert_in_range(w->wakes, 16, 32);
	assert_in_range(finish(w), 3, 6);
	assert_int_equal(w->wakes, 75);
	expect_frames(w, 1, 0);
}

static void a_short_walk_takes_one_slice(void **state)
{
	struct world *w = *state;

	for (size_t i = 10; i < DEVICES; i++) {
		device_free(w->devices[i], 0);
		w->devices[i] = NULL;
	}
	poll_brings(w, 11, "payments");
	assert_int_equal(w->turns, 0);
	assert_int_equal(w->frames[0], 1);
	assert_int_equal(w->frames[9], 1);
	for (size_t i = 10; i < DEVICES; i++)
		add_device(w, i, "null");
	finish(w);
}

static void what_gathers_during_a_walk_leaves_in_one_frame(void **state)
{
	struct world *w = *state;

	poll_brings(w, 11, "payments");
	for (int64_t id = 12; id < 20; id++)
		poll_brings(w, id, "payments");
	finish(w);
	/* the small group's first walk was over before the second poll */
	expect_frames(w, 2, 3);
	for (size_t i = 0; i < DEVICES; i++)
		assert_int_equal(w->devices[i]->cursor.batch, 19);
}

static void a_group_waits_for_no_more_than_one_walk_of_another(void **state)
{
	struct world *w = *state;
	struct feed_group *payments = w->devices[0]->group;

	poll_brings(w, 11, "payments");
	/* more for the large group whenever a slice is over: the small one still has its turn */
	for (int64_t id = 12; payments->walk.running; id++) {
		assert_true(id < 30);
		poll_brings(w, id, "patients");
		w->turns = 0;
		fan_out_go(&w->fan_out);
	}
	assert_int_equal(w->frames[0], 1);
	w->turns = 1;
	finish(w);
}

static void devices_may_come_and_go_during_a_walk(void **state)
{
	struct world *w = *state;

	poll_brings(w, 11, "payments");
	/* those that come next, in the middle and at the end of the walk */
	for (size_t i = 0; i < DEVICES; i += 3) {
		device_free(w->devices[i], 0);
		add_device(w, i, i % 4 == 0 ? "[\"payments\"]" : "null");
	}
	poll_brings(w, 12, "payments");
	finish(w);
	for (size_t i = 0; i < DEVICES; i++)
		assert_int_equal(w->devices[i]->cursor.batch, 12);
}

static void level_is_not_said_while_something_gathers(void **state)
{
	struct world *w = *state;
	struct device *d = w->devices[1];
	size_t told;

	poll_brings(w, 11, "patients");
	w->reads = false;
	d->level_due = true;
	poll_brings(w, 12, "patients");
	assert_true(feed_gathers(d->group));
	told = w->level[1];
	for (struct frame *f; (f = device_next(d, 0)); frame_unref(f))
		take(w, 1, f);
	assert_int_equal(w->level[1], told);
	w->reads = true;
	finish(w);
	assert_int_equal(w->level[1], told + 1);
	assert_false(d->level_due);
	assert_int_equal(d->cursor.batch, 12);
}

/* An entry that is full does not wait for the walk's end; those visited before are visited again.
 */
static void an_entry_that_comes_during_a_walk_reaches_all(void **state)
{
	struct world *w = *state;

	poll_brings(w, 11, "patients");
	assert_int_equal(w->turns, 1);
	feed_one_batch(w->feed, 12, "patients", 1, 40000);
	feed_one_batch(w->feed, 13, "patients", 1, 40000);
	finish(w);
	for (size_t i = 0; i < DEVICES; i++)
		assert_int_equal(w->devices[i]->cursor.batch, i % 4 == 0 ? 10 : 12);
}

static void a_frame_larger_than_the_ring_reaches_all(void **state)
{
	struct world *w = *state;

	w->limits.ring_bytes = 100;
	poll_brings(w, 11, "patients");
	assert_int_equal(w->turns, 1);
	finish(w);
	expect_frames(w, 1, 0);
	assert_int_equal(feed_memory(w->feed), 0);
}

static void ask(struct world *w, size_t i, int64_t batch)
{
	device_asks(w->devices[i], batch, "null");
	env_wake(w, w->devices[i]);
}

/* Its place is in the builder: the entry that is made for it is shown to it as well. */
static void who_asks_inside_what_gathers_misses_nothing(void **state)
{
	struct world *w = *state;

	poll_brings(w, 11, "patients");
	finish(w);
	for (int64_t id = 12; id <= 15; id++)
		feed_one_batch(w->feed, id, "patients", 1, 20);
	w->at[1] = w->at[2] = 0;
	ask(w, 1, 13);
	ask(w, 2, 11);
	finish(w);
	assert_int_equal(w->at[1], 15);
	assert_int_equal(w->at[2], 15);
	feed_poll_end(w->feed, 0);
	finish(w);
	for (size_t i = 0; i < DEVICES; i++)
		assert_int_equal(w->devices[i]->cursor.batch, i % 4 == 0 ? 10 : 15);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_walk_stops_and_goes_on),
		test(a_short_walk_takes_one_slice),
		test(what_gathers_during_a_walk_leaves_in_one_frame),
		test(a_group_waits_for_no_more_than_one_walk_of_another),
		test(devices_may_come_and_go_during_a_walk),
		test(level_is_not_said_while_something_gathers),
		test(an_entry_that_comes_during_a_walk_reaches_all),
		test(a_frame_larger_than_the_ring_reaches_all),
		test(who_asks_inside_what_gathers_misses_nothing),
	};

	log_set_level(LOG_LEVEL_WARNING);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
