/* An app changed the schema: are the rows still the server's? Proven, by this process or the next.
 */
#include "client_cache_prove_support.h"

#define SAME_PEOPLE                                                                                \
	"CREATE TABLE people(id TEXT NOT NULL, login TEXT, score REAL, seen INTEGER,"              \
	" PRIMARY KEY(id))"
#define DOUBT "SELECT count(*) FROM clinic_sync_meta WHERE key = 'doubt'"

/* Dropped and made again to the letter, where it was in the file, with other rows. */
static void made_again(struct fixture *f, const char *rows)
{
	const char *root = "SELECT rootpage FROM sqlite_schema WHERE name = 'people'";
	char before[16], sql[512];

	snprintf(before, sizeof(before), "%s", query(f->path, root));
	snprintf(sql, sizeof(sql),
		 "DROP TABLE people; %s; %s;"
		 "CREATE UNIQUE INDEX people_login ON people(login)",
		 SAME_PEOPLE, rows);
	exec_sql(f->path, sql);
	assert_string_equal(query(f->path, root), before);
}

/* Whole tables; a periodic round may be asked for before. */
static void asks_for_all(struct fixture *f, uint64_t ms)
{
	const char *text = tick(f, 0);

	text = text && !strstr(text, "\"slice\"") ? text : tick(f, ms);
	if (text && strstr(text, "\"slice\""))
		text = tick(f, 0);
	assert_non_null(text);
	if (!strstr(text, "\"scope\":\"tables\"") ||
	    !strstr(text, "\"tables\":[\"bills\",\"people\"]"))
		fail_msg("%s", text);
}

static void prove_all(struct fixture *f, int id)
{
	char slices[256];

	digest_begin(f, id, "tables", WHOLE("bills") "," WHOLE("people"));
	snprintf(slices, sizeof(slices), "%s,%s", server_slice("bills", NULL, NULL),
		 server_slice("people", NULL, NULL));
	digest(f, id, "tables", clinic_cache_cursor(f->cache), slices, "", true);
}

static void is_proven_after_any_change(void **state)
{
	struct fixture *f = *state;

	made_again(f, "INSERT INTO people VALUES('p1', 'bad', 1, 1), ('p7', 'more', 1, 1)");
	asks_for_all(f, 2000);
	assert_string_equal(query(f->path, DOUBT), "1");
	prove_all(f, 1);
	assert_true(has_event(f, "table_differs people"));
	asks(f, 0, "request_table_sync");
	assert_int_equal(table_sync(f, 0, C1, wire_people("1"), true), CLINIC_CACHE_OK);
	assert_null(tick(f, 0));
	assert_same_people(f);
	assert_true(has_event(f, "sync_now_completed"));
	assert_string_equal(query(f->path, DOUBT), "0");
}

static void is_in_doubt_in_the_next_process(void **state)
{
	struct fixture *f = *state;

	made_again(f, "INSERT INTO people VALUES('p1', 'bad', 1, 1)");
	asks_for_all(f, 2000);
	clinic_cache_close(f->cache);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	connect_link(f);
	become_ready(f);
	asks_for_all(f, 2000);
	prove_all(f, 1);
	assert_true(has_event(f, "table_differs people"));
}

/* Rows came after the snapshot, which had none: that they are missing is no damage of the file. */
static void goes_on_with_an_emptied_table(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "UPDATE clinic_sync_table SET rows = 0");
	made_again(f, "DELETE FROM people");
	assert_int_equal(
		frame(f, C1, C2, CHANGE("people", "update", PERSON("p1"), "{\"score\":\"7\"}")),
		CLINIC_CACHE_OK);
	exec_sql(server, "UPDATE people SET score = 7 WHERE id = 'p1'");
	asks_for_all(f, 2000);
	prove_all(f, 1);
	asks(f, 0, "request_table_sync");
	assert_int_equal(table_sync(f, 0, C2, wire_people("1"), true), CLINIC_CACHE_OK);
	assert_null(tick(f, 0));
	assert_same_people(f);
	/* from now on it would be */
	assert_string_equal(query(f->path, DOUBT), "0");
	assert_int_equal(
		frame(f, C2, C3, CHANGE("people", "update", PERSON("p9"), "{\"score\":\"7\"}")),
		CLINIC_CACHE_ERR_PROTOCOL);
}

/* A table that moved in the file waits for no minute. */
static void proves_at_once_what_moved(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "CREATE TABLE own(x)");
	asks_for_all(f, 2000);
	prove_all(f, 1);
	while (tick(f, 0))
		;
	/* its first page is another table's */
	exec_sql(f->path, "DROP TABLE people; CREATE TABLE filler(x);" SAME_PEOPLE
			  "; CREATE UNIQUE INDEX people_login ON people(login);"
			  "INSERT INTO people VALUES('p1', 'bad', 1, 1)");
	asks_for_all(f, 2000);
}

/* An app that makes and drops tables all day is not proven all day. */
static void proves_once_a_minute(void **state)
{
	struct fixture *f = *state;
	const char *text;
	int asked = 0;

	for (int s = 0; s < 150; s++) {
		exec_sql(f->path, s % 2 ? "DROP TABLE scratch" : "CREATE TABLE scratch(x)");
		while ((text = tick(f, 1000)))
			if (strstr(text, "\"scope\":\"tables\"")) {
				asked++;
				prove_all(f, asked);
			}
	}
	assert_in_range(asked, 2, 3);
}

/* The schema is changed again while it is proven: that proof says nothing of it. */
static void a_change_meanwhile_is_another_doubt(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "CREATE TABLE own(x)");
	asks_for_all(f, 2000);
	exec_sql(f->path, "DROP TABLE own");
	prove_all(f, 1);
	while (tick(f, 2000))
		;
	assert_string_equal(query(f->path, DOUBT), "1");
	asks_for_all(f, 60000);
	prove_all(f, 2);
	/* found by the very write that was to say that it is over */
	exec_sql(f->path, "CREATE TABLE own(x)");
	while (tick(f, 0))
		;
	assert_true(has_event(f, "sync_now_completed"));
	assert_string_equal(query(f->path, DOUBT), "1");
	asks_for_all(f, 60000);
	prove_all(f, 3);
	while (tick(f, 0))
		;
	assert_string_equal(query(f->path, DOUBT), "0");
}

/* A whole snapshot leaves no doubt. */
static void a_snapshot_ends_it(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "CREATE TABLE own(x)");
	asks_for_all(f, 2000);
	assert_int_equal(say(f, "{\"type\":\"resync_required\",\"reason\":\"table_changed\","
				"\"at\":\"" C2 "\",\"tables\":null}"),
			 CLINIC_CACHE_OK);
	fetch(f, C2, NULL);
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, DOUBT), "0");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PROVING(is_proven_after_any_change),
		PROVING(is_in_doubt_in_the_next_process),
		PROVING(goes_on_with_an_emptied_table),
		PROVING(proves_at_once_what_moved),
		PROVING(proves_once_a_minute),
		PROVING(a_change_meanwhile_is_another_doubt),
		PROVING(a_snapshot_ends_it),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("rows in doubt", tests, NULL, NULL);
}
