/*
 * The libwebsockets context: where it listens, what it speaks, how it runs and
 * ends.
 */
#include "ws_server.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "protocol_out.h"
#include "ws_internal.h"
#include "ws_listen.h"

/* Above the largest write there is, or libwebsockets cuts each write at 4 KB and copies the rest.
   So a frame to a device is one system call; strace -c counts as many sendto() as frames. */
#define TX_PACKET_BYTES (1024 * 1024)
/* Each connection has one for as long as it lives. What a device says is shorter, or comes in
   pieces. */
#define RX_BUFFER_BYTES 512
/* Time a peer has for its request, and for answering our close. */
#define HANDSHAKE_TIMEOUT_S 10

static struct {
	struct lws_context *context;
	struct lws_vhost *vhost;
	bool opening; /* its words about a port that is taken are worse than ours */
	bool stopping;
} server;

/* The descriptor of our own loop, inside libwebsockets'. */
static int loop_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
			 size_t len)
{
	(void)wsi;
	(void)user;
	(void)in;
	(void)len;
	if (reason == LWS_CALLBACK_RAW_RX_FILE)
		loop_dispatch();
	return 0;
}

static struct lws_protocols protocols[] = {
	/* first: what is not an upgrade, and upgrades that name no subprotocol */
	{.name = "http", .callback = ws_http_callback, .tx_packet_size = TX_PACKET_BYTES},
	{.name = PROTOCOL_NAME,
	 .callback = ws_session_callback,
	 .rx_buffer_size = RX_BUFFER_BYTES,
	 .tx_packet_size = TX_PACKET_BYTES},
	{.name = "loop", .callback = loop_callback},
	{.name = NULL},
};

struct relay *ws_relay(struct lws *wsi)
{
	return lws_vhost_user(lws_get_vhost(wsi));
}

static void log_line(int level, const char *line)
{
	size_t len = strcspn(line, "\n");

	if (server.opening)
		return;
	if (level == LLL_ERR)
		log_error("libwebsockets: %.*s", (int)len, line);
	else
		log_warning("libwebsockets: %.*s", (int)len, line);
}

/* On libuv lws_service() returns only when the context is destroyed, from inside a callback. */
static void run(void *ctx)
{
	(void)ctx;
	while (!server.stopping && lws_service(server.context, 0) >= 0)
		;
}

static void stop(void *ctx)
{
	(void)ctx;
	if (server.stopping)
		return;
	server.stopping = true;
	lws_context_destroy(server.context);
}

static cs_status cannot_listen(const struct config *config, const char *why, struct cs_error *err)
{
	return cs_fail(err, CS_ERR_CONFIG, "cannot listen on %s port %d: %s",
		       config->listen_address, config->port, why);
}

static cs_status create(struct relay *relay, struct cs_error *err)
{
	const struct config *config = relay->config;
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		/* without NO_..._SPIN a crash turns into an endless loop of signals */
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
			   LWS_SERVER_OPTION_UV_NO_SIGSEGV_SIGFPE_SPIN |
			   LWS_SERVER_OPTION_VALIDATE_UTF8 |
			   LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND,
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
		.timeout_secs = HANDSHAKE_TIMEOUT_S,
		.user = relay,
		.server_string = "clinic-relay",
	};

	/* libwebsockets does not say why it cannot listen, and a context whose loop never ran
	   cannot be freed whole: so look before there is one */
	const char *why = ws_listen_try(config);

	if (why)
		return cannot_listen(config, why, err);
	protocols[0].per_session_data_size = ws_http_bytes();
	protocols[1].per_session_data_size = ws_session_bytes();
	server.context = lws_create_context(&info);
	if (!server.context)
		return cs_fail(err, CS_ERR_CONFIG, "cannot start libwebsockets with libuv");

	info.vhost_name = "relay";
	info.protocols = protocols;
	info.iface = config->listen_address;
	info.port = config->port;
	if (!strchr(config->listen_address, ':'))
		info.options |= LWS_SERVER_OPTION_DISABLE_IPV6;
	if (config->listen_share)
		info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
	server.opening = true;
	server.vhost = lws_create_vhost(server.context, &info);
	server.opening = false;
	if (!server.vhost || (config->listen_share && !ws_listen_start(server.vhost)))
		return cannot_listen(config, "libwebsockets refuses it", err);
	return CS_OK;
}

cs_status ws_server_start(struct relay *relay, struct cs_error *err)
{
	lws_sock_file_fd_type fd;
	cs_status st;

	lws_set_log_level(LLL_ERR | LLL_WARN, log_line);
	st = create(relay, err);
	if (st != CS_OK)
		return st;
	fd.filefd = dup(loop_fd()); /* libwebsockets closes what it was given */
	if (fd.filefd < 0 ||
	    !lws_adopt_descriptor_vhost(server.vhost, LWS_ADOPT_RAW_FILE_DESC, fd, "loop", NULL))
		return cs_fail(err, CS_ERR_CONFIG, "cannot join the event loops");
	loop_set_runner(run, stop, NULL);
	return CS_OK;
}

int ws_server_port(void)
{
	int port = lws_get_vhost_listen_port(server.vhost);

	return port > 0 ? port : ws_listen_port();
}

void ws_server_close(void)
{
	ws_listen_stop();
	/* after stop() the first call has closed all handles; this one frees the context */
	if (server.context)
		lws_context_destroy(server.context);
	server.context = NULL;
	server.vhost = NULL;
}
