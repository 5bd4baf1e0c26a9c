/* Counting the rows that differ between a file and the server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "cli_rowset.h"

#define HASH_A "00000000000000aa"
#define HASH_B "ffffffffffffffff"

static void equal_sets_have_no_differences(void **state)
{
	struct cli_rowset a = {0};
	struct cli_rowset b = {0};
	char key[64];

	(void)state;
	for (int i = 0; i < 5000; i++) {
		snprintf(key, sizeof(key), "{\"id\":\"%d\"}", i);
		cli_rowset_add(&a, key, HASH_A);
		snprintf(key, sizeof(key), "{ \"id\" : \"%d\" }", 4999 - i);
		cli_rowset_add(&b, key, HASH_A);
	}
	assert_false(a.failed || b.failed);
	assert_int_equal(cli_rowset_differences(&a, &b), 0);
	cli_rowset_free(&a);
	cli_rowset_free(&b);
}

static void counts_missing_extra_and_changed(void **state)
{
	struct cli_rowset a = {0};
	struct cli_rowset b = {0};

	(void)state;
	cli_rowset_add(&a, "{\"id\":1}", HASH_A);
	cli_rowset_add(&a, "{\"id\":2}", HASH_A);
	cli_rowset_add(&a, "{\"id\":3}", HASH_A);
	cli_rowset_add(&b, "{\"id\":2}", HASH_B);
	cli_rowset_add(&b, "{\"id\":3}", HASH_A);
	cli_rowset_add(&b, "{\"id\":\"3\"}", HASH_A); /* text is not a number */
	cli_rowset_add(&b, "{\"id\":4}", HASH_A);
	assert_int_equal(cli_rowset_differences(&a, &b), 4);
	cli_rowset_free(&a);
	cli_rowset_free(&b);
}

static void escaping_does_not_matter(void **state)
{
	struct cli_rowset a = {0};
	struct cli_rowset b = {0};

	(void)state;
	cli_rowset_add(&a, "{\"n\":\"\\u00e9\\/\",\"m\":true}", HASH_A);
	cli_rowset_add(&b, "{\"n\":\"\xc3\xa9/\",\"m\":true}", HASH_A);
	assert_int_equal(cli_rowset_differences(&a, &b), 0);
	cli_rowset_free(&a);
	cli_rowset_free(&b);
}

static void refuses_wrong_forms(void **state)
{
	static const char *const rows[][2] = {
		{"[1]", HASH_A},
		{"", HASH_A},
		{"{\"id\":1}", "aa"},
		{"{\"id\":1}", "00000000000000zz"},
		{"{\"id\":1,\"id\":2}", HASH_A},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cli_rowset set = {0};

		cli_rowset_add(&set, rows[i][0], rows[i][1]);
		assert_true(set.failed);
		cli_rowset_free(&set);
	}
}

static void nothing_against_something(void **state)
{
	struct cli_rowset a = {0};
	struct cli_rowset b = {0};

	(void)state;
	assert_int_equal(cli_rowset_differences(&a, &b), 0);
	cli_rowset_add(&b, "{\"id\":1}", HASH_A);
	assert_int_equal(cli_rowset_differences(&a, &b), 1);
	cli_rowset_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_sets_have_no_differences),
		cmocka_unit_test(counts_missing_extra_and_changed),
		cmocka_unit_test(escaping_does_not_matter),
		cmocka_unit_test(refuses_wrong_forms),
		cmocka_unit_test(nothing_against_something),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
