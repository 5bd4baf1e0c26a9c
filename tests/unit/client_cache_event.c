/* Events come after the COMMIT; a batch in parts is one frame. */
#include "client_cache_support.h"

/* The row and its cursor are in the file when the callback runs. */
static void look_into_the_file(const struct clinic_cache_event *event, struct fixture *f)
{
	if (strcmp(event->type, "patient_data_change_immediate") != 0)
		return;
	assert_string_equal(event->table, "people");
	assert_string_equal(event->origin, "device-7");
	assert_string_equal(event->cursor, C2);
	assert_string_equal(query(f->path, "SELECT login FROM people WHERE id = 'p1'"), "new");
	assert_string_equal(file_cursor(f), C2);
	assert_string_equal(clinic_cache_cursor(f->cache), C2);
	f->now++;
}

static void tells_after_the_commit(void **state)
{
	struct fixture *f = *state;
	uint64_t before = f->now;

	f->on_event = look_into_the_file;
	assert_int_equal(frame(f, C1, C2,
			       "{\"event\":\"patient_data_change_immediate\",\"table\":\"people\","
			       "\"operation\":\"update\",\"key\":{\"id\":\"p1\"},"
			       "\"data\":{\"login\":\"new\"},\"origin\":\"device-7\"}"),
			 CLINIC_CACHE_OK);
	assert_int_equal(f->now, before + 1);
	assert_string_equal(f->events,
			    "patient_data_change_immediate people update {\"id\":\"p1\"}\n"
			    "ui_refresh_requested - - -\n");
}

static void check_refresh(const struct clinic_cache_event *event, struct fixture *f)
{
	if (strcmp(event->type, "ui_refresh_requested") != 0)
		return;
	assert_int_equal(event->table_count, 2);
	assert_string_equal(event->tables[0], "bills");
	assert_string_equal(event->tables[1], "people");
	f->now++;
}

static void refreshes_once_per_frame(void **state)
{
	struct fixture *f = *state;
	uint64_t before = f->now;

	f->on_event = check_refresh;
	assert_int_equal(
		frame(f, C1, C2,
		      CHANGE("bills", "truncate", "null", "null") "," CHANGE(
			      "people", "delete", PERSON("p1"),
			      "null") "," CHANGE("people", "delete", PERSON("p2"),
						 "null") "," CHANGE("bills", "insert", "{\"id\":4}",
								    "{\"id\":4,\"amount\":null}")),
		CLINIC_CACHE_OK);
	assert_int_equal(f->now, before + 1);
	assert_string_equal(f->events, "data_change_immediate bills truncate -\n"
				       "data_change_immediate people delete {\"id\":\"p1\"}\n"
				       "data_change_immediate people delete {\"id\":\"p2\"}\n"
				       "data_change_immediate bills insert {\"id\":4}\n"
				       "ui_refresh_requested - - -\n");
	f->on_event = NULL;
	f->events[0] = '\0';
	assert_int_equal(frame(f, C2, C3, ""), CLINIC_CACHE_OK);
	assert_string_equal(f->events, "");
}

/* ---- parts ------------------------------------------------------------------------------ */

static clinic_cache_status part(struct fixture *f, int number, bool last, const char *from,
				const char *to, const char *changes)
{
	char message[4096];

	snprintf(message, sizeof(message),
		 "{\"type\":\"database_change\",\"from\":\"%s\",\"to\":\"%s\",\"time\":\"t\","
		 "\"part\":%d,\"last\":%s,\"changes\":[%s]}",
		 from, to, number, last ? "true" : "false", changes);
	return say(f, message);
}

#define BILL(id) CHANGE("bills", "insert", "{\"id\":" id "}", "{\"id\":" id ",\"amount\":\"1.00\"}")

static void applies_parts_at_once(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(part(f, 0, false, C1, C2, BILL("10")), CLINIC_CACHE_OK);
	assert_int_equal(part(f, 1, false, C1, C2, BILL("11") "," BILL("12")), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT count(*) FROM bills"), "1");
	assert_string_equal(file_cursor(f), C1);
	assert_string_equal(f->events, "");
	assert_false(clinic_cache_is_level(f->cache));
	/* an app writes meanwhile: no lock is held */
	exec_sql(f->path, "CREATE TABLE own(x)");
	assert_int_equal(part(f, 2, true, C1, C2, BILL("13")), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT count(*) FROM bills"), "5");
	assert_string_equal(file_cursor(f), C2);
	assert_string_equal(f->events, "data_change_immediate bills insert {\"id\":10}\n"
				       "data_change_immediate bills insert {\"id\":11}\n"
				       "data_change_immediate bills insert {\"id\":12}\n"
				       "data_change_immediate bills insert {\"id\":13}\n"
				       "ui_refresh_requested - - -\n");
	assert_int_equal(frame(f, C2, C3, BILL("14")), CLINIC_CACHE_OK);
}

static void parts_may_need_the_slow_form(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(part(f, 0, false, C1, C2,
			      CHANGE("people", "update", PERSON("p1"), "{\"login\":\"bob\"}")),
			 CLINIC_CACHE_OK);
	assert_int_equal(part(f, 1, true, C1, C2,
			      CHANGE("people", "update", PERSON("p2"), "{\"login\":\"ann\"}")),
			 CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT id, login FROM people ORDER BY id"),
			    "p1|bob\np2|ann");
}

static void throws_parts_away_with_the_link(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(part(f, 0, false, C1, C2, BILL("10")), CLINIC_CACHE_OK);
	clinic_cache_disconnected(f->cache, f->now, 1006, "gone");
	connect_link(f);
	become_ready(f);
	/* the second part alone is nothing */
	assert_int_equal(part(f, 1, true, C1, C2, BILL("11")), CLINIC_CACHE_ERR_PROTOCOL);
	assert_string_equal(query(f->path, "SELECT count(*) FROM bills"), "1");
	clinic_cache_disconnected(f->cache, f->now, 1002, "closed");
	connect_link(f);
	become_ready(f);
	assert_int_equal(part(f, 0, false, C1, C2, BILL("20")), CLINIC_CACHE_OK);
	assert_int_equal(part(f, 1, true, C1, C2, BILL("21")), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT id FROM bills ORDER BY id"), "1\n20\n21");
}

/* Parts are stepped over until the last one: whatever is in their texts, and wherever keys stand.
 */
static void takes_parts_of_any_form(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		part(f, 0, false, C1, C2,
		     CHANGE("people", "update", PERSON("p1"), "{\"login\":\"]}\\\"[{\\\\\"}")),
		CLINIC_CACHE_OK);
	assert_int_equal(say(f, " { \"changes\" : [ " BILL("10") " ] ,\n\"last\":false,\"part\":1,"
								 "\"to\":\"" C2 "\",\"from\":\"" C1
								 "\",\"x\":[{},\"}\",1.5,null],"
								 "\"type\":\"database_change\"} "),
			 CLINIC_CACHE_OK);
	assert_int_equal(say(f, "{\"type\":\"database_change\",\"from\":\"" C1 "\",\"to\":\"" C2
				"\",\"part\":2,\"last\":true,\"chang\\u0065s\":[" BILL("11") "]}"),
			 CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT login FROM people WHERE id = 'p1'"), "]}\"[{\\");
	assert_string_equal(query(f->path, "SELECT id FROM bills ORDER BY id"), "1\n10\n11");
	assert_string_equal(file_cursor(f), C2);
}

static void refuses_parts_that_are_damaged(void **state)
{
	static const char *const damaged[] = {
		"{\"a\":1,\"a\":2}",
		"{\"table\":}",
		"\"\\u12\"",
		"{]",
		"\"\\u0000\"",
		"5",
		"\"open",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		clinic_cache_status status = part(f, 0, false, C1, C2, damaged[i]);

		if (status == CLINIC_CACHE_OK)
			status = part(f, 1, true, C1, C2, BILL("11"));
		assert_int_equal(status, CLINIC_CACHE_ERR_PROTOCOL);
		assert_string_equal(query(f->path, "SELECT count(*) FROM bills"), "1");
		assert_string_equal(file_cursor(f), C1);
		clinic_cache_disconnected(f->cache, f->now, 1002, "closed");
		connect_link(f);
		become_ready(f);
	}
}

static void tells_only_the_tables_if_that_is_enough(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_options options = {
		.on_event = keep_event,
		.context = f,
		.no_change_events = true,
	};

	clinic_cache_close(f->cache);
	assert_int_equal(clinic_cache_open(f->path, &options, &f->cache, &f->err), CLINIC_CACHE_OK);
	connect_link(f);
	become_ready(f);
	f->events[0] = '\0';
	assert_int_equal(part(f, 0, false, C1, C2, BILL("10")), CLINIC_CACHE_OK);
	assert_int_equal(part(f, 1, true, C1, C2, BILL("11")), CLINIC_CACHE_OK);
	assert_string_equal(f->events, "ui_refresh_requested - - -\n");
	f->events[0] = '\0';
	assert_int_equal(frame(f, C2, C3, ""), CLINIC_CACHE_OK);
	assert_string_equal(f->events, "");
}

static void refuses_parts_out_of_turn(void **state)
{
	static const struct {
		int number;
		bool last;
		const char *from, *to;
	} second[] = {
		{0, true, C1, C2},
		{2, true, C1, C2},
		{1, true, C1, C3},
		{1, true, C2, C2},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i <= sizeof(second) / sizeof(second[0]); i++) {
		assert_int_equal(part(f, 0, false, C1, C2, BILL("10")), CLINIC_CACHE_OK);
		if (i < sizeof(second) / sizeof(second[0]))
			assert_int_equal(part(f, second[i].number, second[i].last, second[i].from,
					      second[i].to, BILL("11")),
					 CLINIC_CACHE_ERR_PROTOCOL);
		else
			assert_int_equal(frame(f, C1, C2, BILL("11")), CLINIC_CACHE_ERR_PROTOCOL);
		assert_string_equal(query(f->path, "SELECT count(*) FROM bills"), "1");
		clinic_cache_disconnected(f->cache, f->now, 1002, "closed");
		connect_link(f);
		become_ready(f);
	}
}

#define READY(test) cmocka_unit_test_setup_teardown(test, setup_ready, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		READY(tells_after_the_commit),
		READY(refreshes_once_per_frame),
		READY(applies_parts_at_once),
		READY(parts_may_need_the_slow_form),
		READY(throws_parts_away_with_the_link),
		READY(refuses_parts_out_of_turn),
		READY(takes_parts_of_any_form),
		READY(refuses_parts_that_are_damaged),
		READY(tells_only_the_tables_if_that_is_enough),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("cache events and parts", tests, NULL, NULL);
}
