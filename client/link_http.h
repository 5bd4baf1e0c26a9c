/*
 * One GET to the relay: into a file (resumed where an earlier try stopped), or
 * line by line.
 *
 * A part of a file is resumed only if it surely is the beginning of what the
 * relay would send now: beside FILE stands FILE.etag with the answer's strong
 * ETag, and with the machine's boot id, because after a power cut a file may
 * have its length but not its bytes.
 *
 * Exactly one on_done() ends a request that link_http_get() made, unless it is
 * freed before.  The callbacks must not free the request.
 */
#ifndef CLINIC_SYNC_LINK_HTTP_H
#define CLINIC_SYNC_LINK_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link_loop.h"
#include "link_url.h"
#include "status.h"

/* A digest line holds at most one key. */
#define LINK_HTTP_MAX_LINE_BYTES ((size_t)16 * 1024 * 1024)

struct link_http;

struct link_http_events {
	/* one line of a 200 answer without its end; NULL where the answer goes into a file */
	void (*on_line)(void *context, const char *line, size_t len);
	/* bytes there so far, those of an earlier try included; may be NULL */
	void (*on_progress)(void *context, uint64_t have_bytes, uint64_t total_bytes);
	/* problem NULL: complete. status 0: no answer came */
	void (*on_done)(void *context, int http_status, const char *problem);
};

struct link_http_request {
	const struct link_url *url; /* host and port; its path is not used */
	const char *path;           /* with the query */
	const char *bearer;         /* access code; NULL: none */
	const char *save_as;        /* NULL: line by line */
};

/* Copies what it needs of the request. On failure *out is NULL and no callback will come. */
cs_status link_http_get(struct link_loop *loop, const struct link_http_request *request,
			const struct link_http_events *events, void *context,
			struct link_http **out, struct cs_error *err) CS_CHECKED;
/* Gives up if it still runs (a file's part stays for the next try); NULL is fine. */
void link_http_free(struct link_http *http);

#endif
