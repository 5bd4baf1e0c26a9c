/*
 * What the tests of tables sent again share: a snapshot file of two tables, and
 * jobs that are finished when the test has them be.
 */
#ifndef CLINIC_TEST_RELAY_TABLE_STREAM_SUPPORT_H
#define CLINIC_TEST_RELAY_TABLE_STREAM_SUPPORT_H

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
	bool no_word; /* the database does not say what is published */
	int looks;
};

static struct world *now; /* the functions of job.h have no context of ours */

static inline struct snapshot_wait *start(const char *tables, const struct cursor *min,
					  const struct snapshot_events *events, void *ctx,
					  bool *answered)
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

static inline void cancel(struct snapshot_wait *wait)
{
	if (wait)
		((struct build *)wait)->cancelled = true;
}

static inline table_word look_at(const char *table, uint64_t *asked)
{
	(void)asked;
	now->looks++;
	if (now->no_word)
		return TABLE_ASKED;
	return strcmp(table, "nonsense") == 0 ? TABLE_NOT_PUBLISHED : TABLE_PUBLISHED;
}

static inline void turn_soon(void *ctx)
{
	((struct world *)ctx)->turns++;
}

/* What the loop does next. */
static inline void turn(struct world *w)
{
	while (w->turns) {
		w->turns = 0;
		table_streams_turn(w->office.env.streams);
	}
}

static inline void add_row(struct snapshot_file *file, const char *id, size_t name_bytes)
{
	static char name[2 * FRAME_BYTES];
	struct copy_field fields[2];

	memset(name, 'x', name_bytes);
	fields[0] = (struct copy_field){(char *)(uintptr_t)id, strlen(id)};
	fields[1] = (struct copy_field){name, name_bytes};
	assert_int_equal(snapshot_file_add_row(file, fields, NULL), CS_OK);
}

static inline void write_snapshot(const char *path)
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

static inline int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	now = w;
	office_open(&w->office);
	w->office.config.max_frame_bytes = FRAME_BYTES;
	w->office.config.table_streams_most = 2;
	w->env = (struct table_streams_env){.config = &w->office.config,
					    .now_ms = read_clock,
					    .look = look_at,
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

static inline int tear_down(void **state)
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

static inline struct snapshot snapshot_of(struct world *w)
{
	return (struct snapshot){.path = w->path, .cursor = cursor_of(12)};
}

/* Build n is there, or with another path it is not. */
static inline void finish(struct world *w, size_t n)
{
	struct snapshot s = snapshot_of(w);

	assert_true(n < w->build_count && !w->builds[n].cancelled);
	w->builds[n].events->on_done(w->builds[n].ctx, &s);
	turn(w);
}

static inline void ask_table(struct world *w, struct peer *p, const char *table, int id)
{
	char text[200];

	snprintf(text, sizeof(text), "{\"type\":\"request_table_sync\",\"table\":\"%s\",\"id\":%d}",
		 table, id);
	say(p, text);
	turn(w);
}

static inline void feed_reaches_twelve(struct world *w)
{
	batch_comes(&w->office, 11, "payments");
	batch_comes(&w->office, 12, "payments");
	table_streams_look(w->office.env.streams);
	turn(w);
}

/* The pieces of a table, which come one after the other; its rows are 0, 1, 2 … */
static inline size_t expect_rows(struct peer *p, const char *table, int id, bool *last)
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

#endif
