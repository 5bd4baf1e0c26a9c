/* One table anew: what can go wrong on the way, and that it ends well. */
#include "client_cache_prove_support.h"
#include "cache_internal.h"

#include <signal.h>
#include <sys/resource.h>

static void a_broken_link_begins_anew(void **state)
{
	struct fixture *f = *state;

	asked_for(f, "UPDATE people SET score = 9 WHERE id = 'p2'");
	for (int phase = 0; phase < 3; phase++) {
		if (phase > 0)
			assert_int_equal(table_sync(f, 0, C1, wire_people("1"), phase == 2),
					 CLINIC_CACHE_OK);
		if (phase == 2)
			one_step(f);
		clinic_cache_disconnected(f->cache, f->now, 1006, "gone");
		connect_link(f);
		become_ready(f);
		asks(f, 0, "request_table_sync");
	}
	assert_string_equal(query(f->path, "SELECT score FROM people WHERE id = 'p2'"), "9.0");
	all_rows_come(f, C1);
	assert_repaired(f);
}

static void the_relay_has_no_rows(void **state)
{
	struct fixture *f = *state;

	asked_for(f, "UPDATE people SET score = 9 WHERE id = 'p2'");
	assert_int_equal(table_sync(f, 0, C1, wire_people("id = 'p1'"), false), CLINIC_CACHE_OK);
	assert_int_equal(say(f, "{\"type\":\"error\",\"code\":\"table_sync_failed\",\"message\":"
				"\"m\",\"table\":\"people\"}"),
			 CLINIC_CACHE_OK);
	assert_null(tick(f, 0));
	asks(f, 1000, "request_table_sync");
	all_rows_come(f, C1);
	assert_repaired(f);
}

static void pieces_out_of_order_break_the_link(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
		"{\"type\":\"table_sync\",\"table\":\"people\",\"cursor\":\"c\",\"part\":1,"
		"\"rows\":[],\"last\":false}",
		"{\"type\":\"table_sync\",\"table\":\"people\",\"cursor\":\"c\",\"part\":0,"
		"\"schema\":" PEOPLE_SCHEMA ",\"rows\":[]}",
		"{\"type\":\"table_sync\",\"table\":\"people\",\"part\":0,\"schema\":" PEOPLE_SCHEMA
		",\"rows\":[],\"last\":false}",
	};

	asked_for(f, "UPDATE people SET score = 9 WHERE id = 'p2'");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(say(f, bad[i]), CLINIC_CACHE_ERR_PROTOCOL);
		clinic_cache_disconnected(f->cache, f->now, 4400, "closed");
		connect_link(f);
		become_ready(f);
		asks(f, 0, "request_table_sync");
	}
	assert_int_equal(table_sync(f, 0, C1, "", false), CLINIC_CACHE_OK);
	assert_int_equal(table_sync(f, 1, C2, "", true), CLINIC_CACHE_ERR_PROTOCOL);
	clinic_cache_disconnected(f->cache, f->now, 4400, "closed");
	connect_link(f);
	become_ready(f);
	asks(f, 0, "request_table_sync");
	all_rows_come(f, C1);
	assert_repaired(f);
}

/* Rows are read when all are there; the file stays as it is, and it is tried again. */
static void rows_that_are_none_are_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
		"\"part\":0,\"rows\":[]",
		"\"part\":0,\"schema\":" BILLS_SCHEMA ",\"rows\":[]",
		"\"part\":0,\"schema\":" PEOPLE_SCHEMA ",\"rows\":[{\"id\":\"p1\"}]",
		"\"part\":0,\"schema\":" PEOPLE_SCHEMA ",\"rows\":[7]",
		"\"part\":0,\"schema\":" PEOPLE_SCHEMA ",\"rows\":[{\"id\":\"p1\",\"id\":\"p2\"}]",
	};
	char message[2048];

	asked_for(f, "UPDATE people SET score = 9 WHERE id = 'p2'");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		f->events[0] = '\0';
		snprintf(message, sizeof(message),
			 "{\"type\":\"table_sync\",\"table\":\"people\",\"cursor\":\"" C1
			 "\",%s,\"last\":true}",
			 bad[i]);
		assert_int_equal(say(f, message), CLINIC_CACHE_OK);
		assert_null(tick(f, 0));
		assert_true(has_event(f, "sync_error"));
		assert_string_equal(query(f->path, "SELECT score FROM people WHERE id = 'p2'"),
				    "9.0");
		f->now += 100000;
		asks(f, 0, "\"request_");
		(void)tick(f, 0);
	}
}

/* No file may grow any more: the cache stays as it is, and all goes on. */
static void the_disk_is_full_while_rows_come(void **state)
{
	struct fixture *f = *state;
	struct rlimit all, none;

	asked_for(f, "UPDATE people SET score = 9 WHERE id = 'p2'");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
	signal(SIGXFSZ, SIG_IGN);
	none = all;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	all_rows_come(f, C1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
	assert_true(has_event(f, "sync_error"));
	assert_string_equal(query(f->path, "SELECT score FROM people WHERE id = 'p2'"), "9.0");
	asks(f, 1000, "request_table_sync");
	all_rows_come(f, C1);
	assert_repaired(f);
}

/* A relay that sends rows without end does not fill the disk. */
static void rows_without_end_are_given_up(void **state)
{
	struct fixture *f = *state;
	int part = 0;

	f->cache->fetch_bytes_most = 20000;
	asked_for(f, "UPDATE people SET score = 9 WHERE id = 'p2'");
	while (!has_event(f, "sync_error") && part < 1000)
		assert_int_equal(table_sync(f, part++, C1, wire_people("1"), false),
				 CLINIC_CACHE_OK);
	assert_in_range(part, 10, 200);
	for (int i = 0; i < 100; i++)
		assert_int_equal(table_sync(f, part++, C1, wire_people("1"), i == 99),
				 CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT score FROM people WHERE id = 'p2'"), "9.0");
	asks(f, 1000, "request_table_sync");
	all_rows_come(f, C1);
	assert_repaired(f);
}

static void leftovers_go_at_the_next_start(void **state)
{
	struct fixture *f = *state;
	char name[160];

	clinic_cache_close(f->cache);
	f->cache = NULL;
	for (int i = 0; i < 3; i++) {
		static const char *const ends[] = {".table-part", ".table-part-journal",
						   ".snapshot-link"};
		FILE *file;

		snprintf(name, sizeof(name), "%s%s", f->path, ends[i]);
		file = fopen(name, "w");
		assert_non_null(file);
		fputs("half", file);
		fclose(file);
	}
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	snprintf(name, sizeof(name), "ls %s | grep -c 'table-part\\|snapshot-link' | grep -qx 0",
		 f->dir);
	assert_int_equal(system(name), 0);
}

/* Somebody damages it again and again: it is put right each time, but not in a tight loop. */
static void damage_without_end_is_met_with_patience(void **state)
{
	struct fixture *f = *state;
	uint64_t waited = 0;

	for (int i = 0; i < 6; i++) {
		exec_sql(f->path, "UPDATE people SET score = 9 WHERE id = 'p2'");
		f->events[0] = '\0';
		periodic_round(f, i + 1, C1);
		assert_true(has_event(f, "table_differs"));
		waited = 0;
		while (!tick(f, 100))
			waited += 100;
		all_rows_come(f, C1);
		assert_null(tick(f, 0));
		assert_same_people(f);
	}
	assert_in_range(waited, 5000, INTERVAL_MS);
	/* a proof ends it */
	periodic_round(f, 7, C1);
	exec_sql(f->path, "UPDATE people SET score = 9 WHERE id = 'p2'");
	periodic_round(f, 8, C1);
	asks(f, 0, "request_table_sync");
}

/* Rows that no key finds, and what a walk over the keys would not see. */
static void rows_without_a_key_go(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path,
		 "PRAGMA writable_schema = ON;"
		 "UPDATE sqlite_schema SET sql = replace(sql, 'id TEXT NOT NULL', 'id TEXT')"
		 " WHERE name = 'people'");
	clinic_cache_close(f->cache);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	connect_link(f);
	become_ready(f);
	asked_for(f, "INSERT INTO people VALUES(NULL, 'nul', 1, 1)");
	all_rows_come(f, C1);
	assert_null(tick(f, 0));
	assert_same_people(f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PROVING(a_broken_link_begins_anew),
		PROVING(the_relay_has_no_rows),
		PROVING(pieces_out_of_order_break_the_link),
		PROVING(rows_that_are_none_are_refused),
		PROVING(the_disk_is_full_while_rows_come),
		PROVING(rows_without_end_are_given_up),
		PROVING(leftovers_go_at_the_next_start),
		PROVING(damage_without_end_is_met_with_patience),
		PROVING(rows_without_a_key_go),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("repairs that fail", tests, NULL, NULL);
}
