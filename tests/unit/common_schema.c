/* Schema objects: what is taken, what is refused, the DDL that follows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "schema.h"

#define COLUMN(name, type, class, more)                                                            \
	"{\"name\":\"" name "\",\"type\":\"" type                                                  \
	"\",\"class\":\"" class "\",\"nullable\":true" more "}"
#define HEAD "\"table\":\"t\",\"event\":\"e\",\"version\":1,"
#define ID COLUMN("id", "integer", "integer", "")

static struct schema *parse(const char *text)
{
	struct cs_error err = {0};
	struct schema *s;

	if (schema_parse_text(text, strlen(text), &s, &err) != CS_OK)
		fail_msg("%s: %s", text, err.text);
	return s;
}

static const char *create_table(const struct schema *s)
{
	static struct dynbuf b;

	dynbuf_free(&b);
	dynbuf_init(&b, 65536);
	assert_true(schema_add_create_table(&b, s));
	return b.data;
}

static void takes_a_table_apart(void **state)
{
	struct schema *s = parse("{" HEAD "\"key\":[\"z\",\"id\"],\"columns\":[" COLUMN(
		"id", "integer", "integer",
		",\"identity\":true") "," COLUMN("z", "text", "text",
						 "") "," COLUMN("B", "numeric(12,2)", "decimal",
								"") "," COLUMN("c\\\"d", "bytea",
									       "blob",
									       "") "],\"indexes\":["
										   "{\"name\":"
										   "\"i\\\"x\","
										   "\"columns\":["
										   "\"z\",\"B\"],"
										   "\"unique\":"
										   "true}],\"from_"
										   "a_newer_"
										   "server\":{}}");

	(void)state;
	assert_string_equal(s->table, "t");
	assert_int_equal(s->column_count, 4);
	assert_int_equal(s->columns[2].scale, 2);
	assert_int_equal(s->columns[0].key_position, 1);
	assert_int_equal(s->columns[1].key_position, 0);
	assert_int_equal(s->columns[2].key_position, -1);
	assert_int_equal(schema_find(s, "c\"d"), 3);
	assert_int_equal(schema_find(s, "b"), -1);
	/* byte order: B, c"d, id, z */
	assert_int_equal(s->by_name[0], 2);
	assert_int_equal(s->by_name[1], 3);
	assert_int_equal(s->by_name[2], 0);
	assert_int_equal(s->by_name[3], 1);
	assert_string_equal(create_table(s),
			    "CREATE TABLE \"t\"(\"id\" INTEGER NOT NULL, \"z\" TEXT NOT NULL, "
			    "\"B\" REAL, \"c\"\"d\" BLOB, PRIMARY KEY (\"z\", \"id\"))");
	schema_free(s);
}

static void makes_ddl(void **state)
{
	struct schema *s = parse("{" HEAD "\"key\":[\"id\"],\"columns\":[" COLUMN(
		"id", "bigint", "bigint",
		",\"identity\":true") "," COLUMN("f", "real", "float",
						 "") "," COLUMN("b", "boolean", "boolean",
								"") "],\"indexes\":[{\"name\":"
								    "\"i\",\"columns\":[\"f\","
								    "\"b\"],"
								    "\"unique\":false}]}");
	struct dynbuf b;

	(void)state;
	assert_string_equal(create_table(s),
			    "CREATE TABLE \"t\"(\"id\" INTEGER PRIMARY KEY AUTOINCREMENT, "
			    "\"f\" REAL, \"b\" INTEGER)");
	dynbuf_init(&b, 1024);
	assert_true(schema_add_create_index(&b, s, &s->indexes[0]));
	assert_string_equal(b.data,
			    "CREATE INDEX IF NOT EXISTS main.\"i\" ON \"t\" (\"f\", \"b\")");
	dynbuf_free(&b);
	schema_free(s);
}

static void round_trips_its_text(void **state)
{
	struct schema *s = parse("{" HEAD "\"key\":[\"id\"],\"columns\":[" ID "]}");
	struct schema *again = parse(s->json);

	(void)state;
	assert_string_equal(again->json, s->json);
	schema_free(s);
	schema_free(again);
}

static void refuses_the_rest(void **state)
{
	static const char *const cases[] = {
		"",
		"[]",
		"{}",
		"{\"table\":\"t\"}",
		/* names */
		"{\"table\":\"\",\"event\":\"e\",\"version\":1,\"key\":[\"id\"],\"columns\":[" ID
		"]}",
		"{\"table\":\"sqlite_x\",\"event\":\"e\",\"version\":1,\"key\":[\"id\"],"
		"\"columns\":[" ID "]}",
		"{\"table\":\"Clinic_sync_meta\",\"event\":\"e\",\"version\":1,\"key\":[\"id\"],"
		"\"columns\":[" ID "]}",
		"{\"table\":\"t\",\"event\":7,\"version\":1,\"key\":[\"id\"],\"columns\":[" ID "]}",
		"{\"table\":\"t\",\"event\":\"e\",\"version\":-1,\"key\":[\"id\"],\"columns\":[" ID
		"]}",
		/* columns */
		"{" HEAD "\"key\":[\"id\"],\"columns\":[]}",
		"{" HEAD "\"key\":[\"id\"],\"columns\":[7]}",
		"{" HEAD "\"key\":[\"id\"],\"columns\":[" ID "," ID "]}",
		"{" HEAD "\"key\":[\"id\"],\"columns\":[" ID
		"," COLUMN("ID", "text", "text", "") "]}",
		"{" HEAD "\"key\":[\"id\"],\"columns\":[" COLUMN("id", "text", "blurb", "") "]}",
		"{" HEAD "\"key\":[\"id\"],\"columns\":[{\"name\":\"id\",\"type\":\"text\","
		"\"class\":\"text\"}]}",
		"{" HEAD
		"\"key\":[\"id\"],\"columns\":[" COLUMN("id", "numeric", "decimal", "") "]}",
		"{" HEAD
		"\"key\":[\"id\"],\"columns\":[" COLUMN("id", "numeric(16,2)", "decimal", "") "]}",
		"{" HEAD
		"\"key\":[\"id\"],\"columns\":[" COLUMN("id", "numeric(2,3)", "decimal", "") "]}",
		"{" HEAD
		"\"key\":[\"id\"],\"columns\":[" COLUMN("id", "numeric(2,-1)", "decimal", "") "]}",
		/* key */
		"{" HEAD "\"columns\":[" ID "]}",
		"{" HEAD "\"key\":[],\"columns\":[" ID "]}",
		"{" HEAD "\"key\":[\"x\"],\"columns\":[" ID "]}",
		"{" HEAD "\"key\":[\"id\",\"id\"],\"columns\":[" ID
		"," COLUMN("x", "text", "text", "") "]}",
		/* indexes */
		"{" HEAD "\"key\":[\"id\"],\"columns\":[" ID "],\"indexes\":{}}",
		"{" HEAD "\"key\":[\"id\"],\"columns\":[" ID "],\"indexes\":[{\"name\":\"i\","
		"\"columns\":[\"x\"],\"unique\":true}]}",
		"{" HEAD "\"key\":[\"id\"],\"columns\":[" ID
		"],\"indexes\":[{\"name\":\"sqlite_i\","
		"\"columns\":[\"id\"],\"unique\":true}]}",
		"{" HEAD "\"key\":[\"id\"],\"columns\":[" ID "],\"indexes\":[{\"name\":\"i\","
		"\"columns\":[],\"unique\":true}]}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cs_error err = {0};
		struct schema *s;

		if (schema_parse_text(cases[i], strlen(cases[i]), &s, &err) == CS_OK)
			fail_msg("taken: %s", cases[i]);
		assert_null(s);
		assert_int_equal(err.status, CS_ERR_PROTOCOL);
	}
}

static void refuses_long_names(void **state)
{
	char text[512];
	char name[65];
	struct schema *s;

	(void)state;
	memset(name, 'n', sizeof(name));
	name[64] = '\0';
	snprintf(text, sizeof(text),
		 "{\"table\":\"%s\",\"event\":\"e\",\"version\":1,\"key\":[\"id\"],"
		 "\"columns\":[" ID "]}",
		 name);
	assert_int_equal(schema_parse_text(text, strlen(text), &s, NULL), CS_ERR_PROTOCOL);
	name[63] = '\0';
	snprintf(text, sizeof(text),
		 "{\"table\":\"%s\",\"event\":\"e\",\"version\":1,\"key\":[\"id\"],"
		 "\"columns\":[" ID "]}",
		 name);
	assert_int_equal(schema_parse_text(text, strlen(text), &s, NULL), CS_OK);
	schema_free(s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_a_table_apart),  cmocka_unit_test(makes_ddl),
		cmocka_unit_test(round_trips_its_text), cmocka_unit_test(refuses_the_rest),
		cmocka_unit_test(refuses_long_names),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("schema objects", tests, NULL, NULL);
}
