/* The port, where it is not libwebsockets that listens; see ws_listen.c. */
#ifndef CLINIC_RELAY_WS_LISTEN_H
#define CLINIC_RELAY_WS_LISTEN_H

#include <libwebsockets.h>
#include <stdbool.h>

#include "config.h"

/*
 * Can the address be listened on?  NULL: nothing is in the way, or it is no
 * plain address and libwebsockets has to say.  With listen_share it is listened
 * on from here on.
 */
const char *ws_listen_try(const struct config *config);
/* Hand what comes to this vhost.  False: out of memory or descriptors. */
bool ws_listen_start(struct lws_vhost *vhost);
int ws_listen_port(void);
/* Harmless when it does not listen. */
void ws_listen_stop(void);

#endif
