/* Between the ws_*.c files: the only header that knows libwebsockets. */
#ifndef CLINIC_RELAY_WS_INTERNAL_H
#define CLINIC_RELAY_WS_INTERNAL_H

#include <libwebsockets.h>

#include "dynbuf.h"
#include "frame.h"
#include "relay_state.h"

/* Largest single write; also how much of a frame libwebsockets may have to keep for one
   connection whose socket is full. */
#define WS_CHUNK_BYTES ((size_t)64 * 1024)

/* A frame on its way into one socket. */
struct outgoing {
	struct frame *frame; /* NULL: nothing under way */
	size_t at;
};

/*
 * Write the next piece of out->frame.  The socket must not be choked.  False:
 * the connection is broken.  At the end of the frame out->frame is NULL.
 */
bool ws_send_piece(struct lws *wsi, struct outgoing *out);
bool ws_send_ping(struct lws *wsi);

struct relay *ws_relay(struct lws *wsi);

/* The callbacks of the protocols. */
int ws_session_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
			size_t len);
size_t ws_session_bytes(void);
int ws_http_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
		     size_t len);
size_t ws_http_bytes(void);

/* Are there descriptors left for a connection that got this one?  0 or not. */
int ws_filter_connection(int fd);
/* May this upgrade request become a device?  Otherwise answers it.  0 or not. */
int ws_filter_handshake(struct lws *wsi);
/* Copies the header; "" when absent, false when too long. */
bool ws_header(struct lws *wsi, enum lws_token_indexes token, char *out, size_t size);

#endif
