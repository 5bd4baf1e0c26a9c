/* Which devices share a proof, and which slices of which tables each round takes. */
#include "relay_digest_support.h"

/* ---- who asks for what -------------------------------------------------------------------------
 */

static void what_differs_is_another_class(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null"), *b = peer_come(&w->office, "null");

	ask(a);
	ask_with(b, "slice", COUNTS ",\"skip\":{\"patients\":[\"b\",\"a\",\"b\"],\"bills\":[]}");
	pass(w, 0);
	finish_job(w, 10, 7);
	pass(w, 10000);
	assert_int_equal(w->jobs, 2);
	for (size_t i = 0; i < slice_count(w); i++) {
		char *skip = json_dumps(json_object_get(slice(w, i), "skip"), JSON_COMPACT);

		if (strcmp(text_at(slice(w, i), "table"), "patients") == 0)
			assert_string_equal(skip, "[\"a\",\"b\"]");
		else
			assert_null(skip);
		free(skip);
	}
	finish_job(w, 10, 7);
	expect(a, "digest_begin");
	expect(a, "digest");
	expect(b, "digest_begin");
	expect(b, "digest");
	expect_nothing(a);
}

static void some_tables_in_any_order(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "[\"payments\",\"bills\"]");
	struct peer *b = peer_come(&w->office, "null");

	ask(a); /* those that it follows */
	ask_with(b, "slice", COUNTS ",\"tables\":[\"payments\",\"bills\",\"payments\"]");
	pass(w, 0);
	assert_int_equal(slice_count(w), 2);
	finish_job(w, 10, 7);
	expect(a, "digest_begin");
	expect(b, "digest_begin");
	assert_int_equal(w->jobs, 1);
	/* one that it does not follow */
	ask_with(a, "slice", COUNTS ",\"tables\":[\"patients\"]");
	expect(a, "digest");
	assert_string_equal(text_at(expect(a, "error"), "code"), "no_such_table");
	assert_int_equal(a->device->close_code, 0);
}

static void a_later_request_takes_the_place_of_an_earlier_one(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null");

	ask(a);
	ask(a);
	pass(w, 0);
	expect(a, "digest_begin");
	ask(a);
	finish_job(w, 10, 7);
	expect_nothing(a);
	pass(w, 30000);
	finish_job(w, 10, 7);
	expect(a, "digest_begin");
	expect(a, "digest");
	/* the two scopes do not know of each other */
	ask(a);
	ask_with(a, "tables", COUNTS);
	pass(w, 0);
	finish_job(w, 10, 7);
	assert_string_equal(text_at(expect(a, "digest_begin"), "scope"), "tables");
	expect(a, "digest");
	pass(w, 30000);
	finish_job(w, 10, 7);
	assert_string_equal(text_at(expect(a, "digest_begin"), "scope"), "slice");
}

/* The rounds that are due, until no more are. */
static void finish_all(struct world *w)
{
	for (int i = 0; i < 100; i++) {
		pass(w, 1000);
		if (w->spec)
			finish_job(w, 10, 7);
	}
}

static void one_class_too_many_waits(void **state)
{
	struct world *w = *state;
	char more[200];

	for (int i = 0; i < 20; i++) {
		snprintf(more, sizeof(more), COUNTS ",\"skip\":{\"patients\":[\"c%d\"]}", i);
		ask_with(peer_come(&w->office, "null"), "slice", more);
	}
	pass(w, 0);
	peer_leave(&w->office.peers[12]); /* from the line */
	finish_all(w);
	assert_int_equal(w->jobs, 19);
	for (size_t i = 0; i < 20; i++) {
		if (i == 12)
			continue;
		expect(&w->office.peers[i], "digest_begin");
		expect(&w->office.peers[i], "digest");
	}
}

/* The database is so slow that it cannot keep up with two kinds of devices. */
static void classes_take_turns(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null"), *b = peer_come(&w->office, "null");

	w->office.config.sync_interval_s = 1;
	for (int i = 0; i < 40; i++) {
		ask(a);
		ask_with(b, "slice", COUNTS ",\"skip\":{\"patients\":[\"a\"]}");
		pass(w, 1000);
		if (!w->spec)
			continue;
		line(w, "{\"cursor\":\"10-abcdef000000000a\"}");
		clock_ms += 200;
		finish_job(w, 10, 7);
	}
	assert_in_range(w->jobs, 8, 12);
	assert_in_range(json_array_size(a->got), 8, 30);
	assert_in_range(json_array_size(b->got), 8, 30);
}

/* ---- large tables
 * --------------------------------------------------------------------------------- */

static void end_bounds(struct world *w)
{
	line(w, "{\"bounds\":\"patients\",\"keys\":[{\"id\":\"a\"},{\"id\":\"b\"}]}");
	line(w, "{\"bounds\":\"patients\",\"keys\":[{\"id\":\"c\"}]}");
	line(w, "{\"done\":true}");
	end(w, true);
}

static void expect_range(const json_t *slice, const char *table, const char *after,
			 const char *upto)
{
	assert_string_equal(text_at(slice, "table"), table);
	if (after)
		assert_string_equal(text_at(json_object_get(slice, "after"), "id"), after);
	else
		assert_true(json_is_null(json_object_get(slice, "after")));
	if (upto)
		assert_string_equal(text_at(json_object_get(slice, "upto"), "id"), upto);
	else
		assert_true(json_is_null(json_object_get(slice, "upto")));
}

static void a_large_table_is_proved_by_slices(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null");
	static const char *const keys[] = {NULL, "a", "b", "c", NULL};

	ask_with(a, "slice", LARGE);
	pass(w, 0);
	assert_int_equal(slice_count(w), 1);
	expect_range(slice(w, 0), "bills", NULL, NULL);
	assert_int_equal(json_array_size(json_object_get(w->spec, "counts")), 2);
	line(w, "{\"count\":\"patients\",\"rows\":35000}");
	line(w, "{\"count\":\"payments\",\"rows\":null}");
	finish_job(w, 10, 10);
	expect(a, "digest_begin");
	{
		const json_t *counts = json_object_get(expect(a, "digest"), "counts");

		assert_int_equal(number_at(counts, "patients"), 35000);
		assert_true(json_is_null(json_object_get(counts, "payments")));
	}
	for (int i = 0; i < 4; i++) {
		ask_with(a, "slice", LARGE);
		pass(w, 30000);
		if (i == 0) {
			assert_string_equal(json_string_value(json_array_get(
						    json_object_get(w->spec, "bounds"), 0)),
					    "patients");
			assert_int_equal(slice_count(w), 0);
			/* nobody is told before it is known */
			expect_nothing(a);
			end_bounds(w);
		}
		expect_range(slice(w, 0), "patients", keys[i], keys[i + 1]);
		finish_job(w, 10, i < 3 ? 10000 : 5000);
		expect(a, "digest_begin");
		expect(a, "digest");
	}
	ask_with(a, "slice", LARGE);
	pass(w, 30000);
	/* the small ones on both sides of the large one's end: the rotation began anew */
	assert_int_equal(slice_count(w), 2);
	expect_range(slice(w, 0), "payments", NULL, NULL);
	expect_range(slice(w, 1), "bills", NULL, NULL);
}

static void expect_bounds_asked(const struct world *w, const char *table)
{
	const json_t *asked = json_object_get(w->spec, "bounds");

	assert_int_equal(json_array_size(asked), 1);
	assert_string_equal(json_string_value(json_array_get(asked, 0)), table);
}

/* One that holds nothing, or lies, has the bounds asked for all the same. */
static void no_device_makes_small(struct world *w, uint64_t rows)
{
	struct peer *a = peer_come(&w->office, "null");

	w->rows[1] = rows;
	ask_with(a, "slice", "\"counts\":{\"bills\":0,\"patients\":0,\"payments\":0}");
	pass(w, 0);
	assert_int_equal(slice_count(w), 1);
	expect_range(slice(w, 0), "bills", NULL, NULL);
	finish_job(w, 10, 7);
	ask_with(a, "slice", "\"counts\":{\"patients\":1}");
	pass(w, 30000);
	expect_bounds_asked(w, "patients");
	end_bounds(w);
	expect_range(slice(w, 0), "patients", NULL, "a");
}

static void no_device_makes_a_large_table_small(void **state)
{
	no_device_makes_small(*state, 400000);
}

static void no_device_knows_what_the_server_does_not(void **state)
{
	no_device_makes_small(*state, UINT64_MAX);
}

/* What a round counts besides is as good a word. */
static void a_table_that_grew_is_cut(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null");

	w->rows[0] = 9950; /* fills the round */
	ask(a);
	pass(w, 0);
	assert_int_equal(slice_count(w), 1);
	line(w, "{\"count\":\"patients\",\"rows\":50000}");
	finish_job(w, 10, 9950);
	ask(a);
	pass(w, 30000);
	expect_bounds_asked(w, "patients");
	end_bounds(w);
	finish_job(w, 10, 10000);
}

static void a_list_that_is_old_is_read_again(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null");

	ask(a);
	pass(w, 0);
	finish_job(w, 10, 7);
	w->read_ms = clock_ms;
	pass(w, 60001);
	/* for a class that is new */
	ask(a);
	pass(w, 0);
	assert_true(clock_ms - w->read_ms > 60000);
	finish_job(w, 10, 7);
	ask_with(a, "slice", COUNTS ",\"skip\":{\"patients\":[\"a\"]}");
	pass(w, 30000);
	assert_true(clock_ms - w->read_ms <= 30000);
	finish_job(w, 10, 7);
	for (int round = 0; round < 3; round++) {
		expect(a, "digest_begin");
		expect(a, "digest");
	}
	/* and for a name that may be */
	ask_with(a, "slice", "\"counts\":{},\"tables\":[\"nonsense\"]");
	pass(w, 2000);
	assert_true(clock_ms - w->read_ms <= 2000);
	expect_failed(a);
	assert_int_equal(w->jobs, 3);
}

static void bounds_that_do_not_come_hold_up_nothing(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null");

	ask_with(a, "slice", "\"counts\":{\"bills\":50000,\"patients\":5,\"payments\":5}");
	pass(w, 0);
	line(w, "{\"error\":\"a timeout\"}");
	end(w, false);
	expect_failed(a);
	ask_with(a, "slice", "\"counts\":{\"bills\":50000,\"patients\":5,\"payments\":5}");
	pass(w, 30000);
	assert_int_equal(slice_count(w), 2);
	expect_range(slice(w, 0), "patients", NULL, NULL);
}

static void a_whole_proof_goes_through_all_at_once(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null"), *late = peer_come(&w->office, "null");
	const json_t *digest;

	ask_with(a, "tables", LARGE);
	pass(w, 0);
	/* for what somebody else asks meanwhile, the end of all of it is waited for */
	ask_with(peer_come(&w->office, "null"), "tables", COUNTS ",\"tables\":[\"bills\"]");
	finish_job(w, 10, 10); /* bills, before the large one */
	pass(w, 0);
	expect_bounds_asked(w, "patients");
	end_bounds(w);
	ask_with(late, "tables", LARGE);
	assert_int_equal(slice_count(w), 5);
	assert_int_equal(json_array_size(json_object_get(w->spec, "counts")), 0);
	finish_job(w, 10, 10);
	expect(a, "digest_begin");
	digest = expect(a, "digest");
	assert_true(json_is_false(json_object_get(digest, "last")));
	expect(a, "digest_begin");
	digest = expect(a, "digest");
	assert_true(json_is_true(json_object_get(digest, "last")));
	/* who asked in the middle gets a proof of its own */
	expect_nothing(late);
	finish_all(w);
	pass(w, 0);
	expect(late, "digest_begin");
	expect_nothing(a);
}

static void a_proof_does_not_wait_for_who_does_not_read(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null"), *slow = peer_come(&w->office, "null");

	ask_with(a, "tables", LARGE);
	ask_with(slow, "tables", LARGE);
	pass(w, 0);
	slow->stopped = true;
	batch_comes(&w->office, 11, "patients");
	finish_job(w, 11, 10);
	expect(a, "digest_begin");
	expect(a, "database_change");
	expect(a, "digest");
	pass(w, 1999);
	assert_null(w->spec);
	pass(w, 1);
	end_bounds(w);
	finish_job(w, 11, 10);
	expect(a, "digest_begin");
	expect(a, "digest");
	expect(slow, "digest_begin");
	read_again(slow);
	expect_failed(slow); /* beside the feed, and the first answer never */
	expect(slow, "database_change");
	expect_nothing(slow);
}

/* It took two seconds from its begin to its end, though the database hardly worked. */
static void who_had_a_long_proof_waits_as_long(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null"), *slow = peer_come(&w->office, "null");

	ask_with(a, "tables", LARGE);
	ask_with(slow, "tables", LARGE);
	pass(w, 0);
	slow->stopped = true;
	batch_comes(&w->office, 11, "patients");
	finish_job(w, 11, 10);
	pass(w, 2000);
	end_bounds(w);
	finish_job(w, 11, 10);
	ask_with(a, "tables", COUNTS ",\"tables\":[\"bills\"]");
	pass(w, 0);
	assert_null(w->spec);
	/* nobody else does */
	ask_with(peer_come(&w->office, "null"), "tables", COUNTS ",\"tables\":[\"payments\"]");
	pass(w, 0);
	expect_range(slice(w, 0), "payments", NULL, NULL);
	finish_job(w, 11, 10);
	pass(w, 1999);
	assert_null(w->spec);
	pass(w, 1);
	expect_range(slice(w, 0), "bills", NULL, NULL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_differs_is_another_class),
		TEST(some_tables_in_any_order),
		TEST(a_later_request_takes_the_place_of_an_earlier_one),
		TEST(one_class_too_many_waits),
		TEST(classes_take_turns),
		TEST(a_large_table_is_proved_by_slices),
		TEST(no_device_makes_a_large_table_small),
		TEST(no_device_knows_what_the_server_does_not),
		TEST(a_table_that_grew_is_cut),
		TEST(a_list_that_is_old_is_read_again),
		TEST(bounds_that_do_not_come_hold_up_nothing),
		TEST(a_whole_proof_goes_through_all_at_once),
		TEST(a_proof_does_not_wait_for_who_does_not_read),
		TEST(who_had_a_long_proof_waits_as_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
