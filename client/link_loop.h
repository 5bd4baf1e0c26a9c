/*
 * The event loop of the command: one libwebsockets context that serves the
 * WebSocket, HTTP requests and signals.
 *
 * link_loop_step() waits until something happened or wait_ms passed, whichever
 * is first; the caller then asks its own state what to do next.  SIGINT and
 * SIGTERM arrive as data (link_loop_signal), SIGPIPE is ignored.
 */
#ifndef CLINIC_SYNC_LINK_LOOP_H
#define CLINIC_SYNC_LINK_LOOP_H

#include <stdint.h>

#include "status.h"

struct link_loop;
struct lws_context;

cs_status link_loop_new(struct link_loop **out, struct cs_error *err) CS_CHECKED;
/* Closes every socket; links and requests must have been freed before. */
void link_loop_free(struct link_loop *loop);
void link_loop_step(struct link_loop *loop, uint32_t wait_ms);
/* The first SIGINT or SIGTERM received, 0 if none. */
int link_loop_signal(const struct link_loop *loop);

/* For link_*.c only. */
struct lws_context *link_loop_context(struct link_loop *loop);
#define LINK_PROTOCOL_WS "link-ws"
#define LINK_PROTOCOL_HTTP "link-http"
#define LINK_PROTOCOL_WATCH "link-watch"
#define LINK_READ_BYTES (256 * 1024)
#define LINK_HANDSHAKE_LIMIT_S 20

#endif
