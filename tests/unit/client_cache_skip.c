/*
 * Tables of the app that have other columns than the server's, and other keys
 * than ours: what is skipped, what is filled, which row is meant.
 */
#include "client_cache_app_support.h"

#define P1_SHORT "V2:p1V3:annV4:true"
#define P2_SHORT "V2:p2V3:bobV5:false"

/* people without score; login is computed in one of them. */
#define SHORT_APP                                                                                  \
	"CREATE TABLE people(room INTEGER NOT NULL, seen INTEGER, label TEXT NOT NULL,"            \
	" id TEXT PRIMARY KEY, added TEXT NOT NULL DEFAULT (date('2026-11-23')),"                  \
	" kind VARCHAR NOT NULL DEFAULT NULL, login TEXT, price DECIMAL NOT NULL,"                 \
	" letters INTEGER GENERATED ALWAYS AS (length(login)) VIRTUAL)"

static int setup_short(void **state)
{
	*state = start_app(SHORT_APP, NULL);
	return 0;
}

static void skips_what_the_table_lacks(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(query(f->path, "SELECT id, login, seen FROM people ORDER BY id"),
			    "p1|ann|1\np2|bob|0");
	check_digest(f, "people", 2, hash_of(P1_SHORT) + hash_of(P2_SHORT));
	next_frame(
		f,
		CHANGE("people", "insert", PERSON("p3"), "{\"id\":\"p3\",\"login\":\"cid\",\"score\":\"NaN\",\"seen\":true}") "," CHANGE(
			"people", "update", PERSON("p1"),
			"{\"score\":\"5\"}") "," CHANGE("people", "update", PERSON("p2"),
							"{\"score\":\"6\",\"login\":"
							"\"ben\"}") "," CHANGE("peopl"
									       "e",
									       "put", PERSON("p4"),
									       "{\"id"
									       "\":"
									       "\"p4"
									       "\","
									       "\"log"
									       "in\":"
									       "null,"
									       "\"sco"
									       "re\":"
									       "null,"
									       "\"see"
									       "n\":"
									       "null"
									       "}"));
	assert_string_equal(
		query(f->path, "SELECT id, login, seen, letters FROM people ORDER BY id"),
		"p1|ann|1|3\np2|ben|0|3\np3|cid|1|3\np4|~|~|~");
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_sync_exact"), "0");
	check_digest(f, "people", 4,
		     hash_of(P1_SHORT) + hash_of("V2:p2V3:benV5:false") +
			     hash_of("V2:p3V3:cidV4:true") + hash_of("V2:p4NN"));
	/* a row that lacks what the file has is still none */
	assert_int_equal(frame(f, clinic_cache_cursor(f->cache), C3,
			       CHANGE("people", "insert", PERSON("p5"),
				      "{\"id\":\"p5\",\"score\":null,\"seen\":null}")),
			 CLINIC_CACHE_ERR_PROTOCOL);
}

static void fills_what_nobody_delivers(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(query(f->path, "SELECT room, quote(label), added, quote(kind), price"
					   " FROM people WHERE id = 'p1'"),
			    "0|''|2026-11-23|''|0");
	exec_sql(f->path, "UPDATE people SET room = 7, label = 'x', added = 'y', kind = 'z'"
			  " WHERE id = 'p1'");
	next_frame(
		f,
		CHANGE("people", "put", PERSON("p1"), "{\"id\":\"p1\",\"login\":\"new\",\"score\":null,\"seen\":false}") "," CHANGE(
			"people", "insert", PERSON("p3"),
			"{\"id\":\"p3\",\"login\":null,\"score\":null,\"seen\":null}"));
	assert_string_equal(query(f->path, "SELECT id, login, room, label, added, kind FROM people"
					   " WHERE id <> 'p2' ORDER BY id"),
			    "p1|new|7|x|y|z\np3|~|0||2026-11-23|");
	/* and through a whole snapshot */
	replace_all(f, C2, NULL);
	assert_string_equal(query(f->path, "SELECT id, login, room, label, added, kind FROM people"
					   " ORDER BY id"),
			    "p1|ann|7|x|y|z\np2|bob|0||2026-11-23|");
}

static void leaves_the_apps_schema_alone(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(query(f->path, "SELECT sql FROM sqlite_schema WHERE name = 'people'"),
			    SHORT_APP);
	assert_string_equal(query(f->path, "SELECT count(*) FROM sqlite_schema"
					   " WHERE name = 'people_login'"),
			    "0");
	replace_all(f, C2, NULL);
	assert_string_equal(query(f->path, "SELECT sql FROM sqlite_schema WHERE name = 'people'"),
			    SHORT_APP);
}

static void names_what_it_skips(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_view *view;

	assert_int_equal(clinic_cache_view_open(f->path, &view, &f->err), CLINIC_CACHE_OK);
	assert_string_equal(clinic_cache_view_skipped(view, "people", 0), "score");
	assert_null(clinic_cache_view_skipped(view, "people", 1));
	assert_null(clinic_cache_view_skipped(view, "bills", 0));
	assert_null(clinic_cache_view_skipped(view, "nothing", 0));
	clinic_cache_view_close(view);
}

/* A delivered column that the app computes cannot be written. */
static void skips_generated_columns(void **state)
{
	struct fixture *f = start_app(
		"CREATE TABLE people(id TEXT PRIMARY KEY, login TEXT AS (upper(id)) STORED,"
		" score REAL AS (length(id)), seen INTEGER)",
		NULL);

	*state = f;
	next_frame(f, CHANGE("people", "update", PERSON("p1"), "{\"login\":\"x\",\"seen\":false}"));
	assert_string_equal(query(f->path, "SELECT id, login, seen FROM people ORDER BY id"),
			    "p1|P1|0\np2|P2|0");
	check_digest(f, "people", 2, hash_of("V2:p1V5:false") + hash_of("V2:p2V5:false"));
}

static void remembers_parked_rows_whole(void **state)
{
	struct fixture *f = start_app("CREATE TABLE people(id TEXT PRIMARY KEY,"
				      " seen INTEGER NOT NULL)",
				      NULL);

	*state = f;
	next_frame(
		f,
		CHANGE("people", "insert", PERSON("p3"), "{\"id\":\"p3\",\"login\":\"cid\",\"score\":\"1\",\"seen\":null}") "," CHANGE(
			"people", "update", PERSON("p3"), "{\"login\":\"dan\"}"));
	assert_string_equal(query(f->path, "SELECT data FROM clinic_cache_parked"),
			    "{\"id\":\"p3\",\"login\":\"dan\",\"score\":\"1\",\"seen\":null}");
	check_digest(f, "people", 3,
		     hash_of("V2:p1V4:true") + hash_of("V2:p2V5:false") + hash_of("V2:p3N"));
}

/* One by one, as rows of a table with other affinities are loaded. */
static void loads_what_the_table_has(void **state)
{
	struct fixture *f = start_app("CREATE TABLE people(id TEXT PRIMARY KEY, seen TEXT)", NULL);

	*state = f;
	assert_string_equal(query(f->path, "SELECT id, quote(seen) FROM people ORDER BY id"),
			    "p1|'1'\np2|'0'");
	check_digest(f, "people", 2, hash_of("V2:p1V4:true") + hash_of("V2:p2V5:false"));
}

/* ---- keys ---------------------------------------------------------------------------------- */

#define PUT(id, login)                                                                             \
	CHANGE("people", "put", PERSON(id),                                                        \
	       "{\"id\":\"" id "\",\"login\":\"" login "\",\"score\":null,\"seen\":null}")
#define LOGIN(id, login) CHANGE("people", "update", PERSON(id), "{\"login\":\"" login "\"}")
#define IDS "SELECT id, login FROM people ORDER BY id COLLATE BINARY"
#define KEYS "SELECT key FROM clinic_cache_parked ORDER BY key"

/* To the app A1 and a1 are one key; to the server they are two. */
static void tells_collated_keys_apart(void **state)
{
	static const char *const apps[] = {
		"CREATE TABLE people(id TEXT COLLATE NOCASE PRIMARY KEY, login TEXT, score REAL,"
		" seen INTEGER, note TEXT) WITHOUT ROWID",
		"CREATE TABLE people(id TEXT COLLATE NOCASE UNIQUE NOT NULL, login TEXT, score "
		"REAL,"
		" seen INTEGER, note TEXT)",
	};

	for (size_t i = 0; i < 2; i++) {
		struct fixture *f = start_app(apps[i], NULL);
		void *held = f;

		exec_sql(f->path, "UPDATE people SET note = 'own'");
		next_frame(f, PUT("A1", "big") "," PUT("a1", "small"));
		assert_string_equal(query(f->path, IDS), "A1|big\np1|ann\np2|bob");
		assert_string_equal(query(f->path, KEYS), "{\"id\":\"a1\"}");
		next_frame(f, LOGIN("a1", "smaller") "," LOGIN("A1", "bigger") "," CHANGE(
				      "people", "put", PERSON("P1"), "null"));
		assert_string_equal(query(f->path, IDS), "A1|bigger\np1|ann\np2|bob");
		check_digest(f, "people", 4,
			     hash_of("V2:A1V6:biggerNN") + hash_of("V2:a1V7:smallerNN") +
				     hash_of("V2:p1V3:annV3:1.5V4:true") +
				     hash_of("V2:p2V3:bobNV5:false"));
		next_frame(f, CHANGE("people", "delete", PERSON("A1"), "null"));
		assert_string_equal(query(f->path, IDS), "a1|smaller\np1|ann\np2|bob");
		assert_string_equal(query(f->path, KEYS), "");
		/* the key itself changes its case */
		next_frame(f,
			   CHANGE("people", "delete", PERSON("a1"), "null") "," PUT("A1", "again"));
		assert_string_equal(query(f->path, IDS), "A1|again\np1|ann\np2|bob");
		assert_int_equal(frame(f, clinic_cache_cursor(f->cache), C3,
				       CHANGE("people", "delete", PERSON("P1"), "null")),
				 CLINIC_CACHE_ERR_PROTOCOL);
		teardown(&held);
	}
	*state = NULL;
}

static void loads_collated_keys(void **state)
{
	struct fixture *f = start_app(
		"CREATE TABLE people(id TEXT COLLATE RTRIM PRIMARY KEY, login TEXT, score REAL,"
		" seen INTEGER, note TEXT)",
		"INSERT INTO people VALUES('p1 ', 'x', NULL, NULL), ('p1  ', 'y', NULL, NULL);"
		"UPDATE clinic_sync_table SET rows = 4 WHERE name = 'people'");

	*state = f;
	exec_sql(f->path, "UPDATE people SET note = 'of ' || id");
	assert_string_equal(query(f->path, "SELECT count(*) FROM people"), "2");
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_cache_parked"), "2");
	/* only one of them goes on: what the app noted for another is not its */
	replace_all(f, C2, "UPDATE people SET id = 'p1   ' WHERE id = 'p1'");
	assert_string_equal(query(f->path, "SELECT id, note FROM people ORDER BY id"),
			    "p1   |~\np2|of p2");
}

/* An INTEGER column makes 917 of both 917 and 0917. */
static void parks_keys_that_a_column_cannot_hold(void **state)
{
	struct fixture *f = start_app("CREATE TABLE people(id INTEGER UNIQUE, login TEXT,"
				      " score REAL, seen INTEGER)",
				      NULL);

	*state = f;
	next_frame(f, PUT("917", "in") "," PUT("0917", "out") "," PUT("9.0", "odd"));
	assert_string_equal(query(f->path, "SELECT id, login, typeof(id) FROM people ORDER BY id"),
			    "917|in|integer\np1|ann|text\np2|bob|text");
	assert_string_equal(query(f->path, "SELECT key, reason FROM clinic_cache_parked"),
			    "{\"id\":\"0917\"}|the key's column cannot hold the key\n"
			    "{\"id\":\"9.0\"}|the key's column cannot hold the key");
	next_frame(f, LOGIN("0917", "still out") "," LOGIN("917", "still in") "," CHANGE(
			      "people", "delete", PERSON("9.0"), "null"));
	check_digest(f, "people", 4,
		     hash_of("V4:0917V9:still outNN") + hash_of("V3:917V8:still inNN") +
			     hash_of("V2:p1V3:annV3:1.5V4:true") + hash_of("V2:p2V3:bobNV5:false"));
	next_frame(f, CHANGE("people", "delete", PERSON("917"),
			     "null") "," CHANGE("people", "oversize", PERSON("0917"), "null"));
	assert_string_equal(query(f->path, "SELECT id FROM people ORDER BY id"), "p1\np2");
	assert_string_equal(query(f->path, KEYS), "");
	next_frame(f, LOGIN("0917", "oversize rows are ignored"));
	assert_int_equal(frame(f, clinic_cache_cursor(f->cache), C3, LOGIN("00917", "nobody")),
			 CLINIC_CACHE_ERR_PROTOCOL);
}

/* INTEGER PRIMARY KEY takes no text at all. */
static void parks_texts_of_an_integer_key(void **state)
{
	struct fixture *f = start_app("CREATE TABLE people(id INTEGER PRIMARY KEY, login TEXT,"
				      " score REAL, seen INTEGER)",
				      NULL);

	*state = f;
	assert_string_equal(query(f->path, "SELECT key, reason FROM clinic_cache_parked"),
			    "{\"id\":\"p1\"}|datatype mismatch\n{\"id\":\"p2\"}|datatype mismatch");
	next_frame(f, PUT("12", "in") "," LOGIN("p1", "eve") "," CHANGE("people", "delete",
									PERSON("p2"), "null"));
	check_digest(f, "people", 2, hash_of("V2:12V2:inNN") + hash_of("V2:p1V3:eveV3:1.5V4:true"));
}

/* A number kept as text, in a column that is unique and no primary key. */
static void finds_integer_keys_in_text_columns(void **state)
{
	struct fixture *f = start_app("CREATE TABLE bills(amount TEXT, id TEXT UNIQUE)", NULL);

	*state = f;
	next_frame(
		f,
		CHANGE("bills", "insert", "{\"id\":10}", "{\"id\":10,\"amount\":\"2.00\"}") "," CHANGE(
			"bills", "update", "{\"id\":1}",
			"{\"amount\":\"3.00\"}") "," CHANGE("bills", "put", "{\"id\":10}",
							    "{\"id\":10,\"amount\":\"4.00\"}"));
	assert_string_equal(query(f->path, "SELECT id, amount FROM bills ORDER BY id"),
			    "1|3.00\n10|4.00");
	check_digest(f, "bills", 2, hash_of("V4:3.00V1:1") + hash_of("V4:4.00V2:10"));
}

static void needs_the_key(void **state)
{
	struct fixture *f = start_app("", NULL);

	*state = f;
	clinic_cache_close(f->cache);
	exec_sql(f->path, "INSERT INTO clinic_sync_meta VALUES('adopted', '[\"people\"]');"
			  "DROP TABLE people; CREATE TABLE people(login TEXT, score REAL)");
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
}

#define APP_TEST(test) cmocka_unit_test_setup_teardown(test, setup_short, teardown)
#define OWN_TEST(test) cmocka_unit_test_teardown(test, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		APP_TEST(skips_what_the_table_lacks),
		APP_TEST(fills_what_nobody_delivers),
		APP_TEST(leaves_the_apps_schema_alone),
		APP_TEST(names_what_it_skips),
		OWN_TEST(skips_generated_columns),
		OWN_TEST(remembers_parked_rows_whole),
		OWN_TEST(loads_what_the_table_has),
		cmocka_unit_test(tells_collated_keys_apart),
		OWN_TEST(loads_collated_keys),
		OWN_TEST(parks_keys_that_a_column_cannot_hold),
		OWN_TEST(parks_texts_of_an_integer_key),
		OWN_TEST(finds_integer_keys_in_text_columns),
		OWN_TEST(needs_the_key),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("other columns", tests, NULL, NULL);
}
