/* Frames: every operation, the cursor with them, swaps, half frames, divergence. */
#include "client_cache_support.h"

#include <signal.h>
#include <sys/resource.h>

#define ALL_PEOPLE "SELECT id, login, score, seen FROM people ORDER BY id"
#define FRAME(changes)                                                                             \
	"{\"type\":\"database_change\",\"from\":\"" C1 "\",\"to\":\"" C2                           \
	"\",\"changes\":[" changes "]}"
#define PUT_P1 "{\"table\":\"people\",\"operation\":\"put\",\"key\":{\"id\":\"p1\"},\"data\":null}"

static void applies_every_operation(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		frame(f, C1, C2,
		      CHANGE("people", "insert", PERSON("p3"), "{\"id\":\"p3\",\"login\":\"cid\",\"score\":\"2.5\",\"seen\":true}") "," CHANGE(
			      "people", "update", PERSON("p1"),
			      "{\"score\":\"7\"}") "," CHANGE("people", "delete", PERSON("p2"),
							      "null") "," CHANGE("people", "put",
										 PERSON("p4"),
										 "{\"id\":\"p4\","
										 "\"login\":null,"
										 "\"score\":null,"
										 "\"seen\":"
										 "false}") "," CHANGE("people",
												      "put",
												      PERSON("p9"),
												      "null") "," CHANGE("bills",
															 "truncate",
															 "null",
															 "null")),
		CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|7.0|1\np3|cid|2.5|1\np4|~|~|0");
	assert_string_equal(query(f->path, "SELECT count(*) FROM bills"), "0");
	assert_string_equal(file_cursor(f), C2);
	assert_string_equal(clinic_cache_cursor(f->cache), C2);
	assert_string_equal(query(f->path, "SELECT value FROM clinic_sync_meta"
					   " WHERE key = 'last_frame_at'"),
			    "2026-11-23T08:00:01.250Z");
}

static void binds_integers_and_money(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		frame(f, C1, C2,
		      CHANGE("bills", "insert", "{\"id\":7}", "{\"id\":7,\"amount\":\"0.30\"}")),
		CLINIC_CACHE_OK);
	assert_string_equal(query(f->path,
				  "SELECT id, amount, typeof(id), typeof(amount) FROM bills"
				  " WHERE id = 7"),
			    "7|0.3|integer|real");
}

static void swaps_unique_values(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		frame(f, C1, C2,
		      CHANGE("people", "update", PERSON("p1"), "{\"login\":\"bob\"}") "," CHANGE(
			      "people", "update", PERSON("p2"), "{\"login\":\"ann\"}")),
		CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|bob|1.5|1\np2|ann|~|0");
	assert_string_equal(file_cursor(f), C2);
	/* the fast form serves the next frame again */
	assert_int_equal(
		frame(f, C2, C3, CHANGE("people", "update", PERSON("p1"), "{\"seen\":false}")),
		CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|bob|1.5|0\np2|ann|~|0");
}

/* A row must not push out another one that holds its unique value for a moment longer. */
static void hands_a_unique_value_on(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(frame(f, C1, C2,
			       CHANGE("people", "insert", PERSON("p3"),
				      "{\"id\":\"p3\",\"login\":\"ann\",\"score\":null,\"seen\":"
				      "null}") "," CHANGE("people", "update", PERSON("p1"),
							  "{\"login\":\"zed\"}")),
			 CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|zed|1.5|1\np2|bob|~|0\np3|ann|~|~");
}

/* The slow form must end as the fast one would for every operation. */
static void slow_form_applies_every_operation(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		frame(f, C1, C2,
		      CHANGE("people", "delete", PERSON("p1"), "null") "," CHANGE("people", "put", PERSON("p1"), "{\"id\":\"p1\",\"login\":\"bob\",\"score\":\"NaN\",\"seen\":null}") "," CHANGE(
			      "people", "insert", PERSON("p5"),
			      "{\"id\":\"p5\",\"login\":\"ann\",\"score\":null,\"seen\":"
			      "null}") "," CHANGE("people", "update", PERSON("p5"),
						  "{\"seen\":true}") "," CHANGE("bills", "truncate",
										"null",
										"null") "," CHANGE("bills",
												   "insert",
												   "{\"id\":3}",
												   "{\"id\":3,\"amount\":\"1.00\"}") "," CHANGE("people",
																		"put",
																		PERSON("p2"),
																		"null")),
		CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|bob|NaN|~\np5|ann|~|1");
	assert_string_equal(query(f->path, "SELECT * FROM bills"), "3|1.0");
	assert_string_equal(query(f->path, "SELECT key, value FROM clinic_sync_exact"),
			    "{\"id\":\"p1\"}|NaN");
	assert_string_equal(query(f->path,
				  "SELECT name FROM sqlite_schema WHERE tbl_name = 'people'"
				  " ORDER BY name"),
			    "people\npeople_login\nsqlite_autoindex_people_1");
}

static void needs_from_to_be_the_cursor(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(frame(f, C2, C3, CHANGE("people", "delete", PERSON("p1"), "null")),
			 CLINIC_CACHE_ERR_PROTOCOL);
	assert_string_equal(query(f->path, "SELECT count(*) FROM people"), "2");
	assert_string_equal(file_cursor(f), C1);
	/* nothing more is believed on this link, and the driver is told to close it */
	assert_int_equal(frame(f, C1, C2, ""), CLINIC_CACHE_ERR_PROTOCOL);
	assert_false(clinic_cache_tick(f->cache, f->now));
	clinic_cache_disconnected(f->cache, f->now, 1002, "closed");
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":\"" C1 "\""));
}

static void applies_a_frame_whole_or_not_at_all(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		frame(f, C1, C2,
		      CHANGE("people", "update", PERSON("p1"), "{\"seen\":false}") "," CHANGE(
			      "people", "update", PERSON("p2"), "{\"score\":\"abc\"}")),
		CLINIC_CACHE_ERR_PROTOCOL);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|bob|~|0");
	assert_string_equal(file_cursor(f), C1);
	assert_null(strstr(f->events, "data_change_immediate"));
	assert_non_null(strstr(f->events, "sync_error"));
}

static void notices_divergence(void **state)
{
	static const char *const frames[] = {
		CHANGE("people", "update", PERSON("p7"), "{\"seen\":true}"),
		CHANGE("people", "delete", PERSON("p7"), "null"),
		CHANGE("people", "update", PERSON("p1"), "{\"shoe\":\"44\"}"),
		CHANGE("people", "insert", PERSON("p7"), "{\"id\":\"p7\"}"),
		CHANGE("pets", "delete", PERSON("p7"), "null"),
	};
	struct fixture *f = *state;
	char count[24];

	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		f->events[0] = '\0';
		assert_int_equal(frame(f, C1, C2, frames[i]), CLINIC_CACHE_ERR_PROTOCOL);
		assert_non_null(strstr(f->events, "sync_error"));
		/* the old data stays readable */
		assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|bob|~|0");
		snprintf(count, sizeof(count), "%zu", i + 1);
		assert_string_equal(query(f->path, "SELECT value FROM clinic_sync_meta"
						   " WHERE key = 'diverged'"),
				    count);
		clinic_cache_disconnected(f->cache, f->now, 1002, "closed");
		connect_link(f);
		assert_non_null(strstr(sent(f), "\"cursor\":null"));
		assert_int_equal(say(f, "{\"type\":\"resync_required\",\"reason\":\"no_cursor\","
					"\"at\":null,\"tables\":null}"),
				 CLINIC_CACHE_OK);
		fetch(f, C1, NULL);
		if (clinic_cache_snapshot_fetched(f->cache, f->now) != CLINIC_CACHE_OK)
			fail_msg("%s", clinic_cache_last_error(f->cache)->text);
		become_ready(f);
	}
}

static void ignores_updates_of_oversize_rows(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(frame(f, C1, C2,
			       CHANGE("people", "oversize", PERSON("p1"), "null") "," CHANGE(
				       "people", "update", PERSON("p1"), "{\"seen\":false}")),
			 CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p2|bob|~|0");
	assert_string_equal(query(f->path, "SELECT * FROM clinic_sync_oversize"),
			    "people|{\"id\":\"p1\"}");
	assert_int_equal(
		frame(f, C2, C3,
		      CHANGE("people", "put", PERSON("p1"),
			     "{\"id\":\"p1\",\"login\":\"ann\",\"score\":null,\"seen\":null}")),
		CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_sync_oversize"), "0");
	assert_int_equal(frame(f, C3, C1,
			       CHANGE("people", "oversize", PERSON("p1"),
				      "null") "," CHANGE("people", "delete", PERSON("p1"), "null")),
			 CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_sync_oversize"), "0");
	/* now it is gone for good, and an update of it is a divergence */
	assert_int_equal(
		frame(f, C1, C2, CHANGE("people", "update", PERSON("p1"), "{\"seen\":false}")),
		CLINIC_CACHE_ERR_PROTOCOL);
}

static void keeps_texts_that_a_column_cannot_hold(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		frame(f, C1, C2,
		      CHANGE("people", "update", PERSON("p1"), "{\"score\":\"-0\"}") "," CHANGE(
			      "people", "update", PERSON("p2"), "{\"score\":\"NaN\"}")),
		CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT key, column, value FROM clinic_sync_exact"
					   " ORDER BY key"),
			    "{\"id\":\"p1\"}|score|-0\n{\"id\":\"p2\"}|score|NaN");
	assert_int_equal(
		frame(f, C2, C3,
		      CHANGE("people", "update", PERSON("p1"), "{\"score\":\"0\"}") "," CHANGE(
			      "people", "delete", PERSON("p2"), "null")),
		CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_sync_exact"), "0");
}

static void adds_columns(void **state)
{
	struct fixture *f = *state;
	static const char wider[] =
		"{\"table\":\"bills\",\"event\":\"billing_change_immediate\",\"version\":2,"
		"\"key\":[\"id\"],\"columns\":["
		"{\"name\":\"id\",\"type\":\"integer\",\"class\":\"integer\",\"nullable\":false},"
		"{\"name\":\"amount\",\"type\":\"numeric(12,2)\",\"class\":\"decimal\","
		"\"nullable\":true},"
		"{\"name\":\"note\",\"type\":\"text\",\"class\":\"text\",\"nullable\":true}],"
		"\"indexes\":[{\"name\":\"bills_note\",\"columns\":[\"note\"],\"unique\":false}]}";
	char changes[2048];

	snprintf(changes, sizeof(changes),
		 "{\"event\":\"billing_change_immediate\",\"table\":\"bills\","
		 "\"operation\":\"schema\",\"key\":null,\"data\":%s},%s",
		 wider,
		 CHANGE("bills", "insert", "{\"id\":2}",
			"{\"id\":2,\"amount\":\"2.00\",\"note\":\"paid\"}"));
	assert_int_equal(frame(f, C1, C2, changes), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT id, amount, note FROM bills ORDER BY id"),
			    "1|1500.0|~\n2|2.0|paid");
	assert_string_equal(query(f->path, "SELECT count(*) FROM sqlite_schema"
					   " WHERE name = 'bills_note'"),
			    "1");
	assert_non_null(strstr(query(f->path, "SELECT schema FROM clinic_sync_table"
					      " WHERE name = 'bills'"),
			       "\"version\":2"));
}

static void leaves_an_apps_own_columns_alone(void **state)
{
	struct fixture *f = *state;

	clinic_cache_disconnected(f->cache, f->now, 0, "test");
	clinic_cache_close(f->cache);
	exec_sql(f->path, "ALTER TABLE people ADD COLUMN password TEXT NOT NULL DEFAULT 'x';"
			  "UPDATE people SET password = 'secret' WHERE id = 'p1'");
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	connect_link(f);
	become_ready(f);
	assert_int_equal(
		frame(f, C1, C2,
		      CHANGE("people", "put", PERSON("p1"),
			     "{\"id\":\"p1\",\"login\":\"bob\",\"score\":null,\"seen\":"
			     "null}") "," CHANGE("people", "update", PERSON("p2"),
						 "{\"login\":\"ann\"}") "," CHANGE("peopl"
										   "e",
										   "inser"
										   "t",
										   PERSON("p3"),
										   "{\"id"
										   "\":"
										   "\"p3\""
										   ",\"log"
										   "in\":"
										   "null,"
										   "\"scor"
										   "e\":"
										   "null,"
										   "\"seen"
										   "\":"
										   "null"
										   "}")),
		CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT id, login, password FROM people ORDER BY id"),
			    "p1|bob|secret\np2|ann|x\np3|~|x");
}

static void silences_the_apps_triggers_and_foreign_keys(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "CREATE TABLE log(what TEXT);"
			  "CREATE TRIGGER watch AFTER UPDATE ON people BEGIN"
			  " INSERT INTO log VALUES('fired'); END");
	assert_int_equal(
		frame(f, C1, C2, CHANGE("people", "update", PERSON("p1"), "{\"seen\":false}")),
		CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT count(*) FROM log"), "0");
}

static void notices_a_cursor_that_somebody_else_moved(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "UPDATE clinic_sync_meta SET value = '" C3 "' WHERE key = 'cursor'");
	assert_int_equal(
		frame(f, C1, C2, CHANGE("people", "update", PERSON("p1"), "{\"seen\":false}")),
		CLINIC_CACHE_ERR_PROTOCOL);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|bob|~|0");
}

static void notices_a_file_that_is_gone(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	assert_int_equal(frame(f, C1, C2, ""), CLINIC_CACHE_ERR_STORE);
	clinic_cache_disconnected(f->cache, f->now, 1000, "closed");
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":null"));
}

/* A file that may not grow is what a full disk looks like to SQLite. */
static void survives_a_full_disk(void **state)
{
	struct fixture *f = *state;
	struct rlimit before;
	struct rlimit tight;
	char changes[9000];
	char text[8001];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	snprintf(changes, sizeof(changes),
		 "{\"table\":\"people\",\"operation\":\"update\",\"key\":{\"id\":\"p1\"},"
		 "\"data\":{\"login\":\"%s\"}}",
		 text);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	tight = before;
	tight.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	assert_int_equal(frame(f, C1, C2, changes), CLINIC_CACHE_ERR_STORE);
	assert_false(clinic_cache_tick(f->cache, f->now));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|bob|~|0");
	assert_string_equal(file_cursor(f), C1);
	/* there is room again: it goes on where it was */
	clinic_cache_disconnected(f->cache, f->now, 1000, "closed");
	connect_link(f);
	become_ready(f);
	assert_int_equal(frame(f, C1, C2, changes), CLINIC_CACHE_OK);
	assert_string_equal(file_cursor(f), C2);
}

static void refuses_what_is_no_message(void **state)
{
	static const char *const messages[] = {
		"",
		"null",
		"[]",
		"{}",
		"{\"type\":7}",
		"{\"type\":\"database_change\"}",
		"{\"type\":\"database_change\",\"type\":\"heartbeat\"}",
		"{\"type\":\"heartbeat\"}",
		"{\"type\":\"ready\",\"cursor\":\"" C1 "\"}",
		"{\"type\":\"database_change\",\"from\":\"" C1 "\",\"to\":\"\",\"changes\":[]}",
		"{\"type\":\"database_change\",\"from\":\"" C1 "\",\"to\":\"" C2
		"\",\"changes\":[7]}",
		"{\"type\":\"database_change\",\"from\":\"" C1 "\",\"to\":\"" C2
		"\",\"changes\":{}}",
		"{\"type\":\"database_change\",\"from\":\"" C1 "\",\"to\":\"" C2 "\",\"changes\":["
		"{\"table\":\"people\",\"operation\":\"dance\",\"key\":{\"id\":\"p1\"}}]}",
		"{\"type\":\"database_change\",\"from\":\"" C1 "\",\"to\":\"" C2 "\",\"changes\":["
		"{\"table\":\"people\",\"operation\":\"delete\",\"key\":{\"id\":null}}]}",
		"{\"type\":\"database_change\",\"from\":\"" C1 "\",\"to\":\"" C2 "\",\"changes\":["
		"{\"table\":\"people\",\"operation\":\"delete\",\"key\":{\"login\":\"ann\"}}]}",
		"{\"type\":\"database_change\",\"from\":\"" C1 "\",\"to\":\"" C2 "\",\"changes\":["
		"{\"table\":\"people\",\"operation\":\"insert\",\"key\":{\"id\":\"p3\"},"
		"\"data\":null}]}",
		"{\"type\":\"database_change\",\"from\":\"" C1 "\",\"to\":\"" C2 "\",\"changes\":["
		"{\"table\":\"people\",\"operation\":\"update\",\"key\":{\"id\":\"p1\"},"
		"\"data\":{\"seen\":[]}}]}",
		FRAME("{\"table\":\"people\",\"operation\":\"update\",\"key\":{\"id\":\"p1\"},"
		      "\"data\":{\"login\":\"a\",\"login\":\"b\"}}"),
		FRAME("{\"table\":\"people\",\"operation\":\"delete\",\"key\":{\"id\":\"p1\"},"
		      "\"key\":{\"id\":\"p2\"}}"),
		FRAME("{\"table\":\"people\",\"operation\":\"delete\",\"key\":{\"id\":\"p1\","
		      "\"id\":\"p1\"}}"),
		FRAME("{\"table\":\"people\",\"operation\":\"update\",\"key\":{\"id\":\"p1\"},"
		      "\"data\":{\"login\":\"a\\u0000b\"}}"),
		FRAME("{\"table\":\"people\",\"operation\":\"update\",\"key\":{\"id\":\"p1\"},"
		      "\"data\":{\"login\":\"\xff\"}}"),
		FRAME("{\"table\":\"people\",\"operation\":\"update\",\"key\":{\"id\":\"p1\"},"
		      "\"data\":{\"seen\":1}}"),
		FRAME("{\"table\":\"bills\",\"operation\":\"delete\",\"key\":{\"id\":1.0}}"),
		FRAME("{\"table\":\"people\",\"operation\":\"put\",\"key\":{\"id\":\"p1\"}}"),
		FRAME("{\"table\":\"people\",\"operation\":\"schema\",\"data\":null}"),
		FRAME("[]"),
		FRAME("1"),
		FRAME(PUT_P1 "," PUT_P1 " 1"),
		FRAME(PUT_P1 "]],\"more\":[["),
		"{\"type\":\"database_change\",\"from\":\"" C1 "\",\"to\":\"" C2
		"\",\"changes\":[],"
		"\"changes\":[]}",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		if (say(f, messages[i]) != CLINIC_CACHE_ERR_PROTOCOL)
			fail_msg("taken: %s", messages[i]);
		assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|bob|~|0");
		clinic_cache_disconnected(f->cache, f->now, 1002, "closed");
		connect_link(f);
		become_ready(f);
	}
	assert_int_equal(say(f, "{\"type\":\"from_a_newer_relay\"}"), CLINIC_CACHE_OK);
}

/* Whatever form JSON gives a text, and wherever a member stands. */
static void reads_any_form_of_json(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		say(f, "{ \"changes\" : [ { \"more\":[{\"data\":{\"id\":[1]}}], \"data\" : {"
		       " \"seen\": true, \"login\": \"a\\\"\\u00e9\\ud83d\\ude00\\n\", \"score\":"
		       " \"1.5\", \"\\u0069d\": \"p\\u0033\" },\n\"key\":{\"id\":\"p\\u0033\"},"
		       "\"operation\":\"inse\\u0072t\",\"table\":\"peopl\\u0065\"},"
		       "{\"table\":\"people\",\"operation\":\"delete\",\"key\":{\"id\":\"p2\"}}],"
		       "\"type\":\"database_change\",\"to\":\"" C2 "\",\"from\":\"" C1 "\"}"),
		CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, ALL_PEOPLE),
			    "p1|ann|1.5|1\np3|a\"\xc3\xa9\xf0\x9f\x98\x80\n|1.5|1");
	assert_string_equal(f->events, "patient_data_change_immediate people insert"
				       " {\"id\":\"p3\"}\n"
				       "patient_data_change_immediate people delete"
				       " {\"id\":\"p2\"}\n"
				       "ui_refresh_requested - - -\n");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(applies_every_operation, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(binds_integers_and_money, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(swaps_unique_values, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(hands_a_unique_value_on, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(slow_form_applies_every_operation, setup_ready,
						teardown),
		cmocka_unit_test_setup_teardown(needs_from_to_be_the_cursor, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(applies_a_frame_whole_or_not_at_all, setup_ready,
						teardown),
		cmocka_unit_test_setup_teardown(notices_divergence, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(ignores_updates_of_oversize_rows, setup_ready,
						teardown),
		cmocka_unit_test_setup_teardown(keeps_texts_that_a_column_cannot_hold, setup_ready,
						teardown),
		cmocka_unit_test_setup_teardown(adds_columns, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(leaves_an_apps_own_columns_alone, setup_ready,
						teardown),
		cmocka_unit_test_setup_teardown(silences_the_apps_triggers_and_foreign_keys,
						setup_ready, teardown),
		cmocka_unit_test_setup_teardown(notices_a_cursor_that_somebody_else_moved,
						setup_ready, teardown),
		cmocka_unit_test_setup_teardown(notices_a_file_that_is_gone, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(survives_a_full_disk, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(refuses_what_is_no_message, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(reads_any_form_of_json, setup_ready, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("cache frames", tests, NULL, NULL);
}
