/* Which path is answered by whom, and what every answer has in common; see http.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "http.h"
#include "metrics.h"

#define TEXT_PLAIN "text/plain; charset=utf-8"

static const struct route {
	const char *path;
	void (*handler)(struct http_exchange *x);
	bool needs_code;
} routes[] = {
	{"/db/download", http_download, true}, {"/db/digest", http_digest, true},
	{"/status", http_status, false},       {"/healthz", http_healthz, false},
	{"/readyz", http_readyz, false},       {"/metrics", http_metrics, false},
};

void http_add_header(struct http_exchange *x, const char *name, const char *fmt, ...)
{
	va_list args;

	if (x->header_count == HTTP_HEADERS_MOST)
		return;
	x->headers[x->header_count].name = name;
	va_start(args, fmt);
	vsnprintf(x->headers[x->header_count].value, sizeof(x->headers[0].value), fmt, args);
	va_end(args);
	x->header_count++;
}

void http_answer_text(struct http_exchange *x, unsigned status, const char *content_type)
{
	if (x->text.failed) {
		dynbuf_reset(&x->text);
		status = 500;
	}
	x->status = status;
	x->content_type = content_type;
	x->content_length = (int64_t)x->text.len;
	x->answered = true;
	http_wake(x);
}

void http_answer_line(struct http_exchange *x, unsigned status, const char *line)
{
	dynbuf_reset(&x->text);
	dynbuf_addf(&x->text, "%s\n", line);
	http_answer_text(x, status, TEXT_PLAIN);
}

void http_route(struct http_exchange *x)
{
	metric_add(METRIC_HTTP_REQUESTS, 1);
	http_add_header(x, "cache-control:", "no-store");
	http_add_header(x, "x-content-type-options:", "nosniff");
	if (x->method == HTTP_OTHER) {
		http_add_header(x, "allow:", "GET, HEAD");
		http_answer_line(x, 405, "only GET and HEAD");
		return;
	}
	if (x->query_holds_secret) {
		http_answer_line(x, 400, "never put the access code into a URL");
		return;
	}
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (strcmp(x->path, routes[i].path) != 0)
			continue;
		if (routes[i].needs_code && !x->authorized) {
			metric_add(METRIC_BAD_ACCESS_CODES, 1);
			http_add_header(x, "www-authenticate:", "Bearer");
			http_answer_line(x, 401, "the access code is missing or wrong");
			return;
		}
		routes[i].handler(x);
		return;
	}
	http_answer_line(x, 404, "no such path");
}

void http_close(struct http_exchange *x)
{
	if (x->close)
		x->close(x);
	x->close = NULL;
	dynbuf_free(&x->text);
}
