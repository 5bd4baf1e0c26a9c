/* The Range header of GET /db/download. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http.h"

#define ETAG "\"7-abc\""

static void expect(const char *range, const char *if_range, range_result result, uint64_t from,
		   uint64_t to)
{
	uint64_t got_from = 0, got_to = 0;

	assert_int_equal(http_range(range, if_range, ETAG, 1000, &got_from, &got_to), result);
	if (result != RANGE_PART)
		return;
	assert_int_equal(got_from, from);
	assert_int_equal(got_to, to);
}

static void a_part(void **state)
{
	(void)state;
	expect("bytes=0-", "", RANGE_PART, 0, 999);
	expect("bytes=1-", "", RANGE_PART, 1, 999);
	expect("bytes=999-", "", RANGE_PART, 999, 999);
	expect("bytes=10-19", "", RANGE_PART, 10, 19);
	expect("bytes=10-5000", "", RANGE_PART, 10, 999);
	expect("bytes=5-5", "", RANGE_PART, 5, 5);
}

static void beyond_the_end(void **state)
{
	uint64_t from, to;

	(void)state;
	expect("bytes=1000-", "", RANGE_BAD, 0, 0);
	expect("bytes=1000-2000", "", RANGE_BAD, 0, 0);
	expect("bytes=999999999999999999-", "", RANGE_BAD, 0, 0);
	assert_int_equal(http_range("bytes=0-", "", ETAG, 0, &from, &to), RANGE_BAD);
}

static void what_is_not_understood_is_the_whole(void **state)
{
	static const char *const forms[] = {
		"",
		"bytes",
		"bytes=",
		"bytes=-",
		"bytes=-5",
		"bytes=5",
		"bytes=5-4",
		"bytes=5-4x",
		"bytes=1-2,4-5",
		"bytes=x-",
		"lines=1-",
		"bytes= 1-",
		"bytes=+1-",
		"bytes=0x10-",
		"Bytes=1-",
		"bytes=1--",
		"bytes=1-2-3",
		"bytes=1-\r\n",
		"bytes=1.5-",
		"bytes=99999999999999999999999-",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		expect(forms[i], "", RANGE_NONE, 0, 0);
}

static void if_range_guards_against_another_file(void **state)
{
	(void)state;
	expect("bytes=10-", ETAG, RANGE_PART, 10, 999);
	expect("bytes=10-", "\"8-def\"", RANGE_NONE, 0, 0);
	expect("bytes=10-", "W/" ETAG, RANGE_NONE, 0, 0);
	expect("bytes=10-", "Mon, 23 Nov 2026 08:00:00 GMT", RANGE_NONE, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_part),
		cmocka_unit_test(beyond_the_end),
		cmocka_unit_test(what_is_not_understood_is_the_whole),
		cmocka_unit_test(if_range_guards_against_another_file),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
