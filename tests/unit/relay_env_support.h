/*
 * What the tests of devices share: a feed at batch 10, an environment in which
 * nothing happens and the database is always well, to be filled with what a
 * test looks at, and devices that come and ask.
 */
#ifndef CLINIC_TEST_RELAY_ENV_SUPPORT_H
#define CLINIC_TEST_RELAY_ENV_SUPPORT_H

#include "device.h"
#include "relay_support.h"

/* ---- the feed ---------------------------------------------------------------------- */

static inline void ignore_group(void *ctx, struct feed_group *g)
{
	(void)ctx;
	(void)g;
}

static inline void resync_group(void *ctx, struct feed_group *g, const struct cursor *at,
				const char *tables)
{
	(void)ctx;
	while (g->devices)
		device_resync(g->devices, "table_changed", at, tables, 0);
}

static inline void ignore_idle(void *ctx, struct feed_group *g, struct frame *f)
{
	(void)ctx;
	(void)g;
	(void)f;
}

static const struct feed_events quiet_events = {ignore_group, resync_group, ignore_group,
						ignore_idle};

static inline struct feed *feed_at_ten(struct feed_limits *limits, size_t max_frame_bytes,
				       const struct feed_events *events, void *ctx)
{
	struct cursor start = cursor_of(10);
	struct feed *f;

	limits->ring_bytes = 1 << 20;
	limits->spool_cost = 1 << 30;
	limits->builder.max_frame_bytes = max_frame_bytes;
	snprintf(limits->builder.spool_dir, sizeof(limits->builder.spool_dir), "/tmp");
	f = feed_new(limits, events, ctx);
	feed_start(f, &start);
	return f;
}

/* ---- the environment --------------------------------------------------------------- */

static inline void env_nothing(void *ctx, struct device *d)
{
	(void)ctx;
	(void)d;
}

static inline bool env_yes(void *ctx, struct device *d)
{
	(void)ctx;
	(void)d;
	return true;
}

static inline bool env_any_tables(void *ctx, char *const *tables, size_t count)
{
	(void)ctx;
	(void)tables;
	(void)count;
	return true;
}

static inline bool env_always_proven(void *ctx, uint64_t now_ms)
{
	(void)ctx;
	(void)now_ms;
	return true;
}

static inline uint64_t env_no_round(void *ctx)
{
	(void)ctx;
	return 0;
}

static inline bool env_always_level(void *ctx, uint64_t round)
{
	(void)ctx;
	(void)round;
	return true;
}

static inline struct device_env quiet_env(const struct config *config, struct feed *feed, void *ctx)
{
	return (struct device_env){.config = config,
				   .feed = feed,
				   .wake = env_nothing,
				   .tables_known = env_any_tables,
				   .admit = env_yes,
				   .admitted = env_nothing,
				   .catch_up = env_yes,
				   .catch_up_cancel = env_nothing,
				   .catch_up_resume = env_nothing,
				   .database_proven = env_always_proven,
				   .database_round = env_no_round,
				   .database_level = env_always_level,
				   .ctx = ctx};
}

/* ---- devices ----------------------------------------------------------------------- */

static inline void device_says_hello(struct device *d, size_t number)
{
	char text[100];

	snprintf(text, sizeof(text), "{\"type\":\"client_info\",\"device_id\":\"d-%zu\"}", number);
	device_receive(d, text, strlen(text), 0);
}

static inline void device_asks(struct device *d, int64_t batch, const char *tables)
{
	char text[200], cursor[CURSOR_TEXT_BYTES];
	struct cursor c = cursor_of(batch);

	snprintf(text, sizeof(text), "{\"type\":\"request_sync\",\"cursor\":\"%s\",\"tables\":%s}",
		 cursor_format(&c, cursor), tables);
	device_receive(d, text, strlen(text), 0);
}

#endif
