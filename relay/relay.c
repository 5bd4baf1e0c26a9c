/*
 * The relay put together: its devices and what they need of it, its clock, its
 * start and its end.  How batches get from the database to devices is in
 * relay_feed.c.
 */
#include "relay.h"

#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "auth.h"
#include "http.h"
#include "job.h"
#include "log.h"
#include "metrics.h"
#include "protocol_out.h"
#include "published.h"
#include "relay_asks.h"
#include "relay_feed.h"
#include "relay_report.h"
#include "relay_state.h"
#include "upstream.h"
#include "ws_server.h"

#define TICK_MS 1000
/* SIGTERM: so long for the goodbyes, then the links are cut. */
#define GOODBYE_MOST_MS 3000
#define GOODBYE_TICK_MS 20
/* Nobody is asked to wait longer before connecting again. */
#define SPREAD_MOST_MS 60000
/* Disk for the giants of all groups, which are 256 at most (SPOOL_COST_LEAST). */
#define SPOOL_MOST_BYTES ((uint64_t)8 << 30)

/* ---- devices ------------------------------------------------------------------------ */

/*
 * When the relay ends all its devices come back; if each waits a random part of
 * this, they come reconnect_per_s a second.  More devices than ever count now
 * may be on their way, so what was is not forgotten.
 */
static void spread_reconnects(struct relay *r)
{
	uint64_t spread_ms;

	if (r->device_count_most <= r->device_count)
		r->device_count_most = r->device_count + 1;
	spread_ms = r->device_count_most * 1000 / (uint64_t)r->config->reconnect_per_s + 1;
	r->env.reconnect_spread_ms =
		(uint32_t)(spread_ms < SPREAD_MOST_MS ? spread_ms : SPREAD_MOST_MS);
}

struct device *relay_device_open(struct relay *r, bool authorized)
{
	struct device *d;

	spread_reconnects(r);
	d = device_new(&r->env, authorized, clock_monotonic_ms());
	if (!d)
		return NULL;
	d->next = r->devices;
	if (d->next)
		d->next->prev = d;
	r->devices = d;
	r->device_count++;
	metric_add(METRIC_CONNECTIONS, 1);
	if (r->device_count > (size_t)r->config->max_devices)
		device_refuse(d, CLOSE_TOO_MANY_DEVICES, "too_many_devices", "the relay is full");
	return d;
}

void relay_device_close(struct relay *r, struct device *d)
{
	if (d->prev)
		d->prev->next = d->next;
	else
		r->devices = d->next;
	if (d->next)
		d->next->prev = d->prev;
	r->device_count--;
	if (d->known)
		log_info("device \"%s\" disconnected", d->info.device_id);
	device_free(d, clock_monotonic_ms());
}

static void env_wake(void *ctx, struct device *d)
{
	(void)ctx;
	if (d->session)
		session_wake(d->session);
}

static bool env_access_code_good(void *ctx, const char *code)
{
	struct relay *r = ctx;

	return auth_code_good(r->config->access_code, code);
}

static bool env_tables_known(void *ctx, char *const *tables, size_t table_count)
{
	(void)ctx;
	for (size_t i = 0; i < table_count; i++) {
		if (!published_has(tables[i])) {
			published_ask();
			return false;
		}
	}
	return true;
}

static void on_published(void *ctx)
{
	struct relay *r = ctx;

	for (struct device *d = r->devices; d; d = d->next) {
		const char *unknown = NULL;

		for (size_t i = 0; i < d->request.table_count && !unknown; i++)
			if (!published_has(d->request.tables[i]))
				unknown = d->request.tables[i];
		device_tables_checked(d, unknown, clock_monotonic_ms());
	}
	relay_asks_published(r);
}

static void on_admission_turn(void *ctx)
{
	struct relay *r = ctx;

	if (admission_turn(&r->admission, (size_t)r->config->admit_most, clock_monotonic_ms()))
		loop_timer_set(&r->admission_turn, 0, on_admission_turn, r);
}

static bool env_admit(void *ctx, struct device *d)
{
	struct relay *r = ctx;

	return admission_enter(&r->admission, d, (size_t)r->config->admit_most);
}

static void env_admitted(void *ctx, struct device *d)
{
	struct relay *r = ctx;

	if (admission_leave(&r->admission, d) && !r->admission_turn.is_set)
		loop_timer_set(&r->admission_turn, 0, on_admission_turn, r);
}

static bool env_catch_up(void *ctx, struct device *d)
{
	struct relay *r = ctx;

	if (!r->database_connected)
		device_database_gone(d);
	return catch_up_start(r->catch_ups, d);
}

static void env_catch_up_cancel(void *ctx, struct device *d)
{
	catch_up_cancel(((struct relay *)ctx)->catch_ups, d);
}

static void env_catch_up_resume(void *ctx, struct device *d)
{
	catch_up_resume(((struct relay *)ctx)->catch_ups, d);
}

bool relay_is_proven(const struct relay *r, uint64_t now_ms)
{
	struct upstream_status up;

	upstream_get_status(&up);
	return up.connected && up.proven_ms &&
	       now_ms < up.proven_ms + (uint64_t)r->config->ready_timeout_s * 1000;
}

static bool env_database_proven(void *ctx, uint64_t now_ms)
{
	struct relay *r = ctx;

	if (relay_is_proven(r, now_ms))
		return true;
	/* somebody waits for it: do not leave it to the next poll */
	upstream_ring();
	r->level_wanted = true;
	return false;
}

static uint64_t env_database_round(void *ctx)
{
	(void)ctx;
	return upstream_round();
}

static bool env_database_level(void *ctx, uint64_t round)
{
	struct relay *r = ctx;

	if (upstream_level_since(round))
		return true;
	r->level_wanted = true;
	return false;
}

/* ---- time -------------------------------------------------------------------------------- */

static void on_tick(void *ctx)
{
	struct relay *r = ctx;
	uint64_t now_ms = clock_monotonic_ms();

	loop_timer_set(&r->tick, TICK_MS, on_tick, r);
	feed_tick(r->feed, now_ms, (uint32_t)r->config->ping_interval_s * 1000);
	for (struct device *d = r->devices, *next; d; d = next) {
		next = d->next;
		device_tick(d, now_ms);
		session_tick(d->session, now_ms);
	}
	relay_asks_tick(r);
	/* for a view that is brought up to date every report_interval_s, twice as often will do */
	if (now_ms >= r->report_at_ms) {
		r->report_at_ms = now_ms + (uint64_t)r->config->report_interval_s * 500;
		relay_report(r);
	}
}

static void on_goodbye_tick(void *ctx)
{
	struct relay *r = ctx;

	if ((!r->devices && r->upstream_stopped) || clock_monotonic_ms() >= r->goodbye_until_ms) {
		loop_stop();
		return;
	}
	loop_timer_set(&r->tick, GOODBYE_TICK_MS, on_goodbye_tick, r);
}

static void on_upstream_stopped(void *ctx)
{
	((struct relay *)ctx)->upstream_stopped = true;
}

static void say_goodbye(struct relay *r)
{
	log_info("going down");
	r->going_down = true;
	r->goodbye_until_ms = clock_monotonic_ms() + GOODBYE_MOST_MS;
	for (struct device *d = r->devices, *next; d; d = next) {
		next = d->next;
		device_close(d, CLOSE_GOING_DOWN, "the relay is going down");
	}
	http_changes_stop();
	upstream_stop(GOODBYE_MOST_MS - 500, on_upstream_stopped, r);
	loop_timer_set(&r->tick, GOODBYE_TICK_MS, on_goodbye_tick, r);
}

static void on_signal(void *ctx, int signo)
{
	struct relay *r = ctx;

	if (signo == SIGHUP) {
		if (r->reload)
			r->reload(r->config);
	} else if (r->going_down) {
		loop_stop();
	} else {
		say_goodbye(r);
	}
}

/* ---- start and end --------------------------------------------------------------------------- */

static void make_id(struct relay *r)
{
	uint64_t random[2] = {0};

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		random[0] = (uint64_t)getpid() << 32 ^ clock_monotonic_ms();
	snprintf(r->id, sizeof(r->id), "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
}

static void set_up(struct relay *r)
{
	make_id(r);
	clock_utc_text(r->started_at);
	r->started_ms = clock_monotonic_ms();
	r->limits.ring_bytes = (size_t)r->config->ring_bytes;
	r->limits.spool_cost = SPOOL_MOST_BYTES;
	r->limits.builder.max_frame_bytes = (size_t)r->config->max_frame_bytes;
	snprintf(r->limits.builder.spool_dir, sizeof(r->limits.builder.spool_dir), "%s",
		 r->config->snapshot_dir);
	r->env = (struct device_env){
		.config = r->config,
		.wake = env_wake,
		.access_code_good = env_access_code_good,
		.tables_known = env_tables_known,
		.admit = env_admit,
		.admitted = env_admitted,
		.catch_up = env_catch_up,
		.catch_up_cancel = env_catch_up_cancel,
		.catch_up_resume = env_catch_up_resume,
		.database_proven = env_database_proven,
		.database_round = env_database_round,
		.database_level = env_database_level,
		.ctx = r,
	};
}

static cs_status start(struct relay *r, struct cs_error *err)
{
	cs_status st;

	r->feed = feed_new(&r->limits, &relay_feed_events, r);
	r->catch_ups = catch_ups_new(&r->limits.builder);
	if (!r->feed || !r->catch_ups)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	r->env.feed = r->feed;
	r->fan_out = (struct fan_out){
		.feed = r->feed,
		.now_us = clock_monotonic_us,
		.next_turn = relay_fan_out_next_turn,
		.ctx = r,
	};
	st = loop_start(err);
	if (st != CS_OK)
		return st;
	loop_on_signal(on_signal, r);
	job_init(r->config);
	st = relay_asks_start(r, err);
	if (st != CS_OK)
		return st;
	st = ws_server_start(r, err);
	if (st == CS_OK)
		st = published_start(r->config, on_published, r, err);
	if (st == CS_OK)
		st = upstream_start(r->config, r->id, &relay_upstream_events, r, err);
	return st;
}

static void tear_down(struct relay *r)
{
	ws_server_close();
	/* links that were cut are gone without having said so */
	while (r->devices)
		relay_device_close(r, r->devices);
	catch_ups_free(r->catch_ups);
	published_stop();
	relay_asks_stop(r);
	job_close();
	feed_free(r->feed);
	loop_close();
}

int relay_run(struct config *config, void (*reload)(struct config *config))
{
	static struct relay r;
	struct cs_error err = {0};

	r.config = config;
	r.reload = reload;
	set_up(&r);
	if (start(&r, &err) != CS_OK) {
		log_error("%s", err.text);
		tear_down(&r);
		return 2;
	}
	if (config->allow_plaintext)
		log_warning("allow_plaintext: what devices send and receive on %s, the access code "
			    "included, is not encrypted",
			    config->listen_address);
	log_info("listening on %s:%d", config->listen_address, ws_server_port());
	on_tick(&r);
	loop_run();
	tear_down(&r);
	log_info("goodbye");
	return 0;
}
