/* What is pure about reading from PostgreSQL: doorbells, and how much of the past to read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pq_bell.h"
#include "pq_warm.h"
#include "relay_support.h"

static void a_bell_may_name_a_batch(void **state)
{
	(void)state;
	assert_int_equal(pq_bell_batch("{\"event\":\"e\",\"batch\":17,\"tables\":{}}"), 17);
	assert_int_equal(pq_bell_batch("{\"batch\":9223372036854775807}"), INT64_MAX);
}

/* Anybody may send anything: all of this only says "look". */
static void what_names_none(void **state)
{
	static const char *const payloads[] = {
		"",
		"batch",
		"{\"event\":\"e\",\"tables\":{\"batch\":{\"insert\":1}}}",
		"{\"batch\":",
		"{\"batch\":0}",
		"{\"batch\":-3}",
		"{\"batch\":17",
		"{\"batch\":17x}",
		"{\"batch\":9223372036854775808}",
		"{\"batch\": 17}",
		"{\"event\":\"\\\"batch\\\":17\"}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++)
		assert_int_equal(pq_bell_batch(payloads[i]), 0);
}

static void a_bell_may_tell_of_a_request(void **state)
{
	(void)state;
	assert_true(pq_bell_is_request("{\"event\":\"sync_requested\"}"));
	assert_false(pq_bell_is_request(""));
	assert_false(pq_bell_is_request("{\"event\":\"sync_requested\",\"batch\":17}"));
	assert_false(pq_bell_is_request(
		"{\"event\":\"sync_requested\",\"tables\":{\"payments\":{\"insert\":1}}}"));
}

static void bells_that_wait_are_one(void **state)
{
	struct pq_bells b = {0};

	(void)state;
	assert_false(pq_bells_wait(&b, 0));
	pq_bells_add(&b, 5);
	pq_bells_add(&b, 7);
	pq_bells_add(&b, 6);
	assert_int_equal(b.batch, 7);
	assert_true(pq_bells_wait(&b, 6));
	assert_false(pq_bells_wait(&b, 7)); /* it is there already */
	pq_bells_add(&b, 0);
	assert_true(pq_bells_wait(&b, 7));
}

static void the_past_fills_half_a_ring(void **state)
{
	struct config config = {.ring_warm_changes = 1000, .ring_bytes = 200000};
	struct upstream_change c = change_of("payments", "{\"amount\":\"1.00\"}");
	struct pq_warm w;
	int64_t before = 1000;

	(void)state;
	pq_warm_init(&w, &config);
	assert_int_equal(w.most, 1000);
	do {
		pq_warm_begin(&w);
		for (int64_t i = 0; i < w.most; i++)
			pq_warm_count(&w, &c);
		if (!pq_warm_overflows(&w))
			break;
		assert_true(w.most < before);
		before = w.most;
	} while (w.most > 0);
	assert_true(w.most > 100); /* some 150 bytes each */
	assert_true(w.bytes <= 100000);
}

static void one_change_larger_than_the_ring_ends_it(void **state)
{
	struct config config = {.ring_warm_changes = 1, .ring_bytes = 100};
	struct upstream_change c = change_of("payments", "{\"amount\":\"1.00\"}");
	struct pq_warm w;

	(void)state;
	pq_warm_init(&w, &config);
	pq_warm_begin(&w);
	pq_warm_count(&w, &c);
	assert_true(pq_warm_overflows(&w));
	assert_int_equal(w.most, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bell_may_name_a_batch),
		cmocka_unit_test(what_names_none),
		cmocka_unit_test(a_bell_may_tell_of_a_request),
		cmocka_unit_test(bells_that_wait_are_one),
		cmocka_unit_test(the_past_fills_half_a_ring),
		cmocka_unit_test(one_change_larger_than_the_ring_ends_it),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
