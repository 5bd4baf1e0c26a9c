/* The relay's configuration: every way to get it wrong is one clear line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/config.h"

static char dir[] = "/tmp/relay_config.XXXXXX";
static char conf_path[128], code_path[128], good_text[1024];

static void write_file(const char *path, const char *text, size_t len, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(conf_path, sizeof(conf_path), "%s/conf", dir);
	snprintf(code_path, sizeof(code_path), "%s/code", dir);
	snprintf(good_text, sizeof(good_text),
		 "dsn = dbname=clinic\naccess_code_file = %s\nsnapshot_dir = %s/snap\n", code_path,
		 dir);
	write_file(code_path, "sixteen-chars-or-more\n", 22, 0600);
	return 0;
}

static int tear_down(void **state)
{
	char snap[128];

	(void)state;
	snprintf(snap, sizeof(snap), "%s/snap", dir);
	rmdir(snap);
	unlink(conf_path);
	unlink(code_path);
	return rmdir(dir);
}

static cs_status load(const char *text, size_t len, struct config *c, struct cs_error *err)
{
	memset(err, 0, sizeof(*err));
	write_file(conf_path, text, len, 0600);
	return config_load(conf_path, c, err);
}

/* The good file with a line added is refused, and the one-line reason says why. */
static void refused(const char *line, const char *why)
{
	struct config c;
	struct cs_error err;
	char text[12000];

	snprintf(text, sizeof(text), "%s%s\n", good_text, line);
	assert_int_equal(load(text, strlen(text), &c, &err), CS_ERR_CONFIG);
	if (!strstr(err.text, why))
		fail_msg("\"%s\" gave \"%s\", expected \"%s\"", line, err.text, why);
	assert_null(strchr(err.text, '\n'));
	assert_ptr_equal(strstr(err.text, conf_path), err.text);
}

static void accepted(const char *line, struct config *c)
{
	struct cs_error err;
	char text[12000];

	snprintf(text, sizeof(text), "%s%s\n", good_text, line);
	if (load(text, strlen(text), c, &err) != CS_OK)
		fail_msg("\"%s\" was refused: %s", line, err.text);
}

static void defaults_and_values(void **state)
{
	struct config c;

	(void)state;
	accepted("", &c);
	assert_string_equal(c.dsn, "dbname=clinic");
	assert_string_equal(c.listen_address, "127.0.0.1");
	assert_int_equal(c.port, 8080);
	assert_int_equal(c.ring_bytes, 64 * 1024 * 1024);
	assert_int_equal(c.ring_warm_changes, 100000);
	assert_int_equal(c.sync_interval_s, 30);
	assert_int_equal(c.table_streams_most, 16);
	assert_string_equal(c.access_code, "sixteen-chars-or-more");
	assert_false(c.allow_plaintext);
	assert_true(c.relay_name[0]);
	accepted("port=0\nring_bytes = 1 GB\n\t max_frame_bytes\t= 131072 \nlog_level = debug", &c);
	assert_int_equal(c.port, 0);
	assert_int_equal(c.ring_bytes, 1024 * 1024 * 1024);
	assert_int_equal(c.max_frame_bytes, 131072);
	assert_int_equal(c.log_level, LOG_LEVEL_DEBUG);
}

static void syntax(void **state)
{
	struct config c;
	struct cs_error err;
	char text[2048];
	char longest[9000];

	(void)state;
	snprintf(text, sizeof(text), "\xef\xbb\xbf# comment\r\n\r\n   \r\n%s# port = 1\r\n",
		 good_text);
	assert_int_equal(load(text, strlen(text), &c, &err), CS_OK);
	assert_int_equal(c.port, 8080);
	refused("port", ":4: expected key = value");
	refused("= 5", ":4: no such option");
	refused("colour = red", ":4: no such option: \"colour\"");
	refused("port = 1\n\nport = 2", ":6: \"port\" is set twice, first in line 4");
	refused("port = 1\x01", ":4: control character");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	memcpy(longest, "dsn_file = ", 11);
	refused(longest, ":4: line longer");
	longest[5000] = '\0';
	refused(longest, ":4: \"dsn_file\" is longer than");
	/* a NUL does not end the file early */
	snprintf(text, sizeof(text), "%sport = 1", good_text);
	text[strlen(text)] = '\0';
	assert_int_equal(load(text, strlen(text) + 1, &c, &err), CS_ERR_CONFIG);
	assert_non_null(strstr(err.text, "control character"));
}

static void numbers(void **state)
{
	static const char *const wrong[] = {"port = -1",
					    "port = 65536",
					    "port = 0x10",
					    "port = 1e3",
					    "port = ",
					    "port = 8080 # x",
					    "port = 80 80",
					    "port = 99999999999999999999",
					    "port = 1kB",
					    "ping_interval_s = 0",
					    "max_devices = 0",
					    "ring_bytes = 1TB",
					    "ring_bytes = 9223372036854775807GB",
					    "ring_bytes = -1",
					    "snapshot_max_age_s = -1"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		refused(wrong[i], ":4: \"");
	refused("allow_plaintext = true", "must be yes or no");
	refused("log_level = loud", "must be debug, info, warning or error");
}

static void options_that_do_not_go_together(void **state)
{
	struct config c;

	(void)state;
	refused("listen_address = 0.0.0.0", "set allow_plaintext = yes");
	refused("listen_address = ::", "set allow_plaintext = yes");
	refused("listen_address = front desk", "must be an IP address");
	accepted("listen_address = 0.0.0.0\nallow_plaintext = yes", &c);
	accepted("listen_address = ::1", &c);
	refused("dsn_file = /x", "exclude each other");
	refused("ping_interval_s = 35", "\"dead_after_s\" must be more");
	refused("max_frame_bytes = 32MB", "must not be less than");
	refused("relay_name =", "\"relay_name\" is empty");
}

static void what_must_be_there(void **state)
{
	struct config c;
	struct cs_error err;
	char text[512];

	(void)state;
	assert_int_equal(load("", 0, &c, &err), CS_ERR_CONFIG);
	assert_non_null(strstr(err.text, "\"dsn\" or \"dsn_file\" is missing"));
	assert_int_equal(load("dsn = dbname=x\n", 15, &c, &err), CS_ERR_CONFIG);
	assert_non_null(strstr(err.text, "\"access_code_file\" is missing"));
	snprintf(text, sizeof(text), "dsn = no connection string\naccess_code_file = %s\n",
		 code_path);
	assert_int_equal(load(text, strlen(text), &c, &err), CS_ERR_CONFIG);
	assert_non_null(strstr(err.text, "is not a connection string"));
	memset(&err, 0, sizeof(err));
	assert_int_equal(config_load("/nonexistent/conf", &c, &err), CS_ERR_CONFIG);
	assert_string_equal(err.text, "/nonexistent/conf: No such file or directory");
	memset(&err, 0, sizeof(err));
	assert_int_equal(config_load(dir, &c, &err), CS_ERR_CONFIG);
	assert_non_null(strstr(err.text, "not a regular file"));
}

static void secrets(void **state)
{
	struct config c;
	struct cs_error err;
	char text[2048];

	(void)state;
	assert_int_equal(chmod(code_path, 0644), 0);
	write_file(conf_path, good_text, strlen(good_text), 0600);
	memset(&err, 0, sizeof(err));
	assert_int_equal(config_load(conf_path, &c, &err), CS_ERR_CONFIG);
	assert_non_null(strstr(err.text, "open to everybody"));
	write_file(code_path, "", 0, 0600);
	refused("", "is empty");
	write_file(code_path, "two\nlines\n", 10, 0600);
	refused("", "must be one line");
	write_file(code_path, "with a blank", 12, 0600);
	refused("", "only visible ASCII");
	write_file(code_path, "sixteen-chars-or-more\n", 22, 0600);
	/* a password in a file that everybody may read, and never in an error */
	snprintf(text, sizeof(text),
		 "dsn = dbname=x password=hunter2\naccess_code_file = %s\n"
		 "snapshot_dir = %s/snap\n",
		 code_path, dir);
	write_file(conf_path, text, strlen(text), 0644);
	memset(&err, 0, sizeof(err));
	assert_int_equal(config_load(conf_path, &c, &err), CS_ERR_CONFIG);
	assert_non_null(strstr(err.text, "open to everybody"));
	assert_null(strstr(err.text, "hunter2"));
	assert_int_equal(load(text, strlen(text), &c, &err), CS_OK);
}

static void shown_without_secrets(void **state)
{
	struct config c;
	struct cs_error err = {0};
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	accepted("", &c);
	assert_int_equal(config_set(&c, "dsn", "dbname=x password=hunter2", &err), CS_OK);
	config_show(&c, out);
	fclose(out);
	assert_null(strstr(text, "hunter2"));
	assert_null(strstr(text, "sixteen-chars-or-more"));
	assert_non_null(strstr(text, "port = 8080\n"));
	assert_non_null(strstr(text, "allow_plaintext = no\n"));
	free(text);
}

static void reload(void **state)
{
	struct config running, fresh;

	(void)state;
	accepted("", &running);
	accepted("port = 9\nmax_devices = 7\ndevice_queue_bytes = 1MB\nlog_level = error", &fresh);
	config_apply(&running, &fresh);
	assert_int_equal(running.max_devices, 7);
	assert_int_equal(running.device_queue_bytes, 1024 * 1024);
	assert_int_equal(running.port, 8080);
	log_set_level(LOG_LEVEL_INFO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_and_values),
		cmocka_unit_test(syntax),
		cmocka_unit_test(numbers),
		cmocka_unit_test(options_that_do_not_go_together),
		cmocka_unit_test(what_must_be_there),
		cmocka_unit_test(secrets),
		cmocka_unit_test(shown_without_secrets),
		cmocka_unit_test(reload),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
