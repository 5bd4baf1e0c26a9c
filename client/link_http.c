/*
 * GET over libwebsockets; see link_http.h.
 *
 * lws reads straight into our buffer, so a large one makes few trips through
 * the loop.  Redirects are not followed: the access code goes to the relay it
 * was meant for and nowhere else.
 */
#include "link_http.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dynbuf.h"
#include "link_part.h"
#include "link_private.h"
#include "log.h"

#define PROBLEM_BYTES 256
/* How long the relay may take to build what we asked for, and to send the next byte of it. */
#define ANSWER_LIMIT_S 600
#define STALL_LIMIT_S 60

struct link_http {
	struct lws *wsi; /* owned by lws; NULL once it is gone */
	struct link_loop *loop;
	const struct link_http_events *events;
	void *context;
	char *bearer; /* owned; may be NULL */
	bool to_file;
	struct link_part part;
	struct dynbuf line; /* the beginning of a line whose end has not come yet */
	lws_sorted_usec_list_t limit;
	bool opening;
	bool done;
	bool complete; /* the answer came to its end */
	bool has_length;
	int status;
	char problem[PROBLEM_BYTES];
	unsigned char buffer[LWS_PRE + LINK_READ_BYTES];
};

static void set_problem(struct link_http *http, const char *text)
{
	if (!http->problem[0])
		log_quote(text, http->problem, sizeof(http->problem));
}

/* It is this end that failed, which errno alone does not tell. */
static void cannot_write(struct link_http *http)
{
	char text[128];

	snprintf(text, sizeof(text), "cannot write the snapshot file: %s", strerror(errno));
	set_problem(http, text);
}

static void too_slow(lws_sorted_usec_list_t *sul)
{
	struct link_http *http = lws_container_of(sul, struct link_http, limit);

	set_problem(http, "no answer in time");
	if (http->wsi)
		lws_set_timeout(http->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
}

static void set_limit(struct link_http *http, int seconds)
{
	lws_sul_schedule(link_loop_context(http->loop), 0, &http->limit, too_slow,
			 (lws_usec_t)seconds * LWS_US_PER_SEC);
}

/* ---- the request ----------------------------------------------------------------------- */

static bool add_header(struct lws *wsi, const char *name, const char *value, unsigned char **at,
		       unsigned char *end)
{
	return lws_add_http_header_by_name(wsi, (const unsigned char *)name,
					   (const unsigned char *)value, (int)strlen(value), at,
					   end) == 0;
}

static int add_headers(struct link_http *http, struct lws *wsi, unsigned char **at, size_t size)
{
	unsigned char *end = *at + size;
	char value[4200];

	if (http->bearer) {
		snprintf(value, sizeof(value), "Bearer %s", http->bearer);
		if (!add_header(wsi, "authorization:", value, at, end))
			return -1;
	}
	if (!http->to_file || http->part.have_bytes == 0)
		return 0;
	snprintf(value, sizeof(value), "bytes=%" PRIu64 "-", http->part.have_bytes);
	if (!add_header(wsi, "range:", value, at, end) ||
	    !add_header(wsi, "if-range:", http->part.etag, at, end))
		return -1;
	return 0;
}

/* ---- the answer ------------------------------------------------------------------------ */

/* An answer header's value, empty when it is missing or longer than size. */
static const char *header(struct lws *wsi, enum lws_token_indexes token, char *out, int size)
{
	if (lws_hdr_copy(wsi, out, size, token) < 0)
		out[0] = '\0';
	return out;
}

static bool begin_file(struct link_http *http, struct lws *wsi)
{
	char range[80], etag[LINK_PART_ETAG_BYTES], length[32];

	header(wsi, WSI_TOKEN_HTTP_CONTENT_RANGE, range, sizeof(range));
	header(wsi, WSI_TOKEN_HTTP_ETAG, etag, sizeof(etag));
	header(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, length, sizeof(length));
	switch (http->status) {
	case 200:
		if (!length[0]) {
			set_problem(http, "the answer has no Content-Length");
			return false;
		}
		if (link_part_restart(&http->part, etag, strtoull(length, NULL, 10)))
			return true;
		cannot_write(http);
		return false;
	case 206:
		if (link_part_continue(&http->part, range))
			return true;
		break;
	case 416:
		if (link_part_was_whole(&http->part, range)) {
			http->complete = true;
			return false;
		}
		break;
	default:
		return true; /* an error's text follows */
	}
	link_part_forget(&http->part);
	set_problem(http, "the relay cannot continue the part that is here");
	return false;
}

static int begin_answer(struct link_http *http, struct lws *wsi)
{
	http->status = (int)lws_http_client_http_response(wsi);
	http->has_length = lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) > 0;
	set_limit(http, ANSWER_LIMIT_S);
	if (http->to_file && !begin_file(http, wsi))
		return -1;
	return 0;
}

static bool take_lines(struct link_http *http, const char *bytes, size_t len)
{
	const char *end;

	while ((end = memchr(bytes, '\n', len))) {
		size_t part = (size_t)(end - bytes);

		if (http->line.len == 0) {
			http->events->on_line(http->context, bytes, part);
		} else {
			if (!dynbuf_add(&http->line, bytes, part))
				return false;
			http->events->on_line(http->context, http->line.data, http->line.len);
			dynbuf_reset(&http->line);
		}
		bytes = end + 1;
		len -= part + 1;
	}
	return dynbuf_add(&http->line, bytes, len);
}

/* What the relay says about an error: the beginning of it is enough. */
static void take_error_text(struct link_http *http, const char *bytes, size_t len)
{
	if (len > PROBLEM_BYTES / 2)
		len = PROBLEM_BYTES / 2;
	if (http->line.len < PROBLEM_BYTES / 2 && !dynbuf_add(&http->line, bytes, len))
		set_problem(http, "out of memory");
}

static int take_body(struct link_http *http, const char *bytes, size_t len)
{
	if (http->status != 200 && http->status != 206) {
		take_error_text(http, bytes, len);
		return 0;
	}
	if (!http->to_file) {
		set_limit(http, ANSWER_LIMIT_S);
		if (take_lines(http, bytes, len))
			return 0;
		set_problem(http, "a line of the answer is too long");
		return -1;
	}
	set_limit(http, STALL_LIMIT_S);
	if (!link_part_write(&http->part, bytes, len)) {
		cannot_write(http);
		return -1;
	}
	if (http->events->on_progress)
		http->events->on_progress(http->context, http->part.have_bytes,
					  http->part.total_bytes);
	return 0;
}

static int read_body(struct link_http *http, struct lws *wsi)
{
	char *at = (char *)http->buffer + LWS_PRE;
	int len = LINK_READ_BYTES;

	return lws_http_client_read(wsi, &at, &len) < 0 ? -1 : 0;
}

/* ---- the end --------------------------------------------------------------------------- */

static void judge(struct link_http *http)
{
	char text[PROBLEM_BYTES];
	const char *said = http->line.len ? http->line.data : "";

	if (http->problem[0])
		return;
	if (http->status != 200 && http->status != 206 &&
	    !(http->status == 416 && http->complete)) {
		if (http->status == 0)
			snprintf(text, sizeof(text), "no answer");
		else
			snprintf(text, sizeof(text), "HTTP status %d%s%.*s", http->status,
				 said[0] ? ": " : "", (int)strcspn(said, "\r\n"), said);
		set_problem(http, text);
	} else if (http->to_file) {
		if (http->part.have_bytes != http->part.total_bytes)
			set_problem(http, "the connection ended before the file did");
		else if (!link_part_finish(&http->part))
			set_problem(http, "the file could not be written");
	} else if (!http->complete && http->has_length) {
		set_problem(http, "the connection ended before the answer did");
	}
}

static void finish(struct link_http *http)
{
	http->wsi = NULL;
	lws_sul_cancel(&http->limit);
	if (http->done || http->opening)
		return;
	http->done = true;
	judge(http);
	/* the last line of an answer needs no end */
	if (!http->problem[0] && !http->to_file && http->line.len > 0)
		http->events->on_line(http->context, http->line.data, http->line.len);
	http->events->on_done(http->context, http->status, http->problem[0] ? http->problem : NULL);
}

int link_http_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
		       size_t len)
{
	struct link_http *http = user;

	if (!http || http->done || (http->wsi && http->wsi != wsi))
		return 0;
	switch (reason) {
	case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
		set_limit(http, ANSWER_LIMIT_S);
		return add_headers(http, wsi, in, len);
	case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
		return begin_answer(http, wsi);
	case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
		return read_body(http, wsi);
	case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
		return take_body(http, in, len);
	case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
		http->complete = true;
		finish(http);
		return -1;
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		if (in && !http->complete)
			set_problem(http, in);
		finish(http);
		break;
	case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
	case LWS_CALLBACK_WSI_DESTROY:
		finish(http);
		break;
	default:
		break;
	}
	return 0;
}

cs_status link_http_get(struct link_loop *loop, const struct link_http_request *request,
			const struct link_http_events *events, void *context,
			struct link_http **out, struct cs_error *err)
{
	struct lws_client_connect_info info = {
		.context = link_loop_context(loop),
		.address = request->url->host,
		.port = request->url->port,
		.path = request->path,
		.host = request->url->host_header,
		.method = "GET",
		.alpn = "http/1.1",
		.protocol = LINK_PROTOCOL_HTTP,
		.ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT,
	};
	struct link_http *http;
	cs_status status = CS_ERR_NOMEM;

	*out = NULL;
	http = calloc(1, sizeof(*http));
	if (!http)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	http->loop = loop;
	http->events = events;
	http->context = context;
	http->part.fd = -1;
	dynbuf_init(&http->line, LINK_HTTP_MAX_LINE_BYTES);
	if (request->bearer && !(http->bearer = strdup(request->bearer))) {
		cs_fail(err, CS_ERR_NOMEM, "out of memory");
		goto fail;
	}
	if (request->save_as) {
		http->to_file = true;
		status = link_part_open(request->save_as, &http->part, err);
		if (status != CS_OK)
			goto fail;
	}
	info.userdata = http;
	info.pwsi = &http->wsi;
	http->opening = true;
	set_limit(http, LINK_HANDSHAKE_LIMIT_S);
	if (!lws_client_connect_via_info(&info) || !http->wsi) {
		http->wsi = NULL;
		status = cs_fail(err, CS_ERR_UPSTREAM, "%s",
				 http->problem[0] ? http->problem : "cannot connect");
		goto fail;
	}
	http->opening = false;
	*out = http;
	return CS_OK;
fail:
	link_http_free(http);
	return status;
}

void link_http_free(struct link_http *http)
{
	if (!http)
		return;
	lws_sul_cancel(&http->limit);
	if (http->wsi) {
		lws_set_wsi_user(http->wsi, NULL);
		lws_set_timeout(http->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
	}
	link_part_close(&http->part);
	dynbuf_free(&http->line);
	free(http->bearer);
	free(http);
}
