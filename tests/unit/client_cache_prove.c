/* Is the file what the server is? Periodic rounds. */
#include "client_cache_prove_support.h"

/* ---- periodic --------------------------------------------------------------------------- */

static void asks_once_an_interval(void **state)
{
	struct fixture *f = *state;
	const char *text;

	assert_null(tick(f, 0));
	text = asks(f, INTERVAL_MS, "\"scope\":\"slice\"");
	assert_non_null(strstr(text, "\"cursor\":\"" C1 "\""));
	assert_non_null(strstr(text, "\"tables\":null"));
	assert_non_null(strstr(text, "\"counts\":{\"bills\":1,\"people\":2}"));
	assert_non_null(strstr(text, "\"proven\":false,\"repairs\":0,\"parked\":0}"));
	/* not again before it is answered */
	assert_null(tick(f, INTERVAL_MS));
	digest_begin(f, 1, "slice", WHOLE("people") "," WHOLE("bills"));
	digest(f, 1, "slice", C1, both_tables(), "\"people\":2,\"bills\":null", true);
	assert_string_not_equal(meta(f, "proven_at"), "");
	assert_non_null(strstr(asks(f, 0, "request_digest"), "\"proven\":true"));
	assert_string_equal(meta(f, "sync_interval_s"), "30");
}

static void finds_what_differs(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "UPDATE people SET score = 2 WHERE id = 'p1'");
	periodic_round(f, 1, C1);
	assert_true(has_event(f, "table_differs people"));
	assert_false(has_event(f, "bills"));
	asks(f, 0, "{\"type\":\"request_table_sync\",\"table\":\"people\"}");
	assert_string_equal(meta(f, "proven_at"), "");
}

static void finds_rows_more_and_less(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "DELETE FROM people WHERE id = 'p2'");
	periodic_round(f, 1, C1);
	assert_true(has_event(f, "table_differs people"));
	exec_sql(f->path, "INSERT INTO bills VALUES(9, 1)");
	asks(f, 0, "request_table_sync");
	/* people is being fetched: nothing is said of it */
	f->events[0] = '\0';
	periodic_round(f, 2, C1);
	assert_false(has_event(f, "people"));
	assert_true(has_event(f, "table_differs bills"));
}

/* The slice in hand is equal; the number of all rows is not. */
static void counts_find_a_row_in_another_slice(void **state)
{
	struct fixture *f = *state;
	char slices[256];

	exec_sql(f->path, "INSERT INTO people VALUES('p9', 'zoe', 1, 1)");
	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 1, "slice",
		     "{\"table\":\"people\",\"after\":null,\"upto\":{\"id\":\"p1\"}}");
	snprintf(slices, sizeof(slices), "%s", server_slice("people", NULL, "p1"));
	digest(f, 1, "slice", C1, slices, "\"people\":2", true);
	assert_true(has_event(f, "table_differs people"));
}

static void compares_slices_by_their_bounds(void **state)
{
	struct fixture *f = *state;
	char slices[256];

	exec_sql(f->path, "UPDATE people SET score = 9 WHERE id = 'p2'");
	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 1, "slice",
		     "{\"table\":\"people\",\"after\":null,\"upto\":{\"id\":\"p1\"}}");
	digest(f, 1, "slice", C1, server_slice("people", NULL, "p1"), "", true);
	assert_false(has_event(f, "table_differs"));
	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 2, "slice",
		     "{\"table\":\"people\",\"after\":null,\"upto\":{\"id\":\"p1\"}},"
		     "{\"table\":\"people\",\"after\":{\"id\":\"p1\"},\"upto\":null}");
	snprintf(slices, sizeof(slices), "%s,%s", server_slice("people", NULL, "p1"),
		 server_slice("people", "p1", NULL));
	digest(f, 2, "slice", C1, slices, "", true);
	assert_true(has_event(f, "table_differs people"));
}

/* ---- changes meanwhile ------------------------------------------------------------------ */

static void an_earlier_state_proves(void **state)
{
	struct fixture *f = *state;
	char slices[256];

	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 1, "slice", WHOLE("people"));
	snprintf(slices, sizeof(slices), "%s", server_slice("people", NULL, NULL));
	/* the server's cut lies before this */
	assert_int_equal(frame(f, C1, C2, SCORE("p1", "7")), CLINIC_CACHE_OK);
	digest(f, 1, "slice", C1, slices, "\"people\":2", true);
	assert_false(has_event(f, "table_differs"));
	assert_string_not_equal(meta(f, "proven_at"), "");
	/* and in the next round between two */
	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 2, "slice", WHOLE("people"));
	exec_sql(server, "UPDATE people SET score = 8 WHERE id = 'p1'");
	assert_int_equal(frame(f, C2, C3, SCORE("p1", "8")), CLINIC_CACHE_OK);
	assert_int_equal(frame(f, C3, C4, SCORE("p1", "9")), CLINIC_CACHE_OK);
	digest(f, 2, "slice", "3-of-another-name", server_slice("people", NULL, NULL), "", true);
	assert_false(has_event(f, "table_differs"));
}

/* The frames of a round are not applied together: each state counts. */
static void sees_each_state_of_frames_that_come_fast(void **state)
{
	struct fixture *f = *state;
	char message[1024];
	const char *cursors[] = {C1, C2, C3, C4};

	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 1, "slice", WHOLE("people"));
	exec_sql(server, "UPDATE people SET score = 12 WHERE id = 'p1'");
	for (int i = 1; i < 4; i++) {
		snprintf(message, sizeof(message),
			 "{\"type\":\"database_change\",\"from\":\"%s\",\"to\":\"%s\","
			 "\"changes\":[{\"event\":\"e\",\"table\":\"people\",\"operation\":"
			 "\"update\",\"key\":{\"id\":\"p1\"},\"data\":{\"score\":\"1%d\"}}]}",
			 cursors[i - 1], cursors[i], i);
		assert_int_equal(
			clinic_cache_receive_ahead(f->cache, f->now, message, strlen(message)),
			CLINIC_CACHE_OK);
	}
	assert_false(clinic_cache_holds(f->cache));
	digest(f, 1, "slice", "unheard-of", server_slice("people", NULL, NULL), "", true);
	assert_false(has_event(f, "table_differs"));
}

/* The server's cursor is one that the file stood at: no doubt is left. */
static void knows_the_state_at_a_cursor_it_passed(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "UPDATE people SET login = 'eve' WHERE id = 'p2'");
	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 1, "slice", WHOLE("people"));
	assert_int_equal(frame(f, C1, C2, SCORE("p1", "7")), CLINIC_CACHE_OK);
	assert_int_equal(frame(f, C2, C3, SCORE("p1", "8")), CLINIC_CACHE_OK);
	exec_sql(server, "UPDATE people SET score = 7 WHERE id = 'p1'");
	digest(f, 1, "slice", C2, server_slice("people", NULL, NULL), "", true);
	assert_true(has_event(f, "table_differs people"));
}

static void doubtful_round(struct fixture *f, int id, const char *from, const char *to)
{
	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, id, "slice", WHOLE("people"));
	assert_int_equal(frame(f, from, to, SCORE("p1", "7")), CLINIC_CACHE_OK);
	digest(f, id, "slice", "in-the-midst", "{\"rows\":5,\"hash\":\"0000000000000000\"}", "",
	       true);
}

static void three_doubts_are_a_difference(void **state)
{
	struct fixture *f = *state;

	doubtful_round(f, 1, C1, C2);
	doubtful_round(f, 2, C2, C3);
	assert_false(has_event(f, "table_differs"));
	assert_string_equal(meta(f, "proven_at"), "");
	doubtful_round(f, 3, C3, C4);
	assert_true(has_event(f, "table_differs people"));
}

static void a_proof_ends_the_doubts(void **state)
{
	struct fixture *f = *state;

	doubtful_round(f, 1, C1, C2);
	doubtful_round(f, 2, C2, C3);
	exec_sql(server, "UPDATE people SET score = 7 WHERE id = 'p1'");
	periodic_round(f, 3, C3);
	doubtful_round(f, 4, C3, C4);
	doubtful_round(f, 5, C4, C5);
	assert_false(has_event(f, "table_differs"));
}

/* A frame that changes other rows leaves no doubt. */
static void changes_outside_a_slice_do_not_touch_it(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "UPDATE people SET score = 9 WHERE id = 'p1'");
	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 1, "slice",
		     "{\"table\":\"people\",\"after\":null,\"upto\":{\"id\":\"p1\"}}");
	assert_int_equal(frame(f, C1, C2, SCORE("p2", "7")), CLINIC_CACHE_OK);
	digest(f, 1, "slice", "in-the-midst", server_slice("people", NULL, "p1"), "", true);
	assert_true(has_event(f, "table_differs people"));
}

static void keeps_only_so_many_states(void **state)
{
	struct fixture *f = *state;
	char from[32] = C1, to[32], change[256];

	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 1, "slice", WHOLE("people"));
	for (int i = 2; i < 40; i++) {
		snprintf(to, sizeof(to), "%d-00000000000000ee", i);
		snprintf(change, sizeof(change),
			 CHANGE("people", "update", PERSON("p1"), "{\"score\":\"%d\"}"), i);
		assert_int_equal(frame(f, from, to, change), CLINIC_CACHE_OK);
		strcpy(from, to);
	}
	/* the last one is true, but nobody knows: a doubt, no more */
	exec_sql(server, "UPDATE people SET score = 39 WHERE id = 'p1'");
	digest(f, 1, "slice", from, server_slice("people", NULL, NULL), "", true);
	assert_false(has_event(f, "table_differs"));
	assert_string_equal(meta(f, "proven_at"), "");
	periodic_round(f, 2, from);
	assert_string_not_equal(meta(f, "proven_at"), "");
}

/* More cursors than are known by name: at the others a state is nothing to judge by. */
static void knows_only_so_many_cursors(void **state)
{
	struct fixture *f = *state;
	char from[32] = C1, to[32], named[32];

	exec_sql(f->path, "UPDATE people SET login = 'eve' WHERE id = 'p2'");
	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 1, "slice", WHOLE("people"));
	for (int i = 2; i < 300; i++) {
		snprintf(to, sizeof(to), "%d-00000000000000ee", i);
		assert_int_equal(frame(f, from, to,
				       i == 280 ? SCORE("p1", "7")
						: CHANGE("bills", "update", "{\"id\":1}",
							 "{\"amount\":\"2.00\"}")),
				 CLINIC_CACHE_OK);
		strcpy(from, to);
	}
	digest(f, 1, "slice", to, server_slice("people", NULL, NULL), "", true);
	assert_false(has_event(f, "table_differs"));
	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 2, "slice", WHOLE("people"));
	strcpy(named, to);
	f->events[0] = '\0';
	assert_int_equal(frame(f, to, C3, SCORE("p1", "8")), CLINIC_CACHE_OK);
	exec_sql(server, "UPDATE people SET score = 7 WHERE id = 'p1'");
	digest(f, 2, "slice", named, server_slice("people", NULL, NULL), "", true);
	assert_true(has_event(f, "table_differs people"));
}

/* ---- what goes wrong -------------------------------------------------------------------- */

static void a_round_that_failed_is_asked_for_again(void **state)
{
	struct fixture *f = *state;

	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 1, "slice", WHOLE("people"));
	assert_int_equal(say(f, "{\"type\":\"digest\",\"id\":1,\"scope\":\"slice\",\"failed\":true,"
				"\"last\":true}"),
			 CLINIC_CACHE_OK);
	assert_null(tick(f, 0));
	asks(f, INTERVAL_MS, "request_digest");
	/* it could not even begin */
	assert_int_equal(say(f, "{\"type\":\"digest\",\"id\":0,\"scope\":\"slice\",\"failed\":true,"
				"\"last\":true}"),
			 CLINIC_CACHE_OK);
	periodic_round(f, 2, C1);
	assert_string_not_equal(meta(f, "proven_at"), "");
	assert_false(has_event(f, "table_differs"));
}

static void silence_ends(void **state)
{
	struct fixture *f = *state;

	asks(f, INTERVAL_MS, "request_digest");
	assert_null(tick(f, INTERVAL_MS));
	asks(f, 11 * 60 * 1000, "request_digest");
}

static void a_broken_link_voids_the_round(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "UPDATE people SET score = 2 WHERE id = 'p1'");
	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 1, "slice", WHOLE("people"));
	clinic_cache_disconnected(f->cache, f->now, 1006, "gone");
	connect_link(f);
	become_ready(f);
	digest(f, 1, "slice", C1, server_slice("people", NULL, NULL), "", true);
	assert_false(has_event(f, "table_differs"));
	periodic_round(f, 1, C1);
	assert_true(has_event(f, "table_differs people"));
}

static void malformed_messages_break_the_link(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
		"{\"type\":\"digest_begin\",\"id\":1,\"slices\":[]}",
		"{\"type\":\"digest_begin\",\"id\":1,\"scope\":\"slice\"}",
		"{\"type\":\"digest_begin\",\"id\":1,\"scope\":\"slice\",\"slices\":[{}]}",
		"{\"type\":\"digest_begin\",\"id\":1,\"scope\":\"slice\",\"slices\":[{\"table\":"
		"\"people\",\"after\":7,\"upto\":null}]}",
		"{\"type\":\"digest\",\"id\":1,\"scope\":\"else\",\"last\":true}",
		"{\"type\":\"sync_requested\",\"kind\":\"sync\"}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		asks(f, INTERVAL_MS, "request_digest");
		assert_int_equal(say(f, bad[i]), CLINIC_CACHE_ERR_PROTOCOL);
		clinic_cache_disconnected(f->cache, f->now, 4400, "closed");
		connect_link(f);
		become_ready(f);
	}
	/* unheard-of tables and ids are nothing to break a link for */
	asks(f, INTERVAL_MS, "request_digest");
	digest_begin(f, 5, "slice", WHOLE("nobody") "," WHOLE("people"));
	digest(f, 4, "slice", C1, "", "", true);
	digest(f, 5, "slice", C1, both_tables(), "\"nobody\":4", true);
	assert_true(has_event(f, "table_differs people"));
}

static void without_word_of_the_relay_nothing_is_asked(void **state)
{
	struct fixture *f = *state;

	assert_null(tick(f, 10 * INTERVAL_MS));
	assert_int_equal(clinic_cache_sync_now(f->cache, CLINIC_CACHE_SCOPE_ALL, NULL, f->now),
			 CLINIC_CACHE_OK);
	assert_null(tick(f, 0));
	assert_int_equal(clinic_cache_sync_now_state(f->cache), CLINIC_CACHE_SYNC_NOW_FAILED);
	assert_non_null(strstr(clinic_cache_sync_now_problem(f->cache), "version"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PROVING(asks_once_an_interval),
		PROVING(finds_what_differs),
		PROVING(finds_rows_more_and_less),
		PROVING(counts_find_a_row_in_another_slice),
		PROVING(compares_slices_by_their_bounds),
		PROVING(an_earlier_state_proves),
		PROVING(sees_each_state_of_frames_that_come_fast),
		PROVING(knows_the_state_at_a_cursor_it_passed),
		PROVING(three_doubts_are_a_difference),
		PROVING(a_proof_ends_the_doubts),
		PROVING(changes_outside_a_slice_do_not_touch_it),
		PROVING(keeps_only_so_many_states),
		PROVING(knows_only_so_many_cursors),
		PROVING(a_round_that_failed_is_asked_for_again),
		PROVING(silence_ends),
		PROVING(a_broken_link_voids_the_round),
		PROVING(malformed_messages_break_the_link),
		cmocka_unit_test_setup_teardown(without_word_of_the_relay_nothing_is_asked,
						setup_ready, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("proofs", tests, NULL, NULL);
}
