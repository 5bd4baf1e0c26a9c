/* Tables sent again: frame by frame, behind the live feed, and never ahead of it. */
#include "relay_table_stream_support.h"

static void a_table_comes_in_pieces_and_waits_for_the_feed(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "null");
	bool last;

	ask_table(w, p, "patients", 3);
	assert_string_equal(w->builds[0].tables, "patients");
	assert_int_equal(w->builds[0].min.batch, 10);
	expect_nothing(p);
	finish(w, 0);
	assert_int_equal(expect_rows(p, "patients", 3, &last), ROWS);
	assert_false(last);
	/* its snapshot lies at 12 */
	batch_comes(&w->office, 11, "payments");
	table_streams_look(w->office.env.streams);
	expect(p, "database_change");
	expect_nothing(p);
	batch_comes(&w->office, 12, "payments");
	expect(p, "database_change");
	{
		const json_t *m = expect(p, "table_sync");

		assert_true(json_is_true(json_object_get(m, "last")));
		assert_int_equal(json_array_size(json_object_get(m, "oversize")), 1);
	}
	assert_null(p->device->stream);
}

static void the_last_piece_comes_also_without_an_entry(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "[\"patients\"]");
	const json_t *m;
	bool last;

	ask_table(w, p, "patients", 0);
	finish(w, 0);
	expect_rows(p, "patients", 0, &last);
	assert_false(last);
	feed_reaches_twelve(w); /* with nothing for this device */
	m = expect(p, "table_sync");
	assert_true(json_is_true(json_object_get(m, "last")));
}

static void live_events_go_first(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "null");
	struct frame *f;

	ask_table(w, p, "patients", 0);
	p->stopped = true;
	finish(w, 0);
	f = device_next(p->device, clock_ms);
	assert_non_null(memmem(f->text, f->len, "table_sync", 10));
	assert_true(p->device->after_you);
	frame_unref(f);
	batch_comes(&w->office, 11, "payments");
	f = device_next(p->device, clock_ms);
	assert_non_null(memmem(f->text, f->len, "database_change", 15));
	assert_false(p->device->after_you);
	frame_unref(f);
	device_say(p->device, frame_new("{}", 2));
	f = device_next(p->device, clock_ms);
	assert_int_equal(f->len, 2);
	frame_unref(f);
	f = device_next(p->device, clock_ms);
	assert_non_null(memmem(f->text, f->len, "\"part\":1", 8));
	frame_unref(f);
}

static void pieces_are_bounded(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "null");
	struct frame *f;
	size_t large = 0, pieces = 0;

	ask_table(w, p, "patients", 0);
	p->stopped = true;
	finish(w, 0);
	while ((f = device_next(p->device, clock_ms)) != NULL) {
		if (f->len > FRAME_BYTES) {
			json_t *m = json_loadb(f->text, f->len, 0, NULL);

			assert_int_equal(json_array_size(json_object_get(m, "rows")), 1);
			json_decref(m);
			large++;
		}
		pieces++;
		frame_unref(f);
	}
	assert_int_equal(large, 1);
	assert_in_range(pieces, 5, 20);
}

static void a_full_sync_is_all_tables_beside_the_feed(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "null");
	const json_t *m;
	bool last;

	device_asks(p->device, 0, "null");
	pump(p);
	expect(p, "resync_required");
	say(p, "{\"type\":\"request_full_sync\",\"tables\":[\"payments\",\"patients\"],\"id\":8,"
	       "\"min\":\"11-abcdef000000000b\"}");
	turn(w);
	assert_string_equal(w->builds[0].tables, "patients,payments");
	assert_int_equal(w->builds[0].min.batch, 11);
	finish(w, 0);
	m = expect(p, "full_sync");
	assert_int_equal(number_at(m, "total_rows"), ROWS);
	assert_int_equal(number_at(m, "id"), 8);
	assert_int_equal(json_array_size(json_object_get(m, "tables")), 2);
	assert_int_equal(expect_rows(p, "patients", 8, &last), ROWS);
	assert_true(last);
	assert_int_equal(expect_rows(p, "payments", 8, &last), 0);
	assert_true(last);
	assert_string_equal(text_at(expect(p, "full_sync_end"), "cursor"), "12-abcdef000000000c");
	expect_nothing(p);
}

static void what_fails_is_said(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "[\"patients\"]");
	struct snapshot missing = {.path = (char *)(uintptr_t) "/nowhere", .cursor = cursor_of(12)};
	const json_t *m;

	ask_table(w, p, "payments", 0);
	m = expect(p, "error"); /* not followed */
	assert_string_equal(text_at(m, "code"), "no_such_table");
	assert_string_equal(text_at(m, "table"), "payments");
	ask_table(w, p, "patients", 0);
	w->builds[0].events->on_failed(w->builds[0].ctx, "gone", true);
	assert_string_equal(text_at(expect(p, "error"), "code"), "no_such_table");
	say(p, "{\"type\":\"request_full_sync\",\"tables\":null}");
	turn(w);
	w->builds[1].events->on_failed(w->builds[1].ctx, "no", false);
	m = expect(p, "error");
	assert_string_equal(text_at(m, "code"), "full_sync_failed");
	assert_null(json_object_get(m, "table"));
	ask_table(w, p, "patients", 0);
	log_set_level((log_level)(LOG_LEVEL_ERROR + 1));
	w->builds[2].events->on_done(w->builds[2].ctx, &missing);
	assert_string_equal(text_at(expect(p, "error"), "code"), "table_sync_failed");
	w->too_many = true;
	ask_table(w, p, "patients", 0);
	assert_string_equal(text_at(expect(p, "error"), "code"), "table_sync_failed");
	turn(w);
	assert_null(p->device->stream);
}

static void a_file_that_lacks_the_table(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "null");

	log_set_level((log_level)(LOG_LEVEL_ERROR + 1));
	ask_table(w, p, "bills", 0);
	finish(w, 0);
	assert_string_equal(text_at(expect(p, "error"), "code"), "table_sync_failed");
	expect_nothing(p);
}

static void a_resync_ends_tables_but_not_a_full_sync(void **state)
{
	struct world *w = *state;
	struct peer *p = peer_come(&w->office, "null"), *q = peer_come(&w->office, "null");
	struct cursor at = cursor_of(11);

	ask_table(w, p, "patients", 0);
	say(q, "{\"type\":\"request_full_sync\",\"tables\":null}");
	turn(w);
	ask_table(w, q, "patients", 0);
	device_resync(p->device, "table_changed", &at, NULL, clock_ms);
	device_resync(q->device, "table_changed", &at, NULL, clock_ms);
	turn(w);
	assert_true(w->builds[0].cancelled);
	assert_null(p->device->stream);
	expect(p, "resync_required");
	/* it crossed with that */
	ask_table(w, p, "patients", 0);
	expect_nothing(p);
	finish(w, 1);
	expect(q, "resync_required");
	expect(q, "full_sync");
	assert_null(q->device->stream);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_table_comes_in_pieces_and_waits_for_the_feed),
		TEST(the_last_piece_comes_also_without_an_entry),
		TEST(live_events_go_first),
		TEST(pieces_are_bounded),
		TEST(a_full_sync_is_all_tables_beside_the_feed),
		TEST(what_fails_is_said),
		TEST(a_file_that_lacks_the_table),
		TEST(a_resync_ends_tables_but_not_a_full_sync),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
