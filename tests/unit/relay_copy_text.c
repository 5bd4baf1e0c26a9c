/* Rows of COPY, and the lists of tables that jobs are given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/dynbuf.h"
#include "relay/copy_text.h"
#include "relay/job_orders.h"

#define FIELDS_MOST 4

static int split(const char *row, struct copy_field *fields)
{
	static char copy[256];

	memcpy(copy, row, strlen(row) + 1);
	return copy_text_split(copy, strlen(row), fields, FIELDS_MOST);
}

static void is_field(const struct copy_field *f, const char *text)
{
	assert_non_null(f->text);
	assert_int_equal(f->len, strlen(text));
	assert_memory_equal(f->text, text, f->len);
}

static void plain_fields(void **state)
{
	struct copy_field f[FIELDS_MOST];

	(void)state;
	assert_int_equal(split("1\tJane\t2026-11-23\n", f), 3);
	is_field(&f[0], "1");
	is_field(&f[1], "Jane");
	is_field(&f[2], "2026-11-23");
	assert_int_equal(split("only", f), 1);
	is_field(&f[0], "only");
	assert_int_equal(split("\t\n", f), 2);
	is_field(&f[0], "");
	is_field(&f[1], "");
}

static void nulls_and_escapes(void **state)
{
	struct copy_field f[FIELDS_MOST];

	(void)state;
	assert_int_equal(split("\\N\t\\\\N\ta\\tb\\nc\\\\d\\re\n", f), 3);
	assert_null(f[0].text);
	is_field(&f[1], "\\N");
	is_field(&f[2], "a\tb\nc\\d\re");
	assert_int_equal(split("\\b\\f\\v\t\\\\x00ff", f), 2);
	is_field(&f[0], "\b\f\v");
	is_field(&f[1], "\\x00ff");
}

static void broken_rows(void **state)
{
	struct copy_field f[FIELDS_MOST];

	(void)state;
	assert_int_equal(split("a\tb\tc\td\te", f), -1);
	assert_int_equal(split("a\\", f), -1);
	assert_int_equal(split("a\\\tb", f), -1);
}

static void lists_of_tables(void **state)
{
	char *list = job_list_normalize("payments,bills,payments");
	json_t *names;

	(void)state;
	assert_string_equal(list, "bills,payments");
	free(list);
	list = job_list_normalize(NULL);
	assert_string_equal(list, "");
	free(list);
	names = job_list_names("bills,payments");
	assert_int_equal(json_object_size(names), 2);
	assert_true(json_is_true(json_object_get(names, "bills")));
	assert_true(json_is_true(json_object_get(names, "payments")));
	json_decref(names);
	names = job_list_names("");
	assert_int_equal(json_object_size(names), 0);
	json_decref(names);
	names = job_list_names(NULL);
	assert_int_equal(json_object_size(names), 0);
	json_decref(names);
}

/* As many as a device may name. */
static void long_lists(void **state)
{
	struct dynbuf list;
	char *normal;
	json_t *names;

	(void)state;
	dynbuf_init(&list, SIZE_MAX);
	for (int i = 0; i < 1000; i++)
		dynbuf_addf(&list, "%sa_table_with_a_name_as_long_as_postgresql_allows_a_name_%07d",
			    i ? "," : "", i);
	normal = job_list_normalize(list.data);
	assert_non_null(normal);
	assert_string_equal(normal, list.data);
	names = job_list_names(normal);
	assert_int_equal(json_object_size(names), 1000);
	json_decref(names);
	free(normal);
	dynbuf_adds(&list, ",one_more");
	assert_null(job_list_normalize(list.data));
	dynbuf_free(&list);
}

static void orders_are_one_json_object(void **state)
{
	struct job_orders orders = {.kind = JOB_DIGEST,
				    .dsn = "host='a b' dbname=\"x\"",
				    .tables = "a",
				    .rows = true,
				    .skip = "a.b"};
	char *text = job_orders_print(&orders);

	(void)state;
	assert_non_null(text);
	assert_non_null(strstr(text, "\"job\":\"digest\""));
	assert_non_null(strstr(text, "\"rows\":true"));
	assert_non_null(strstr(text, "\"skip\":\"a.b\""));
	assert_null(strchr(text, '\n'));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_fields), cmocka_unit_test(nulls_and_escapes),
		cmocka_unit_test(broken_rows),  cmocka_unit_test(lists_of_tables),
		cmocka_unit_test(long_lists),   cmocka_unit_test(orders_are_one_json_object),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
