/*
 * Snapshots as JSON: GET /db/download for who takes application/json, and
 * GET /tables/<t>.
 *
 * The rows are read out of the snapshot file while the socket takes them, a
 * piece at a time, so an answer of any size costs the memory of a piece (or of
 * one row, if that is larger), and PostgreSQL nothing beyond the file.  An
 * answer that ends before its last brace was cut off: there is no length to
 * tell by.
 */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "cursor.h"
#include "http.h"
#include "job.h"
#include "log.h"
#include "metrics.h"
#include "published.h"
#include "relay_state.h"
#include "sqlite_reader.h"

/* Each holds a file open. */
#define READERS_MOST 32
#define PIECE_BYTES ((size_t)64 * 1024)
/* As in sqlite_reader.c: above any row. */
#define PIECE_MOST_BYTES ((size_t)1024 * 1024 * 1024)
/* What one large row made of the buffer is given back. */
#define KEEP_BYTES ((size_t)1024 * 1024)
/* The word whether a table is published comes as soon as the database answers at all. */
#define ASKED_MOST_MS 15000

enum stage { STAGE_HEAD, STAGE_TABLE, STAGE_ROWS, STAGE_OVERSIZE, STAGE_TAIL, STAGE_END };

struct rows_answer {
	struct rows_answer *next; /* in `asking` */
	struct http_exchange *exchange;
	bool is_asking;
	uint64_t asked, asked_ms; /* published_look()'s, and since when */
	struct snapshot_wait *wait;
	struct snapshot_reader *reader;
	bool one_table; /* GET /tables/<t> */
	enum stage stage;
	size_t table;       /* the one whose turn it is */
	bool any_row;       /* of it has been written */
	bool any_oversize;  /* of any table */
	struct dynbuf keys; /* those of one table */
	struct dynbuf piece;
	size_t sent;
};

static size_t open_readers;
static struct rows_answer *asking; /* is the table published? */

static void go_on_asking(struct rows_answer *a)
{
	a->is_asking = true;
	a->next = asking;
	asking = a;
}

static void stop_asking(struct rows_answer *a)
{
	struct rows_answer **at = &asking;

	if (!a->is_asking)
		return;
	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	a->is_asking = false;
}

static void rows_close(struct http_exchange *x)
{
	struct rows_answer *a = x->job;

	stop_asking(a);
	snapshot_cancel(a->wait);
	if (a->reader)
		metric_set(METRIC_ROW_STREAMS, --open_readers);
	snapshot_reader_close(a->reader);
	dynbuf_free(&a->keys);
	dynbuf_free(&a->piece);
	free(a);
	x->job = NULL;
}

/* ---- the pieces, in order -------------------------------------------------------------------- */

static void add_name(struct rows_answer *a)
{
	const char *name = snapshot_reader_table(a->reader, a->table);

	dynbuf_add_json(&a->piece, name, strlen(name));
}

static void write_head(struct rows_answer *a)
{
	dynbuf_addf(&a->piece, "{\"cursor\":\"%s\",\"timestamp\":\"%s\",%s",
		    snapshot_reader_cursor(a->reader), snapshot_reader_created_at(a->reader),
		    a->one_table ? "" : "\"data\":{");
	a->stage = STAGE_TABLE;
}

/* The beginning of a table, or of what follows the last one. */
static cs_status write_table(struct rows_answer *a, struct cs_error *err)
{
	const char *schema;
	uint64_t rows;
	cs_status status;

	if (a->table == snapshot_reader_table_count(a->reader)) {
		dynbuf_adds(&a->piece, "},\"oversize\":{");
		a->table = 0;
		a->stage = STAGE_OVERSIZE;
		return CS_OK;
	}
	status = snapshot_reader_begin(a->reader, snapshot_reader_table(a->reader, a->table),
				       &schema, &rows, err);
	if (status != CS_OK)
		return status;
	if (a->one_table) {
		dynbuf_adds(&a->piece, "\"table\":");
		add_name(a);
		dynbuf_adds(&a->piece, ",\"schema\":");
		dynbuf_adds(&a->piece, schema);
		dynbuf_adds(&a->piece, ",\"rows\":[");
	} else {
		dynbuf_adds(&a->piece, a->table ? "," : "");
		add_name(a);
		dynbuf_adds(&a->piece, ":[");
	}
	a->any_row = false;
	a->stage = STAGE_ROWS;
	return CS_OK;
}

static cs_status write_rows(struct rows_answer *a, struct cs_error *err)
{
	uint64_t rows;
	bool end;
	cs_status status;

	/* there is no row beyond the end, which comes with the last one */
	if (a->any_row)
		dynbuf_adds(&a->piece, ",");
	status = snapshot_reader_rows(a->reader, &a->piece, PIECE_BYTES, &rows, &end, err);
	a->any_row = true;
	if (status != CS_OK || !end)
		return status;
	dynbuf_adds(&a->piece, "]");
	if (a->one_table) {
		dynbuf_adds(&a->piece, ",\"oversize\":");
		a->stage = STAGE_TAIL;
		return snapshot_reader_oversize(a->reader, &a->piece, err);
	}
	a->table++;
	a->stage = STAGE_TABLE;
	return CS_OK;
}

/* The keys of one table's rows that are not held, if there are any. */
static cs_status write_oversize(struct rows_answer *a, struct cs_error *err)
{
	const char *schema;
	uint64_t rows;
	cs_status status;

	if (a->table == snapshot_reader_table_count(a->reader)) {
		dynbuf_adds(&a->piece, "}");
		a->stage = STAGE_TAIL;
		return CS_OK;
	}
	status = snapshot_reader_begin(a->reader, snapshot_reader_table(a->reader, a->table),
				       &schema, &rows, err);
	dynbuf_reset(&a->keys);
	if (status == CS_OK)
		status = snapshot_reader_oversize(a->reader, &a->keys, err);
	if (status == CS_OK && a->keys.len > strlen("[]")) {
		dynbuf_adds(&a->piece, a->any_oversize ? "," : "");
		add_name(a);
		dynbuf_adds(&a->piece, ":");
		dynbuf_add(&a->piece, a->keys.data, a->keys.len);
		a->any_oversize = true;
	}
	a->table++;
	return status;
}

static cs_status write_piece(struct rows_answer *a, struct cs_error *err)
{
	switch (a->stage) {
	case STAGE_HEAD:
		write_head(a);
		return CS_OK;
	case STAGE_TABLE:
		return write_table(a, err);
	case STAGE_ROWS:
		return write_rows(a, err);
	case STAGE_OVERSIZE:
		return write_oversize(a, err);
	case STAGE_TAIL:
		dynbuf_adds(&a->piece, "}\n");
		a->stage = STAGE_END;
		return CS_OK;
	case STAGE_END:
		break;
	}
	return CS_OK;
}

static void log_synced(const struct rows_answer *a)
{
	for (size_t i = 0; i < snapshot_reader_table_count(a->reader); i++)
		log_info("Synced %llu records from table %s (JSON)",
			 (unsigned long long)snapshot_reader_table_rows(a->reader, i),
			 snapshot_reader_table(a->reader, i));
}

/* Fill the piece anew, from small ones up to about PIECE_BYTES.  False: it failed. */
static bool next_piece(struct rows_answer *a)
{
	struct cs_error err = {0};
	cs_status status = CS_OK;

	if (a->piece.cap > KEEP_BYTES)
		dynbuf_free(&a->piece);
	dynbuf_reset(&a->piece);
	a->sent = 0;
	while (status == CS_OK && a->stage != STAGE_END && a->piece.len < PIECE_BYTES / 2)
		status = write_piece(a, &err);
	if (status == CS_OK && a->piece.failed)
		status = cs_fail(&err, CS_ERR_NOMEM, "out of memory");
	if (status != CS_OK)
		log_error("an answer in JSON breaks off: %s", err.text);
	return status == CS_OK;
}

static body_result rows_body(struct http_exchange *x, char *out, size_t size, size_t *len)
{
	struct rows_answer *a = x->job;
	size_t left;

	*len = 0;
	if (a->sent == a->piece.len && !next_piece(a))
		return BODY_FAILED;
	left = a->piece.len - a->sent;
	*len = left < size ? left : size;
	if (*len)
		memcpy(out, a->piece.data + a->sent, *len);
	a->sent += *len;
	if (a->sent < a->piece.len || a->stage != STAGE_END)
		return BODY_MORE;
	log_synced(a);
	return BODY_END;
}

/* ---- asking for the snapshot -------------------------------------------------------------------
 */

static void on_done(void *ctx, const struct snapshot *s)
{
	struct http_exchange *x = ctx;
	struct rows_answer *a = x->job;
	struct cs_error err = {0};

	a->wait = NULL;
	if (open_readers == READERS_MOST) {
		http_answer_busy(x, "too many read rows");
		return;
	}
	if (snapshot_reader_open(s->path, &a->reader, &err) != CS_OK) {
		log_error("%s", err.text);
		http_answer_line(x, 500, "the snapshot cannot be read");
		return;
	}
	metric_set(METRIC_ROW_STREAMS, ++open_readers);
	if (x->method == HTTP_GET)
		metric_add(METRIC_ROWS_SERVED, 1);
	http_add_header(x, "x-clinic-cursor:", "%s", snapshot_reader_cursor(a->reader));
	x->status = 200;
	x->content_type = "application/json";
	x->content_length = -1;
	x->body = rows_body;
	x->answered = true;
	http_wake(x);
}

static void on_failed(void *ctx, const char *reason, bool no_such_table)
{
	struct http_exchange *x = ctx;
	struct rows_answer *a = x->job;

	a->wait = NULL;
	if (no_such_table)
		http_answer_line(x, 404, reason);
	else
		http_answer_busy(x, reason);
}

static const struct snapshot_events events = {.on_done = on_done, .on_failed = on_failed};

static void ask_snapshot(struct http_exchange *x, const char *tables)
{
	struct rows_answer *a = x->job;
	struct snapshot_wait *wait;
	struct cursor min = {0};
	bool answered;

	if (x->min[0] && !cursor_parse(x->min, strlen(x->min), &min)) {
		http_answer_line(x, 400, "min is not a cursor");
		return;
	}
	wait = job_start_snapshot(tables, x->min[0] ? &min : NULL, &events, x, &answered);
	if (wait)
		a->wait = wait;
	else if (!answered)
		http_answer_busy(x, "too many wait for a snapshot");
}

static struct rows_answer *answer_new(struct http_exchange *x, bool one_table)
{
	struct rows_answer *a = calloc(1, sizeof(*a));

	if (!a) {
		http_answer_busy(x, "out of memory");
		return NULL;
	}
	a->exchange = x;
	a->one_table = one_table;
	dynbuf_init(&a->keys, PIECE_MOST_BYTES);
	dynbuf_init(&a->piece, PIECE_MOST_BYTES);
	x->job = a;
	x->close = rows_close;
	return a;
}

void http_download_json(struct http_exchange *x)
{
	if (answer_new(x, false))
		ask_snapshot(x, x->tables[0] ? x->tables : NULL);
}

/* ---- is there such a table? ---------------------------------------------------------------------
 */

/* True: it is known, or nobody can say, and the answer is under way. */
static bool find_table(struct http_exchange *x, struct rows_answer *a)
{
	switch (published_look(x->rest, &a->asked)) {
	case TABLE_PUBLISHED:
		ask_snapshot(x, x->rest);
		return true;
	case TABLE_NOT_PUBLISHED:
		http_answer_line(x, 404, "no such table");
		return true;
	case TABLE_ASKED:
		break;
	}
	if (x->relay->database_connected && clock_monotonic_ms() - a->asked_ms < ASKED_MOST_MS)
		return false;
	http_answer_busy(x, "the database cannot be reached");
	return true;
}

void http_rows_look(void)
{
	for (struct rows_answer *a = asking, *next; a; a = next) {
		struct http_exchange *x = a->exchange;

		next = a->next;
		stop_asking(a);
		if (!find_table(x, a))
			go_on_asking(a);
	}
}

void http_table(struct http_exchange *x)
{
	struct rows_answer *a;

	/* a list of names would be a snapshot of several */
	if (!x->rest[0] || strchr(x->rest, ',')) {
		http_answer_line(x, 404, "no such table");
		return;
	}
	a = answer_new(x, true);
	if (!a)
		return;
	a->asked_ms = clock_monotonic_ms();
	if (!find_table(x, a))
		go_on_asking(a);
}
