/*
 * GET /db/download: a snapshot, streamed from its file piece by piece as the
 * socket takes it.  The file is held open, so a newer one may replace it.
 * As JSON it is http_rows.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cursor.h"
#include "http.h"
#include "job.h"
#include "log.h"
#include "metrics.h"
#include "table_counts.h"

struct download {
	struct snapshot_wait *wait;
	int fd;
	uint64_t at;   /* next byte */
	uint64_t left; /* bytes still to send */
	bool to_end;   /* ... up to the end of the file */
	struct table_counts counts;
};

static void download_close(struct http_exchange *x)
{
	struct download *d = x->job;

	snapshot_cancel(d->wait);
	if (d->fd >= 0)
		close(d->fd);
	table_counts_free(&d->counts);
	free(d);
	x->job = NULL;
}

/* With the last byte, so that a download in several ranges counts once. */
static void log_synced(const struct download *d)
{
	for (size_t i = 0; i < d->counts.len; i++)
		log_info("Synced %llu records from table %s (snapshot)",
			 (unsigned long long)d->counts.items[i].rows, d->counts.items[i].table);
}

static body_result download_body(struct http_exchange *x, char *out, size_t size, size_t *len)
{
	struct download *d = x->job;
	ssize_t n;

	if (size > d->left)
		size = (size_t)d->left;
	do
		n = pread(d->fd, out, size, (off_t)d->at);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return BODY_FAILED;
	d->at += (uint64_t)n;
	d->left -= (uint64_t)n;
	*len = (size_t)n;
	metric_add(METRIC_SNAPSHOT_BYTES, (uint64_t)n);
	if (d->left)
		return BODY_MORE;
	if (d->to_end)
		log_synced(d);
	return BODY_END;
}

static void serve_file(struct http_exchange *x, const struct snapshot *s)
{
	struct download *d = x->job;
	uint64_t from = 0, to = s->bytes - 1;
	char cursor[CURSOR_TEXT_BYTES];

	http_add_header(x, "etag:", "%s", s->etag);
	http_add_header(x, "accept-ranges:", "bytes");
	http_add_header(x, "x-clinic-cursor:", "%s", cursor_format(&s->cursor, cursor));
	x->status = 200;
	switch (http_range(x->range, x->if_range, s->etag, s->bytes, &from, &to)) {
	case RANGE_BAD:
		http_add_header(x, "content-range:", "bytes */%llu", (unsigned long long)s->bytes);
		http_answer_line(x, 416, "the file is shorter");
		return;
	case RANGE_PART:
		x->status = 206;
		http_add_header(x, "content-range:", "bytes %llu-%llu/%llu",
				(unsigned long long)from, (unsigned long long)to,
				(unsigned long long)s->bytes);
		break;
	case RANGE_NONE:
		break;
	}
	d->at = from;
	d->left = to - from + 1;
	d->to_end = to == s->bytes - 1;
	for (size_t i = 0; i < s->table_count; i++)
		if (!table_counts_add(&d->counts, s->tables[i].name, strlen(s->tables[i].name),
				      s->tables[i].rows))
			break;
	x->content_type = "application/vnd.sqlite3";
	x->content_length = (int64_t)d->left;
	x->body = download_body;
	x->answered = true;
	http_wake(x);
}

static void on_done(void *ctx, const struct snapshot *s)
{
	struct http_exchange *x = ctx;
	struct download *d = x->job;

	d->wait = NULL;
	d->fd = open(s->path, O_RDONLY | O_CLOEXEC);
	if (d->fd < 0 || !s->bytes) {
		log_error("cannot open the snapshot: %s", strerror(errno));
		http_answer_line(x, 500, "the snapshot cannot be read");
		return;
	}
	if (x->method == HTTP_GET)
		metric_add(METRIC_SNAPSHOTS_SERVED, 1);
	serve_file(x, s);
}

static void on_failed(void *ctx, const char *reason, bool no_such_table)
{
	struct http_exchange *x = ctx;
	struct download *d = x->job;

	d->wait = NULL;
	if (no_such_table) {
		http_answer_line(x, 404, reason);
		return;
	}
	http_answer_busy(x, reason);
}

static const struct snapshot_events events = {.on_done = on_done, .on_failed = on_failed};

void http_download(struct http_exchange *x)
{
	struct cursor min;
	struct snapshot_wait *wait;
	struct download *d;
	bool answered;

	http_add_header(x, "vary:", "accept");
	if (http_prefers_json(x->accept)) {
		http_download_json(x);
		return;
	}
	if (x->min[0] && !cursor_parse(x->min, strlen(x->min), &min)) {
		http_answer_line(x, 400, "min is not a cursor");
		return;
	}
	d = calloc(1, sizeof(*d));
	if (!d) {
		http_answer_line(x, 503, "out of memory");
		return;
	}
	d->fd = -1;
	x->job = d;
	x->close = download_close;
	wait = job_start_snapshot(x->tables[0] ? x->tables : NULL, x->min[0] ? &min : NULL, &events,
				  x, &answered);
	if (!wait && !answered) {
		http_answer_busy(x, "too many wait for a snapshot");
	}
	if (wait)
		d->wait = wait;
}
