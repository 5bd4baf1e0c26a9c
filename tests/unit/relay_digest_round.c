/* Rounds of proof, without sockets and jobs: who is told what, when, and in which order. */
#include "metrics.h"
#include "relay_digest_support.h"

/* ---- one job for all -------------------------------------------------------------------- */

static void one_job_answers_all_who_ask(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null"), *b = peer_come(&w->office, "null");
	const json_t *begin, *digest;

	ask(a);
	ask(b);
	pass(w, 0);
	assert_int_equal(w->jobs, 1);
	/* everything is small: all of it at once, and nothing has to be counted besides */
	assert_int_equal(slice_count(w), 3);
	assert_string_equal(text_at(slice(w, 1), "table"), "patients");
	assert_true(json_is_null(json_object_get(slice(w, 1), "after")));
	assert_int_equal(json_array_size(json_object_get(w->spec, "counts")), 0);
	finish_job(w, 10, 7);
	begin = expect(a, "digest_begin");
	digest = expect(a, "digest");
	assert_int_equal(number_at(digest, "id"), number_at(begin, "id"));
	assert_int_equal(json_array_size(json_object_get(digest, "slices")), 3);
	assert_true(json_is_true(json_object_get(digest, "last")));
	assert_int_equal(number_at(expect(b, "digest_begin"), "id"), number_at(begin, "id"));
	expect(b, "digest");
	expect_nothing(a);
	pass(w, 3600000);
	assert_int_equal(w->jobs, 1);
}

/* The fastest server there can be: the batch is everywhere before start() returns. */
static void cut_at_once(struct world *w)
{
	batch_comes(&w->office, 11, "patients");
}

static void begin_comes_before_any_frame_of_the_batch(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null"), *slow = peer_come(&w->office, "null");

	w->on_start = cut_at_once;
	slow->stopped = true;
	ask(a);
	ask(slow);
	pass(w, 0);
	finish_job(w, 11, 7);
	expect(a, "digest_begin");
	expect(a, "database_change");
	expect(a, "digest");
	read_again(slow);
	expect(slow, "digest_begin");
	expect(slow, "database_change");
	expect(slow, "digest");
}

static void the_answer_waits_for_the_batch(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null");
	struct peer *elsewhere = peer_come(&w->office, "[\"payments\"]");

	ask(a);
	ask(elsewhere);
	pass(w, 0);
	finish_job(w, 12, 7);
	pass(w, 3600000);
	finish_job(w, 12, 7);
	/* the job was faster than the feed */
	expect(a, "digest_begin");
	expect_nothing(a);
	expect(elsewhere, "digest_begin");
	expect_nothing(elsewhere);
	batch_comes(&w->office, 11, "patients");
	digest_rounds_look(w->office.env.digests);
	expect(a, "database_change");
	expect_nothing(a);
	/* what gathers was not given, though the batch is here */
	feed_one_batch(w->office.feed, 12, "patients", 1, 20);
	digest_rounds_look(w->office.env.digests);
	expect_nothing(a);
	/* ... and it holds nothing for the other one */
	expect(elsewhere, "digest");
	feed_poll_end(w->office.feed, clock_ms);
	expect(a, "database_change");
	digest_rounds_look(w->office.env.digests);
	expect(a, "digest");
	expect_nothing(elsewhere);
}

static void who_does_not_read_has_no_answer_yet(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null");

	ask(a);
	pass(w, 0);
	expect(a, "digest_begin");
	a->stopped = true;
	batch_comes(&w->office, 11, "patients");
	finish_job(w, 11, 7);
	digest_rounds_look(w->office.env.digests);
	assert_true(device_was_given(a->device, &(struct cursor){10, 0}));
	assert_false(device_was_given(a->device, &(struct cursor){11, 0}));
	read_again(a);
	expect(a, "database_change");
	expect(a, "digest");
}

/* ---- when ----------------------------------------------------------------------------------- */

/* Jobs in a minute with an interval of a second, when so many devices ask, each every second. */
static int jobs_with(struct world *w, size_t devices)
{
	int before = w->jobs;

	w->office.config.sync_interval_s = 1;
	while (w->office.peer_count < devices)
		peer_come(&w->office, "null");
	for (int ms = 0; ms < 60000; ms += 20) {
		/* each at its own moment */
		for (size_t i = 0; i < devices; i++)
			if (ms % 1000 == (int)(i * 37 % 50) * 20)
				ask(&w->office.peers[i]);
		pass(w, 20);
		if (w->spec)
			finish_job(w, 10, 7);
	}
	return w->jobs - before;
}

static void many_cost_what_one_costs(void **state)
{
	struct world *w = *state;
	int one = jobs_with(w, 1);
	int many = jobs_with(w, PEERS_MOST);

	assert_in_range(one, 59, 61);
	assert_in_range(many, 59, 61);
	for (size_t i = 0; i < w->office.peer_count; i++)
		assert_true(json_array_size(w->office.peers[i].got) > 100);
}

static void rounds_keep_to_their_grid(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null"), *b = peer_come(&w->office, "null");

	w->office.config.sync_interval_s = 30;
	ask(a);
	pass(w, 0);
	finish_job(w, 10, 7);
	pass(w, 11000);
	ask(b);
	ask(a);
	pass(w, 18999);
	assert_int_equal(w->jobs, 1);
	pass(w, 1);
	assert_int_equal(w->jobs, 2);
	finish_job(w, 10, 7);
	expect(b, "digest_begin");
	expect(b, "digest");
	/* nobody asks for hours: at once, and the grid stays */
	pass(w, 30000 * 100 + 5000);
	ask(a);
	pass(w, 0);
	assert_int_equal(w->jobs, 3);
	finish_job(w, 10, 7);
	ask(a);
	pass(w, 24999);
	assert_int_equal(w->jobs, 3);
	pass(w, 1);
	assert_int_equal(w->jobs, 4);
}

static void the_database_rests(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null");

	w->office.config.sync_interval_s = 1;
	ask(a);
	pass(w, 0);
	/* the start of a process is not the database's work */
	pass(w, 700);
	line(w, "{\"cursor\":\"10-abcdef000000000a\"}");
	pass(w, 1000);
	finish_job(w, 10, 7);
	ask(a);
	pass(w, 18999);
	assert_int_equal(w->jobs, 1);
	pass(w, 1);
	assert_int_equal(w->jobs, 2);
}

/*
 * Milliseconds of a minute in which the database works, when so many devices ask
 * for whole proofs, of ever other tables, whenever they have their answer; one of
 * them takes 100 ms.  proofs[i]: how many device i has had.
 */
static int busy_with(struct world *w, size_t devices, int *proofs)
{
	static const char *const lists[] = {"[\"bills\"]", "[\"patients\"]", "[\"payments\"]",
					    "[\"bills\",\"payments\"]", "null"};
	bool waits[PEERS_MOST] = {0};
	int busy = 0, worked = 0, number = 0;
	char more[200];

	for (int ms = 0; ms < 60000; ms += 20) {
		for (size_t i = 0; i < devices; i++) {
			struct peer *p = &w->office.peers[i];

			for (const json_t *m; (m = next(p)) != NULL;) {
				if (strcmp(text_at(m, "type"), "digest") != 0)
					continue;
				waits[i] = false;
				proofs[i]++;
			}
			if (waits[i])
				continue;
			snprintf(more, sizeof(more), COUNTS ",\"tables\":%s", lists[number++ % 5]);
			p->device->messages_left = 100;
			ask_with(p, "tables", more);
			waits[i] = true;
		}
		worked = w->spec ? worked + 20 : 0;
		busy += worked ? 20 : 0;
		pass(w, 20);
		if (worked == 100)
			finish_job(w, 10, 7);
	}
	return busy;
}

static void whole_proofs_leave_half_of_the_time(void **state)
{
	struct world *w = *state;
	int proofs[3] = {0};

	for (size_t i = 0; i < 3; i++)
		peer_come(&w->office, "null");
	/* the first at once, whoever it is */
	ask_with(&w->office.peers[0], "tables", COUNTS);
	pass(w, 0);
	assert_int_equal(w->jobs, 1);
	finish_job(w, 10, 7);
	assert_in_range(busy_with(w, 1, proofs), 20000, 32000);
	memset(proofs, 0, sizeof(proofs));
	assert_in_range(busy_with(w, 3, proofs), 20000, 32000);
	for (size_t i = 0; i < 3; i++)
		assert_in_range(proofs[i], 60, 140);
}

/* Who gives a proof up has had it all the same, and nobody else's is under way beside one. */
static void a_proof_that_is_given_up_counts(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null"), *b = peer_come(&w->office, "null");

	ask_with(a, "tables", COUNTS);
	pass(w, 0);
	ask_with(b, "tables", COUNTS ",\"tables\":[\"bills\"]");
	pass(w, 3000);
	assert_int_equal(w->jobs, 1);
	ask_with(a, "tables", COUNTS ",\"tables\":[\"payments\"]");
	finish_job(w, 10, 7);
	pass(w, 2999);
	assert_null(w->spec);
	pass(w, 1);
	assert_string_equal(text_at(slice(w, 0), "table"), "bills");
	pass(w, 1000);
	finish_job(w, 10, 7);
	pass(w, 999);
	assert_null(w->spec);
	pass(w, 1);
	assert_string_equal(text_at(slice(w, 0), "table"), "payments");
	peer_leave(a);
	/* periodic ones do not wait for that */
	finish_job(w, 10, 7);
	ask(b);
	pass(w, 0);
	assert_int_equal(w->jobs, 4);
}

static void nothing_begins_before_the_tables_are_known(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null");

	w->tables_known = false;
	ask(a);
	pass(w, 5000);
	assert_int_equal(w->jobs, 0);
	expect_nothing(a);
	w->tables_known = true;
	w->read_ms = clock_ms;
	digest_rounds_turn(w->office.env.digests);
	assert_int_equal(w->jobs, 1);
}

static void without_an_interval_only_whole_proofs(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null");

	w->office.config.sync_interval_s = 0;
	ask(a);
	expect_failed(a);
	ask_with(a, "tables", COUNTS);
	pass(w, 0);
	assert_int_equal(w->jobs, 1);
	finish_job(w, 10, 7);
	expect(a, "digest_begin");
	expect(a, "digest");
}

/* ---- what goes wrong
 * -------------------------------------------------------------------------------- */

static void a_job_that_fails_is_said(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null"), *b = peer_come(&w->office, "null");

	ask(a);
	pass(w, 0);
	ask(b); /* for the next */
	line(w, "{\"cursor\":\"11-abcdef000000000b\"}");
	line(w, "{\"slice\":0,\"rows\":1,\"hash\":\"0000000000000000\"}");
	end(w, true); /* but not all of it */
	expect(a, "digest_begin");
	expect_failed(a);
	expect_nothing(b);
	pass(w, 30000);
	line(w, "{\"error\":\"nothing works\"}");
	end(w, false);
	expect(b, "digest_begin");
	expect_failed(b);
	w->no_process = true;
	ask(a);
	pass(w, 60000);
	expect(a, "digest_begin");
	expect_failed(a);
}

static void devices_leave_in_between(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null"), *b = peer_come(&w->office, "null");
	struct peer *c = peer_come(&w->office, "null");

	ask(a);
	ask(b);
	ask(c);
	peer_leave(a);
	pass(w, 0);
	device_asks(b->device, 10, "null"); /* begins anew, and so wants no answer */
	finish_job(w, 12, 7);
	peer_leave(c); /* its answer waits for the batch */
	batch_comes(&w->office, 12, "patients");
	digest_rounds_look(w->office.env.digests);
	expect(b, "digest_begin");
	for (const json_t *m; (m = next(b)) != NULL;)
		assert_string_not_equal(text_at(m, "type"), "digest");
	/* a whole proof that nobody waits for is not gone on with */
	ask_with(b, "tables", LARGE);
	pass(w, 60000);
	finish_job(w, 12, 7);
	peer_leave(b);
	pass(w, 60000);
	assert_null(w->spec);
}

static void what_began_fails_with_the_database(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null"), *b = peer_come(&w->office, "null");
	struct peer *c = peer_come(&w->office, "null");

	ask(a);
	pass(w, 0);
	finish_job(w, 12, 7); /* waits for batch 12 */
	pass(w, 30000);
	ask(b);
	pass(w, 0);
	ask(c); /* not begun */
	digest_rounds_connected(w->office.env.digests, false);
	assert_null(w->spec);
	expect(a, "digest_begin");
	expect_failed(a);
	expect(b, "digest_begin");
	expect_failed(b);
	pass(w, 60000);
	expect_nothing(c);
	digest_rounds_connected(w->office.env.digests, true);
	pass(w, 0);
	finish_job(w, 10, 7);
	expect(c, "digest_begin");
	expect(c, "digest");
}

static void a_proof_counts_when_the_device_says_so(void **state)
{
	struct world *w = *state;
	struct peer *a = peer_come(&w->office, "null");
	const struct device_holdings *h = &a->device->holds;
	uint64_t repairs = metric_get(METRIC_REPAIRS);

	ask_with(a, "slice", COUNTS ",\"proven\":true,\"repairs\":5");
	pass(w, 0);
	assert_int_equal(h->rows, 130);
	finish_job(w, 10, 7);
	assert_string_equal(h->proven_at, "");
	assert_string_not_equal(h->answered_at, "");
	ask_with(a, "slice", COUNTS ",\"proven\":false,\"repairs\":7,\"parked\":3");
	assert_string_equal(h->proven_at, "");
	assert_int_equal(metric_get(METRIC_REPAIRS) - repairs, 2);
	assert_int_equal(h->parked, 3);
	pass(w, 30000);
	finish_job(w, 10, 7);
	ask_with(a, "slice", COUNTS ",\"proven\":true,\"repairs\":7");
	assert_string_not_equal(h->proven_at, "");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(one_job_answers_all_who_ask),
		TEST(begin_comes_before_any_frame_of_the_batch),
		TEST(the_answer_waits_for_the_batch),
		TEST(who_does_not_read_has_no_answer_yet),
		TEST(many_cost_what_one_costs),
		TEST(rounds_keep_to_their_grid),
		TEST(the_database_rests),
		TEST(whole_proofs_leave_half_of_the_time),
		TEST(a_proof_that_is_given_up_counts),
		TEST(nothing_begins_before_the_tables_are_known),
		TEST(without_an_interval_only_whole_proofs),
		TEST(a_job_that_fails_is_said),
		TEST(devices_leave_in_between),
		TEST(what_began_fails_with_the_database),
		TEST(a_proof_counts_when_the_device_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
