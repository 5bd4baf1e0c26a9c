/* What a request's headers ask for: JSON or a file, and which pages may ask at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/http.h"
#include "relay/origins.h"

static void json_where_it_is_preferred(void **state)
{
	static const char *const json[] = {"application/json",
					   "Application/JSON",
					   "text/html, application/json;q=0.2, */*",
					   "application/vnd.sqlite3;q=0.4, application/json;q=0.5",
					   "application/json ; charset=utf-8; q=0.1",
					   "application/json;"};
	static const char *const file[] = {"",
					   "*/*",
					   "text/html,application/xhtml+xml,*/*;q=0.8",
					   "application/json;q=0",
					   "application/jsonx",
					   "application/json;q=0.5, application/vnd.sqlite3",
					   "application/vnd.sqlite3",
					   ",, ,;;q=",
					   "application/json;q=0;"};

	(void)state;
	for (size_t i = 0; i < sizeof(json) / sizeof(json[0]); i++)
		assert_true(http_prefers_json(json[i]));
	for (size_t i = 0; i < sizeof(file) / sizeof(file[0]); i++)
		assert_false(http_prefers_json(file[i]));
}

static void origins_that_are_listed(void **state)
{
	const char *list = "https://a.example, http://127.0.0.1:80 ,app+x://host";

	(void)state;
	assert_true(origins_have(list, "https://a.example"));
	assert_true(origins_have(list, "HTTPS://A.example"));
	assert_true(origins_have(list, "http://127.0.0.1:80"));
	assert_true(origins_have(list, "app+x://host"));
	assert_false(origins_have(list, "https://a.exampl"));
	assert_false(origins_have(list, "https://a.example:443"));
	assert_false(origins_have(list, "null"));
	assert_false(origins_have(list, ","));
	assert_false(origins_have("", "https://a.example"));
	assert_false(origins_have("", ""));
	assert_true(origins_have("https://a.example,*", "null"));
}

static void lists_that_are_none(void **state)
{
	static const char *const good[] = {"", "*", "https://a", "https://a:1, *",
					   "moz-extension://1-2"};
	static const char *const bad[] = {"a.example",
					  "https://",
					  "https://a/",
					  "https://a,",
					  "https://a,,https://b",
					  "null",
					  "https://u@a",
					  "https://a b",
					  ",",
					  "https://*.a",
					  "://a",
					  "https://a?b=",
					  "https://a\x7f",
					  "https://\xc3\xa9",
					  "https:/a"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(origins_check(good[i], NULL), CS_OK);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(origins_check(bad[i], NULL), CS_ERR_CONFIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_where_it_is_preferred),
		cmocka_unit_test(origins_that_are_listed),
		cmocka_unit_test(lists_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
