/* Messages that ask for proofs and tables: what is taken from them, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "protocol_in.h"

static cs_status parse(const char *text, struct in_message *out, struct cs_error *err)
{
	err->text[0] = '\0';
	err->status = CS_OK;
	return protocol_in_parse(text, strlen(text), out, err);
}

static void a_request_for_a_proof(void **state)
{
	struct in_message m;
	struct cs_error err;
	const struct in_request_digest *r = &m.request_digest;

	(void)state;
	assert_int_equal(parse("{\"type\":\"request_digest\",\"scope\":\"slice\","
			       "\"cursor\":\"19-00c2d3e4f5061122\",\"tables\":[\"p\",\"b\",\"p\"],"
			       "\"counts\":{\"p\":100,\"b\":12},\"skip\":{\"z\":[\"y\"],"
			       "\"p\":[\"two\",\"One\",\"two\"],\"b\":[]},"
			       "\"proven\":true,\"repairs\":1,\"parked\":4}",
			       &m, &err),
			 CS_OK);
	assert_int_equal(m.type, IN_REQUEST_DIGEST);
	assert_false(r->whole);
	assert_int_equal(r->cursor.batch, 19);
	assert_int_equal(r->table_count, 2);
	assert_string_equal(r->tables[0], "b");
	assert_int_equal(r->held_count, 3);
	assert_string_equal(r->held[0].table, "b");
	assert_int_equal(r->held[0].rows, 12);
	assert_null(r->held[0].skip);
	assert_string_equal(r->held[1].skip, "[\"One\",\"two\"]");
	assert_false(r->held[2].counted);
	assert_int_equal(r->rows, 112);
	assert_true(r->proven);
	assert_int_equal(r->repairs, 1);
	assert_int_equal(r->parked, 4);
	in_message_free(&m);
}

static void what_is_optional_may_be_absent(void **state)
{
	struct in_message m;
	struct cs_error err;

	(void)state;
	assert_int_equal(parse("{\"type\":\"request_digest\",\"scope\":\"tables\","
			       "\"cursor\":\"19-00c2d3e4f5061122\",\"counts\":{}}",
			       &m, &err),
			 CS_OK);
	assert_true(m.request_digest.whole);
	assert_null(m.request_digest.tables);
	assert_false(m.request_digest.proven);
	in_message_free(&m);
	assert_int_equal(parse("{\"type\":\"request_table_sync\",\"table\":\"p\"}", &m, &err),
			 CS_OK);
	assert_string_equal(m.request_table_sync.table, "p");
	assert_int_equal(m.request_table_sync.id, 0);
	in_message_free(&m);
	assert_int_equal(parse("{\"type\":\"request_full_sync\",\"min\":null}", &m, &err), CS_OK);
	assert_null(m.request_full_sync.tables);
	assert_int_equal(m.request_full_sync.min.batch, 0);
	in_message_free(&m);
	assert_int_equal(parse("{\"type\":\"client_info\",\"device_id\":\"d\"}", &m, &err), CS_OK);
	assert_int_equal(m.client_info.sync_request, -1);
	in_message_free(&m);
	assert_int_equal(parse("{\"type\":\"client_info\",\"device_id\":\"d\",\"sync_request\":7}",
			       &m, &err),
			 CS_OK);
	assert_int_equal(m.client_info.sync_request, 7);
	in_message_free(&m);
}

#define DIGEST "{\"type\":\"request_digest\",\"scope\":\"slice\","
#define AT "\"cursor\":\"19-00c2d3e4f5061122\","

static void what_is_wrong_is_named_and_not_quoted(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"{\"type\":\"request_digest\"}", "scope"},
		{"{\"type\":\"request_digest\",\"scope\":\"all\"}", "scope"},
		{DIGEST "\"counts\":{}}", "cursor"},
		{DIGEST "\"cursor\":\"rubbish\",\"counts\":{}}", "cursor"},
		{DIGEST AT "\"tables\":null}", "counts"},
		{DIGEST AT "\"counts\":[]}", "counts"},
		{DIGEST AT "\"counts\":{\"Cruz\":-1}}", "counts"},
		{DIGEST AT "\"counts\":{\"Cruz\":\"1\"}}", "counts"},
		{DIGEST AT "\"counts\":{\"Cruz\":9223372036854775807}}", "counts"},
		{DIGEST AT "\"counts\":{\"\":1}}", "counts"},
		{DIGEST AT "\"counts\":{},\"tables\":[]}", "tables"},
		{DIGEST AT "\"counts\":{},\"tables\":[7]}", "tables"},
		{DIGEST AT "\"counts\":{},\"tables\":[\"a,b\"]}", "tables"},
		{"{\"type\":\"request_table_sync\",\"table\":\"a,b\"}", "table"},
		{DIGEST AT "\"counts\":{},\"skip\":[]}", "skip"},
		{DIGEST AT "\"counts\":{},\"skip\":{\"Cruz\":\"a\"}}", "skip"},
		{DIGEST AT "\"counts\":{},\"skip\":{\"Cruz\":[\"\"]}}", "skip"},
		{DIGEST AT "\"counts\":{},\"proven\":1}", "proven"},
		{DIGEST AT "\"counts\":{},\"repairs\":-1}", "repairs"},
		{DIGEST AT "\"counts\":{},\"parked\":1.5}", "parked"},
		{"{\"type\":\"request_table_sync\"}", "table"},
		{"{\"type\":\"request_table_sync\",\"table\":\"\"}", "table"},
		{"{\"type\":\"request_table_sync\",\"table\":\"Cruz\",\"id\":-3}", "id"},
		{"{\"type\":\"request_full_sync\",\"min\":\"Cruz\"}", "min"},
		{"{\"type\":\"request_full_sync\",\"tables\":\"Cruz\"}", "tables"},
		{"{\"type\":\"client_info\",\"device_id\":\"d\",\"sync_request\":\"7\"}",
		 "sync_request"},
	};
	struct in_message m;
	struct cs_error err;
	char key[40];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse(bad[i].text, &m, &err), CS_ERR_PROTOCOL);
		snprintf(key, sizeof(key), "key \"%s\"", bad[i].says);
		assert_non_null(strstr(err.text, key));
		assert_null(strstr(err.text, "Cruz"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_for_a_proof),
		cmocka_unit_test(what_is_optional_may_be_absent),
		cmocka_unit_test(what_is_wrong_is_named_and_not_quoted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
