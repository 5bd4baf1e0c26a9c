/*
 * Frames into sockets.
 *
 * A frame up to WS_CHUNK_BYTES is written straight from the shared memory: the
 * bytes libwebsockets puts in front of it are the same for every device.  A
 * larger one goes out as WebSocket fragments, each copied through one buffer of
 * the process: what a full socket leaves over, and libwebsockets has to keep, is
 * then one fragment, and nothing is written into the middle of shared text.
 */
#include "ws_internal.h"

#include <string.h>

#include "metrics.h"

_Static_assert(FRAME_HEADROOM >= LWS_PRE, "no room for the WebSocket header");

static unsigned char chunk[LWS_PRE + WS_CHUNK_BYTES];

static int write_fragment(struct lws *wsi, const struct outgoing *out, size_t len)
{
	bool is_first = out->at == 0;
	bool is_last = out->at + len == out->frame->len;
	int flags = lws_write_ws_flags(LWS_WRITE_TEXT, is_first, is_last);

	memcpy(chunk + LWS_PRE, out->frame->text + out->at, len);
	return lws_write(wsi, chunk + LWS_PRE, len, (enum lws_write_protocol)flags);
}

bool ws_send_piece(struct lws *wsi, struct outgoing *out)
{
	size_t len = out->frame->len - out->at;
	int written;

	if (len > WS_CHUNK_BYTES)
		len = WS_CHUNK_BYTES;
	if (out->frame->len <= WS_CHUNK_BYTES)
		written = lws_write(wsi, (unsigned char *)out->frame->text, len, LWS_WRITE_TEXT);
	else
		written = write_fragment(wsi, out, len);
	if (written < (int)len)
		return false;
	metric_add(METRIC_BYTES_SENT, len);
	out->at += len;
	if (out->at == out->frame->len) {
		frame_unref(out->frame);
		out->frame = NULL;
		out->at = 0;
	}
	return true;
}

bool ws_send_ping(struct lws *wsi)
{
	/* libwebsockets 4.1 does not report the pong of an empty ping */
	static const char text[] = "alive";
	unsigned char ping[LWS_PRE + sizeof(text)];

	memcpy(ping + LWS_PRE, text, sizeof(text));
	return lws_write(wsi, ping + LWS_PRE, sizeof(text) - 1, LWS_WRITE_PING) >= 0;
}
