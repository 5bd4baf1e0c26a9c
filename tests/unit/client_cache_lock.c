/* One syncing process per file; everybody else may look; crashes leave data and cursor equal. */
#include "client_cache_support.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static void refuses_a_second_handle(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_options options = {.url = "ws://127.0.0.1:8080/ws"};
	struct clinic_cache_file_status status;
	struct clinic_cache *second;
	char other_name[128];

	assert_int_equal(clinic_cache_open(f->path, &options, &second, &f->err),
			 CLINIC_CACHE_ERR_BUSY);
	assert_null(second);
	assert_int_equal(f->err.pid, getpid());
	/* by another name it is the same file */
	snprintf(other_name, sizeof(other_name), "%s/other.db", f->dir);
	assert_int_equal(symlink(f->path, other_name), 0);
	assert_int_equal(clinic_cache_open(other_name, &options, &second, &f->err),
			 CLINIC_CACHE_ERR_BUSY);
	assert_int_equal(clinic_cache_read_status(f->path, &status, &f->err), CLINIC_CACHE_OK);
	assert_int_equal(status.syncing_pid, getpid());
	clinic_cache_free_status(&status);
}

/* A process that holds the lock of the fixture's file until it is killed. */
static pid_t start_holder(struct fixture *f)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (open_cache(f) != CLINIC_CACHE_OK || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void the_lock_dies_with_its_owner(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_file_status status;
	pid_t pid;

	clinic_cache_close(f->cache);
	f->cache = NULL;
	pid = start_holder(f);
	assert_int_equal(open_cache(f), CLINIC_CACHE_ERR_BUSY);
	assert_int_equal(f->err.pid, pid);
	assert_int_equal(clinic_cache_read_status(f->path, &status, &f->err), CLINIC_CACHE_OK);
	assert_int_equal(status.syncing_pid, pid);
	clinic_cache_free_status(&status);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(clinic_cache_read_status(f->path, &status, &f->err), CLINIC_CACHE_OK);
	assert_int_equal(status.syncing_pid, 0);
	clinic_cache_free_status(&status);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
}

static void tells_a_file_of_itself(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_file_status status;

	assert_int_equal(frame(f, C1, C2, CHANGE("people", "oversize", PERSON("p1"), "null")),
			 CLINIC_CACHE_OK);
	assert_int_equal(clinic_cache_read_status(f->path, &status, &f->err), CLINIC_CACHE_OK);
	assert_string_equal(status.url, "ws://127.0.0.1:8080/ws");
	assert_string_equal(status.device_id, clinic_cache_device_id(f->cache));
	assert_string_equal(status.cursor, C2);
	assert_string_equal(status.last_frame_at, "2026-11-23T08:00:01.250Z");
	assert_int_equal(strlen(status.snapshot_at), 24);
	assert_int_equal(status.diverged, 0);
	assert_int_equal(status.table_count, 2);
	assert_string_equal(status.tables[0].name, "bills");
	assert_int_equal(status.tables[0].rows, 1);
	assert_string_equal(status.tables[1].name, "people");
	assert_int_equal(status.tables[1].rows, 1);
	assert_int_equal(status.tables[1].oversize_rows, 1);
	clinic_cache_free_status(&status);
}

static void refuses_what_cannot_be_opened(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_options none = {.url = NULL};
	struct clinic_cache_options good = {.url = "ws://127.0.0.1:8080/ws"};
	struct clinic_cache_file_status status;
	struct clinic_cache_view *view;
	struct clinic_cache *c;
	char path[160];
	FILE *garbage;

	snprintf(path, sizeof(path), "%s/none.db", f->dir);
	assert_int_equal(clinic_cache_open(path, &none, &c, &f->err), CLINIC_CACHE_ERR_USAGE);
	assert_int_equal(clinic_cache_open("", &good, &c, &f->err), CLINIC_CACHE_ERR_USAGE);
	assert_int_equal(clinic_cache_open(path, NULL, &c, NULL), CLINIC_CACHE_ERR_USAGE);
	assert_int_equal(clinic_cache_read_status(path, &status, &f->err), CLINIC_CACHE_ERR_USAGE);
	assert_int_equal(clinic_cache_view_open(path, &view, &f->err), CLINIC_CACHE_ERR_USAGE);
	snprintf(path, sizeof(path), "%s/none/none.db", f->dir);
	assert_int_equal(clinic_cache_open(path, &good, &c, &f->err), CLINIC_CACHE_ERR_STORE);
	snprintf(path, sizeof(path), "%s/garbage.db", f->dir);
	garbage = fopen(path, "w");
	assert_non_null(garbage);
	for (int i = 0; i < 1000; i++)
		fputs("no database", garbage);
	fclose(garbage);
	assert_int_equal(clinic_cache_open(path, &good, &c, &f->err), CLINIC_CACHE_ERR_STORE);
	assert_int_equal(clinic_cache_read_status(path, &status, &f->err), CLINIC_CACHE_ERR_STORE);
	assert_int_equal(clinic_cache_view_open(path, &view, &f->err), CLINIC_CACHE_ERR_STORE);
	/* an empty file is nobody's; it has no cursor to compare at */
	snprintf(path, sizeof(path), "%s/empty.db", f->dir);
	fclose(fopen(path, "w"));
	assert_int_equal(clinic_cache_view_open(path, &view, &f->err), CLINIC_CACHE_ERR_USAGE);
	assert_int_equal(clinic_cache_open(path, &good, &c, &f->err), CLINIC_CACHE_OK);
	clinic_cache_close(c);
}

/* The child applies frame after frame; each sets both bills to the number of its cursor. */
static void apply_for_ever(struct fixture *f)
{
	char from[64] = C1;
	char to[64];
	char changes[512];

	for (int i = 2;; i++) {
		snprintf(to, sizeof(to), "%d-00000000000000aa", i);
		snprintf(changes, sizeof(changes),
			 "{\"table\":\"bills\",\"operation\":\"put\",\"key\":{\"id\":1},"
			 "\"data\":{\"id\":1,\"amount\":\"%d.00\"}},"
			 "{\"table\":\"bills\",\"operation\":\"put\",\"key\":{\"id\":2},"
			 "\"data\":{\"id\":2,\"amount\":\"%d.00\"}}",
			 i, i);
		if (frame(f, from, to, changes) != CLINIC_CACHE_OK)
			_exit(1);
		strcpy(from, to);
	}
}

static void a_kill_leaves_data_and_cursor_equal(void **state)
{
	struct fixture *f = *state;
	int last = 1;

	clinic_cache_close(f->cache);
	f->cache = NULL;
	for (int round = 0; round < 10; round++) {
		pid_t pid = fork();
		int status;
		int cursor;

		assert_true(pid >= 0);
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (open_cache(f) != CLINIC_CACHE_OK)
				_exit(1);
			connect_link(f);
			become_ready(f);
			exec_sql(f->path, "UPDATE clinic_sync_meta SET value = '" C1
					  "' WHERE key = 'cursor'");
			clinic_cache_close(f->cache);
			if (open_cache(f) != CLINIC_CACHE_OK)
				_exit(1);
			connect_link(f);
			become_ready(f);
			apply_for_ever(f);
		}
		/* wait for progress, then kill at a moment nobody chose */
		do
			cursor = atoi(file_cursor(f));
		while (cursor < 20 + round * 7 && kill(pid, 0) == 0 &&
		       waitpid(pid, &status, WNOHANG) == 0);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		cursor = atoi(file_cursor(f));
		assert_true(cursor >= 20);
		assert_string_equal(query(f->path, "SELECT count(DISTINCT amount) FROM bills"),
				    "1");
		assert_int_equal(atoi(query(f->path, "SELECT amount FROM bills")), cursor);
		last = cursor;
	}
	assert_true(last > 1);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
}

#define READY(test) cmocka_unit_test_setup_teardown(test, setup_ready, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		READY(refuses_a_second_handle),
		READY(the_lock_dies_with_its_owner),
		READY(tells_a_file_of_itself),
		READY(refuses_what_cannot_be_opened),
		READY(a_kill_leaves_data_and_cursor_equal),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("cache lock and crashes", tests, NULL, NULL);
}
