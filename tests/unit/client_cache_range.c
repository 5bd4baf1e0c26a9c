/*
 * Digests of ranges of keys against a list of rows in memory: whatever the
 * app's columns are like, wherever a row is, keys are in the server's order.
 */
#include "client_cache_app_support.h"

#include "cache_internal.h"

#define COLUMN(name, type, class)                                                                  \
	"{\"name\":\"" name "\",\"type\":\"" type                                                  \
	"\",\"class\":\"" class "\",\"nullable\":true,\"identity\":false}"
#define PLACES                                                                                     \
	"CREATE TABLE places(n INTEGER NOT NULL, t TEXT NOT NULL, v TEXT, PRIMARY KEY(n, t));"     \
	"INSERT INTO clinic_sync_table VALUES('places', '{\"table\":\"places\",\"event\":\"e\","   \
	"\"version\":1,\"key\":[\"n\",\"t\"],\"columns\":[" COLUMN(                                \
		"t", "text",                                                                       \
		"text") "," COLUMN("v", "text",                                                    \
				   "text") "," COLUMN("n", "bigint",                               \
						      "bigint") "],\"indexes\":[]}', 0)"

static const char *const apps[] = {
	"",
	"CREATE TABLE places(v TEXT CHECK(v <> 'parked'), t TEXT, n INTEGER, PRIMARY KEY(n, t))",
	"CREATE TABLE places(v TEXT CHECK(v <> 'parked'), t TEXT COLLATE NOCASE, n TEXT,"
	" PRIMARY KEY(t, n)) WITHOUT ROWID",
	"CREATE TABLE places(n REAL, t INTEGER, v TEXT CHECK(v <> 'parked'), UNIQUE(t, n))",
};
static const long long numbers[] = {-9007199254740991, -10, -9, 0, 2, 10, 9007199254740991};
static const char *const texts[] = {
	"", "10", "2", "02", "A", "a", "ab", "B", "é", "zz ", "\xf0\x9f\x98\x80", "\xef\xbf\xbd"};
#define TEXTS (sizeof(texts) / sizeof(texts[0]))
#define ROWS (sizeof(numbers) / sizeof(numbers[0]) * TEXTS)

static long long number_of(size_t i)
{
	return numbers[i / TEXTS];
}

static const char *text_of(size_t i)
{
	return texts[i % TEXTS];
}

static const char *value_of(size_t i)
{
	return i % 3 == 0 ? "parked" : "v";
}

static int compare(size_t a, size_t b)
{
	if (number_of(a) != number_of(b))
		return number_of(a) < number_of(b) ? -1 : 1;
	return strcmp(text_of(a), text_of(b));
}

static const char *key_of(size_t i, char *out)
{
	sprintf(out, "{\"n\":\"%lld\",\"t\":\"%s\"}", number_of(i), text_of(i));
	return out;
}

static void insert_rows(struct fixture *f)
{
	static char changes[65536];
	size_t at = 0;
	char key[128];

	for (size_t i = 0; i < ROWS; i++)
		at += (size_t)sprintf(changes + at,
				      "%s{\"table\":\"places\",\"operation\":\"insert\",\"key\":%s,"
				      "\"data\":{\"t\":\"%s\",\"v\":\"%s\",\"n\":\"%lld\"}}",
				      i ? "," : "", key_of(i, key), text_of(i), value_of(i),
				      number_of(i));
	next_frame(f, changes);
}

/* Bounds are rows, or ROWS for open. */
static void check_range(struct fixture *f, size_t after, size_t upto)
{
	struct cached_table *t = tables_find(&f->cache->tables, "places", 6);
	struct cs_error err = {0};
	char low[128], high[128], hash[17], expected[17], bytes[256];
	uint64_t sum = 0;
	int64_t rows = 0;
	int64_t found;

	for (size_t i = 0; i < ROWS; i++) {
		if ((after < ROWS && compare(i, after) <= 0) ||
		    (upto < ROWS && compare(i, upto) > 0))
			continue;
		rows++;
		sprintf(bytes, "%lld", number_of(i));
		sprintf(bytes, "V%zu:%lldV%zu:%sV%zu:%s", strlen(bytes), number_of(i),
			strlen(text_of(i)), text_of(i), strlen(value_of(i)), value_of(i));
		sum += hash_of(bytes);
	}
	sprintf(expected, "%016llx", (unsigned long long)sum);
	if (digest_range(f->cache, t, after < ROWS ? key_of(after, low) : NULL,
			 upto < ROWS ? key_of(upto, high) : NULL, &found, hash, &err) != CS_OK)
		fail_msg("%s", err.text);
	assert_int_equal(found, rows);
	assert_string_equal(hash, expected);
}

static void digests_every_range(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(apps) / sizeof(apps[0]); i++) {
		struct fixture *f = start_app(apps[i], PLACES);
		struct cs_error err = {0};
		void *held = f;
		int64_t rows;

		insert_rows(f);
		assert_int_equal(strcmp(query(f->path, "SELECT count(*) > 0 FROM"
						       " clinic_cache_parked"),
					i ? "1" : "0"),
				 0);
		assert_int_equal(table_count_rows(f->cache,
						  tables_find(&f->cache->tables, "places", 6),
						  &rows, &err),
				 CS_OK);
		assert_int_equal(rows, ROWS);
		for (size_t after = 0; after <= ROWS; after += after < ROWS - 5 ? 5 : 1)
			for (size_t upto = 0; upto <= ROWS; upto += upto < ROWS - 7 ? 7 : 1)
				check_range(f, after, upto);
		teardown(&held);
	}
}

static void refuses_what_is_no_bound(void **state)
{
	static const char *const bounds[] = {
		"",
		"null",
		"[]",
		"{}",
		"{\"n\":\"1\"}",
		"{\"n\":\"1\",\"t\":null}",
		"{\"n\":\"1\",\"x\":\"1\"}",
		"{\"n\":1.5,\"t\":\"a\"}",
		"{\"n\":\"1\",\"t\":\"a\",\"v\":\"b\"}",
		"{\"n\":\"1\",\"n\":\"1\"}",
	};
	struct fixture *f = start_app("", PLACES);
	struct cached_table *t = tables_find(&f->cache->tables, "places", 6);
	void *held = f;

	(void)state;
	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
		struct cs_error err = {0};
		int64_t rows;
		char hash[17];

		if (digest_range(f->cache, t, bounds[i], NULL, &rows, hash, &err) !=
		    CS_ERR_PROTOCOL)
			fail_msg("taken: %s", bounds[i]);
	}
	teardown(&held);
}

/* What the app has of a table decides what is skipped; the names go into a request. */
static void lists_what_is_skipped(void **state)
{
	struct fixture *f =
		start_app("CREATE TABLE people(\"ID\" TEXT PRIMARY KEY, note TEXT)", NULL);
	struct cs_error err = {0};
	struct dynbuf out;
	void *held = f;
	bool any;

	(void)state;
	dynbuf_init(&out, 1000);
	assert_int_equal(
		table_add_skipped(tables_find(&f->cache->tables, "people", 6), &out, &any, &err),
		CS_OK);
	assert_true(any);
	assert_string_equal(out.data, "\"login\",\"score\",\"seen\"");
	assert_int_equal(
		table_add_skipped(tables_find(&f->cache->tables, "bills", 5), &out, &any, &err),
		CS_OK);
	assert_false(any);
	dynbuf_free(&out);
	teardown(&held);
}

/* ---- rows_load_listed() -------------------------------------------------------------------- */

static void load_listed(struct fixture *f, const char *list_sql)
{
	struct clinic_cache *c = f->cache;
	struct cached_table *t = tables_find(&c->tables, "people", 6);
	struct cs_error err = {0};
	char sql[256];

	snprintf(sql, sizeof(sql), "ATTACH '%s/other.db' AS other", f->dir);
	assert_int_equal(store_exec(c->db, sql, &err), CS_OK);
	assert_int_equal(store_exec(c->db, "BEGIN IMMEDIATE", &err), CS_OK);
	assert_int_equal(store_exec(c->db, list_sql, &err), CS_OK);
	if (rows_load_listed(c, t, "other", "listed", &err) != CS_OK)
		fail_msg("%s", err.text);
	assert_int_equal(store_exec(c->db, "DROP TABLE temp.listed; COMMIT; DETACH other", &err),
			 CS_OK);
	parked_tell(c);
}

static void loads_listed_rows(void **state)
{
	static const char *const people[] = {
		"",
		"CREATE TABLE people(id TEXT PRIMARY KEY, login TEXT UNIQUE, score REAL,"
		" seen INTEGER NOT NULL DEFAULT 0, note TEXT)",
		"CREATE TABLE people(id TEXT COLLATE NOCASE PRIMARY KEY, login TEXT UNIQUE,"
		" score TEXT, seen TEXT NOT NULL DEFAULT 0, note TEXT) WITHOUT ROWID",
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct fixture *f = start_app(people[i], NULL);
		char path[128];
		void *held = f;

		snprintf(path, sizeof(path), "%s/other.db", f->dir);
		make_snapshot(
			path, C1,
			"UPDATE people SET login = 'new', score = 'NaN' WHERE id = 'p1';"
			"INSERT INTO people VALUES('p3', 'ann', -0.5, 1), ('p4', 'x', 1, 1);"
			"INSERT INTO clinic_sync_exact VALUES('people', '{\"id\":\"p1\"}',"
			" 'score', 'NaN');"
			"INSERT INTO clinic_sync_oversize VALUES('people', '{\"id\":\"p6\"}'),"
			" ('people', '{\"id\":\"p7\"}')");
		if (i)
			exec_sql(f->path, "UPDATE people SET note = 'own ' || id");
		next_frame(f, CHANGE("people", "insert", PERSON("p5"),
				     "{\"id\":\"p5\",\"login\":null,\"score\":\"NaN\","
				     "\"seen\":true}"));
		load_listed(f, "CREATE TABLE temp.listed AS SELECT 'p1' AS id UNION SELECT 'p3'"
			       " UNION SELECT 'p5' UNION SELECT 'p6' UNION SELECT 'P2'");
		assert_string_equal(query(f->path, "SELECT id, login FROM people ORDER BY id"),
				    "p1|new\np2|bob\np3|ann");
		assert_string_equal(query(f->path, "SELECT key, value FROM clinic_sync_exact"),
				    i == 2 ? "{\"id\":\"p1\"}|NaN" : "{\"id\":\"p1\"}|NaN");
		assert_string_equal(query(f->path, "SELECT key FROM clinic_sync_oversize"),
				    "{\"id\":\"p6\"}");
		if (i)
			assert_string_equal(
				query(f->path, "SELECT id, note FROM people ORDER BY id"),
				"p1|own p1\np2|own p2\np3|~");
		check_digest(f, "people", 3,
			     hash_of("V2:p1V3:newV3:NaNV4:true") + hash_of("V2:p2V3:bobNV5:false") +
				     hash_of("V2:p3V3:annV4:-0.5V4:true"));
		teardown(&held);
	}
}

/* Refused rows of the list are parked; parked ones of it go, others come in when they can. */
static void parks_listed_rows(void **state)
{
	struct fixture *f = start_app("CREATE TABLE people(id TEXT PRIMARY KEY, login TEXT UNIQUE,"
				      " score REAL, seen INTEGER NOT NULL, note TEXT)",
				      NULL);
	char path[128];
	void *held = f;

	(void)state;
	snprintf(path, sizeof(path), "%s/other.db", f->dir);
	make_snapshot(path, C1,
		      "UPDATE people SET seen = NULL, login = 'new' WHERE id = 'p1';"
		      "INSERT INTO people VALUES('p3', 'zed', 1, 1), ('p4', 'ann', 1, 1)");
	exec_sql(f->path, "UPDATE people SET note = 'own'");
	/* one that the server has no more */
	next_frame(f, CHANGE("people", "insert", PERSON("p5"),
			     "{\"id\":\"p5\",\"login\":null,\"score\":null,\"seen\":null}"));
	next_frame(
		f,
		CHANGE("people", "insert", PERSON("p3"), "{\"id\":\"p3\",\"login\":null,\"score\":null,\"seen\":null}") "," CHANGE(
			"people", "insert", PERSON("p4"),
			"{\"id\":\"p4\",\"login\":\"ann\",\"score\":null,\"seen\":true}"));
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_cache_parked"), "3");
	load_listed(f, "CREATE TABLE temp.listed AS SELECT 'p1' AS id UNION SELECT 'p3'");
	assert_string_equal(query(f->path, "SELECT id, login, note FROM people ORDER BY id"),
			    "p2|bob|own\np3|zed|~\np4|ann|~");
	assert_string_equal(query(f->path, "SELECT key, reason, kept FROM clinic_cache_parked"),
			    "{\"id\":\"p1\"}|NOT NULL constraint failed: people.seen|"
			    "{\"note\":\"own\"}");
	teardown(&held);
}

/* The app's column makes 917 of 0917: neither may go for the other. */
static void loads_listed_keys_that_a_column_confuses(void **state)
{
	struct fixture *f =
		start_app("CREATE TABLE people(id INTEGER UNIQUE, login TEXT,"
			  " score REAL, seen INTEGER)",
			  "INSERT INTO people VALUES('917', 'in', NULL, NULL);"
			  "UPDATE clinic_sync_table SET rows = 3 WHERE name = 'people'");
	char path[128];
	void *held = f;

	(void)state;
	snprintf(path, sizeof(path), "%s/other.db", f->dir);
	make_snapshot(path, C1,
		      "INSERT INTO people VALUES('917', 'in', NULL, NULL),"
		      " ('0917', 'out', NULL, NULL)");
	load_listed(f, "CREATE TABLE temp.listed(id TEXT); INSERT INTO temp.listed VALUES('0917')");
	assert_string_equal(query(f->path, "SELECT id, login FROM people ORDER BY id"),
			    "917|in\np1|ann\np2|bob");
	assert_string_equal(query(f->path, "SELECT key FROM clinic_cache_parked"),
			    "{\"id\":\"0917\"}");
	teardown(&held);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(digests_every_range),
		cmocka_unit_test(refuses_what_is_no_bound),
		cmocka_unit_test(lists_what_is_skipped),
		cmocka_unit_test(loads_listed_rows),
		cmocka_unit_test(parks_listed_rows),
		cmocka_unit_test(loads_listed_keys_that_a_column_confuses),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("ranges of keys", tests, NULL, NULL);
}
