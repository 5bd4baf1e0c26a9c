/*
 * What the tests of proofs and of tables sent again share: devices whose sockets
 * take everything at once, or nothing while they do not read, and a record of what
 * each was given, in its order.
 */
#ifndef CLINIC_TEST_RELAY_ASKS_SUPPORT_H
#define CLINIC_TEST_RELAY_ASKS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "log.h"
#include "relay_env_support.h"

#define PEERS_MOST 40

struct peer {
	struct device *device;
	bool stopped; /* does not read */
	json_t *got;  /* array of messages */
	size_t seen;  /* of those, by next() */
};

struct office {
	struct config config;
	struct feed_limits limits;
	struct feed *feed;
	struct device_env env;
	struct peer peers[PEERS_MOST];
	size_t peer_count;
};

static uint64_t clock_ms;

static inline uint64_t read_clock(void)
{
	return clock_ms;
}

static inline void pump(struct peer *p)
{
	struct frame *f;

	while (!p->stopped && (f = device_next(p->device, clock_ms)) != NULL) {
		json_t *message = json_loadb(f->text, f->len, JSON_REJECT_DUPLICATES, NULL);

		assert_non_null(message);
		json_array_append_new(p->got, message);
		frame_unref(f);
	}
}

static inline void wake(void *ctx, struct device *d)
{
	(void)ctx;
	if (d->session)
		pump(d->session);
}

static inline void tell_group(void *ctx, struct feed_group *g)
{
	(void)ctx;
	for (struct device *d = g->devices; d; d = d->group_next)
		device_entry_came(d);
}

static const struct feed_events office_events = {tell_group, resync_group, tell_group, ignore_idle};

static inline void office_open(struct office *o)
{
	log_set_level(LOG_LEVEL_ERROR);
	clock_ms = 100000;
	config_defaults(&o->config);
	o->feed = feed_at_ten(&o->limits, 4096, &office_events, o);
	o->env = quiet_env(&o->config, o->feed, o);
	o->env.wake = wake;
}

static inline void peer_leave(struct peer *p)
{
	device_free(p->device, clock_ms);
	p->device = NULL;
}

static inline void office_close(struct office *o)
{
	for (size_t i = 0; i < o->peer_count; i++) {
		peer_leave(&o->peers[i]);
		json_decref(o->peers[i].got);
	}
	feed_free(o->feed);
}

static inline void say(struct peer *p, const char *text)
{
	device_receive(p->device, text, strlen(text), clock_ms);
}

/* A live device at batch 10. */
static inline struct peer *peer_come(struct office *o, const char *tables)
{
	struct peer *p = &o->peers[o->peer_count++];

	assert_true(o->peer_count <= PEERS_MOST);
	p->got = json_array();
	p->device = device_new(&o->env, true, clock_ms);
	p->device->session = p;
	device_says_hello(p->device, o->peer_count);
	device_asks(p->device, 10, tables);
	pump(p);
	assert_int_equal(p->device->state, DEVICE_LIVE);
	p->seen = json_array_size(p->got);
	return p;
}

static inline void read_again(struct peer *p)
{
	p->stopped = false;
	pump(p);
}

/* The batch, and the end of the poll that brought it. */
static inline void batch_comes(struct office *o, int64_t id, const char *table)
{
	feed_one_batch(o->feed, id, table, 1, 20);
	feed_poll_end(o->feed, clock_ms);
}

/* The next message it was given, borrowed; NULL: none. */
static inline const json_t *next(struct peer *p)
{
	return p->seen < json_array_size(p->got) ? json_array_get(p->got, p->seen++) : NULL;
}

static inline const char *text_at(const json_t *message, const char *key)
{
	return json_string_value(json_object_get(message, key));
}

static inline const json_t *expect(struct peer *p, const char *type)
{
	const json_t *message = next(p);

	assert_non_null(message);
	assert_string_equal(text_at(message, "type"), type);
	return message;
}

static inline void expect_nothing(struct peer *p)
{
	const json_t *message = next(p);

	if (message)
		fail_msg("an unexpected %s", text_at(message, "type"));
}

static inline int64_t number_at(const json_t *message, const char *key)
{
	assert_true(json_is_integer(json_object_get(message, key)));
	return json_integer_value(json_object_get(message, key));
}

#endif
