/* The relay's address: what is taken, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "link_url.h"

static void takes_what_is_right(void **state)
{
	static const struct {
		const char *text, *host, *path, *host_header;
		int port;
	} cases[] = {
		{"ws://127.0.0.1:8080/ws", "127.0.0.1", "/ws", "127.0.0.1:8080", 8080},
		{"ws://clinic.local/ws", "clinic.local", "/ws", "clinic.local:80", 80},
		{"ws://[::1]:65535/a/b", "::1", "/a/b", "[::1]:65535", 65535},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cs_error err = {0};
		struct link_url url;

		assert_int_equal(link_url_parse(cases[i].text, &url, &err), CS_OK);
		assert_string_equal(url.host, cases[i].host);
		assert_string_equal(url.path, cases[i].path);
		assert_string_equal(url.host_header, cases[i].host_header);
		assert_int_equal(url.port, cases[i].port);
	}
}

static void refuses_the_rest(void **state)
{
	static const char *const cases[] = {
		"",
		"ws:",
		"ws://",
		"ws:///ws",
		"http://h/ws",
		"WS://h/ws",
		"wss://h/ws",
		"ws://h",
		"ws://h:8080",
		"ws://h:/ws",
		"ws://h:0/ws",
		"ws://h:65536/ws",
		"ws://h:123456/ws",
		"ws://h:-1/ws",
		"ws://h:0x50/ws",
		"ws://h:80 /ws",
		"ws://user:secret@h/ws",
		"ws://user@h:80/ws",
		"ws://h/ws?code=1",
		"ws://h/ws#x",
		"ws://h?x",
		"ws://h/w s",
		"ws://h/\nws",
		"ws://h\r\nX: y/ws",
		"ws://[::1/ws",
		"ws://[::1]x/ws",
		"ws://a b/ws",
		"ws://[]/ws",
		"ws://[fe80::1%25eth0]/ws",
		"ws://:80/ws",
		"ws://h/\xc3\xa9",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cs_error err = {0};
		struct link_url url;

		assert_int_equal(link_url_parse(cases[i], &url, &err), CS_ERR_CONFIG);
		/* a refused address may hold a secret: it is not repeated */
		assert_null(strstr(err.text, "secret"));
	}
}

static void refuses_what_is_too_long(void **state)
{
	char text[1024] = "ws://";
	struct cs_error err = {0};
	struct link_url url;

	(void)state;
	memset(text + 5, 'h', 256);
	strcpy(text + 5 + 256, "/ws");
	assert_int_equal(link_url_parse(text, &url, &err), CS_ERR_CONFIG);
	strcpy(text, "ws://h/");
	memset(text + 7, 'p', 256);
	text[7 + 256] = '\0';
	assert_int_equal(link_url_parse(text, &url, NULL), CS_ERR_CONFIG);
}

static void escapes_names(void **state)
{
	struct dynbuf b;

	(void)state;
	dynbuf_init(&b, 1000);
	assert_true(link_url_add_escaped(&b, "A_b-1.~ ,&=\xc3\xa9%"));
	assert_string_equal(b.data, "A_b-1.~%20%2C%26%3D%C3%A9%25");
	dynbuf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_what_is_right),
		cmocka_unit_test(refuses_the_rest),
		cmocka_unit_test(refuses_what_is_too_long),
		cmocka_unit_test(escapes_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
