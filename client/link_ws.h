/*
 * One WebSocket to the relay.
 *
 * Messages arrive whole (fragments are put together here, up to
 * LINK_WS_MAX_MESSAGE_BYTES).  What is sent is pulled: link_ws_want_write()
 * says that there is something, next_frame() is then called for each message
 * when the socket takes it, so nothing queues up here.
 *
 * Exactly one on_close() ends a link that link_ws_open() made, unless it is
 * freed before.  The callbacks must not free the link.
 */
#ifndef CLINIC_SYNC_LINK_WS_H
#define CLINIC_SYNC_LINK_WS_H

#include <stdbool.h>
#include <stddef.h>

#include "link_loop.h"
#include "link_url.h"
#include "status.h"

/* One row may be 64 MB, and JSON may need up to six bytes for one of them. */
#define LINK_WS_MAX_MESSAGE_BYTES ((size_t)512 * 1024 * 1024)

struct link_ws;

struct link_ws_events {
	void (*on_open)(void *context);
	void (*on_message)(void *context, const char *bytes, size_t len);
	const char *(*next_frame)(void *context, size_t *len); /* NULL: nothing more */
	void (*on_alive)(void *context);                       /* anything at all arrived */
	/* code 0: the link broke, or never came to be */
	void (*on_close)(void *context, int code, const char *reason);
};

/* On failure *out is NULL, err says why and no callback will come. */
cs_status link_ws_open(struct link_loop *loop, const struct link_url *url,
		       const struct link_ws_events *events, void *context, struct link_ws **out,
		       struct cs_error *err) CS_CHECKED;
void link_ws_want_write(struct link_ws *ws);
/* Say goodbye with a close code; on_close() follows, within seconds even if the peer is gone. */
void link_ws_close(struct link_ws *ws, int code, const char *reason);
/* The same with the normal code, and serve the loop until it is done; NULL is fine. */
void link_ws_goodbye(struct link_ws *ws);
bool link_ws_is_open(const struct link_ws *ws);
/* Bytes wait in the socket: the next step of the loop brings them. */
bool link_ws_more_waits(const struct link_ws *ws);
/* Ends the link at once if it still lives; NULL is fine. */
void link_ws_free(struct link_ws *ws);

#endif
