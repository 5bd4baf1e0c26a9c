/* Frames that wait to be applied together: one commit, each frame's own faults. */
#include "client_cache_support.h"

#define ALL_PEOPLE "SELECT id, login, score, seen FROM people ORDER BY id"

static clinic_cache_status ahead(struct fixture *f, const char *from, const char *to,
				 const char *changes)
{
	char message[4096];

	snprintf(message, sizeof(message),
		 "{\"type\":\"database_change\",\"from\":\"%s\",\"to\":\"%s\","
		 "\"time\":\"2026-11-23T08:00:0%c.000Z\",\"changes\":[%s]}",
		 from, to, to[0], changes);
	return clinic_cache_receive_ahead(f->cache, f->now, message, strlen(message));
}

#define SEEN(id, value) CHANGE("people", "update", PERSON(id), "{\"seen\":" value "}")
#define LOGIN(id, value) CHANGE("people", "update", PERSON(id), "{\"login\":" value "}")

static void applies_what_is_held_in_one_commit(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ahead(f, C1, C2, SEEN("p1", "false")), CLINIC_CACHE_OK);
	assert_int_equal(ahead(f, C2, C3, SEEN("p2", "true")), CLINIC_CACHE_OK);
	assert_true(clinic_cache_holds(f->cache));
	assert_false(clinic_cache_is_level(f->cache));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|bob|~|0");
	assert_string_equal(file_cursor(f), C1);
	assert_string_equal(f->events, "");
	assert_int_equal(clinic_cache_apply_held(f->cache, f->now), CLINIC_CACHE_OK);
	assert_false(clinic_cache_holds(f->cache));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|0\np2|bob|~|1");
	assert_string_equal(file_cursor(f), C3);
	assert_string_equal(query(f->path, "SELECT value FROM clinic_sync_meta"
					   " WHERE key = 'last_frame_at'"),
			    "2026-11-23T08:00:03.000Z");
	assert_string_equal(f->events, "data_change_immediate people update {\"id\":\"p1\"}\n"
				       "data_change_immediate people update {\"id\":\"p2\"}\n"
				       "ui_refresh_requested - - -\n");
}

static void other_messages_find_them_applied(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ahead(f, C1, C2, SEEN("p1", "false")), CLINIC_CACHE_OK);
	assert_int_equal(say(f, "{\"type\":\"heartbeat\",\"from\":\"" C2 "\",\"to\":\"" C2 "\"}"),
			 CLINIC_CACHE_OK);
	assert_true(clinic_cache_is_level(f->cache));
	assert_string_equal(file_cursor(f), C2);
	/* a frame that is level no more before it is in the file */
	assert_int_equal(ahead(f, C2, C3, SEEN("p2", "true")), CLINIC_CACHE_OK);
	assert_false(clinic_cache_is_level(f->cache));
	assert_int_equal(frame(f, C3, C4, SEEN("p1", "true")), CLINIC_CACHE_OK);
	assert_false(clinic_cache_holds(f->cache));
	assert_true(clinic_cache_is_level(f->cache));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|bob|~|1");
	assert_string_equal(file_cursor(f), C4);
}

static void swaps_unique_values_among_others(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ahead(f, C1, C2, SEEN("p1", "false")), CLINIC_CACHE_OK);
	assert_int_equal(ahead(f, C2, C3, LOGIN("p1", "\"bob\"") "," LOGIN("p2", "\"ann\"")),
			 CLINIC_CACHE_OK);
	assert_int_equal(ahead(f, C3, C4, SEEN("p2", "true")), CLINIC_CACHE_OK);
	assert_int_equal(clinic_cache_apply_held(f->cache, f->now), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|bob|1.5|0\np2|ann|~|1");
	assert_string_equal(file_cursor(f), C4);
}

static void frames_before_a_bad_one_count(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ahead(f, C1, C2, SEEN("p1", "false")), CLINIC_CACHE_OK);
	assert_int_equal(ahead(f, C2, C3, SEEN("nobody", "true")), CLINIC_CACHE_OK);
	assert_int_equal(ahead(f, C3, C4, SEEN("p2", "true")), CLINIC_CACHE_OK);
	assert_int_equal(clinic_cache_apply_held(f->cache, f->now), CLINIC_CACHE_ERR_PROTOCOL);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|0\np2|bob|~|0");
	assert_string_equal(file_cursor(f), C2);
	assert_false(clinic_cache_holds(f->cache));
	assert_non_null(strstr(f->events, "people update {\"id\":\"p1\"}"));
	assert_null(strstr(f->events, "people update {\"id\":\"p2\"}"));
	assert_string_equal(query(f->path, "SELECT value FROM clinic_sync_meta"
					   " WHERE key = 'diverged'"),
			    "1");
}

static void a_broken_link_brings_them_again(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ahead(f, C1, C2, SEEN("p1", "false")), CLINIC_CACHE_OK);
	/* it does not continue what is held, though it does the file */
	assert_int_equal(ahead(f, C1, C2, SEEN("p1", "true")), CLINIC_CACHE_ERR_PROTOCOL);
	assert_false(clinic_cache_holds(f->cache));
	assert_string_equal(file_cursor(f), C1);
	clinic_cache_disconnected(f->cache, f->now, 1002, "closed");
	connect_link(f);
	become_ready(f);
	assert_int_equal(ahead(f, C1, C2, SEEN("p1", "false")), CLINIC_CACHE_OK);
	clinic_cache_disconnected(f->cache, f->now, 1006, "gone");
	assert_false(clinic_cache_holds(f->cache));
	connect_link(f);
	become_ready(f);
	assert_int_equal(frame(f, C1, C2, SEEN("p1", "false")), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|0\np2|bob|~|0");
}

/* However many wait: what is held has an end. */
static void holds_only_so_much(void **state)
{
	struct fixture *f = *state;
	char from[32] = C1, to[32];
	int held = 0;

	for (int i = 2; i < 3000; i++) {
		snprintf(to, sizeof(to), "%d-00000000000000ee", i);
		assert_int_equal(ahead(f, from, to, SEEN("p1", "false")), CLINIC_CACHE_OK);
		held = clinic_cache_holds(f->cache) ? held + 1 : 0;
		assert_in_range(held, 0, 1000);
		strcpy(from, to);
	}
	assert_string_not_equal(file_cursor(f), C1);
	assert_int_equal(clinic_cache_apply_held(f->cache, f->now), CLINIC_CACHE_OK);
	assert_string_equal(file_cursor(f), to);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(applies_what_is_held_in_one_commit, setup_ready,
						teardown),
		cmocka_unit_test_setup_teardown(other_messages_find_them_applied, setup_ready,
						teardown),
		cmocka_unit_test_setup_teardown(swaps_unique_values_among_others, setup_ready,
						teardown),
		cmocka_unit_test_setup_teardown(frames_before_a_bad_one_count, setup_ready,
						teardown),
		cmocka_unit_test_setup_teardown(a_broken_link_brings_them_again, setup_ready,
						teardown),
		cmocka_unit_test_setup_teardown(holds_only_so_much, setup_ready, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("frames that wait", tests, NULL, NULL);
}
