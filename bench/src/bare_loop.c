/* link: -lpq bench/src/part/wire.c */
/*
 * bare_loop --dsn DSN --channel CHANNEL
 *
 * What every figure is held against: the least that can be called sending a
 * change to devices. LISTEN, and one write() per notification and device; no
 * log, no cursor, no JSON, nothing shared, nothing put together. What is lost
 * here is lost: if PostgreSQL or a device goes away, nobody learns what it
 * missed.
 *
 * A payload travels as a WebSocket text frame so that device_load --bare can
 * read it; there is no handshake. Messages that a socket does not take wait
 * in one ring for all; a device that falls behind by all of it is cut off,
 * counted, and the program then ends with 1. Prints {"event":"listening",
 * "port":PORT}, and one more line of JSON when stdin ends.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "part/wire.h"

#define EVENTS 256
#define RING 262144 /* messages */

struct note {
	char *bytes;
	size_t len;
};

struct client {
	int fd;
	bool blocked;  /* waits for EPOLLOUT */
	uint64_t next; /* message to write */
	size_t offset; /* what of it is written */
	struct client *after, **before;
};

static PGconn *conn;
static int epoll_fd, listen_fd;
static struct note ring[RING];
static uint64_t head; /* number of the next message */
static struct client *clients;
static struct client *gone; /* an event of this round may still name them */
static uint64_t writes, refusals, cut_off;

static void watch(int fd, void *what, unsigned events, int op)
{
	struct epoll_event interest = {.events = events, .data.ptr = what};

	if (epoll_ctl(epoll_fd, op, fd, &interest) < 0)
		err(1, "epoll_ctl");
}

static void remove_client(struct client *c)
{
	*c->before = c->after;
	if (c->after)
		c->after->before = c->before;
	close(c->fd);
	c->fd = -1;
	c->after = gone;
	gone = c;
}

static void free_gone(void)
{
	while (gone) {
		struct client *c = gone;

		gone = c->after;
		free(c);
	}
}

static void accept_clients(void)
{
	int fd;

	while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct client *c = calloc(1, sizeof(*c));
		int on = 1;

		if (!c)
			err(1, "a client");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		c->fd = fd;
		c->next = head;
		c->after = clients;
		c->before = &clients;
		if (clients)
			clients->before = &c->after;
		clients = c;
		watch(fd, c, EPOLLIN | EPOLLRDHUP, EPOLL_CTL_ADD);
	}
}

/* One write() a message. */
static void write_client(struct client *c)
{
	while (c->next < head) {
		struct note *n = &ring[c->next % RING];
		ssize_t done = send(c->fd, n->bytes + c->offset, n->len - c->offset, MSG_NOSIGNAL);

		writes++;
		if (done < 0 && errno == EAGAIN)
			done = 0;
		if (done < 0) {
			remove_client(c);
			return;
		}
		c->offset += (size_t)done;
		if (c->offset < n->len) {
			refusals++;
			if (!c->blocked)
				watch(c->fd, c, EPOLLIN | EPOLLOUT | EPOLLRDHUP, EPOLL_CTL_MOD);
			c->blocked = true;
			return;
		}
		c->offset = 0;
		c->next++;
	}
	if (c->blocked)
		watch(c->fd, c, EPOLLIN | EPOLLRDHUP, EPOLL_CTL_MOD);
	c->blocked = false;
}

static void add_note(const char *payload)
{
	struct note *n = &ring[head % RING];
	size_t len = strlen(payload);

	free(n->bytes);
	n->bytes = malloc(WIRE_HEADER_MOST + len);
	if (!n->bytes)
		err(1, "a message");
	n->len = wire_pack_server(n->bytes, payload, len);
	head++;
}

static void cut_off_slow(void)
{
	for (struct client *c = clients, *after; c; c = after) {
		after = c->after;
		if (c->next + RING > head)
			continue;
		cut_off++;
		remove_client(c);
	}
}

static void take_notifications(void)
{
	PGnotify *n;

	if (!PQconsumeInput(conn))
		errx(1, "%s", PQerrorMessage(conn));
	while ((n = PQnotifies(conn)) != NULL) {
		if (head >= RING)
			cut_off_slow();
		add_note(n->extra);
		for (struct client *c = clients, *after; c; c = after) {
			after = c->after;
			if (!c->blocked)
				write_client(c);
		}
		PQfreemem(n);
	}
}

static void client_event(struct client *c, unsigned events)
{
	if (c->fd < 0)
		return;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		remove_client(c); /* it has nothing to say */
	else
		write_client(c);
}

static void listen_anywhere(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t len = sizeof(at);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listen_fd < 0 || bind(listen_fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(listen_fd, 4096) < 0 || getsockname(listen_fd, (struct sockaddr *)&at, &len) < 0)
		err(1, "listen");
	watch(listen_fd, &listen_fd, EPOLLIN, EPOLL_CTL_ADD);
	printf("{\"event\":\"listening\",\"port\":%d}\n", ntohs(at.sin_port));
	fflush(stdout);
}

static void begin(const char *dsn, const char *channel)
{
	struct rlimit limit;
	PGresult *result;
	char sql[128];

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	conn = PQconnectdb(dsn);
	snprintf(sql, sizeof(sql), "LISTEN %s", channel);
	result = PQexec(conn, sql);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		errx(1, "%s", PQerrorMessage(conn));
	PQclear(result);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	watch(PQsocket(conn), &conn, EPOLLIN, EPOLL_CTL_ADD);
	watch(STDIN_FILENO, NULL, EPOLLIN, EPOLL_CTL_ADD);
	listen_anywhere();
}

int main(int argc, char **argv)
{
	static const struct option known[] = {
		{"dsn", 1, NULL, 'd'}, {"channel", 1, NULL, 'c'}, {NULL, 0, NULL, 0}};
	const char *dsn = NULL, *channel = NULL;
	struct epoll_event events[EVENTS];
	bool ended = false;
	int o;

	while ((o = getopt_long(argc, argv, "", known, NULL)) != -1)
		*(o == 'd' ? &dsn : &channel) = optarg;
	if (!dsn || !channel)
		errx(2, "usage: bare_loop --dsn DSN --channel CHANNEL");
	begin(dsn, channel);
	while (!ended) {
		int count = epoll_wait(epoll_fd, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (!events[i].data.ptr)
				ended = true;
			else if (events[i].data.ptr == &conn)
				take_notifications();
			else if (events[i].data.ptr == &listen_fd)
				accept_clients();
			else
				client_event(events[i].data.ptr, events[i].events);
		}
		free_gone();
	}
	PQfinish(conn);
	printf("{\"event\":\"ended\",\"messages\":%llu,\"writes\":%llu,\"refusals\":%llu,"
	       "\"cut_off\":%llu}\n",
	       (unsigned long long)head, (unsigned long long)writes, (unsigned long long)refusals,
	       (unsigned long long)cut_off);
	return cut_off != 0;
}
