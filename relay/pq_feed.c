/*
 * Batches off a link; see pq_feed.h.
 *
 * Rows are taken one at a time (single-row mode), so memory holds one row
 * however large a batch is.  The price is that the closing row of a batch
 * comes after its changes: its count is compared then, and a difference means
 * that the log is not whole; the receiver is told to drop what it got.  The
 * same row says whether the worker vouches for the batch.
 */
#include "pq_feed.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

/* Also what feed() holds at most in one answer before it calls a batch a giant. */
#define PAGE_ROWS "5000"

/* Columns of the queries below. */
enum {
	COL_BATCH,
	COL_CURSOR,
	COL_TIME,
	COL_EVENT,
	COL_TABLE,
	COL_OPERATION,
	COL_KEY,
	COL_DATA,
	COL_ORIGIN
};

#define FEED_NAME "clinic_relay_feed"

static const char feed_sql[] =
	"SELECT batch, cursor, created_at, event, relation, operation, key, data, origin"
	" FROM clinic_sync.feed($1, " PAGE_ROWS ")";
static const char giant_sql[] =
	"SELECT NULL, NULL, NULL, event, relation, operation, key, data, origin"
	" FROM clinic_sync.batch_changes($1)";

static struct upstream_text field_text(const PGresult *row, int column)
{
	struct upstream_text text = {NULL, 0};

	if (!PQgetisnull(row, 0, column)) {
		text.text = PQgetvalue(row, 0, column);
		text.len = (size_t)PQgetlength(row, 0, column);
	}
	return text;
}

static bool field_is(const PGresult *row, int column, const char *word)
{
	return strcmp(PQgetvalue(row, 0, column), word) == 0;
}

bool pq_field_cursor(const PGresult *row, int column, struct cursor *out)
{
	return !PQgetisnull(row, 0, column) &&
	       cursor_parse(PQgetvalue(row, 0, column), (size_t)PQgetlength(row, 0, column), out);
}

static void give_change(struct pq_feed *f, const PGresult *row)
{
	struct upstream_change c = {
		.event = field_text(row, COL_EVENT),
		.table = field_text(row, COL_TABLE),
		.operation = field_text(row, COL_OPERATION),
		.key = field_text(row, COL_KEY),
		.data = field_text(row, COL_DATA),
		.origin = field_text(row, COL_ORIGIN),
	};

	f->open = true;
	f->changes++;
	f->sink->on_change(f->ctx, &c);
}

/* A closing row as a batch; resync points into the row. */
static bool closing_batch(const PGresult *row, struct upstream_batch *b)
{
	memset(b, 0, sizeof(*b));
	if (!pq_field_cursor(row, COL_CURSOR, &b->cursor))
		return false;
	snprintf(b->time, sizeof(b->time), "%s", PQgetvalue(row, 0, COL_TIME));
	b->changes = strtoull(PQgetvalue(row, 0, COL_DATA), NULL, 10);
	b->boundary = field_is(row, COL_KEY, "boundary");
	b->resync = field_is(row, COL_EVENT, "resync") ? PQgetvalue(row, 0, COL_TABLE) : NULL;
	return true;
}

static void refuse(struct pq_feed *f, const char *reason)
{
	snprintf(f->refused, sizeof(f->refused), "%s", reason);
}

static void end_batch(struct pq_feed *f, const struct upstream_batch *b)
{
	if (f->changes != b->changes) {
		log_error("batch %lld has %llu changes and its log %llu: the log is not whole",
			  (long long)b->cursor.batch, (unsigned long long)b->changes,
			  (unsigned long long)f->changes);
		refuse(f, "log_incomplete");
		pq_feed_abandon(f);
		return;
	}
	f->open = false;
	f->changes = 0;
	f->batches++;
	f->cursor = b->cursor;
	f->sink->on_batch_end(f->ctx, b);
}

void pq_feed_abandon(struct pq_feed *f)
{
	bool was_open = f->open;

	f->open = false;
	f->changes = 0;
	f->giant.changes = 0;
	if (was_open)
		f->sink->on_abandoned(f->ctx);
}

/* ---- a giant batch ----------------------------------------------------------- */

static void end_page(struct pq_feed *f, enum pq_feed_end end, const struct pq_answer *answer)
{
	if (end == FEED_ERROR)
		pq_feed_abandon(f);
	f->sink->on_page(f->ctx, end, f->refused, answer);
}

static void on_timeout_set_back(void *ctx, const struct pq_answer *answer)
{
	if (!answer->ok)
		end_page(ctx, FEED_ERROR, answer);
	else
		end_page(ctx, ((struct pq_feed *)ctx)->refused[0] ? FEED_REFUSED : FEED_MORE, NULL);
}

static void on_giant_row(void *ctx, const PGresult *row)
{
	give_change(ctx, row);
}

static void on_giant_done(void *ctx, const struct pq_answer *answer)
{
	struct pq_feed *f = ctx;
	struct upstream_batch giant = f->giant;

	f->giant.changes = 0;
	if (!answer->ok) {
		end_page(f, FEED_ERROR, answer);
		return;
	}
	end_batch(f, &giant);
	if (pq_link_is_up(f->link))
		pq_link_query(f->link, "RESET statement_timeout", 0, NULL, NULL,
			      on_timeout_set_back, f);
}

static void on_timeout_off(void *ctx, const struct pq_answer *answer)
{
	struct pq_feed *f = ctx;
	char batch[32];
	const char *params[] = {batch};

	if (!answer->ok) {
		end_page(f, FEED_ERROR, answer);
		return;
	}
	snprintf(batch, sizeof(batch), "%lld", (long long)f->giant.cursor.batch);
	f->open = true;
	f->sink->on_giant_begin(f->ctx, &f->giant);
	if (pq_link_is_up(f->link))
		pq_link_query(f->link, giant_sql, 1, params, on_giant_row, on_giant_done, f);
}

/* Remember it until the page is over; it is the page's only row then. */
static void note_giant(struct pq_feed *f, const struct upstream_batch *b)
{
	f->giant = *b;
	if (!b->resync)
		return;
	if (strlen(b->resync) >= sizeof(f->resync)) {
		refuse(f, "log_incomplete"); /* a whole new start resyncs every table */
		return;
	}
	strcpy(f->resync, b->resync);
	f->giant.resync = f->resync;
}

/* ---- a page ------------------------------------------------------------------ */

static void close_batch(struct pq_feed *f, const PGresult *row, bool is_giant)
{
	struct upstream_batch b;

	if (!closing_batch(row, &b)) {
		refuse(f, "log_incomplete");
		return;
	}
	if (b.cursor.batch > f->limit) {
		/* not proven: the round after a proof brings it */
		if (!field_is(row, COL_ORIGIN, "proven")) {
			f->unproven = b.cursor.batch;
			pq_feed_abandon(f);
			return;
		}
		f->vouched++;
	}
	if (is_giant)
		note_giant(f, &b);
	else
		end_batch(f, &b);
}

static void on_feed_row(void *ctx, const PGresult *row)
{
	struct pq_feed *f = ctx;
	int64_t batch;
	bool is_giant;

	if (f->refused[0])
		return;
	if (field_is(row, COL_OPERATION, "refused")) {
		refuse(f, PQgetvalue(row, 0, COL_DATA));
		return;
	}
	batch = strtoll(PQgetvalue(row, 0, COL_BATCH), NULL, 10);
	if (f->unproven || (batch > f->limit && !f->trusting)) {
		f->unproven = batch;
		return;
	}
	is_giant = field_is(row, COL_OPERATION, "giant");
	if (is_giant || field_is(row, COL_OPERATION, "batch"))
		close_batch(f, row, is_giant);
	else
		give_change(f, row);
}

static void on_feed_done(void *ctx, const struct pq_answer *answer)
{
	struct pq_feed *f = ctx;

	if (f->prepared && pq_answer_forgot(answer)) {
		f->prepared = false;
		pq_feed_read_page(f);
	} else if (!answer->ok) {
		end_page(f, FEED_ERROR, answer);
	} else if (f->refused[0]) {
		end_page(f, FEED_REFUSED, NULL);
	} else if (f->giant.changes) {
		/* its reader may be slow: a time-out would break a sound read */
		pq_link_query(f->link, "SET statement_timeout = 0", 0, NULL, NULL, on_timeout_off,
			      f);
	} else {
		end_page(f, f->batches ? FEED_MORE : FEED_NOTHING, NULL);
	}
}

void pq_feed_read_page(struct pq_feed *f)
{
	char text[CURSOR_TEXT_BYTES];
	const char *params[] = {cursor_format(&f->cursor, text)};

	f->batches = f->vouched = 0;
	f->unproven = 0;
	f->refused[0] = '\0';
	f->giant.changes = 0;
	if (f->prepared)
		pq_link_execute(f->link, FEED_NAME, 1, params, on_feed_row, on_feed_done, f);
	else
		pq_link_query(f->link, feed_sql, 1, params, on_feed_row, on_feed_done, f);
}

void pq_feed_prepare(struct pq_feed *f, pq_done_fn on_done, void *ctx)
{
	pq_link_prepare(f->link, FEED_NAME, feed_sql, on_done, ctx);
}
