/*
 * One WebSocket, one device: bytes in to whole messages, frames out.
 *
 * Whatever has something to send calls session_wake(), which writes at once if
 * the socket takes it (asking for WRITEABLE first costs a turn of the loop for
 * every device and frame); only what is refused waits for WRITEABLE.
 */
#include <string.h>

#include "auth.h"
#include "clock.h"
#include "log.h"
#include "metrics.h"
#include "ws_internal.h"
#include "ws_server.h"

/* One device must not hold the loop: so much per turn, then the others.  The parts of a giant are
   read from disk once for all who go side by side, so no device may run far ahead. */
#define PUMP_MOST_BYTES ((size_t)256 * 1024)
#define FRAGMENTS_MOST 1024
/* Bytes of tables under way to a device that it has not read. */
#define PIECES_MOST_BYTES ((size_t)256 * 1024)

struct session {
	struct lws *wsi;
	struct device *device;
	struct dynbuf in;
	unsigned fragments;
	struct outgoing out;
	uint64_t heard_ms; /* last sign of life */
	uint64_t pinged_ms;
	/* Bytes of tables before the ping that asks for them, and behind it. */
	size_t pieces_asked, pieces_behind;
	bool pieces_pinged;
	bool authorized;
	bool ping_due;
	bool choked;  /* the socket took no more; when it does again, the peer has read */
	bool waiting; /* for WRITEABLE */
	bool pumping; /* in pump(): what wakes us now is seen by its loop */
	bool closing; /* the reason is set, the close frame follows */
	bool broken;
};

size_t ws_session_bytes(void)
{
	return sizeof(struct session);
}

void session_kill(void *session)
{
	struct session *s = session;

	s->broken = true;
	lws_set_timeout(s->wsi, PENDING_TIMEOUT_LAGGING, LWS_TO_KILL_ASYNC);
}

/*
 * Say why and close.  Not by failing the WRITEABLE callback, which libwebsockets
 * 4.1 takes for a dead socket that needs no close frame, but by failing a timer.
 */
static void close_politely(struct session *s)
{
	const struct device *d = s->device;

	s->closing = true;
	lws_close_reason(s->wsi, (enum lws_close_status)d->close_code,
			 (unsigned char *)d->close_text, strlen(d->close_text));
	lws_set_timer_usecs(s->wsi, 1);
}

/*
 * Pieces of tables go at the pace at which the device reads them, not at that
 * at which the buffers of two systems swallow them: megabytes would stand there
 * in front of every live event.  Messages are read in their order, so the pong
 * of a ping that follows half of what may be under way says that it was read.
 */
static void pace_pieces(struct session *s)
{
	if (!s->pieces_pinged && s->pieces_asked >= PIECES_MOST_BYTES / 2)
		s->ping_due = s->pieces_pinged = true;
	s->device->pieces_rest = s->pieces_asked + s->pieces_behind >= PIECES_MOST_BYTES;
}

static void sent_piece(struct session *s, size_t len)
{
	*(s->pieces_pinged ? &s->pieces_behind : &s->pieces_asked) += len;
	pace_pieces(s);
}

static void on_pong(struct session *s)
{
	s->heard_ms = clock_monotonic_ms();
	if (!s->pieces_pinged || !s->device)
		return;
	s->pieces_asked = s->pieces_behind;
	s->pieces_behind = 0;
	s->pieces_pinged = false;
	pace_pieces(s);
	session_wake(s);
}

/*
 * False: broken.  Whether the socket takes more is not asked beforehand, which
 * would be a system call for each frame and device: libwebsockets keeps what
 * the socket refuses, at most one piece, and then says so.
 */
static bool pump(struct session *s)
{
	size_t budget = PUMP_MOST_BYTES;
	uint64_t now_ms = clock_monotonic_ms();

	while (!s->choked && budget) {
		size_t len;

		if (s->ping_due) {
			s->ping_due = false;
			if (!ws_send_ping(s->wsi))
				return false;
			s->choked = lws_partial_buffered(s->wsi);
			continue;
		}
		if (!s->out.frame)
			s->out.frame = device_next(s->device, now_ms);
		if (!s->out.frame)
			break;
		len = s->out.frame->len - s->out.at;
		len = len < WS_CHUNK_BYTES ? len : WS_CHUNK_BYTES;
		if (!ws_send_piece(s->wsi, &s->out))
			return false;
		if (s->device->after_you)
			sent_piece(s, len);
		s->choked = lws_partial_buffered(s->wsi);
		budget -= len < budget ? len : budget;
		if (s->device->after_you && !s->out.frame)
			budget = 0;
	}
	s->waiting = s->choked || !budget;
	/* here one look is cheap: if it is full, its becoming writeable is a sign of life */
	if (!budget)
		s->choked = lws_send_pipe_choked(s->wsi);
	if (s->waiting)
		lws_callback_on_writable(s->wsi);
	else if (s->device->close_code)
		close_politely(s);
	return true;
}

void session_wake(void *session)
{
	struct session *s = session;

	if (s->pumping || s->waiting || s->broken || s->closing)
		return;
	s->pumping = true;
	if (!pump(s))
		session_kill(s);
	s->pumping = false;
}

static int on_writeable(struct session *s)
{
	if (s->choked)
		s->heard_ms = clock_monotonic_ms();
	s->choked = lws_partial_buffered(s->wsi);
	s->waiting = false;
	session_wake(s);
	return s->broken ? -1 : 0;
}

static int close_now(struct session *s, int code, const char *text)
{
	lws_close_reason(s->wsi, (enum lws_close_status)code, (unsigned char *)text, strlen(text));
	return -1;
}

static int on_receive(struct session *s, const char *bytes, size_t len)
{
	s->heard_ms = clock_monotonic_ms();
	if (lws_frame_is_binary(s->wsi))
		return close_now(s, CLOSE_NOT_TEXT, "text frames only");
	if (!dynbuf_add(&s->in, bytes, len))
		return close_now(s, CLOSE_TOO_LARGE, "the message is too large");
	/* a frame comes in as many pieces as there were reads; that is not the device's choice */
	if (lws_remaining_packet_payload(s->wsi))
		return 0;
	if (++s->fragments > FRAGMENTS_MOST)
		return close_now(s, CLOSE_TOO_LARGE, "the message has too many fragments");
	if (!lws_is_final_fragment(s->wsi))
		return 0;
	device_receive(s->device, s->in.data ? s->in.data : "", s->in.len, s->heard_ms);
	/* it may have held the access code */
	if (s->in.data)
		explicit_bzero(s->in.data, s->in.len);
	dynbuf_free(&s->in);
	s->fragments = 0;
	return 0;
}

/*
 * Devices that came together must not be pinged together: thousands of them in
 * one turn of the loop would hold it up.  The golden ratio spreads any number
 * of them evenly.
 */
static uint64_t ping_offset_ms(const struct config *config)
{
	static uint32_t turn;

	turn += UINT32_C(2654435769);
	return (uint64_t)config->ping_interval_s * 1000 * turn >> 32;
}

static int on_established(struct session *s, struct lws *wsi)
{
	struct relay *relay = ws_relay(wsi);
	char authorization[600];
	bool authorized = ws_header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, authorization,
				    sizeof(authorization)) &&
			  auth_header_good(relay->config->access_code, authorization);

	memset(s, 0, sizeof(*s));
	explicit_bzero(authorization, sizeof(authorization));
	s->wsi = wsi;
	s->heard_ms = clock_monotonic_ms();
	s->pinged_ms = s->heard_ms - ping_offset_ms(relay->config);
	dynbuf_init(&s->in, (size_t)relay->config->max_message_bytes);
	s->device = relay_device_open(relay, authorized);
	if (!s->device)
		return -1;
	s->device->session = s;
	session_wake(s);
	return 0;
}

static void on_closed(struct session *s)
{
	if (!s->device)
		return;
	relay_device_close(ws_relay(s->wsi), s->device);
	s->device = NULL;
	frame_unref(s->out.frame);
	dynbuf_free(&s->in);
}

void session_tick(void *session, uint64_t now_ms)
{
	struct session *s = session;
	const struct config *config = ws_relay(s->wsi)->config;

	if (now_ms - s->heard_ms >= (uint64_t)config->dead_after_s * 1000) {
		log_info("device \"%s\" is silent for %d s: dropped", s->device->info.device_id,
			 config->dead_after_s);
		metric_add(METRIC_DEAD_LINKS, 1);
		session_kill(s);
		return;
	}
	if (now_ms - s->pinged_ms >= (uint64_t)config->ping_interval_s * 1000) {
		s->pinged_ms = now_ms;
		s->ping_due = true;
		session_wake(s);
	}
}

int ws_session_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
			size_t len)
{
	struct session *s = user;

	switch (reason) {
	case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
		return ws_filter_handshake(wsi);
	case LWS_CALLBACK_ESTABLISHED:
		return on_established(s, wsi);
	case LWS_CALLBACK_RECEIVE:
		return s->device ? on_receive(s, in, len) : -1;
	case LWS_CALLBACK_RECEIVE_PONG:
		on_pong(s);
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return s->device ? on_writeable(s) : -1;
	case LWS_CALLBACK_TIMER:
		return s->closing ? -1 : 0;
	case LWS_CALLBACK_CLOSED:
		on_closed(s);
		return 0;
	default:
		return 0;
	}
}
