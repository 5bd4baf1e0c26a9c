/* link: -lsqlite3 bench/src/part/histogram.c */
/*
 * app_writer --db FILE --table T [--busy-ms N]
 *
 * An app that writes a table of its own in a file that a cache keeps: one row
 * a transaction, at a steady rate whatever comes of it (an open loop), on one
 * connection with a busy_timeout, as docs/app-developers.md tells apps to.
 *
 * On stdin, answers are lines of JSON:
 *
 *	run COUNT RATE   "done", and the times of all rows since the last reset.
 *	                 write: from the moment a row was due until its COMMIT
 *	                 returned, so that waiting behind a row that waits counts,
 *	                 too. busy: rows that SQLite refused when busy_timeout was over
 *	reset            forget times
 *
 * The end of stdin ends it, with 1 if a row was refused.
 */
#include <err.h>
#include <getopt.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "part/clock_ns.h"
#include "part/histogram.h"

static sqlite3 *db;
static sqlite3_stmt *insert;
static struct histogram writing;
static uint64_t busy;

static void sleep_until(int64_t when_ns)
{
	struct timespec t = {when_ns / NS_PER_S, when_ns % NS_PER_S};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
		;
}

/* The INSERT commits by itself. */
static void write_row(void)
{
	int rc = sqlite3_step(insert);

	sqlite3_reset(insert);
	if (rc == SQLITE_BUSY)
		busy++;
	else if (rc != SQLITE_DONE)
		errx(1, "%s", sqlite3_errmsg(db));
}

static void run(unsigned long count, double rate)
{
	int64_t begin_ns = now_ns();

	for (unsigned long i = 0; i < count; i++) {
		int64_t due_ns = begin_ns + (int64_t)((double)i * 1e9 / rate);

		sleep_until(due_ns);
		write_row();
		histogram_add(&writing, now_ns() - due_ns);
	}
	printf("{\"event\":\"done\",\"busy\":%llu,\"write\":", (unsigned long long)busy);
	histogram_print(&writing, stdout);
	puts("}");
	fflush(stdout);
}

static void forget(void)
{
	histogram_reset(&writing);
	puts("{\"event\":\"reset\"}");
	fflush(stdout);
}

static void open_file(const char *file, const char *table, int busy_ms)
{
	char *sql =
		sqlite3_mprintf("INSERT INTO \"%w\" (note) VALUES ('a note of the app')", table);

	if (sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
	    sqlite3_busy_timeout(db, busy_ms) != SQLITE_OK ||
	    sqlite3_prepare_v2(db, sql, -1, &insert, NULL) != SQLITE_OK)
		errx(1, "%s: %s", file, sqlite3_errmsg(db));
	sqlite3_free(sql);
}

int main(int argc, char **argv)
{
	static const struct option known[] = {{"db", 1, NULL, 'd'},
					      {"table", 1, NULL, 't'},
					      {"busy-ms", 1, NULL, 'b'},
					      {NULL, 0, NULL, 0}};
	const char *file = NULL, *table = NULL;
	int busy_ms = 10000, o;
	char line[128];

	while ((o = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (o) {
		case 'd':
			file = optarg;
			break;
		case 't':
			table = optarg;
			break;
		case 'b':
			busy_ms = atoi(optarg);
			break;
		default:
			return 2;
		}
	}
	if (!file || !table || optind < argc)
		errx(2, "usage: app_writer --db FILE --table T [--busy-ms N]");
	prctl(PR_SET_TIMERSLACK, 1000L);
	open_file(file, table, busy_ms);
	puts("{\"event\":\"connected\"}");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		unsigned long count;
		double rate;

		if (sscanf(line, "run %lu %lf", &count, &rate) == 2 && count && rate > 0)
			run(count, rate);
		else if (strcmp(line, "reset\n") == 0)
			forget();
		else
			errx(2, "no such order: %s", line);
	}
	sqlite3_finalize(insert);
	sqlite3_close(db);
	return busy > 0;
}
