/*
 * GET /db/digest: lines of JSON from a digest job, passed on as they come.
 * The job is paused while the reader is slower than it.
 */
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "job.h"
#include "metrics.h"

#define WAITING_MOST_BYTES ((size_t)1024 * 1024)

struct digest {
	struct job *job;
	bool ended;
	bool paused;
};

static void digest_close(struct http_exchange *x)
{
	struct digest *d = x->job;

	job_cancel(d->job);
	free(d);
	x->job = NULL;
}

static body_result digest_body(struct http_exchange *x, char *out, size_t size, size_t *len)
{
	struct digest *d = x->job;
	size_t left = x->text.len - x->text_sent;

	*len = left < size ? left : size;
	if (*len)
		memcpy(out, x->text.data + x->text_sent, *len);
	x->text_sent += *len;
	if (x->text_sent < x->text.len)
		return BODY_MORE;
	dynbuf_reset(&x->text);
	x->text_sent = 0;
	if (d->paused && d->job) {
		d->paused = false;
		job_resume(d->job);
	}
	return d->ended ? BODY_END : BODY_WAIT;
}

static void on_line(void *ctx, const char *line, size_t len)
{
	struct http_exchange *x = ctx;
	struct digest *d = x->job;

	/* the limit of text is far above what comes before the pause takes hold */
	dynbuf_add(&x->text, line, len);
	dynbuf_adds(&x->text, "\n");
	if (!d->paused && d->job && x->text.len > WAITING_MOST_BYTES) {
		d->paused = true;
		job_pause(d->job);
	}
	http_wake(x);
}

static void on_end(void *ctx, bool ok)
{
	struct http_exchange *x = ctx;
	struct digest *d = x->job;

	(void)ok; /* the last line says so */
	d->job = NULL;
	d->ended = true;
	http_wake(x);
}

static const struct digest_events events = {.on_line = on_line, .on_end = on_end};

void http_digest(struct http_exchange *x)
{
	struct digest *d = calloc(1, sizeof(*d));

	if (d) {
		x->job = d;
		x->close = digest_close;
		d->job = job_start_digest(x->tables[0] ? x->tables : NULL, x->rows,
					  x->skip[0] ? x->skip : NULL, &events, x);
	}
	if (!d || (!d->job && !d->ended)) {
		http_answer_busy(x, "too many digests run");
		return;
	}
	metric_add(METRIC_DIGESTS_SERVED, 1);
	x->status = 200;
	x->content_type = "application/x-ndjson";
	x->content_length = -1;
	x->body = digest_body;
	x->answered = true;
	http_wake(x);
}
