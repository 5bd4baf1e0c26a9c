/*
 * Rows of an app's table whose key stays are never taken out: their numbers,
 * what refers to those, and the app's own values outlive an adoption, a fresh
 * snapshot and a repair.
 */
#include "client_cache_app_support.h"

#include "cache_internal.h"

#define NUMBERED                                                                                   \
	"CREATE TABLE people(_id INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, login TEXT UNIQUE," \
	" score REAL, seen INTEGER, badge TEXT UNIQUE, pin TEXT NOT NULL CHECK(length(pin) = 4)"   \
	" DEFAULT '0000')"
#define ROWS "SELECT _id, id, login, badge, pin FROM people ORDER BY id"

#define COUNT                                                                                      \
	";UPDATE clinic_sync_table SET rows = (SELECT count(*) FROM people) WHERE name = 'people'"

static void adopt(struct clinic_cache_options *options)
{
	options->adopt = "server";
}

/* The app's file has rows before the first snapshot comes. */
static struct fixture *start_with_rows(const char *app_sql, const char *more_sql)
{
	struct fixture *f = malloc(sizeof(*f));

	assert_non_null(f);
	make_dir(f);
	f->options = adopt;
	exec_sql(f->path, app_sql);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":null"));
	assert_int_equal(say(f,
			     "{\"type\":\"resync_required\",\"reason\":\"no_cursor\",\"at\":\"" C1
			     "\",\"tables\":null}"),
			 CLINIC_CACHE_OK);
	fetch(f, C1, more_sql);
	if (clinic_cache_snapshot_fetched(f->cache, f->now) != CLINIC_CACHE_OK)
		fail_msg("%s", clinic_cache_last_error(f->cache)->text);
	become_ready(f);
	return f;
}

/* How many rows of people were written since, and how. */
static struct {
	int inserted, updated, deleted;
} writes;

static void count_write(void *context, int what, const char *database, const char *table,
			sqlite3_int64 rowid)
{
	(void)context;
	(void)rowid;
	if (strcmp(database, "main") != 0 || strcmp(table, "people") != 0)
		return;
	writes.inserted += what == SQLITE_INSERT;
	writes.updated += what == SQLITE_UPDATE;
	writes.deleted += what == SQLITE_DELETE;
}

static void check_writes(int inserted, int updated, int deleted)
{
	assert_int_equal(writes.inserted, inserted);
	assert_int_equal(writes.updated, updated);
	assert_int_equal(writes.deleted, deleted);
}

static void watch_writes(struct fixture *f)
{
	memset(&writes, 0, sizeof(writes));
	sqlite3_update_hook(f->cache->db, count_write, NULL);
}

static void keeps_numbers_at_adoption(void **state)
{
	struct fixture *f = start_with_rows(
		NUMBERED ";INSERT INTO people(_id, id, login, badge, pin) VALUES(1, 'p2', 'bob', "
			 "'x', '2222'),"
			 " (2, 'p1', 'ann', 'y', '1111'), (3, 'p9', 'gone', 'z', '9999');"
			 "CREATE TABLE notes(person INTEGER REFERENCES people(_id), note TEXT);"
			 "INSERT INTO notes VALUES(1, 'of p2'), (2, 'of p1')",
		"INSERT INTO people VALUES('p3', 'new', 1, 1)" COUNT);

	*state = f;
	assert_string_equal(query(f->path, ROWS), "2|p1|ann|y|1111\n1|p2|bob|x|2222\n"
						  "3|p3|new|~|0000");
	assert_string_equal(query(f->path, "SELECT note, id FROM notes"
					   " JOIN people ON _id = person ORDER BY id"),
			    "of p1|p1\nof p2|p2");
	assert_string_equal(query(f->path, PARKED), "");
}

/* In every form of an app's table: what stays is not written, what differs is updated. */
static void writes_only_what_differs(void **state)
{
	static const char *const apps[] = {
		"CREATE TABLE people(_id INTEGER PRIMARY KEY, id TEXT UNIQUE, login TEXT, score "
		"REAL,"
		" seen INTEGER, note TEXT)",
		"CREATE TABLE people(id TEXT PRIMARY KEY, login TEXT, score TEXT, seen TEXT, note "
		"TEXT)",
		"CREATE TABLE people(id TEXT COLLATE NOCASE PRIMARY KEY, login TEXT COLLATE "
		"NOCASE,"
		" score, seen, note TEXT) WITHOUT ROWID",
		"CREATE TABLE people(note TEXT, seen NUMERIC, score NUMERIC, login, id BLOB "
		"UNIQUE)",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(apps) / sizeof(apps[0]); i++) {
		struct fixture *f = start_app(apps[i], "INSERT INTO people VALUES('p3', 'cid', 3, "
						       "1), ('p4', 'dan', -0.5, 0)" COUNT);
		void *held = f;

		exec_sql(f->path, "UPDATE people SET note = 'of ' || id");
		watch_writes(f);
		replace_all(f, C2,
			    "DELETE FROM people WHERE id = 'p2';"
			    "UPDATE people SET login = 'ANN' WHERE id = 'p1';"
			    "INSERT INTO people VALUES('p3', 'cid', 3, 1), ('p4', 'dan', -0.5, 0),"
			    " ('P4', 'fay', 'NaN', 0);"
			    "INSERT INTO clinic_sync_exact VALUES('people', '{\"id\":\"P4\"}', "
			    "'score', 'NaN')" COUNT);
		/* SQLite tells of no row of a table WITHOUT ROWID */
		check_writes(i != 2, i != 2, i != 2);
		assert_string_equal(query(f->path, "SELECT id, login, note FROM people"
						   " ORDER BY id COLLATE BINARY"),
				    i == 2 ? "p1|ANN|of p1\np3|cid|of p3\np4|dan|of p4"
					   : "P4|fay|~\np1|ANN|of p1\np3|cid|of p3\np4|dan|of p4");
		check_digest(f, "people", 4,
			     hash_of("V2:p1V3:ANNV3:1.5V4:true") +
				     hash_of("V2:p3V3:cidV1:3V4:true") +
				     hash_of("V2:p4V3:danV4:-0.5V5:false") +
				     hash_of("V2:P4V3:fayV3:NaNV5:false"));
		watch_writes(f);
		/* the same once more */
		replace_all(f, C3,
			    "DELETE FROM people WHERE id = 'p2';"
			    "UPDATE people SET login = 'ANN' WHERE id = 'p1';"
			    "INSERT INTO people VALUES('p3', 'cid', 3, 1), ('p4', 'dan', -0.5, 0),"
			    " ('P4', 'fay', 'NaN', 0);"
			    "INSERT INTO clinic_sync_exact VALUES('people', '{\"id\":\"P4\"}', "
			    "'score', 'NaN')" COUNT);
		check_writes(0, 0, 0);
		teardown(&held);
	}
}

/* Delivered values that a UNIQUE guards change hands: nobody's number does. */
static void swaps_values_in_place(void **state)
{
	struct fixture *f =
		start_app(NUMBERED, "INSERT INTO people VALUES('p3', 'cid', 3, 1)" COUNT);

	*state = f;
	exec_sql(f->path, "UPDATE people SET _id = _id + 10, badge = 'badge ' || id, pin = 1000 + "
			  "_id;"
			  "UPDATE people SET _id = CASE id WHEN 'p1' THEN 2 WHEN 'p2' THEN 3 ELSE "
			  "1 END");
	replace_all(f, C2,
		    "DROP INDEX people_login;"
		    "UPDATE people SET login = CASE id WHEN 'p1' THEN 'bob' ELSE 'cid' END;"
		    "INSERT INTO people VALUES('p3', 'ann', 3, 1)" COUNT);
	assert_string_equal(query(f->path, ROWS),
			    "2|p1|bob|badge p1|1001\n3|p2|cid|badge p2|1002\n1|p3|ann|badge "
			    "p3|1003");
	/* one that is refused makes all of them go row by row */
	exec_sql(f->path, "CREATE UNIQUE INDEX one_score ON people(score)");
	replace_all(f, C3,
		    "DROP INDEX people_login;"
		    "UPDATE people SET score = 3, login = CASE id WHEN 'p1' THEN 'ann' ELSE 'bob' "
		    "END;"
		    "INSERT INTO people VALUES('p3', 'cid', 1, 1), ('p4', 'dan', 2, 1)" COUNT);
	assert_string_equal(query(f->path, "SELECT _id, id, login, badge, pin FROM people WHERE id "
					   "> 'p2' ORDER BY id"),
			    "1|p3|cid|badge p3|1003\n4|p4|dan|~|0000");
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_cache_parked"), "1");
	/* and back: the parked one has its number, which no new row took */
	exec_sql(f->path, "DROP INDEX one_score");
	replace_all(f, C4,
		    "INSERT INTO people VALUES('p3', 'cid', 1, 1), ('p4', 'dan', 2, 1)" COUNT);
	assert_string_equal(query(f->path, ROWS),
			    "2|p1|ann|badge p1|1001\n3|p2|bob|badge p2|1002\n1|p3|cid|badge "
			    "p3|1003\n4|p4|dan|~|0000");
	assert_string_equal(query(f->path, PARKED), "");
}

/* A hidden number stays, too, when values are swapped. */
static void keeps_hidden_numbers(void **state)
{
	static const char *const apps[] = {
		"CREATE TABLE people(id TEXT PRIMARY KEY, login TEXT UNIQUE, score REAL, seen "
		"INTEGER, note)",
		"CREATE TABLE people(id TEXT PRIMARY KEY, login TEXT UNIQUE, score REAL, seen "
		"INTEGER, rowid TEXT, oid TEXT)",
		"",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(apps) / sizeof(apps[0]); i++) {
		struct fixture *f = start_app(apps[i], NULL);
		void *held = f;

		exec_sql(f->path, "UPDATE people SET _rowid_ = CASE id WHEN 'p1' THEN 77 ELSE 33 "
				  "END");
		replace_all(f, C2,
			    "DROP INDEX people_login;"
			    "UPDATE people SET login = CASE id WHEN 'p1' THEN 'bob' ELSE 'ann' "
			    "END;"
			    "CREATE UNIQUE INDEX people_login ON people(login)");
		assert_string_equal(
			query(f->path, "SELECT _rowid_, id, login FROM people ORDER BY id"),
			"77|p1|bob\n33|p2|ann");
		teardown(&held);
	}
}

/* Room and others declare the number NOT NULL: SQLite numbers such rows all the same. */
static void numbers_new_rows(void **state)
{
	struct fixture *f = start_app(
		"CREATE TABLE people(_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
		" id TEXT NOT NULL UNIQUE, login TEXT UNIQUE, score REAL CHECK(score < 100), seen "
		"INTEGER)",
		NULL);

	*state = f;
	assert_string_equal(query(f->path, "SELECT _id, id FROM people ORDER BY id"), "1|p1\n2|p2");
	next_frame(f, CHANGE("people", "insert", PERSON("p3"),
			     "{\"id\":\"p3\",\"login\":null,\"score\":null,\"seen\":null}"));
	assert_string_equal(query(f->path, "SELECT _id, id FROM people ORDER BY id"),
			    "1|p1\n2|p2\n3|p3");
	assert_string_equal(query(f->path, PARKED), "");
}

#define BADGED(id, login, score)                                                                   \
	"{\"id\":\"" id "\",\"login\":" login ",\"score\":" score ",\"seen\":true}"

/* A parked row's number and values are its own, whatever comes meanwhile. */
static void parked_rows_keep_their_numbers(void **state)
{
	struct fixture *f =
		start_app("CREATE TABLE people(_id INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
			  " login TEXT UNIQUE, score REAL CHECK(score < 100), seen INTEGER,"
			  " badge TEXT UNIQUE)",
			  NULL);

	*state = f;
	exec_sql(f->path, "UPDATE people SET badge = id || '!'");
	/* p2 has the largest number: the next row would get it */
	next_frame(f, CHANGE("people", "update", PERSON("p2"), "{\"score\":\"100\"}"));
	next_frame(f, CHANGE("people", "insert", PERSON("p3"),
			     BADGED("p3", "\"cid\"",
				    "\"1\"")) "," CHANGE("people", "insert", PERSON("p4"),
							 BADGED("p4", "\"dan\"", "\"1\"")));
	assert_string_equal(query(f->path, "SELECT _id, id, badge FROM people ORDER BY id"),
			    "1|p1|p1!\n3|p3|~\n4|p4|~");
	next_frame(f, CHANGE("people", "update", PERSON("p2"), "{\"score\":\"1\"}"));
	assert_string_equal(query(f->path, "SELECT _id, id, badge FROM people ORDER BY id"),
			    "1|p1|p1!\n2|p2|p2!\n3|p3|~\n4|p4|~");
	/* swapped in one frame, with a new row between */
	next_frame(
		f,
		CHANGE("people", "delete", PERSON("p3"), "null") "," CHANGE(
			"people", "update", PERSON("p4"),
			"{\"login\":\"ann\"}") "," CHANGE("people", "insert", PERSON("p5"),
							  BADGED("p5", "\"eve\"",
								 "\"1\"")) "," CHANGE("people",
										      "update",
										      PERSON("p1"),
										      "{\"login\":"
										      "\"dan\"}"));
	assert_string_equal(query(f->path, "SELECT _id, id, login FROM people ORDER BY id"),
			    "1|p1|dan\n2|p2|bob\n4|p4|ann\n5|p5|eve");
	/* a whole row in the place of a parked one is still that row */
	next_frame(f, CHANGE("people", "update", PERSON("p2"), "{\"score\":\"100\"}"));
	next_frame(f, CHANGE("people", "put", PERSON("p2"), BADGED("p2", "\"bob\"", "\"2\"")));
	assert_string_equal(query(f->path, "SELECT _id, id, badge, score FROM people WHERE id = "
					   "'p2'"),
			    "2|p2|p2!|2.0");
	/* somebody took the number: nobody's is taken in turn */
	next_frame(f, CHANGE("people", "update", PERSON("p2"), "{\"score\":\"100\"}"));
	exec_sql(f->path, "UPDATE people SET _id = 2 WHERE id = 'p1'");
	f->events[0] = '\0';
	next_frame(f, CHANGE("people", "update", PERSON("p2"), "{\"score\":\"1\"}"));
	assert_string_equal(query(f->path, "SELECT _id, id FROM people ORDER BY id"),
			    "2|p1\n4|p4\n5|p5");
	assert_string_equal(query(f->path, PARKED),
			    "{\"id\":\"p2\"}|UNIQUE constraint failed: people._id");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(keeps_numbers_at_adoption, teardown),
		cmocka_unit_test(writes_only_what_differs),
		cmocka_unit_test_teardown(swaps_values_in_place, teardown),
		cmocka_unit_test(keeps_hidden_numbers),
		cmocka_unit_test_teardown(numbers_new_rows, teardown),
		cmocka_unit_test_teardown(parked_rows_keep_their_numbers, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("rows in place", tests, NULL, NULL);
}
