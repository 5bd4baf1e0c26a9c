/* An app's own file: its tables are there, empty, before the first snapshot comes. */
#ifndef CLIENT_CACHE_APP_SUPPORT_H
#define CLIENT_CACHE_APP_SUPPORT_H

#include "client_cache_support.h"

#include <openssl/sha.h>

/* First 8 bytes of SHA-256 as a number. */
static inline uint64_t hash_of_bytes(const void *bytes, size_t len)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	uint64_t out = 0;

	SHA256(bytes, len, digest);
	for (int i = 0; i < 8; i++)
		out = out << 8 | digest[i];
	return out;
}

static inline uint64_t hash_of(const char *bytes)
{
	return hash_of_bytes(bytes, strlen(bytes));
}

/* The digest of docs/protocol.md over the delivered columns that the file has. */
static inline void check_digest(struct fixture *f, const char *table, int64_t rows, uint64_t sum)
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

/* A cache at C1 in a file that the app made with app_sql; the snapshot is changed by more_sql. */
static inline struct fixture *start_app(const char *app_sql, const char *more_sql)
{
	struct fixture *f = malloc(sizeof(*f));

	assert_non_null(f);
	make_dir(f);
	exec_sql(f->path, app_sql);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":null"));
	assert_int_equal(say(f,
			     "{\"type\":\"resync_required\",\"reason\":\"no_cursor\",\"at\":\"" C1
			     "\",\"tables\":null}"),
			 CLINIC_CACHE_OK);
	fetch(f, C1, more_sql);
	if (clinic_cache_snapshot_fetched(f->cache, f->now) != CLINIC_CACHE_OK)
		fail_msg("%s", clinic_cache_last_error(f->cache)->text);
	become_ready(f);
	return f;
}

/* Another snapshot at cursor replaces what is there. */
static inline void replace_all(struct fixture *f, const char *cursor, const char *more_sql)
{
	assert_int_equal(say(f, "{\"type\":\"resync_required\",\"reason\":\"table_changed\","
				"\"at\":null}"),
			 CLINIC_CACHE_OK);
	fetch(f, cursor, more_sql);
	if (clinic_cache_snapshot_fetched(f->cache, f->now) != CLINIC_CACHE_OK)
		fail_msg("%s", clinic_cache_last_error(f->cache)->text);
	become_ready(f);
}

/* The frame behind the file's cursor; cursors are numbered. */
static inline void next_frame(struct fixture *f, const char *changes)
{
	char from[64];
	char to[64];
	static char message[1 << 20];

	snprintf(from, sizeof(from), "%s", clinic_cache_cursor(f->cache));
	snprintf(to, sizeof(to), "%ld-00000000000000ff", strtol(from, NULL, 10) + 1);
	assert_true((size_t)snprintf(message, sizeof(message),
				     "{\"type\":\"database_change\",\"from\":\"%s\",\"to\":\"%s\","
				     "\"time\":\"2026-11-23T08:00:01.250Z\",\"changes\":[%s]}",
				     from, to, changes) < sizeof(message));
	if (say(f, message) != CLINIC_CACHE_OK)
		fail_msg("%s", clinic_cache_last_error(f->cache)->text);
}

#define PARKED "SELECT key, reason FROM clinic_cache_parked ORDER BY key"

#endif
