/*
 * One device's link; see load.h. Everything it has to say fits into a socket's
 * buffer at once, so only reading needs a state.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock_ns.h"
#include "load.h"
#include "wire.h"

/* One read; what a socket's default receive buffer holds at most. */
#define READ_BYTES (512 * 1024)
#define FRAME_MOST (64 * 1024 * 1024)
#define SAY_MOST 2048
#define RETRY_MS 50
/* Each source address has 28,000 ports of its own. */
#define SOURCE_ADDRESSES 16

static char *inbox;
static size_t inbox_cap;

static bool in_flight(const struct device *d)
{
	return d->state >= DEVICE_CONNECTING && d->state <= DEVICE_GREETING;
}

static void set_state(struct device *d, enum device_state state)
{
	struct load *l = d->load;

	l->in_flight -= in_flight(d);
	l->waiting -= d->state == DEVICE_WAITING;
	l->following -= d->state == DEVICE_FOLLOWING;
	d->state = state;
	l->in_flight += in_flight(d);
	l->waiting += state == DEVICE_WAITING;
	l->following += state == DEVICE_FOLLOWING;
}

static void keep(char **at, size_t *len, size_t *cap, const char *bytes, size_t more)
{
	if (*len + more > *cap) {
		*cap = *len + more;
		*at = realloc(*at, *cap);
		if (!*at)
			err(1, "a device's %zu bytes", *cap);
	}
	memcpy(*at + *len, bytes, more);
	*len += more;
}

static void forget_input(struct device *d)
{
	free(d->held);
	free(d->pieces);
	free(d->staged);
	d->held = d->pieces = NULL;
	d->staged = NULL;
	d->held_len = d->held_cap = d->pieces_len = d->pieces_cap = 0;
	d->staged_count = d->staged_cap = 0;
}

static void close_link(struct device *d, enum device_state next)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
	forget_input(d);
	set_state(d, next);
}

void device_drop(struct device *d)
{
	struct linger at_once = {1, 0};

	if (d->fd >= 0)
		setsockopt(d->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close_link(d, DEVICE_AWAY);
}

/* Nobody listens, or the link ended. */
static void lost(struct device *d)
{
	struct load *l = d->load;
	bool refused = d->state == DEVICE_CONNECTING;

	if (refused || l->resuming) {
		l->counts.retries++;
		d->due_ns = now_ns() + (RETRY_MS + random() % RETRY_MS) * NS_PER_MS;
		close_link(d, DEVICE_WAITING);
		return;
	}
	if (!l->away_allowed)
		l->counts.lost_links++;
	close_link(d, DEVICE_AWAY);
}

static bool say(struct device *d, const char *bytes, size_t len)
{
	if (send(d->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len)
		return true;
	lost(d);
	return false;
}

static bool say_text(struct device *d, const char *text)
{
	char frame[SAY_MOST + WIRE_HEADER_MOST];

	return say(d, frame, wire_pack(frame, WIRE_TEXT, text, strlen(text)));
}

void device_connect(struct device *d)
{
	struct load *l = d->load;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->port)};
	struct sockaddr_in from = {.sin_family = AF_INET};
	struct epoll_event interest = {.events = EPOLLOUT, .data.ptr = d};
	int on = 1;

	d->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (d->fd < 0)
		err(1, "socket of device %d", d->number);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (unsigned)d->number % SOURCE_ADDRESSES);
	setsockopt(d->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	if (l->receive_bytes)
		setsockopt(d->fd, SOL_SOCKET, SO_RCVBUF, &l->receive_bytes,
			   sizeof(l->receive_bytes));
	if (bind(d->fd, (struct sockaddr *)&from, sizeof(from)) < 0)
		err(1, "address of device %d", d->number);
	set_state(d, DEVICE_CONNECTING);
	if (connect(d->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS) {
		lost(d);
		return;
	}
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, d->fd, &interest) < 0)
		err(1, "epoll_ctl");
}

static void read_on(struct device *d, bool on)
{
	struct epoll_event interest = {.events = on ? EPOLLIN : 0, .data.ptr = d};

	if (d->fd >= 0 && epoll_ctl(d->load->epoll_fd, EPOLL_CTL_MOD, d->fd, &interest) < 0)
		err(1, "epoll_ctl");
}

void device_pause(struct device *d, bool pause)
{
	d->paused = pause;
	read_on(d, !pause);
}

static void connected(struct device *d)
{
	char request[1024];
	int failure = 0;
	socklen_t len = sizeof(failure);

	if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &failure, &len) < 0 || failure) {
		lost(d);
		return;
	}
	read_on(d, true);
	if (d->load->bare) {
		set_state(d, DEVICE_FOLLOWING);
		return;
	}
	set_state(d, DEVICE_UPGRADING);
	say(d, request,
	    wire_upgrade(request, sizeof(request), d->load->port, d->load->access_code));
}

static bool introduce(struct device *d)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "{\"type\":\"client_info\",\"device_id\":\"bench-%d\",\"name\":\"bench\"}",
		 d->number);
	if (!say_text(d, text))
		return false;
	snprintf(text, sizeof(text),
		 "{\"type\":\"request_sync\",\"cursor\":\"%s\",\"tables\":null}", d->cursor);
	return say_text(d, text);
}

void device_ask_digest(struct device *d)
{
	char text[SAY_MOST];
	int len;

	if (d->state != DEVICE_FOLLOWING || d->load->bare)
		return;
	len = snprintf(text, sizeof(text),
		       "{\"type\":\"request_digest\",\"scope\":\"slice\",\"cursor\":\"%s\","
		       "\"tables\":null,\"counts\":%s,\"proven\":true,\"repairs\":0,\"parked\":0}",
		       d->cursor, d->load->row_counts);
	if (len >= (int)sizeof(text))
		errx(1, "the counts of the tables are too long");
	if (say_text(d, text))
		d->load->counts.asked++;
}

static void take_message(struct device *d, const char *bytes, size_t len)
{
	const struct message *m = messages_read(&d->load->messages, bytes, len);
	int64_t now = now_ns();

	load_take(d, m, now);
	if (m->kind != MESSAGE_READY || d->state != DEVICE_GREETING)
		return;
	set_state(d, DEVICE_FOLLOWING);
	d->load->last_ready_ns = now;
	if (d->load->resuming)
		histogram_add(&d->load->ready_after, now - d->load->resume_ns);
}

/* False when the link is gone. */
static bool take_frame(struct device *d, const struct wire_frame *f)
{
	char pong[WIRE_HEADER_MOST + 125];

	switch (f->opcode) {
	case WIRE_TEXT:
	case WIRE_MORE:
		if (f->final && f->opcode == WIRE_TEXT) {
			take_message(d, f->payload, f->len);
			return true;
		}
		keep(&d->pieces, &d->pieces_len, &d->pieces_cap, f->payload, f->len);
		if (f->final) {
			take_message(d, d->pieces, d->pieces_len);
			d->pieces_len = 0;
		}
		return true;
	case WIRE_PING:
		return f->len <= 125 &&
		       say(d, pong, wire_pack(pong, WIRE_PONG, f->payload, f->len));
	case WIRE_CLOSE:
		lost(d);
		return false;
	default:
		return true;
	}
}

/* Bytes used of these; -1 when the link is gone. */
static ssize_t take_bytes(struct device *d, char *bytes, size_t len)
{
	size_t used = 0;
	struct wire_frame f;
	int found;

	if (d->state == DEVICE_UPGRADING) {
		found = wire_upgraded(bytes, len);
		if (found < 0) {
			lost(d);
			return -1;
		}
		if (!found)
			return 0;
		used = (size_t)found;
		set_state(d, DEVICE_GREETING);
		if (!introduce(d))
			return -1;
	}
	while ((found = wire_parse(bytes + used, len - used, &f)) > 0) {
		used += f.whole;
		if (!take_frame(d, &f))
			return -1;
	}
	if (found < 0) {
		d->load->counts.broken++;
		close_link(d, DEVICE_AWAY);
		return -1;
	}
	return (ssize_t)used;
}

/* What was held back goes in front of what is read now, in the one buffer all devices share. */
static void read_link(struct device *d)
{
	size_t held = d->held_len;
	ssize_t got, used;

	if (held > FRAME_MOST)
		errx(1, "device %d: a frame of more than %d bytes", d->number, FRAME_MOST);
	if (inbox_cap < held + READ_BYTES) {
		inbox_cap = 2 * held + READ_BYTES;
		free(inbox);
		inbox = malloc(inbox_cap);
		if (!inbox)
			err(1, "%zu bytes to read into", inbox_cap);
	}
	got = recv(d->fd, inbox + held, READ_BYTES, 0);
	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		lost(d);
		return;
	}
	d->load->counts.bytes += (size_t)got;
	if (held)
		memcpy(inbox, d->held, held);
	d->held_len = 0;
	used = take_bytes(d, inbox, held + (size_t)got);
	if (used >= 0 && (size_t)used < held + (size_t)got)
		keep(&d->held, &d->held_len, &d->held_cap, inbox + used,
		     held + (size_t)got - (size_t)used);
}

void device_event(struct device *d, unsigned events)
{
	if (d->fd < 0)
		return;
	if (d->state == DEVICE_CONNECTING)
		connected(d);
	else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		read_link(d);
}
