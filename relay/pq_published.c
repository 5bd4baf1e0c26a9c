/* The list of published tables; see published.h. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "pq_link.h"
#include "published.h"
#include "ws_loop.h"

#define RETRY_AFTER_MS 1000
#define SETTINGS "-c statement_timeout=10000 -c lock_timeout=200"
#define LOCK_NOT_AVAILABLE "55P03"
/*
 * How many rows: as dense as when the table was analyzed, over the pages of now.
 * One that never was: at least so many as wide rows make, if it is a megabyte or
 * less, and else not known.  What lock holds up is the look at the file's size.
 */
#define NAMES_AND_ROWS                                                                             \
	"SELECT t.name, CASE WHEN k.relkind <> 'r' THEN NULL"                                      \
	" WHEN k.relpages > 0 AND k.reltuples > 0"                                                 \
	" THEN pg_catalog.ceil(s.pages * (k.reltuples / k.relpages)::float8)::bigint"              \
	" WHEN s.pages <= 128 THEN s.pages * 16 END"                                               \
	" FROM clinic_sync.snapshot_tables() t JOIN pg_catalog.pg_class k ON k.oid = t.relation"   \
	" CROSS JOIN LATERAL (SELECT pg_catalog.pg_relation_size(k.oid)"                           \
	" / pg_catalog.current_setting('block_size')::bigint AS pages) s"
/* While somebody holds a table for himself. */
#define NAMES_ONLY "SELECT name, NULL FROM clinic_sync.snapshot_tables()"

static struct {
	struct pq_link *link;
	struct loop_timer retry;
	char **names;
	uint64_t *rows; /* of each, at about */
	size_t count;
	uint64_t answers;   /* so far */
	uint64_t read_ms;   /* when the last one came */
	bool asked;         /* a question is open */
	bool names_only;    /* ... since a table is locked */
	char complained[6]; /* SQLSTATE that the log knows about */
	void (*on_fresh)(void *ctx);
	void *ctx;
} published;

void published_forget(void)
{
	for (size_t i = 0; i < published.count; i++)
		free(published.names[i]);
	free(published.names);
	free(published.rows);
	published.names = NULL;
	published.rows = NULL;
	published.count = 0;
}

static bool take_tables(const PGresult *result)
{
	size_t count = (size_t)PQntuples(result);

	published_forget();
	published.rows = calloc(count ? count : 1, sizeof(*published.rows));
	published.names = calloc(count ? count : 1, sizeof(*published.names));
	if (!published.rows || !published.names)
		return false;
	for (; published.count < count; published.count++) {
		int row = (int)published.count;
		char *name = strdup(PQgetvalue(result, row, 0));

		if (!name)
			return false;
		published.names[row] = name;
		published.rows[row] = PQgetisnull(result, row, 1)
					      ? UINT64_MAX
					      : strtoull(PQgetvalue(result, row, 1), NULL, 10);
	}
	return true;
}

static void send_question(void *ctx);

static void on_answer(void *ctx, const struct pq_answer *answer)
{
	(void)ctx;
	if (!answer->ok && !published.names_only &&
	    strcmp(answer->sqlstate, LOCK_NOT_AVAILABLE) == 0) {
		published.names_only = true;
		loop_timer_set(&published.retry, 0, send_question, NULL);
		return;
	}
	published.names_only = false;
	if (!answer->ok || !take_tables(answer->result)) {
		if (answer->ok || strcmp(published.complained, answer->sqlstate) != 0)
			log_warning("database (tables): %s",
				    answer->ok ? "out of memory" : answer->message);
		snprintf(published.complained, sizeof(published.complained), "%s",
			 answer->sqlstate);
		loop_timer_set(&published.retry, RETRY_AFTER_MS, send_question, NULL);
		return;
	}
	published.asked = false;
	published.answers++;
	published.read_ms = clock_monotonic_ms();
	published.complained[0] = '\0';
	pq_link_good(published.link);
	published.on_fresh(published.ctx);
}

static void send_question(void *ctx)
{
	(void)ctx;
	if (published.asked && pq_link_is_up(published.link) && !pq_link_is_busy(published.link))
		pq_link_query(published.link, published.names_only ? NAMES_ONLY : NAMES_AND_ROWS, 0,
			      NULL, NULL, on_answer, NULL);
}

static void on_up(void *ctx)
{
	send_question(ctx);
}

/* The connection is made for the first question and kept: what was asked is asked again. */
static void on_down(void *ctx)
{
	(void)ctx;
	loop_timer_cancel(&published.retry);
}

static const struct pq_link_events events = {.on_up = on_up, .on_down = on_down};

cs_status published_start(const struct config *config, void (*on_fresh)(void *ctx), void *ctx,
			  struct cs_error *err)
{
	memset(&published, 0, sizeof(published));
	published.on_fresh = on_fresh;
	published.ctx = ctx;
	published.link = pq_link_new(config, "tables", SETTINGS, &events, NULL);
	return published.link ? CS_OK : cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

void published_stop(void)
{
	loop_timer_cancel(&published.retry);
	pq_link_free(published.link);
	published.link = NULL;
	published_forget();
}

bool published_has(const char *table)
{
	for (size_t i = 0; i < published.count; i++)
		if (strcmp(published.names[i], table) == 0)
			return true;
	return false;
}

bool published_tables(uint64_t age_most_ms, char *const **names, const uint64_t **rows,
		      size_t *count)
{
	*names = published.names;
	*rows = published.rows;
	*count = published.count;
	return published.names && clock_monotonic_ms() - published.read_ms <= age_most_ms;
}

table_word published_look(const char *table, uint64_t *asked)
{
	if (published_has(table))
		return TABLE_PUBLISHED;
	if (*asked && published.names && published.answers >= *asked)
		return TABLE_NOT_PUBLISHED;
	if (!*asked)
		*asked = published.answers + 1;
	published_ask();
	return TABLE_ASKED;
}

void published_ask(void)
{
	if (published.asked)
		return;
	published.asked = true;
	pq_link_open(published.link);
	send_question(NULL);
}
