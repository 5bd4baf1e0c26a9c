/*
 * HTTP by libwebsockets: its tokens to a struct http_exchange and back; see
 * http.h for what is answered.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "auth.h"
#include "http.h"
#include "log.h"
#include "ws_internal.h"

#define TEXT_MOST_BYTES ((size_t)4 * 1024 * 1024)
/* A reader that takes nothing for so long is gone. */
#define STALLED_AFTER_S 60

struct connection {
	struct http_exchange *x; /* of the request under way */
	bool head_sent;
};

size_t ws_http_bytes(void)
{
	return sizeof(struct connection);
}

static bool get_argument(struct lws *wsi, const char *name, char *out, size_t size)
{
	char fragment[4096];
	const char *value = lws_get_urlarg_by_name(wsi, name, fragment, sizeof(fragment));

	out[0] = '\0';
	if (!value)
		return false;
	snprintf(out, size, "%s", value);
	return true;
}

static http_method read_method(struct lws *wsi, char *path, size_t size)
{
	static const struct {
		enum lws_token_indexes token;
		http_method method;
	} known[] = {{WSI_TOKEN_GET_URI, HTTP_GET},
		     {WSI_TOKEN_HEAD_URI, HTTP_HEAD},
		     {WSI_TOKEN_OPTIONS_URI, HTTP_OPTIONS}};
	char length[24];

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (lws_hdr_total_length(wsi, known[i].token) <= 0)
			continue;
		/* a body is nothing that we would read to its end */
		if (known[i].method == HTTP_OPTIONS &&
		    (!ws_header(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, length, sizeof(length)) ||
		     strtoul(length, NULL, 10) > 0))
			return HTTP_OTHER;
		return ws_header(wsi, known[i].token, path, size) ? known[i].method : HTTP_OTHER;
	}
	return HTTP_OTHER;
}

static void read_request(struct lws *wsi, struct http_exchange *x)
{
	char authorization[600], secret[16];

	x->method = read_method(wsi, x->path, sizeof(x->path));
	get_argument(wsi, "tables=", x->tables, sizeof(x->tables));
	get_argument(wsi, "skip=", x->skip, sizeof(x->skip));
	get_argument(wsi, "min=", x->min, sizeof(x->min));
	x->rows = get_argument(wsi, "rows=", secret, sizeof(secret)) && strcmp(secret, "1") == 0;
	x->query_holds_secret = get_argument(wsi, "access_code=", secret, sizeof(secret)) ||
				get_argument(wsi, "token=", secret, sizeof(secret));
	ws_header(wsi, WSI_TOKEN_HTTP_RANGE, x->range, sizeof(x->range));
	ws_header(wsi, WSI_TOKEN_HTTP_IF_RANGE, x->if_range, sizeof(x->if_range));
	ws_header(wsi, WSI_TOKEN_HTTP_ACCEPT, x->accept, sizeof(x->accept));
	ws_header(wsi, WSI_TOKEN_ORIGIN, x->origin, sizeof(x->origin));
	x->rest = "";
	x->authorized = ws_header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, authorization,
				  sizeof(authorization)) &&
			auth_header_good(x->relay->config->access_code, authorization);
	explicit_bzero(authorization, sizeof(authorization));
	explicit_bzero(secret, sizeof(secret));
}

void http_wake(struct http_exchange *x)
{
	lws_callback_on_writable(x->connection);
}

static void drop_exchange(struct connection *c)
{
	if (!c->x)
		return;
	http_close(c->x);
	free(c->x);
	c->x = NULL;
	c->head_sent = false;
}

static int send_head(struct lws *wsi, const struct http_exchange *x)
{
	unsigned char buffer[LWS_PRE + 4096];
	unsigned char *start = buffer + LWS_PRE, *at = start, *end = buffer + sizeof(buffer) - 1;
	lws_filepos_t length = x->content_length < 0 ? LWS_ILLEGAL_HTTP_CONTENT_LEN
						     : (lws_filepos_t)x->content_length;

	if (lws_add_http_common_headers(wsi, x->status, x->content_type, length, &at, end))
		return -1;
	for (size_t i = 0; i < x->header_count; i++)
		if (lws_add_http_header_by_name(wsi, (const unsigned char *)x->headers[i].name,
						(const unsigned char *)x->headers[i].value,
						(int)strlen(x->headers[i].value), &at, end))
			return -1;
	return lws_finalize_write_http_header(wsi, start, &at, end) ? -1 : 0;
}

static body_result text_body(struct http_exchange *x, char *out, size_t size, size_t *len)
{
	size_t left = x->text.len - x->text_sent;

	*len = left < size ? left : size;
	memcpy(out, x->text.data + x->text_sent, *len);
	x->text_sent += *len;
	return x->text_sent < x->text.len ? BODY_MORE : BODY_END;
}

static int finish(struct connection *c, struct lws *wsi)
{
	drop_exchange(c);
	/* libwebsockets answers whether the connection is to be closed */
	return lws_http_transaction_completed(wsi) ? -1 : 0;
}

static int send_body(struct connection *c, struct lws *wsi)
{
	static unsigned char buffer[LWS_PRE + WS_CHUNK_BYTES];
	struct http_exchange *x = c->x;
	char *out = (char *)buffer + LWS_PRE;
	size_t len = 0;
	body_result result = x->body ? x->body(x, out, WS_CHUNK_BYTES, &len)
				     : text_body(x, out, WS_CHUNK_BYTES, &len);

	if (result == BODY_FAILED)
		return -1;
	if (len || result == BODY_END) {
		if (lws_write(wsi, buffer + LWS_PRE, len,
			      result == BODY_END ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP) <
		    (int)len)
			return -1;
	}
	if (result == BODY_END)
		return finish(c, wsi);
	if (result == BODY_MORE) {
		lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, STALLED_AFTER_S);
		lws_callback_on_writable(wsi);
	} else {
		lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
	}
	return 0;
}

static int on_request(struct connection *c, struct lws *wsi)
{
	drop_exchange(c);
	c->x = calloc(1, sizeof(*c->x));
	if (!c->x)
		return -1;
	c->x->relay = ws_relay(wsi);
	c->x->connection = wsi;
	dynbuf_init(&c->x->text, TEXT_MOST_BYTES);
	read_request(wsi, c->x);
	/* the answer may have to wait for a snapshot; from then on the peer's pace counts */
	lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
	http_route(c->x);
	if (c->x->method != HTTP_OTHER)
		return 0;
	/* it may have a body, whose end libwebsockets would wait for: answer and close */
	if (!send_head(wsi, c->x))
		send_body(c, wsi);
	return -1;
}

static int on_writeable(struct connection *c, struct lws *wsi)
{
	if (!c->x || !c->x->answered)
		return 0;
	if (c->head_sent)
		return send_body(c, wsi);
	c->head_sent = true;
	if (send_head(wsi, c->x))
		return -1;
	if (c->x->method == HTTP_HEAD || c->x->content_length == 0)
		return finish(c, wsi);
	lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, STALLED_AFTER_S);
	lws_callback_on_writable(wsi);
	return 0;
}

/*
 * Only WebSocket, in any case of letters: no h2c.  Not by the callback's `in`:
 * libwebsockets 4.1 has answered an unknown protocol with 403 by now, and let go
 * of the headers that it points into.
 */
static int confirm_upgrade(struct lws *wsi)
{
	char upgrade[16];

	if (!ws_header(wsi, WSI_TOKEN_UPGRADE, upgrade, sizeof(upgrade)))
		return -1;
	return strcasecmp(upgrade, "websocket") == 0 ? 0 : -1;
}

int ws_http_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
		     size_t len)
{
	struct connection *c = user;

	switch (reason) {
	case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
		return ws_filter_connection((int)(intptr_t)in);
	case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
		return ws_filter_handshake(wsi);
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return confirm_upgrade(wsi);
	case LWS_CALLBACK_HTTP:
		return on_request(c, wsi);
	case LWS_CALLBACK_HTTP_WRITEABLE:
		return c ? on_writeable(c, wsi) : 0;
	case LWS_CALLBACK_CLOSED_HTTP:
	case LWS_CALLBACK_HTTP_DROP_PROTOCOL:
		if (c)
			drop_exchange(c);
		return 0;
	default:
		return lws_callback_http_dummy(wsi, reason, user, in, len);
	}
}
