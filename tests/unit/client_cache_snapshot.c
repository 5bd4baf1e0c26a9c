/* Snapshots: the first file, the merge into one that exists, what is refused; the session's
 * answers. */
#include "client_cache_support.h"

#define ALL_PEOPLE "SELECT id, login, score, seen FROM people ORDER BY id"

static void ask_fresh(struct fixture *f, const char *reason, const char *at)
{
	char message[256];

	snprintf(message, sizeof(message),
		 "{\"type\":\"resync_required\",\"reason\":\"%s\",\"at\":\"%s\",\"tables\":null}",
		 reason, at);
	assert_int_equal(say(f, message), CLINIC_CACHE_OK);
}

static clinic_cache_status fetched(struct fixture *f)
{
	return clinic_cache_snapshot_fetched(f->cache, f->now);
}

static void first_sync_makes_the_file(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_todo todo;

	assert_null(clinic_cache_cursor(f->cache));
	connect_link(f);
	assert_string_equal(sent(f), "{\"type\":\"request_sync\",\"cursor\":null,\"tables\":null}");
	ask_fresh(f, "no_cursor", C1);
	assert_int_equal(next(f, &todo), CLINIC_CACHE_FETCH_SNAPSHOT);
	assert_string_equal(todo.fetch_path, "/db/download?min=" C1);
	assert_string_equal(todo.fetch_file, f->part);
	/* once is enough */
	assert_int_equal(next(f, &todo), CLINIC_CACHE_WAIT);
	assert_int_not_equal(access(f->path, F_OK), 0);
	make_snapshot(f->part, C1, NULL);
	assert_int_equal(fetched(f), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|bob|~|0");
	assert_string_equal(query(f->path, "PRAGMA journal_mode"), "wal");
	assert_string_equal(query(f->path, "SELECT value FROM clinic_sync_meta"
					   " WHERE key = 'device_id'"),
			    clinic_cache_device_id(f->cache));
	assert_string_equal(query(f->path, "SELECT value FROM clinic_sync_meta WHERE key = 'url'"),
			    "ws://127.0.0.1:8080/ws");
	assert_int_not_equal(access(f->part, F_OK), 0);
	assert_string_equal(f->events, "connected - - -\n"
				       "table_sync_completed bills - -\n"
				       "table_sync_completed people - -\n"
				       "full_sync_completed - - -\n"
				       "ui_refresh_requested - - -\n");
	assert_non_null(strstr(sent(f), "\"cursor\":\"" C1 "\""));
}

static void remembers_device_and_url(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_options options = {.url = NULL};
	struct clinic_cache_todo todo;
	char device[65];

	strcpy(device, clinic_cache_device_id(f->cache));
	clinic_cache_close(f->cache);
	assert_int_equal(clinic_cache_open(f->path, &options, &f->cache, &f->err), CLINIC_CACHE_OK);
	assert_string_equal(clinic_cache_device_id(f->cache), device);
	assert_string_equal(clinic_cache_cursor(f->cache), C1);
	assert_int_equal(next(f, &todo), CLINIC_CACHE_CONNECT);
	assert_string_equal(todo.url, "ws://127.0.0.1:8080/ws");
}

static void merges_into_an_older_cache(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_view *view;
	int64_t rows;
	char hash[17];

	/* a reader that holds on to the old state must not notice */
	assert_int_equal(clinic_cache_view_open(f->path, &view, &f->err), CLINIC_CACHE_OK);
	ask_fresh(f, "too_old", C2);
	assert_non_null(strstr(f->events, "sync_error"));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|bob|~|0");
	fetch(f, C2,
	      "DELETE FROM people; INSERT INTO people VALUES('p2', 'ann', 2, 1), ('p3', 'x', 3, 0),"
	      " ('p4', NULL, NULL, NULL);"
	      "INSERT INTO clinic_sync_exact VALUES('people', '{\"id\":\"p4\"}', 'score', 'NaN');"
	      "UPDATE clinic_sync_table SET rows = 3 WHERE name = 'people'");
	assert_int_equal(fetched(f), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p2|ann|2.0|1\np3|x|3.0|0\np4|~|~|~");
	assert_string_equal(file_cursor(f), C2);
	assert_string_equal(query(f->path, "SELECT count(*) FROM sqlite_schema"
					   " WHERE name = 'people_login'"),
			    "1");
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_sync_exact"), "1");
	assert_string_equal(clinic_cache_view_cursor(view), C1);
	assert_int_equal(clinic_cache_view_digest(view, "people", &rows, hash, &f->err),
			 CLINIC_CACHE_OK);
	assert_int_equal(rows, 2);
	assert_int_equal(clinic_cache_view_refresh(view, &f->err), CLINIC_CACHE_OK);
	assert_string_equal(clinic_cache_view_cursor(view), C2);
	clinic_cache_view_close(view);
	become_ready(f);
	assert_int_equal(
		frame(f, C2, C3, CHANGE("people", "update", PERSON("p3"), "{\"login\":\"y\"}")),
		CLINIC_CACHE_OK);
}

static void follows_changed_tables(void **state)
{
	struct fixture *f = *state;

	ask_fresh(f, "table_changed", C2);
	/* bills is published no more, people got another key, pets came */
	fetch(f, C2,
	      "DROP TABLE bills; DELETE FROM clinic_sync_table; DROP TABLE people;"
	      "CREATE TABLE people(login TEXT NOT NULL, id TEXT, PRIMARY KEY(login));"
	      "CREATE TABLE pets(id TEXT NOT NULL, PRIMARY KEY(id));"
	      "INSERT INTO people VALUES('ann', 'p1'); INSERT INTO pets VALUES('rex');"
	      "INSERT INTO clinic_sync_table VALUES('people', "
	      "'{\"table\":\"people\",\"event\":\"e\","
	      "\"version\":3,\"key\":[\"login\"],\"columns\":[{\"name\":\"login\",\"type\":"
	      "\"text\","
	      "\"class\":\"text\",\"nullable\":false},{\"name\":\"id\",\"type\":\"text\","
	      "\"class\":\"text\",\"nullable\":true}],\"indexes\":[]}', 1),"
	      "('pets', '{\"table\":\"pets\",\"event\":\"e\",\"version\":1,\"key\":[\"id\"],"
	      "\"columns\":[{\"name\":\"id\",\"type\":\"text\",\"class\":\"text\","
	      "\"nullable\":false}],\"indexes\":[]}', 1)");
	assert_int_equal(fetched(f), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path,
				  "SELECT name FROM sqlite_schema WHERE type = 'table'"
				  " AND name NOT LIKE 'clinic%' AND name NOT LIKE 'sqlite%'"
				  " ORDER BY name"),
			    "people\npets");
	assert_string_equal(query(f->path, "SELECT * FROM people"), "ann|p1");
	become_ready(f);
	assert_int_equal(
		frame(f, C2, C3, CHANGE("people", "delete", "{\"login\":\"ann\"}", "null")),
		CLINIC_CACHE_OK);
}

static void keeps_what_an_app_added(void **state)
{
	struct fixture *f = *state;

	clinic_cache_close(f->cache);
	exec_sql(f->path, "ALTER TABLE people ADD COLUMN password TEXT;"
			  "UPDATE people SET password = 'secret ' || id;"
			  "CREATE TABLE own(x); INSERT INTO own VALUES(7)");
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	connect_link(f);
	assert_non_null(strstr(sent(f), C1));
	ask_fresh(f, "too_old", C2);
	fetch(f, C2,
	      "INSERT INTO people VALUES('p3', 'cid', 1, 1);"
	      "UPDATE clinic_sync_table SET rows = 3 WHERE name = 'people'");
	assert_int_equal(fetched(f), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT id, password FROM people ORDER BY id"),
			    "p1|secret p1\np2|secret p2\np3|~");
	assert_string_equal(query(f->path, "SELECT x FROM own"), "7");
}

/* An app's own file: its other tables stay; rows of unknown origin are never overwritten. */
static void takes_over_a_file_without_rows(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path,
		 "CREATE TABLE own(x); INSERT INTO own VALUES(7);"
		 "CREATE TABLE bills(id INTEGER PRIMARY KEY, amount REAL, seal TEXT NOT NULL)");
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":null"));
	ask_fresh(f, "no_cursor", C1);
	fetch(f, C1, NULL);
	assert_int_equal(fetched(f), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT x FROM own"), "7");
	assert_string_equal(query(f->path, "SELECT id, amount, seal FROM bills"), "1|1500.0|");
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|bob|~|0");
	become_ready(f);
	assert_int_equal(
		frame(f, C1, C2,
		      CHANGE("bills", "insert", "{\"id\":2}", "{\"id\":2,\"amount\":\"1.00\"}")),
		CLINIC_CACHE_OK);
	/* unpublished, the app's own table stays */
	ask_fresh(f, "table_changed", C3);
	fetch(f, C3, "DROP TABLE bills; DELETE FROM clinic_sync_table WHERE name = 'bills'");
	assert_int_equal(fetched(f), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT id FROM bills ORDER BY id"), "1\n2");
}

static void refuses_a_file_with_rows_of_unknown_origin(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_todo todo;

	exec_sql(f->path, "CREATE TABLE people(id TEXT PRIMARY KEY, login, score, seen);"
			  "INSERT INTO people(id) VALUES('mine')");
	connect_link(f);
	ask_fresh(f, "no_cursor", C1);
	fetch(f, C1, NULL);
	assert_int_equal(fetched(f), CLINIC_CACHE_ERR_USAGE);
	assert_non_null(strstr(clinic_cache_last_error(f->cache)->text, "table people"));
	assert_string_equal(query(f->path, "SELECT id FROM people"), "mine");
	assert_string_equal(query(f->path, "SELECT count(*) FROM sqlite_schema"
					   " WHERE name LIKE 'clinic%'"),
			    "0");
	assert_int_equal(next(f, &todo), CLINIC_CACHE_STOP);
}

/* The page with the rows of people; the pages of its indexes, which can be counted, stay. */
static void damage_rows(struct fixture *f)
{
	long page =
		atol(query(f->part, "SELECT rootpage FROM sqlite_schema WHERE name = 'people'"));
	FILE *file = fopen(f->part, "r+");

	assert_non_null(file);
	assert_int_equal(fseek(file, (page - 1) * 4096 + 4000, SEEK_SET), 0);
	assert_int_equal(fwrite("\xff\xff\xff\xff\xff\xff\xff\xff", 1, 8, file), 8);
	assert_int_equal(fseek(file, (page - 1) * 4096 + 8, SEEK_SET), 0);
	assert_int_equal(fwrite("\xff\xff\xff\xff", 1, 4, file), 4);
	fclose(file);
}

static void refuses_a_snapshot_that_lies(void **state)
{
	static const char *const lies[] = {
		"UPDATE clinic_sync_meta SET value = '2' WHERE key = 'format'",
		"DELETE FROM clinic_sync_meta WHERE key = 'cursor'",
		"UPDATE clinic_sync_table SET rows = 3 WHERE name = 'people'",
		"DROP TABLE bills",
		"DROP TABLE clinic_sync_exact",
		"ALTER TABLE people DROP COLUMN seen",
		"UPDATE clinic_sync_table SET schema = '{}' WHERE name = 'bills'",
		"DROP TABLE people; CREATE TABLE people(id TEXT, login TEXT, score REAL, seen "
		"INTEGER);"
		"INSERT INTO people(id) VALUES('p1'), ('p2')",
		"DROP TABLE bills; CREATE TABLE bills(id INTEGER PRIMARY KEY, amount NUMERIC);"
		"INSERT INTO bills VALUES(1, 2)",
		"CREATE VIEW v AS SELECT 1",
		"CREATE TRIGGER t AFTER INSERT ON bills BEGIN DELETE FROM people; END",
	};
	struct fixture *f = *state;

	connect_link(f);
	assert_non_null(sent(f));
	ask_fresh(f, "no_cursor", C1);
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		fetch(f, C1, lies[i]);
		if (fetched(f) == CLINIC_CACHE_OK)
			fail_msg("taken: %s", lies[i]);
		assert_int_not_equal(access(f->path, F_OK), 0);
		assert_int_not_equal(access(f->part, F_OK), 0);
	}
	f->now += 120000;
	fetch(f, C1, NULL);
	exec_sql(f->part, "PRAGMA user_version = 1");
	assert_int_equal(truncate(f->part, 5000), 0);
	assert_int_not_equal(fetched(f), CLINIC_CACHE_OK);
	fetch(f, C1, NULL);
	damage_rows(f);
	assert_int_not_equal(fetched(f), CLINIC_CACHE_OK);
	fetch(f, C1, NULL);
	assert_int_equal(fetched(f), CLINIC_CACHE_OK);
}

static void asks_for_the_tables_that_are_wanted(void **state)
{
	struct fixture *f = *state;
	static const char *const tables[] = {"people", "pa y,&"};
	struct clinic_cache_options options = {
		.url = "ws://127.0.0.1:8080/ws", .tables = tables, .table_count = 2};
	struct clinic_cache_todo todo;

	clinic_cache_close(f->cache);
	assert_int_equal(clinic_cache_open(f->path, &options, &f->cache, &f->err), CLINIC_CACHE_OK);
	connect_link(f);
	/* another set than the file's: its cursor is of no use */
	assert_string_equal(sent(f), "{\"type\":\"request_sync\",\"cursor\":null,"
				     "\"tables\":[\"people\",\"pa y,&\"]}");
	ask_fresh(f, "no_cursor", C2);
	assert_int_equal(next(f, &todo), CLINIC_CACHE_FETCH_SNAPSHOT);
	assert_string_equal(todo.fetch_path, "/db/download?min=" C2 "&tables=people,pa%20y%2C%26");
	make_snapshot(f->part, C2, NULL);
	assert_int_not_equal(fetched(f), CLINIC_CACHE_OK);
	clinic_cache_close(f->cache);
	options.table_count = 1;
	assert_int_equal(clinic_cache_open(f->path, &options, &f->cache, &f->err), CLINIC_CACHE_OK);
	connect_link(f);
	assert_non_null(sent(f));
	ask_fresh(f, "no_cursor", C2);
	fetch(f, C2, "DROP TABLE bills; DELETE FROM clinic_sync_table WHERE name = 'bills'");
	assert_int_equal(fetched(f), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT count(*) FROM sqlite_schema"
					   " WHERE name = 'bills'"),
			    "0");
	/* and they are remembered */
	clinic_cache_close(f->cache);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	connect_link(f);
	assert_string_equal(sent(f), "{\"type\":\"request_sync\",\"cursor\":\"" C2
				     "\",\"tables\":[\"people\"]}");
}

static void stops_when_it_is_refused(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_todo todo;

	assert_int_equal(
		say(f, "{\"type\":\"error\",\"code\":\"bad_access_code\",\"message\":\"no\"}"),
		CLINIC_CACHE_ERR_REFUSED);
	clinic_cache_disconnected(f->cache, f->now, 4401, "refused");
	f->now += 1000000;
	assert_int_equal(next(f, &todo), CLINIC_CACHE_STOP);
	assert_int_equal(clinic_cache_last_error(f->cache)->status, CLINIC_CACHE_ERR_REFUSED);
}

static void comes_back_with_jitter(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_todo todo;
	uint32_t longest = 0;

	for (int i = 0; i < 40; i++) {
		clinic_cache_disconnected(f->cache, f->now, 1006, "gone");
		assert_int_equal(next(f, &todo), CLINIC_CACHE_WAIT);
		assert_in_range(todo.wait_ms, 1000, 60000);
		if (todo.wait_ms > longest)
			longest = todo.wait_ms;
		f->now += todo.wait_ms;
		assert_int_equal(next(f, &todo), CLINIC_CACHE_CONNECT);
	}
	assert_in_range(longest, 10000, 60000);
}

static void notices_a_silent_link(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_todo todo;

	f->now += 34999;
	assert_true(clinic_cache_tick(f->cache, f->now));
	clinic_cache_alive(f->cache, f->now);
	f->now += 34999;
	assert_true(clinic_cache_tick(f->cache, f->now));
	assert_int_equal(next(f, &todo), CLINIC_CACHE_WAIT);
	assert_int_equal(todo.wait_ms, 1);
	f->now += 1;
	assert_false(clinic_cache_tick(f->cache, f->now));
}

static void knows_when_it_is_level(void **state)
{
	struct fixture *f = *state;

	assert_false(clinic_cache_is_level(f->cache));
	assert_int_equal(frame(f, C1, C2, ""), CLINIC_CACHE_OK);
	assert_false(clinic_cache_is_level(f->cache));
	/* more may come behind one that moves the cursor */
	assert_int_equal(say(f, "{\"type\":\"heartbeat\",\"from\":\"" C2 "\",\"to\":\"" C3
				"\",\"time\":\"t\"}"),
			 CLINIC_CACHE_OK);
	assert_false(clinic_cache_is_level(f->cache));
	assert_string_equal(file_cursor(f), C3);
	assert_int_equal(say(f, "{\"type\":\"heartbeat\",\"from\":\"" C3 "\",\"to\":\"" C3
				"\",\"time\":\"t\"}"),
			 CLINIC_CACHE_OK);
	assert_true(clinic_cache_is_level(f->cache));
	assert_int_equal(say(f, "{\"type\":\"heartbeat\",\"from\":\"" C3 "\",\"to\":\"" C4
				"\",\"time\":\"t\"}"),
			 CLINIC_CACHE_OK);
	assert_true(clinic_cache_is_level(f->cache));
	assert_int_equal(say(f, "{\"type\":\"lagged\",\"behind_bytes\":1}"), CLINIC_CACHE_OK);
	assert_false(clinic_cache_is_level(f->cache));
	assert_int_equal(say(f, "{\"type\":\"heartbeat\",\"from\":\"" C2 "\",\"to\":\"" C3
				"\",\"time\":\"t\"}"),
			 CLINIC_CACHE_ERR_PROTOCOL);
}

static void retries_a_failed_fetch(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_todo todo;
	size_t len;

	ask_fresh(f, "too_old", C2);
	assert_int_equal(next(f, &todo), CLINIC_CACHE_FETCH_SNAPSHOT);
	clinic_cache_snapshot_failed(f->cache, f->now, 503, "unreachable");
	assert_int_equal(next(f, &todo), CLINIC_CACHE_WAIT);
	assert_in_range(todo.wait_ms, 1000, 2000);
	/* the link may go meanwhile; the fetch goes on, the request waits for it */
	f->now += 2000;
	assert_int_equal(next(f, &todo), CLINIC_CACHE_FETCH_SNAPSHOT);
	clinic_cache_disconnected(f->cache, f->now, 1006, "gone");
	connect_link(f);
	assert_null(clinic_cache_next_frame(f->cache, &len));
	make_snapshot(f->part, C2, NULL);
	assert_int_equal(fetched(f), CLINIC_CACHE_OK);
	become_ready(f);
	ask_fresh(f, "too_old", C3);
	assert_int_equal(next(f, &todo), CLINIC_CACHE_FETCH_SNAPSHOT);
	clinic_cache_snapshot_failed(f->cache, f->now, 401, "unauthorized");
	assert_int_equal(next(f, &todo), CLINIC_CACHE_STOP);
}

#define READY(test) cmocka_unit_test_setup_teardown(test, setup_ready, teardown)
#define EMPTY(test) cmocka_unit_test_setup_teardown(test, setup_empty, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		EMPTY(first_sync_makes_the_file),
		READY(remembers_device_and_url),
		READY(merges_into_an_older_cache),
		READY(follows_changed_tables),
		READY(keeps_what_an_app_added),
		EMPTY(takes_over_a_file_without_rows),
		EMPTY(refuses_a_file_with_rows_of_unknown_origin),
		EMPTY(refuses_a_snapshot_that_lies),
		READY(asks_for_the_tables_that_are_wanted),
		READY(stops_when_it_is_refused),
		READY(comes_back_with_jitter),
		READY(notices_a_silent_link),
		READY(knows_when_it_is_level),
		READY(retries_a_failed_fetch),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("cache snapshots and session", tests, NULL, NULL);
}
