/* What link_loop.c must know of the other link files: their callbacks. */
#ifndef CLINIC_SYNC_LINK_PRIVATE_H
#define CLINIC_SYNC_LINK_PRIVATE_H

#include <libwebsockets.h>

int link_ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
		     size_t len);
int link_http_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
		       size_t len);
int link_watch_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
			size_t len);

#endif
