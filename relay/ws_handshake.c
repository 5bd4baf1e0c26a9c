/*
 * Which connections are heard, and which upgrade requests become devices.
 * libwebsockets lets through wrong versions, a missing subprotocol and any
 * origin; they are answered here.
 */
#include <string.h>
#include <sys/resource.h>

#include "clock.h"
#include "log.h"
#include "metrics.h"
#include "origins.h"
#include "protocol_out.h"
#include "ws_internal.h"

#define COMPLAIN_EVERY_MS 60000

/*
 * When descriptors run out accept() fails again and again at once, and nothing
 * else in the process can open anything.  The kernel gives out the lowest free
 * number, so the number of a new connection tells how many are left.
 */
int ws_filter_connection(int fd)
{
	static uint64_t complained_ms;
	struct rlimit limit;
	uint64_t now_ms = clock_monotonic_ms();

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return 0;
	if ((rlim_t)fd < limit.rlim_cur - descriptors_kept(limit.rlim_cur))
		return 0;
	metric_add(METRIC_HANDSHAKES_REFUSED, 1);
	if (!complained_ms || now_ms - complained_ms >= COMPLAIN_EVERY_MS) {
		complained_ms = now_ms;
		log_warning("of %llu file descriptors nearly all are taken: connections are closed",
			    (unsigned long long)limit.rlim_cur);
	}
	return -1;
}

bool ws_header(struct lws *wsi, enum lws_token_indexes token, char *out, size_t size)
{
	int len = lws_hdr_total_length(wsi, token);

	out[0] = '\0';
	if (len <= 0)
		return true;
	if ((size_t)len >= size)
		return false;
	return lws_hdr_copy(wsi, out, (int)size, token) >= 0;
}

/*
 * Browsers say where a page came from; programs say nothing.  A stranger's page
 * must not use the clinic's network through somebody's browser, so only listed
 * origins may connect.  That the Host header names the same proves nothing: a
 * stranger's name may be made to lead to this address.
 */
static bool origin_allowed(struct lws *wsi)
{
	char origin[256];

	if (!ws_header(wsi, WSI_TOKEN_ORIGIN, origin, sizeof(origin)))
		return false;
	return !origin[0] || origins_have(ws_relay(wsi)->config->allow_origins, origin);
}

static int refuse(struct lws *wsi, unsigned status, const char *why)
{
	metric_add(METRIC_HANDSHAKES_REFUSED, 1);
	log_info("WebSocket upgrade refused: %s", why);
	lws_return_http_status(wsi, status, why);
	return -1;
}

int ws_filter_handshake(struct lws *wsi)
{
	struct relay *relay = ws_relay(wsi);
	char version[8], protocol[128], path[64];

	if (relay->going_down)
		return refuse(wsi, HTTP_STATUS_SERVICE_UNAVAILABLE, "the relay is going down");
	if (!ws_header(wsi, WSI_TOKEN_GET_URI, path, sizeof(path)) || strcmp(path, "/ws") != 0)
		return refuse(wsi, HTTP_STATUS_NOT_FOUND, "WebSocket is at /ws");
	if (!ws_header(wsi, WSI_TOKEN_VERSION, version, sizeof(version)) ||
	    strcmp(version, "13") != 0)
		return refuse(wsi, 426, "Sec-WebSocket-Version 13 is wanted");
	/* libwebsockets has chosen among several offered; none at all it takes for the first */
	if (!ws_header(wsi, WSI_TOKEN_PROTOCOL, protocol, sizeof(protocol)) ||
	    !strstr(protocol, PROTOCOL_NAME))
		return refuse(wsi, HTTP_STATUS_BAD_REQUEST,
			      "subprotocol " PROTOCOL_NAME " is wanted");
	if (!origin_allowed(wsi))
		return refuse(wsi, HTTP_STATUS_FORBIDDEN,
			      "a page of an origin that is not in allow_origins");
	return 0;
}
