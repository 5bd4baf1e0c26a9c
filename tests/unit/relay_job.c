/* Jobs: orders of every length reach the child, and how many may run. The child is this program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "job.h"
#include "job_orders.h"
#include "job_process.h"
#include "ws_loop.h"

/* As a job: say how many bytes of orders came, and end when told so. */
static int be_job(void)
{
	static char text[JOB_ORDERS_MOST_BYTES + 1];
	size_t len = fread(text, 1, sizeof(text), stdin);

	printf("%zu\n", len);
	fflush(stdout);
	while (strstr(text, "\"stay\""))
		pause();
	puts("{\"done\":true}");
	return 0;
}

static struct seen {
	char line[32];
	int lines, ends;
	bool ok;
} seen;

static int set_up(void **state)
{
	struct cs_error err = {0};

	(void)state;
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(loop_start(&err), CS_OK);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	loop_close();
	return 0;
}

static void on_line(void *ctx, char *line, size_t len)
{
	(void)ctx;
	(void)len;
	if (!seen.lines++)
		snprintf(seen.line, sizeof(seen.line), "%s", line);
}

static void on_end(void *ctx)
{
	(void)ctx;
	seen.ends++;
}

static void run_until(const int *count, int value)
{
	struct pollfd p = {.fd = loop_fd(), .events = POLLIN};

	while (*count < value) {
		assert_int_equal(poll(&p, 1, 20000), 1);
		loop_dispatch();
	}
}

static void orders_of_every_length_arrive(void **state)
{
	static const size_t lengths[] = {2, 4096, 65536, 65537, 100000, JOB_ORDERS_MOST_BYTES};
	static const struct job_process_events events = {.on_line = on_line, .on_end = on_end};
	static char orders[JOB_ORDERS_MOST_BYTES + 2];
	char expected[32];

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		memset(&seen, 0, sizeof(seen));
		memset(orders, ' ', lengths[i]);
		orders[lengths[i]] = '\0';
		assert_non_null(job_process_start(orders, 60, &events, NULL));
		run_until(&seen.ends, 1);
		snprintf(expected, sizeof(expected), "%zu", lengths[i]);
		assert_string_equal(seen.line, expected);
	}
	memset(orders, ' ', JOB_ORDERS_MOST_BYTES + 1);
	assert_null(job_process_start(orders, 60, &events, NULL));
}

static void on_job_line(void *ctx, const char *line, size_t len)
{
	(void)ctx;
	(void)line;
	(void)len;
	seen.lines++;
}

static void on_job_end(void *ctx, bool ok)
{
	(void)ctx;
	seen.ok = ok;
	seen.ends++;
}

static const struct digest_events digest_events = {.on_line = on_job_line, .on_end = on_job_end};

static struct job *proof(const char *spec)
{
	return job_start_proof(spec, &digest_events, NULL);
}

static void proofs_and_digests_do_not_stand_in_each_others_way(void **state)
{
	struct config config;
	struct job *digests[4], *first;

	(void)state;
	config_defaults(&config);
	snprintf(config.dsn, sizeof(config.dsn), "dbname=nowhere");
	job_init(&config);
	for (int i = 0; i < 4; i++) {
		digests[i] = job_start_digest("stay", false, NULL, &digest_events, NULL);
		assert_non_null(digests[i]);
	}
	assert_null(job_start_digest(NULL, false, NULL, &digest_events, NULL));
	first = proof("{\"counts\":[\"stay\"]}");
	assert_non_null(first);
	assert_non_null(proof("{\"counts\":[\"patients\"]}"));
	assert_null(proof("{\"counts\":[\"patients\"]}"));
	run_until(&seen.ends, 1);
	assert_true(seen.ok);
	job_cancel(first);
	assert_non_null(proof("{}"));
	run_until(&seen.ends, 2);
	for (int i = 0; i < 4; i++)
		job_cancel(digests[i]);
	job_close();
}

static void a_spec_must_be_json_of_bounded_length(void **state)
{
	static char spec[JOB_SPEC_MOST_BYTES + 16];
	struct config config;

	(void)state;
	config_defaults(&config);
	snprintf(config.dsn, sizeof(config.dsn), "dbname=nowhere");
	job_init(&config);
	assert_null(proof("{\"counts\":["));
	assert_null(proof(""));
	memset(spec, ' ', sizeof(spec) - 1);
	spec[0] = '{';
	spec[JOB_SPEC_MOST_BYTES] = '}';
	spec[JOB_SPEC_MOST_BYTES + 1] = '\0';
	assert_null(proof(spec));
	spec[JOB_SPEC_MOST_BYTES] = '\0';
	spec[JOB_SPEC_MOST_BYTES - 1] = '}';
	assert_non_null(proof(spec));
	run_until(&seen.ends, 1);
	job_close();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(orders_of_every_length_arrive, set_up, tear_down),
		cmocka_unit_test_setup_teardown(proofs_and_digests_do_not_stand_in_each_others_way,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_spec_must_be_json_of_bounded_length, set_up,
						tear_down),
	};

	if (argc > 1 && strcmp(argv[1], "--job") == 0)
		return be_job();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
