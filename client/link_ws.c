/*
 * The WebSocket of a device; see link_ws.h.
 *
 * lws hands data over in fragments, writes only when the socket is writeable,
 * and owns the wsi: it may live on for a moment after link_ws_free(), so its
 * user pointer is taken away and every callback checks for that.
 *
 * lws answers the relay's pings by itself and does not tell us, nor of pongs
 * without payload.  So aliveness has two guards: lws pings a quiet link and
 * hangs up when no pong comes, and on_alive() tells of what we do see.
 */
#include "link_ws.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "clock.h"
#include "dynbuf.h"
#include "link_private.h"
#include "log.h"

#define KEEP_BUFFER_BYTES (1024 * 1024) /* a larger one is given back after use */
#define REASON_BYTES 124
#define SERVER_BYTES                                                                               \
	(sizeof(((struct link_url *)0)->host_header) + sizeof(((struct link_url *)0)->path))
#define PROBLEM_BYTES (SERVER_BYTES + 128)
#define GOODBYE_LIMIT_S 2

/* The protocol's own limits: ping after 25 s of silence, dead after 35 s. */
static const lws_retry_bo_t idle_policy = {
	.secs_since_valid_ping = 25,
	.secs_since_valid_hangup = 35,
};

struct link_ws {
	struct lws *wsi; /* owned by lws; NULL once it is gone */
	struct link_loop *loop;
	const struct link_ws_events *events;
	void *context;
	lws_sorted_usec_list_t handshake_limit;
	struct dynbuf message;
	bool opening; /* inside lws_client_connect_via_info() */
	bool open;
	bool closed; /* on_close() was called */
	bool saying_goodbye;
	int close_code; /* ours while saying_goodbye, then the peer's */
	char reason[REASON_BYTES];
	char server[SERVER_BYTES];   /* for messages: HOST:PORT/PATH */
	char problem[PROBLEM_BYTES]; /* not a WebSocket at all; goes before reason */
};

static void set_reason(struct link_ws *ws, const void *text, size_t len)
{
	char cut[REASON_BYTES];

	if (len >= sizeof(cut))
		len = sizeof(cut) - 1;
	memcpy(cut, text, len);
	cut[len] = '\0';
	log_quote(cut, ws->reason, sizeof(ws->reason));
}

static void report_close(struct link_ws *ws)
{
	ws->wsi = NULL;
	ws->open = false;
	lws_sul_cancel(&ws->handshake_limit);
	if (ws->closed || ws->opening)
		return;
	ws->closed = true;
	ws->events->on_close(ws->context, ws->close_code,
			     ws->problem[0]  ? ws->problem
			     : ws->reason[0] ? ws->reason
					     : "connection lost");
}

static void handshake_too_slow(lws_sorted_usec_list_t *sul)
{
	struct link_ws *ws = lws_container_of(sul, struct link_ws, handshake_limit);

	set_reason(ws, "no handshake in time", strlen("no handshake in time"));
	if (ws->wsi)
		lws_set_timeout(ws->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
}

static int receive(struct link_ws *ws, const char *bytes, size_t len)
{
	bool last = lws_is_final_fragment(ws->wsi) && !lws_remaining_packet_payload(ws->wsi);

	ws->events->on_alive(ws->context);
	if (last && ws->message.len == 0) {
		ws->events->on_message(ws->context, bytes, len);
		return 0;
	}
	if (!dynbuf_add(&ws->message, bytes, len)) {
		static const char reason[] = "message too long";

		lws_close_reason(ws->wsi, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE,
				 (unsigned char *)(uintptr_t)reason, sizeof(reason) - 1);
		set_reason(ws, reason, sizeof(reason) - 1);
		return -1;
	}
	if (!last)
		return 0;
	ws->events->on_message(ws->context, ws->message.data, ws->message.len);
	if (ws->message.cap > KEEP_BUFFER_BYTES)
		dynbuf_free(&ws->message);
	else
		dynbuf_reset(&ws->message);
	return 0;
}

/* A client masks what it sends in place, so the message is copied first. */
static bool write_message(struct link_ws *ws, const char *text, size_t len)
{
	unsigned char *buffer = malloc(LWS_PRE + len);
	int written;

	if (!buffer)
		return false;
	memcpy(buffer + LWS_PRE, text, len);
	written = lws_write(ws->wsi, buffer + LWS_PRE, len, LWS_WRITE_TEXT);
	free(buffer);
	return written >= (int)len;
}

static int writeable(struct link_ws *ws)
{
	const char *text;
	size_t len;

	if (ws->saying_goodbye) {
		lws_close_reason(ws->wsi, (enum lws_close_status)ws->close_code,
				 (unsigned char *)ws->reason, strlen(ws->reason));
		return -1;
	}
	text = ws->events->next_frame(ws->context, &len);
	if (!text)
		return 0;
	if (!write_message(ws, text, len))
		return -1;
	lws_callback_on_writable(ws->wsi);
	return 0;
}

/* The peer's close frame: two bytes of code, then a reason. */
static void note_peer_close(struct link_ws *ws, const unsigned char *in, size_t len)
{
	if (len < 2)
		return;
	ws->close_code = in[0] << 8 | in[1];
	set_reason(ws, in + 2, len - 2);
}

/* An answer, but not 101: most likely the address is of something else. */
static void note_http_answer(struct link_ws *ws, struct lws *wsi)
{
	unsigned status = lws_http_client_http_response(wsi);

	if (status >= 500)
		snprintf(ws->problem, sizeof(ws->problem), "ws://%s answers with HTTP status %u",
			 ws->server, status);
	else if (status >= 200)
		snprintf(ws->problem, sizeof(ws->problem),
			 "the server at ws://%s does not speak clinic-sync (HTTP status %u); "
			 "the path is usually /ws",
			 ws->server, status);
}

int link_ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
		     size_t len)
{
	struct link_ws *ws = user;

	if (!ws || (ws->wsi && ws->wsi != wsi))
		return reason == LWS_CALLBACK_CLIENT_RECEIVE ? -1 : 0;
	switch (reason) {
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		lws_sul_cancel(&ws->handshake_limit);
		ws->open = true;
		ws->events->on_open(ws->context);
		break;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		/* bytes are life: on a slow link a pong waits behind megabytes of them */
		lws_validity_confirmed(wsi);
		return receive(ws, in, len);
	case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
		ws->events->on_alive(ws->context);
		break;
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return writeable(ws);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		note_peer_close(ws, in, len);
		break;
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		if (in && !ws->reason[0])
			set_reason(ws, in, strlen(in));
		note_http_answer(ws, wsi);
		report_close(ws);
		break;
	case LWS_CALLBACK_CLIENT_CLOSED:
	case LWS_CALLBACK_WSI_DESTROY:
		report_close(ws);
		break;
	default:
		break;
	}
	return 0;
}

cs_status link_ws_open(struct link_loop *loop, const struct link_url *url,
		       const struct link_ws_events *events, void *context, struct link_ws **out,
		       struct cs_error *err)
{
	struct lws_client_connect_info info = {
		.context = link_loop_context(loop),
		.address = url->host,
		.port = url->port,
		.path = url->path,
		.host = url->host_header,
		.protocol = "clinic-sync.v1",
		.local_protocol_name = LINK_PROTOCOL_WS,
		.retry_and_idle_policy = &idle_policy,
	};
	struct link_ws *ws;

	*out = NULL;
	ws = calloc(1, sizeof(*ws));
	if (!ws)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	ws->loop = loop;
	ws->events = events;
	ws->context = context;
	dynbuf_init(&ws->message, LINK_WS_MAX_MESSAGE_BYTES);
	snprintf(ws->server, sizeof(ws->server), "%s%s", url->host_header, url->path);
	info.userdata = ws;
	info.pwsi = &ws->wsi;
	ws->opening = true;
	if (!lws_client_connect_via_info(&info) || !ws->wsi) {
		cs_fail(err, CS_ERR_UPSTREAM, "%s", ws->reason[0] ? ws->reason : "cannot connect");
		goto fail;
	}
	ws->opening = false;
	lws_sul_schedule(info.context, 0, &ws->handshake_limit, handshake_too_slow,
			 (lws_usec_t)LINK_HANDSHAKE_LIMIT_S * LWS_US_PER_SEC);
	*out = ws;
	return CS_OK;
fail:
	ws->wsi = NULL;
	link_ws_free(ws);
	return CS_ERR_UPSTREAM;
}

void link_ws_want_write(struct link_ws *ws)
{
	if (ws->wsi && ws->open)
		lws_callback_on_writable(ws->wsi);
}

void link_ws_close(struct link_ws *ws, int code, const char *reason)
{
	if (!ws->wsi || ws->saying_goodbye)
		return;
	set_reason(ws, reason, strlen(reason));
	if (!ws->open) {
		lws_set_timeout(ws->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
		return;
	}
	ws->close_code = code;
	ws->saying_goodbye = true;
	lws_set_timeout(ws->wsi, PENDING_TIMEOUT_CLOSE_SEND, GOODBYE_LIMIT_S);
	lws_callback_on_writable(ws->wsi);
}

void link_ws_goodbye(struct link_ws *ws)
{
	uint64_t until = clock_monotonic_ms() + GOODBYE_LIMIT_S * 1000;

	if (!link_ws_is_open(ws))
		return;
	link_ws_close(ws, LWS_CLOSE_STATUS_NORMAL, "bye");
	while (!ws->closed && clock_monotonic_ms() < until)
		link_loop_step(ws->loop, 50);
}

bool link_ws_is_open(const struct link_ws *ws)
{
	return ws && ws->open;
}

bool link_ws_more_waits(const struct link_ws *ws)
{
	int waiting = 0;

	return link_ws_is_open(ws) && ws->wsi &&
	       ioctl(lws_get_socket_fd(ws->wsi), FIONREAD, &waiting) == 0 && waiting > 0;
}

void link_ws_free(struct link_ws *ws)
{
	if (!ws)
		return;
	lws_sul_cancel(&ws->handshake_limit);
	if (ws->wsi) {
		lws_set_wsi_user(ws->wsi, NULL);
		lws_set_timeout(ws->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
	}
	dynbuf_free(&ws->message);
	free(ws);
}
