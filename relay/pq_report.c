/*
 * Reports and upkeep; see pq_report.h.
 *
 * On a connection of its own, so that nothing here ever stands between a
 * doorbell and a device.  Four duties take turns, the most urgent first: read
 * requests for a sync, repair() what capture lost, relay_report(), prune() the
 * log.  A duty that fails is complained of once and tried again when its time
 * comes.
 */
#include "pq_report.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "pq_link.h"
#include "pq_reader.h"
#include "ws_loop.h"

#define REQUESTS_INTERVAL_MS 1000
/* However often the bell is rung. */
#define REQUESTS_LEAST_INTERVAL_MS 50
/* As many as clinic_sync.sync_requests() gives at once. */
#define REQUESTS_AT_ONCE 1000
#define REPAIR_INTERVAL_MS 1000
#define PRUNE_INTERVAL_MS 10000

/* Nothing here needs to survive a crash, and nothing may wait for a missing standby. */
#define REPORT_SETTINGS "-c statement_timeout=60000 -c lock_timeout=2000 -c synchronous_commit=off"

struct duty {
	const char *name;
	uint64_t due_ms;
	char complained[6]; /* SQLSTATE that the log knows about */
};

enum { DUTY_REQUESTS, DUTY_REPAIR, DUTY_REPORT, DUTY_PRUNE, DUTY_COUNT };

static struct reporter {
	const struct config *config;
	const char *relay_id;
	const struct upstream_events *events;
	void *ctx;
	struct pq_link *link;
	struct loop_timer timer;
	struct duty duties[DUTY_COUNT];
	struct duty *current;
	char first_json[256]; /* before anybody said more */
	char *relay_json;
	char *devices_json;
	int64_t newest_request;    /* id, 0: none */
	uint64_t requests_read_ms; /* monotonic, when they were asked for last */
	void (*on_stopped)(void);  /* not NULL: stopping */
} reporter;

static void next_duty(void *ctx);
static void say_goodbye(void);

static uint32_t interval_ms(int duty)
{
	if (duty == DUTY_REQUESTS)
		return REQUESTS_INTERVAL_MS;
	if (duty == DUTY_REPAIR)
		return REPAIR_INTERVAL_MS;
	if (duty == DUTY_PRUNE)
		return PRUNE_INTERVAL_MS;
	return (uint32_t)reporter.config->report_interval_s * 1000;
}

/*
 * No extension, or no right to use it.  While the live reader is not live it
 * says the same, with what to do about it; once is enough.
 */
static bool reader_says_it(const struct pq_answer *answer)
{
	static const char *const states[] = {"3F000", "42883", "42501"};

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (strcmp(answer->sqlstate, states[i]) == 0)
			return !pq_reader_is_live();
	return false;
}

static void log_failure(struct duty *d, const struct pq_answer *answer)
{
	if (strcmp(d->complained, answer->sqlstate) == 0 || reader_says_it(answer))
		return;
	log_warning("database (report): %s: %s (%s)", d->name, answer->message, answer->sqlstate);
	snprintf(d->complained, sizeof(d->complained), "%s", answer->sqlstate);
}

static void log_outcome(struct duty *d, const struct pq_answer *answer)
{
	if (!answer->ok) {
		log_failure(d, answer);
		return;
	}
	d->complained[0] = '\0';
	pq_link_good(reporter.link);
	if (d == &reporter.duties[DUTY_REPAIR] && PQntuples(answer->result) == 1 &&
	    atoi(PQgetvalue(answer->result, 0, 0)) > 0)
		log_warning("capture of %s tables had been switched off or downgraded; repaired, "
			    "their devices begin afresh",
			    PQgetvalue(answer->result, 0, 0));
}

static const char *text_or_null(const PGresult *r, int row, int column)
{
	return PQgetisnull(r, row, column) ? NULL : PQgetvalue(r, row, column);
}

/* Whoever is told may stop us. */
static void hand_up_requests(const PGresult *r)
{
	int rows = PQntuples(r);

	for (int row = 0; row < rows && !reporter.on_stopped; row++) {
		reporter.newest_request = strtoll(PQgetvalue(r, row, 0), NULL, 10);
		if (reporter.events->on_sync_request)
			reporter.events->on_sync_request(
				reporter.ctx, reporter.newest_request, PQgetvalue(r, row, 1),
				text_or_null(r, row, 2), text_or_null(r, row, 3),
				(uint64_t)(strtod(PQgetvalue(r, row, 4), NULL) * 1000));
	}
	if (rows >= REQUESTS_AT_ONCE)
		reporter.duties[DUTY_REQUESTS].due_ms = clock_monotonic_ms();
	else if (!reporter.on_stopped && reporter.events->on_sync_requests_read)
		reporter.events->on_sync_requests_read(reporter.ctx);
}

static void on_done(void *ctx, const struct pq_answer *answer)
{
	(void)ctx;
	log_outcome(reporter.current, answer);
	if (reporter.current == &reporter.duties[DUTY_REQUESTS] && answer->ok)
		hand_up_requests(answer->result);
	if (!reporter.on_stopped)
		next_duty(NULL);
	else if (!pq_link_is_busy(reporter.link))
		say_goodbye();
}

static void begin(int duty)
{
	const char *params[] = {reporter.relay_json, reporter.devices_json};
	const char *sql = "SELECT repaired FROM clinic_sync.repair()";
	char after[24];
	int param_count = 0;

	if (duty == DUTY_REQUESTS) {
		snprintf(after, sizeof(after), "%lld", (long long)reporter.newest_request);
		sql = "SELECT id, kind, tables, device, seconds_left FROM "
		      "clinic_sync.sync_requests($1)";
		params[0] = after;
		param_count = 1;
		reporter.requests_read_ms = clock_monotonic_ms();
	} else if (duty == DUTY_REPORT) {
		sql = "SELECT clinic_sync.relay_report($1::jsonb, $2::jsonb)";
		param_count = 2;
	} else if (duty == DUTY_PRUNE) {
		sql = "SELECT dropped_segments FROM clinic_sync.prune()";
	}
	reporter.current = &reporter.duties[duty];
	reporter.current->due_ms = clock_monotonic_ms() + interval_ms(duty);
	pq_link_query(reporter.link, sql, param_count, params, NULL, on_done, NULL);
}

/* Begin what is due, or sleep until the first will be. */
static void next_duty(void *ctx)
{
	uint64_t now_ms = clock_monotonic_ms();
	uint64_t first_ms = now_ms + PRUNE_INTERVAL_MS;

	(void)ctx;
	if (reporter.on_stopped || !pq_link_is_up(reporter.link) || pq_link_is_busy(reporter.link))
		return;
	for (int i = 0; i < DUTY_COUNT; i++) {
		if (i == DUTY_REPORT && !reporter.relay_json)
			continue;
		if (reporter.duties[i].due_ms <= now_ms) {
			begin(i);
			return;
		}
		if (reporter.duties[i].due_ms < first_ms)
			first_ms = reporter.duties[i].due_ms;
	}
	loop_timer_set(&reporter.timer, (uint32_t)(first_ms - now_ms), next_duty, NULL);
}

static void finish(void)
{
	void (*on_stopped)(void) = reporter.on_stopped;

	loop_timer_cancel(&reporter.timer);
	pq_link_free(reporter.link);
	free(reporter.relay_json);
	free(reporter.devices_json);
	memset(&reporter, 0, sizeof(reporter));
	on_stopped();
}

static void on_goodbye(void *ctx, const struct pq_answer *answer)
{
	(void)ctx;
	if (!answer->ok && !reader_says_it(answer))
		log_warning("database (report): goodbye: %s (%s)", answer->message,
			    answer->sqlstate);
	finish();
}

static void say_goodbye(void)
{
	const char *params[] = {reporter.relay_id};

	pq_link_query(reporter.link, "SELECT clinic_sync.relay_goodbye($1)", 1, params, NULL,
		      on_goodbye, NULL);
}

static void on_up(void *ctx)
{
	(void)ctx;
	next_duty(NULL);
}

static void on_down(void *ctx)
{
	(void)ctx;
	loop_timer_cancel(&reporter.timer);
	if (reporter.on_stopped)
		finish();
}

static const struct pq_link_events link_events = {.on_up = on_up, .on_down = on_down};

cs_status pq_report_start(const struct config *config, const char *relay_id,
			  const struct upstream_events *events, void *ctx, struct cs_error *err)
{
	memset(&reporter, 0, sizeof(reporter));
	reporter.config = config;
	reporter.relay_id = relay_id;
	reporter.events = events;
	reporter.ctx = ctx;
	snprintf(reporter.first_json, sizeof(reporter.first_json),
		 "{\"id\":\"%s\",\"version\":\"%s\",\"pid\":%ld}", relay_id, CLINIC_SYNC_VERSION,
		 (long)getpid());
	reporter.duties[DUTY_REQUESTS].name = "sync_requests()";
	reporter.duties[DUTY_REPAIR].name = "repair()";
	reporter.duties[DUTY_REPORT].name = "relay_report()";
	reporter.duties[DUTY_PRUNE].name = "prune()";
	reporter.link = pq_link_new(config, "report", REPORT_SETTINGS, &link_events, NULL);
	if (!reporter.link)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	pq_link_open(reporter.link);
	return CS_OK;
}

void pq_report_ring(void)
{
	if (!reporter.link)
		return;
	reporter.duties[DUTY_REQUESTS].due_ms =
		reporter.requests_read_ms + REQUESTS_LEAST_INTERVAL_MS;
	next_duty(NULL);
}

bool pq_report_set(const char *relay_json, const char *devices_json)
{
	char *relay = strdup(relay_json);
	char *devices = strdup(devices_json);
	bool is_first;

	if (!relay || !devices || !reporter.link) {
		free(relay);
		free(devices);
		return false;
	}
	is_first = !reporter.relay_json;
	free(reporter.relay_json);
	free(reporter.devices_json);
	reporter.relay_json = relay;
	reporter.devices_json = devices;
	if (is_first)
		next_duty(NULL);
	return true;
}

void pq_report_texts(const char **relay_json, const char **devices_json)
{
	*relay_json = reporter.relay_json ? reporter.relay_json : reporter.first_json;
	*devices_json = reporter.devices_json ? reporter.devices_json : "[]";
}

static void on_limit(void *ctx)
{
	(void)ctx;
	finish();
}

void pq_report_stop(uint32_t limit_ms, void (*on_stopped)(void))
{
	reporter.on_stopped = on_stopped;
	loop_timer_set(&reporter.timer, limit_ms, on_limit, NULL);
	if (!reporter.link || !pq_link_is_up(reporter.link)) {
		loop_timer_set(&reporter.timer, 0, on_limit, NULL);
		return;
	}
	/* else the end of the duty under way says it */
	if (!pq_link_is_busy(reporter.link))
		say_goodbye();
}
