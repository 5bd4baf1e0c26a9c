/* The state machine of a device, without sockets: what it answers, and what it sends next. */
#include "relay_device_support.h"

static void a_wrong_code_is_refused(void **state)
{
	struct world *w = *state;

	say(w, "{\"type\":\"client_info\",\"device_id\":\"d-1\",\"access_code\":\"open\"}");
	expect(w, "connected");
	expect_with(w, "error", "code", "bad_access_code");
	assert_int_equal(w->device->close_code, CLOSE_BAD_ACCESS_CODE);
	expect_nothing(w);
	request(w, 10);
	expect_nothing(w);
}

static void a_header_stands_for_the_code(void **state)
{
	struct world *w = *state;

	w->device->authorized = true;
	say(w, "{\"type\":\"client_info\",\"device_id\":\"d-1\"}");
	assert_int_equal(w->device->state, DEVICE_WAIT_REQUEST);
}

static void bad_messages_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"null",
		"[]",
		"{}",
		"{\"type\":7}",
		"{\"type\":\"no\"}",
		"{\"type\":\"client_info\"}",
		"{\"type\":\"client_info\",\"device_id\":\"\"}",
		"{\"type\":\"client_info\",\"device_id\":\"a b\"}",
		"{\"type\":\"client_info\",\"device_id\":7}",
		"{\"type\":\"client_info\",\"device_id\":\"a\",\"device_id\":\"b\"}",
		"{\"type\":\"client_info\",\"device_id\":\"a\\u0000b\"}",
		"{\"type\":\"request_sync\",\"cursor\":null}",
		"{\"type\":\"client_info\",\"device_id\":\"a\"} x",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct world *w = *state;

		say(w, bad[i]);
		expect(w, "connected");
		expect_with(w, "error", "code", "bad_message");
		assert_int_equal(w->device->close_code, CLOSE_BAD_MESSAGE);
		tear_down(state);
		set_up(state);
	}
}

static void client_info_has_a_deadline(void **state)
{
	struct world *w = *state;

	w->now_ms += (uint64_t)w->config.client_info_timeout_s * 1000 - 1;
	device_tick(w->device, w->now_ms);
	assert_int_equal(w->device->close_code, 0);
	device_tick(w->device, ++w->now_ms);
	expect(w, "connected");
	expect_with(w, "error", "code", "client_info_timeout");
	assert_int_equal(w->device->close_code, CLOSE_CLIENT_INFO_TIMEOUT);
}

static void a_flood_is_refused(void **state)
{
	struct world *w = *state;

	say_hello(w);
	for (int i = 0; i < 150; i++) {
		say(w, "{\"type\":\"request_sync\",\"cursor\":null}");
		expect(w, "resync_required");
	}
	for (int i = 0; i < 60; i++)
		say(w, "{\"type\":\"request_sync\",\"cursor\":null}");
	assert_int_equal(w->device->state, DEVICE_REFUSED);
}

static void without_a_cursor_a_snapshot_is_needed(void **state)
{
	struct world *w = *state;

	say_hello(w);
	say(w, "{\"type\":\"request_sync\",\"cursor\":null,\"tables\":null}");
	expect_with(w, "resync_required", "reason", "no_cursor");
	say(w, "{\"type\":\"request_sync\",\"cursor\":\"rubbish\"}");
	expect_with(w, "resync_required", "reason", "bad_cursor");
	assert_int_equal(w->device->state, DEVICE_WAIT_REQUEST);
}

static void unknown_tables_are_refused_once_that_is_sure(void **state)
{
	struct world *w = *state;

	say_hello(w);
	w->tables_known = false;
	say(w, "{\"type\":\"request_sync\",\"cursor\":null,\"tables\":[\"a\",\"b\",\"a\"]}");
	expect_nothing(w);
	assert_int_equal(w->device->request.table_count, 2);
	device_tables_checked(w->device, NULL, w->now_ms);
	expect_with(w, "resync_required", "reason", "no_cursor");
	say(w, "{\"type\":\"request_sync\",\"cursor\":null,\"tables\":[\"a\"]}");
	device_tables_checked(w->device, "a", w->now_ms);
	expect_with(w, "error", "code", "bad_table");
	assert_int_equal(w->device->close_code, CLOSE_BAD_TABLE);
}

static void who_was_refused_asks_for_nothing_any_more(void **state)
{
	struct world *w = *state;
	char text[200], cursor[CURSOR_TEXT_BYTES];
	struct cursor c = cursor_of(10);

	say_hello(w);
	w->tables_known = false;
	snprintf(text, sizeof(text),
		 "{\"type\":\"request_sync\",\"cursor\":\"%s\",\"tables\":[\"a\"]}",
		 cursor_format(&c, cursor));
	say(w, text);
	say(w, "rubbish");
	assert_int_equal(w->device->state, DEVICE_REFUSED);
	device_tables_checked(w->device, NULL, w->now_ms);
	assert_int_equal(w->device->state, DEVICE_REFUSED);
	assert_null(w->device->group);
	expect_with(w, "error", "code", "bad_message");
	expect_nothing(w);
}

static void frames_follow_ready(void **state)
{
	struct world *w = *state;
	char at[CURSOR_TEXT_BYTES];
	struct cursor c = cursor_of(10);

	go_live(w);
	batches(w, 11, 12, 20);
	expect_with(w, "database_change", "from", cursor_format(&c, at));
	c = cursor_of(11);
	expect_with(w, "database_change", "from", cursor_format(&c, at));
	c = cursor_of(12);
	assert_true(cursor_equal(&w->device->cursor, &c));
	expect_nothing(w);
	assert_int_equal(w->catch_ups, 0);
}

static void a_recent_cursor_resumes_from_memory(void **state)
{
	struct world *w = *state;

	go_live(w);
	batches(w, 11, 14, 20);
	request(w, 12);
	expect(w, "ready");
	assert_int_equal(w->device->state, DEVICE_CATCH_UP);
	expect(w, "database_change");
	expect(w, "database_change");
	expect_level(w);
	assert_int_equal(w->device->state, DEVICE_LIVE);
	assert_int_equal(w->catch_ups, 0);
}

/* Whole batches wait for the end of the poll: they come first, then it is level. */
static void who_comes_during_a_poll_is_not_level_yet(void **state)
{
	struct world *w = *state;

	say_hello(w);
	feed_one_batch(w->feed, 11, "payments", 1, 100);
	request(w, 10);
	expect(w, "ready");
	expect_nothing(w);
	feed_poll_end(w->feed, w->now_ms);
	expect(w, "database_change");
	expect_level(w);
}

/* For one line in the log not all of a ring is walked. */
static void a_long_way_is_not_counted_to_its_end(void **state)
{
	struct world *w = *state;
	char *said = NULL;
	size_t len;
	FILE *out = open_memstream(&said, &len);

	w->limits.ring_bytes = 4 << 20;
	batches(w, 11, 1500, 20);
	say_hello(w);
	log_set_stream(out);
	log_set_level(LOG_LEVEL_INFO);
	request(w, 10);
	request(w, 510);
	log_set_level(LOG_LEVEL_ERROR);
	log_set_stream(NULL);
	fclose(out);
	assert_non_null(strstr(said, "Synced at least 1000 records from table payments"));
	assert_non_null(strstr(said, "Synced 990 records from table payments"));
	free(said);
}

static struct feed_entry *log_entry(int64_t from, int64_t to)
{
	struct feed_step step = {cursor_of(from), cursor_of(to), "2026-11-23T08:00:00.000Z"};
	struct feed_entry *e = feed_entry_of_heartbeat(&step);

	assert_non_null(e);
	return e;
}

static void an_old_cursor_is_read_from_the_log_then_from_memory(void **state)
{
	struct world *w = *state;
	struct table_counts none = {0};

	say_hello(w);
	request(w, 7);
	assert_int_equal(w->catch_ups, 1);
	expect_nothing(w);
	device_cursor_good(w->device);
	device_catch_up_entry(w->device, log_entry(7, 9));
	expect(w, "ready");
	expect(w, "heartbeat");
	expect_nothing(w);
	device_catch_up_entry(w->device, log_entry(9, 10));
	device_catch_up_level(w->device, &none, w->now_ms);
	batches(w, 11, 11, 20);
	expect(w, "heartbeat");
	expect(w, "database_change");
	expect_level(w);
	assert_int_equal(w->device->state, DEVICE_LIVE);
}

/*
 * After a restart of the relay: nobody has a place in memory, for there is
 * none yet; then the ring is filled from an older cursor.
 */
/* Looking for its place makes an entry of what waits, and an entry comes to all. */
static void who_asks_between_two_entries_is_not_sent_what_it_has(void **state)
{
	struct world *w = *state;

	say_hello(w);
	feed_one_batch(w->feed, 11, "payments", 1, 100);
	feed_one_batch(w->feed, 12, "payments", 1, 100);
	w->writes_at_once = true;
	request(w, 12);
	assert_int_equal(w->written, 0);
	assert_int_equal(w->device->state, DEVICE_LIVE);
	batches(w, 13, 13, 100);
	assert_int_equal(w->written, 1);
}

static void who_waited_for_the_database_goes_on_from_memory(void **state)
{
	struct world *w = *state;
	struct cursor none = {0}, older = cursor_of(5);

	feed_start(w->feed, &none);
	say_hello(w);
	request(w, 7);
	assert_int_equal(w->catch_ups, 1);
	device_database_back(w->device, w->now_ms); /* no place yet: goes on waiting */
	assert_true(w->device->from_log);
	feed_start(w->feed, &older);
	batches(w, 6, 9, 20);
	device_database_back(w->device, w->now_ms);
	expect(w, "ready");
	expect(w, "database_change");
	expect(w, "database_change");
	expect_level(w);
	assert_int_equal(w->catch_ups, 1);
}

static void the_log_is_asked_again_after_a_failure(void **state)
{
	struct world *w = *state;

	say_hello(w);
	w->catch_up_busy = true;
	request(w, 7);
	assert_int_equal(w->catch_ups, 1);
	device_tick(w->device, w->now_ms + 100);
	assert_int_equal(w->catch_ups, 1);
	w->catch_up_busy = false;
	device_tick(w->device, w->now_ms + 1000);
	assert_int_equal(w->catch_ups, 2);
	/* what came before a failure goes out first, and the next try begins after it */
	device_cursor_good(w->device);
	device_catch_up_entry(w->device, log_entry(7, 9));
	device_catch_up_failed(w->device, w->now_ms);
	device_tick(w->device, w->now_ms + 5000);
	assert_int_equal(w->catch_ups, 2);
	expect(w, "ready");
	expect(w, "heartbeat");
	device_tick(w->device, w->now_ms + 5000);
	assert_int_equal(w->catch_ups, 3);
	assert_int_equal(w->device->cursor.batch, 9);
}

static void a_slow_reader_of_the_log_is_full_at_its_bound(void **state)
{
	struct world *w = *state;
	int entries = 0;

	say_hello(w);
	request(w, 7);
	device_cursor_good(w->device);
	for (; !device_catch_up_full(w->device); entries++)
		device_catch_up_entry(w->device, log_entry(7 + entries, 8 + entries));
	assert_true(device_behind(w->device) > 10000);
	expect(w, "ready");
	while (entries-- > 0)
		expect(w, "heartbeat");
	assert_true(w->resumes > 0);
	assert_int_equal(device_behind(w->device), 0);
}

static void a_slow_device_lags_and_comes_back(void **state)
{
	struct world *w = *state;

	go_live(w);
	batches(w, 11, 40, 1000);
	assert_int_equal(w->device->state, DEVICE_LAGGED);
	expect(w, "lagged");
	for (int i = 0; i < 30; i++)
		expect(w, "database_change");
	expect_level(w);
	assert_int_equal(w->device->state, DEVICE_LIVE);
	assert_int_equal(w->catch_ups, 0);
}

static void what_was_trimmed_comes_from_the_log(void **state)
{
	struct world *w = *state;

	go_live(w);
	w->config.device_queue_bytes = 3000;
	w->limits.ring_bytes = 5000;
	batches(w, 11, 40, 1000);
	expect(w, "lagged");
	expect_nothing(w);
	assert_int_equal(w->device->state, DEVICE_CATCH_UP);
	assert_int_equal(w->catch_ups, 1);
	assert_int_equal(w->device->cursor.batch, 10);
	/* its cursor is known to be good: no second ready */
	device_cursor_good(w->device);
	expect_nothing(w);
}

static void a_resync_ends_the_feed_until_asked_again(void **state)
{
	struct world *w = *state;
	struct upstream_batch b = batch_of(12, false, "payments");
	char at[CURSOR_TEXT_BYTES];
	struct cursor c = cursor_of(12);

	go_live(w);
	batches(w, 11, 11, 20);
	feed_batch_end(w->feed, &b);
	expect_with(w, "resync_required", "at", cursor_format(&c, at));
	expect_nothing(w);
	batches(w, 13, 13, 20);
	expect_nothing(w);
	request(w, 12);
	expect(w, "ready");
	expect(w, "database_change");
	expect_level(w);
}

/* A relay that starts reads the past into memory: what was resynced there is behind this device. */
static void a_resync_of_the_past_is_not_for_who_is_past_it(void **state)
{
	struct world *w = *state;
	struct upstream_batch b = batch_of(12, false, "payments");
	struct cursor older = cursor_of(8);

	feed_start(w->feed, &older);
	say_hello(w);
	request(w, 12);
	assert_int_equal(w->catch_ups, 1);
	feed_batch_end(w->feed, &b);
	expect_nothing(w);
	device_database_back(w->device, w->now_ms);
	expect(w, "ready");
	expect_level(w);
}

static void parts_come_whole_and_in_order(void **state)
{
	struct world *w = *state;
	json_t *m;
	bool last;
	int parts = 0;

	go_live(w);
	feed_one_batch(w->feed, 11, "payments", 40, 500);
	do {
		assert_int_equal(w->device->cursor.batch, 10);
		m = next(w, "database_change");
		assert_int_equal(json_integer_value(json_object_get(m, "part")), parts++);
		last = json_is_true(json_object_get(m, "last"));
		json_decref(m);
	} while (!last);
	assert_true(parts > 2);
	assert_int_equal(w->device->cursor.batch, 11);
	expect_nothing(w);
}

static void an_idle_device_hears_a_heartbeat(void **state)
{
	struct world *w = *state;

	go_live(w);
	feed_tick(w->feed, w->now_ms + 30000, 25000);
	expect(w, "heartbeat");
	expect_nothing(w);
}

/* The relay may be behind the database without knowing: it must not call anybody level. */
static void level_is_not_said_without_proof(void **state)
{
	struct world *w = *state;
	int wakes;

	say_hello(w);
	w->proven = false;
	request(w, 10);
	expect(w, "ready");
	expect_with(w, "error", "code", "database_unavailable");
	expect_nothing(w);
	wakes = w->wakes;
	device_tick(w->device, w->now_ms);
	assert_int_equal(w->wakes, wakes);
	expect_nothing(w);
	w->proven = true;
	device_tick(w->device, w->now_ms);
	assert_int_equal(w->wakes, wakes + 1);
	expect_level(w);
}

/* What was committed before it asked may be in no batch yet; the database itself is well. */
static void level_is_what_a_later_round_has_found(void **state)
{
	struct world *w = *state;
	int wakes;

	say_hello(w);
	w->round = w->level_round = 7;
	request(w, 10);
	expect(w, "ready");
	expect_nothing(w);
	w->round = 8;
	/* nor is it level by what is said now and then */
	feed_tick(w->feed, w->now_ms + 30000, 25000);
	wakes = w->wakes;
	device_look_for_proof(w->device, w->now_ms);
	assert_int_equal(w->wakes, wakes);
	expect_nothing(w);
	batches(w, 11, 11, 20);
	expect(w, "database_change");
	expect_nothing(w);
	w->level_round = 8;
	wakes = w->wakes;
	device_look_for_proof(w->device, w->now_ms);
	assert_int_equal(w->wakes, wakes + 1);
	expect_level(w);
	/* and who asks again waits again */
	request(w, 11);
	expect(w, "ready");
	expect_nothing(w);
}

static void what_is_there_is_sent_without_proof(void **state)
{
	struct world *w = *state;

	go_live(w);
	batches(w, 11, 12, 20);
	request(w, 11);
	w->proven = false;
	expect(w, "ready");
	expect(w, "database_change");
	expect_with(w, "error", "code", "database_unavailable");
	expect_nothing(w);
}

static void an_idle_heartbeat_waits_for_proof(void **state)
{
	struct world *w = *state;

	go_live(w);
	w->proven = false;
	feed_tick(w->feed, w->now_ms + 30000, 25000);
	expect_nothing(w);
	w->proven = true;
	device_tick(w->device, w->now_ms);
	expect_level(w);
}

static void a_level_device_hears_of_an_outage_and_of_its_end(void **state)
{
	struct world *w = *state;

	device_database_gone(w->device);
	go_live(w);
	w->proven = false;
	w->round = 1;
	device_database_gone(w->device);
	expect_with(w, "error", "code", "database_unavailable");
	expect_nothing(w);
	/* it answers again, but may have been changed meanwhile */
	w->proven = true;
	device_tick(w->device, w->now_ms);
	expect_nothing(w);
	w->level_round = 2;
	device_tick(w->device, w->now_ms);
	expect_level(w);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_wrong_code_is_refused),
		test(a_header_stands_for_the_code),
		test(bad_messages_are_refused),
		test(client_info_has_a_deadline),
		test(a_flood_is_refused),
		test(without_a_cursor_a_snapshot_is_needed),
		test(unknown_tables_are_refused_once_that_is_sure),
		test(who_was_refused_asks_for_nothing_any_more),
		test(frames_follow_ready),
		test(a_recent_cursor_resumes_from_memory),
		test(who_comes_during_a_poll_is_not_level_yet),
		test(a_long_way_is_not_counted_to_its_end),
		test(an_old_cursor_is_read_from_the_log_then_from_memory),
		test(who_asks_between_two_entries_is_not_sent_what_it_has),
		test(who_waited_for_the_database_goes_on_from_memory),
		test(the_log_is_asked_again_after_a_failure),
		test(a_slow_reader_of_the_log_is_full_at_its_bound),
		test(a_slow_device_lags_and_comes_back),
		test(what_was_trimmed_comes_from_the_log),
		test(a_resync_ends_the_feed_until_asked_again),
		test(a_resync_of_the_past_is_not_for_who_is_past_it),
		test(parts_come_whole_and_in_order),
		test(an_idle_device_hears_a_heartbeat),
		test(level_is_not_said_without_proof),
		test(level_is_what_a_later_round_has_found),
		test(what_is_there_is_sent_without_proof),
		test(an_idle_heartbeat_waits_for_proof),
		test(a_level_device_hears_of_an_outage_and_of_its_end),
	};

	log_set_level(LOG_LEVEL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
