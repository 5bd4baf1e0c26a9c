/* One table anew in a file that an app uses, too: its schema, its affinities, its connections. */
#include "client_cache_app_support.h"
#include "client_cache_prove_support.h"
#include "cache_repair.h"

#define MANY 13000

/* Requests of the server's for these tables, one message. */
static void fetch_requested(struct fixture *f, int id, const char *tables)
{
	char message[256];

	snprintf(message, sizeof(message),
		 "{\"type\":\"sync_requested\",\"id\":%d,\"kind\":\"table_sync\",\"tables\":[%s]}",
		 id, tables);
	assert_int_equal(say(f, message), CLINIC_CACHE_OK);
}

/* ---- the tables are read anew in the midst of it ----------------------------------------------
 */

/* The app's DDL is found by the very write that remembers the first of two wishes. */
static void wishes_while_the_app_changes_its_schema(void **state)
{
	struct fixture *f = *state;
	size_t len;
	const char *text;

	exec_sql(f->path, "CREATE TABLE other(x)");
	fetch_requested(f, 105, "\"people\",\"bills\"");
	assert_string_equal(meta(f, "repair_due"), "[\"bills\",\"people\"]");
	f->now += 2000;
	assert_true(clinic_cache_tick(f->cache, f->now));
	text = clinic_cache_next_frame(f->cache, &len);
	assert_non_null(text);
	assert_string_equal(text, "{\"type\":\"request_table_sync\",\"table\":\"bills\"}");
}

/* ---- keys that SQLite makes something else of -------------------------------------------------
 */

static void many_bills_come(struct fixture *f)
{
	char *message = malloc((size_t)MANY * 40 + 4096);
	size_t at;

	assert_non_null(message);
	at = (size_t)sprintf(message,
			     "{\"type\":\"table_sync\",\"table\":\"bills\",\"cursor\":\"" C1
			     "\",\"part\":0,\"schema\":" BILLS_SCHEMA ",\"rows\":[");
	for (int i = 1; i <= MANY; i++)
		at += (size_t)sprintf(message + at, "%s{\"id\":%d,\"amount\":\"5.50\"}",
				      i > 1 ? "," : "", i);
	sprintf(message + at, "],\"oversize\":[],\"last\":true}");
	assert_int_equal(say(f, message), CLINIC_CACHE_OK);
	free(message);
}

/* The server's numbers are texts here, and in another order. */
static void ends_where_keys_are_sorted_otherwise(void **state)
{
	struct fixture *f;
	char more[512];
	size_t len;

	snprintf(more, sizeof(more),
		 "DELETE FROM bills; WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g"
		 " WHERE i < %d) INSERT INTO bills SELECT i, 5.5 FROM g;"
		 "UPDATE clinic_sync_table SET rows = %d WHERE name = 'bills'",
		 MANY, MANY);
	f = start_app("CREATE TABLE bills(id TEXT PRIMARY KEY, amount REAL)", more);
	*state = f;
	clinic_cache_disconnected(f->cache, f->now, 1006, "gone");
	f->connected_more = ",\"sync_interval_s\":30";
	connect_link(f);
	become_ready(f);
	exec_sql(f->path, "DELETE FROM bills WHERE id = '917'");
	fetch_requested(f, 5, "\"bills\"");
	f->now += 2000;
	assert_true(clinic_cache_tick(f->cache, f->now));
	assert_non_null(strstr(sent(f), "request_table_sync"));
	f->events[0] = '\0';
	many_bills_come(f);
	for (int i = 0; i < 20 && !strstr(f->events, "table_sync_completed bills"); i++) {
		assert_true(clinic_cache_tick(f->cache, f->now));
		while (clinic_cache_next_frame(f->cache, &len))
			;
	}
	assert_non_null(strstr(f->events, "table_sync_completed bills"));
	assert_string_equal(query(f->path, "SELECT count(*), count(DISTINCT typeof(id)),"
					   " min(typeof(id)) FROM bills"),
			    "13000|1|text");
}

/* Whatever it is that keeps a walk from its end: it takes all rows then. */
static void walks_no_further_than_there_is_to_walk(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache *c = f->cache;
	const struct cached_table *people = tables_find(&c->tables, "people", 6);
	struct compare_walk walk;
	struct cs_error err = {0};

	assert_int_equal(compare_begin(c, people, 2, &walk, &err), CS_OK);
	assert_in_range(walk.steps_left, 1, 2000);
	assert_int_equal(compare_step(c, people, server, &walk, &err), CS_OK);
	assert_true(walk.over && !walk.whole);
	compare_end(c, &walk);
	assert_int_equal(compare_begin(c, people, 2, &walk, &err), CS_OK);
	walk.steps_left = 0;
	assert_int_equal(compare_step(c, people, server, &walk, &err), CS_OK);
	assert_true(walk.over && walk.whole);
	compare_end(c, &walk);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(wishes_while_the_app_changes_its_schema,
						setup_proving, teardown),
		cmocka_unit_test_teardown(ends_where_keys_are_sorted_otherwise, teardown),
		cmocka_unit_test_setup_teardown(walks_no_further_than_there_is_to_walk,
						setup_proving, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("repairs beside an app", tests, NULL, NULL);
}
