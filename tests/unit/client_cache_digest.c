/* Digest and row hashes, against SHA-256 of the bytes that docs/protocol.md names. */
#include "client_cache_support.h"

#include <openssl/sha.h>

/* First 8 bytes of SHA-256 as a number. */
static uint64_t hash_of(const char *bytes)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	uint64_t out = 0;

	SHA256((const unsigned char *)bytes, strlen(bytes), digest);
	for (int i = 0; i < 8; i++)
		out = out << 8 | digest[i];
	return out;
}

static void check_digest(struct fixture *f, const char *table, int64_t rows, uint64_t sum)
{
	struct clinic_cache_view *view;
	int64_t found;
	char hash[17];
	char expected[17];

	snprintf(expected, sizeof(expected), "%016llx", (unsigned long long)sum);
	assert_int_equal(clinic_cache_view_open(f->path, &view, &f->err), CLINIC_CACHE_OK);
	assert_int_equal(clinic_cache_view_digest(view, table, &found, hash, &f->err),
			 CLINIC_CACHE_OK);
	clinic_cache_view_close(view);
	assert_int_equal(found, rows);
	assert_string_equal(hash, expected);
}

static void is_what_the_protocol_says(void **state)
{
	struct fixture *f = *state;

	/* the example of docs/protocol.md, by hand: sha256sum of "V1:xN" */
	assert_true(hash_of("V1:xN") == 0x4080e317e16b1e1aULL);
	/* columns in byte order of their names: id, login, score, seen */
	check_digest(f, "people", 2,
		     hash_of("V2:p1V3:annV3:1.5V4:true") + hash_of("V2:p2V3:bobNV5:false"));
	check_digest(f, "bills", 1, hash_of("V7:1500.00V1:1"));
}

static void uses_the_exact_texts(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		frame(f, C1, C2,
		      CHANGE("people", "update", PERSON("p1"), "{\"score\":\"NaN\"}") "," CHANGE(
			      "people", "update", PERSON("p2"),
			      "{\"score\":\"-0\"}") "," CHANGE("people", "insert",
							       PERSON("a\\\"\\u0007\\né"),
							       "{\"id\":\"a\\\"\\u0007\\né\","
							       "\"login\":\"\",\"score\":\"-0\","
							       "\"seen\":null}") "," CHANGE("peopl"
											    "e",
											    "inser"
											    "t",
											    PERSON("p4"),
											    "{\"id"
											    "\":"
											    "\"p4\""
											    ",\"log"
											    "in\":"
											    "null,"
											    "\"scor"
											    "e\":"
											    "\"-"
											    "Infini"
											    "ty\","
											    "\"seen"
											    "\":"
											    "null"
											    "}")),
		CLINIC_CACHE_OK);
	check_digest(f, "people", 4,
		     hash_of("V2:p1V3:annV3:NaNV4:true") + hash_of("V2:p2V3:bobV2:-0V5:false") +
			     hash_of("V6:a\"\a\néV0:V2:-0N") + hash_of("V2:p4NV9:-InfinityN"));
}

#define POINTS_SCHEMA                                                                              \
	"{\"table\":\"points\",\"event\":\"e\",\"version\":1,\"key\":[\"x\",\"n\"],\"columns\":["  \
	"{\"name\":\"x\",\"type\":\"double precision\",\"class\":\"float\",\"nullable\":false,"    \
	"\"identity\":false},{\"name\":\"n\",\"type\":\"integer\",\"class\":\"integer\","          \
	"\"nullable\":false,\"identity\":false}],\"indexes\":[]}"

/* PostgreSQL takes -0 and 0 for one key, and prints the one that is there. */
static void knows_minus_zero_in_a_key(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(say(f, "{\"type\":\"resync_required\",\"reason\":\"table_changed\","
				"\"at\":\"" C2 "\"}"),
			 CLINIC_CACHE_OK);
	fetch(f, C2,
	      "CREATE TABLE points(x REAL NOT NULL, n INTEGER NOT NULL, PRIMARY KEY(x, n));"
	      "INSERT INTO points VALUES(0, 1), (0, 2);"
	      "INSERT INTO clinic_sync_exact VALUES('points', '{\"x\":\"-0\",\"n\":1}', 'x', '-0');"
	      "INSERT INTO clinic_sync_table VALUES('points', '" POINTS_SCHEMA "', 2)");
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_OK);
	check_digest(f, "points", 2, hash_of("V1:1V2:-0") + hash_of("V1:2V1:0"));
	become_ready(f);
	assert_int_equal(frame(f, C2, C3,
			       CHANGE("points", "insert", "{\"x\":\"-0\",\"n\":3}",
				      "{\"x\":\"-0\",\"n\":3}") "," CHANGE("points", "delete",
									   "{\"x\":\"-0\",\"n\":1}",
									   "null")),
			 CLINIC_CACHE_OK);
	check_digest(f, "points", 2, hash_of("V1:2V1:0") + hash_of("V1:3V2:-0"));
}

static void keep_hash(const char *key, const char *row_hash, void *context)
{
	char *out = context;

	sprintf(out + strlen(out), "%s %s\n", key, row_hash);
}

static void names_each_row(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_view *view;
	char found[512] = "";
	char expected[512];

	assert_int_equal(clinic_cache_view_open(f->path, &view, &f->err), CLINIC_CACHE_OK);
	assert_int_equal(clinic_cache_view_table_count(view), 2);
	assert_string_equal(clinic_cache_view_table(view, 0), "bills");
	assert_null(clinic_cache_view_table(view, 2));
	assert_int_equal(clinic_cache_view_row_hashes(view, "bills", keep_hash, found, &f->err),
			 CLINIC_CACHE_OK);
	assert_int_equal(clinic_cache_view_row_hashes(view, "people", keep_hash, found, &f->err),
			 CLINIC_CACHE_OK);
	snprintf(expected, sizeof(expected),
		 "{\"id\":1} %016llx\n{\"id\":\"p1\"} %016llx\n{\"id\":\"p2\"} %016llx\n",
		 (unsigned long long)hash_of("V7:1500.00V1:1"),
		 (unsigned long long)hash_of("V2:p1V3:annV3:1.5V4:true"),
		 (unsigned long long)hash_of("V2:p2V3:bobNV5:false"));
	assert_string_equal(found, expected);
	assert_int_equal(clinic_cache_view_row_hashes(view, "pets", keep_hash, found, &f->err),
			 CLINIC_CACHE_ERR_USAGE);
	clinic_cache_view_close(view);
}

static void sees_what_somebody_changed(void **state)
{
	struct fixture *f = *state;

	exec_sql(f->path, "UPDATE people SET login = 'eve' WHERE id = 'p1'");
	check_digest(f, "people", 2,
		     hash_of("V2:p1V3:eveV3:1.5V4:true") + hash_of("V2:p2V3:bobNV5:false"));
}

static void does_not_move_with_the_file(void **state)
{
	struct fixture *f = *state;
	struct clinic_cache_view *view;
	int64_t rows;
	char before[17];
	char after[17];

	assert_int_equal(clinic_cache_view_open(f->path, &view, &f->err), CLINIC_CACHE_OK);
	assert_int_equal(clinic_cache_view_digest(view, "people", &rows, before, &f->err),
			 CLINIC_CACHE_OK);
	assert_int_equal(frame(f, C1, C2, CHANGE("people", "delete", PERSON("p1"), "null")),
			 CLINIC_CACHE_OK);
	assert_string_equal(clinic_cache_view_cursor(view), C1);
	assert_int_equal(clinic_cache_view_digest(view, "people", &rows, after, &f->err),
			 CLINIC_CACHE_OK);
	assert_string_equal(before, after);
	assert_int_equal(clinic_cache_view_refresh(view, &f->err), CLINIC_CACHE_OK);
	assert_string_equal(clinic_cache_view_cursor(view), C2);
	assert_int_equal(clinic_cache_view_digest(view, "people", &rows, after, &f->err),
			 CLINIC_CACHE_OK);
	assert_int_equal(rows, 1);
	clinic_cache_view_close(view);
}

#define READY(test) cmocka_unit_test_setup_teardown(test, setup_ready, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		READY(is_what_the_protocol_says),
		READY(uses_the_exact_texts),
		READY(names_each_row),
		READY(knows_minus_zero_in_a_key),
		READY(sees_what_somebody_changed),
		READY(does_not_move_with_the_file),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("cache digests", tests, NULL, NULL);
}
