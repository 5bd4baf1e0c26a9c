/* Which path is answered by whom, and what every answer has in common; see http.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "http.h"
#include "metrics.h"
#include "origins.h"
#include "relay_state.h"

#define TEXT_PLAIN "text/plain; charset=utf-8"

static const struct route {
	const char *path; /* ending in a slash: the beginning of it, the handler has the rest */
	void (*handler)(struct http_exchange *x);
	bool needs_code;
} routes[] = {
	{"/db/download", http_download, true}, {"/db/changes", http_changes, true},
	{"/db/changes/", http_changes, true},  {"/db/digest", http_digest, true},
	{"/tables/", http_table, true},        {"/status", http_status, false},
	{"/healthz", http_healthz, false},     {"/readyz", http_readyz, false},
	{"/metrics", http_metrics, false},
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

void http_answer_busy(struct http_exchange *x, const char *line)
{
	http_add_header(x, "retry-after:", HTTP_RETRY_AFTER_S);
	http_answer_line(x, 503, line);
}

/* A page of a listed origin may read the answer; to all others the browser keeps it shut. */
static bool allow_origin(struct http_exchange *x)
{
	const char *list = x->relay->config->allow_origins;

	if (!x->origin[0] || !origins_have(list, x->origin))
		return false;
	http_add_header(x, "access-control-allow-origin:", "%s", x->origin);
	http_add_header(x, "access-control-expose-headers:",
			"x-clinic-cursor, etag, content-range, accept-ranges, retry-after");
	http_add_header(x, "vary:", "origin");
	return true;
}

/* May a page send such a request?  It asks first when the request carries the access code. */
static void answer_preflight(struct http_exchange *x)
{
	http_add_header(x, "access-control-allow-methods:", "GET, HEAD");
	http_add_header(x, "access-control-allow-headers:", "authorization, range, if-range");
	http_add_header(x, "access-control-max-age:", "600");
	x->status = 204;
	x->content_length = 0;
	x->answered = true;
	http_wake(x);
}

static const struct route *find_route(struct http_exchange *x)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		size_t len = strlen(routes[i].path);
		bool beginning = routes[i].path[len - 1] == '/';

		if (strncmp(x->path, routes[i].path, len) != 0 || (!beginning && x->path[len]))
			continue;
		x->rest = x->path + len;
		return &routes[i];
	}
	return NULL;
}

void http_route(struct http_exchange *x)
{
	bool origin_allowed = allow_origin(x);
	const struct route *route;

	metric_add(METRIC_HTTP_REQUESTS, 1);
	http_add_header(x, "cache-control:", "no-store");
	http_add_header(x, "x-content-type-options:", "nosniff");
	if (x->method == HTTP_OPTIONS && origin_allowed) {
		answer_preflight(x);
		return;
	}
	if (x->method == HTTP_OTHER || x->method == HTTP_OPTIONS) {
		http_add_header(x, "allow:", "GET, HEAD");
		http_answer_line(x, 405, "only GET and HEAD");
		return;
	}
	if (x->query_holds_secret) {
		http_answer_line(x, 400, "never put the access code into a URL");
		return;
	}
	route = find_route(x);
	if (!route) {
		http_answer_line(x, 404, "no such path");
		return;
	}
	if (route->needs_code && !x->authorized) {
		metric_add(METRIC_BAD_ACCESS_CODES, 1);
		http_add_header(x, "www-authenticate:", "Bearer");
		http_answer_line(x, 401, "the access code is missing or wrong");
		return;
	}
	route->handler(x);
}

void http_close(struct http_exchange *x)
{
	if (x->close)
		x->close(x);
	x->close = NULL;
	dynbuf_free(&x->text);
}
