/* Requests for a sync from SQL: who hears of which, also after having been away. */
#include "relay_asks_support.h"

#define UNTIL (clock_monotonic_ms() + 3600000)

static int set_up(void **state)
{
	struct office *o = calloc(1, sizeof(*o));

	office_open(o);
	*state = o;
	return 0;
}

static int tear_down(void **state)
{
	struct office *o = *state;

	office_close(o);
	free(o);
	return 0;
}

static void requests_of_the_clinic_reach_those_meant(void **state)
{
	struct office *o = *state;
	struct sync_requests *requests = sync_requests_new();
	struct peer *a, *b;
	const json_t *m;

	o->env.requests = requests;
	sync_requests_add(requests, 5, "sync", NULL, NULL, UNTIL);
	sync_requests_all_read(requests);
	a = peer_come(o, "null"); /* it did not say what it has done */
	expect_nothing(a);
	assert_int_equal(number_at(json_array_get(a->got, 0), "sync_request"), 5);
	sync_requests_add(requests, 6, "table_sync", "[\"patients\"]", "d-1", UNTIL);
	sync_requests_add(requests, 7, "sync", "[\"payments\"]", "d-2", UNTIL);
	wake(NULL, a->device);
	m = expect(a, "sync_requested");
	assert_int_equal(number_at(m, "id"), 6);
	assert_string_equal(text_at(m, "kind"), "table_sync");
	expect_nothing(a);
	/* one that was away hears after `ready` of what it missed, in order */
	b = &o->peers[o->peer_count++];
	b->got = json_array();
	b->device = device_new(&o->env, true, clock_ms);
	b->device->session = b;
	say(b, "{\"type\":\"client_info\",\"device_id\":\"d-2\",\"sync_request\":4}");
	pump(b);
	expect(b, "connected");
	expect_nothing(b);
	device_asks(b->device, 10, "null");
	expect(b, "ready");
	assert_int_equal(number_at(expect(b, "sync_requested"), "id"), 5);
	assert_int_equal(number_at(expect(b, "sync_requested"), "id"), 7);
	expect(b, "heartbeat");
	expect_nothing(b);
	/* as many as there may ever be */
	for (int64_t id = 8; id < 8 + 2 * SYNC_REQUESTS_MOST; id++)
		sync_requests_add(requests, id, "sync", NULL, NULL, UNTIL);
	wake(NULL, b->device);
	assert_int_equal(number_at(expect(b, "sync_requested"), "id"), 8 + SYNC_REQUESTS_MOST);
	{
		int64_t id = 7;

		assert_null(sync_requests_next(requests, "d-1", &id, UNTIL));
	}
	peer_leave(a);
	peer_leave(b);
	o->env.requests = NULL;
	sync_requests_free(requests);
}

/* A relay that has just started knows of none, and must not say that there are none. */
static void until_they_were_read_nobody_hears_of_any(void **state)
{
	struct office *o = *state;
	struct sync_requests *requests = sync_requests_new();
	int64_t silent = -1, told = 4;
	struct frame *f;
	struct peer *a;

	o->env.requests = requests;
	a = peer_come(o, "null");
	assert_null(json_object_get(json_array_get(a->got, 0), "sync_request"));
	sync_requests_add(requests, 5, "sync", NULL, NULL, 2000);
	wake(NULL, a->device);
	expect_nothing(a);
	assert_null(sync_requests_next(requests, "d-7", &told, 1000));
	sync_requests_all_read(requests);
	/* who did not say what it has done hears of those that come from now on */
	wake(NULL, a->device);
	expect_nothing(a);
	assert_null(sync_requests_next(requests, "d-8", &silent, 1000));
	f = sync_requests_next(requests, "d-7", &told, 1999);
	assert_non_null(f);
	frame_unref(f);
	/* each as long as the database keeps it */
	told = 4;
	assert_null(sync_requests_next(requests, "d-7", &told, 2000));
	sync_requests_add(requests, 6, "sync", NULL, NULL, UNTIL);
	sync_requests_all_read(requests);
	wake(NULL, a->device);
	assert_int_equal(number_at(expect(a, "sync_requested"), "id"), 6);
	peer_leave(a);
	o->env.requests = NULL;
	sync_requests_free(requests);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(requests_of_the_clinic_reach_those_meant, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(until_they_were_read_nobody_hears_of_any, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
