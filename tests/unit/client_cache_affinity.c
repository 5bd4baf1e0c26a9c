/*
 * Columns of the app that are of other types than ours: what is stored there,
 * the app's own comparisons, and the digest, which must be the server's.
 */
#include "client_cache_app_support.h"

#define COLUMN(name, type, class, nullable)                                                        \
	"{\"name\":\"" name "\",\"type\":\"" type                                                  \
	"\",\"class\":\"" class "\",\"nullable\":" nullable ",\"identity\":false}"
#define THINGS_SCHEMA                                                                                                \
	"{\"table\":\"things\",\"event\":\"e\",\"version\":1,\"key\":[\"id\"],\"columns\":"                          \
	"[" COLUMN("id", "text", "text", "false") "," COLUMN("b", "boolean", "boolean", "true") "," COLUMN(          \
		"i", "integer", "integer",                                                                           \
		"true") "," COLUMN("l", "bigint", "bigint",                                                          \
				   "true") "," COLUMN("f", "double precision", "float",                              \
						      "true") "," COLUMN("d", "numeric(12,2)",                       \
									 "decimal",                                  \
									 "true") "," COLUMN("t",                     \
											    "tex"                    \
											    "t",                     \
											    "tex"                    \
											    "t",                     \
											    "tru"                    \
											    "e") "," COLUMN("o",     \
													    "bytea", \
													    "blob",  \
													    "true") "],\"indexes\":[]}"
#define THINGS                                                                                     \
	"CREATE TABLE things(id TEXT NOT NULL, b INTEGER, i INTEGER, l INTEGER, f REAL, d REAL,"   \
	" t TEXT, o BLOB, PRIMARY KEY(id));"                                                       \
	"INSERT INTO clinic_sync_table VALUES('things', '" THINGS_SCHEMA "', 0)"

/* Every declaration an app could have, one of each affinity at least. */
static const char *const declarations[] = {
	"TEXT",
	"INTEGER",
	"REAL",
	"NUMERIC",
	"",
	"BLOB",
	"VARCHAR(20)",
	"BOOLEAN",
	"DATETIME",
	"DECIMAL(10,2)",
	"TEXT COLLATE NOCASE",
	"DOUBLE",
	"JSON",
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Canonical texts of each class that are hard to hold. */
static const struct {
	char column;
	const char *text;
} values[] = {
	{'b', "true"},
	{'b', "false"},
	{'i', "0"},
	{'i', "-5"},
	{'i', "2147483647"},
	{'l', "9223372036854775807"},
	{'l', "-9223372036854775808"},
	{'l', "9007199254740993"},
	{'l', "1000000000000000"},
	{'f', "0"},
	{'f', "-0"},
	{'f', "0.1"},
	{'f', "1500"},
	{'f', "1e+20"},
	{'f', "1e+15"},
	{'f', "1.2345678901234567"},
	{'f', "NaN"},
	{'f', "Infinity"},
	{'f', "-Infinity"},
	{'d', "1500.00"},
	{'d', "0.30"},
	{'d', "-0.05"},
	{'d', "9999999999.99"},
	{'d', "0.00"},
	{'d', "NaN"},
	{'t', ""},
	{'t', "0917"},
	{'t', "917"},
	{'t', "-0"},
	{'t', "-7"},
	{'t', "+63 917 555 0001"},
	{'t', "+639175550001"},
	{'t', "1.50"},
	{'t', "1e3"},
	{'t', " 12 "},
	{'t', ".5"},
	{'t', "5."},
	{'t', "0x10"},
	{'t', "1_000"},
	{'t', "9223372036854775808"},
	{'t', "123456789012345678901234567890"},
	{'t', "999999999999999999"},
	{'t', "1500.0000000000"},
	{'t', "Infinity"},
	{'t', "nan"},
	{'t', "2026-11-23"},
	{'t', "2026-11-23T08:00:00.000"},
	{'t', "2026-11-23T08:00:00.123456"},
	{'t', "12:30"},
	{'t', "[{\\\"id\\\":\\\"1\\\",\\\"price\\\":150.50}]"},
	{'t', "true"},
	{'t', "1-2"},
	{'t', "1e-5"},
	{'t', "e5"},
	{'t', "-"},
	{'o', "\\\\x"},
	{'o', "\\\\x303137"},
	{'o', "\\\\x00ff"},
};

/* The JSON text above as the bytes that it stands for. */
static size_t unescape(const char *json, char *out)
{
	size_t len = 0;

	for (; *json; json++) {
		if (*json == '\\')
			json++;
		out[len++] = *json;
	}
	out[len] = '\0';
	return len;
}

/* The row with one value in one column, as a change. */
static size_t add_row(char *out, size_t size, const char *operation, size_t i)
{
	bool bare = values[i].column == 'b' || values[i].column == 'i';
	size_t at = (size_t)snprintf(out, size,
				     "{\"table\":\"things\",\"operation\":\"%s\",\"key\":{\"id\":"
				     "\"r%zu\"},\"data\":{\"id\":\"r%zu\"",
				     operation, i, i);

	for (const char *column = "bilfdto"; *column; column++)
		at += (size_t)snprintf(out + at, size - at,
				       *column != values[i].column ? ",\"%c\":null"
				       : bare                      ? ",\"%c\":%s"
								   : ",\"%c\":\"%s\"",
				       *column, values[i].text);
	return at + (size_t)snprintf(out + at, size - at, "}}");
}

static void all_rows(char *out, size_t size, const char *operation)
{
	size_t at = 0;

	for (size_t i = 0; i < COUNT(values); i++) {
		at += (size_t)snprintf(out + at, size - at, "%s", i ? "," : "");
		at += add_row(out + at, size - at, operation, i);
	}
	assert_true(at < size);
}

/* Columns in byte order: b, d, f, i, id, l, o, t. */
static uint64_t expected_hash(size_t i)
{
	char bytes[512] = "";
	char text[256];
	char *at = bytes;
	char id[16];

	snprintf(id, sizeof(id), "r%zu", i);
	for (const char *column = "bdfi!lot"; *column; column++) {
		if (*column == '!')
			at += sprintf(at, "V%zu:%s", strlen(id), id);
		else if (*column == values[i].column)
			at += sprintf(at, "V%zu:%s", unescape(values[i].text, text), text);
		else
			at += sprintf(at, "N");
	}
	return hash_of(bytes);
}

static uint64_t expected_digest(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < COUNT(values); i++)
		sum += expected_hash(i);
	return sum;
}

static struct fixture *start_with(const char *declaration)
{
	char sql[1024];

	snprintf(sql, sizeof(sql),
		 "CREATE TABLE things(o %s, t %s, d %s, f %s, l %s, i %s, b %s,"
		 " id TEXT PRIMARY KEY, note TEXT) WITHOUT ROWID",
		 declaration, declaration, declaration, declaration, declaration, declaration,
		 declaration);
	return start_app(sql, THINGS);
}

static void end(struct fixture *f)
{
	void *state = f;

	teardown(&state);
}

/* By frames: inserted, changed into each other, put. */
static void holds_every_value_in_every_column(void **state)
{
	static char changes[65536];

	(void)state;
	for (size_t i = 0; i < COUNT(declarations); i++) {
		struct fixture *f = start_with(declarations[i]);

		all_rows(changes, sizeof(changes), "insert");
		next_frame(f, changes);
		check_digest(f, "things", COUNT(values), expected_digest());
		/* all to NULL, which leaves no text behind, and back by updates */
		exec_sql(f->path, "CREATE TABLE before AS SELECT * FROM things;"
				  "CREATE TABLE exact_before AS SELECT * FROM clinic_sync_exact");
		for (size_t row = 0; row < COUNT(values); row++) {
			char change[512];

			snprintf(change, sizeof(change),
				 "{\"table\":\"things\",\"operation\":\"update\",\"key\":{\"id\":"
				 "\"r%zu\"},\"data\":{\"%c\":null}}",
				 row, values[row].column);
			next_frame(f, change);
		}
		assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_sync_exact"), "0");
		all_rows(changes, sizeof(changes), "update");
		next_frame(f, changes);
		check_digest(f, "things", COUNT(values), expected_digest());
		all_rows(changes, sizeof(changes), "put");
		next_frame(f, changes);
		check_digest(f, "things", COUNT(values), expected_digest());
		assert_string_equal(query(f->path,
					  "SELECT count(*) FROM (SELECT * FROM before EXCEPT"
					  " SELECT * FROM things UNION ALL SELECT 1,2,3,4,5,6,7,8,9"
					  " FROM (SELECT * FROM exact_before EXCEPT"
					  " SELECT * FROM clinic_sync_exact))"),
				    "0");
		assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_cache_parked"),
				    "0");
		end(f);
	}
}

/* The same rows in a snapshot: what a cache in tables of our own holds. */
static void loads_every_value_into_every_column(void **state)
{
	static char changes[65536];
	struct fixture *ours = start_app("", THINGS);

	(void)state;
	all_rows(changes, sizeof(changes), "insert");
	next_frame(ours, changes);
	check_digest(ours, "things", COUNT(values), expected_digest());
	for (size_t i = 0; i < COUNT(declarations); i++) {
		struct fixture *f = start_with(declarations[i]);
		char sql[2048];

		snprintf(sql, sizeof(sql),
			 THINGS "; ATTACH '%s' AS ours; INSERT INTO things SELECT * FROM"
				" ours.things; INSERT INTO clinic_sync_exact SELECT * FROM"
				" ours.clinic_sync_exact; UPDATE clinic_sync_table SET rows = %zu"
				" WHERE name = 'things'",
			 ours->path, COUNT(values));
		replace_all(f, C2, sql);
		check_digest(f, "things", COUNT(values), expected_digest());
		end(f);
	}
	end(ours);
}

/* What is stored, and what the app's own conditions find. */
static const struct {
	const char *declaration;
	char column;
	const char *value; /* as JSON */
	const char *stored;
	const char *condition; /* of the app; true */
} forms[] = {
	{"REAL", 'd', "\"1500.00\"", "real 1500.0", "d = 1500 AND d = 1500.0"},
	{"REAL", 'd', "\"0.30\"", "real 0.3", "d = 0.3"},
	{"DECIMAL(10,2)", 'd', "\"1500.00\"", "integer 1500", "d = 1500.0 AND d = '1500.00'"},
	{"INTEGER", 'd', "\"1500.50\"", "real 1500.5", "d > 1500"},
	{"TEXT", 'd', "\"1500.00\"", "text '1500.00'", "d = '1500.00' AND d + 0 = 1500"},
	{"", 'd', "\"1500.00\"", "real 1500.0", "d = 1500"},
	{"INTEGER", 'b', "true", "integer 1", "b AND b = 1"},
	{"INTEGER", 'b', "false", "integer 0", "NOT b AND b = 0"},
	{"BOOLEAN", 'b', "true", "integer 1", "b = 1"},
	{"TEXT", 'b', "true", "text '1'", "b = 1 AND b = '1'"},
	{"TEXT", 'b', "false", "text '0'", "b = 0 AND NOT b"},
	{"REAL", 'b', "true", "real 1.0", "b = 1"},
	{"TEXT", 'i', "-5", "text '-5'", "i = -5 AND i = '-5'"},
	{"REAL", 'i', "-5", "real -5.0", "i = -5"},
	{"TEXT", 'l', "\"9223372036854775807\"", "text '9223372036854775807'",
	 "l = 9223372036854775807"},
	{"INTEGER", 't', "\"0917\"", "integer 917", "t = '0917' AND t = 917"},
	{"NUMERIC", 't', "\"1.50\"", "real 1.5", "t = '1.50'"},
	{"TEXT", 't', "\"0917\"", "text '0917'", "t = '0917'"},
	{"TEXT", 't', "\"2026-11-23T08:00:00.000\"", "text '2026-11-23T08:00:00.000'",
	 "t > '2026-11-23T07:59:59.999999' AND t < '2026-11-23T08:00:00.000001'"},
	{"DATETIME", 't', "\"2026-11-23T08:00:00.000\"", "text '2026-11-23T08:00:00.000'",
	 "t >= '2026-11-23T08:00:00.000' AND date(t) = '2026-11-23'"},
	{"DATE", 't', "\"2026-11-23\"", "text '2026-11-23'", "t < '2026-11-24'"},
	{"VARCHAR(9)", 't', "\"[{\\\"id\\\": \\\"1\\\"}]\"", "text '[{\"id\": \"1\"}]'",
	 "json_extract(t, '$[0].id') = '1'"},
	{"TEXT COLLATE NOCASE", 't', "\"Ann\"", "text 'Ann'", "t = 'ANN'"},
};

static void keeps_the_apps_conditions_true(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(forms); i++) {
		struct fixture *f = start_with(forms[i].declaration);
		char text[512];

		snprintf(text, sizeof(text),
			 "{\"table\":\"things\",\"operation\":\"insert\",\"key\":{\"id\":\"x\"},"
			 "\"data\":{\"id\":\"x\",\"b\":null,\"i\":null,\"l\":null,\"f\":null,"
			 "\"d\":null,\"t\":null,\"o\":null}},{\"table\":\"things\","
			 "\"operation\":\"update\",\"key\":{\"id\":\"x\"},\"data\":{\"%c\":%s}}",
			 forms[i].column, forms[i].value);
		next_frame(f, text);
		snprintf(text, sizeof(text),
			 "SELECT typeof(%c) || ' ' || quote(%c), (%s) FROM things", forms[i].column,
			 forms[i].column, forms[i].condition);
		snprintf(f->events, sizeof(f->events), "%s|1", forms[i].stored);
		if (strcmp(query(f->path, text), f->events) != 0)
			fail_msg("%s in %s: %s", forms[i].value, forms[i].declaration,
				 query(f->path, text));
		end(f);
	}
}

/* What the app wrote itself, in its own forms, is the server's row all the same. */
static void reads_the_apps_own_forms(void **state)
{
	static const struct {
		const char *declaration, *literal;
		char column;
		const char *text;
	} own[] = {
		{"TEXT", "'1500.0'", 'd', "1500.00"},
		{"TEXT", "1500.0", 'd', "1500.00"},
		{"TEXT", "'1500'", 'd', "1500.00"},
		{"NUMERIC", "1500.0", 'd', "1500.00"},
		{"TEXT", "1", 'b', "true"},
		{"TEXT", "'0'", 'b', "false"},
		{"TEXT", "'true'", 'b', "true"},
		{"REAL", "1", 'b', "true"},
		{"TEXT", "1500.0", 'f', "1500"},
		{"TEXT", "'0.10'", 'f', "0.1"},
		{"TEXT", "7", 'i', "7"},
		{"REAL", "7", 'i', "7"},
		{"", "7.0", 'l', "7"},
		{"", "'7'", 't', "7"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(own); i++) {
		struct fixture *f = start_with(own[i].declaration);
		char text[256];
		char *at = text;

		snprintf(text, sizeof(text), "INSERT INTO things(id, %c) VALUES('x', %s)",
			 own[i].column, own[i].literal);
		exec_sql(f->path, text);
		for (const char *column = "bdfi!lot"; *column; column++) {
			if (*column == '!')
				at += sprintf(at, "V1:x");
			else if (*column == own[i].column)
				at += sprintf(at, "V%zu:%s", strlen(own[i].text), own[i].text);
			else
				at += sprintf(at, "N");
		}
		check_digest(f, "things", 1, hash_of(text));
		end(f);
	}
}

#define APP_TEST(test) cmocka_unit_test(test)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		APP_TEST(holds_every_value_in_every_column),
		APP_TEST(loads_every_value_into_every_column),
		APP_TEST(keeps_the_apps_conditions_true),
		APP_TEST(reads_the_apps_own_forms),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("affinities", tests, NULL, NULL);
}
