/* Canonical texts: how each class is held, what prints back, what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "value.h"

static struct schema_column column_of(value_class class, char *type, int scale)
{
	return (struct schema_column){.name = "x", .type = type, .class = class, .scale = scale};
}

/* Print what was decided to bind, the way a digest reads it back. */
static const char *printed(const struct schema_column *column, const struct bound_value *v,
			   struct dynbuf *b)
{
	dynbuf_reset(b);
	switch (v->kind) {
	case BIND_INTEGER:
		value_print_integer(column, v->integer, b);
		break;
	case BIND_REAL:
		value_print_real(column, v->real, b);
		break;
	case BIND_BLOB:
		value_print_blob(v->bytes, v->len, b);
		break;
	default:
		dynbuf_add(b, v->bytes, v->len);
	}
	return b->data;
}

/* exact: 1 prints back, 0 needs its text beside, -1 is no canonical text of the class */
static void check(const struct schema_column *column, const char *text, bind_kind kind, int exact)
{
	struct dynbuf scratch;
	struct dynbuf b;
	struct bound_value v;
	bool good;

	dynbuf_init(&scratch, 1 << 20);
	dynbuf_init(&b, 1 << 20);
	good = value_decide(column, text, strlen(text), &scratch, &v);
	if (good != (exact >= 0))
		fail_msg("%s: %s", text, good ? "taken" : "refused");
	if (good) {
		if (v.kind != kind || v.exact != (exact == 1))
			fail_msg("%s: kind %d, exact %d", text, v.kind, v.exact);
		if (v.exact)
			assert_string_equal(printed(column, &v, &b), text);
	}
	dynbuf_free(&scratch);
	dynbuf_free(&b);
}

static void integers(void **state)
{
	static const char *const good[] = {
		"0", "-1", "32767", "9223372036854775807", "-9223372036854775808", "2147483648"};
	static const char *const bad[] = {"",
					  "-",
					  "-0",
					  "00",
					  "+1",
					  "1.0",
					  "1e3",
					  " 1",
					  "1 ",
					  "9223372036854775808",
					  "-9223372036854775809",
					  "NaN"};
	struct schema_column bigint = column_of(CLASS_BIGINT, "bigint", 0);
	struct schema_column boolean = column_of(CLASS_BOOLEAN, "boolean", 0);

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		check(&bigint, good[i], BIND_INTEGER, 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check(&bigint, bad[i], BIND_INTEGER, -1);
	check(&boolean, "true", BIND_INTEGER, 1);
	check(&boolean, "false", BIND_INTEGER, 1);
	check(&boolean, "t", BIND_INTEGER, -1);
	check(&boolean, "TRUE", BIND_INTEGER, -1);
	check(&boolean, "nope", BIND_INTEGER, -1);
}

static void floats(void **state)
{
	static const char *const good[] = {
		"0",
		"0.1",
		"-2.5",
		"100",
		"1e+20",
		"0.0001",
		"1e-05",
		"1.5e-05",
		"123456789012345",
		"1e+15",
		"1.2345678901234568e+16",
		"0.30000000000000004",
		"5e-324",
		"2.2250738585072014e-308",
		"1.7976931348623157e+308",
		"Infinity",
		"-Infinity",
	};
	static const char *const inexact[] = {
		"-0", "1.0", "0.10", "1e5", "1e400", "1E+20", "10000000000000000"};
	static const char *const bad[] = {"",    "-",    ".5",  "5.", "1e",  "1e+",  "inf",
					  "nan", "0x10", "1,5", "1 ", "--1", "1.5.5"};
	struct schema_column wide = column_of(CLASS_FLOAT, "double precision", 0);
	struct schema_column single = column_of(CLASS_FLOAT, "real", 0);

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		check(&wide, good[i], BIND_REAL, 1);
	for (size_t i = 0; i < sizeof(inexact) / sizeof(inexact[0]); i++)
		check(&wide, inexact[i], BIND_REAL, strchr(inexact[i], 'E') ? -1 : 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check(&wide, bad[i], BIND_REAL, -1);
	check(&wide, "NaN", BIND_TEXT, 0);
	check(&single, "3.4028235e+38", BIND_REAL, 1);
	check(&single, "999999", BIND_REAL, 1);
	check(&single, "1e+06", BIND_REAL, 1);
	check(&single, "1.6777216e+07", BIND_REAL, 1);
	check(&single, "1e-45", BIND_REAL, 1);
}

static void decimals(void **state)
{
	static const char *const good[] = {"1500.00", "0.00",          "-0.50",          "-0.01",
					   "0.29",    "9999999999.99", "-9999999999.99", "1.10"};
	static const char *const inexact[] = {"1.5", "150000", "-0.00", "00.50", "1.005"};
	static const char *const bad[] = {"", "1e5", "1500.", ".50", "1,50", "x"};
	struct schema_column money = column_of(CLASS_DECIMAL, "numeric(12,2)", 2);
	struct schema_column whole = column_of(CLASS_DECIMAL, "numeric(15)", 0);
	struct schema_column small = column_of(CLASS_DECIMAL, "numeric(15,15)", 15);

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		check(&money, good[i], BIND_REAL, 1);
	for (size_t i = 0; i < sizeof(inexact) / sizeof(inexact[0]); i++)
		check(&money, inexact[i], BIND_REAL, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check(&money, bad[i], BIND_REAL, -1);
	check(&money, "NaN", BIND_TEXT, 0);
	check(&whole, "999999999999999", BIND_REAL, 1);
	check(&whole, "0", BIND_REAL, 1);
	check(&small, "0.123456789012345", BIND_REAL, 1);
	check(&small, "-0.999999999999999", BIND_REAL, 1);
	check(&small, "0.000000000000001", BIND_REAL, 1);
}

/* Every amount of money up to a thousand prints back, and is the double strtod() finds. */
static void all_small_amounts(void **state)
{
	struct schema_column money = column_of(CLASS_DECIMAL, "numeric(12,2)", 2);
	struct dynbuf scratch;
	struct bound_value v;
	char text[32];

	(void)state;
	dynbuf_init(&scratch, 64);
	for (int cents = 0; cents < 100000; cents++) {
		snprintf(text, sizeof(text), "%d.%02d", cents / 100, cents % 100);
		assert_true(value_decide(&money, text, strlen(text), &scratch, &v));
		assert_true(v.exact && v.kind == BIND_REAL);
		assert_true(v.real == strtod(text, NULL));
	}
	dynbuf_free(&scratch);
}

/* Random doubles: what PostgreSQL prints is the shortest that reads back, and so do we. */
static void random_floats(void **state)
{
	struct schema_column wide = column_of(CLASS_FLOAT, "double precision", 0);
	uint64_t seed = 0x9e3779b97f4a7c15;
	struct dynbuf b;

	(void)state;
	dynbuf_init(&b, 64);
	for (int i = 0; i < 100000; i++) {
		double value;

		seed = seed * 6364136223846793005 + 1442695040888963407;
		memcpy(&value, &seed, sizeof(value));
		if (isnan(value) || isinf(value))
			continue;
		dynbuf_reset(&b);
		assert_true(value_print_real(&wide, value, &b));
		assert_true(strtod(b.data, NULL) == value);
		assert_true(b.len <= 24);
	}
	dynbuf_free(&b);
}

static void blobs(void **state)
{
	struct schema_column blob = column_of(CLASS_BLOB, "bytea", 0);
	char all[2 + 512 + 1] = "\\x";

	(void)state;
	for (int i = 0; i < 256; i++)
		snprintf(all + 2 + 2 * i, 3, "%02x", i);
	check(&blob, all, BIND_BLOB, 1);
	check(&blob, "\\x", BIND_BLOB, 1);
	check(&blob, "\\x00ff", BIND_BLOB, 1);
	check(&blob, "\\x0", BIND_BLOB, -1);
	check(&blob, "\\xFF", BIND_BLOB, -1);
	check(&blob, "\\xzz", BIND_BLOB, -1);
	check(&blob, "00", BIND_BLOB, -1);
	check(&blob, "", BIND_BLOB, -1);
}

static void texts(void **state)
{
	static const char *const good[] = {"",
					   " ",
					   "0044-03-15T12:00:00.000 BC",
					   "infinity",
					   "0.000000000000000000001",
					   "[0:1]={7,8}",
					   "{\"a\":1,\"a\":2}",
					   "\xf0\x9f\xa9\xba"};
	struct schema_column text = column_of(CLASS_TEXT, "text", 0);

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		check(&text, good[i], BIND_TEXT, 1);
}

static void wire_form(void **state)
{
	struct schema_column text = column_of(CLASS_TEXT, "text", 0);
	struct schema_column bigint = column_of(CLASS_BIGINT, "bigint", 0);
	struct schema_column integer = column_of(CLASS_INTEGER, "integer", 0);
	struct dynbuf b;

	(void)state;
	dynbuf_init(&b, 256);
	value_add_json(&b, &text, "a\"\n", 3);
	value_add_json(&b, &bigint, "7", 1);
	value_add_json(&b, &integer, "7", 1);
	value_add_json(&b, &integer, NULL, 0);
	assert_string_equal(b.data, "\"a\\\"\\n\"\"7\"7null");
	dynbuf_free(&b);
}

/* docs/protocol.md: one row, a = x, b = NULL: SHA-256("V1:xN"). */
static void row_hashes(void **state)
{
	struct row_hash *h = row_hash_new();
	static char large[5000];
	uint64_t out;
	uint64_t again;

	(void)state;
	assert_non_null(h);
	assert_true(row_hash_begin(h) && row_hash_add(h, "x", 1) && row_hash_add(h, NULL, 0) &&
		    row_hash_end(h, &out));
	assert_true(out == 0x4080e317e16b1e1a);
	/* longer than what is gathered, between short ones */
	memset(large, 'y', sizeof(large));
	assert_true(row_hash_begin(h) && row_hash_add(h, "x", 1) &&
		    row_hash_add(h, large, sizeof(large)) && row_hash_add(h, "", 0) &&
		    row_hash_end(h, &out));
	assert_true(out == 0x3ec4c32fa53bf88d);
	assert_true(row_hash_begin(h) && row_hash_add(h, "x", 1) &&
		    row_hash_add(h, large, sizeof(large)) && row_hash_add(h, NULL, 0) &&
		    row_hash_end(h, &again));
	assert_true(out != again);
	row_hash_free(h);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers),      cmocka_unit_test(floats),
		cmocka_unit_test(decimals),      cmocka_unit_test(all_small_amounts),
		cmocka_unit_test(random_floats), cmocka_unit_test(blobs),
		cmocka_unit_test(texts),         cmocka_unit_test(wire_form),
		cmocka_unit_test(row_hashes),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("values", tests, NULL, NULL);
}
