/*
 * The libwebsockets context; see link_loop.h.
 *
 * lws_service() has no wait argument of its own any more, so a step is bounded
 * by a scheduled nothing.  Its poll() back end cuts waits to milliseconds and
 * spins through the last fraction, so waits are never shorter than 1 ms.
 */
#include "link_loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "link_private.h"
#include "log.h"

/*
 * lws applies this to every phase of an HTTP request, also to waiting for an
 * answer that the relay must build first (a snapshot); the short limits of the
 * handshake are kept by the links themselves.
 */
#define PHASE_LIMIT_S 900

struct link_loop {
	struct lws_context *context;
	lws_sorted_usec_list_t wake;
	int signal;
};

static int signal_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
			   size_t len)
{
	struct link_loop *loop = lws_context_user(lws_get_context(wsi));
	struct signalfd_siginfo info;

	(void)user, (void)in, (void)len;
	if (reason != LWS_CALLBACK_RAW_RX_FILE)
		return 0;
	while (read(lws_get_socket_fd(wsi), &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (!loop->signal)
			loop->signal = (int)info.ssi_signo;
	}
	return 0;
}

static const struct lws_protocols protocols[] = {
	{.name = "link-signals", .callback = signal_callback},
	{.name = LINK_PROTOCOL_WS,
	 .callback = link_ws_callback,
	 .rx_buffer_size = LINK_READ_BYTES,
	 .tx_packet_size = LINK_READ_BYTES},
	{.name = LINK_PROTOCOL_HTTP,
	 .callback = link_http_callback,
	 .rx_buffer_size = LINK_READ_BYTES},
	{.name = LINK_PROTOCOL_WATCH, .callback = link_watch_callback},
	{0},
};

/* What lws has to say is for whoever debugs the link. */
static void log_lws(int level, const char *line)
{
	char text[512];
	size_t len = strcspn(line, "\n");
	char cut[256];

	(void)level;
	if (len >= sizeof(cut))
		len = sizeof(cut) - 1;
	memcpy(cut, line, len);
	cut[len] = '\0';
	log_debug("libwebsockets: %s", log_quote(cut, text, sizeof(text)));
}

/* Deliver signals through the loop: no handler ever interrupts anything. */
static bool watch_signals(struct link_loop *loop)
{
	lws_sock_file_fd_type fd;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return false;
	fd.filefd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd.filefd < 0)
		return false;
	if (!lws_adopt_descriptor_vhost(lws_get_vhost_by_name(loop->context, "default"),
					LWS_ADOPT_RAW_FILE_DESC, fd, "link-signals", NULL)) {
		close(fd.filefd);
		return false;
	}
	return true;
}

cs_status link_loop_new(struct link_loop **out, struct cs_error *err)
{
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN,
		.protocols = protocols,
		.timeout_secs = PHASE_LIMIT_S,
		.connect_timeout_secs = LINK_HANDSHAKE_LIMIT_S,
		.pt_serv_buf_size = LINK_READ_BYTES,
		.vhost_name = "default",
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
	};
	struct link_loop *loop;

	*out = NULL;
	lws_set_log_level(LLL_ERR | LLL_WARN, log_lws);
	loop = calloc(1, sizeof(*loop));
	if (!loop)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	info.user = loop;
	loop->context = lws_create_context(&info);
	if (!loop->context || !watch_signals(loop)) {
		cs_fail(err, CS_ERR_NOMEM, "cannot make the event loop: %s", strerror(errno));
		goto fail;
	}
	*out = loop;
	return CS_OK;
fail:
	link_loop_free(loop);
	return CS_ERR_NOMEM;
}

void link_loop_free(struct link_loop *loop)
{
	if (!loop)
		return;
	if (loop->context) {
		lws_sul_cancel(&loop->wake);
		lws_context_destroy(loop->context);
	}
	free(loop);
}

static void woken(lws_sorted_usec_list_t *wake)
{
	(void)wake;
}

void link_loop_step(struct link_loop *loop, uint32_t wait_ms)
{
	if (wait_ms < 1)
		wait_ms = 1;
	lws_sul_schedule(loop->context, 0, &loop->wake, woken, (lws_usec_t)wait_ms * LWS_US_PER_MS);
	lws_service(loop->context, 0);
}

int link_loop_signal(const struct link_loop *loop)
{
	return loop->signal;
}

struct lws_context *link_loop_context(struct link_loop *loop)
{
	return loop->context;
}
