/* Who waits for a table and who is served: turns, limits, and what fails. */
#include "relay_table_stream_support.h"

static void one_at_a_time_and_so_many_at_once(void **state)
{
	struct world *w = *state;
	struct peer *p[4];
	bool last;

	for (size_t i = 0; i < 4; i++) {
		p[i] = peer_come(&w->office, "null");
		ask_table(w, p[i], "patients", 1);
		ask_table(w, p[i], "payments", 2);
	}
	assert_int_equal(w->build_count, 2);
	assert_int_equal(table_streams_active(w->office.env.streams), 2);
	assert_int_equal(table_streams_in_line(w->office.env.streams), 2);
	feed_reaches_twelve(w);
	for (size_t n = 0; n < 8; n++)
		finish(w, n);
	/* the second tables came after the first ones of all */
	for (size_t n = 0; n < 8; n++)
		assert_string_equal(w->builds[n].tables, n < 4 ? "patients" : "payments");
	for (size_t i = 0; i < 4; i++) {
		expect(p[i], "database_change");
		expect(p[i], "database_change");
		assert_int_equal(expect_rows(p[i], "patients", 1, &last), ROWS);
		expect_rows(p[i], "payments", 2, &last);
		assert_true(last);
	}
}

static void a_device_may_not_ask_for_more_and_more(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "null");

	for (int i = 0; i <= STREAM_REQUESTS_MOST; i++)
		say(p, "{\"type\":\"request_full_sync\",\"tables\":null}");
	expect_nothing(p);
	say(p, "{\"type\":\"request_table_sync\",\"table\":\"patients\"}");
	assert_string_equal(text_at(expect(p, "error"), "code"), "table_sync_failed");
	assert_int_equal(p->device->close_code, 0);
}

static void a_later_request_for_the_table_counts(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "null");
	bool last;

	ask_table(w, p, "patients", 1);
	ask_table(w, p, "patients", 2);
	assert_true(w->builds[0].cancelled);
	p->stopped = true;
	finish(w, 1);
	frame_unref(device_next(p->device, clock_ms)); /* a piece of it is on its way */
	feed_reaches_twelve(w);
	ask_table(w, p, "patients", 3);
	read_again(p);
	expect(p, "database_change");
	expect(p, "database_change");
	expect_nothing(p);
	/* what it was given meanwhile is in there */
	assert_int_equal(w->builds[2].min.batch, 10);
	finish(w, 2);
	assert_int_equal(expect_rows(p, "patients", 3, &last), ROWS);
	assert_true(last);
}

static void who_leaves_makes_room(void **state)
{
	struct world *w = *state;
	struct peer *p[4];

	for (size_t i = 0; i < 4; i++) {
		p[i] = peer_come(&w->office, "null");
		ask_table(w, p[i], "patients", 0);
	}
	p[1]->stopped = true;
	finish(w, 1);
	peer_leave(p[0]); /* its file is being built */
	peer_leave(p[1]); /* it is being sent */
	peer_leave(p[2]); /* it waits */
	turn(w);
	assert_true(w->builds[0].cancelled);
	finish(w, 2);
	expect(p[3], "table_sync");
}

static void who_takes_nothing_makes_room(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "null");

	ask_table(w, p, "patients", 0);
	p->stopped = true;
	finish(w, 0);
	clock_ms += STREAM_STALLED_MS - 1;
	table_streams_tick(w->office.env.streams);
	assert_int_equal(table_streams_active(w->office.env.streams), 1);
	frame_unref(device_next(p->device, clock_ms));
	clock_ms += STREAM_STALLED_MS - 1;
	table_streams_tick(w->office.env.streams);
	assert_int_equal(table_streams_active(w->office.env.streams), 1);
	clock_ms++;
	table_streams_tick(w->office.env.streams);
	assert_int_equal(table_streams_active(w->office.env.streams), 0);
	read_again(p);
	assert_string_equal(text_at(expect(p, "error"), "code"), "table_sync_failed");
}

/* All in line are served, by turns of the loop and not in each other's stack. */
static void a_file_that_is_there_serves_a_crowd(void **state)
{
	struct world *w = *state;
	struct snapshot ready = snapshot_of(w);
	bool last;

	for (size_t i = 0; i < PEERS_MOST; i++)
		peer_come(&w->office, "[\"payments\"]");
	for (size_t i = 0; i < PEERS_MOST; i++)
		say(&w->office.peers[i],
		    "{\"type\":\"request_table_sync\",\"table\":\"payments\"}");
	turn(w);
	assert_int_equal(w->build_count, 2);
	/* while the first two are built and served the feed goes on, beyond their file */
	feed_reaches_twelve(w);
	batch_comes(&w->office, 13, "payments");
	w->ready = &ready;
	finish(w, 0);
	finish(w, 1);
	assert_int_equal(w->build_count, 2);
	for (size_t i = 0; i < PEERS_MOST; i++) {
		struct peer *p = &w->office.peers[i];

		for (int batch = 11; batch <= 13; batch++)
			expect(p, "database_change");
		expect_rows(p, "payments", 0, &last);
		assert_true(last);
	}
}

/* Small pieces, one a minute, would be room for nobody else. */
static void who_takes_little_makes_room_for_who_waits(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "null"), *quick = peer_come(&w->office, "null");
	struct peer *third = peer_come(&w->office, "null");

	ask_table(w, p, "patients", 0);
	ask_table(w, quick, "patients", 0);
	p->stopped = true;
	finish(w, 0);
	for (int minute = 0; minute < 3; minute++) {
		clock_ms += STREAM_STALLED_MS - 1;
		frame_unref(device_next(p->device, clock_ms));
		clock_ms++;
		table_streams_tick(w->office.env.streams);
	}
	/* nobody waits */
	assert_int_equal(table_streams_active(w->office.env.streams), 2);
	ask_table(w, third, "patients", 0);
	assert_int_equal(table_streams_in_line(w->office.env.streams), 1);
	clock_ms += STREAM_STALLED_MS - 1;
	frame_unref(device_next(p->device, clock_ms));
	table_streams_tick(w->office.env.streams);
	assert_int_equal(table_streams_in_line(w->office.env.streams), 1);
	clock_ms++;
	table_streams_tick(w->office.env.streams);
	turn(w);
	assert_int_equal(table_streams_in_line(w->office.env.streams), 0);
	read_again(p);
	assert_string_equal(text_at(expect(p, "error"), "code"), "table_sync_failed");
	finish(w, 1);
	expect(quick, "table_sync");
	finish(w, 2);
	expect(third, "table_sync");
}

/* No job finds out what a list of names can say. */
static void what_is_not_published_starts_nothing(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "null");

	ask_table(w, p, "nonsense", 0);
	assert_string_equal(text_at(expect(p, "error"), "code"), "no_such_table");
	say(p, "{\"type\":\"request_full_sync\",\"tables\":[\"patients\",\"nonsense\"]}");
	turn(w);
	assert_string_equal(text_at(expect(p, "error"), "code"), "no_such_table");
	assert_int_equal(w->build_count, 0);
}

static void the_word_of_the_database_is_waited_for(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "null"), *payer;

	w->no_word = true;
	ask_table(w, p, "patients", 0);
	assert_int_equal(w->build_count, 0);
	expect_nothing(p);
	/* who follows other tables need not wait to be told */
	payer = peer_come(&w->office, "[\"payments\"]");
	ask_table(w, payer, "patients", 0);
	assert_string_equal(text_at(expect(payer, "error"), "code"), "no_such_table");
	clock_ms += STREAM_STALLED_MS - 1;
	table_streams_tick(w->office.env.streams);
	w->no_word = false;
	table_streams_turn(w->office.env.streams);
	assert_int_equal(w->build_count, 1);
	finish(w, 0);
	expect(p, "table_sync");
	/* not for ever */
	w->no_word = true;
	ask_table(w, payer, "payments", 0);
	clock_ms += STREAM_STALLED_MS;
	table_streams_tick(w->office.env.streams);
	assert_string_equal(text_at(expect(payer, "error"), "code"), "table_sync_failed");
	assert_null(payer->device->stream);
}

/* More than CONTROL_MOST, and the socket takes nothing meanwhile. */
static void all_may_fail_together(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "null");

	p->stopped = true;
	for (int i = 0; i <= STREAM_REQUESTS_MOST; i++)
		say(p, "{\"type\":\"request_full_sync\",\"tables\":[\"nonsense\"]}");
	turn(w);
	assert_int_equal(p->device->close_code, 0);
	p->stopped = false;
	for (int i = 0; i <= STREAM_REQUESTS_MOST; i++) {
		pump(p);
		turn(w);
		assert_string_equal(text_at(expect(p, "error"), "code"), "no_such_table");
	}
	expect_nothing(p);
	assert_null(p->device->stream);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(one_at_a_time_and_so_many_at_once),
		TEST(a_device_may_not_ask_for_more_and_more),
		TEST(a_later_request_for_the_table_counts),
		TEST(who_leaves_makes_room),
		TEST(who_takes_nothing_makes_room),
		TEST(a_file_that_is_there_serves_a_crowd),
		TEST(who_takes_little_makes_room_for_who_waits),
		TEST(what_is_not_published_starts_nothing),
		TEST(the_word_of_the_database_is_waited_for),
		TEST(all_may_fail_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
