/* One table anew: staged, compared, swapped; what happens to it meanwhile. */
#include "client_cache_prove_support.h"
#include "cache_internal.h"

#define LOGIN(id, value) CHANGE("people", "update", PERSON(id), "{\"login\":" value "}")

/* ---- the ordinary way ------------------------------------------------------------------- */

static void puts_right_what_differs(void **state)
{
	struct fixture *f = *state;

	asked_for(f, "UPDATE people SET score = 3, login = 'xxx' WHERE id = 'p1';"
		     "DELETE FROM people WHERE id = 'p2';"
		     "INSERT INTO people VALUES('p7', 'new', 1, 1)");
	assert_int_equal(table_sync(f, 0, C1, wire_people("id = 'p1'"), false), CLINIC_CACHE_OK);
	assert_null(tick(f, 0));
	assert_string_equal(query(f->path, PEOPLE_COUNT), "2");
	assert_int_equal(table_sync(f, 1, C1, wire_people("id > 'p1'"), true), CLINIC_CACHE_OK);
	assert_repaired(f);
	assert_string_equal(meta(f, "repairs"), "1");
	assert_string_equal(file_cursor(f), C1);
	/* and it is the server's again to frames and proofs */
	digest_begin(f, 2, "slice", WHOLE("people") "," WHOLE("bills"));
	digest(f, 2, "slice", C1, both_tables(), "", true);
	assert_false(has_event(f, "table_differs"));
}

static void the_texts_beside_the_rows_come_too(void **state)
{
	struct fixture *f = *state;

	exec_sql(server, "UPDATE people SET score = NULL WHERE id = 'p1';"
			 "INSERT INTO clinic_sync_exact VALUES('people', '{\"id\":\"p1\"}',"
			 " 'score', 'NaN')");
	asked_for(f, "UPDATE people SET score = NULL WHERE id = 'p1'");
	assert_int_equal(
		table_sync(f, 0, C1,
			   "{\"id\":\"p1\",\"login\":\"ann\",\"score\":\"NaN\",\"seen\":true},"
			   "{\"id\":\"p2\",\"login\":\"bob\",\"score\":null,\"seen\":false}",
			   true),
		CLINIC_CACHE_OK);
	assert_null(tick(f, 0));
	assert_string_equal(query(f->path, "SELECT key, column, value FROM clinic_sync_exact"),
			    "{\"id\":\"p1\"}|score|NaN");
	periodic_round(f, 2, C1);
	assert_false(has_event(f, "table_differs"));
}

static void rows_that_are_not_held_are_known(void **state)
{
	struct fixture *f = *state;

	exec_sql(server, "DELETE FROM people WHERE id = 'p2'");
	asked_for(f, "INSERT INTO clinic_sync_oversize VALUES('people', '{\"id\":\"p8\"}')");
	assert_int_equal(say(f, "{\"type\":\"table_sync\",\"table\":\"people\",\"cursor\":\"" C1
				"\",\"part\":0,\"schema\":" PEOPLE_SCHEMA ",\"rows\":[{\"id\":"
				"\"p1\",\"login\":\"ann\",\"score\":\"1.5\",\"seen\":true}],"
				"\"oversize\":[{\"id\":\"p2\"}],\"last\":true}"),
			 CLINIC_CACHE_OK);
	assert_null(tick(f, 0));
	assert_same_people(f);
	assert_string_equal(query(f->path, "SELECT key FROM clinic_sync_oversize"),
			    "{\"id\":\"p2\"}");
	/* its changes are ignored, as they should be */
	assert_int_equal(frame(f, C1, C2, SCORE("p2", "7")), CLINIC_CACHE_OK);
}

/* 100,000 rows, ten of them damaged. */
static void writes_only_what_differs(void **state)
{
	struct fixture *f = *state;
	static const char fill[] =
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
		" INSERT INTO people SELECT printf('r%06d', i), printf('l%d', i), i, i % 2 FROM n";
	char rows[60000], where[128];
	int before, part = 0;

	exec_sql(f->path, fill);
	exec_sql(server, fill);
	asked_for(f, "UPDATE people SET score = -1 WHERE id LIKE 'r0_0007';"
		     "DELETE FROM people WHERE id = 'r050000'");
	assert_int_equal(table_sync(f, part++, C1, wire_people("id < 'q'"), false),
			 CLINIC_CACHE_OK);
	for (int i = 0; i <= 1000; i++) {
		snprintf(where, sizeof(where), "id BETWEEN 'r%04d00' AND 'r%04d99'", i, i);
		snprintf(rows, sizeof(rows), "%s", wire_people(where));
		assert_int_equal(table_sync(f, part++, C1, rows, i == 1000), CLINIC_CACHE_OK);
	}
	before = sqlite3_total_changes(f->cache->db);
	assert_null(tick(f, 0));
	/* a row more, ten in the list, ten that go, eleven that come, and a few notes */
	assert_in_range(sqlite3_total_changes(f->cache->db) - before, 11, 60);
	assert_same_people(f);
	assert_true(has_event(f, "table_sync_completed people"));
}

/* ---- frames meanwhile ------------------------------------------------------------------- */

static void frames_while_rows_come(void **state)
{
	struct fixture *f = *state;

	asked_for(f, "DELETE FROM people WHERE id = 'p2'");
	/* a change of a row that is missing here is no damage now */
	assert_int_equal(frame(f, C1, C2, SCORE("p2", "20") "," SCORE("p1", "10")),
			 CLINIC_CACHE_OK);
	assert_int_equal(table_sync(f, 0, C2, "", false), CLINIC_CACHE_OK);
	exec_sql(server, "UPDATE people SET score = 10 WHERE id = 'p1';"
			 "UPDATE people SET score = 20 WHERE id = 'p2'");
	assert_int_equal(table_sync(f, 1, C2, wire_people("1"), false), CLINIC_CACHE_OK);
	/* beyond the snapshot */
	assert_int_equal(frame(f, C2, C3,
			       CHANGE("people", "insert", PERSON("p3"),
				      "{\"id\":\"p3\",\"login\":\"cid\",\"score\":\"3\",\"seen\":"
				      "null}") "," CHANGE("people", "delete", PERSON("p1"),
							  "null") "," LOGIN("p2", "\"ann\"")),
			 CLINIC_CACHE_OK);
	exec_sql(server, "DELETE FROM people WHERE id = 'p1';"
			 "UPDATE people SET login = 'ann' WHERE id = 'p2';"
			 "INSERT INTO people VALUES('p3', 'cid', 3, NULL)");
	assert_int_equal(table_sync(f, 2, C2, "", true), CLINIC_CACHE_OK);
	assert_repaired(f);
	assert_string_equal(file_cursor(f), C3);
}

/* Between the steps of comparing: to rows that were compared and to rows that were not. */
static void frames_while_it_is_compared(void **state)
{
	struct fixture *f = *state;
	static const char fill[] =
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
		" INSERT INTO people SELECT printf('r%06d', i), printf('l%d', i), i, i % 2 FROM n";
	char rows[60000], where[64];
	struct clinic_cache_todo todo;

	exec_sql(f->path, fill);
	exec_sql(server, fill);
	asked_for(f, "UPDATE people SET score = -1 WHERE id IN ('r000007', 'r004900')");
	for (int i = 0; i <= 50; i++) {
		snprintf(where, sizeof(where), "id BETWEEN '%s%04d00' AND 'r%04d99'", i ? "r" : "p",
			 i, i);
		snprintf(rows, sizeof(rows), "%s", wire_people(where));
		assert_int_equal(table_sync(f, i, C1, rows, i == 50), CLINIC_CACHE_OK);
	}
	one_step(f);
	assert_int_equal(next(f, &todo), CLINIC_CACHE_WAIT);
	assert_int_equal(todo.wait_ms, 0);
	assert_int_equal(frame(f, C1, C2,
			       SCORE("r000010", "77") "," SCORE("r004000", "78") "," CHANGE(
				       "bills", "update", "{\"id\":1}", "{\"amount\":\"9.00\"}")),
			 CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT amount FROM bills"), "9.0");
	exec_sql(server, "UPDATE people SET score = 77 WHERE id = 'r000010';"
			 "UPDATE people SET score = 78 WHERE id = 'r004000'");
	one_step(f);
	assert_int_equal(frame(f, C2, C3, CHANGE("people", "delete", PERSON("r000007"), "null")),
			 CLINIC_CACHE_OK);
	exec_sql(server, "DELETE FROM people WHERE id = 'r000007'");
	/* a unique value goes from a row that is still to be compared to one that was */
	assert_int_equal(
		frame(f, C3, C4, LOGIN("r004950", "\"free\"") "," LOGIN("r000020", "\"l4950\"")),
		CLINIC_CACHE_OK);
	exec_sql(server, "UPDATE people SET login = 'free' WHERE id = 'r004950';"
			 "UPDATE people SET login = 'l4950' WHERE id = 'r000020'");
	assert_repaired(f);
	assert_string_equal(file_cursor(f), C4);
}

/* A unique value goes from row to row while the table is fetched. */
static void unique_values_change_hands(void **state)
{
	struct fixture *f = *state;

	asked_for(f, "UPDATE people SET score = 9 WHERE id = 'p1'");
	assert_int_equal(frame(f, C1, C2, LOGIN("p1", "\"bob\"") "," LOGIN("p2", "\"ann\"")),
			 CLINIC_CACHE_OK);
	assert_int_equal(frame(f, C2, C3, LOGIN("p1", "\"ann\"") "," LOGIN("p2", "\"bob\"")),
			 CLINIC_CACHE_OK);
	/* the snapshot is from between the two */
	assert_int_equal(
		table_sync(f, 0, C2,
			   "{\"id\":\"p1\",\"login\":\"bob\",\"score\":\"1.5\",\"seen\":true},"
			   "{\"id\":\"p2\",\"login\":\"ann\",\"score\":null,\"seen\":false}",
			   true),
		CLINIC_CACHE_OK);
	assert_repaired(f);
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|bob|~|0");
}

/* A key change is a delete and an insert. */
static void keys_change_meanwhile(void **state)
{
	struct fixture *f = *state;

	asked_for(f, "UPDATE people SET score = 9 WHERE id = 'p2'");
	assert_int_equal(
		frame(f, C1, C2,
		      CHANGE("people", "delete", PERSON("p1"), "null") "," CHANGE(
			      "people", "insert", PERSON("p5"),
			      "{\"id\":\"p5\",\"login\":\"ann\",\"score\":\"1.5\",\"seen\":true}")),
		CLINIC_CACHE_OK);
	all_rows_come(f, C1);
	exec_sql(server, "UPDATE people SET id = 'p5' WHERE id = 'p1'");
	assert_repaired(f);
}

static void the_table_is_emptied_meanwhile(void **state)
{
	struct fixture *f = *state;

	asked_for(f, "UPDATE people SET score = 9 WHERE id = 'p2'");
	assert_int_equal(
		frame(f, C1, C2,
		      CHANGE("people", "truncate", "null", "null") "," CHANGE(
			      "people", "insert", PERSON("p6"),
			      "{\"id\":\"p6\",\"login\":\"fay\",\"score\":null,\"seen\":true}")),
		CLINIC_CACHE_OK);
	all_rows_come(f, C1);
	exec_sql(server, "DELETE FROM people; INSERT INTO people VALUES('p6', 'fay', NULL, 1)");
	assert_repaired(f);
}

static void a_row_grows_too_large_meanwhile(void **state)
{
	struct fixture *f = *state;

	asked_for(f, "UPDATE people SET score = 9 WHERE id = 'p2'");
	assert_int_equal(frame(f, C1, C2, CHANGE("people", "oversize", PERSON("p1"), "null")),
			 CLINIC_CACHE_OK);
	all_rows_come(f, C1);
	exec_sql(server, "DELETE FROM people WHERE id = 'p1'");
	assert_repaired(f);
	assert_string_equal(query(f->path, "SELECT key FROM clinic_sync_oversize"),
			    "{\"id\":\"p1\"}");
}

#define WIDER_SCHEMA                                                                               \
	"{\"table\":\"people\",\"event\":\"patient_data_change_immediate\",\"version\":2,"         \
	"\"key\":[\"id\"],\"columns\":["                                                           \
	"{\"name\":\"id\",\"type\":\"text\",\"class\":\"text\",\"nullable\":false,"                \
	"\"identity\":false},"                                                                     \
	"{\"name\":\"login\",\"type\":\"text\",\"class\":\"text\",\"nullable\":true,"              \
	"\"identity\":false},"                                                                     \
	"{\"name\":\"score\",\"type\":\"double precision\",\"class\":\"float\","                   \
	"\"nullable\":true,\"identity\":false},"                                                   \
	"{\"name\":\"seen\",\"type\":\"boolean\",\"class\":\"boolean\",\"nullable\":true,"         \
	"\"identity\":false},"                                                                     \
	"{\"name\":\"note\",\"type\":\"text\",\"class\":\"text\",\"nullable\":true,"               \
	"\"identity\":false}],"                                                                    \
	"\"indexes\":[{\"name\":\"people_login\",\"columns\":[\"login\"],\"unique\":true}]}"

static void its_columns_change_meanwhile(void **state)
{
	struct fixture *f = *state;

	asked_for(f, "UPDATE people SET score = 9 WHERE id = 'p2'");
	assert_int_equal(table_sync(f, 0, C1, wire_people("id = 'p1'"), false), CLINIC_CACHE_OK);
	assert_int_equal(frame(f, C1, C2, CHANGE("people", "schema", "null", WIDER_SCHEMA)),
			 CLINIC_CACHE_OK);
	assert_true(has_event(f, "sync_error"));
	/* the rest of the rows is on its way, and of no use; then it begins anew */
	assert_null(tick(f, 5000));
	assert_int_equal(table_sync(f, 1, C1, wire_people("id = 'p2'"), true), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, "SELECT score FROM people WHERE id = 'p2'"), "9.0");
	asks(f, 5000, "request_table_sync");
	assert_int_equal(
		say(f, "{\"type\":\"table_sync\",\"table\":\"people\",\"cursor\":\"" C2
		       "\",\"part\":0,\"schema\":" WIDER_SCHEMA
		       ",\"rows\":[{\"id\":\"p1\",\"login\":\"ann\",\"score\":\"1.5\",\"seen\":"
		       "true,\"note\":\"x\"},{\"id\":\"p2\",\"login\":\"bob\",\"score\":null,"
		       "\"seen\":false,\"note\":null}],\"oversize\":[],\"last\":true}"),
		CLINIC_CACHE_OK);
	assert_null(tick(f, 0));
	assert_string_equal(query(f->path, "SELECT id, score, note FROM people ORDER BY id"),
			    "p1|1.5|x\np2|~|~");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PROVING(puts_right_what_differs),
		PROVING(the_texts_beside_the_rows_come_too),
		PROVING(rows_that_are_not_held_are_known),
		PROVING(writes_only_what_differs),
		PROVING(frames_while_rows_come),
		PROVING(frames_while_it_is_compared),
		PROVING(unique_values_change_hands),
		PROVING(keys_change_meanwhile),
		PROVING(the_table_is_emptied_meanwhile),
		PROVING(a_row_grows_too_large_meanwhile),
		PROVING(its_columns_change_meanwhile),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("repairs", tests, NULL, NULL);
}
