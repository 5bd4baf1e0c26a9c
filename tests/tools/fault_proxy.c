/* link: -lc */
/*
 * fault_proxy LISTEN_PORT TARGET: a TCP proxy that breaks links on command.
 *
 * TARGET is 127.0.0.1:PORT or the path of a Unix socket. LISTEN_PORT 0 takes a
 * free one; the first line printed is "listening PORT". Commands are lines on
 * stdin, each answered by "ok COMMAND"; end of stdin ends the proxy, so that
 * it cannot outlive its test.
 *
 *	cut          reset every connection (RST), go on accepting
 *	refuse       cut, and refuse new connections until resume
 *	blackhole    carry nothing in either direction, connections stay
 *	mute-up      carry nothing from the client to the server
 *	mute-down    carry nothing from the server to the client
 *	delay MS     carry every piece MS later
 *	resume       carry everything again
 *
 * One thread, poll(), one buffer per direction: a full buffer stops reading,
 * so the proxy hands back pressure on as TCP would.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MOST_LINKS = 128, PIECE_BYTES = 65536 };

/* One direction of a link: bytes read from one side, not yet written to the other. */
struct flow {
	char bytes[PIECE_BYTES];
	size_t from, to;
	uint64_t due_ms;
	bool ended; /* the source sent FIN, and so did we to the other side */
};

struct link {
	int fd[2];            /* 0: client, 1: server; -1: slot free */
	struct flow *flow[2]; /* flow[i] carries what was read from fd[i] */
};

static struct link links[MOST_LINKS];
static bool muted[2];
static unsigned delay_ms;
static int listen_fd = -1;
static uint16_t listen_port;
static struct sockaddr_storage target;
static socklen_t target_len;

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void die(const char *what)
{
	fprintf(stderr, "fault_proxy: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void listen_begin(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons(listen_port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int on = 1;

	listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listen_fd < 0)
		die("socket");
	setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listen_fd, (struct sockaddr *)&a, len) < 0 || listen(listen_fd, 64) < 0)
		die("listen");
	if (getsockname(listen_fd, (struct sockaddr *)&a, &len) < 0)
		die("getsockname");
	listen_port = ntohs(a.sin_port);
}

static void link_close(struct link *l, bool reset)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	for (int i = 0; i < 2; i++) {
		if (l->fd[i] >= 0) {
			if (reset)
				setsockopt(l->fd[i], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
			close(l->fd[i]);
		}
		l->fd[i] = -1;
		free(l->flow[i]);
		l->flow[i] = NULL;
	}
}

static void cut_all(void)
{
	for (int i = 0; i < MOST_LINKS; i++)
		if (links[i].fd[0] >= 0)
			link_close(&links[i], true);
}

static void link_open(void)
{
	int client = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct link *l = NULL;
	int on = 1;

	if (client < 0)
		return;
	for (int i = 0; i < MOST_LINKS && !l; i++)
		if (links[i].fd[0] < 0)
			l = &links[i];
	if (!l) {
		close(client);
		return;
	}
	l->fd[0] = client;
	l->fd[1] = socket(target.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	l->flow[0] = calloc(1, sizeof(*l->flow[0]));
	l->flow[1] = calloc(1, sizeof(*l->flow[1]));
	if (l->fd[1] < 0 || !l->flow[0] || !l->flow[1] ||
	    connect(l->fd[1], (struct sockaddr *)&target, target_len) < 0) {
		link_close(l, true);
		return;
	}
	fcntl(l->fd[1], F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 2; i++)
		setsockopt(l->fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static bool flow_is_empty(const struct flow *f)
{
	return f->from == f->to;
}

/* What poll() should wait for on side i, given both flows of the link. */
static short wanted(const struct link *l, int i)
{
	const struct flow *in = l->flow[i], *out = l->flow[1 - i];
	short events = 0;

	if (flow_is_empty(in) && !in->ended && !muted[i])
		events |= POLLIN;
	if (!flow_is_empty(out) && !muted[1 - i] && now_ms() >= out->due_ms)
		events |= POLLOUT;
	return events;
}

/* False when the link is over. */
static bool side_ready(struct link *l, int i, short events)
{
	struct flow *in = l->flow[i], *out = l->flow[1 - i];
	ssize_t n;

	if ((events & POLLIN) && flow_is_empty(in) && !in->ended && !muted[i]) {
		n = read(l->fd[i], in->bytes, sizeof(in->bytes));
		if (n < 0 && errno != EAGAIN)
			return false;
		in->ended = n == 0;
		in->from = 0;
		in->to = n > 0 ? (size_t)n : 0;
		in->due_ms = now_ms() + delay_ms;
		if (in->ended)
			shutdown(l->fd[1 - i], SHUT_WR);
	}
	if ((events & POLLOUT) && !flow_is_empty(out)) {
		n = send(l->fd[i], out->bytes + out->from, out->to - out->from, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return false;
		out->from += n > 0 ? (size_t)n : 0;
	}
	if (!(events & (POLLIN | POLLOUT)) && (events & (POLLERR | POLLHUP)) && !muted[i])
		return false;
	return !(in->ended && out->ended && flow_is_empty(in) && flow_is_empty(out));
}

static bool command(char *line)
{
	unsigned ms;

	if (strcmp(line, "cut") == 0) {
		cut_all();
	} else if (strcmp(line, "refuse") == 0) {
		cut_all();
		if (listen_fd >= 0)
			close(listen_fd);
		listen_fd = -1;
	} else if (strcmp(line, "blackhole") == 0) {
		muted[0] = muted[1] = true;
	} else if (strcmp(line, "mute-up") == 0) {
		muted[0] = true;
	} else if (strcmp(line, "mute-down") == 0) {
		muted[1] = true;
	} else if (sscanf(line, "delay %u", &ms) == 1) {
		delay_ms = ms;
	} else if (strcmp(line, "resume") == 0) {
		muted[0] = muted[1] = false;
		delay_ms = 0;
		if (listen_fd < 0)
			listen_begin();
	} else {
		return false;
	}
	return true;
}

/* False at the end of stdin. Commands come whole: they are short and written at once. */
static bool stdin_ready(void)
{
	static char buffer[512];
	static size_t len;
	char *end;
	ssize_t n = read(STDIN_FILENO, buffer + len, sizeof(buffer) - 1 - len);

	if (n <= 0)
		return false;
	len += (size_t)n;
	buffer[len] = '\0';
	while ((end = strchr(buffer, '\n'))) {
		*end = '\0';
		printf("%s %s\n", command(buffer) ? "ok" : "unknown", buffer);
		fflush(stdout);
		len -= (size_t)(end + 1 - buffer);
		memmove(buffer, end + 1, len + 1);
	}
	return len < sizeof(buffer) - 1;
}

static void target_parse(const char *text)
{
	struct sockaddr_un *u = (struct sockaddr_un *)&target;
	struct sockaddr_in *in = (struct sockaddr_in *)&target;
	unsigned port;

	if (text[0] == '/' && strlen(text) < sizeof(u->sun_path)) {
		u->sun_family = AF_UNIX;
		strcpy(u->sun_path, text);
		target_len = sizeof(*u);
	} else if (sscanf(text, "127.0.0.1:%u", &port) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		target_len = sizeof(*in);
	} else {
		errno = EINVAL;
		die(text);
	}
}

/* One round of poll(). False when stdin ended. */
static bool turn(void)
{
	static struct pollfd p[2 + 2 * MOST_LINKS];
	static struct link *owner[2 + 2 * MOST_LINKS];
	static int side[2 + 2 * MOST_LINKS];
	nfds_t n = 2;
	bool waiting = false;

	p[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
	p[1] = (struct pollfd){.fd = listen_fd, .events = POLLIN};
	for (int i = 0; i < MOST_LINKS; i++)
		for (int s = 0; s < 2 && links[i].fd[0] >= 0; s++, n++) {
			short events = wanted(&links[i], s);

			/* Nothing wanted: leave the fd out, or a hang-up would spin. */
			p[n] = (struct pollfd){.fd = events ? links[i].fd[s] : -1,
					       .events = events};
			owner[n] = &links[i];
			side[n] = s;
			waiting |= !flow_is_empty(links[i].flow[s]) && delay_ms > 0;
		}
	if (poll(p, n, waiting ? 1 : 1000) < 0 && errno != EINTR)
		die("poll");
	if (p[0].revents && !stdin_ready())
		return false;
	if (listen_fd >= 0 && p[1].fd == listen_fd && (p[1].revents & POLLIN))
		link_open();
	for (nfds_t i = 2; i < n; i++)
		if (p[i].revents && p[i].fd >= 0 && owner[i]->fd[side[i]] == p[i].fd &&
		    !side_ready(owner[i], side[i], p[i].revents))
			link_close(owner[i], true);
	return true;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: fault_proxy LISTEN_PORT TARGET\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < MOST_LINKS; i++)
		links[i].fd[0] = links[i].fd[1] = -1;
	listen_port = (uint16_t)atoi(argv[1]);
	target_parse(argv[2]);
	listen_begin();
	printf("listening %u\n", listen_port);
	fflush(stdout);
	while (turn())
		;
	cut_all();
	return 0;
}
