/* Requests for a sync from SQL: who hears of which, also after having been away. */
#include "relay_asks_support.h"

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
	sync_requests_add(requests, 5, "sync", NULL, NULL, clock_monotonic_ms());
	a = peer_come(o, "null"); /* it did not say what it has done */
	expect_nothing(a);
	assert_int_equal(number_at(json_array_get(a->got, 0), "sync_request"), 5);
	sync_requests_add(requests, 6, "table_sync", "[\"patients\"]", "d-1", clock_monotonic_ms());
	sync_requests_add(requests, 7, "sync", "[\"payments\"]", "d-2", clock_monotonic_ms());
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
		sync_requests_add(requests, id, "sync", NULL, NULL, clock_monotonic_ms());
	wake(NULL, b->device);
	assert_int_equal(number_at(expect(b, "sync_requested"), "id"), 8 + SYNC_REQUESTS_MOST);
	{
		int64_t id = 7;

		assert_null(sync_requests_next(requests, "d-1", &id,
					       clock_monotonic_ms() + SYNC_REQUEST_KEPT_MS));
	}
	peer_leave(a);
	peer_leave(b);
	o->env.requests = NULL;
	sync_requests_free(requests);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(requests_of_the_clinic_reach_those_meant, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
