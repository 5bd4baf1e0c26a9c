/* Tables sent again: frame by frame, behind the live feed, and never ahead of it. */
#include <sys/stat.h>
#include <unistd.h>

#include "relay_asks_support.h"
#include "sqlite_snapshot.h"

#define ROWS 300
#define FRAME_BYTES 4096
#define LARGE_ROW 7 /* does not fit into a frame */

static const char *const schemas[] = {
	"{\"table\":\"patients\",\"event\":\"e\",\"version\":1,\"key\":[\"id\"],\"columns\":["
	"{\"name\":\"id\",\"type\":\"text\",\"class\":\"text\",\"nullable\":false,\"identity\":"
	"false},"
	"{\"name\":\"name\",\"type\":\"text\",\"class\":\"text\",\"nullable\":true,\"identity\":"
	"false}],\"indexes\":[]}",
	"{\"table\":\"payments\",\"event\":\"e\",\"version\":1,\"key\":[\"id\"],\"columns\":["
	"{\"name\":\"id\",\"type\":\"integer\",\"class\":\"integer\",\"nullable\":false,"
	"\"identity\":false}],\"indexes\":[]}",
};

struct build {
	char *tables;
	struct cursor min;
	const struct snapshot_events *events;
	void *ctx;
	bool cancelled;
};

struct world {
	struct office office;
	struct table_streams_env env;
	char path[64];
	struct build builds[PEERS_MOST];
	size_t build_count;
	const struct snapshot *ready; /* one that is there already: answered at once */
	bool too_many;
	int turns;
};

static struct world *now; /* the functions of job.h have no context of ours */

static struct snapshot_wait *start(const char *tables, const struct cursor *min,
				   const struct snapshot_events *events, void *ctx, bool *answered)
{
	struct world *w = now;
	struct build *b = &w->builds[w->build_count];

	if (w->too_many)
		return NULL;
	if (w->ready && (!min || w->ready->cursor.batch >= min->batch)) {
		*answered = true;
		events->on_done(ctx, w->ready);
		return NULL;
	}
	assert_true(w->build_count++ < PEERS_MOST);
	*b = (struct build){.tables = strdup(tables), .events = events, .ctx = ctx};
	if (min)
		b->min = *min;
	return (struct snapshot_wait *)b;
}

static void cancel(struct snapshot_wait *wait)
{
	if (wait)
		((struct build *)wait)->cancelled = true;
}

static void turn_soon(void *ctx)
{
	((struct world *)ctx)->turns++;
}

/* What the loop does next. */
static void turn(struct world *w)
{
	while (w->turns) {
		w->turns = 0;
		table_streams_turn(w->office.env.streams);
	}
}

static void add_row(struct snapshot_file *file, const char *id, size_t name_bytes)
{
	static char name[2 * FRAME_BYTES];
	struct copy_field fields[2];

	memset(name, 'x', name_bytes);
	fields[0] = (struct copy_field){(char *)(uintptr_t)id, strlen(id)};
	fields[1] = (struct copy_field){name, name_bytes};
	assert_int_equal(snapshot_file_add_row(file, fields, NULL), CS_OK);
}

static void write_snapshot(const char *path)
{
	struct snapshot_file *file;
	struct schema *schema[2];
	uint64_t count;

	assert_int_equal(snapshot_file_create(path, &file, NULL), CS_OK);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(
			schema_parse_text(schemas[i], strlen(schemas[i]), &schema[i], NULL), CS_OK);
		assert_int_equal(snapshot_file_begin_table(file, schema[i], NULL), CS_OK);
		for (int row = 0; i == 0 && row < ROWS; row++) {
			char id[16];

			snprintf(id, sizeof(id), "P%04d", row);
			add_row(file, id, row == LARGE_ROW ? 2 * FRAME_BYTES : 50);
		}
		if (i == 0)
			assert_int_equal(
				snapshot_file_add_oversize(file, "{\"id\":\"X\"}", 10, NULL),
				CS_OK);
		assert_int_equal(snapshot_file_end_table(file, &count, NULL), CS_OK);
	}
	assert_int_equal(snapshot_file_finish(file, "12-abcdef000000000c", &count, NULL), CS_OK);
	snapshot_file_close(file);
	schema_free(schema[0]);
	schema_free(schema[1]);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	now = w;
	office_open(&w->office);
	w->office.config.max_frame_bytes = FRAME_BYTES;
	w->office.config.table_streams_most = 2;
	w->env = (struct table_streams_env){.config = &w->office.config,
					    .now_ms = read_clock,
					    .start = start,
					    .cancel = cancel,
					    .turn_soon = turn_soon,
					    .ctx = w};
	w->office.env.streams = table_streams_new(&w->env);
	snprintf(w->path, sizeof(w->path), "/tmp/table_stream.%d", (int)getpid());
	write_snapshot(w->path);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	office_close(&w->office);
	assert_int_equal(table_streams_active(w->office.env.streams), 0);
	assert_int_equal(table_streams_in_line(w->office.env.streams), 0);
	table_streams_free(w->office.env.streams);
	for (size_t i = 0; i < w->build_count; i++)
		free(w->builds[i].tables);
	unlink(w->path);
	free(w);
	return 0;
}

static struct snapshot snapshot_of(struct world *w)
{
	return (struct snapshot){.path = w->path, .cursor = cursor_of(12)};
}

/* Build n is there, or with another path it is not. */
static void finish(struct world *w, size_t n)
{
	struct snapshot s = snapshot_of(w);

	assert_true(n < w->build_count && !w->builds[n].cancelled);
	w->builds[n].events->on_done(w->builds[n].ctx, &s);
	turn(w);
}

static void ask_table(struct world *w, struct peer *p, const char *table, int id)
{
	char text[200];

	snprintf(text, sizeof(text), "{\"type\":\"request_table_sync\",\"table\":\"%s\",\"id\":%d}",
		 table, id);
	say(p, text);
	turn(w);
}

static void feed_reaches_twelve(struct world *w)
{
	batch_comes(&w->office, 11, "payments");
	batch_comes(&w->office, 12, "payments");
	table_streams_look(w->office.env.streams);
	turn(w);
}

/* The pieces of a table, which come one after the other; its rows are 0, 1, 2 … */
static size_t expect_rows(struct peer *p, const char *table, int id, bool *last)
{
	size_t rows = 0;
	int64_t part = 0;

	*last = false;
	while (!*last && p->seen < json_array_size(p->got)) {
		const json_t *m = expect(p, "table_sync"), *row;
		size_t i;

		assert_string_equal(text_at(m, "table"), table);
		assert_string_equal(text_at(m, "cursor"), "12-abcdef000000000c");
		assert_int_equal(number_at(m, "id"), id);
		assert_int_equal(number_at(m, "part"), part);
		assert_int_equal(json_object_get(m, "schema") != NULL, part == 0);
		json_array_foreach(json_object_get(m, "rows"), i, row)
		{
			char wanted[16];

			snprintf(wanted, sizeof(wanted), "P%04zu", rows++);
			assert_string_equal(text_at(row, "id"), wanted);
		}
		*last = json_is_true(json_object_get(m, "last"));
		assert_int_equal(json_object_get(m, "oversize") != NULL, *last);
		part++;
	}
	return rows;
}

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

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_table_comes_in_pieces_and_waits_for_the_feed),
		TEST(the_last_piece_comes_also_without_an_entry),
		TEST(live_events_go_first),
		TEST(pieces_are_bounded),
		TEST(a_full_sync_is_all_tables_beside_the_feed),
		TEST(one_at_a_time_and_so_many_at_once),
		TEST(a_device_may_not_ask_for_more_and_more),
		TEST(a_later_request_for_the_table_counts),
		TEST(what_fails_is_said),
		TEST(a_file_that_lacks_the_table),
		TEST(a_resync_ends_tables_but_not_a_full_sync),
		TEST(who_leaves_makes_room),
		TEST(who_takes_nothing_makes_room),
		TEST(a_file_that_is_there_serves_a_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
