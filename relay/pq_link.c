/*
 * An asynchronous libpq connection; see pq_link.h.
 *
 * Three facts about libpq shape this file.  It may close its socket and open
 * another with the same number between two PQconnectPoll() calls, so the inode
 * tells which one we watch.  PQflush() that could not send everything needs
 * both directions watched.  connect_timeout does nothing in this mode, so the
 * deadline is ours.
 */
#include "pq_link.h"

#include <libpq-fe.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "backoff.h"
#include "clock.h"
#include "log.h"
#include "pq_params.h"
#include "ws_loop.h"

#define RECONNECT_LEAST_MS 100
#define RECONNECT_MOST_MS 5000

enum link_state { LINK_CLOSED, LINK_WAITING, LINK_CONNECTING, LINK_UP };

struct pq_link {
	const struct config *config;
	char role[32];
	char settings[256];
	const struct pq_link_events *events;
	void *ctx;

	enum link_state state;
	PGconn *conn;
	unsigned host_turn; /* which host of several is tried first */
	struct loop_watch *watch;
	ino_t watched;           /* socket behind watch */
	struct loop_timer timer; /* connect deadline, or the next try */
	struct loop_timer again; /* go on after a pause */
	struct backoff backoff;
	bool complained; /* the log already says that it cannot connect */
	bool quiet;      /* we close it ourselves, and nothing is wrong */

	pq_row_fn on_row;
	pq_done_fn on_done; /* not NULL: busy */
	void *request_ctx;
	PGresult *last;
	bool warned;
	bool paused;

	int depth;   /* callbacks on the stack */
	bool doomed; /* freed inside one of them */
};

static void link_drop(struct pq_link *l, const char *reason);
static void link_connect(void *ctx);
static void link_ready(void *ctx, bool readable, bool writable);

/* ---- life ------------------------------------------------------------------ */

struct pq_link *pq_link_new(const struct config *config, const char *role, const char *settings,
			    const struct pq_link_events *events, void *ctx)
{
	struct pq_link *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->config = config;
	snprintf(l->role, sizeof(l->role), "%s", role);
	snprintf(l->settings, sizeof(l->settings), "%s", settings);
	l->events = events;
	l->ctx = ctx;
	backoff_init(&l->backoff, RECONNECT_LEAST_MS, RECONNECT_MOST_MS);
	return l;
}

static void link_disconnect(struct pq_link *l)
{
	loop_timer_cancel(&l->timer);
	loop_timer_cancel(&l->again);
	loop_watch_free(l->watch);
	l->watch = NULL;
	PQclear(l->last);
	l->last = NULL;
	PQfinish(l->conn);
	l->conn = NULL;
	l->on_row = NULL;
	l->on_done = NULL;
	l->paused = false;
	l->warned = false;
}

void pq_link_free(struct pq_link *l)
{
	if (!l)
		return;
	if (l->depth > 0) {
		l->doomed = true;
		return;
	}
	link_disconnect(l);
	free(l);
}

static void enter(struct pq_link *l)
{
	l->depth++;
}

/* After the outermost leave() a link that a callback freed is gone. */
static void leave(struct pq_link *l)
{
	if (--l->depth == 0 && l->doomed)
		pq_link_free(l);
}

void pq_link_open(struct pq_link *l)
{
	if (l->state == LINK_CLOSED) {
		l->state = LINK_WAITING;
		loop_timer_set(&l->timer, 0, link_connect, l);
	}
}

void pq_link_good(struct pq_link *l)
{
	backoff_reset(&l->backoff);
}

bool pq_link_is_up(const struct pq_link *l)
{
	return l->state == LINK_UP && !l->doomed;
}

bool pq_link_is_busy(const struct pq_link *l)
{
	return l->on_done != NULL;
}

int pq_link_server_version(const struct pq_link *l)
{
	return l->conn ? PQserverVersion(l->conn) : 0;
}

const char *pq_link_user(const struct pq_link *l)
{
	const char *user = l->conn ? PQuser(l->conn) : NULL;

	return user ? user : "";
}

const char *pq_link_database(const struct pq_link *l)
{
	const char *database = l->conn ? PQdb(l->conn) : NULL;

	return database ? database : "";
}

/* ---- connecting ------------------------------------------------------------ */

/*
 * A WARNING at a COMMIT means that the wait for a standby was cancelled: the
 * commit may still be lost.  All other warnings are treated alike; being proven
 * once too often costs one small commit.
 */
static void on_notice(void *arg, const PGresult *notice)
{
	struct pq_link *l = arg;
	const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *state = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
	char shown[256];

	if (!severity || strcmp(severity, "WARNING") != 0)
		return;
	l->warned = true;
	log_warning("database (%s): %s (%s)", l->role,
		    text ? log_quote(text, shown, sizeof(shown)) : "warning", state ? state : "-");
}

/* Watch the socket that libpq uses now. */
static bool link_watch(struct pq_link *l)
{
	struct stat st;

	if (PQsocket(l->conn) < 0 || fstat(PQsocket(l->conn), &st) < 0)
		return false;
	if (l->watch && st.st_ino == l->watched)
		return true;
	loop_watch_free(l->watch);
	l->watch = loop_watch_new(PQsocket(l->conn), link_ready, l);
	l->watched = st.st_ino;
	return l->watch != NULL;
}

static void connect_deadline(void *ctx)
{
	struct pq_link *l = ctx;

	/* a host that swallows packets must not keep the next one from being tried */
	l->host_turn++;
	link_drop(l, "no answer within connect_timeout_s");
}

static void link_connected(struct pq_link *l)
{
	loop_timer_cancel(&l->timer);
	if (PQsetnonblocking(l->conn, 1) != 0) {
		link_drop(l, "cannot switch to non-blocking");
		return;
	}
	l->state = LINK_UP;
	if (l->complained)
		log_info("database (%s): connected again", l->role);
	l->complained = false;
	loop_watch_want_write(l->watch, false);
	enter(l);
	l->events->on_up(l->ctx);
	leave(l);
}

static void link_step(struct pq_link *l)
{
	switch (PQconnectPoll(l->conn)) {
	case PGRES_POLLING_OK:
		if (link_watch(l))
			link_connected(l);
		else
			link_drop(l, "cannot watch its socket");
		return;
	case PGRES_POLLING_READING:
		if (!link_watch(l))
			break;
		loop_watch_want_write(l->watch, false);
		return;
	case PGRES_POLLING_WRITING:
		if (!link_watch(l))
			break;
		loop_watch_want_write(l->watch, true);
		return;
	default:
		break;
	}
	link_drop(l, NULL);
}

static void link_connect(void *ctx)
{
	struct pq_link *l = ctx;

	l->state = LINK_CONNECTING;
	l->conn = pq_connect_start(l->config->dsn, l->role, l->settings, l->host_turn);
	if (!l->conn || PQstatus(l->conn) == CONNECTION_BAD || !link_watch(l)) {
		link_drop(l, NULL);
		return;
	}
	PQsetNoticeReceiver(l->conn, on_notice, l);
	loop_timer_set(&l->timer, (uint32_t)l->config->connect_timeout_s * 1000, connect_deadline,
		       l);
	/* after PQconnectStart() behave as if PQconnectPoll() had said "writing" */
	loop_watch_want_write(l->watch, true);
}

static uint64_t random_bits(void)
{
	uint64_t bits = 0;

	/* without entropy the delay is merely the shortest */
	if (getrandom(&bits, sizeof(bits), GRND_NONBLOCK) != (ssize_t)sizeof(bits))
		return 0;
	return bits;
}

/* Tell why once per outage, close, and make the next try due. reason NULL: libpq knows. */
static void link_drop(struct pq_link *l, const char *reason)
{
	char first_line[256];
	uint32_t delay_ms;

	if (!reason) {
		const char *text = l->conn ? PQerrorMessage(l->conn) : "out of memory";

		snprintf(first_line, sizeof(first_line), "%.*s", (int)strcspn(text, "\n"), text);
		reason = first_line[0] ? first_line : "connection lost";
	}
	if (!l->complained && !l->quiet) {
		char shown[300];

		log_warning("database (%s): %s", l->role, log_quote(reason, shown, sizeof(shown)));
		l->complained = true;
	}
	l->quiet = false;
	link_disconnect(l);
	l->state = LINK_WAITING;
	delay_ms = backoff_next_ms(&l->backoff, random_bits());
	loop_timer_set(&l->timer, delay_ms, link_connect, l);
	enter(l);
	l->events->on_down(l->ctx);
	leave(l);
}

void pq_link_restart(struct pq_link *l, const char *reason)
{
	if (l->state != LINK_UP && l->state != LINK_CONNECTING)
		return;
	l->quiet = !reason;
	link_drop(l, reason);
}

/* ---- requests -------------------------------------------------------------- */

static void link_flush(struct pq_link *l)
{
	int left = PQflush(l->conn);

	if (left < 0)
		link_drop(l, NULL);
	else
		loop_watch_want_write(l->watch, left > 0);
}

static void drain_later(void *ctx)
{
	link_ready(ctx, true, false);
}

static void begin_request(struct pq_link *l, pq_row_fn on_row, pq_done_fn on_done, void *ctx)
{
	if (l->state != LINK_UP || l->on_done)
		abort(); /* a second request would steal the first one's answer */
	l->on_row = on_row;
	l->on_done = on_done;
	l->request_ctx = ctx;
	l->warned = false;
}

static void end_request(struct pq_link *l, int sent)
{
	if (!sent || (l->on_row && !PQsetSingleRowMode(l->conn))) {
		/* the caller is not ready for on_down yet: let the loop find the dead socket */
		loop_timer_set(&l->again, 0, drain_later, l);
		return;
	}
	if (PQflush(l->conn) != 0)
		loop_watch_want_write(l->watch, true);
}

void pq_link_query(struct pq_link *l, const char *sql, int param_count, const char *const *params,
		   pq_row_fn on_row, pq_done_fn on_done, void *ctx)
{
	begin_request(l, on_row, on_done, ctx);
	end_request(l, PQsendQueryParams(l->conn, sql, param_count, NULL, params, NULL, NULL, 0));
}

void pq_link_prepare(struct pq_link *l, const char *name, const char *sql, pq_done_fn on_done,
		     void *ctx)
{
	begin_request(l, NULL, on_done, ctx);
	end_request(l, PQsendPrepare(l->conn, name, sql, 0, NULL));
}

void pq_link_execute(struct pq_link *l, const char *name, int param_count,
		     const char *const *params, pq_row_fn on_row, pq_done_fn on_done, void *ctx)
{
	begin_request(l, on_row, on_done, ctx);
	end_request(l, PQsendQueryPrepared(l->conn, name, param_count, params, NULL, NULL, 0));
}

/* No such statement, or what it returns has changed since (ALTER EXTENSION). */
bool pq_answer_forgot(const struct pq_answer *answer)
{
	return !answer->ok &&
	       (strcmp(answer->sqlstate, "26000") == 0 || strcmp(answer->sqlstate, "0A000") == 0);
}

static void fill_answer(struct pq_link *l, struct pq_answer *answer)
{
	ExecStatusType status = l->last ? PQresultStatus(l->last) : PGRES_FATAL_ERROR;
	const char *state = l->last ? PQresultErrorField(l->last, PG_DIAG_SQLSTATE) : NULL;
	const char *text = l->last ? PQresultErrorField(l->last, PG_DIAG_MESSAGE_PRIMARY) : NULL;

	memset(answer, 0, sizeof(*answer));
	answer->result = l->last;
	answer->ok = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
	answer->warned = l->warned;
	if (answer->ok)
		return;
	snprintf(answer->sqlstate, sizeof(answer->sqlstate), "%s", state ? state : "");
	log_quote(text ? text : "no answer", answer->message, sizeof(answer->message));
}

static void finish_request(struct pq_link *l)
{
	pq_done_fn on_done = l->on_done;
	struct pq_answer answer;
	PGresult *last = l->last;

	fill_answer(l, &answer);
	l->last = NULL;
	l->on_row = NULL;
	l->on_done = NULL;
	on_done(l->request_ctx, &answer);
	PQclear(last);
}

/* Take one result off libpq.  False when there is none to take now. */
static bool take_result(struct pq_link *l)
{
	PGresult *r;

	if (l->state != LINK_UP || l->doomed || l->paused || !l->on_done || PQisBusy(l->conn))
		return false;
	r = PQgetResult(l->conn);
	if (!r && PQstatus(l->conn) == CONNECTION_BAD)
		return false;
	if (!r) {
		finish_request(l);
		return true;
	}
	if (PQresultStatus(r) == PGRES_SINGLE_TUPLE) {
		l->on_row(l->request_ctx, r);
		PQclear(r);
		return true;
	}
	PQclear(l->last);
	l->last = r;
	return true;
}

static void take_notifications(struct pq_link *l)
{
	bool any = false;
	PGnotify *n;

	while (l->state == LINK_UP && !l->doomed && (n = PQnotifies(l->conn)) != NULL) {
		if (l->events->on_notify)
			l->events->on_notify(l->ctx, n->extra, n->be_pid == PQbackendPID(l->conn));
		PQfreemem(n);
		any = true;
	}
	if (any && l->events->on_notified && l->state == LINK_UP && !l->doomed)
		l->events->on_notified(l->ctx);
}

/* Bytes that OpenSSL has decrypted already: no descriptor will announce them. */
static bool has_hidden_bytes(struct pq_link *l)
{
	SSL *ssl = PQsslInUse(l->conn) ? PQsslStruct(l->conn, "OpenSSL") : NULL;

	return ssl && SSL_pending(ssl) > 0;
}

static void link_read(struct pq_link *l)
{
	do {
		if (!PQconsumeInput(l->conn) || PQstatus(l->conn) == CONNECTION_BAD) {
			/* rows that came before the end are still good, and void to us */
			link_drop(l, NULL);
			break;
		}
		while (take_result(l))
			;
		take_notifications(l);
		if (l->state == LINK_UP && !l->doomed && PQstatus(l->conn) == CONNECTION_BAD)
			link_drop(l, NULL);
	} while (l->state == LINK_UP && !l->doomed && !l->paused && has_hidden_bytes(l));
}

/* While paused the loop reports nothing but a broken socket, and that again and again. */
static bool socket_is_broken(struct pq_link *l)
{
	struct pollfd p = {.fd = PQsocket(l->conn)};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP | POLLNVAL));
}

static void link_ready(void *ctx, bool readable, bool writable)
{
	struct pq_link *l = ctx;

	enter(l);
	if (l->state == LINK_CONNECTING)
		link_step(l);
	else if (l->state == LINK_UP && writable)
		link_flush(l);
	if (l->state == LINK_UP && !l->doomed && readable) {
		if (!l->paused)
			link_read(l);
		else if (socket_is_broken(l))
			link_drop(l, "connection lost");
	}
	leave(l);
}

void pq_link_pause(struct pq_link *l)
{
	if (l->state != LINK_UP)
		return;
	l->paused = true;
	loop_timer_cancel(&l->again);
	loop_watch_want_read(l->watch, false);
}

void pq_link_resume(struct pq_link *l)
{
	if (!l->paused)
		return;
	l->paused = false;
	loop_watch_want_read(l->watch, true);
	/* libpq may hold rows that no descriptor announces */
	loop_timer_set(&l->again, 0, drain_later, l);
}
