/* link: -lpq bench/src/part/[hs]*.c */
/*
 * commit_load --dsn DSN --table TABLE [--connections C] [--stamps F --most N] [--bell CHANNEL]
 *
 * Numbered changes at a steady rate, whatever comes of them: an open loop. A
 * commit is one INSERT (of one or more rows) that commits by itself; it has
 * its time on a fixed schedule and goes out on the first free connection at
 * or after it, so that a server that falls behind is seen as lateness and not
 * as a lower rate.
 *
 * Each row is (id, mark): id the sequence number, mark
 * "<id>:<CLOCK_MONOTONIC ns when the INSERT was sent>:<padding>", about 100
 * bytes. When the commit had returned goes into the file of times, which
 * holds numbers below N. With --bell a further connection listens and
 * writes down when it heard of each change, and the batch the bell names.
 *
 * On stdin "run FIRST COUNT RATE ROWS": changes FIRST to FIRST + COUNT - 1, RATE
 * of them a second, ROWS in a commit; then one line of JSON. late: from the
 * schedule to the sending; commit: from sending to return. The end of stdin
 * ends it.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "part/clock_ns.h"
#include "part/histogram.h"
#include "part/stamps.h"

#define CONNECTIONS_MOST 64
#define PADDING "................................................................"

struct writer {
	PGconn *conn;
	bool busy;
	uint64_t first; /* of the commit under way */
	uint64_t rows;
	int64_t sent_ns;
};

struct run {
	uint64_t next, last; /* the next change to send, the last one */
	uint64_t rows;
	int64_t begin_ns;
	double ns_per_change;
	uint64_t first;
};

static const char *dsn, *table, *bell_channel;
static struct writer writers[CONNECTIONS_MOST];
static int writer_count = 4;
static PGconn *bell;
static uint64_t bell_next; /* the first change that no bell was heard for */
static struct stamps stamps;
static struct histogram late, committing;

static PGconn *connect_to(const char *why)
{
	PGconn *conn = PQconnectdb(dsn);

	if (PQstatus(conn) != CONNECTION_OK)
		errx(1, "%s: %s", why, PQerrorMessage(conn));
	return conn;
}

static void expect(PGconn *conn, PGresult *result, ExecStatusType wanted)
{
	if (PQresultStatus(result) != wanted)
		errx(1, "%s", PQerrorMessage(conn));
	PQclear(result);
}

static void prepare(PGconn *conn)
{
	char sql[512];

	snprintf(sql, sizeof(sql),
		 "INSERT INTO %s (id, mark) VALUES ($1::bigint, $1::bigint || ':' || $2::text || "
		 "':" PADDING "')",
		 table);
	expect(conn, PQprepare(conn, "one", sql, 0, NULL), PGRES_COMMAND_OK);
	snprintf(sql, sizeof(sql),
		 "INSERT INTO %s (id, mark) SELECT n, n || ':' || $2::text || ':" PADDING "' "
		 "FROM generate_series($1::bigint, $3::bigint) n",
		 table);
	expect(conn, PQprepare(conn, "many", sql, 0, NULL), PGRES_COMMAND_OK);
}

static void connect_all(void)
{
	char sql[128];

	for (int i = 0; i < writer_count; i++) {
		writers[i].conn = connect_to("a writer");
		prepare(writers[i].conn);
	}
	if (!bell_channel)
		return;
	bell = connect_to("the listener");
	snprintf(sql, sizeof(sql), "LISTEN %s", bell_channel);
	expect(bell, PQexec(bell, sql), PGRES_COMMAND_OK);
}

/* ---- one commit ------------------------------------------------------------ */

static int64_t due_of(const struct run *r, uint64_t seq)
{
	return r->begin_ns + (int64_t)((double)(seq - r->first) * r->ns_per_change);
}

static void send_next(struct writer *w, struct run *r)
{
	char first[24], last[24], sent[24];
	const char *values[] = {first, sent, last};
	int64_t due = due_of(r, r->next);

	w->first = r->next;
	w->rows = r->last - r->next + 1 < r->rows ? r->last - r->next + 1 : r->rows;
	w->sent_ns = now_ns();
	histogram_add(&late, w->sent_ns - due);
	snprintf(first, sizeof(first), "%llu", (unsigned long long)w->first);
	snprintf(last, sizeof(last), "%llu", (unsigned long long)(w->first + w->rows - 1));
	snprintf(sent, sizeof(sent), "%lld", (long long)w->sent_ns);
	for (uint64_t i = 0; i < w->rows; i++) {
		struct stamp *s = stamps_at(&stamps, w->first + i);

		if (s) {
			s->due_ns = due;
			s->sent_ns = w->sent_ns;
		}
	}
	if (!PQsendQueryPrepared(w->conn, w->rows == 1 ? "one" : "many", w->rows == 1 ? 2 : 3,
				 values, NULL, NULL, 0))
		errx(1, "%s", PQerrorMessage(w->conn));
	w->busy = true;
	r->next += w->rows;
}

static void take_answer(struct writer *w)
{
	PGresult *result;
	int64_t now;

	if (!PQconsumeInput(w->conn))
		errx(1, "%s", PQerrorMessage(w->conn));
	if (PQisBusy(w->conn))
		return;
	now = now_ns();
	while ((result = PQgetResult(w->conn)) != NULL)
		expect(w->conn, result, PGRES_COMMAND_OK);
	for (uint64_t i = 0; i < w->rows; i++) {
		struct stamp *s = stamps_at(&stamps, w->first + i);

		if (s)
			__atomic_store_n(&s->returned_ns, now, __ATOMIC_RELEASE);
	}
	histogram_add(&committing, now - w->sent_ns);
	w->busy = false;
}

/* A bell speaks of what was sent before it; at low rates of exactly one commit. */
static void take_bells(const struct run *r)
{
	PGnotify *n;

	if (!PQconsumeInput(bell))
		errx(1, "%s", PQerrorMessage(bell));
	while ((n = PQnotifies(bell)) != NULL) {
		const char *batch = strstr(n->extra, "\"batch\":");
		int64_t now = now_ns();

		for (; bell_next < r->next; bell_next++) {
			struct stamp *s = stamps_at(&stamps, bell_next);

			if (s) {
				s->bell_ns = now;
				s->batch = batch ? strtoll(batch + 8, NULL, 10) : 0;
			}
		}
		PQfreemem(n);
	}
}

/* ---- the loop -------------------------------------------------------------- */

static int watch(struct pollfd *fds)
{
	int count = 0;

	for (int i = 0; i < writer_count; i++) {
		fds[count].fd = writers[i].busy ? PQsocket(writers[i].conn) : -1;
		fds[count++].events = POLLIN;
	}
	if (bell) {
		fds[count].fd = PQsocket(bell);
		fds[count++].events = POLLIN;
	}
	return count;
}

/* Wait for an answer, or until the next commit is due and somebody is free to make it. */
static void await(struct run *r)
{
	struct pollfd fds[CONNECTIONS_MOST + 1];
	struct timespec pause = {0, 0};
	int count = watch(fds);
	int64_t left_ns = due_of(r, r->next) - now_ns();
	bool all_busy = true;

	for (int i = 0; i < writer_count; i++)
		all_busy = all_busy && writers[i].busy;
	if (all_busy || r->next > r->last)
		left_ns = NS_PER_S;
	if (left_ns > 0) {
		pause.tv_sec = left_ns / NS_PER_S;
		pause.tv_nsec = left_ns % NS_PER_S;
	}
	if (ppoll(fds, (nfds_t)count, &pause, NULL) < 0 && errno != EINTR)
		err(1, "poll");
	for (int i = 0; i < writer_count; i++) {
		if (writers[i].busy && fds[i].revents)
			take_answer(&writers[i]);
	}
	if (bell && fds[writer_count].revents)
		take_bells(r);
}

static bool busy(void)
{
	for (int i = 0; i < writer_count; i++) {
		if (writers[i].busy)
			return true;
	}
	return false;
}

static void run(struct run *r)
{
	uint64_t count = r->last - r->first + 1;
	int64_t end_ns;

	histogram_reset(&late);
	histogram_reset(&committing);
	bell_next = r->first;
	r->begin_ns = now_ns();
	while (r->next <= r->last || busy()) {
		for (int i = 0; i < writer_count; i++) {
			if (!writers[i].busy && r->next <= r->last &&
			    due_of(r, r->next) <= now_ns())
				send_next(&writers[i], r);
		}
		await(r);
	}
	end_ns = now_ns();
	printf("{\"event\":\"done\",\"first\":%llu,\"last\":%llu,\"begin_ns\":%lld,"
	       "\"end_ns\":%lld,\"rate\":%.2f,\"late\":",
	       (unsigned long long)r->first, (unsigned long long)r->last, (long long)r->begin_ns,
	       (long long)end_ns, (double)count * 1e9 / (double)(end_ns - r->begin_ns));
	histogram_print(&late, stdout);
	printf(",\"commit\":");
	histogram_print(&committing, stdout);
	puts("}");
	fflush(stdout);
}

static void options(int argc, char **argv)
{
	static const struct option known[] = {
		{"dsn", 1, NULL, 'd'},    {"table", 1, NULL, 't'}, {"connections", 1, NULL, 'c'},
		{"stamps", 1, NULL, 's'}, {"most", 1, NULL, 'm'},  {"bell", 1, NULL, 'b'},
		{NULL, 0, NULL, 0}};
	const char *stamps_path = NULL;
	size_t most = 100001;
	int o;

	while ((o = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (o) {
		case 'd':
			dsn = optarg;
			break;
		case 't':
			table = optarg;
			break;
		case 'c':
			writer_count = atoi(optarg);
			break;
		case 's':
			stamps_path = optarg;
			break;
		case 'm':
			most = strtoull(optarg, NULL, 10);
			break;
		case 'b':
			bell_channel = optarg;
			break;
		default:
			exit(2);
		}
	}
	if (!dsn || !table || writer_count < 1 || writer_count > CONNECTIONS_MOST || optind < argc)
		errx(2, "usage: commit_load --dsn DSN --table TABLE, up to %d connections",
		     CONNECTIONS_MOST);
	if (stamps_path && !stamps_open(&stamps, stamps_path, most))
		exit(1);
}

int main(int argc, char **argv)
{
	char line[128];

	options(argc, argv);
	prctl(PR_SET_TIMERSLACK, 1000L); /* the schedule is kept to a microsecond, not to 50 */
	connect_all();
	puts("{\"event\":\"connected\"}");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		unsigned long long first, count, rows;
		double rate;

		if (sscanf(line, "run %llu %llu %lf %llu", &first, &count, &rate, &rows) != 4 ||
		    !count || rate <= 0 || !rows)
			errx(2, "no such order: %s", line);
		run(&(struct run){.next = first,
				  .first = first,
				  .last = first + count - 1,
				  .rows = rows,
				  .ns_per_change = 1e9 / rate});
	}
	for (int i = 0; i < writer_count; i++)
		PQfinish(writers[i].conn);
	PQfinish(bell);
	return 0;
}
