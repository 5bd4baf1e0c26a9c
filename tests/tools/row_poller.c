/* link: -lsqlite3 */
/*
 * row_poller CACHE: when does a row become visible in a cache?
 *
 * For every line "TABLE<TAB>KEY COLUMN<TAB>KEY" on stdin it answers "armed",
 * asks the file for that row again and again, 100 us apart, and prints
 * "seen NANOSECONDS" (CLOCK_MONOTONIC) when it is there, or "absent" after
 * ten seconds. It stands for an app's screen: another process with a reading
 * connection of its own.
 */
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const uint64_t patience_ns = 10000000000u;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool wait_for_row(sqlite3_stmt *s, uint64_t *seen_ns)
{
	uint64_t began = now_ns();
	int rc;

	do {
		rc = sqlite3_step(s);
		*seen_ns = now_ns();
		sqlite3_reset(s);
		if (rc == SQLITE_ROW)
			return true;
		usleep(100);
	} while (*seen_ns - began < patience_ns);
	return false;
}

static bool probe(sqlite3 *db, const char *table, const char *column, const char *key)
{
	char *sql = sqlite3_mprintf("SELECT 1 FROM \"%w\" WHERE \"%w\" = ?", table, column);
	sqlite3_stmt *s = NULL;
	uint64_t seen_ns;
	bool ok = sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK &&
		  sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC) == SQLITE_OK;

	sqlite3_free(sql);
	if (!ok) {
		fprintf(stderr, "row_poller: %s\n", sqlite3_errmsg(db));
		return false;
	}
	printf("armed\n");
	fflush(stdout);
	if (wait_for_row(s, &seen_ns))
		printf("seen %llu\n", (unsigned long long)seen_ns);
	else
		printf("absent\n");
	fflush(stdout);
	sqlite3_finalize(s);
	return true;
}

int main(int argc, char **argv)
{
	char line[1024];
	sqlite3 *db;

	if (argc != 2 || sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) {
		fprintf(stderr, "usage: row_poller CACHE\n");
		return 2;
	}
	sqlite3_busy_timeout(db, 5000);
	while (fgets(line, sizeof(line), stdin)) {
		char *save, *table = strtok_r(line, "\t\n", &save);
		char *column = strtok_r(NULL, "\t\n", &save), *key = strtok_r(NULL, "\t\n", &save);

		if (!key || !probe(db, table, column, key))
			return 1;
	}
	sqlite3_close(db);
	return 0;
}
