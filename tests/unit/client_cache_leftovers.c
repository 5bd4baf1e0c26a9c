/*
 * What is left of another time: files beside a database that is gone, and a
 * damage that was seen by a process that is gone.  None of it may end up in
 * the cache, or be forgotten.
 */
#include "client_cache_support.h"

#include <sys/wait.h>

#define ALL_PEOPLE "SELECT id, login, score, seen FROM people ORDER BY id"
#define AS_SNAPSHOT "p1|ann|1.5|1\np2|bob|~|0"

static void reconnect(struct fixture *f)
{
	clinic_cache_disconnected(f->cache, f->now, 1000, "closed");
	connect_link(f);
}

static void take_snapshot(struct fixture *f, const char *cursor)
{
	char message[256];

	snprintf(message, sizeof(message),
		 "{\"type\":\"resync_required\",\"reason\":\"no_cursor\",\"at\":\"%s\"}", cursor);
	assert_int_equal(say(f, message), CLINIC_CACHE_OK);
	fetch(f, cursor, NULL);
	if (clinic_cache_snapshot_fetched(f->cache, f->now) != CLINIC_CACHE_OK)
		fail_msg("%s", clinic_cache_last_error(f->cache)->text);
}

/* A change that is in the -wal and not yet in the file. */
static void change_something(struct fixture *f, const char *from, const char *to)
{
	assert_int_equal(
		frame(f, from, to,
		      CHANGE("people", "insert", PERSON("p3"),
			     "{\"id\":\"p3\",\"login\":\"eve\",\"score\":null,\"seen\":null}")),
		CLINIC_CACHE_OK);
}

static void a_deleted_file_leaves_nothing_to_the_next(void **state)
{
	struct fixture *f = *state;

	change_something(f, C1, C2);
	unlink(f->path);
	assert_int_equal(frame(f, C2, C3, ""), CLINIC_CACHE_ERR_STORE);
	reconnect(f);
	assert_non_null(strstr(sent(f), "\"cursor\":null"));
	take_snapshot(f, C3);
	assert_string_equal(file_cursor(f), C3);
	assert_string_equal(query(f->path, ALL_PEOPLE), AS_SNAPSHOT);
	assert_string_equal(query(f->path, "PRAGMA integrity_check"), "ok");
}

/* Killed, then the user removed the file, and only that. */
static void a_file_deleted_after_a_kill_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	pid_t pid;

	change_something(f, C1, C2);
	clinic_cache_close(f->cache);
	f->cache = NULL;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		sqlite3 *db;

		_exit(sqlite3_open(f->path, &db) != SQLITE_OK ||
		      sqlite3_exec(db, "UPDATE people SET login = 'from the dead'", NULL, NULL,
				   NULL) != SQLITE_CONSTRAINT ||
		      sqlite3_exec(db,
				   "UPDATE people SET login = 'from the dead ' || id;"
				   "UPDATE clinic_sync_meta SET value = 'none' WHERE key = 'url'",
				   NULL, NULL, NULL) != SQLITE_OK);
	}
	waitpid(pid, NULL, 0);
	unlink(f->path);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":null"));
	take_snapshot(f, C3);
	assert_string_equal(file_cursor(f), C3);
	assert_string_equal(query(f->path, ALL_PEOPLE), AS_SNAPSHOT);
}

static void a_replaced_file_is_taken_as_it_is(void **state)
{
	struct fixture *f = *state;
	char copy[128];
	char sql[160];

	snprintf(copy, sizeof(copy), "%s-copy", f->path);
	snprintf(sql, sizeof(sql), "VACUUM INTO '%s'", copy);
	exec_sql(f->path, sql);
	change_something(f, C1, C2);
	assert_int_equal(rename(copy, f->path), 0);
	assert_int_equal(frame(f, C2, C3, ""), CLINIC_CACHE_ERR_STORE);
	reconnect(f);
	assert_non_null(strstr(sent(f), "\"cursor\":\"" C1 "\""));
	assert_string_equal(file_cursor(f), C1);
	assert_string_equal(query(f->path, ALL_PEOPLE), AS_SNAPSHOT);
	assert_string_equal(query(f->path, "PRAGMA integrity_check"), "ok");
}

/* A process died while it made a snapshot ready: its -wal is there. */
static void a_killed_signing_leaves_nothing_to_the_next(void **state)
{
	struct fixture *f = *state;
	char ready[128];
	pid_t pid;

	snprintf(ready, sizeof(ready), "%s.snapshot-ready", f->path);
	clinic_cache_close(f->cache);
	f->cache = NULL;
	make_snapshot(ready, C1, NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		sqlite3 *db;

		_exit(sqlite3_open(ready, &db) != SQLITE_OK ||
		      sqlite3_exec(db,
				   "PRAGMA journal_mode = WAL;"
				   "INSERT INTO clinic_sync_meta VALUES('device_id', 'old')",
				   NULL, NULL, NULL) != SQLITE_OK);
	}
	waitpid(pid, NULL, 0);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	connect_link(f);
	assert_non_null(sent(f));
	take_snapshot(f, C2);
	assert_string_equal(file_cursor(f), C2);
	assert_string_equal(query(f->path, ALL_PEOPLE), AS_SNAPSHOT);
}

static void a_damage_is_not_forgotten(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "DELETE FROM people WHERE id = 'p1'");
	assert_int_equal(frame(f, C1, C2, CHANGE("people", "delete", PERSON("p1"), "null")),
			 CLINIC_CACHE_ERR_PROTOCOL);
	clinic_cache_close(f->cache);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":null"));
	take_snapshot(f, C2);
	assert_string_equal(query(f->path, ALL_PEOPLE), AS_SNAPSHOT);
	/* and not remembered for ever */
	clinic_cache_close(f->cache);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":\"" C2 "\""));
}

#define READY(test) cmocka_unit_test_setup_teardown(test, setup_ready, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		READY(a_deleted_file_leaves_nothing_to_the_next),
		READY(a_file_deleted_after_a_kill_leaves_nothing),
		READY(a_replaced_file_is_taken_as_it_is),
		cmocka_unit_test_setup_teardown(a_killed_signing_leaves_nothing_to_the_next,
						setup_empty, teardown),
		READY(a_damage_is_not_forgotten),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("what is left of another time", tests, NULL, NULL);
}
