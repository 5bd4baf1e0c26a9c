/* A port of our own: how its connections are set, and what happens when descriptors run out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "ws_listen.h"
#include "ws_loop.h"

static int set_up(void **state)
{
	static struct config config;
	struct cs_error err = {0};

	(void)state;
	config_defaults(&config);
	snprintf(config.listen_address, sizeof(config.listen_address), "127.0.0.1");
	config.port = 0;
	config.listen_share = true;
	assert_int_equal(loop_start(&err), CS_OK);
	assert_null(ws_listen_try(&config));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	ws_listen_stop();
	loop_close();
	return 0;
}

static int connect_to_it(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)ws_listen_port()),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static int listening_fd(void)
{
	for (int fd = 3; fd < 256; fd++) {
		int listens = 0;
		socklen_t len = sizeof(listens);

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens)
			return fd;
	}
	return -1;
}

static bool is_ready(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1;
}

/* A small frame must not wait for the one before it to be acknowledged. */
static void what_is_accepted_sends_at_once(void **state)
{
	int client = connect_to_it(), one = 0, fd;
	socklen_t len = sizeof(one);

	(void)state;
	fd = accept(listening_fd(), NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, &len), 0);
	assert_int_not_equal(one, 0);
	close(fd);
	close(client);
}

/* So many more descriptors than there are. */
static void allow(int more)
{
	struct rlimit limit;
	int next = dup(STDIN_FILENO);

	assert_true(next >= 0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)(next + more);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void without_descriptors_the_loop_rests(void **state)
{
	struct rlimit before;
	int client;
	char byte;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(ws_listen_start(NULL));
	client = connect_to_it();
	allow(0);
	assert_true(is_ready(loop_fd(), 1000));
	loop_dispatch();
	assert_false(is_ready(loop_fd(), 0));
	/* it looks again by itself; now there is one, but so few that nobody is let in */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	allow(1);
	while (!is_ready(client, 0)) {
		assert_true(is_ready(loop_fd(), 2000));
		loop_dispatch();
	}
	assert_true(recv(client, &byte, 1, 0) <= 0);
	close(client);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_is_accepted_sends_at_once),
		test(without_descriptors_the_loop_rests),
	};

	log_set_level(LOG_LEVEL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
