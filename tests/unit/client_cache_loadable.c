/* clinic_cache.so on a connection of the app's own: what it does, and what it leaves as it was. */
#include "client_cache_support.h"

#define OPTIONS                                                                                    \
	"{\"url\":\"ws://127.0.0.1:8080/ws\",\"access_code\":\"code\","                            \
	"\"reconnect_least_ms\":1,\"reconnect_most_ms\":1}"
#define CONNECTED                                                                                  \
	"{\"type\":\"connected\",\"server\":\"clinic-relay\",\"version\":\"1\","                   \
	"\"protocol\":\"clinic-sync.v1\",\"time\":\"t\",\"limits\":{}}"
#define RESYNC                                                                                     \
	"{\"type\":\"resync_required\",\"reason\":\"no_cursor\",\"at\":\"" C1 "\",\"tables\":"     \
	"null}"
#define READY "{\"type\":\"ready\",\"cursor\":\"" C1 "\",\"tables\":[]}"
#define FRAME(from, to, changes)                                                                   \
	"{\"type\":\"database_change\",\"from\":\"" from "\",\"to\":\"" to                         \
	"\",\"time\":\"2026-11-23T08:00:01.250Z\",\"changes\":[" changes "]}"
#define LOGIN(id, login) CHANGE("people", "update", PERSON(id), "{\"login\":\"" login "\"}")

struct app {
	char dir[64];
	char path[96];
	char part[128];
	sqlite3 *db;
	char said[65536]; /* what the last ask() gave, or its error */
};

/* One value of one query, with at most one text as its parameter. */
static const char *ask(struct app *a, const char *sql, const char *parameter)
{
	sqlite3_stmt *stmt = NULL;
	const char *text = NULL;
	int rc = sqlite3_prepare_v2(a->db, sql, -1, &stmt, NULL);

	if (rc == SQLITE_OK && parameter)
		rc = sqlite3_bind_text(stmt, 1, parameter, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		text = (const char *)sqlite3_column_text(stmt, 0);
	else if (rc != SQLITE_DONE)
		text = sqlite3_errmsg(a->db);
	snprintf(a->said, sizeof(a->said), "%s", text ? text : "~");
	sqlite3_finalize(stmt);
	return a->said;
}

static const char *receive(struct app *a, const char *message)
{
	return ask(a, "SELECT clinic_cache_receive(?)", message);
}

static void run(struct app *a, const char *sql)
{
	char *problem = NULL;

	if (sqlite3_exec(a->db, sql, NULL, NULL, &problem) != SQLITE_OK)
		fail_msg("%s: %s", sql, problem);
}

/* build/…/unit/this -> build/…/lib/clinic_cache.so */
static void extension_path(char *out, size_t size)
{
	char program[512];
	ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);

	assert_true(len > 0);
	program[len] = '\0';
	for (int i = 0; i < 2; i++)
		*strrchr(program, '/') = '\0';
	snprintf(out, size, "%s/lib/clinic_cache", program);
}

static void load(sqlite3 *db)
{
	char path[600];
	char *problem = NULL;

	extension_path(path, sizeof(path));
	assert_int_equal(sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL),
			 SQLITE_OK);
	if (sqlite3_load_extension(db, path, NULL, &problem) != SQLITE_OK)
		fail_msg("%s", problem);
}

static void connect_app(struct app *a)
{
	assert_int_equal(sqlite3_open(a->path, &a->db), SQLITE_OK);
	load(a->db);
}

static int setup_app(void **state)
{
	struct app *a = calloc(1, sizeof(*a));

	assert_non_null(a);
	strcpy(a->dir, "/tmp/clinic-cache-test-XXXXXX");
	assert_non_null(mkdtemp(a->dir));
	snprintf(a->path, sizeof(a->path), "%s/app.db", a->dir);
	snprintf(a->part, sizeof(a->part), "%s.snapshot-part", a->path);
	connect_app(a);
	*state = a;
	return 0;
}

static int teardown_app(void **state)
{
	struct app *a = *state;
	char command[128];

	assert_int_equal(sqlite3_close(a->db), SQLITE_OK);
	snprintf(command, sizeof(command), "rm -rf '%s'", a->dir);
	assert_int_equal(system(command), 0);
	free(a);
	return 0;
}

static void ask_for_snapshot(struct app *a)
{
	assert_string_equal(ask(a, "SELECT clinic_cache_next_action()", NULL),
			    "{\"action\":\"connect\",\"url\":\"ws://127.0.0.1:8080/ws\"}");
	assert_string_equal(ask(a, "SELECT clinic_cache_connected()", NULL), "1");
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_next_frame()", NULL), "client_info"));
	assert_string_equal(receive(a, CONNECTED), "1");
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_next_frame()", NULL), "request_sync"));
	assert_string_equal(ask(a, "SELECT clinic_cache_next_frame()", NULL), "~");
	assert_string_equal(receive(a, RESYNC), "1");
	ask(a, "SELECT clinic_cache_next_action()", NULL);
	assert_non_null(strstr(a->said, "\"action\":\"fetch_snapshot\""));
	assert_non_null(strstr(a->said, "\"path\":\"/db/download?min=" C1));
	assert_non_null(strstr(a->said, a->part));
	make_snapshot(a->part, C1, NULL);
}

/* At C1, and ready for frames. */
static void sync_app(struct app *a)
{
	assert_string_equal(ask(a, "SELECT clinic_cache_open(?)", OPTIONS), "1");
	ask_for_snapshot(a);
	assert_string_equal(ask(a, "SELECT clinic_cache_snapshot_fetched()", NULL), "1");
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_next_frame()", NULL), C1));
	assert_string_equal(receive(a, READY), "1");
	ask(a, "SELECT clinic_cache_events()", NULL);
}

static const char *logins(struct app *a)
{
	return ask(a, "SELECT group_concat(id || '=' || login) FROM people", NULL);
}

static void syncs_on_the_loaders_connection(void **state)
{
	struct app *a = *state;

	run(a, "CREATE TABLE notes(text); INSERT INTO notes VALUES('mine')");
	sync_app(a);
	assert_string_equal(logins(a), "p1=ann,p2=bob");
	assert_string_equal(receive(a, FRAME(C1, C2, LOGIN("p1", "eve"))), "1");
	assert_string_equal(logins(a), "p1=eve,p2=bob");
	assert_string_equal(ask(a, "SELECT text FROM notes", NULL), "mine");
	ask(a, "SELECT clinic_cache_state()", NULL);
	assert_non_null(strstr(a->said, "\"open\":true"));
	assert_non_null(strstr(a->said, "\"cursor\":\"" C2 "\""));
	ask(a, "SELECT json_extract(clinic_cache_events(), '$[0].key.id')", NULL);
	assert_string_equal(a->said, "p1");
	assert_string_equal(ask(a, "SELECT clinic_cache_events()", NULL), "[]");
}

/* Its temporary tables and attached files have names that ours must not take. */
static void lives_beside_the_apps_names(void **state)
{
	struct app *a = *state;

	run(a, "CREATE TABLE bills(id INTEGER PRIMARY KEY, amount REAL);"
	       "ATTACH ':memory:' AS snapshot; CREATE TABLE snapshot.people(x);"
	       "CREATE TEMP TABLE people(x); INSERT INTO temp.people VALUES('mine')");
	sync_app(a);
	ask(a, "SELECT group_concat(id || '=' || login) FROM main.people", NULL);
	assert_string_equal(a->said, "p1=ann,p2=bob");
	ask(a, "SELECT tbl_name FROM main.sqlite_schema WHERE name = 'people_login'", NULL);
	assert_string_equal(a->said, "people");
	/* two rows hand on a unique value: that goes by way of a temporary table */
	assert_string_equal(receive(a, FRAME(C1, C2, LOGIN("p1", "bob") "," LOGIN("p2", "ann"))),
			    "1");
	ask(a, "SELECT group_concat(id || '=' || login) FROM main.people", NULL);
	assert_string_equal(a->said, "p1=bob,p2=ann");
	assert_string_equal(ask(a, "SELECT x FROM people", NULL), "mine");
	assert_string_equal(ask(a, "SELECT count(*) FROM snapshot.people", NULL), "0");
}

/* Setting by setting, as "name value" lines. */
static void note_settings(struct app *a, char *out, size_t size)
{
	static const int flags[] = {SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_FKEY,
				    SQLITE_DBCONFIG_TRUSTED_SCHEMA, SQLITE_DBCONFIG_DEFENSIVE};
	static const char *const queries[] = {
		"SELECT last_insert_rowid()",
		"PRAGMA journal_mode",
		"PRAGMA synchronous",
		"PRAGMA busy_timeout",
		"PRAGMA cache_size",
		"PRAGMA temp_store",
		"PRAGMA wal_autocheckpoint",
		"PRAGMA journal_size_limit",
		"PRAGMA locking_mode",
		/* temp is there from its first use on, and empty */
		"SELECT group_concat(name) FROM pragma_database_list WHERE name <> 'temp'",
		"SELECT count(*) FROM temp.sqlite_schema",
	};
	size_t at = 0;
	int on;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		sqlite3_db_config(a->db, flags[i], -1, &on);
		at += (size_t)snprintf(out + at, size - at, "flag %d: %d\n", flags[i], on);
	}
	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++)
		at += (size_t)snprintf(out + at, size - at, "%s: %s\n", queries[i],
				       ask(a, queries[i], NULL));
	/* a result code is extended or not */
	at += (size_t)snprintf(out + at, size - at, "code %d\n",
			       sqlite3_exec(a->db, "INSERT INTO mine VALUES(1)", NULL, NULL, NULL));
}

static void leaves_the_connection_as_it_was(void **state)
{
	struct app *a = *state;
	char before[2000], after[2000];

	run(a, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = NORMAL;"
	       "PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 77;"
	       "CREATE TABLE mine(id INTEGER PRIMARY KEY); CREATE TEMP TABLE scratch(a);"
	       "INSERT INTO mine VALUES(1), (41)");
	note_settings(a, before, sizeof(before));
	sync_app(a);
	note_settings(a, after, sizeof(after));
	assert_string_equal(after, before);
	/* frames: a plain one, one that takes the slow form, one that fails */
	assert_string_equal(receive(a, FRAME(C1, C2, LOGIN("p1", "eve"))), "1");
	assert_string_equal(receive(a, FRAME(C2, C3, LOGIN("p1", "bob") "," LOGIN("p2", "eve"))),
			    "1");
	assert_string_equal(logins(a), "p1=bob,p2=eve");
	note_settings(a, after, sizeof(after));
	assert_string_equal(after, before);
	receive(a, FRAME(C3, C4, LOGIN("p7", "nobody")));
	note_settings(a, after, sizeof(after));
	assert_string_equal(after, before);
	assert_string_equal(logins(a), "p1=bob,p2=eve");
}

static void keeps_the_apps_triggers_and_foreign_keys_out(void **state)
{
	struct app *a = *state;

	run(a, "PRAGMA foreign_keys = ON; CREATE TABLE seen(id)");
	sync_app(a);
	run(a, "CREATE TRIGGER note AFTER UPDATE ON people BEGIN"
	       " INSERT INTO seen VALUES(new.id); END;"
	       "CREATE TABLE visits(person TEXT REFERENCES people(id));"
	       "INSERT INTO visits VALUES('p2')");
	assert_string_equal(receive(a, FRAME(C1, C2,
					     LOGIN("p1", "eve") "," CHANGE("people", "delete",
									   PERSON("p2"), "null"))),
			    "1");
	assert_string_equal(ask(a, "SELECT count(*) FROM seen", NULL), "0");
	/* the app's own write still meets both */
	run(a, "UPDATE people SET login = 'ida' WHERE id = 'p1'");
	assert_string_equal(ask(a, "SELECT count(*) FROM seen", NULL), "1");
	assert_string_equal(ask(a, "INSERT INTO visits VALUES('p2')", NULL),
			    "FOREIGN KEY constraint failed");
}

static void refuses_to_work_inside_a_transaction(void **state)
{
	struct app *a = *state;
	const char *frame = FRAME(C1, C2, LOGIN("p1", "eve"));
	sqlite3_stmt *stmt;

	sync_app(a);
	run(a, "BEGIN; CREATE TABLE notes(text)");
	assert_non_null(strstr(receive(a, frame), "COMMIT or ROLLBACK"));
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_tick()", NULL), "COMMIT or ROLLBACK"));
	assert_int_equal(sqlite3_errcode(a->db), SQLITE_BUSY);
	/* the app's transaction is as it was, and so is the cache */
	run(a, "COMMIT");
	assert_string_equal(ask(a, "SELECT count(*) FROM notes", NULL), "0");
	assert_string_equal(logins(a), "p1=ann,p2=bob");
	assert_int_equal(sqlite3_prepare_v2(a->db, "SELECT id FROM people", -1, &stmt, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	assert_non_null(strstr(receive(a, frame), "read the other statement to its end"));
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	sqlite3_finalize(stmt);
	assert_non_null(strstr(ask(a, "INSERT INTO notes SELECT clinic_cache_tick()", NULL),
			       "read the other statement to its end"));
	assert_string_equal(receive(a, frame), "1");
	assert_string_equal(logins(a), "p1=eve,p2=bob");
}

static void loses_nothing_when_another_connection_writes(void **state)
{
	struct app *a = *state;
	sqlite3 *other;

	sync_app(a);
	assert_int_equal(sqlite3_open(a->path, &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	receive(a, FRAME(C1, C2, LOGIN("p1", "eve")));
	assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	ask(a, "SELECT json_extract(clinic_cache_state(), '$.cursor')", NULL);
	if (strcmp(a->said, C1) == 0) {
		/* the link is given up, and the next one goes on where this one stood */
		assert_string_equal(logins(a), "p1=ann,p2=bob");
		ask(a, "SELECT clinic_cache_disconnected(1000, 'busy')", NULL);
		usleep(50000);
		assert_non_null(
			strstr(ask(a, "SELECT clinic_cache_next_action()", NULL), "\"connect\""));
		ask(a, "SELECT clinic_cache_connected()", NULL);
		ask(a, "SELECT clinic_cache_next_frame()", NULL);
		assert_non_null(
			strstr(ask(a, "SELECT clinic_cache_next_frame()", NULL), "\"" C1 "\""));
	}
	assert_string_equal(
		ask(a, "SELECT value FROM clinic_sync_meta WHERE key = 'fresh_wanted'", NULL), "~");
}

static void is_one_of_the_processes_that_may_sync_a_file(void **state)
{
	struct app *a = *state;
	struct clinic_cache_options options = {.url = "ws://127.0.0.1:8080/ws"};
	struct clinic_cache_error error;
	struct clinic_cache *other;

	assert_string_equal(ask(a, "SELECT clinic_cache_open(?)", OPTIONS), "1");
	assert_int_equal(clinic_cache_open(a->path, &options, &other, &error),
			 CLINIC_CACHE_ERR_BUSY);
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_open(?)", OPTIONS), "open on this"));
	assert_string_equal(ask(a, "SELECT clinic_cache_close()", NULL), "1");
	assert_int_equal(clinic_cache_open(a->path, &options, &other, &error), CLINIC_CACHE_OK);
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_open(?)", OPTIONS), "is syncing this"));
	assert_int_equal(sqlite3_errcode(a->db), SQLITE_BUSY);
	clinic_cache_close(other);
}

static void ends_with_the_connection(void **state)
{
	struct app *a = *state;
	struct clinic_cache_options options = {.url = "ws://127.0.0.1:8080/ws"};
	struct clinic_cache_error error;
	struct clinic_cache *other;

	sync_app(a);
	assert_string_equal(receive(a, FRAME(C1, C2, LOGIN("p1", "eve"))), "1");
	/* nothing of it is in the way */
	assert_int_equal(sqlite3_close(a->db), SQLITE_OK);
	assert_int_equal(clinic_cache_open(a->path, &options, &other, &error), CLINIC_CACHE_OK);
	assert_string_equal(clinic_cache_cursor(other), C2);
	clinic_cache_close(other);
	connect_app(a);
}

static void goes_on_where_another_process_stood(void **state)
{
	struct app *a = *state;

	sync_app(a);
	assert_int_equal(sqlite3_close(a->db), SQLITE_OK);
	connect_app(a);
	/* the file remembers the relay */
	assert_string_equal(ask(a, "SELECT clinic_cache_open(?)", "{}"), "1");
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_state()", NULL), "\"" C1 "\""));
}

static void counts_events_that_nobody_fetched(void **state)
{
	struct app *a = *state;

	assert_string_equal(ask(a, "SELECT clinic_cache_open(?)",
				"{\"url\":\"ws://127.0.0.1:8080/ws\",\"events_most\":2}"),
			    "1");
	ask_for_snapshot(a);
	assert_string_equal(ask(a, "SELECT clinic_cache_snapshot_fetched()", NULL), "1");
	/* connected, two tables, the whole, the refresh */
	ask(a,
	    "SELECT group_concat(json_extract(value, '$.type') || ' ' ||"
	    " coalesce(json_extract(value, '$.count'), ''))"
	    " FROM json_each(clinic_cache_events())",
	    NULL);
	assert_string_equal(a->said, "connected ,table_sync_completed ,events_lost 3");
	assert_string_equal(ask(a, "SELECT clinic_cache_events()", NULL), "[]");
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_state()", NULL), "\"events_lost\":3"));
}

static void can_be_called_by_the_app_only(void **state)
{
	struct app *a = *state;

	run(a, "CREATE TABLE t(a); CREATE VIEW v AS SELECT clinic_cache_version() AS a;"
	       "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT clinic_cache_tick(); END");
	assert_non_null(strstr(ask(a, "SELECT a FROM v", NULL), "unsafe use"));
	assert_non_null(strstr(ask(a, "INSERT INTO t VALUES(1)", NULL), "unsafe use"));
	/* loading it again changes nothing */
	assert_string_equal(ask(a, "SELECT clinic_cache_open(?)", OPTIONS), "1");
	load(a->db);
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_state()", NULL), "\"open\":true"));
}

static void says_what_is_wrong(void **state)
{
	static const struct {
		const char *options, *problem;
	} wrong[] = {
		{"[]", "one JSON object"},
		{"no", "one JSON object"},
		{"{\"adress\":1}", "no option \"adress\""},
		{"{\"url\":1}", "\"url\" must be a text"},
		{"{\"tables\":[1]}", "\"tables\" must be an array of texts"},
		{"{\"tables\":\"t\"}", "\"tables\" must be an array"},
		{"{\"change_events\":1}", "\"change_events\" must be true or false"},
		{"{\"events_most\":0}", "from 1 to 1000000"},
		{"{\"sync_interval_s\":3601}", "from -1 to 3600"},
		{"{}", "no url is given"},
	};
	struct app *a = *state;
	char moved[128];
	sqlite3 *file = a->db;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		ask(a, "SELECT clinic_cache_open(?)", wrong[i].options);
		if (!strstr(a->said, wrong[i].problem))
			fail_msg("%s: %s", wrong[i].options, a->said);
	}
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_next_action()", NULL),
			       "call clinic_cache_open() first"));
	assert_string_equal(ask(a, "SELECT clinic_cache_state()", NULL), "{\"open\":false}");
	assert_int_equal(sqlite3_open(":memory:", &a->db), SQLITE_OK);
	load(a->db);
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_open(?)", OPTIONS), "has no file"));
	sqlite3_close(a->db);
	a->db = file;
	sync_app(a);
	assert_non_null(strstr(receive(a, "nonsense"), "call clinic_cache_disconnected()"));
	snprintf(moved, sizeof(moved), "%s.moved", a->path);
	assert_int_equal(rename(a->path, moved), 0);
	assert_non_null(
		strstr(ask(a, "SELECT clinic_cache_next_action()", NULL), "was moved or deleted"));
}

static void applies_what_is_held(void **state)
{
	struct app *a = *state;

	sync_app(a);
	assert_string_equal(
		ask(a, "SELECT clinic_cache_receive_ahead(?)", FRAME(C1, C2, LOGIN("p1", "eve"))),
		"1");
	assert_string_equal(
		ask(a, "SELECT clinic_cache_receive_ahead(?)", FRAME(C2, C3, LOGIN("p2", "ida"))),
		"1");
	assert_string_equal(logins(a), "p1=ann,p2=bob");
	assert_string_equal(ask(a, "SELECT json_extract(clinic_cache_state(), '$.holds')", NULL),
			    "1");
	assert_string_equal(ask(a, "SELECT clinic_cache_apply_held()", NULL), "1");
	assert_string_equal(logins(a), "p1=eve,p2=ida");
}

static void parks_what_the_apps_own_table_refuses(void **state)
{
	struct app *a = *state;
	char before[2000], after[2000];

	run(a, "CREATE TABLE mine(id INTEGER PRIMARY KEY); INSERT INTO mine VALUES(1);"
	       "CREATE TABLE people(id TEXT PRIMARY KEY, login TEXT CHECK(login <> 'bad'),"
	       " score REAL, seen INTEGER)");
	sync_app(a);
	note_settings(a, before, sizeof(before));
	assert_string_equal(receive(a, FRAME(C1, C2, LOGIN("p1", "bad") "," LOGIN("p2", "ida"))),
			    "1");
	/* the row keeps away, the rest of its batch does not */
	assert_string_equal(logins(a), "p2=ida");
	assert_string_equal(ask(a, "SELECT key FROM clinic_cache_parked", NULL), "{\"id\":\"p1\"}");
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_events()", NULL), "\"row_parked\""));
	note_settings(a, after, sizeof(after));
	assert_string_equal(after, before);
	assert_string_equal(receive(a, FRAME(C2, C3, LOGIN("p1", "eve"))), "1");
	assert_string_equal(ask(a, "SELECT count(*) FROM clinic_cache_parked", NULL), "0");
	assert_string_equal(logins(a), "p2=ida,p1=eve");
	note_settings(a, after, sizeof(after));
	assert_string_equal(after, before);
}

static void takes_over_a_file_with_rows_when_told(void **state)
{
	struct app *a = *state;

	run(a, "CREATE TABLE people(id TEXT PRIMARY KEY, login TEXT, score REAL, seen INTEGER);"
	       "INSERT INTO people VALUES('p1', 'ann', 1.5, 1), ('p9', 'zoe', 0, 0)");
	assert_string_equal(ask(a, "SELECT clinic_cache_open(?)", OPTIONS), "1");
	ask_for_snapshot(a);
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_snapshot_fetched()", NULL), "people"));
	ask(a, "SELECT json_extract(clinic_cache_state(), '$.difference[0]')", NULL);
	assert_string_equal(a->said, "{\"table\":\"people\",\"here\":2,\"there\":2,"
				     "\"only_here\":1,\"only_there\":1,\"different\":0}");
	assert_non_null(strstr(ask(a, "SELECT clinic_cache_next_action()", NULL), "\"stop\""));
	assert_string_equal(logins(a), "p1=ann,p9=zoe");
	assert_string_equal(ask(a, "SELECT clinic_cache_close()", NULL), "1");
	assert_string_equal(ask(a, "SELECT clinic_cache_open(?)",
				"{\"url\":\"ws://127.0.0.1:8080/ws\",\"adopt\":\"server\"}"),
			    "1");
	ask_for_snapshot(a);
	assert_string_equal(ask(a, "SELECT clinic_cache_snapshot_fetched()", NULL), "1");
	assert_string_equal(logins(a), "p1=ann,p2=bob");
	assert_string_equal(ask(a, "SELECT count(*) FROM clinic_cache_orphans", NULL), "1");
	assert_string_equal(
		ask(a, "SELECT group_concat(name) FROM pragma_database_list WHERE name <> 'temp'",
		    NULL),
		"main");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_app, teardown_app)
		TEST(syncs_on_the_loaders_connection),
		TEST(lives_beside_the_apps_names),
		TEST(leaves_the_connection_as_it_was),
		TEST(keeps_the_apps_triggers_and_foreign_keys_out),
		TEST(refuses_to_work_inside_a_transaction),
		TEST(loses_nothing_when_another_connection_writes),
		TEST(is_one_of_the_processes_that_may_sync_a_file),
		TEST(ends_with_the_connection),
		TEST(goes_on_where_another_process_stood),
		TEST(counts_events_that_nobody_fetched),
		TEST(can_be_called_by_the_app_only),
		TEST(says_what_is_wrong),
		TEST(applies_what_is_held),
		TEST(parks_what_the_apps_own_table_refuses),
		TEST(takes_over_a_file_with_rows_when_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
