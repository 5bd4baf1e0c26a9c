/*
 * The one port: WebSocket devices at /ws and HTTP, by libwebsockets.
 * No libwebsockets types here.
 */
#ifndef CLINIC_RELAY_WS_SERVER_H
#define CLINIC_RELAY_WS_SERVER_H

#include <stdint.h>

#include "relay_state.h"

/* Listen as the configuration says, and install the loop's runner. */
cs_status ws_server_start(struct relay *relay, struct cs_error *err) CS_CHECKED;
/* The port it listens on. */
int ws_server_port(void);
/* Close every connection and free everything. */
void ws_server_close(void);

/* ---- sessions, one per device (ws_session.c) -------------------------------------- */

/* Send what the device has to send, as far as the socket takes it; the rest follows. */
void session_wake(void *session);
/* Once a second: pings, and the end of links that were silent for too long. */
void session_tick(void *session, uint64_t now_ms);
/* End it without a word, soon. */
void session_kill(void *session);

#endif
