/* Reading the log for several devices at once: who is given what, and who stops whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "catch_up.h"
#include "log.h"
#include "relay_env_support.h"

#define DEVICES 3

/* A reader as upstream sees it. */
struct catch_up {
	struct cursor from;
	const struct catch_up_events *events;
	void *ctx;
	bool paused;
};

struct world {
	struct config config;
	struct feed_limits limits;
	struct feed *feed;
	struct device_env env;
	struct catch_ups *catch_ups;
	struct device *devices[DEVICES];
	bool reads[DEVICES]; /* its socket takes what comes */
};

/* ---- in upstream's place --------------------------------------------------------- */

struct catch_up *__wrap_upstream_catch_up(const struct cursor *from,
					  const struct catch_up_events *events, void *ctx);
void __wrap_upstream_catch_up_cancel(struct catch_up *c);
void __wrap_upstream_catch_up_pause(struct catch_up *c);
void __wrap_upstream_catch_up_resume(struct catch_up *c);

static struct catch_up *reading[DEVICES];
static size_t readers;

struct catch_up *__wrap_upstream_catch_up(const struct cursor *from,
					  const struct catch_up_events *events, void *ctx)
{
	struct catch_up *c = calloc(1, sizeof(*c));

	assert_true(readers < DEVICES);
	*c = (struct catch_up){.from = *from, .events = events, .ctx = ctx};
	reading[readers++] = c;
	return c;
}

void __wrap_upstream_catch_up_cancel(struct catch_up *c)
{
	free(c);
}

void __wrap_upstream_catch_up_pause(struct catch_up *c)
{
	c->paused = true;
}

void __wrap_upstream_catch_up_resume(struct catch_up *c)
{
	c->paused = false;
}

/* One batch of the log, an entry by itself and more than a queue holds. */
static void read_batch(struct catch_up *c, int64_t id)
{
	static char data[2000];
	struct upstream_change change;
	struct upstream_batch b = batch_of(id, true, NULL);

	memset(data, '7', sizeof(data) - 1);
	change = change_of("payments", data);
	b.changes = 1;
	c->events->on_change(c->ctx, &change);
	c->events->on_batch_end(c->ctx, &b);
}

/* ---- the world -------------------------------------------------------------------- */

static void drain(struct device *d)
{
	struct frame *f;

	while ((f = device_next(d, 0)))
		frame_unref(f);
}

static void env_wake(void *ctx, struct device *d)
{
	struct world *w = ctx;

	for (size_t i = 0; i < DEVICES; i++)
		if (w->devices[i] == d && w->reads[i])
			drain(d);
}

static bool env_catch_up(void *ctx, struct device *d)
{
	return catch_up_start(((struct world *)ctx)->catch_ups, d);
}

static void env_cancel(void *ctx, struct device *d)
{
	catch_up_cancel(((struct world *)ctx)->catch_ups, d);
}

static void env_resume(void *ctx, struct device *d)
{
	catch_up_resume(((struct world *)ctx)->catch_ups, d);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	config_defaults(&w->config);
	w->config.device_queue_bytes = 1000;
	w->feed = feed_at_ten(&w->limits, 4096, &quiet_events, w);
	w->catch_ups = catch_ups_new(&w->limits.builder);
	readers = 0;
	w->env = quiet_env(&w->config, w->feed, w);
	w->env.wake = env_wake;
	w->env.catch_up = env_catch_up;
	w->env.catch_up_cancel = env_cancel;
	w->env.catch_up_resume = env_resume;
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
	catch_ups_free(w->catch_ups);
	feed_free(w->feed);
	free(w);
	return 0;
}

static void ask(struct world *w, size_t i, int64_t batch)
{
	device_asks(w->devices[i], batch, "null");
}

static void expect_at(const struct device *d, int64_t batch)
{
	assert_false(d->ready_due);
	assert_int_equal(d->cursor.batch, batch);
}

/* ---- tests ------------------------------------------------------------------------- */

static void devices_at_different_places_share_a_reader(void **state)
{
	struct world *w = *state;

	w->reads[0] = w->reads[1] = w->reads[2] = true;
	ask(w, 0, 5);
	ask(w, 1, 7);
	ask(w, 2, 6);
	assert_int_equal(readers, 1);
	read_batch(reading[0], 6);
	expect_at(w->devices[0], 6);
	assert_true(w->devices[1]->ready_due);
	for (int64_t id = 7; id <= 10; id++)
		read_batch(reading[0], id);
	for (size_t i = 0; i < DEVICES; i++)
		expect_at(w->devices[i], 10);
}

static void a_full_member_leaves_and_the_others_go_on(void **state)
{
	struct world *w = *state;

	w->reads[1] = true;
	ask(w, 0, 5);
	ask(w, 1, 5);
	assert_int_equal(readers, 1);
	read_batch(reading[0], 6);
	assert_true(device_catch_up_full(w->devices[0]));
	assert_true(w->devices[0]->retry_ms > 0);
	/* the other has nothing left in its queue that would end a pause */
	assert_false(reading[0]->paused);
	read_batch(reading[0], 7);
	expect_at(w->devices[1], 7);
}

static void a_lone_full_member_is_waited_for(void **state)
{
	struct world *w = *state;

	ask(w, 0, 5);
	read_batch(reading[0], 6);
	assert_true(reading[0]->paused);
	assert_int_equal(w->devices[0]->retry_ms, 0);
	drain(w->devices[0]);
	assert_false(reading[0]->paused);
	expect_at(w->devices[0], 6);
}

static void of_several_full_ones_the_last_is_waited_for(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < DEVICES; i++)
		ask(w, i, 5);
	read_batch(reading[0], 6);
	assert_true(reading[0]->paused);
	drain(w->devices[2]);
	assert_false(reading[0]->paused);
}

static void who_joins_a_reader_that_stands_still_does_not_wait_for_the_slow(void **state)
{
	struct world *w = *state;

	w->reads[1] = true;
	ask(w, 0, 5);
	read_batch(reading[0], 6);
	assert_true(reading[0]->paused);
	ask(w, 1, 7);
	assert_int_equal(readers, 1);
	assert_false(reading[0]->paused);
	assert_true(w->devices[0]->retry_ms > 0);
	read_batch(reading[0], 7);
	read_batch(reading[0], 8);
	expect_at(w->devices[1], 8);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(devices_at_different_places_share_a_reader),
		test(a_full_member_leaves_and_the_others_go_on),
		test(a_lone_full_member_is_waited_for),
		test(of_several_full_ones_the_last_is_waited_for),
		test(who_joins_a_reader_that_stands_still_does_not_wait_for_the_slow),
	};

	log_set_level(LOG_LEVEL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
