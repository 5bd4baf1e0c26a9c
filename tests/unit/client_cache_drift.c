/* The app changes its schema below the cache: noticed, made usable, noted as due. */
#include "client_cache_support.h"
#include "cache_internal.h"

#define PEOPLE "SELECT id, login, score, seen FROM people ORDER BY id"
#define COLUMNS "SELECT group_concat(name) FROM pragma_table_info('people')"
#define DUE "SELECT value FROM clinic_sync_meta WHERE key = 'repair_due'"
#define RENAME_P1 CHANGE("people", "update", PERSON("p1"), "{\"login\":\"new\"}")
#define ADD_P3                                                                                     \
	CHANGE("people", "insert", PERSON("p3"),                                                   \
	       "{\"id\":\"p3\",\"login\":\"cid\",\"score\":null,\"seen\":true}")

/* A frame after somebody else's sql. */
static void change_below(struct fixture *f, const char *sql, const char *change)
{
	exec_sql(f->path, sql);
	assert_int_equal(frame(f, C1, C2, change), CLINIC_CACHE_OK);
	assert_string_equal(file_cursor(f), C2);
}

/* The table is asked for by the next tick. */
static void asks_for(struct fixture *f, const char *table)
{
	size_t len;
	const char *text;
	char wanted[128];

	snprintf(wanted, sizeof(wanted), "{\"type\":\"request_table_sync\",\"table\":\"%s\"}",
		 table);
	f->now += 2000;
	assert_true(clinic_cache_tick(f->cache, f->now));
	while ((text = clinic_cache_next_frame(f->cache, &len)))
		if (strcmp(text, wanted) == 0)
			return;
	fail_msg("%s is not asked for", table);
}

static void makes_a_dropped_table_again(void **state)
{
	struct fixture *f = *state;

	/* an update of a row that went with the table is no divergence */
	change_below(f, "DROP TABLE people", RENAME_P1);
	assert_string_equal(query(f->path, PEOPLE), "");
	assert_string_equal(query(f->path, DUE), "[\"people\"]");
	assert_string_equal(query(f->path, "SELECT count(*) FROM sqlite_schema"
					   " WHERE name = 'people_login'"),
			    "1");
	asks_for(f, "people");
	assert_int_equal(frame(f, C2, C3, ADD_P3), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, PEOPLE), "p3|cid|~|1");
}

static void sees_it_without_a_frame(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "DROP TABLE people");
	asks_for(f, "people");
	assert_string_equal(query(f->path, PEOPLE), "");
	assert_non_null(strstr(f->events, "sync_error"));
}

static void puts_a_column_back(void **state)
{
	struct fixture *f = *state;

	change_below(f, "ALTER TABLE people RENAME COLUMN score TO points", RENAME_P1);
	assert_string_equal(query(f->path, COLUMNS), "id,login,points,seen,score");
	assert_string_equal(query(f->path, DUE), "[\"people\"]");
	asks_for(f, "people");
}

static void keeps_an_added_column(void **state)
{
	struct fixture *f = *state;

	change_below(f, "ALTER TABLE people ADD COLUMN own TEXT; UPDATE people SET own = id",
		     RENAME_P1);
	assert_string_equal(query(f->path, "SELECT id, login, own FROM people ORDER BY id"),
			    "p1|new|p1\np2|bob|p2");
}

static void sees_an_emptied_table(void **state)
{
	struct fixture *f = *state;

	change_below(f, "CREATE TABLE log(x); DELETE FROM people",
		     CHANGE("people", "delete", PERSON("p1"), "null"));
	assert_string_equal(query(f->path, DUE), "[\"people\"]");
	asks_for(f, "people");
}

/* Moved by a VACUUM, or built anew with the same rows: not fetched, but to be proven. */
static void lets_a_vacuum_pass(void **state)
{
	struct fixture *f = *state;

	change_below(f, "CREATE TABLE log(x); DROP TABLE log; VACUUM", RENAME_P1);
	assert_string_equal(query(f->path, DUE), "");
	assert_string_equal(query(f->path, "SELECT id, login FROM people ORDER BY id"),
			    "p1|new\np2|bob");
}

static void takes_the_apps_own_table(void **state)
{
	struct fixture *f = *state;

	change_below(f,
		     "DROP TABLE people; CREATE TABLE people(id TEXT PRIMARY KEY, seen TEXT,"
		     " own INTEGER NOT NULL DEFAULT 7); CREATE INDEX mine ON people(own)",
		     ADD_P3);
	assert_string_equal(query(f->path, COLUMNS), "id,seen,own");
	assert_string_equal(query(f->path, "SELECT id, own FROM people"), "p3|7");
	assert_string_equal(
		query(f->path, "SELECT value FROM clinic_sync_meta WHERE key = 'adopted'"),
		"[\"people\"]");
	assert_string_equal(query(f->path, "SELECT name FROM sqlite_schema WHERE name = 'mine'"),
			    "mine");
	asks_for(f, "people");
}

/* While nobody syncs; and what is due is still due in the next process. */
static void sees_it_when_it_opens(void **state)
{
	struct fixture *f = *state;

	clinic_cache_close(f->cache);
	exec_sql(f->path, "DROP TABLE bills");
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, DUE), "[\"bills\"]");
	clinic_cache_close(f->cache);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	assert_string_equal(clinic_cache_cursor(f->cache), C1);
	connect_link(f);
	become_ready(f);
	asks_for(f, "bills");
	assert_string_equal(query(f->path, PEOPLE), "p1|ann|1.5|1\np2|bob|~|0");
}

/* Its key is gone, and it is not ours to drop: only its owner can say what is to be. */
static void asks_when_it_cannot(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_todo todo;

	exec_sql(f->path, "DROP TABLE people; CREATE TABLE people(a, b, c, d, e, f);"
			  "INSERT INTO people(a) VALUES('kept')");
	assert_int_equal(frame(f, C1, C2, RENAME_P1), CLINIC_CACHE_ERR_PROTOCOL);
	clinic_cache_disconnected(f->cache, f->now, 0, "closed");
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":null"));
	assert_int_equal(say(f,
			     "{\"type\":\"resync_required\",\"reason\":\"no_cursor\",\"at\":\"" C2
			     "\",\"tables\":null}"),
			 CLINIC_CACHE_OK);
	fetch(f, C2, NULL);
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_ERR_USAGE);
	assert_non_null(strstr(clinic_cache_last_error(f->cache)->text, "people"));
	assert_int_equal(next(f, &todo), CLINIC_CACHE_STOP);
	assert_string_equal(query(f->path, "SELECT a FROM people"), "kept");
}

static void leaves_other_tables_alone(void **state)
{
	struct fixture *f = *state;

	change_below(f,
		     "CREATE TABLE own(x UNIQUE); INSERT INTO own VALUES(1), (2);"
		     "CREATE VIEW seen AS SELECT id FROM people WHERE seen;"
		     "CREATE TRIGGER t AFTER UPDATE ON people BEGIN DELETE FROM own; END;"
		     "DROP TABLE bills",
		     RENAME_P1);
	assert_string_equal(query(f->path, "SELECT x FROM own ORDER BY x"), "1\n2");
	assert_string_equal(query(f->path, "SELECT id FROM seen"), "p1");
	assert_string_equal(query(f->path, "SELECT name FROM sqlite_schema WHERE name = 't'"), "t");
}

/*
 * A constraint of the app's on a table we made: what it refuses waits, and nothing else does,
 * neither with a frame nor with a whole snapshot.
 */
static void parks_what_the_app_refuses(struct fixture *f, const char *sql, const char *refused)
{
	exec_sql(f->path, sql);
	assert_int_equal(frame(f, C1, C2,
			       CHANGE("people", "insert", PERSON("p3"),
				      "{\"id\":\"p3\",\"login\":\"cid\",\"score\":\"1.5\","
				      "\"seen\":true}") "," RENAME_P1),
			 CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, PEOPLE), "p1|new|1.5|1\np2|bob|~|0");
	assert_string_equal(query(f->path, "SELECT key, reason FROM clinic_cache_parked"), refused);
	assert_int_equal(say(f, "{\"type\":\"resync_required\",\"reason\":\"table_changed\","
				"\"at\":\"" C3 "\",\"tables\":null}"),
			 CLINIC_CACHE_OK);
	fetch(f, C3,
	      "INSERT INTO people VALUES('p3', 'cid', 1.5, 1);"
	      "UPDATE clinic_sync_table SET rows = 3 WHERE name = 'people'");
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, PEOPLE), "p1|ann|1.5|1\np2|bob|~|0");
	assert_string_equal(query(f->path, "SELECT key, reason FROM clinic_cache_parked"), refused);
}

static void lives_with_a_unique_index(void **state)
{
	parks_what_the_app_refuses(*state, "CREATE UNIQUE INDEX mine ON people(score)",
				   "{\"id\":\"p3\"}|UNIQUE constraint failed: people.score");
}

/* Nobody delivers the column: a new row has its default. */
static void lives_with_a_check(void **state)
{
	parks_what_the_app_refuses(*state,
				   "ALTER TABLE people ADD COLUMN own INTEGER DEFAULT 7"
				   " CHECK (own < 10 AND login <> 'cid')",
				   "{\"id\":\"p3\"}|CHECK constraint failed: own < 10"
				   " AND login <> 'cid'");
}

/* A name is no constraint: such a table is still ours, and gets what the server adds. */
static void keeps_a_table_with_a_telling_name(void **state)
{
	struct fixture *f = *state;

	change_below(f,
		     "ALTER TABLE people ADD COLUMN checked TEXT;"
		     "ALTER TABLE people ADD COLUMN \"check (me)\" TEXT DEFAULT 'check (it)';"
		     "CREATE INDEX mine ON people(score)",
		     RENAME_P1);
	assert_string_equal(
		query(f->path, "SELECT count(*) FROM clinic_sync_meta WHERE key = 'adopted'"), "0");
}

/* On a lent connection nobody waits for a lock: it is no damage either way. */
static void takes_a_lock_for_no_damage(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_options options = {
		.url = "ws://127.0.0.1:8080/ws",
		.access_code = "code",
		.on_event = keep_event,
		.context = f,
		.user_version = -1,
	};
	sqlite3 *lender, *app;

	clinic_cache_close(f->cache);
	assert_int_equal(sqlite3_open(f->path, &lender), SQLITE_OK);
	assert_int_equal(sqlite3_open(f->path, &app), SQLITE_OK);
	assert_int_equal(cache_open_on(lender, f->path, &options, &f->cache, &f->err),
			 CLINIC_CACHE_OK);
	connect_link(f);
	become_ready(f);
	assert_int_equal(
		sqlite3_exec(app, "CREATE TABLE own(x); BEGIN IMMEDIATE", NULL, NULL, NULL),
		SQLITE_OK);
	f->now += 3000;
	assert_true(clinic_cache_tick(f->cache, f->now));
	assert_non_null(strstr(f->events, "sync_error"));
	assert_int_equal(sqlite3_exec(app, "DROP TABLE people; COMMIT", NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(app);
	f->now += 10000;
	clinic_cache_alive(f->cache, f->now);
	asks_for(f, "people");
	clinic_cache_disconnected(f->cache, f->now, 1006, "gone");
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":\"" C1 "\""));
	clinic_cache_close(f->cache);
	f->cache = NULL;
	sqlite3_close(lender);
}

/* The server drops a column of a table we made: what the app added to it stays. */
static void keeps_what_the_app_added(void **state)
{
	struct fixture *f = *state;
	const char *narrow =
		"DROP TABLE people; CREATE TABLE people(id TEXT NOT NULL, login TEXT, seen INTEGER,"
		" PRIMARY KEY(id)); INSERT INTO people VALUES('p1', 'ann', 1), ('p3', 'cid', 0);"
		"CREATE UNIQUE INDEX people_login ON people(login);"
		"UPDATE clinic_sync_table SET schema = replace(schema, '{\"name\":\"score\","
		"\"type\":\"double precision\",\"class\":\"float\",\"nullable\":true,"
		"\"identity\":false},', '') WHERE name = 'people'";

	exec_sql(f->path,
		 "ALTER TABLE people ADD COLUMN note TEXT NOT NULL DEFAULT 'none' COLLATE NOCASE;"
		 "UPDATE people SET note = 'Note ' || id; CREATE INDEX by_note ON people(note);"
		 "CREATE TABLE log(x);"
		 "CREATE TRIGGER logged AFTER DELETE ON people BEGIN INSERT INTO log VALUES(1); "
		 "END");
	assert_int_equal(say(f, "{\"type\":\"resync_required\",\"reason\":\"table_changed\","
				"\"at\":\"" C2 "\",\"tables\":null}"),
			 CLINIC_CACHE_OK);
	fetch(f, C2, narrow);
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, COLUMNS), "id,login,seen,note");
	assert_string_equal(query(f->path, "SELECT id, login, note FROM people ORDER BY id"),
			    "p1|ann|Note p1\np3|cid|none");
	assert_string_equal(query(f->path, "SELECT id FROM people WHERE note = 'NOTE P1'"), "p1");
	assert_string_equal(query(f->path, "SELECT group_concat(name) FROM (SELECT name FROM"
					   " sqlite_schema WHERE name IN ('by_note', 'logged')"
					   " ORDER BY name)"),
			    "by_note,logged");
	assert_string_equal(query(f->path, "SELECT count(*) FROM log"), "0");
}

/* Another snapshot, changed by sql. */
static void bring(struct fixture *f, const char *cursor, const char *sql)
{
	assert_int_equal(say(f, "{\"type\":\"resync_required\",\"reason\":\"table_changed\","
				"\"at\":null,\"tables\":null}"),
			 CLINIC_CACHE_OK);
	fetch(f, cursor, sql);
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_OK);
}

/* The server publishes it no more, or the device wants it no more. */
static void leaves_a_table_with_the_apps_column(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "ALTER TABLE bills ADD COLUMN note TEXT;"
			  "UPDATE bills SET note = 'the app wrote this'");
	bring(f, C2, "DROP TABLE bills; DROP TABLE people; DELETE FROM clinic_sync_table");
	assert_string_equal(query(f->path, "SELECT id, note FROM bills"), "1|the app wrote this");
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_sync_table"), "0");
	/* the one without such a column went */
	assert_string_equal(query(f->path, "SELECT name FROM sqlite_schema WHERE type = 'table'"
					   " AND name IN ('people', 'bills')"),
			    "bills");
}

/* The server retyped score and added phone; what the app added cannot be made anew. */
static void leaves_what_cannot_be_made_anew(void **state)
{
	struct fixture *f = *state;
	const char *other =
		"DROP TABLE people; CREATE TABLE people(id TEXT NOT NULL, login TEXT, score TEXT,"
		" seen INTEGER, phone TEXT, PRIMARY KEY(id));"
		"INSERT INTO people VALUES('p1', 'ann', 'high', 1, '0917'), ('p3', 'cid', 'low', "
		"0, "
		"'');"
		"UPDATE clinic_sync_table SET schema = replace(replace(schema,"
		"'\"double precision\",\"class\":\"float\"', '\"text\",\"class\":\"text\"'),"
		"'}],\"indexes\"', '},{\"name\":\"phone\",\"type\":\"text\",\"class\":\"text\","
		"\"nullable\":true,\"identity\":false}],\"indexes\"') WHERE name = 'people'";

	exec_sql(f->path, "ALTER TABLE people ADD COLUMN upper_login TEXT AS (upper(login));"
			  "CREATE TABLE rooms(id);"
			  "ALTER TABLE people ADD COLUMN room INTEGER REFERENCES rooms(id);"
			  "UPDATE people SET room = 7");
	bring(f, C2, other);
	assert_string_equal(query(f->path, "SELECT id, login, score, phone, upper_login, room"
					   " FROM people ORDER BY id"),
			    "p1|ann|high|0917|ANN|7\np3|cid|low||CID|~");
	assert_string_equal(
		query(f->path, "SELECT \"table\" FROM pragma_foreign_key_list('people')"), "rooms");
}

/* The rows have another key now: none of them is the one that the app wrote into. */
static void keeps_values_of_another_key(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "ALTER TABLE bills ADD COLUMN note TEXT;"
			  "INSERT INTO bills VALUES(2, 5, NULL), (3, 6, 'mine')");
	bring(f, C2,
	      "DROP TABLE bills; CREATE TABLE bills(id INTEGER NOT NULL, line INTEGER NOT NULL,"
	      " amount REAL, PRIMARY KEY(id, line)); INSERT INTO bills VALUES(3, 1, 6.5);"
	      "UPDATE clinic_sync_table SET schema = replace(replace(replace(schema,"
	      "'\"identity\":true', '\"identity\":false'), '[\"id\"]', '[\"id\",\"line\"]'),"
	      "'\"columns\":[', '\"columns\":[{\"name\":\"line\",\"type\":\"integer\","
	      "\"class\":\"integer\",\"nullable\":false,\"identity\":false},') WHERE name = "
	      "'bills'");
	assert_string_equal(query(f->path, "SELECT id, line, amount, note FROM bills"),
			    "3|1|6.5|~");
	assert_string_equal(query(f->path, "SELECT \"table\", key, data FROM clinic_cache_orphans"),
			    "bills|{\"id\":3}|{\"id\":3,\"amount\":6.0,\"note\":\"mine\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(makes_a_dropped_table_again, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(sees_it_without_a_frame, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(puts_a_column_back, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(keeps_an_added_column, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(sees_an_emptied_table, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(lets_a_vacuum_pass, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(takes_the_apps_own_table, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(sees_it_when_it_opens, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(asks_when_it_cannot, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(leaves_other_tables_alone, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(keeps_what_the_app_added, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(leaves_a_table_with_the_apps_column, setup_ready,
						teardown),
		cmocka_unit_test_setup_teardown(leaves_what_cannot_be_made_anew, setup_ready,
						teardown),
		cmocka_unit_test_setup_teardown(keeps_values_of_another_key, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(takes_a_lock_for_no_damage, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(lives_with_a_unique_index, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(lives_with_a_check, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(keeps_a_table_with_a_telling_name, setup_ready,
						teardown),
	};

	return cmocka_run_group_tests_name("an app's upgrade below the cache", tests, NULL, NULL);
}
