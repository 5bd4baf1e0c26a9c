/* All tables over the link: into a new file, into one that is there, and what goes wrong. */
#include "client_cache_prove_support.h"
#include "cache_internal.h"

#include <signal.h>
#include <sys/resource.h>

static void by_link(struct clinic_cache_options *options)
{
	options->full_sync = "link";
}

/* A handle without a file that has asked for all tables over the link. */
static int setup_asking(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	assert_non_null(f);
	make_dir(f);
	f->options = by_link;
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	*state = f;
	snprintf(server, sizeof(server), "%s/server.db", f->dir);
	make_snapshot(server, C1, NULL);
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":null"));
	assert_int_equal(say(f,
			     "{\"type\":\"resync_required\",\"reason\":\"no_cursor\",\"at\":\"" C1
			     "\",\"tables\":null}"),
			 CLINIC_CACHE_OK);
	return 0;
}

static void asks_for_all(struct fixture *f, const char *min)
{
	const char *text = asks(f, 0, "{\"type\":\"request_full_sync\",\"tables\":null,\"min\":");

	assert_non_null(strstr(text, min));
}

static void begin(struct fixture *f, const char *people_rows)
{
	char message[512];

	snprintf(message, sizeof(message),
		 "{\"type\":\"full_sync\",\"cursor\":\"" C1 "\",\"tables\":["
		 "{\"name\":\"bills\",\"rows\":1},{\"name\":\"people\",\"rows\":%s}],"
		 "\"total_rows\":3}",
		 people_rows);
	assert_int_equal(say(f, message), CLINIC_CACHE_OK);
}

static clinic_cache_status bills(struct fixture *f)
{
	return say(f, "{\"type\":\"table_sync\",\"table\":\"bills\",\"cursor\":\"" C1
		      "\",\"part\":0,\"schema\":" BILLS_SCHEMA ",\"rows\":[{\"id\":1,\"amount\":"
		      "\"1500.00\"}],\"oversize\":[],\"last\":true}");
}

static clinic_cache_status people(struct fixture *f)
{
	clinic_cache_status st = table_sync(f, 0, C1, wire_people("id = 'p1'"), false);

	return st == CLINIC_CACHE_OK ? table_sync(f, 1, C1, wire_people("id = 'p2'"), true) : st;
}

static clinic_cache_status end(struct fixture *f)
{
	return say(f, "{\"type\":\"full_sync_end\",\"cursor\":\"" C1 "\"}");
}

static void all_comes(struct fixture *f)
{
	begin(f, "2");
	assert_int_equal(bills(f), CLINIC_CACHE_OK);
	assert_int_equal(people(f), CLINIC_CACHE_OK);
	assert_int_equal(end(f), CLINIC_CACHE_OK);
}

static void assert_arrived(struct fixture *f)
{
	assert_same_people(f);
	assert_string_equal(query(f->path, "SELECT id, amount FROM bills"), "1|1500.0");
	assert_string_equal(query(f->path, "SELECT name FROM sqlite_schema WHERE name LIKE "
					   "'people_login'"),
			    "people_login");
	assert_string_equal(clinic_cache_cursor(f->cache), C1);
	become_ready(f);
	assert_int_equal(
		frame(f, C1, C2, CHANGE("people", "update", PERSON("p1"), "{\"seen\":false}")),
		CLINIC_CACHE_OK);
	assert_non_null(strstr(f->events, "full_sync_completed"));
}

static void assert_nothing_left(struct fixture *f)
{
	char name[160];

	snprintf(name, sizeof(name), "%s.snapshot-link", f->path);
	assert_int_not_equal(access(name, F_OK), 0);
	assert_int_not_equal(access(f->part, F_OK), 0);
}

/* ---- the ordinary way ------------------------------------------------------------------- */

static void makes_a_new_file(void **state)
{
	struct fixture *f = *state;

	asks_for_all(f, "\"min\":\"" C1 "\"");
	all_comes(f);
	assert_arrived(f);
	assert_nothing_left(f);
}

/* The old data stays until all of the new is there. */
static void replaces_what_is_there(void **state)
{
	struct fixture *f = *state;

	asks_for_all(f, C1);
	all_comes(f);
	assert_arrived(f);
	assert_int_equal(say(f, "{\"type\":\"resync_required\",\"reason\":\"history_lost\",\"at\":"
				"null,\"tables\":null}"),
			 CLINIC_CACHE_OK);
	asks_for_all(f, "\"min\":null");
	begin(f, "2");
	assert_int_equal(bills(f), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT seen FROM people WHERE id = 'p1'"), "0");
	assert_int_equal(people(f), CLINIC_CACHE_OK);
	assert_int_equal(end(f), CLINIC_CACHE_OK);
	assert_arrived(f);
	assert_nothing_left(f);
}

static void asks_only_for_its_tables(void **state)
{
	struct fixture *f = *state;
	static const char *const wanted[] = {"people"};
	struct clinic_cache_options options = {
		.url = "ws://127.0.0.1:8080/ws",
		.full_sync = "link",
		.tables = wanted,
		.table_count = 1,
		.on_event = keep_event,
		.context = f,
	};

	clinic_cache_close(f->cache);
	assert_int_equal(clinic_cache_open(f->path, &options, &f->cache, &f->err), CLINIC_CACHE_OK);
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":null"));
	assert_int_equal(say(f,
			     "{\"type\":\"resync_required\",\"reason\":\"no_cursor\",\"at\":null,"
			     "\"tables\":[\"people\"]}"),
			 CLINIC_CACHE_OK);
	asks(f, 0, "\"tables\":[\"people\"]");
	assert_int_equal(say(f, "{\"type\":\"error\",\"code\":\"no_such_table\",\"message\":\"m\","
				"\"table\":\"people\"}"),
			 CLINIC_CACHE_ERR_REFUSED);
	assert_true(clinic_cache_is_stopped(f->cache));
}

/* ---- what goes wrong -------------------------------------------------------------------- */

static void reconnect(struct fixture *f)
{
	connect_link(f);
	/* a snapshot is wanted still, so frames are not asked for */
	f->now += 120000;
	asks_for_all(f, C1);
}

static void a_broken_link_begins_anew(void **state)
{
	struct fixture *f = *state;

	for (int phase = 0; phase < 4; phase++) {
		if (phase == 0)
			asks_for_all(f, C1);
		if (phase > 0)
			begin(f, "2");
		if (phase > 1)
			assert_int_equal(bills(f), CLINIC_CACHE_OK);
		if (phase > 2)
			assert_int_equal(people(f), CLINIC_CACHE_OK);
		clinic_cache_disconnected(f->cache, f->now, 1006, "gone");
		assert_nothing_left(f);
		assert_int_not_equal(access(f->path, F_OK), 0);
		reconnect(f);
	}
	all_comes(f);
	assert_arrived(f);
}

static void what_was_not_announced_breaks_the_link(void **state)
{
	struct fixture *f = *state;

	asks_for_all(f, C1);
	/* other rows than it said */
	begin(f, "3");
	assert_int_equal(bills(f), CLINIC_CACHE_OK);
	assert_int_equal(people(f), CLINIC_CACHE_ERR_PROTOCOL);
	clinic_cache_disconnected(f->cache, f->now, 4400, "closed");
	reconnect(f);
	/* another order */
	begin(f, "2");
	assert_int_equal(people(f), CLINIC_CACHE_ERR_PROTOCOL);
	clinic_cache_disconnected(f->cache, f->now, 4400, "closed");
	reconnect(f);
	/* an end before the end */
	begin(f, "2");
	assert_int_equal(bills(f), CLINIC_CACHE_OK);
	assert_int_equal(end(f), CLINIC_CACHE_ERR_PROTOCOL);
	clinic_cache_disconnected(f->cache, f->now, 4400, "closed");
	reconnect(f);
	/* another cursor in the midst */
	begin(f, "2");
	assert_int_equal(table_sync(f, 0, C2, "", true), CLINIC_CACHE_ERR_PROTOCOL);
	clinic_cache_disconnected(f->cache, f->now, 4400, "closed");
	reconnect(f);
	all_comes(f);
	assert_arrived(f);
}

static void the_relay_has_nothing_to_send(void **state)
{
	struct fixture *f = *state;

	asks_for_all(f, C1);
	begin(f, "2");
	assert_int_equal(
		say(f, "{\"type\":\"error\",\"code\":\"full_sync_failed\",\"message\":\"m\"}"),
		CLINIC_CACHE_OK);
	assert_nothing_left(f);
	/* what was on its way is of no use, and no fault */
	assert_int_equal(bills(f), CLINIC_CACHE_OK);
	assert_null(tick(f, 0));
	f->now += 120000;
	asks_for_all(f, C1);
	all_comes(f);
	assert_arrived(f);
}

static void silence_ends(void **state)
{
	struct fixture *f = *state;

	asks_for_all(f, C1);
	begin(f, "2");
	assert_null(tick(f, 6 * 60 * 1000));
	assert_nothing_left(f);
	f->now += 120000;
	asks_for_all(f, C1);
	all_comes(f);
	assert_arrived(f);
}

/* A relay that sends rows without end does not fill the disk. */
static void rows_without_end_are_given_up(void **state)
{
	struct fixture *f = *state;
	int part = 0;

	f->cache->fetch_bytes_most = 20000;
	asks_for_all(f, C1);
	begin(f, "100000");
	assert_int_equal(bills(f), CLINIC_CACHE_OK);
	while (!strstr(f->events, "sync_error") && part < 1000) {
		char row[128];

		snprintf(row, sizeof(row),
			 "{\"id\":\"q%d\",\"login\":null,\"score\":null,\"seen\":null}", part);
		assert_int_equal(table_sync(f, part++, C1, row, false), CLINIC_CACHE_OK);
	}
	assert_in_range(part, 10, 300);
	assert_nothing_left(f);
	f->now += 120000;
	asks_for_all(f, C1);
	all_comes(f);
	assert_arrived(f);
}

static void the_disk_is_full(void **state)
{
	struct fixture *f = *state;
	struct rlimit all, none;

	asks_for_all(f, C1);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
	signal(SIGXFSZ, SIG_IGN);
	none = all;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	begin(f, "2");
	assert_int_equal(bills(f), CLINIC_CACHE_OK);
	assert_int_equal(people(f), CLINIC_CACHE_OK);
	assert_int_equal(end(f), CLINIC_CACHE_OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
	assert_non_null(strstr(f->events, "sync_error"));
	assert_nothing_left(f);
	f->now += 120000;
	asks_for_all(f, C1);
	all_comes(f);
	assert_arrived(f);
}

#define ASKING(test) cmocka_unit_test_setup_teardown(test, setup_asking, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		ASKING(makes_a_new_file),
		ASKING(replaces_what_is_there),
		ASKING(asks_only_for_its_tables),
		ASKING(a_broken_link_begins_anew),
		ASKING(what_was_not_announced_breaks_the_link),
		ASKING(the_relay_has_nothing_to_send),
		ASKING(silence_ends),
		ASKING(rows_without_end_are_given_up),
		ASKING(the_disk_is_full),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("full syncs over the link", tests, NULL, NULL);
}
