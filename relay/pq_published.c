/* The list of published tables; see published.h. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "pq_link.h"
#include "published.h"
#include "ws_loop.h"

#define RETRY_AFTER_MS 1000
#define SETTINGS "-c statement_timeout=10000"

static struct {
	struct pq_link *link;
	struct loop_timer retry;
	char **names;
	size_t count;
	bool asked;         /* a question is open */
	char complained[6]; /* SQLSTATE that the log knows about */
	void (*on_fresh)(void *ctx);
	void *ctx;
} published;

void published_forget(void)
{
	for (size_t i = 0; i < published.count; i++)
		free(published.names[i]);
	free(published.names);
	published.names = NULL;
	published.count = 0;
}

static bool take_names(const PGresult *result)
{
	size_t count = (size_t)PQntuples(result);

	published_forget();
	published.names = calloc(count ? count : 1, sizeof(*published.names));
	if (!published.names)
		return false;
	for (; published.count < count; published.count++) {
		char *name = strdup(PQgetvalue(result, (int)published.count, 0));

		if (!name)
			return false;
		published.names[published.count] = name;
	}
	return true;
}

static void send_question(void *ctx);

static void on_answer(void *ctx, const struct pq_answer *answer)
{
	(void)ctx;
	if (!answer->ok || !take_names(answer->result)) {
		if (answer->ok || strcmp(published.complained, answer->sqlstate) != 0)
			log_warning("database (tables): %s",
				    answer->ok ? "out of memory" : answer->message);
		snprintf(published.complained, sizeof(published.complained), "%s",
			 answer->sqlstate);
		loop_timer_set(&published.retry, RETRY_AFTER_MS, send_question, NULL);
		return;
	}
	published.asked = false;
	published.complained[0] = '\0';
	pq_link_good(published.link);
	published.on_fresh(published.ctx);
}

static void send_question(void *ctx)
{
	(void)ctx;
	if (published.asked && pq_link_is_up(published.link) && !pq_link_is_busy(published.link))
		pq_link_query(published.link, "SELECT name FROM clinic_sync.snapshot_tables()", 0,
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

bool published_names(char *const **names, size_t *count)
{
	*names = published.names;
	*count = published.count;
	return published.names != NULL;
}

void published_ask(void)
{
	if (published.asked)
		return;
	published.asked = true;
	pq_link_open(published.link);
	send_question(NULL);
}
