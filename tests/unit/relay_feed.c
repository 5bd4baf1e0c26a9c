/* The feed: which frames are made of which batches, and who finds his place in the ring. */
#include "relay_feed_support.h"

static void batches_of_one_round_share_a_frame(void **state)
{
	struct world *w = *state;

	feed_one_batch(w->feed, 11, "payments", 2, 20);
	feed_one_batch(w->feed, 12, "patients", 1, 20);
	feed_one_batch(w->feed, 13, "payments", 1, 20);
	assert_int_equal(w->entries, 0);
	feed_poll_end(w->feed, 1);
	assert_int_equal(ring_len(w->all), 1);
	expect_step(w->all, 0, 10, 13, 4);
	assert_int_equal(ring_len(w->payments), 1);
	expect_step(w->payments, 0, 10, 13, 3);
}

static void row_bytes_pass_through(void **state)
{
	struct world *w = *state;
	struct upstream_change c = change_of("a\"b", "{\"x\": \"\\u00e9\\/\",  \"n\":1.50}");
	struct upstream_batch b = batch_of(11, false, NULL);
	struct frame *f;

	feed_change(w->feed, &c);
	feed_batch_end(w->feed, &b);
	feed_poll_end(w->feed, 1);
	f = feed_entry_message(feed_at(w->all, w->all->first), 0);
	assert_non_null(memmem(f->text, f->len, c.data.text, c.data.len));
	assert_non_null(memmem(f->text, f->len, "\"table\":\"a\\\"b\",", 15));
	frame_unref(f);
	json_decref(message(w->all, 0, 0));
}

static void a_full_frame_ends_at_a_batch(void **state)
{
	struct world *w = *state;

	for (int64_t id = 11; id <= 20; id++)
		feed_one_batch(w->feed, id, "payments", 1, 1000);
	feed_poll_end(w->feed, 1);
	assert_true(ring_len(w->all) >= 4);
	for (uint64_t i = 0; i < ring_len(w->all); i++) {
		struct feed_entry *e = feed_at(w->all, w->all->first + i);

		assert_true(e->frame->len <= FRAME_BYTES);
		if (i)
			assert_true(cursor_equal(&e->step.from,
						 &feed_at(w->all, w->all->first + i - 1)->step.to));
	}
}

static void a_boundary_ends_the_frame_even_when_empty(void **state)
{
	struct world *w = *state;
	struct upstream_batch b = batch_of(12, true, NULL);

	feed_one_batch(w->feed, 11, "patients", 1, 20);
	feed_batch_end(w->feed, &b);
	feed_one_batch(w->feed, 13, "patients", 1, 20);
	feed_poll_end(w->feed, 1);
	assert_int_equal(ring_len(w->all), 2);
	expect_step(w->all, 0, 10, 12, 1);
	expect_step(w->all, 1, 12, 13, 1);
	/* the group that it did not concern is brought there by a heartbeat */
	assert_int_equal(ring_len(w->payments), 1);
	assert_int_equal(feed_at(w->payments, w->payments->first)->kind, ENTRY_HEARTBEAT);
	expect_step(w->payments, 0, 10, 12, 0);
}

static void a_large_batch_comes_in_parts(void **state)
{
	struct world *w = *state;
	struct feed_entry *e;
	size_t changes = 0, parts;

	feed_one_batch(w->feed, 11, "patients", 1, 20);
	feed_one_batch(w->feed, 12, "payments", 40, 500);
	feed_one_batch(w->feed, 13, "patients", 1, 20);
	feed_poll_end(w->feed, 1);
	assert_int_equal(ring_len(w->all), 3);
	expect_step(w->all, 0, 10, 11, 1);
	expect_step(w->all, 2, 12, 13, 1);
	e = feed_at(w->all, w->all->first + 1);
	assert_int_equal(e->kind, ENTRY_GIANT);
	parts = feed_entry_messages(e);
	assert_true(parts > 4);
	for (size_t i = 0; i < parts; i++) {
		json_t *m = message(w->all, 1, i);

		assert_int_equal(json_integer_value(json_object_get(m, "part")), i);
		assert_int_equal(json_is_true(json_object_get(m, "last")), i + 1 == parts);
		changes += json_array_size(json_object_get(m, "changes"));
		json_decref(m);
	}
	assert_int_equal(changes, 40);
	assert_true(feed_entry_memory(e) < 10000);
}

static void a_row_larger_than_a_frame_travels_alone(void **state)
{
	struct world *w = *state;

	feed_one_batch(w->feed, 11, "payments", 1, 50000);
	feed_poll_end(w->feed, 1);
	assert_int_equal(feed_at(w->all, w->all->first)->kind, ENTRY_GIANT);
	expect_step(w->all, 0, 10, 11, 1);
}

static void an_abandoned_batch_leaves_no_trace(void **state)
{
	struct world *w = *state;
	struct upstream_change c = change_of("payments", "\"half\"");

	feed_one_batch(w->feed, 11, "payments", 1, 20);
	for (int i = 0; i < 100; i++) /* enough for parts in the spool */
		feed_change(w->feed, &c);
	feed_abandon(w->feed);
	feed_one_batch(w->feed, 12, "payments", 2, 20);
	feed_poll_end(w->feed, 1);
	expect_step(w->all, 0, 10, 11, 1);
	expect_step(w->all, 1, 11, 12, 2);
}

static void a_resync_breaks_only_its_groups(void **state)
{
	struct world *w = *state;
	struct upstream_batch b = batch_of(12, false, "patients,users");
	uint64_t seq;
	struct cursor before = cursor_of(11), at = cursor_of(12);

	feed_one_batch(w->feed, 11, "payments", 1, 20);
	feed_batch_end(w->feed, &b);
	feed_one_batch(w->feed, 13, "payments", 1, 20);
	feed_poll_end(w->feed, 1);
	assert_int_equal(w->resyncs, 1);
	assert_true(cursor_equal(&w->resync_at, &at));
	assert_string_equal(w->resync_tables, "[\"patients\",\"users\"]");
	assert_false(feed_find(w->all, &before, &seq));
	assert_true(feed_find(w->all, &at, &seq));
	expect_step(w->all, 0, 12, 13, 1);
	expect_step(w->payments, 0, 10, 13, 2);
}

static void places_are_found_by_cursor(void **state)
{
	struct world *w = *state;
	struct cursor c = cursor_of(10), forged = {11, 1};
	uint64_t seq;

	for (int64_t id = 11; id <= 13; id++) {
		feed_one_batch(w->feed, id, "payments", 1, 20);
		feed_poll_end(w->feed, 1);
	}
	for (int64_t id = 10; id <= 13; id++) {
		c = cursor_of(id);
		assert_true(feed_find(w->all, &c, &seq));
		assert_int_equal(seq, w->all->first + (uint64_t)(id - 10));
	}
	assert_false(feed_find(w->all, &forged, &seq));
	c = cursor_of(9);
	assert_false(feed_find(w->all, &c, &seq));
	c = cursor_of(14);
	assert_false(feed_find(w->all, &c, &seq));
}

static void the_last_batch_is_a_place_though_no_entry_ends_there(void **state)
{
	struct world *w = *state;
	struct cursor c = cursor_of(11);
	uint64_t seq;

	feed_one_batch(w->feed, 11, "patients", 1, 20);
	feed_poll_end(w->feed, 1);
	assert_int_equal(ring_len(w->payments), 0);
	assert_true(feed_find(w->payments, &c, &seq));
	assert_int_equal(seq, w->payments->next_seq);
	expect_step(w->payments, 0, 10, 11, 0);
}

static void a_group_that_came_during_a_batch_reads_it_from_the_log(void **state)
{
	static char *const names[] = {"patients", "users"};
	struct world *w = *state;
	struct upstream_change c = change_of("patients", "\"first\"");
	struct upstream_batch b = batch_of(11, false, NULL);
	struct feed_group *late;
	struct cursor at = cursor_of(11);
	uint64_t seq;

	feed_change(w->feed, &c);
	late = feed_join(w->feed, names, 2);
	feed_change(w->feed, &c);
	feed_batch_end(w->feed, &b);
	feed_poll_end(w->feed, 1);
	assert_int_equal(w->gaps, 1);
	assert_int_equal(ring_len(late), 0);
	assert_true(feed_find(late, &at, &seq));
	feed_leave(late, 0);
}

static void the_ring_is_bounded_in_bytes(void **state)
{
	struct world *w = *state;
	struct cursor c = cursor_of(10);
	uint64_t seq;

	w->limits.ring_bytes = 20000;
	for (int64_t id = 11; id <= 100; id++) {
		feed_one_batch(w->feed, id, "patients", 1, 500);
		feed_poll_end(w->feed, 1);
		assert_true(feed_memory(w->feed) <= 20000);
	}
	assert_true(ring_len(w->all) > 5);
	assert_false(feed_find(w->all, &c, &seq));
	c = cursor_of(99);
	assert_true(feed_find(w->all, &c, &seq));
	assert_true(feed_behind(w->all, seq) > 500);
	assert_int_equal(feed_behind(w->all, w->all->next_seq), 0);
}

static void heartbeats_move_silent_groups(void **state)
{
	struct world *w = *state;

	feed_tick(w->feed, 0, 1000);
	feed_one_batch(w->feed, 11, "patients", 1, 20);
	feed_poll_end(w->feed, 500);
	feed_tick(w->feed, 999, 1000);
	assert_int_equal(ring_len(w->payments), 0);
	feed_tick(w->feed, 1000, 1000);
	expect_step(w->payments, 0, 10, 11, 0);
	assert_int_equal(w->idles, 0);
	feed_tick(w->feed, 2500, 1000);
	assert_int_equal(w->idles, 2);
	assert_int_equal(ring_len(w->payments), 1);
}

static void counts_say_what_a_frame_holds(void **state)
{
	struct world *w = *state;
	const struct table_counts *counts;

	feed_one_batch(w->feed, 11, "payments", 3, 20);
	feed_one_batch(w->feed, 12, "patients", 2, 20);
	feed_poll_end(w->feed, 1);
	counts = &feed_at(w->all, w->all->first)->counts;
	assert_int_equal(counts->len, 2);
	assert_string_equal(counts->items[0].table, "payments");
	assert_int_equal(counts->items[0].rows, 3);
	assert_int_equal(counts->items[1].rows, 2);
}

static void no_spool_is_a_gap_not_a_hole(void **state)
{
	struct world *w = *state;
	struct cursor at = cursor_of(11);
	uint64_t seq, end = w->all->next_seq;

	snprintf(w->limits.builder.spool_dir, sizeof(w->limits.builder.spool_dir), "/nonexistent");
	feed_one_batch(w->feed, 11, "payments", 40, 500);
	/* one group after the other: when it cannot be held, and when it is over */
	assert_int_equal(w->gaps, 4);
	/* whoever stood at the end finds that his place is gone */
	assert_true(end < w->all->first);
	assert_true(feed_find(w->all, &at, &seq));
}

/* There is no room for an entry of what is whole when the next batch begins, which is abandoned. */
static void what_was_lost_is_not_stepped_over(void **state)
{
	struct world *w = *state;
	struct cursor before = cursor_of(10), after = cursor_of(11);
	uint64_t seq, end = w->all->next_seq;
	struct upstream_change c;
	char data[3000];

	memset(data, '7', sizeof(data) - 1);
	data[sizeof(data) - 1] = '\0';
	c = change_of("patients", data);
	feed_one_batch(w->feed, 11, "patients", 1, 2000);
	out_of_memory = true;
	feed_change(w->feed, &c);
	out_of_memory = false;
	/* who stood at the end is told at once, and no heartbeat leads him on */
	assert_int_equal(w->gaps, 1);
	assert_true(end < w->all->first);
	feed_abandon(w->feed);
	assert_false(feed_find(w->all, &before, &seq));
	assert_true(feed_find(w->all, &after, &seq));
	feed_one_batch(w->feed, 12, "patients", 1, 20);
	feed_poll_end(w->feed, 1);
	expect_step(w->all, 0, 11, 12, 1);
	/* the group that it did not concern lost nothing */
	feed_tick(w->feed, 100000, 1000);
	expect_step(w->payments, 0, 10, 12, 0);
}

/* Small or large, each holds a descriptor. */
static void spools_are_bounded_in_number(void **state)
{
	struct world *w = *state;
	struct cursor latest = cursor_of(19);
	uint64_t seq;

	w->limits.spool_cost = 3 * SPOOL_COST_LEAST;
	for (int64_t id = 11; id <= 20; id++) {
		feed_one_batch(w->feed, id, "payments", 40, 500);
		feed_poll_end(w->feed, 1);
		assert_true(ring_len(w->all) + ring_len(w->payments) <= 3);
	}
	assert_true(feed_find(w->all, &latest, &seq));
	/* what is shown is what is on disk */
	assert_in_range(feed_spooled(w->feed), 3 * 40 * 500, 3 * 40 * 1000);
}

static void the_ring_of_all_tables_needs_no_device(void **state)
{
	struct world *w = *state;
	struct feed *f = feed_new(&w->limits, &events, w);
	struct cursor start = cursor_of(10), at = cursor_of(11);
	struct feed_group *all;
	uint64_t seq;

	feed_start(f, &start);
	feed_one_batch(f, 11, "payments", 1, 20);
	feed_poll_end(f, 1);
	feed_one_batch(f, 12, "payments", 1, 20);
	feed_poll_end(f, 1);
	all = feed_join(f, NULL, 0);
	assert_true(feed_find(all, &at, &seq));
	assert_int_equal(all->next_seq - seq, 1);
	feed_leave(all, 2);
	feed_free(f);
}

/* Lists of tables that nobody follows any more make room; those that are followed stay. */
static void groups_are_bounded(void **state)
{
	struct world *w = *state;
	struct feed_group *kept[FEED_GROUPS_MOST] = {w->all, w->payments};
	char name[16], *names[] = {name};

	for (int i = 0; i < 3 * FEED_GROUPS_MOST; i++) {
		struct feed_group *g;

		snprintf(name, sizeof(name), "left%d", i);
		g = feed_join(w->feed, names, 1);
		assert_non_null(g);
		feed_leave(g, (uint64_t)i);
	}
	assert_int_equal(feed_group_count(w->feed), FEED_GROUPS_MOST);
	for (int i = 2; i < FEED_GROUPS_MOST; i++) {
		snprintf(name, sizeof(name), "kept%d", i);
		kept[i] = feed_join(w->feed, names, 1);
		assert_non_null(kept[i]);
	}
	snprintf(name, sizeof(name), "more");
	assert_null(feed_join(w->feed, names, 1));
	snprintf(name, sizeof(name), "kept7");
	assert_ptr_equal(feed_join(w->feed, names, 1), kept[7]);
	feed_leave(kept[7], 0);
	for (int i = 2; i < FEED_GROUPS_MOST; i++)
		feed_leave(kept[i], 0);
}

/* ---- the middle of an entry ------------------------------------------------------ */

/* What a device at `batch` is given before the entry `*seq`; the caller decrefs. */
static json_t *rest_from(struct feed_group *g, int64_t batch, uint64_t *seq)
{
	struct cursor c = cursor_of(batch);
	struct feed_entry *rest;
	json_t *j;

	assert_true(feed_resume(g, &c, seq, &rest));
	assert_non_null(rest);
	assert_true(cursor_equal(&rest->step.from, &c));
	j = json_loadb(rest->frame->text, rest->frame->len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(j);
	feed_entry_unref(rest);
	return j;
}

static void expect_rest(struct feed_group *g, int64_t batch, int64_t to, size_t changes)
{
	struct cursor c_to = cursor_of(to);
	char text[CURSOR_TEXT_BYTES];
	uint64_t seq;
	json_t *m = rest_from(g, batch, &seq);

	assert_string_equal(json_string_value(json_object_get(m, "to")),
			    cursor_format(&c_to, text));
	assert_int_equal(json_array_size(json_object_get(m, "changes")), changes);
	assert_string_equal(json_string_value(json_object_get(m, "type")),
			    changes ? "database_change" : "heartbeat");
	assert_int_equal(seq, g->first + 1);
	json_decref(m);
}

static void the_middle_of_a_frame_is_a_place(void **state)
{
	struct world *w = *state;
	struct cursor begin = cursor_of(10), end = cursor_of(15), forged = {12, 1};
	struct feed_entry *rest;
	uint64_t seq;

	feed_one_batch(w->feed, 11, "payments", 2, 20);
	feed_one_batch(w->feed, 12, "payments", 1, 20);
	feed_one_batch(w->feed, 13, "patients", 3, 20);
	feed_one_batch(w->feed, 14, "payments", 1, 20);
	feed_one_batch(w->feed, 15, "patients", 1, 20);
	feed_poll_end(w->feed, 1);
	assert_int_equal(ring_len(w->all), 1);
	expect_rest(w->all, 11, 15, 6);
	expect_rest(w->all, 12, 15, 5);
	expect_rest(w->all, 13, 15, 2);
	expect_rest(w->all, 14, 15, 1);
	/* the group that half of them did not concern */
	expect_rest(w->payments, 11, 15, 2);
	expect_rest(w->payments, 12, 15, 1);
	expect_rest(w->payments, 13, 15, 1);
	expect_rest(w->payments, 14, 15, 0);
	/* both ends of it are places as before, without a rest */
	assert_true(feed_resume(w->all, &begin, &seq, &rest));
	assert_null(rest);
	assert_int_equal(seq, w->all->first);
	assert_true(feed_resume(w->all, &end, &seq, &rest));
	assert_null(rest);
	assert_int_equal(seq, w->all->next_seq);
	assert_false(feed_resume(w->all, &forged, &seq, &rest));
	assert_null(rest);
}

static void the_rest_begins_with_the_right_change(void **state)
{
	struct world *w = *state;
	uint64_t seq;
	json_t *m;

	for (int64_t id = 11; id <= 14; id++) {
		char data[] = "{\"n\":0}";
		struct upstream_change c;
		struct upstream_batch b = batch_of(id, false, NULL);

		data[5] = (char)('0' + id - 10);
		c = change_of("payments", data);
		feed_change(w->feed, &c);
		feed_batch_end(w->feed, &b);
	}
	feed_poll_end(w->feed, 1);
	m = rest_from(w->all, 12, &seq);
	for (size_t i = 0; i < 2; i++) {
		json_t *change = json_array_get(json_object_get(m, "changes"), i);

		assert_int_equal(
			json_integer_value(json_object_get(json_object_get(change, "data"), "n")),
			i + 3);
	}
	json_decref(m);
}

static void a_rest_is_made_once_and_counted(void **state)
{
	struct world *w = *state;
	struct cursor c = cursor_of(12);
	struct feed_entry *a, *b;
	uint64_t seq, before;

	for (int64_t id = 11; id <= 13; id++)
		feed_one_batch(w->feed, id, "payments", (int)(id - 10), 20);
	feed_poll_end(w->feed, 1);
	before = feed_memory(w->feed);
	assert_true(feed_resume(w->all, &c, &seq, &a));
	assert_true(feed_resume(w->all, &c, &seq, &b));
	assert_ptr_equal(a, b);
	assert_int_equal(feed_memory(w->feed), before + feed_entry_memory(a));
	assert_int_equal(a->counts.len, 1);
	assert_int_equal(a->counts.items[0].rows, 3);
	feed_entry_unref(a);
	feed_entry_unref(b);
	/* the entry goes, and its rests with it */
	feed_one_batch(w->feed, 14, "payments", 1, 20);
	w->limits.ring_bytes = 1;
	feed_poll_end(w->feed, 1);
	assert_int_equal(feed_memory(w->feed), 0);
	assert_int_equal(w->all->rest_bytes, 0);
	assert_false(feed_resume(w->all, &c, &seq, &a));
}

static void rests_are_bounded(void **state)
{
	struct world *w = *state;

	w->limits.ring_bytes = 40000;
	for (int64_t id = 11; id <= 40; id++)
		feed_one_batch(w->feed, id, "patients", 1, 100);
	feed_poll_end(w->feed, 1);
	assert_int_equal(ring_len(w->all), 2);
	for (int64_t id = 11; id <= 20; id++) {
		json_decref(rest_from(w->all, id, &(uint64_t){0}));
		assert_true(w->all->rest_bytes <= 40000 / 8);
	}
	assert_true(w->all->rest_bytes > 0);
}

static void no_rest_leads_across_a_resync(void **state)
{
	struct world *w = *state;
	struct upstream_batch b = batch_of(13, false, "patients");
	struct cursor c = cursor_of(11);
	struct feed_entry *rest;
	uint64_t seq;

	feed_one_batch(w->feed, 11, "payments", 1, 20);
	feed_one_batch(w->feed, 12, "payments", 1, 20);
	feed_batch_end(w->feed, &b);
	feed_one_batch(w->feed, 14, "payments", 1, 20);
	feed_one_batch(w->feed, 15, "payments", 1, 20);
	feed_poll_end(w->feed, 1);
	assert_false(feed_resume(w->all, &c, &seq, &rest));
	assert_null(rest);
	expect_rest(w->all, 14, 15, 1);
	expect_rest(w->payments, 11, 15, 3); /* it was not concerned */
}

static void a_boundary_and_a_giant_end_what_a_rest_spans(void **state)
{
	struct world *w = *state;
	struct upstream_batch b = batch_of(13, true, NULL);
	struct cursor inside = cursor_of(15);
	struct feed_entry *rest;
	uint64_t seq;

	feed_one_batch(w->feed, 11, "patients", 1, 20);
	feed_one_batch(w->feed, 12, "patients", 1, 20);
	feed_batch_end(w->feed, &b);
	feed_one_batch(w->feed, 14, "patients", 1, 20);
	feed_one_batch(w->feed, 15, "patients", 1, 20);
	feed_one_batch(w->feed, 16, "patients", 40, 500);
	feed_one_batch(w->feed, 17, "patients", 1, 20);
	feed_poll_end(w->feed, 1);
	assert_int_equal(ring_len(w->all), 4);
	expect_rest(w->all, 11, 13, 1);
	expect_rest(w->all, 12, 13, 0);
	/* from 15 on the giant comes whole */
	assert_true(feed_resume(w->all, &inside, &seq, &rest));
	assert_null(rest);
	assert_int_equal(feed_at(w->all, seq)->kind, ENTRY_GIANT);
}

static void an_abandoned_batch_leaves_no_mark(void **state)
{
	struct world *w = *state;
	struct upstream_change c = change_of("payments", "\"half\"");
	struct cursor half = cursor_of(12);
	struct feed_entry *rest;
	uint64_t seq;

	feed_one_batch(w->feed, 11, "payments", 1, 20);
	feed_change(w->feed, &c);
	feed_abandon(w->feed);
	assert_false(feed_resume(w->all, &half, &seq, &rest));
	feed_one_batch(w->feed, 12, "payments", 2, 20);
	feed_one_batch(w->feed, 13, "payments", 1, 20);
	feed_poll_end(w->feed, 1);
	expect_rest(w->all, 11, 13, 3);
	expect_rest(w->all, 12, 13, 1);
}

/* A poll goes on; what it has brought so far waits in the builder. */
static void what_gathers_is_a_place_too(void **state)
{
	struct world *w = *state;
	uint64_t seq;

	for (int64_t id = 11; id <= 13; id++)
		feed_one_batch(w->feed, id, "payments", 1, 20);
	json_decref(rest_from(w->all, 12, &seq));
	assert_int_equal(ring_len(w->all), 1);
	expect_rest(w->all, 12, 13, 1);
}

static void marks_are_bounded(void **state)
{
	struct world *w = *state;

	for (int64_t id = 11; id <= 11 + 2 * MARKS_MOST; id++)
		feed_one_batch(w->feed, id, "patients", 1, 4);
	/* for the group it did not concern as well: heartbeats end its steps */
	assert_int_equal(ring_len(w->payments), 2);
	assert_true(feed_at(w->payments, w->payments->first)->marks.len < MARKS_MOST);
	expect_rest(w->payments, 500, 10 + MARKS_MOST, 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(batches_of_one_round_share_a_frame),
		test(row_bytes_pass_through),
		test(a_full_frame_ends_at_a_batch),
		test(a_boundary_ends_the_frame_even_when_empty),
		test(a_large_batch_comes_in_parts),
		test(a_row_larger_than_a_frame_travels_alone),
		test(an_abandoned_batch_leaves_no_trace),
		test(a_resync_breaks_only_its_groups),
		test(places_are_found_by_cursor),
		test(the_last_batch_is_a_place_though_no_entry_ends_there),
		test(a_group_that_came_during_a_batch_reads_it_from_the_log),
		test(the_ring_is_bounded_in_bytes),
		test(heartbeats_move_silent_groups),
		test(counts_say_what_a_frame_holds),
		test(no_spool_is_a_gap_not_a_hole),
		test(what_was_lost_is_not_stepped_over),
		test(spools_are_bounded_in_number),
		test(the_ring_of_all_tables_needs_no_device),
		test(groups_are_bounded),
		test(the_middle_of_a_frame_is_a_place),
		test(the_rest_begins_with_the_right_change),
		test(a_rest_is_made_once_and_counted),
		test(rests_are_bounded),
		test(no_rest_leads_across_a_resync),
		test(a_boundary_and_a_giant_end_what_a_rest_spans),
		test(an_abandoned_batch_leaves_no_mark),
		test(what_gathers_is_a_place_too),
		test(marks_are_bounded),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
