/*
 * LISTEN; see pq_listen.h.
 *
 * A notification is a doorbell and nothing more: any role may forge one (see
 * pq_bell.h).  One commit may ring several times; what arrives together is
 * answered once.  After every connect LISTEN comes first and then a look at the
 * log; a change that commits in between rings late, never not at all.
 *
 * The heartbeat is a notification to ourselves.  It proves the whole way, also
 * through a pooler that swallows LISTEN: no answer means that the server is
 * stuck, an answer without the notification means that only polling works.
 * It commits asynchronously, so that a missing standby does not look like a
 * stuck server.
 */
#include "pq_listen.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "pq_bell.h"
#include "pq_link.h"
#include "pq_reader.h"
#include "pq_report.h"
#include "ws_loop.h"

#define HEARTBEAT_INTERVAL_MS 2000
#define HEARTBEAT_LIMIT_MS 10000
#define DEAF_AFTER_MS 15000

#define LISTEN_SETTINGS "-c synchronous_commit=off -c statement_timeout=8000 -c lock_timeout=5000"

static struct listener {
	struct upstream_status *status;
	struct pq_link *link;
	struct loop_timer timer; /* the next heartbeat, or the end of patience with this one */
	char self_channel[64];
	uint64_t up_ms;
	struct pq_bells bells; /* that came together with the one at hand */
	bool requested;        /* ... and one of them told of a request */
	bool deaf;             /* the log knows that notifications do not come */
} listener;

static void heartbeat(void *ctx);

static void on_no_answer(void *ctx)
{
	(void)ctx;
	pq_reader_suspect(HEARTBEAT_LIMIT_MS);
	if (listener.link)
		pq_link_restart(listener.link, "no answer to the heartbeat");
}

static void ask(const char *sql, pq_done_fn on_done)
{
	loop_timer_set(&listener.timer, HEARTBEAT_LIMIT_MS, on_no_answer, NULL);
	pq_link_query(listener.link, sql, 0, NULL, NULL, on_done, NULL);
}

static void check_hearing(void)
{
	uint64_t heard_ms = listener.status->notified_ms;

	if (heard_ms < listener.up_ms)
		heard_ms = listener.up_ms;
	if (listener.deaf || clock_monotonic_ms() - heard_ms < DEAF_AFTER_MS)
		return;
	listener.deaf = true;
	log_warning("database (listen): notifications do not arrive; is there a pooler in "
		    "between? the relay works by polling");
}

static void on_heartbeat(void *ctx, const struct pq_answer *answer)
{
	(void)ctx;
	if (!answer->ok) {
		/* a full notification queue, for one: the poll goes on without it */
		log_warning("database (listen): heartbeat: %s (%s)", answer->message,
			    answer->sqlstate);
	} else {
		pq_link_good(listener.link);
		check_hearing();
	}
	loop_timer_set(&listener.timer, HEARTBEAT_INTERVAL_MS, heartbeat, NULL);
}

static void heartbeat(void *ctx)
{
	char sql[128];

	(void)ctx;
	snprintf(sql, sizeof(sql), "NOTIFY %s", listener.self_channel);
	ask(sql, on_heartbeat);
}

static void on_listening(void *ctx, const struct pq_answer *answer)
{
	(void)ctx;
	if (!answer->ok) {
		log_warning("database (listen): LISTEN: %s (%s)", answer->message,
			    answer->sqlstate);
		pq_link_restart(listener.link, "LISTEN failed");
		return;
	}
	/* what was committed before is in the log and rings no more */
	pq_reader_ring(&(struct pq_bells){.look = true});
	heartbeat(NULL);
}

static void on_listening_self(void *ctx, const struct pq_answer *answer)
{
	(void)ctx;
	if (answer->ok)
		ask("LISTEN clinic_sync", on_listening);
	else
		on_listening(NULL, answer);
}

static void on_up(void *ctx)
{
	char sql[128];

	(void)ctx;
	listener.up_ms = clock_monotonic_ms();
	snprintf(sql, sizeof(sql), "LISTEN %s", listener.self_channel);
	ask(sql, on_listening_self);
}

static void on_down(void *ctx)
{
	(void)ctx;
	loop_timer_cancel(&listener.timer);
	/* the server may have crashed behind a pooler that keeps the reader's connection */
	pq_reader_distrust();
}

static void on_notify(void *ctx, const char *payload, bool own)
{
	(void)ctx;
	if (own) {
		listener.status->notified_ms = clock_monotonic_ms();
		listener.deaf = false;
		return;
	}
	listener.status->doorbells++;
	if (pq_bell_is_request(payload))
		listener.requested = true;
	else
		pq_bells_add(&listener.bells, pq_bell_batch(payload));
}

static void on_notified(void *ctx)
{
	struct pq_bells bells = listener.bells;

	(void)ctx;
	memset(&listener.bells, 0, sizeof(listener.bells));
	if (listener.requested)
		pq_report_ring();
	listener.requested = false;
	pq_reader_ring(&bells);
}

static const struct pq_link_events link_events = {
	.on_up = on_up,
	.on_down = on_down,
	.on_notify = on_notify,
	.on_notified = on_notified,
};

cs_status pq_listen_start(const struct config *config, struct upstream_status *status,
			  struct cs_error *err)
{
	memset(&listener, 0, sizeof(listener));
	listener.status = status;
	/* its own channel, so that relays do not wake each other */
	snprintf(listener.self_channel, sizeof(listener.self_channel), "clinic_relay_%lx_%llx",
		 (long)getpid(), (unsigned long long)clock_monotonic_ms());
	listener.link = pq_link_new(config, "listen", LISTEN_SETTINGS, &link_events, NULL);
	if (!listener.link)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	pq_link_open(listener.link);
	return CS_OK;
}

void pq_listen_stop(void)
{
	loop_timer_cancel(&listener.timer);
	pq_link_free(listener.link);
	listener.link = NULL;
}
