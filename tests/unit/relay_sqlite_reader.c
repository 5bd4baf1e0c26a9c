/* What goes into a snapshot file comes out of it as the wire has it, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "relay/sqlite_reader.h"
#include "relay/sqlite_snapshot.h"

#define CURSOR "17-9f2c4a1be07d3356"
#define WHOLE ((size_t)1 << 30)

static const char values_schema[] =
	"{\"table\":\"values \\\"q\\\"\",\"event\":\"e\",\"version\":1,\"key\":[\"b\",\"f\"],"
	"\"columns\":["
	"{\"name\":\"t\",\"type\":\"text\",\"class\":\"text\",\"nullable\":true,\"identity\":false}"
	","
	"{\"name\":\"b\",\"type\":\"bigint\",\"class\":\"bigint\",\"nullable\":false,\"identity\":"
	"false},"
	"{\"name\":\"f\",\"type\":\"double "
	"precision\",\"class\":\"float\",\"nullable\":false,\"identity\":false},"
	"{\"name\":\"i\",\"type\":\"integer\",\"class\":\"integer\",\"nullable\":true,\"identity\":"
	"false},"
	"{\"name\":\"o\",\"type\":\"boolean\",\"class\":\"boolean\",\"nullable\":true,\"identity\":"
	"false},"
	"{\"name\":\"d\",\"type\":\"numeric(12,2)\",\"class\":\"decimal\",\"nullable\":true,"
	"\"identity\":false},"
	"{\"name\":\"x "
	"\\\"\\\\\",\"type\":\"bytea\",\"class\":\"blob\",\"nullable\":true,\"identity\":false}],"
	"\"indexes\":[]}";
static const char empty_schema[] =
	"{\"table\":\"empty\",\"event\":\"e\",\"version\":1,\"key\":[\"id\"],"
	"\"columns\":["
	"{\"name\":\"id\",\"type\":\"text\",\"class\":\"text\",\"nullable\":false,\"identity\":"
	"false}],"
	"\"indexes\":[]}";

/* A column holds -0 as 0: only the texts beside it tell which of the two a key was. */
static const char zeros_schema[] =
	"{\"table\":\"zeros\",\"event\":\"e\",\"version\":1,\"key\":[\"n\",\"x\",\"y\"],"
	"\"columns\":["
	"{\"name\":\"n\",\"type\":\"integer\",\"class\":\"integer\",\"nullable\":false,"
	"\"identity\":false},"
	"{\"name\":\"x\",\"type\":\"real\",\"class\":\"float\",\"nullable\":false,"
	"\"identity\":false},"
	"{\"name\":\"y\",\"type\":\"real\",\"class\":\"float\",\"nullable\":false,"
	"\"identity\":false}],"
	"\"indexes\":[]}";
static const struct {
	const char *fields[3];
	const char *wire;
} zeros[] = {
	{{"1", "-0", "0"}, "{\"n\":1,\"x\":\"-0\",\"y\":\"0\"}"},
	{{"2", "0", "-0"}, "{\"n\":2,\"x\":\"0\",\"y\":\"-0\"}"},
	{{"3", "-0", "-0"}, "{\"n\":3,\"x\":\"-0\",\"y\":\"-0\"}"},
	{{"4", "0", "0"}, "{\"n\":4,\"x\":\"0\",\"y\":\"0\"}"},
	{{"5", "1.5", "-0"}, "{\"n\":5,\"x\":\"1.5\",\"y\":\"-0\"}"},
	{{"6", "-0", "2"}, "{\"n\":6,\"x\":\"-0\",\"y\":\"2\"}"},
};
#define ZEROS (sizeof(zeros) / sizeof(zeros[0]))

#define COLUMNS 7
/* Fields of a row, and the object that it is on the wire. */
static const struct {
	const char *fields[COLUMNS];
	const char *wire;
} rows[] = {
	{{"plain", "1", "0.5", "-5", "true", "1500.00", "\\x00ff"},
	 "{\"t\":\"plain\",\"b\":\"1\",\"f\":\"0.5\",\"i\":-5,\"o\":true,\"d\":\"1500.00\","
	 "\"x \\\"\\\\\":\"\\\\x00ff\"}"},
	{{NULL, "2", "1", NULL, NULL, NULL, NULL},
	 "{\"t\":null,\"b\":\"2\",\"f\":\"1\",\"i\":null,\"o\":null,\"d\":null,\"x "
	 "\\\"\\\\\":null}"},
	{{"", "9223372036854775807", "1e+20", "2147483647", "false", "0.00", "\\x"},
	 "{\"t\":\"\",\"b\":\"9223372036854775807\",\"f\":\"1e+20\",\"i\":2147483647,\"o\":false,"
	 "\"d\":\"0.00\",\"x \\\"\\\\\":\"\\\\x\"}"},
	{{"Pi\xc3\xb1"
	  "a\n\"\\\x01",
	  "-9223372036854775808", "NaN", "0", "true", "-12.50", "\\x7f"},
	 "{\"t\":\"Pi\xc3\xb1"
	 "a\\n\\\"\\\\\\u0001\",\"b\":\"-9223372036854775808\",\"f\":\"NaN\",\"i\":0,\"o\":true,"
	 "\"d\":\"-12.50\",\"x \\\"\\\\\":\"\\\\x7f\"}"},
	{{"2026-11-23T08:00:00.000", "5", "-0", "7", "true", "NaN", NULL},
	 "{\"t\":\"2026-11-23T08:00:00.000\",\"b\":\"5\",\"f\":\"-0\",\"i\":7,\"o\":true,\"d\":"
	 "\"NaN\","
	 "\"x \\\"\\\\\":null}"},
	/* the same number once more, but plus zero: the side table must not answer for it */
	{{"zero", "6", "0", "8", "true", "1.10", NULL},
	 "{\"t\":\"zero\",\"b\":\"6\",\"f\":\"0\",\"i\":8,\"o\":true,\"d\":\"1.10\",\"x "
	 "\\\"\\\\\":null}"},
	{{"inf", "7", "-Infinity", "9", "false", "9999999999.99", NULL},
	 "{\"t\":\"inf\",\"b\":\"7\",\"f\":\"-Infinity\",\"i\":9,\"o\":false,\"d\":\"9999999999."
	 "99\","
	 "\"x \\\"\\\\\":null}"},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static const char *const oversize[] = {"{\"b\":\"70\",\"f\":\"1\"}", "{\"b\":\"71\",\"f\":\"1\"}"};

struct fixture {
	char path[64];
	struct cs_error err;
	struct snapshot_reader *reader;
	struct dynbuf out;
};

static void write_row(struct fixture *f, struct snapshot_file *file, const char *const *texts,
		      size_t columns)
{
	struct copy_field fields[COLUMNS];

	for (size_t i = 0; i < columns; i++)
		fields[i] = (struct copy_field){(char *)(uintptr_t)texts[i],
						texts[i] ? strlen(texts[i]) : 0};
	assert_int_equal(snapshot_file_add_row(file, fields, &f->err), CS_OK);
}

static struct schema *schema_of(struct fixture *f, const char *text)
{
	struct schema *schema;

	assert_int_equal(schema_parse_text(text, strlen(text), &schema, &f->err), CS_OK);
	return schema;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct snapshot_file *file;
	struct schema *schemas[3];
	uint64_t count, bytes;

	/* a name that must be escaped in a URI */
	snprintf(f->path, sizeof(f->path), "/tmp/reader %%41?#.%d", (int)getpid());
	schemas[0] = schema_of(f, values_schema);
	schemas[1] = schema_of(f, empty_schema);
	schemas[2] = schema_of(f, zeros_schema);
	assert_int_equal(snapshot_file_create(f->path, &file, &f->err), CS_OK);
	assert_int_equal(snapshot_file_begin_table(file, schemas[0], &f->err), CS_OK);
	for (size_t i = 0; i < ROWS; i++)
		write_row(f, file, rows[i].fields, COLUMNS);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(
			snapshot_file_add_oversize(file, oversize[i], strlen(oversize[i]), &f->err),
			CS_OK);
	assert_int_equal(snapshot_file_end_table(file, &count, &f->err), CS_OK);
	assert_int_equal(snapshot_file_begin_table(file, schemas[1], &f->err), CS_OK);
	assert_int_equal(snapshot_file_end_table(file, &count, &f->err), CS_OK);
	assert_int_equal(snapshot_file_begin_table(file, schemas[2], &f->err), CS_OK);
	for (size_t i = 0; i < ZEROS; i++)
		write_row(f, file, zeros[i].fields, 3);
	assert_int_equal(snapshot_file_end_table(file, &count, &f->err), CS_OK);
	assert_int_equal(snapshot_file_finish(file, CURSOR, &bytes, &f->err), CS_OK);
	snapshot_file_close(file);
	schema_free(schemas[0]);
	schema_free(schemas[1]);
	schema_free(schemas[2]);
	dynbuf_init(&f->out, WHOLE);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	snapshot_reader_close(f->reader);
	dynbuf_free(&f->out);
	unlink(f->path);
	free(f);
	return 0;
}

static void open_reader(struct fixture *f)
{
	assert_int_equal(snapshot_reader_open(f->path, &f->reader, &f->err), CS_OK);
	/* what is open stays readable */
	assert_int_equal(unlink(f->path), 0);
}

static void begin(struct fixture *f, const char *table, uint64_t expected)
{
	const char *schema;
	uint64_t count;

	assert_int_equal(snapshot_reader_begin(f->reader, table, &schema, &count, &f->err), CS_OK);
	assert_int_equal(count, expected);
	assert_non_null(strstr(schema, "\"columns\""));
}

static void add_expected(struct dynbuf *b)
{
	for (size_t i = 0; i < ROWS; i++) {
		dynbuf_adds(b, i ? "," : "");
		dynbuf_adds(b, rows[i].wire);
	}
}

static void rows_are_the_wires(void **state)
{
	struct fixture *f = *state;
	struct dynbuf expected;
	uint64_t count;
	bool end;

	open_reader(f);
	assert_string_equal(snapshot_reader_cursor(f->reader), CURSOR);
	assert_int_equal(strlen(snapshot_reader_created_at(f->reader)), 24);
	assert_int_equal(snapshot_reader_table_count(f->reader), 3);
	assert_string_equal(snapshot_reader_table(f->reader, 0), "values \"q\"");
	assert_string_equal(snapshot_reader_table(f->reader, 1), "empty");
	assert_int_equal(snapshot_reader_table_rows(f->reader, 0), ROWS);
	begin(f, "values \"q\"", ROWS);
	assert_int_equal(snapshot_reader_rows(f->reader, &f->out, WHOLE, &count, &end, &f->err),
			 CS_OK);
	assert_int_equal(count, ROWS);
	assert_true(end);
	dynbuf_init(&expected, WHOLE);
	add_expected(&expected);
	assert_string_equal(f->out.data, expected.data);
	dynbuf_free(&expected);
	dynbuf_reset(&f->out);
	assert_int_equal(snapshot_reader_oversize(f->reader, &f->out, &f->err), CS_OK);
	assert_string_equal(f->out.data, "[{\"b\":\"70\",\"f\":\"1\"},{\"b\":\"71\",\"f\":\"1\"}]");
}

static void minus_zero_in_some_columns_of_a_key(void **state)
{
	struct fixture *f = *state;

	open_reader(f);
	begin(f, "zeros", ZEROS);
	for (size_t i = 0; i < ZEROS; i++) {
		uint64_t count;
		bool end;

		dynbuf_reset(&f->out);
		assert_int_equal(snapshot_reader_rows(f->reader, &f->out, 1, &count, &end, &f->err),
				 CS_OK);
		assert_string_equal(f->out.data, zeros[i].wire);
	}
}

/* Pieces of every size hold every row once, and none is larger than asked but for a single row. */
static void pieces_keep_their_bound(void **state)
{
	struct fixture *f = *state;
	struct dynbuf all, piece;

	open_reader(f);
	dynbuf_init(&all, WHOLE);
	dynbuf_init(&piece, WHOLE);
	add_expected(&f->out);
	for (size_t most = 1; most < f->out.len + 2; most += 13) {
		uint64_t total = 0;
		bool end = false;

		dynbuf_reset(&all);
		begin(f, "values \"q\"", ROWS);
		while (!end) {
			uint64_t count;

			dynbuf_reset(&piece);
			assert_int_equal(snapshot_reader_rows(f->reader, &piece, most, &count, &end,
							      &f->err),
					 CS_OK);
			assert_true(count > 0);
			assert_true(count == 1 || piece.len <= most);
			dynbuf_adds(&all, total ? "," : "");
			dynbuf_add(&all, piece.data, piece.len);
			total += count;
		}
		assert_int_equal(total, ROWS);
		assert_string_equal(all.data, f->out.data);
	}
	dynbuf_free(&all);
	dynbuf_free(&piece);
}

static void a_table_without_rows(void **state)
{
	struct fixture *f = *state;
	const char *schema;
	uint64_t count;
	bool end;

	open_reader(f);
	begin(f, "empty", 0);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(
			snapshot_reader_rows(f->reader, &f->out, 100, &count, &end, &f->err),
			CS_OK);
		assert_int_equal(count, 0);
		assert_true(end);
	}
	assert_int_equal(f->out.len, 0);
	assert_int_equal(snapshot_reader_oversize(f->reader, &f->out, &f->err), CS_OK);
	assert_string_equal(f->out.data, "[]");
	assert_int_equal(snapshot_reader_begin(f->reader, "no such", &schema, &count, &f->err),
			 CS_ERR_CONFIG);
}

static void a_row_that_does_not_fit_the_buffer(void **state)
{
	struct fixture *f = *state;
	struct dynbuf small;
	uint64_t count;
	bool end;

	open_reader(f);
	begin(f, "values \"q\"", ROWS);
	dynbuf_init(&small, 10);
	assert_int_equal(snapshot_reader_rows(f->reader, &small, 5, &count, &end, &f->err),
			 CS_ERR_NOMEM);
	dynbuf_free(&small);
}

static void damage_is_seen(void **state)
{
	struct fixture *f = *state;
	sqlite3 *db;
	uint64_t count;
	bool end;

	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db, "DELETE FROM \"values \"\"q\"\"\" WHERE b = 5", NULL, NULL, NULL),
		SQLITE_OK);
	sqlite3_close(db);
	open_reader(f);
	begin(f, "values \"q\"", ROWS);
	assert_int_equal(snapshot_reader_rows(f->reader, &f->out, WHOLE, &count, &end, &f->err),
			 CS_ERR_STORE);
	/* the file is named by nothing that a person's name could stand in */
	assert_null(strstr(f->err.text, "plain"));
}

static void what_is_no_snapshot(void **state)
{
	struct fixture *f = *state;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "DELETE FROM clinic_sync_meta WHERE key = 'cursor'", NULL,
				      NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(snapshot_reader_open(f->path, &f->reader, &f->err), CS_ERR_STORE);
	assert_null(f->reader);
	unlink(f->path);
	assert_int_equal(snapshot_reader_open(f->path, &f->reader, &f->err), CS_ERR_STORE);
	assert_null(f->reader);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(rows_are_the_wires),
		TEST(pieces_keep_their_bound),
		TEST(minus_zero_in_some_columns_of_a_key),
		TEST(a_table_without_rows),
		TEST(a_row_that_does_not_fit_the_buffer),
		TEST(damage_is_seen),
		TEST(what_is_no_snapshot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
