/* Which journal a file has and why; locks of others, which cost time and nothing else. */
#include "client_cache_support.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "cache_internal.h"

#define PEOPLE "SELECT id, login FROM people ORDER BY id"
#define HELD_S 12 /* longer than we wait */

/* ---- the choice --------------------------------------------------------------------------- */

static bool chooses_wal(int ours, int app, int header, bool foreign, bool made)
{
	struct journal_facts facts = {ours, app, header, foreign, made};
	struct journal_choice choice;

	journal_choose(&facts, &choice);
	assert_true(strlen(choice.reason) > 10);
	return choice.wal;
}

static void takes_a_wal_where_it_is_safe(void **state)
{
	(void)state;
	/* alone, whatever ours is */
	assert_true(chooses_wal(3040001, 0, 0, false, true));
	/* an app's file, or another writer: all must be good */
	assert_false(chooses_wal(3040001, 0, 3040001, false, false));
	assert_false(chooses_wal(3051003, 0, 3040001, false, false));
	assert_false(chooses_wal(3040001, 3051003, 0, false, false));
	assert_false(chooses_wal(3051003, 3051002, 0, false, true));
	assert_false(chooses_wal(3051003, 0, 0, true, true));
	assert_false(chooses_wal(3040001, 0, 0, true, true));
	assert_true(chooses_wal(3051003, 3051003, 0, true, false));
	assert_true(chooses_wal(3052000, 0, 3051003, true, false));
	/* what the app says counts more than who wrote the header */
	assert_true(chooses_wal(3051003, 3051003, 3040001, true, false));
}

static void reads_versions(void **state)
{
	(void)state;
	assert_int_equal(journal_parse_version("3.51.3"), 3051003);
	assert_int_equal(journal_parse_version("3.40"), 3040000);
	assert_int_equal(journal_parse_version("3"), 0);
	assert_int_equal(journal_parse_version("3.51.3x"), 0);
	assert_int_equal(journal_parse_version("2.8.17"), 0);
	assert_int_equal(journal_parse_version("3.1000.3"), 0);
	assert_int_equal(journal_parse_version(""), 0);
}

/* ---- a file with a rollback journal ------------------------------------------------------- */

/* A new file for an app whose SQLite is old, at C1 and ready. */
static int setup_rollback(void **state)
{
	struct fixture *f = malloc(sizeof(*f));
	struct clinic_cache_options options = {
		.url = "ws://127.0.0.1:8080/ws",
		.access_code = "code",
		.on_event = keep_event,
		.user_version = 43,
		.app_sqlite_version = "3.40.1",
	};

	assert_non_null(f);
	make_dir(f);
	options.context = f;
	assert_int_equal(clinic_cache_open(f->path, &options, &f->cache, &f->err), CLINIC_CACHE_OK);
	connect_link(f);
	(void)sent(f);
	assert_int_equal(say(f,
			     "{\"type\":\"resync_required\",\"reason\":\"no_cursor\",\"at\":\"" C1
			     "\",\"tables\":null}"),
			 CLINIC_CACHE_OK);
	fetch(f, C1, NULL);
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_OK);
	become_ready(f);
	f->events[0] = '\0';
	*state = f;
	return 0;
}

static void follows_the_app(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_file_status status;

	assert_string_equal(query(f->path, "PRAGMA journal_mode"), "delete");
	assert_string_equal(query(f->path, "PRAGMA user_version"), "43");
	assert_int_equal(clinic_cache_read_status(f->path, &status, &f->err), CLINIC_CACHE_OK);
	assert_string_equal(status.journal_mode, "delete");
	assert_non_null(strstr(status.journal_reason, "3.40.1 in the app"));
	assert_false(status.foreign_writer);
	clinic_cache_free_status(&status);
}

/* One we alone write has a WAL, until somebody else was seen to write it. */
static void leaves_the_wal_to_itself(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_file_status status;
	bool is_good = sqlite3_libversion_number() >= 3051003;

	assert_string_equal(query(f->path, "PRAGMA journal_mode"), "wal");
	assert_int_equal(
		frame(f, C1, C2, CHANGE("people", "update", PERSON("p1"), "{\"login\":\"x\"}")),
		CLINIC_CACHE_OK);
	/* the change to a WAL was ours, and readers are no writers */
	assert_true(clinic_cache_tick(f->cache, f->now + 2000));
	assert_int_equal(clinic_cache_read_status(f->path, &status, &f->err), CLINIC_CACHE_OK);
	assert_false(status.foreign_writer);
	assert_string_equal(status.journal_mode, "wal");
	clinic_cache_free_status(&status);
	exec_sql(f->path, "CREATE TABLE own(x)");
	assert_int_equal(
		frame(f, C2, C3, CHANGE("people", "update", PERSON("p1"), "{\"login\":\"y\"}")),
		CLINIC_CACHE_OK);
	assert_int_equal(clinic_cache_read_status(f->path, &status, &f->err), CLINIC_CACHE_OK);
	assert_true(status.foreign_writer);
	clinic_cache_free_status(&status);
	assert_true(clinic_cache_tick(f->cache, f->now + 4000));
	assert_int_equal(clinic_cache_read_status(f->path, &status, &f->err), CLINIC_CACHE_OK);
	assert_string_equal(status.journal_mode, "delete");
	assert_non_null(strstr(status.journal_reason, is_good ? "unknown" : "3.51.3"));
	clinic_cache_free_status(&status);
}

/* Nobody can change the mode while somebody else has the file open; that is said. */
static void waits_until_the_app_lets_go(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_file_status status;
	sqlite3 *app;

	assert_int_equal(sqlite3_open(f->path, &app), SQLITE_OK);
	assert_int_equal(sqlite3_exec(app, "CREATE TABLE own(x)", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(
		frame(f, C1, C2, CHANGE("people", "update", PERSON("p1"), "{\"login\":\"x\"}")),
		CLINIC_CACHE_OK);
	/* the first commit that was not ours comes after one of ours */
	assert_int_equal(sqlite3_exec(app, "INSERT INTO own VALUES(1)", NULL, NULL, NULL),
			 SQLITE_OK);
	assert_int_equal(
		frame(f, C2, C3, CHANGE("people", "update", PERSON("p1"), "{\"login\":\"y\"}")),
		CLINIC_CACHE_OK);
	assert_true(clinic_cache_tick(f->cache, f->now + 2000));
	assert_int_equal(clinic_cache_read_status(f->path, &status, &f->err), CLINIC_CACHE_OK);
	assert_string_equal(status.journal_mode, "wal");
	assert_non_null(strstr(status.journal_reason, "another program has the file open"));
	clinic_cache_free_status(&status);
	sqlite3_close(app);
	clinic_cache_close(f->cache);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "PRAGMA journal_mode"), "delete");
}

/* ---- locks of others ---------------------------------------------------------------------- */

/* A process that runs sql and then keeps what lock it has, until it is killed. */
static pid_t hold(struct fixture *f, const char *sql)
{
	int ends[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		sqlite3 *db;

		/* a test that fails leaves it alone */
		alarm(2 * HELD_S);
		if (sqlite3_open(f->path, &db) != SQLITE_OK ||
		    sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK ||
		    write(ends[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	return pid;
}

static void let_go(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#define RENAME_P1 CHANGE("people", "update", PERSON("p1"), "{\"login\":\"new\"}")

/* The frame is given up after ten seconds, the link goes, and the cursor says where to go on. */
static void survives(struct fixture *f, pid_t holder)
{
	double began = seconds();
	struct clinic_cache_file_status status;

	assert_int_equal(frame(f, C1, C2, RENAME_P1), CLINIC_CACHE_ERR_STORE);
	assert_true(seconds() - began >= 9.5);
	assert_true(seconds() - began < HELD_S);
	assert_non_null(strstr(f->events, "sync_error"));
	assert_false(clinic_cache_tick(f->cache, f->now));
	assert_string_equal(clinic_cache_cursor(f->cache), C1);
	let_go(holder);
	clinic_cache_disconnected(f->cache, f->now, 0, "closed");
	connect_link(f);
	become_ready(f);
	assert_int_equal(frame(f, C1, C2, RENAME_P1), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, PEOPLE), "p1|new\np2|bob");
	assert_string_equal(file_cursor(f), C2);
	assert_int_equal(clinic_cache_read_status(f->path, &status, &f->err), CLINIC_CACHE_OK);
	assert_int_equal(status.diverged, 0);
	clinic_cache_free_status(&status);
}

static void outlives_a_writer(void **state)
{
	struct fixture *f = *state;

	survives(f, hold(f, "BEGIN IMMEDIATE"));
}

static void outlives_a_reader(void **state)
{
	struct fixture *f = *state;

	survives(f, hold(f, "BEGIN; SELECT count(*) FROM people"));
}

/* Who waits at its COMMIT keeps new readers out; ours lets them in again and again. */
static void lets_readers_in_meanwhile(void **state)
{
	struct fixture *f = *state;
	pid_t holder = hold(f, "BEGIN; SELECT count(*) FROM people");
	pid_t reader = fork();
	int status;

	assert_true(reader >= 0);
	if (reader == 0) {
		sqlite3 *db;
		int reads = 0;

		/* as an app that waits five seconds; it sees the old state or the new one */
		if (sqlite3_open(f->path, &db) != SQLITE_OK)
			_exit(100);
		sqlite3_busy_timeout(db, 5000);
		for (double began = seconds(); seconds() - began < 3; reads++)
			if (sqlite3_exec(db, "SELECT count(*) FROM bills", NULL, NULL, NULL) !=
			    SQLITE_OK)
				_exit(101);
		kill(holder, SIGKILL);
		_exit(reads > 20 ? 0 : 102);
	}
	assert_int_equal(frame(f, C1, C2, RENAME_P1), CLINIC_CACHE_OK);
	assert_int_equal(waitpid(reader, &status, 0), reader);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(waitpid(holder, &status, 0), holder);
	assert_string_equal(query(f->path, PEOPLE), "p1|new\np2|bob");
}

static int count_commit(void *context)
{
	++*(int *)context;
	return 0;
}

/* A backlog is more than one transaction may take: the lock goes back in between. */
static void shares_the_lock_in_a_backlog(void **state)
{
	struct fixture *f = *state;
	int commits = 0;
	static char changes[900 * 128];
	char message[sizeof(changes) + 512];
	char from[32] = C1;
	char to[32];
	size_t len;

	sqlite3_commit_hook(f->cache->db, count_commit, &commits);
	for (int i = 0; i < 120; i++) {
		len = 0;
		for (int k = 0; k < 300; k++)
			len += (size_t)snprintf(
				changes + len, sizeof(changes) - len,
				"%s{\"event\":\"e\",\"table\":\"bills\","
				"\"operation\":\"insert\",\"key\":{\"id\":%d},\"data\":{"
				"\"id\":%d,\"amount\":\"1.00\"},\"origin\":null}",
				k ? "," : "", 10 + i * 300 + k, 10 + i * 300 + k);
		snprintf(to, sizeof(to), "%d-00000000000000bb", i + 2);
		snprintf(message, sizeof(message),
			 "{\"type\":\"database_change\",\"from\":\"%s\",\"to\":\"%s\","
			 "\"time\":\"2026-11-23T08:00:01.250Z\",\"changes\":[%s]}",
			 from, to, changes);
		assert_int_equal(
			clinic_cache_receive_ahead(f->cache, f->now, message, strlen(message)),
			CLINIC_CACHE_OK);
		strcpy(from, to);
	}
	assert_int_equal(clinic_cache_apply_held(f->cache, f->now), CLINIC_CACHE_OK);
	assert_string_equal(file_cursor(f), to);
	assert_string_equal(query(f->path, "SELECT count(*) FROM bills"), "36001");
	/* 36,000 rows take several times as long as one may hold the lock */
	assert_true(commits > 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_a_wal_where_it_is_safe),
		cmocka_unit_test(reads_versions),
		cmocka_unit_test_setup_teardown(follows_the_app, setup_rollback, teardown),
		cmocka_unit_test_setup_teardown(leaves_the_wal_to_itself, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(waits_until_the_app_lets_go, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(outlives_a_writer, setup_ready, teardown),
		cmocka_unit_test_setup_teardown(outlives_a_reader, setup_rollback, teardown),
		cmocka_unit_test_setup_teardown(lets_readers_in_meanwhile, setup_rollback,
						teardown),
		cmocka_unit_test_setup_teardown(shares_the_lock_in_a_backlog, setup_ready,
						teardown),
	};

	return cmocka_run_group_tests_name("which journal, and others' locks", tests, NULL, NULL);
}
