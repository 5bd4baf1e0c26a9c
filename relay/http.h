/*
 * HTTP without sockets: a request as it was parsed, an answer as it grows.
 *
 * ws_http.c fills in the request, calls http_route(), sends the head when
 * `answered` is set and then asks body() for pieces whenever the socket takes
 * one.  An answer that has to wait for something sets `answered`, or has more
 * body to give, later and calls http_wake().
 */
#ifndef CLINIC_RELAY_HTTP_H
#define CLINIC_RELAY_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dynbuf.h"

struct relay;

typedef enum { HTTP_GET, HTTP_HEAD, HTTP_OPTIONS, HTTP_OTHER } http_method;
typedef enum { BODY_MORE, BODY_WAIT, BODY_END, BODY_FAILED } body_result;

#define HTTP_HEADERS_MOST 12
/* Written into a 503 that the client had better ask again after. */
#define HTTP_RETRY_AFTER_S "2"

struct http_exchange {
	/* the request */
	struct relay *relay;
	http_method method;
	char path[512];
	const char *rest;  /* of the path, where the route is its beginning; else "" */
	char tables[4096]; /* of the query; "" absent */
	char skip[4096];
	char min[80];
	bool rows;
	bool query_holds_secret;
	bool authorized;
	char range[64];
	char if_range[128];
	char accept[256];
	char origin[256];

	/* the answer */
	bool answered;
	unsigned status;
	const char *content_type;
	int64_t content_length; /* -1: unknown, the end of the connection ends it */
	struct {
		const char *name; /* with the colon, lower case */
		char value[288];
	} headers[HTTP_HEADERS_MOST];
	size_t header_count;
	/* Put up to size bytes into out, set *len (0 with BODY_WAIT). NULL: text below. */
	body_result (*body)(struct http_exchange *x, char *out, size_t size, size_t *len);
	struct dynbuf text;
	size_t text_sent;

	/* the handler's */
	void *job;
	void (*close)(struct http_exchange *x);
	/* ws_http.c's */
	void *connection;
};

/* Every request comes here; sets at least status and answered, or will. */
void http_route(struct http_exchange *x);
/* Free what the handler made. */
void http_close(struct http_exchange *x);
/* Something can be sent now. In ws_http.c. */
void http_wake(struct http_exchange *x);

/* For handlers: answer with a line of text, or with x->text as it stands. */
void http_answer_line(struct http_exchange *x, unsigned status, const char *line);
void http_answer_text(struct http_exchange *x, unsigned status, const char *content_type);
void http_add_header(struct http_exchange *x, const char *name, const char *fmt, ...)
	CS_PRINTF(3, 4);

/* The same for what may go better soon: 503 with Retry-After. */
void http_answer_busy(struct http_exchange *x, const char *line);

/* The handlers (http_status.c, http_download.c, http_rows.c, http_changes.c, http_digest.c). */
void http_status(struct http_exchange *x);
void http_healthz(struct http_exchange *x);
void http_readyz(struct http_exchange *x);
void http_metrics(struct http_exchange *x);
void http_download(struct http_exchange *x);
void http_download_json(struct http_exchange *x);
void http_table(struct http_exchange *x);
void http_changes(struct http_exchange *x);
void http_digest(struct http_exchange *x);

/* Those who ask for a table that may not be published: look again. */
void http_rows_look(void);
/* The database goes away for good: nobody waits for the log any more. */
void http_changes_stop(void);

/* ---- what a client takes (http_accept.c; pure) --------------------------------------- */

/* Does this Accept header prefer application/json to the file it gets otherwise? */
bool http_prefers_json(const char *accept);

/* ---- ranges (http_range.c; pure) ---------------------------------------------------- */

typedef enum { RANGE_NONE, RANGE_PART, RANGE_BAD } range_result;

/*
 * What a Range header asks of `size` bytes: "bytes=N-" and "bytes=N-M" give
 * RANGE_PART with *from and *to (the last byte); other forms, several ranges
 * and an If-Range that is not our etag are RANGE_NONE: the whole; a start
 * beyond the end is RANGE_BAD (416).
 */
range_result http_range(const char *range, const char *if_range, const char *etag, uint64_t size,
			uint64_t *from, uint64_t *to);

#endif
