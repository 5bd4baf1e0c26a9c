/* When a part of a download may be resumed, and when it must not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "link_part.h"

struct place {
	char directory[64];
	char path[128];
	char etag_path[160];
};

static int set_up(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	strcpy(p->directory, "/tmp/clinic-part-XXXXXX");
	assert_non_null(mkdtemp(p->directory));
	snprintf(p->path, sizeof(p->path), "%s/snapshot", p->directory);
	snprintf(p->etag_path, sizeof(p->etag_path), "%s.etag", p->path);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;

	unlink(p->path);
	unlink(p->etag_path);
	rmdir(p->directory);
	free(p);
	return 0;
}

static void begin_part(const struct place *p, const char *etag)
{
	struct link_part part;

	assert_int_equal(link_part_open(p->path, &part, NULL), CS_OK);
	assert_int_equal(part.have_bytes, 0);
	assert_true(link_part_restart(&part, etag, 10));
	assert_true(link_part_write(&part, "abcd", 4));
	link_part_close(&part);
}

static void resumes_with_the_same_etag(void **state)
{
	struct place *p = *state;
	struct link_part part;
	char content[16] = "";
	FILE *f;

	begin_part(p, "\"one\"");
	assert_int_equal(link_part_open(p->path, &part, NULL), CS_OK);
	assert_int_equal(part.have_bytes, 4);
	assert_string_equal(part.etag, "\"one\"");
	assert_true(link_part_continue(&part, "bytes 4-9/10"));
	assert_true(link_part_write(&part, "efghij", 6));
	assert_int_equal(part.have_bytes, part.total_bytes);
	assert_true(link_part_finish(&part));
	/* an open descriptor of what becomes the cache would cost SQLite its locks when it is
	 * closed */
	assert_int_equal(part.fd, -1);
	link_part_close(&part);
	assert_int_equal(access(p->etag_path, F_OK), -1);
	f = fopen(p->path, "r");
	assert_non_null(f);
	assert_int_equal(fread(content, 1, sizeof(content), f), 10);
	fclose(f);
	assert_memory_equal(content, "abcdefghij", 10);
}

static void begins_anew_without_a_strong_etag(void **state)
{
	struct place *p = *state;
	struct link_part part;

	begin_part(p, "W/\"weak\"");
	assert_int_equal(link_part_open(p->path, &part, NULL), CS_OK);
	assert_int_equal(part.have_bytes, 0);
	link_part_close(&part);
	unlink(p->path);
	begin_part(p, "");
	assert_int_equal(link_part_open(p->path, &part, NULL), CS_OK);
	assert_int_equal(part.have_bytes, 0);
	link_part_close(&part);
}

/* After a power cut the length of a file says nothing about its bytes. */
static void begins_anew_after_a_restart_of_the_machine(void **state)
{
	struct place *p = *state;
	struct link_part part;
	FILE *f;

	begin_part(p, "\"one\"");
	f = fopen(p->etag_path, "w");
	assert_non_null(f);
	fputs("00000000-0000-0000-0000-000000000000\n\"one\"\n", f);
	fclose(f);
	assert_int_equal(link_part_open(p->path, &part, NULL), CS_OK);
	assert_int_equal(part.have_bytes, 0);
	link_part_close(&part);
}

static void refuses_answers_that_do_not_fit(void **state)
{
	static const char *const ranges[] = {
		"", "bytes 0-9/10", "bytes 5-9/10", "bytes 4-8/10", "bytes 4-9/*", "4-9/10",
	};
	struct place *p = *state;
	struct link_part part;

	begin_part(p, "\"one\"");
	assert_int_equal(link_part_open(p->path, &part, NULL), CS_OK);
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		assert_false(link_part_continue(&part, ranges[i]));
	assert_false(link_part_was_whole(&part, "bytes */10"));
	assert_true(link_part_was_whole(&part, "bytes */4"));
	link_part_forget(&part);
	link_part_close(&part);
	assert_int_equal(access(p->path, F_OK), -1);
	assert_int_equal(access(p->etag_path, F_OK), -1);
}

static void does_not_follow_a_link(void **state)
{
	struct place *p = *state;
	struct link_part part;
	struct cs_error err = {0};

	assert_int_equal(symlink("/dev/null", p->path), 0);
	assert_int_equal(link_part_open(p->path, &part, &err), CS_ERR_STORE);
	assert_string_not_equal(err.text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(resumes_with_the_same_etag, set_up, tear_down),
		cmocka_unit_test_setup_teardown(begins_anew_without_a_strong_etag, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(begins_anew_after_a_restart_of_the_machine, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(refuses_answers_that_do_not_fit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(does_not_follow_a_link, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
