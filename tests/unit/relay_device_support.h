/*
 * What the tests of a device share: one device with a feed, whose environment
 * counts what is asked of it, and short ways to say and to expect something.
 */
#ifndef CLINIC_TEST_RELAY_DEVICE_SUPPORT_H
#define CLINIC_TEST_RELAY_DEVICE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "relay_env_support.h"

struct world {
	struct config config;
	struct feed_limits limits;
	struct feed *feed;
	struct device_env env;
	struct device *device;
	uint64_t now_ms;
	uint64_t round, level_round; /* the last that began, and that found everything */
	int wakes, catch_ups, resumes;
	bool catch_up_busy, tables_known, proven;
	bool writes_at_once; /* as a socket with room does */
	int written;         /* frames, so */
};

static void on_entry(void *ctx, struct feed_group *g)
{
	(void)ctx;
	for (struct device *d = g->devices; d; d = d->group_next)
		device_entry_came(d);
}

static void on_resync(void *ctx, struct feed_group *g, const struct cursor *at, const char *tables)
{
	struct world *w = ctx;

	for (struct device *d = g->devices, *next; d; d = next) {
		next = d->group_next;
		device_tables_changed(d, at, tables, w->now_ms);
	}
}

static void on_idle(void *ctx, struct feed_group *g, struct frame *f)
{
	struct world *w = ctx;

	for (struct device *d = g->devices; d; d = d->group_next)
		device_idle(d, f, w->now_ms);
}

static const struct feed_events events = {on_entry, on_resync, on_entry, on_idle};

static void env_wake(void *ctx, struct device *d)
{
	struct world *w = ctx;
	struct frame *f;

	w->wakes++;
	while (w->writes_at_once && (f = device_next(d, w->now_ms))) {
		w->written += memmem(f->text, f->len, "database_change", 15) != NULL;
		frame_unref(f);
	}
}

static bool env_code(void *ctx, const char *code)
{
	(void)ctx;
	return strcmp(code, "open sesame") == 0;
}

static bool env_tables(void *ctx, char *const *tables, size_t count)
{
	(void)tables;
	(void)count;
	return ((struct world *)ctx)->tables_known;
}

static bool env_catch_up(void *ctx, struct device *d)
{
	struct world *w = ctx;

	(void)d;
	w->catch_ups++;
	return !w->catch_up_busy;
}

static void env_resume(void *ctx, struct device *d)
{
	(void)d;
	((struct world *)ctx)->resumes++;
}

static bool env_proven(void *ctx, uint64_t now_ms)
{
	struct world *w = ctx;

	assert_true(now_ms >= w->now_ms);
	return w->proven;
}

static uint64_t env_round(void *ctx)
{
	return ((struct world *)ctx)->round;
}

static bool env_level(void *ctx, uint64_t round)
{
	return ((struct world *)ctx)->level_round > round;
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	config_defaults(&w->config);
	w->config.device_queue_bytes = 10000;
	w->feed = feed_at_ten(&w->limits, 4096, &events, w);
	w->now_ms = 1000;
	w->tables_known = true;
	w->proven = true;
	w->level_round = 1;
	w->env = quiet_env(&w->config, w->feed, w);
	w->env.wake = env_wake;
	w->env.access_code_good = env_code;
	w->env.tables_known = env_tables;
	w->env.catch_up = env_catch_up;
	w->env.catch_up_resume = env_resume;
	w->env.database_proven = env_proven;
	w->env.database_round = env_round;
	w->env.database_level = env_level;
	w->device = device_new(&w->env, false, w->now_ms);
	w->device->session = w;
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	device_free(w->device, w->now_ms);
	feed_free(w->feed);
	free(w);
	return 0;
}

/* The next message of this type, skipping none. */
static json_t *next(struct world *w, const char *type)
{
	struct frame *f = device_next(w->device, w->now_ms);
	json_t *j;

	assert_non_null(f);
	j = json_loadb(f->text, f->len, JSON_REJECT_DUPLICATES, NULL);
	frame_unref(f);
	assert_non_null(j);
	assert_string_equal(json_string_value(json_object_get(j, "type")), type);
	return j;
}

static void expect(struct world *w, const char *type)
{
	json_decref(next(w, type));
}

static void expect_with(struct world *w, const char *type, const char *key, const char *value)
{
	json_t *j = next(w, type);

	assert_string_equal(json_string_value(json_object_get(j, key)), value);
	json_decref(j);
}

static void expect_nothing(struct world *w)
{
	assert_null(device_next(w->device, w->now_ms));
}

/* The heartbeat that tells a device that it has everything, and no more than one. */
static void expect_level(struct world *w)
{
	json_t *j = next(w, "heartbeat");

	assert_int_equal(w->device->state, DEVICE_LIVE);
	assert_string_equal(json_string_value(json_object_get(j, "from")),
			    json_string_value(json_object_get(j, "to")));
	json_decref(j);
	expect_nothing(w);
}

static void say(struct world *w, const char *text)
{
	device_receive(w->device, text, strlen(text), w->now_ms);
}

static void say_hello(struct world *w)
{
	say(w, "{\"type\":\"client_info\",\"device_id\":\"d-1\",\"access_code\":\"open sesame\"}");
	expect(w, "connected");
	expect_nothing(w);
	assert_int_equal(w->device->state, DEVICE_WAIT_REQUEST);
}

static void request(struct world *w, int64_t batch)
{
	char text[200], cursor[CURSOR_TEXT_BYTES];
	struct cursor c = cursor_of(batch);

	snprintf(text, sizeof(text), "{\"type\":\"request_sync\",\"cursor\":\"%s\"}",
		 cursor_format(&c, cursor));
	say(w, text);
}

static void go_live(struct world *w)
{
	say_hello(w);
	request(w, 10);
	expect(w, "ready");
	expect_level(w);
}

static void batches(struct world *w, int64_t from, int64_t to, int bytes)
{
	for (int64_t id = from; id <= to; id++) {
		feed_one_batch(w->feed, id, "payments", 1, bytes);
		feed_poll_end(w->feed, w->now_ms);
	}
}

#endif
