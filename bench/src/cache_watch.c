/* link: -lsqlite3 bench/src/part/[hs]*.c */
/*
 * cache_watch --table T --stamps F [--first N] [--most N] CACHE …
 *
 * An app's screens, one a cache: a reading connection to each that asks again
 * and again for the numbered changes of commit_load that it has not seen, and
 * writes into the file of times when the first and when the last cache showed
 * a change. Between two rounds it rests 200 us for each cache, so that many of
 * them do not starve what is measured.
 *
 * A number is marked once for each cache, so that one that does not come is
 * known. On stdin, answers are lines of JSON:
 *
 *	wait N S       "complete" once every cache has shown all up to N, or
 *	               "timeout" after S seconds, and how many are missing
 *
 * The end of stdin ends it, with 1 if a change was missing at a wait.
 */
#include <err.h>
#include <getopt.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "part/clock_ns.h"
#include "part/stamps.h"

#define REST_US 200
#define BUSY_MS 10000

struct cache {
	sqlite3 *db;
	sqlite3_stmt *news;
	uint64_t *seen;
	uint64_t low; /* all up to this one were seen */
};

static struct cache *caches;
static int cache_count;
static uint64_t first = 1, most = 100000;
static uint32_t *showing; /* how many caches show a change */
static struct stamps stamps;
static bool failed;

static void open_cache(struct cache *c, const char *file, const char *table)
{
	char *sql = sqlite3_mprintf("SELECT id FROM \"%w\" WHERE id > ?1 ORDER BY id", table);

	if (sqlite3_open_v2(file, &c->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
	    sqlite3_busy_timeout(c->db, BUSY_MS) != SQLITE_OK ||
	    sqlite3_prepare_v2(c->db, sql, -1, &c->news, NULL) != SQLITE_OK)
		errx(1, "%s: %s", file, sqlite3_errmsg(c->db));
	sqlite3_free(sql);
	c->seen = calloc(most / 64 + 1, sizeof(*c->seen));
	if (!c->seen)
		err(1, "what %s has shown", file);
	c->low = first - 1;
}

static bool is_seen(const struct cache *c, uint64_t seq)
{
	uint64_t at = seq - first;

	return at < most && c->seen[at / 64] & UINT64_C(1) << at % 64;
}

static void mark(struct cache *c, uint64_t seq, int64_t now)
{
	uint64_t at = seq - first;
	struct stamp *s = stamps_at(&stamps, seq);

	if (at >= most)
		errx(1, "change %llu was not to come", (unsigned long long)seq);
	c->seen[at / 64] |= UINT64_C(1) << at % 64;
	if (!s)
		return;
	if (!s->first_ns)
		s->first_ns = now;
	if (++showing[at] == (uint32_t)cache_count)
		s->last_ns = now;
}

static void look(struct cache *c)
{
	int rc;

	sqlite3_bind_int64(c->news, 1, (sqlite3_int64)c->low);
	while ((rc = sqlite3_step(c->news)) == SQLITE_ROW) {
		uint64_t seq = (uint64_t)sqlite3_column_int64(c->news, 0);

		if (!is_seen(c, seq))
			mark(c, seq, now_ns());
	}
	sqlite3_reset(c->news);
	if (rc != SQLITE_DONE && rc != SQLITE_BUSY)
		errx(1, "%s", sqlite3_errmsg(c->db));
	while (is_seen(c, c->low + 1))
		c->low++;
}

static void look_at_all(void)
{
	for (int i = 0; i < cache_count; i++)
		look(&caches[i]);
	usleep((useconds_t)(REST_US * cache_count));
}

static uint64_t missing(uint64_t last)
{
	uint64_t count = 0;

	for (int i = 0; i < cache_count; i++) {
		for (uint64_t seq = caches[i].low + 1; seq <= last; seq++)
			count += !is_seen(&caches[i], seq);
	}
	return count;
}

static void wait_for(uint64_t last, long seconds)
{
	int64_t deadline_ns = now_ns() + seconds * NS_PER_S;
	uint64_t lacking;

	while ((lacking = missing(last)) > 0 && now_ns() < deadline_ns)
		look_at_all();
	failed = failed || lacking > 0;
	printf("{\"event\":\"%s\",\"caches\":%d,\"last\":%llu,\"missing\":%llu}\n",
	       lacking ? "timeout" : "complete", cache_count, (unsigned long long)last,
	       (unsigned long long)lacking);
	fflush(stdout);
}

/* Returns false at the end of stdin. */
static bool take_orders(void)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	unsigned long long last;
	char line[128];
	long seconds;

	if (poll(&in, 1, 0) <= 0)
		return true;
	if (!fgets(line, sizeof(line), stdin))
		return false;
	if (sscanf(line, "wait %llu %ld", &last, &seconds) != 2)
		errx(2, "no such order: %s", line);
	wait_for(last, seconds);
	return true;
}

static void options(int argc, char **argv)
{
	static const struct option known[] = {{"table", 1, NULL, 't'},
					      {"stamps", 1, NULL, 's'},
					      {"first", 1, NULL, 'f'},
					      {"most", 1, NULL, 'm'},
					      {NULL, 0, NULL, 0}};
	const char *table = NULL, *stamps_path = NULL;
	int o;

	while ((o = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (o) {
		case 't':
			table = optarg;
			break;
		case 's':
			stamps_path = optarg;
			break;
		case 'f':
			first = strtoull(optarg, NULL, 10);
			break;
		case 'm':
			most = strtoull(optarg, NULL, 10);
			break;
		default:
			exit(2);
		}
	}
	cache_count = argc - optind;
	if (!table || !stamps_path || !first || !most || cache_count < 1)
		errx(2, "usage: cache_watch --table T --stamps F [--first N] [--most N] CACHE …");
	if (!stamps_open(&stamps, stamps_path, first + most))
		exit(1);
	caches = calloc((size_t)cache_count, sizeof(*caches));
	showing = calloc(most, sizeof(*showing));
	if (!caches || !showing)
		err(1, "caches");
	for (int i = 0; i < cache_count; i++)
		open_cache(&caches[i], argv[optind + i], table);
}

int main(int argc, char **argv)
{
	options(argc, argv);
	setvbuf(stdin, NULL, _IONBF, 0); /* so that poll() knows of every line */
	puts("{\"event\":\"connected\"}");
	fflush(stdout);
	while (take_orders())
		look_at_all();
	for (int i = 0; i < cache_count; i++) {
		sqlite3_finalize(caches[i].news);
		sqlite3_close(caches[i].db);
	}
	return failed;
}
