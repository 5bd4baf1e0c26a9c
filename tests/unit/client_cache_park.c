/* Rows that the app's own table refuses: parked, changed, tried again, counted. */
#include "client_cache_app_support.h"

#define APP                                                                                        \
	"CREATE TABLE people(id TEXT PRIMARY KEY, login TEXT UNIQUE, score REAL CHECK(score < "    \
	"100),"                                                                                    \
	" seen INTEGER NOT NULL DEFAULT 0, note TEXT DEFAULT 'new', photo BLOB);"
#define ALL_PEOPLE "SELECT id, login, score, seen FROM people ORDER BY id"
#define P1 "V2:p1V3:annV3:1.5V4:true"
#define P2 "V2:p2V3:bobNV5:false"

static int setup_app(void **state)
{
	struct fixture *f = start_app(APP, NULL);

	f->events[0] = '\0';
	*state = f;
	return 0;
}

#define UPDATE(id, data) CHANGE("people", "update", PERSON(id), data)
#define DELETE(id) CHANGE("people", "delete", PERSON(id), "null")
#define INSERT(id, login, score)                                                                   \
	CHANGE("people", "insert", PERSON(id),                                                     \
	       "{\"id\":\"" id "\",\"login\":" login ",\"score\":" score ",\"seen\":true}")

static void parks_what_a_check_refuses(void **state)
{
	struct fixture *f = *state;

	next_frame(f, INSERT("p3", "\"cid\"", "\"100\"") "," INSERT(
			      "p4", "\"dan\"", "\"99\"") "," UPDATE("p1", "{\"score\":\"7\"}"));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|7.0|1\np2|bob|~|0\np4|dan|99.0|1");
	assert_string_equal(query(f->path, "SELECT \"table\", key, data, reason, kept,"
					   " length(parked_at) FROM clinic_cache_parked"),
			    "people|{\"id\":\"p3\"}|"
			    "{\"id\":\"p3\",\"login\":\"cid\",\"score\":\"100\",\"seen\":true}|"
			    "CHECK constraint failed: score < 100|~|24");
	check_digest(f, "people", 4,
		     hash_of("V2:p1V3:annV1:7V4:true") + hash_of(P2) +
			     hash_of("V2:p3V3:cidV3:100V4:true") +
			     hash_of("V2:p4V3:danV2:99V4:true"));
	assert_non_null(strstr(f->events, "\nrow_parked people - {\"id\":\"p3\"}\n"));
	/* it was told, and is not again */
	f->events[0] = '\0';
	next_frame(f, UPDATE("p1", "{\"score\":\"8\"}"));
	assert_null(strstr(f->events, "row_parked"));
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_cache_parked"), "1");
}

static void parks_what_not_null_refuses(void **state)
{
	struct fixture *f = *state;

	next_frame(f, UPDATE("p1", "{\"seen\":null,\"login\":\"eve\"}"));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p2|bob|~|0");
	assert_string_equal(query(f->path, PARKED),
			    "{\"id\":\"p1\"}|NOT NULL constraint failed: people.seen");
	check_digest(f, "people", 2, hash_of("V2:p1V3:eveV3:1.5N") + hash_of(P2));
	next_frame(f, UPDATE("p1", "{\"seen\":false}"));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|eve|1.5|0\np2|bob|~|0");
	assert_string_equal(query(f->path, PARKED), "");
}

/* Every operation on a key that is parked. */
static void changes_parked_rows(void **state)
{
	struct fixture *f = *state;

	next_frame(
		f,
		INSERT("a", "\"1\"", "\"100\"") "," INSERT("b", "\"2\"", "\"200\"") "," INSERT(
			"c", "\"3\"",
			"\"300\"") "," INSERT("d", "\"4\"",
					      "\"400\"") "," INSERT("e", "\"5\"",
								    "\"500\"") "," INSERT("g",
											  "\"6\"",
											  "\"600"
											  "\""));
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_cache_parked"), "6");
	next_frame(f,
		   UPDATE("a", "{\"login\":\"still out\"}") "," DELETE("b") "," CHANGE(
			   "people", "put", PERSON("c"),
			   "{\"id\":\"c\",\"login\":\"in\",\"score\":null,\"seen\":"
			   "true}") "," CHANGE("people", "put", PERSON("d"),
					       "null") "," CHANGE("people", "oversize", PERSON("e"),
								  "null") "," UPDATE("g",
										     "{\"score\":"
										     "\"6\"}"));
	assert_string_equal(query(f->path, ALL_PEOPLE),
			    "c|in|~|1\ng|6|6.0|1\np1|ann|1.5|1\np2|bob|~|0");
	assert_string_equal(
		query(f->path, "SELECT key, data FROM clinic_cache_parked"),
		"{\"id\":\"a\"}|{\"id\":\"a\",\"login\":\"still out\",\"score\":\"100\","
		"\"seen\":true}");
	assert_string_equal(query(f->path, "SELECT key FROM clinic_sync_oversize"),
			    "{\"id\":\"e\"}");
	next_frame(f, CHANGE("people", "truncate", "null", "null") "," INSERT("z", "\"z\"",
									      "\"1e+20\""));
	assert_string_equal(query(f->path, ALL_PEOPLE), "");
	assert_string_equal(query(f->path, "SELECT key FROM clinic_cache_parked"),
			    "{\"id\":\"z\"}");
	check_digest(f, "people", 1, hash_of("V1:zV1:zV5:1e+20V4:true"));
}

/* A delete of what is neither here nor parked is what it always was. */
static void still_notices_divergence(void **state)
{
	struct fixture *f = *state;

	next_frame(f, INSERT("a", "\"1\"", "\"100\""));
	assert_int_equal(frame(f, clinic_cache_cursor(f->cache), C3, DELETE("nobody")),
			 CLINIC_CACHE_ERR_PROTOCOL);
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_cache_parked"), "1");
}

/* What a frame parked before it failed is not parked, and the next one parks again. */
static void rolls_parking_back(void **state)
{
	struct fixture *f = *state;

	next_frame(f, INSERT("z", "\"z\"", "\"100\""));
	f->events[0] = '\0';
	assert_int_equal(frame(f, clinic_cache_cursor(f->cache), C3,
			       INSERT("a", "\"1\"", "\"100\"") "," CHANGE("people", "dance",
									  PERSON("a"), "null")),
			 CLINIC_CACHE_ERR_PROTOCOL);
	assert_string_equal(query(f->path, "SELECT key FROM clinic_cache_parked"),
			    "{\"id\":\"z\"}");
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|bob|~|0");
	assert_null(strstr(f->events, "row_parked"));
	clinic_cache_disconnected(f->cache, f->now, 1002, "closed");
	connect_link(f);
	become_ready(f);
	next_frame(f, UPDATE("p1", "{\"score\":\"2\"}"));
	next_frame(f, INSERT("b", "\"1\"", "\"100\""));
	assert_string_equal(query(f->path, "SELECT key FROM clinic_cache_parked ORDER BY key"),
			    "{\"id\":\"b\"}\n{\"id\":\"z\"}");
	assert_non_null(strstr(f->events, "row_parked people - {\"id\":\"b\"}"));
}

static void waits_for_a_unique_value(void **state)
{
	struct fixture *f = *state;

	next_frame(f, INSERT("p3", "\"ann\"", "null") "," INSERT("p4", "\"ann\"", "null"));
	assert_string_equal(query(f->path, PARKED),
			    "{\"id\":\"p3\"}|UNIQUE constraint failed: people.login\n"
			    "{\"id\":\"p4\"}|UNIQUE constraint failed: people.login");
	/* the other row goes away: one comes in, one waits for that one now */
	next_frame(f, DELETE("p1"));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p2|bob|~|0\np3|ann|~|1");
	/* the other row takes another value */
	next_frame(f, UPDATE("p3", "{\"login\":\"cid\"}"));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p2|bob|~|0\np3|cid|~|1\np4|ann|~|1");
	assert_string_equal(query(f->path, PARKED), "");
	check_digest(f, "people", 3,
		     hash_of(P2) + hash_of("V2:p3V3:cidNV4:true") + hash_of("V2:p4V3:annNV4:true"));
}

static void swaps_and_chains(void **state)
{
	struct fixture *f = *state;

	f->events[0] = '\0';
	next_frame(f, UPDATE("p1", "{\"login\":\"bob\"}") "," UPDATE("p2", "{\"login\":\"ann\"}"));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|bob|1.5|1\np2|ann|~|0");
	next_frame(
		f,
		INSERT("p3", "\"cid\"", "null") "," UPDATE("p1", "{\"login\":\"ann\"}") "," UPDATE(
			"p2", "{\"login\":\"cid\"}") "," UPDATE("p3", "{\"login\":\"bob\"}"));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|cid|~|0\np3|bob|~|1");
	assert_string_equal(query(f->path, PARKED), "");
	assert_null(strstr(f->events, "row_parked"));
	/* the key changes hands, too */
	next_frame(f, DELETE("p1") "," INSERT("p9", "\"ann\"", "null") "," DELETE("p2") "," INSERT(
			      "p2", "\"bob\"", "null") "," UPDATE("p3", "{\"login\":null}"));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p2|bob|~|1\np3|~|~|1\np9|ann|~|1");
}

static void keeps_the_apps_own_columns(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "UPDATE people SET note = 'app''s', photo = x'00ff10' WHERE id = 'p1';"
			  "UPDATE people SET note = NULL, photo = 2.5 WHERE id = 'p2'");
	next_frame(f, UPDATE("p1", "{\"score\":\"100\"}") "," UPDATE(
			      "p2", "{\"login\":\"ann\"}") "," INSERT("p3", "\"cid\"", "null"));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p2|ann|~|0\np3|cid|~|1");
	next_frame(f, UPDATE("p1", "{\"score\":\"1\",\"login\":\"new\"}"));
	assert_string_equal(query(f->path, "SELECT id, note, quote(photo) FROM people ORDER BY id"),
			    "p1|app's|X'00FF10'\np2|~|2.5\np3|new|NULL");
	assert_string_equal(query(f->path, PARKED), "");
}

static void keeps_exact_texts_of_parked_rows(void **state)
{
	struct fixture *f = *state;

	next_frame(f, UPDATE("p1", "{\"score\":\"-0\"}"));
	assert_string_equal(query(f->path, "SELECT key, value FROM clinic_sync_exact"),
			    "{\"id\":\"p1\"}|-0");
	next_frame(f, UPDATE("p1", "{\"seen\":null}"));
	assert_string_equal(query(f->path, "SELECT key, value FROM clinic_sync_exact"), "");
	check_digest(f, "people", 2, hash_of("V2:p1V3:annV2:-0N") + hash_of(P2));
	next_frame(f, UPDATE("p1", "{\"seen\":true}"));
	assert_string_equal(query(f->path, "SELECT key, value FROM clinic_sync_exact"),
			    "{\"id\":\"p1\"}|-0");
	check_digest(f, "people", 2, hash_of("V2:p1V3:annV2:-0V4:true") + hash_of(P2));
}

/* REPLACE and IGNORE of the app's own declarations would lose rows unseen. */
static void minds_no_conflict_clauses(void **state)
{
	struct fixture *f = start_app(
		"CREATE TABLE people(id TEXT PRIMARY KEY ON CONFLICT REPLACE,"
		" login TEXT UNIQUE ON CONFLICT REPLACE, score REAL NOT NULL ON CONFLICT IGNORE"
		" DEFAULT 5, seen INTEGER);",
		"UPDATE people SET score = 2.5 WHERE id = 'p2'");

	*state = f;
	next_frame(f, UPDATE("p1", "{\"login\":\"bob\"}") "," INSERT(
			      "p3", "\"bob\"", "\"1\"") "," INSERT("p4", "\"dan\"", "null"));
	assert_string_equal(query(f->path, ALL_PEOPLE), "p2|bob|2.5|0");
	assert_string_equal(query(f->path, PARKED),
			    "{\"id\":\"p1\"}|UNIQUE constraint failed: people.login\n"
			    "{\"id\":\"p3\"}|UNIQUE constraint failed: people.login\n"
			    "{\"id\":\"p4\"}|NOT NULL constraint failed: people.score");
}

static void parks_rows_of_a_snapshot(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "UPDATE people SET note = 'kept' WHERE id IN ('p1', 'p2')");
	f->events[0] = '\0';
	replace_all(f, C2,
		    "UPDATE people SET score = 1e300 WHERE id = 'p1';"
		    "DROP INDEX people_login;"
		    "INSERT INTO people VALUES('p3', 'bob', 1, 1), ('p4', 'eve', 2, NULL),"
		    " ('p5', 'fay', 0, 1);"
		    "INSERT INTO clinic_sync_exact VALUES('people', '{\"id\":\"p5\"}', 'score',"
		    " '-0');"
		    "UPDATE clinic_sync_table SET rows = 5 WHERE name = 'people'");
	assert_string_equal(query(f->path, "SELECT id, login, note FROM people ORDER BY id"),
			    "p2|bob|kept\np5|fay|new");
	assert_string_equal(query(f->path, PARKED),
			    "{\"id\":\"p1\"}|CHECK constraint failed: score < 100\n"
			    "{\"id\":\"p3\"}|UNIQUE constraint failed: people.login\n"
			    "{\"id\":\"p4\"}|NOT NULL constraint failed: people.seen");
	assert_non_null(strstr(f->events, "row_parked people - {\"id\":\"p3\"}\n"));
	check_digest(f, "people", 5,
		     hash_of("V2:p1V3:annV6:1e+300V4:true") + hash_of(P2) +
			     hash_of("V2:p3V3:bobV1:1V4:true") + hash_of("V2:p4V3:eveV1:2N") +
			     hash_of("V2:p5V3:fayV2:-0V4:true"));
	/* what the app had of p1 comes back with it, by a change or by a whole snapshot */
	replace_all(f, C3, "UPDATE people SET score = 1e9 WHERE id = 'p1'");
	assert_string_equal(query(f->path, PARKED),
			    "{\"id\":\"p1\"}|CHECK constraint failed: score < 100");
	next_frame(f, UPDATE("p1", "{\"score\":\"1\"}"));
	assert_string_equal(query(f->path, "SELECT id, login, note FROM people ORDER BY id"),
			    "p1|ann|kept\np2|bob|kept");
	assert_string_equal(query(f->path, PARKED), "");
}

static void keeps_parked_rows_over_a_restart(void **state)
{
	struct fixture *f = *state;

	next_frame(f, INSERT("p3", "\"ann\"", "null") "," INSERT("p4", "\"dan\"", "\"100\""));
	clinic_cache_close(f->cache);
	/* the app is of a newer version now, and takes scores of any size */
	exec_sql(f->path, "CREATE TABLE new(id TEXT PRIMARY KEY, login TEXT UNIQUE, score REAL,"
			  " seen INTEGER);"
			  "INSERT INTO new SELECT id, login, score, seen FROM people;"
			  "DROP TABLE people; ALTER TABLE new RENAME TO people");
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	connect_link(f);
	become_ready(f);
	check_digest(f, "people", 4,
		     hash_of(P1) + hash_of(P2) + hash_of("V2:p3V3:annNV4:true") +
			     hash_of("V2:p4V3:danV3:100V4:true"));
	next_frame(f, UPDATE("p2", "{\"seen\":true}"));
	assert_string_equal(query(f->path, PARKED),
			    "{\"id\":\"p3\"}|UNIQUE constraint failed: people.login");
	assert_string_equal(query(f->path, ALL_PEOPLE), "p1|ann|1.5|1\np2|bob|~|1\np4|dan|100.0|1");
}

#define SCHEMA_WITH_EMAIL                                                                          \
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
	"\"identity\":false},"                                                                     \
	"{\"name\":\"email\",\"type\":\"text\",\"class\":\"text\",\"nullable\":true,"              \
	"\"identity\":false}],\"indexes\":[]}"

/* The server's table gets two columns: one that the app has, and one that it lacks. */
static void follows_a_schema_change(void **state)
{
	struct fixture *f = *state;

	next_frame(f, INSERT("p3", "\"cid\"", "\"100\""));
	next_frame(f, "{\"event\":\"e\",\"table\":\"people\",\"operation\":\"schema\",\"key\":null,"
		      "\"data\":" SCHEMA_WITH_EMAIL ",\"origin\":null}");
	assert_string_equal(query(f->path, "SELECT group_concat(name) FROM"
					   " pragma_table_info('people')"),
			    "id,login,score,seen,note,photo");
	next_frame(f, UPDATE("p3", "{\"score\":\"3\",\"email\":\"c@d\"}"));
	assert_string_equal(query(f->path, "SELECT id, score, note FROM people WHERE id = 'p3'"),
			    "p3|3.0|~");
	assert_string_equal(query(f->path, PARKED), "");
	next_frame(f, CHANGE("people", "put", PERSON("p3"),
			     "{\"id\":\"p3\",\"login\":null,\"score\":\"100\",\"seen\":null,"
			     "\"note\":\"x\",\"email\":\"e\"}"));
	/* columns in byte order without the one that the file lacks: id, login, note, score, seen
	 */
	exec_sql(f->path, "UPDATE people SET note = NULL");
	check_digest(f, "people", 3,
		     hash_of("V2:p1V3:annNV3:1.5V4:true") + hash_of("V2:p2V3:bobNNV5:false") +
			     hash_of("V2:p3NV1:xV3:100N"));
}

/* 2,500 rows wait for one value each: a frame brings 1,000 at most, the next ones the rest. */
static void tries_a_bounded_number(void **state)
{
	struct fixture *f = *state;

	replace_all(f, C2,
		    "DROP INDEX people_login;"
		    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)"
		    " INSERT INTO people SELECT format('a%04d', i), 'x' || i, 1, 1 FROM n"
		    " UNION ALL SELECT format('b%04d', i), 'x' || i, 1, 1 FROM n;"
		    "UPDATE clinic_sync_table SET rows = 5002 WHERE name = 'people'");
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_cache_parked"), "2500");
	/* behind the client's back, so that only retries can bring them in */
	exec_sql(f->path, "DELETE FROM people WHERE id LIKE 'a%'");
	for (int left = 2500; left > 0;) {
		int now;

		next_frame(f, UPDATE("p1", "{\"score\":\"2\"}"));
		now = atoi(query(f->path, "SELECT count(*) FROM clinic_cache_parked"));
		assert_in_range(left - now, 1, 1000);
		left = now;
	}
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_cache_parked"), "0");
	assert_string_equal(query(f->path, "SELECT count(*) FROM people"), "2502");
}

/* One frame may move more rows out of each other's way than are tried of older ones. */
static void renumbers_many_rows(void **state)
{
	struct fixture *f = *state;
	static char changes[600000];
	size_t at = 0;

	replace_all(f, C2,
		    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
		    " INSERT INTO people SELECT format('a%04d', i), 'x' || i, 1, 1 FROM n;"
		    "UPDATE clinic_sync_table SET rows = 3002 WHERE name = 'people'");
	for (int i = 1; i <= 3000; i++)
		at += (size_t)snprintf(changes + at, sizeof(changes) - at,
				       "%s{\"table\":\"people\",\"operation\":\"update\",\"key\":{"
				       "\"id\":\"a%04d\"},"
				       "\"data\":{\"login\":\"x%d\"}}",
				       i > 1 ? "," : "", i, i + 1);
	next_frame(f, changes);
	assert_string_equal(query(f->path, "SELECT count(*) FROM clinic_cache_parked"), "0");
	assert_string_equal(query(f->path, "SELECT count(*), min(login), max(login) FROM people"
					   " WHERE login LIKE 'x%' AND 'x' || (substr(id, 2) + 1)"
					   " = login"),
			    "3000|x10|x999");
}

/* Frames that were held and are applied together. */
static void parks_in_held_frames(void **state)
{
	struct fixture *f = *state;
	const char *first = "{\"type\":\"database_change\",\"from\":\"" C1 "\",\"to\":\"" C2
			    "\",\"time\":\"t\",\"changes\":[" INSERT("p3", "\"ann\"", "null") "]}";
	const char *second = "{\"type\":\"database_change\",\"from\":\"" C2 "\",\"to\":\"" C3
			     "\",\"time\":\"t\",\"changes\":[" UPDATE(
				     "p3", "{\"score\":\"101\"}") "," DELETE("p1") "]}";

	assert_int_equal(clinic_cache_receive_ahead(f->cache, f->now, first, strlen(first)),
			 CLINIC_CACHE_OK);
	assert_int_equal(clinic_cache_receive_ahead(f->cache, f->now, second, strlen(second)),
			 CLINIC_CACHE_OK);
	assert_int_equal(clinic_cache_apply_held(f->cache, f->now), CLINIC_CACHE_OK);
	assert_string_equal(query(f->path, PARKED),
			    "{\"id\":\"p3\"}|CHECK constraint failed: score < 100");
	assert_string_equal(query(f->path, ALL_PEOPLE), "p2|bob|~|0");
}

#define APP_TEST(test) cmocka_unit_test_setup_teardown(test, setup_app, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		APP_TEST(parks_what_a_check_refuses),
		APP_TEST(parks_what_not_null_refuses),
		APP_TEST(changes_parked_rows),
		APP_TEST(still_notices_divergence),
		APP_TEST(rolls_parking_back),
		APP_TEST(waits_for_a_unique_value),
		APP_TEST(swaps_and_chains),
		APP_TEST(keeps_the_apps_own_columns),
		APP_TEST(keeps_exact_texts_of_parked_rows),
		cmocka_unit_test_teardown(minds_no_conflict_clauses, teardown),
		APP_TEST(parks_rows_of_a_snapshot),
		APP_TEST(keeps_parked_rows_over_a_restart),
		APP_TEST(follows_a_schema_change),
		APP_TEST(tries_a_bounded_number),
		APP_TEST(renumbers_many_rows),
		APP_TEST(parks_in_held_frames),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("parked rows", tests, NULL, NULL);
}
