/* Sync now, and requests from SQL: whole tables are proven, or fetched. */
#include "client_cache_prove_support.h"
#include "cache_internal.h"

/* ---- sync now --------------------------------------------------------------------------- */

static void press(struct fixture *f, enum clinic_cache_scope scope, const char *table)
{
	assert_int_equal(clinic_cache_sync_now(f->cache, scope, table, f->now), CLINIC_CACHE_OK);
	assert_int_equal(clinic_cache_sync_now_state(f->cache), CLINIC_CACHE_SYNC_NOW_RUNNING);
}

static void assert_state(struct fixture *f, clinic_cache_sync_now_result wanted)
{
	(void)tick(f, 0);
	assert_int_equal(clinic_cache_sync_now_state(f->cache), wanted);
}

static void sync_now_proves_whole_tables(void **state)
{
	struct fixture *f = *state;
	char slices[256];

	assert_int_equal(clinic_cache_sync_now_state(f->cache), CLINIC_CACHE_SYNC_NOW_NONE);
	press(f, CLINIC_CACHE_SCOPE_ALL, NULL);
	asks(f, 0, "\"scope\":\"tables\",\"cursor\":\"" C1 "\",\"tables\":[\"bills\",\"people\"]");
	digest_begin(
		f, 1, "tables",
		WHOLE("bills") ",{\"table\":\"people\",\"after\":null,\"upto\":{\"id\":\"p1\"}}");
	snprintf(slices, sizeof(slices), "%s,%s", server_slice("bills", NULL, NULL),
		 server_slice("people", NULL, "p1"));
	digest(f, 1, "tables", C1, slices, "", false);
	assert_state(f, CLINIC_CACHE_SYNC_NOW_RUNNING);
	digest_begin(f, 2, "tables",
		     "{\"table\":\"people\",\"after\":{\"id\":\"p1\"},\"upto\":null}");
	digest(f, 2, "tables", C1, server_slice("people", "p1", NULL), "", true);
	assert_state(f, CLINIC_CACHE_SYNC_NOW_DONE);
	assert_true(has_event(f, "sync_now_completed"));
	assert_int_equal(clinic_cache_sync_now_repairs(f->cache), 0);
	assert_null(clinic_cache_sync_now_problem(f->cache));
}

/* Only what came after the press counts. */
static void sync_now_is_newer_than_the_press(void **state)
{
	struct fixture *f = *state;

	asks(f, INTERVAL_MS, "\"scope\":\"slice\"");
	digest_begin(f, 1, "slice", WHOLE("people") "," WHOLE("bills"));
	press(f, CLINIC_CACHE_SCOPE_TABLE, "people");
	digest(f, 1, "slice", C1, both_tables(), "", true);
	asks(f, 0, "\"tables\":[\"people\"]");
	assert_state(f, CLINIC_CACHE_SYNC_NOW_RUNNING);
	digest_begin(f, 2, "tables", WHOLE("people"));
	/* pressed again: another proof */
	press(f, CLINIC_CACHE_SCOPE_TABLE, "people");
	digest(f, 2, "tables", C1, server_slice("people", NULL, NULL), "", true);
	assert_state(f, CLINIC_CACHE_SYNC_NOW_RUNNING);
	digest_begin(f, 3, "tables", WHOLE("people"));
	digest(f, 3, "tables", C1, server_slice("people", NULL, NULL), "", true);
	assert_state(f, CLINIC_CACHE_SYNC_NOW_DONE);
}

/* A pass that leaves a slice out is no proof. */
static void sync_now_asks_for_what_was_left_out(void **state)
{
	struct fixture *f = *state;

	press(f, CLINIC_CACHE_SCOPE_TABLE, "people");
	asks(f, 0, "\"scope\":\"tables\"");
	digest_begin(f, 1, "tables",
		     "{\"table\":\"people\",\"after\":{\"id\":\"p1\"},\"upto\":null}");
	digest(f, 1, "tables", C1, server_slice("people", "p1", NULL), "", true);
	assert_int_equal(clinic_cache_sync_now_state(f->cache), CLINIC_CACHE_SYNC_NOW_RUNNING);
	asks(f, 1000, "\"scope\":\"tables\"");
	digest_begin(f, 2, "tables", WHOLE("people"));
	digest(f, 2, "tables", C1, server_slice("people", NULL, NULL), "", true);
	assert_state(f, CLINIC_CACHE_SYNC_NOW_DONE);
}

static void sync_now_repairs(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "UPDATE people SET score = 2 WHERE id = 'p1'");
	press(f, CLINIC_CACHE_SCOPE_PATIENT_DATA, NULL);
	asks(f, 0, "\"tables\":[\"bills\",\"people\"]");
	digest_begin(f, 1, "tables", WHOLE("people") "," WHOLE("bills"));
	digest(f, 1, "tables", C1, both_tables(), "", true);
	asks(f, 0, "request_table_sync");
	assert_state(f, CLINIC_CACHE_SYNC_NOW_RUNNING);
	assert_int_equal(table_sync(f, 0, C1, wire_people("1"), true), CLINIC_CACHE_OK);
	assert_state(f, CLINIC_CACHE_SYNC_NOW_DONE);
	assert_int_equal(clinic_cache_sync_now_repairs(f->cache), 1);
	assert_same_people(f);
}

static void sync_now_fails_in_time(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_todo todo;

	/* no answer */
	press(f, CLINIC_CACHE_SCOPE_ALL, NULL);
	asks(f, 0, "\"scope\":\"tables\"");
	(void)tick(f, CLINIC_CACHE_SYNC_NOW_MS - 1);
	assert_int_equal(clinic_cache_sync_now_state(f->cache), CLINIC_CACHE_SYNC_NOW_RUNNING);
	(void)tick(f, 2);
	assert_int_equal(clinic_cache_sync_now_state(f->cache), CLINIC_CACHE_SYNC_NOW_FAILED);
	assert_non_null(strstr(clinic_cache_sync_now_problem(f->cache), "answer"));
	assert_true(has_event(f, "sync_error"));
	/* no link: it is tried at once, and again */
	clinic_cache_disconnected(f->cache, f->now, 1006, "gone");
	press(f, CLINIC_CACHE_SCOPE_ALL, NULL);
	assert_int_equal(next(f, &todo), CLINIC_CACHE_CONNECT);
	clinic_cache_disconnected(f->cache, f->now, 0, "refused");
	f->now += CLINIC_CACHE_SYNC_NOW_MS + 1;
	assert_true(clinic_cache_tick(f->cache, f->now));
	assert_int_equal(clinic_cache_sync_now_state(f->cache), CLINIC_CACHE_SYNC_NOW_FAILED);
	assert_non_null(strstr(clinic_cache_sync_now_problem(f->cache), "reached"));
}

static void sync_now_outlives_a_broken_link(void **state)
{
	struct fixture *f = *state;

	press(f, CLINIC_CACHE_SCOPE_TABLE, "people");
	asks(f, 0, "\"scope\":\"tables\"");
	clinic_cache_disconnected(f->cache, f->now, 1006, "gone");
	/* as long as the link comes back in time */
	f->now -= 100000;
	connect_link(f);
	become_ready(f);
	asks(f, 0, "\"scope\":\"tables\"");
	digest_begin(f, 1, "tables", WHOLE("people"));
	digest(f, 1, "tables", C1, server_slice("people", NULL, NULL), "", true);
	assert_state(f, CLINIC_CACHE_SYNC_NOW_DONE);
}

static void sync_now_takes_only_tables_of_the_file(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		clinic_cache_sync_now(f->cache, CLINIC_CACHE_SCOPE_TABLE, "nobody", f->now),
		CLINIC_CACHE_ERR_USAGE);
	assert_int_equal(clinic_cache_sync_now(f->cache, CLINIC_CACHE_SCOPE_TABLE, NULL, f->now),
			 CLINIC_CACHE_ERR_USAGE);
	assert_int_equal(clinic_cache_sync_now_state(f->cache), CLINIC_CACHE_SYNC_NOW_NONE);
	/* the relay does not know it any more */
	press(f, CLINIC_CACHE_SCOPE_TABLE, "people");
	asks(f, 0, "\"scope\":\"tables\"");
	assert_int_equal(say(f, "{\"type\":\"error\",\"code\":\"no_such_table\",\"message\":\"m\","
				"\"table\":\"people\"}"),
			 CLINIC_CACHE_OK);
	assert_state(f, CLINIC_CACHE_SYNC_NOW_FAILED);
}

/* Somebody works against us: the table waits, and the reason is said at once. */
static void sync_now_says_that_a_table_waits(void **state)
{
	struct fixture *f = *state;
	const char *text;
	int found = 0, id = 0;

	while (found < 10) {
		if (!repair_is_wanted(f->cache, "people"))
			exec_sql(f->path, "UPDATE people SET score = 9 WHERE id = 'p2'");
		f->events[0] = '\0';
		text = tick(f, 1000);
		if (text && strstr(text, "request_table_sync")) {
			assert_int_equal(table_sync(f, 0, C1, wire_people("1"), true),
					 CLINIC_CACHE_OK);
		} else if (text) {
			digest_begin(f, ++id, "slice", WHOLE("people") "," WHOLE("bills"));
			digest(f, id, "slice", C1, both_tables(), "", true);
		}
		found += has_event(f, "table_differs people");
	}
	/* it would be tried again in some minutes */
	press(f, CLINIC_CACHE_SCOPE_TABLE, "people");
	assert_state(f, CLINIC_CACHE_SYNC_NOW_FAILED);
	assert_non_null(strstr(clinic_cache_sync_now_problem(f->cache),
			       "table people was fetched in vain too often"));
	/* another table is no worse for it */
	press(f, CLINIC_CACHE_SCOPE_TABLE, "bills");
	asks(f, 0, "\"tables\":[\"bills\"]");
	digest_begin(f, 1, "tables", WHOLE("bills"));
	digest(f, 1, "tables", C1, server_slice("bills", NULL, NULL), "", true);
	assert_state(f, CLINIC_CACHE_SYNC_NOW_DONE);
}

/* ---- from SQL --------------------------------------------------------------------------- */

static void sql_asks_for_a_sync(void **state)
{
	struct fixture *f = *state;

	/* what was asked for before the file was there is done */
	assert_string_equal(meta(f, "sync_request"), "100");
	assert_int_equal(say(f, "{\"type\":\"sync_requested\",\"id\":112,\"kind\":\"sync\","
				"\"tables\":[\"people\",\"other\"]}"),
			 CLINIC_CACHE_OK);
	asks(f, 0, "\"scope\":\"tables\",\"cursor\":\"" C1 "\",\"tables\":[\"people\"]");
	digest_begin(f, 1, "tables", WHOLE("people"));
	assert_string_equal(meta(f, "sync_request"), "100");
	digest(f, 1, "tables", C1, server_slice("people", NULL, NULL), "", true);
	assert_state(f, CLINIC_CACHE_SYNC_NOW_DONE);
	assert_string_equal(meta(f, "sync_request"), "112");
	/* of tables that are not here only the id is kept; old ones are done */
	assert_int_equal(say(f, "{\"type\":\"sync_requested\",\"id\":113,\"kind\":\"table_sync\","
				"\"tables\":[\"other\"]}"),
			 CLINIC_CACHE_OK);
	assert_string_equal(meta(f, "sync_request"), "113");
	assert_int_equal(
		say(f,
		    "{\"type\":\"sync_requested\",\"id\":112,\"kind\":\"sync\",\"tables\":null}"),
		CLINIC_CACHE_OK);
	assert_null(tick(f, 0));
}

static void sql_asks_for_a_table(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(say(f, "{\"type\":\"sync_requested\",\"id\":112,\"kind\":\"table_sync\","
				"\"tables\":[\"people\"]}"),
			 CLINIC_CACHE_OK);
	asks(f, 0, "request_table_sync");
	assert_int_equal(table_sync(f, 0, C1, wire_people("1"), true), CLINIC_CACHE_OK);
	assert_state(f, CLINIC_CACHE_SYNC_NOW_DONE);
	assert_string_equal(meta(f, "sync_request"), "112");
	assert_true(has_event(f, "table_sync_completed people"));
	/* nothing differed, so nothing was repaired */
	assert_string_equal(meta(f, "repairs"), "");
}

static void what_was_done_is_said(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_todo todo;

	clinic_cache_disconnected(f->cache, f->now, 1006, "gone");
	f->now += 120000;
	assert_int_equal(next(f, &todo), CLINIC_CACHE_CONNECT);
	clinic_cache_connected(f->cache, f->now);
	assert_non_null(strstr(sent(f), "\"sync_request\":100"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PROVING(sync_now_proves_whole_tables),
		PROVING(sync_now_is_newer_than_the_press),
		PROVING(sync_now_asks_for_what_was_left_out),
		PROVING(sync_now_repairs),
		PROVING(sync_now_fails_in_time),
		PROVING(sync_now_outlives_a_broken_link),
		PROVING(sync_now_takes_only_tables_of_the_file),
		PROVING(sync_now_says_that_a_table_waits),
		PROVING(sql_asks_for_a_sync),
		PROVING(sql_asks_for_a_table),
		PROVING(what_was_done_is_said),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("sync now", tests, NULL, NULL);
}
