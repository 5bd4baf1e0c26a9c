/*
 * Listening for libwebsockets where it cannot: several processes on one port.
 *
 * Debian's libwebsockets sets SO_REUSEPORT only if it was built for several
 * threads.  With listen_share the socket is ours, and what it accepts is handed
 * to libwebsockets.  Without, libwebsockets listens, and this file only finds
 * out beforehand why it could not.
 */
#include "ws_listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ws_internal.h"
#include "ws_loop.h"

#define BACKLOG 4096
/* Connections taken in one turn of the loop. */
#define ACCEPT_MOST 64
/* While descriptors or memory are out, the connections that wait keep the socket readable. */
#define RETRY_AFTER_MS 100

static struct {
	int fd;
	struct loop_watch *watch;
	struct loop_timer retry;
	struct lws_vhost *vhost;
} listener = {.fd = -1};

static int open_socket(const struct addrinfo *at, bool share)
{
	int one = 1, error;
	int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    (!share || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0) &&
	    /* inherited by what is accepted; libwebsockets sees only to what it accepts itself */
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0 &&
	    bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	error = errno;
	if (fd >= 0)
		close(fd);
	errno = error;
	return -1;
}

const char *ws_listen_try(const struct config *config)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	char service[16];
	const char *why;

	snprintf(service, sizeof(service), "%d", config->port);
	if (getaddrinfo(config->listen_address, service, &hints, &found) != 0)
		return config->listen_share ? "listen_share needs a numeric address" : NULL;
	listener.fd = open_socket(found, config->listen_share);
	why = listener.fd < 0 ? strerror(errno) : NULL;
	freeaddrinfo(found);
	/* without sharing it was only a look */
	if (!config->listen_share)
		ws_listen_stop();
	return why;
}

static void on_retry(void *ctx)
{
	(void)ctx;
	loop_watch_want_read(listener.watch, true);
}

static void on_connections(void *ctx, bool readable, bool writable)
{
	(void)ctx;
	(void)readable;
	(void)writable;
	for (int i = 0; i < ACCEPT_MOST; i++) {
		int fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 &&
		    (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
			loop_watch_want_read(listener.watch, false);
			loop_timer_set(&listener.retry, RETRY_AFTER_MS, on_retry, NULL);
		}
		if (fd < 0)
			return;
		if (ws_filter_connection(fd) != 0)
			close(fd);
		else
			lws_adopt_socket_vhost(listener.vhost, fd);
	}
}

bool ws_listen_start(struct lws_vhost *vhost)
{
	listener.vhost = vhost;
	listener.watch = loop_watch_new(listener.fd, on_connections, NULL);
	return listener.watch != NULL;
}

int ws_listen_port(void)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);
	char port[16];

	if (getsockname(listener.fd, (struct sockaddr *)&at, &len) != 0 ||
	    getnameinfo((struct sockaddr *)&at, len, NULL, 0, port, sizeof(port), NI_NUMERICSERV) !=
		    0)
		return 0;
	return (int)strtol(port, NULL, 10);
}

void ws_listen_stop(void)
{
	loop_timer_cancel(&listener.retry);
	loop_watch_free(listener.watch);
	if (listener.fd >= 0)
		close(listener.fd);
	listener.watch = NULL;
	listener.fd = -1;
}
