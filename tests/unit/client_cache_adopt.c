/* A file of the app's own: compared, refused or taken over, and whole wherever the process ends. */
#include "client_cache_support.h"

#include <glob.h>
#include <signal.h>
#include <sys/wait.h>

#include "client_cache_kill_vfs.h"

#define POINTS_MOST 80 /* at which it is killed */
#define APP_FILE                                                                                   \
	"CREATE TABLE people(own TEXT NOT NULL DEFAULT 'white', seen INTEGER, login TEXT,"         \
	" id TEXT PRIMARY KEY, secret BLOB);"                                                      \
	"CREATE INDEX by_own ON people(own);"                                                      \
	"CREATE TABLE log(id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT);"                       \
	"CREATE TRIGGER logged AFTER DELETE ON people BEGIN"                                       \
	" INSERT INTO log(what) VALUES('deleted'); END;"                                           \
	"CREATE VIEW seen_people AS SELECT id FROM people WHERE seen;"                             \
	"INSERT INTO people VALUES('red', 1, 'ann', 'p1', x'00ff'),"                               \
	" ('blue', 0, 'other', 'p2', NULL), ('green', 1, 'dora', 'p7', x'0102'),"                  \
	" ('grey', NULL, 1e300, NULL, 5), ('grey', NULL, 'x', NULL, 1.5);"                         \
	"INSERT INTO log(what) VALUES('one'), ('two');"                                            \
	"PRAGMA user_version = 43"
#define SCHEMA                                                                                     \
	"SELECT type, name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'clinic%'"              \
	" ORDER BY type, name"
#define APP_ROWS "SELECT own, seen, login, id, hex(secret) FROM people ORDER BY id, login"
#define SYNCED "SELECT id, login, seen, own, hex(secret) FROM people ORDER BY id"
#define SYNCED_ROWS "p1|ann|1|red|00FF\np2|bob|0|blue|"

static void adopt_options(struct fixture *f, const char *adopt)
{
	struct clinic_cache_options options = {
		.url = "ws://127.0.0.1:8080/ws",
		.on_event = keep_event,
		.context = f,
		.adopt = adopt,
	};

	clinic_cache_close(f->cache);
	assert_int_equal(clinic_cache_open(f->path, &options, &f->cache, &f->err), CLINIC_CACHE_OK);
}

static void ask_for_snapshot(struct fixture *f)
{
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":null"));
	assert_int_equal(say(f,
			     "{\"type\":\"resync_required\",\"reason\":\"no_cursor\",\"at\":\"" C1
			     "\",\"tables\":null}"),
			 CLINIC_CACHE_OK);
	fetch(f, C1, NULL);
}

static char *read_file(const char *path, size_t *len)
{
	FILE *file = fopen(path, "rb");
	char *bytes = malloc(1 << 20);

	assert_non_null(file);
	assert_non_null(bytes);
	*len = fread(bytes, 1, 1 << 20, file);
	fclose(file);
	return bytes;
}

/* The copies beside the file; the first one's name into out. */
static size_t copies(struct fixture *f, char *out, size_t size)
{
	char pattern[160];
	glob_t found;
	size_t count;

	snprintf(pattern, sizeof(pattern), "%s.before-sync-[0-9]*", f->path);
	if (glob(pattern, 0, NULL, &found) != 0)
		return 0;
	count = found.gl_pathc;
	snprintf(out, size, "%s", found.gl_pathv[0]);
	globfree(&found);
	return count;
}

static void compares_before_it_touches(void **state)
{
	struct fixture *f = *state;
	const struct clinic_cache_difference *d;
	struct clinic_cache_todo todo;
	size_t len, len_after;
	char *before, *after;
	char name[200];

	exec_sql(f->path, APP_FILE);
	before = read_file(f->path, &len);
	adopt_options(f, NULL);
	ask_for_snapshot(f);
	assert_null(clinic_cache_difference_of(f->cache));
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_ERR_USAGE);
	assert_non_null(strstr(clinic_cache_last_error(f->cache)->text, "table people"));
	d = clinic_cache_difference_of(f->cache);
	assert_non_null(d);
	assert_int_equal(d->table_count, 1);
	assert_string_equal(d->tables[0].name, "people");
	assert_int_equal(d->tables[0].here, 5);
	assert_int_equal(d->tables[0].there, 2);
	assert_int_equal(d->tables[0].only_here, 3);
	assert_int_equal(d->tables[0].only_there, 0);
	assert_int_equal(d->tables[0].different, 1);
	assert_int_equal(next(f, &todo), CLINIC_CACHE_STOP);
	after = read_file(f->path, &len_after);
	assert_int_equal(len, len_after);
	assert_memory_equal(before, after, len);
	assert_int_equal(copies(f, name, sizeof(name)), 0);
	free(before);
	free(after);
}

static void takes_over_when_told(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_file_status status;
	char schema[4096];
	char name[200];

	exec_sql(f->path, APP_FILE);
	strcpy(schema, query(f->path, SCHEMA));
	adopt_options(f, "server");
	ask_for_snapshot(f);
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, SYNCED), SYNCED_ROWS);
	/* bills was not there: that one is ours */
	assert_string_equal(query(f->path, "SELECT id, amount FROM bills"), "1|1500.0");
	assert_string_equal(query(f->path, "SELECT id, what FROM log"), "1|one\n2|two");
	assert_string_equal(query(f->path, "SELECT id FROM seen_people"), "p1");
	assert_string_equal(query(f->path, "PRAGMA user_version"), "43");
	assert_string_equal(query(f->path, "PRAGMA integrity_check"), "ok");
	assert_string_equal(query(f->path, SCHEMA " LIMIT 1"),
			    "index|by_own|CREATE INDEX by_own ON people(own)");
	/* whole, whatever it was, and the two without a key as well */
	assert_string_equal(
		query(f->path, "SELECT \"table\", key, data FROM clinic_cache_orphans"
			       " ORDER BY key, data"),
		"people|{\"id\":\"p7\"}|{\"own\":\"green\",\"seen\":1,\"login\":\"dora\","
		"\"id\":\"p7\",\"secret\":{\"blob\":\"0102\"}}\n"
		"people|{\"id\":null}|{\"own\":\"grey\",\"seen\":null,\"login\":\"1.0e+300\","
		"\"id\":null,\"secret\":5}\n"
		"people|{\"id\":null}|{\"own\":\"grey\",\"seen\":null,\"login\":\"x\",\"id\":null,"
		"\"secret\":1.5}");
	assert_int_equal(copies(f, name, sizeof(name)), 1);
	assert_string_equal(query(name, "SELECT count(*) FROM people"), "5");
	assert_string_equal(query(name, SCHEMA), schema);
	assert_int_equal(clinic_cache_read_status(f->path, &status, &f->err), CLINIC_CACHE_OK);
	assert_int_equal(status.orphans, 3);
	assert_string_equal(status.backup, name);
	assert_true(status.adopted_at[0] != '\0');
	assert_true(status.tables[1].adopted);
	assert_false(status.tables[0].adopted);
	clinic_cache_free_status(&status);
	/* but for that, the schema is as it was */
	exec_sql(f->path, "DROP TABLE bills");
	assert_string_equal(query(f->path, SCHEMA), schema);
}

#define ORPHANS "SELECT key, data FROM clinic_cache_orphans ORDER BY key"
#define TABLES_ROWS(n) ";UPDATE clinic_sync_table SET rows = " #n " WHERE name = 'people'"

/* The file's people, beside those of the snapshot and more: compared, then adopted. */
static void compare_and_adopt(struct fixture *f, const char *app, const char *more,
			      const char *found, const char *orphans)
{
	const struct clinic_cache_difference *d;
	char text[160];
	char name[200];

	snprintf(text, sizeof(text), "rm -rf '%s'/*", f->dir);
	assert_int_equal(system(text), 0);
	exec_sql(f->path, app);
	adopt_options(f, NULL);
	ask_for_snapshot(f);
	make_snapshot(f->part, C1, more);
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_ERR_USAGE);
	d = clinic_cache_difference_of(f->cache);
	assert_non_null(d);
	snprintf(text, sizeof(text), "%lld %lld %lld %lld %lld", (long long)d->tables[0].here,
		 (long long)d->tables[0].there, (long long)d->tables[0].only_here,
		 (long long)d->tables[0].only_there, (long long)d->tables[0].different);
	assert_string_equal(text, found);
	adopt_options(f, "server");
	ask_for_snapshot(f);
	make_snapshot(f->part, C1, more);
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, ORPHANS), orphans);
	assert_int_equal(copies(f, name, sizeof(name)), 1);
}

/* 917 in a column of numbers is the server's '917', but not its '0917' nor '1e2'. */
static void tells_keys_apart_that_sqlite_does_not(void **state)
{
	struct fixture *f = *state;

	compare_and_adopt(f,
			  "CREATE TABLE people(id INTEGER PRIMARY KEY, login TEXT, mine TEXT);"
			  "INSERT INTO people VALUES(917, 'app', 'MINE'), (5, 'eve', 'five'), "
			  "(100, 'x', 'y')",
			  "INSERT INTO people VALUES('0917', 'srv', 1, 1), ('5', 'eve', 1, 1),"
			  " ('1e2', 'e', 1, 1)" TABLES_ROWS(5),
			  "3 5 2 4 0",
			  "{\"id\":100}|{\"id\":100,\"login\":\"x\",\"mine\":\"y\"}\n"
			  "{\"id\":917}|{\"id\":917,\"login\":\"app\",\"mine\":\"MINE\"}");
	/* without a type nothing is converted: 917 and '917' are two keys of the file */
	compare_and_adopt(
		f,
		"CREATE TABLE people(id PRIMARY KEY, login TEXT);"
		"INSERT INTO people VALUES(917, 'a'), ('p1', 'ann'), (x'7032', 'b')",
		"INSERT INTO people VALUES('917', 'srv', 1, 1)" TABLES_ROWS(3), "3 3 2 2 0",
		"{\"id\":917}|{\"id\":917,\"login\":\"a\"}\n"
		"{\"id\":{\"blob\":\"7032\"}}|{\"id\":{\"blob\":\"7032\"},\"login\":\"b\"}");
	compare_and_adopt(f,
			  "CREATE TABLE people(id REAL PRIMARY KEY, login TEXT);"
			  "INSERT INTO people VALUES(5, 'e'), ('p1', 'ann')",
			  "INSERT INTO people VALUES('5', 'srv', 1, 1)" TABLES_ROWS(3), "2 3 1 2 0",
			  "{\"id\":5.0}|{\"id\":5.0,\"login\":\"e\"}");
}

static void tells_texts_of_numbers_apart(void **state)
{
	struct fixture *f = *state;

	compare_and_adopt(f,
			  "CREATE TABLE bills(id TEXT PRIMARY KEY, amount TEXT);"
			  "INSERT INTO bills VALUES('1', '1500.0'), ('01', 'a'), ('1.0', 'b')",
			  NULL, "3 1 2 0 0",
			  "{\"id\":\"01\"}|{\"id\":\"01\",\"amount\":\"a\"}\n"
			  "{\"id\":\"1.0\"}|{\"id\":\"1.0\",\"amount\":\"b\"}");
}

/* SQLite's names know no case: the app's ID is the server's id. */
static void finds_columns_in_any_case(void **state)
{
	struct fixture *f = *state;

	compare_and_adopt(
		f,
		"CREATE TABLE people(ID TEXT PRIMARY KEY, Login TEXT, SCORE REAL, seen INTEGER);"
		"INSERT INTO people VALUES('p1', 'DIFFERENT', 1.5, 1), ('p2', 'bob', 7, 0),"
		" ('x9', 'only', 1, 1)",
		NULL, "3 2 1 0 2",
		"{\"id\":\"x9\"}|{\"ID\":\"x9\",\"Login\":\"only\",\"SCORE\":1.0,\"seen\":1}");
	assert_string_equal(query(f->path, "SELECT ID, Login, SCORE FROM people ORDER BY 1"),
			    "p1|ann|1.5\np2|bob|~");
}

/* A table that is published later, and that the app has filled by then. */
static void asks_for_a_table_that_comes_later(void **state)
{
	struct fixture *f = *state;
	const char *pets =
		"CREATE TABLE pets(id TEXT NOT NULL, PRIMARY KEY(id)); INSERT INTO pets "
		"VALUES('rex');"
		"INSERT INTO clinic_sync_table VALUES('pets', '{\"table\":\"pets\",\"event\":\"e\","
		"\"version\":1,\"key\":[\"id\"],\"columns\":[{\"name\":\"id\",\"type\":\"text\","
		"\"class\":\"text\",\"nullable\":false}],\"indexes\":[]}', 1)";

	exec_sql(f->path, "CREATE TABLE pets(id TEXT PRIMARY KEY, name TEXT);"
			  "INSERT INTO pets VALUES('rex', 'Rex'), ('tom', 'Tom')");
	assert_int_equal(say(f, "{\"type\":\"resync_required\",\"reason\":\"table_changed\","
				"\"at\":\"" C2 "\",\"tables\":null}"),
			 CLINIC_CACHE_OK);
	fetch(f, C2, pets);
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_ERR_USAGE);
	assert_int_equal(clinic_cache_difference_of(f->cache)->tables[0].only_here, 1);
	assert_string_equal(query(f->path, "SELECT name FROM pets ORDER BY id"), "Rex\nTom");
	assert_string_equal(file_cursor(f), C1);
}

/* An app that reads all the time: nothing is left of what came to nothing. */
static void leaves_no_copy_of_a_failure(void **state)
{
	struct fixture *f = *state;
	sqlite3 *app;
	char name[200];

	exec_sql(f->path, APP_FILE);
	assert_int_equal(sqlite3_open(f->path, &app), SQLITE_OK);
	assert_int_equal(sqlite3_exec(app, "BEGIN; SELECT * FROM people", NULL, NULL, NULL),
			 SQLITE_OK);
	adopt_options(f, "server");
	ask_for_snapshot(f);
	assert_int_not_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_OK);
	assert_false(clinic_cache_is_stopped(f->cache));
	assert_int_equal(copies(f, name, sizeof(name)), 0);
	assert_int_equal(sqlite3_close(app), SQLITE_OK);
	f->now += 120000;
	fetch(f, C1, NULL);
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, SYNCED), SYNCED_ROWS);
	assert_int_equal(copies(f, name, sizeof(name)), 1);
}

/* A second program of the app's, which must be able to read and to begin to write all the time. */
static pid_t use_all_the_time(const char *path, int out)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		const char *end;
		sqlite3 *db;

		if (sqlite3_open(path, &db) != SQLITE_OK)
			_exit(1);
		sqlite3_busy_timeout(db, 4000);
		do {
			end = sqlite3_exec(db, "BEGIN IMMEDIATE; ROLLBACK; SELECT * FROM log", NULL,
					   NULL, NULL)
				      ? "!"
				      : ".";
			sqlite3_sleep(50);
		} while (write(out, end, 1) == 1 && getppid() != 1);
		_exit(0);
	}
	return pid;
}

/* While an adoption cannot commit for the sake of a reader, others have their turns. */
static void lets_others_in(void **state)
{
	struct fixture *f = *state;
	char writes[4096];
	ssize_t count;
	int ends[2];
	sqlite3 *app;
	pid_t writer;

	exec_sql(f->path, APP_FILE);
	assert_int_equal(pipe(ends), 0);
	/* before this process has the file open: SQLite must not be taken over a fork */
	writer = use_all_the_time(f->path, ends[1]);
	assert_int_equal(sqlite3_open(f->path, &app), SQLITE_OK);
	assert_int_equal(sqlite3_exec(app, "BEGIN; SELECT * FROM people", NULL, NULL, NULL),
			 SQLITE_OK);
	adopt_options(f, "server");
	ask_for_snapshot(f);
	assert_int_not_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_OK);
	assert_non_null(strstr(clinic_cache_last_error(f->cache)->text, "left a transaction open"));
	assert_int_equal(kill(writer, SIGKILL), 0);
	assert_int_equal(waitpid(writer, NULL, 0), writer);
	count = read(ends[0], writes, sizeof(writes) - 1);
	assert_true(count > 10);
	writes[count] = '\0';
	assert_null(strchr(writes, '!'));
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(sqlite3_close(app), SQLITE_OK);
}

/* SQLite attaches no file of another encoding: seen before anything is fetched. */
static void refuses_a_file_in_utf_16(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_options options = {.url = "ws://127.0.0.1:8080/ws"};

	exec_sql(f->path, "PRAGMA encoding = 'UTF-16'; CREATE TABLE people(id TEXT PRIMARY KEY)");
	clinic_cache_close(f->cache);
	assert_int_equal(clinic_cache_open(f->path, &options, &f->cache, &f->err),
			 CLINIC_CACHE_ERR_USAGE);
	assert_non_null(strstr(f->err.text, "UTF-16"));
}

static void is_one(sqlite3_context *call, int count, sqlite3_value **values)
{
	(void)count;
	(void)values;
	sqlite3_result_int(call, 1);
}

static int compare_backwards(void *context, int a_len, const void *a, int b_len, const void *b)
{
	int order = memcmp(b, a, (size_t)(a_len < b_len ? a_len : b_len));

	(void)context;
	return order ? order : b_len - a_len;
}

/* What only the app's program has: each try would end in the same way. */
static void stops_at_what_only_the_app_has(void **state)
{
	static const char *const parts[][2] = {
		{"CREATE INDEX own ON people(own) WHERE is_one(login)", "is_one"},
		{"CREATE INDEX own ON people(login COLLATE backwards)", "backwards"},
		{"CREATE INDEX own ON people(seen, is_one(own))", "is_one"},
	};
	struct fixture *f = *state;
	struct clinic_cache_todo todo;
	char command[200];
	char name[200];
	sqlite3 *app;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		snprintf(command, sizeof(command), "rm -rf '%s'/*", f->dir);
		assert_int_equal(system(command), 0);
		assert_int_equal(sqlite3_open(f->path, &app), SQLITE_OK);
		assert_int_equal(sqlite3_create_function(app, "is_one", 1,
							 SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
							 is_one, NULL, NULL),
				 SQLITE_OK);
		assert_int_equal(sqlite3_create_collation(app, "backwards", SQLITE_UTF8, NULL,
							  compare_backwards),
				 SQLITE_OK);
		assert_int_equal(sqlite3_exec(app, APP_FILE, NULL, NULL, NULL), SQLITE_OK);
		assert_int_equal(sqlite3_exec(app, parts[i][0], NULL, NULL, NULL), SQLITE_OK);
		sqlite3_close(app);
		adopt_options(f, "server");
		ask_for_snapshot(f);
		assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now),
				 CLINIC_CACHE_ERR_USAGE);
		assert_non_null(strstr(clinic_cache_last_error(f->cache)->text, parts[i][1]));
		assert_int_equal(next(f, &todo), CLINIC_CACHE_STOP);
		assert_int_equal(copies(f, name, sizeof(name)), 0);
	}
}

/*
 * In a process of its own, killed at the nth thing that SQLite does to a file
 * (0: not at all). Returns how many there were; 0: it was killed.
 */
static int adopt_and_die(struct fixture *f, int at)
{
	int ends[2];
	int count = 0;
	int status;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		killer_install(0);
		adopt_options(f, "server");
		ask_for_snapshot(f);
		killer.count = 0;
		killer.at = at;
		if (clinic_cache_snapshot_fetched(f->cache, f->now) != CLINIC_CACHE_OK ||
		    write(ends[1], &killer.count, sizeof(killer.count)) != sizeof(killer.count))
			_exit(1);
		_exit(0);
	}
	close(ends[1]);
	if (read(ends[0], &count, sizeof(count)) != sizeof(count))
		count = 0;
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (count)
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	else
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	return count;
}

static void start_anew(struct fixture *f)
{
	char command[200];

	snprintf(command, sizeof(command), "rm -rf '%s'/*", f->dir);
	assert_int_equal(system(command), 0);
	exec_sql(f->path, APP_FILE);
}

/* Returns whether the file is the synced one; it must be that or the old one. */
static bool is_synced_or_old(struct fixture *f, const char *old_rows, const char *old_schema)
{
	char name[200];
	bool has_copy = copies(f, name, sizeof(name)) > 0;

	assert_string_equal(query(f->path, "PRAGMA integrity_check"), "ok");
	if (has_copy) {
		assert_string_equal(query(name, APP_ROWS), old_rows);
		assert_string_equal(query(name, "PRAGMA integrity_check"), "ok");
	}
	if (strcmp(query(f->path, "SELECT count(*) FROM sqlite_schema"
				  " WHERE name = 'clinic_sync_meta'"),
		   "0") == 0) {
		assert_string_equal(query(f->path, APP_ROWS), old_rows);
		assert_string_equal(query(f->path, SCHEMA), old_schema);
		return false;
	}
	assert_true(has_copy);
	assert_string_equal(query(f->path, SYNCED), SYNCED_ROWS);
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_cache_orphans"), "3");
	assert_string_equal(file_cursor(f), C1);
	return true;
}

/* Another run after a kill. */
static bool adopt_next(struct fixture *f)
{
	adopt_options(f, "server");
	if (clinic_cache_cursor(f->cache))
		return strcmp(clinic_cache_cursor(f->cache), C1) == 0;
	ask_for_snapshot(f);
	return clinic_cache_snapshot_fetched(f->cache, f->now) == CLINIC_CACHE_OK &&
	       strcmp(query(f->path, SYNCED), SYNCED_ROWS) == 0;
}

static void survives_being_killed(void **state)
{
	struct fixture *f = *state;
	char rows[1024];
	char schema[4096];
	int total, step;
	int synced = 0, old = 0;

	start_anew(f);
	strcpy(rows, query(f->path, APP_ROWS));
	strcpy(schema, query(f->path, SCHEMA));
	total = adopt_and_die(f, 0);
	assert_true(is_synced_or_old(f, rows, schema));
	step = total / POINTS_MOST + 1;
	for (int at = 1; at < total; at += step) {
		start_anew(f);
		assert_int_equal(adopt_and_die(f, at), 0);
		if (is_synced_or_old(f, rows, schema))
			synced++;
		else
			old++;
		/* and whoever comes next makes it whole, or finds it so */
		assert_true(adopt_next(f));
	}
	print_message("%d points, killed at %d: %d old, %d synced\n", total, synced + old, old,
		      synced);
	assert_true(old > 0 && synced > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(compares_before_it_touches, setup_empty, teardown),
		cmocka_unit_test_setup_teardown(takes_over_when_told, setup_empty, teardown),
		cmocka_unit_test_setup_teardown(leaves_no_copy_of_a_failure, setup_empty, teardown),
		cmocka_unit_test_setup_teardown(lets_others_in, setup_empty, teardown),
		cmocka_unit_test_setup_teardown(refuses_a_file_in_utf_16, setup_empty, teardown),
		cmocka_unit_test_setup_teardown(stops_at_what_only_the_app_has, setup_empty,
						teardown),
		cmocka_unit_test_setup_teardown(tells_keys_apart_that_sqlite_does_not, setup_empty,
						teardown),
		cmocka_unit_test_setup_teardown(tells_texts_of_numbers_apart, setup_empty,
						teardown),
		cmocka_unit_test_setup_teardown(finds_columns_in_any_case, setup_empty, teardown),
		cmocka_unit_test_setup_teardown(survives_being_killed, setup_empty, teardown),
		cmocka_unit_test_setup_teardown(asks_for_a_table_that_comes_later, setup_ready,
						teardown),
	};

	return cmocka_run_group_tests_name("an app's own file", tests, NULL, NULL);
}
