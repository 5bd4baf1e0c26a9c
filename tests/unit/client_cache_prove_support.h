/*
 * A relay that proves, for tests of the library without sockets: a second
 * file stands for the server, its digests and rows are taken from there.
 */
#ifndef CLIENT_CACHE_PROVE_SUPPORT_H
#define CLIENT_CACHE_PROVE_SUPPORT_H

#include "client_cache_support.h"

#define INTERVAL_MS 30000
#define C4 "4-00000000000000dd"
#define C5 "5-00000000000000ee"
#define PEOPLE_COUNT "SELECT count(*) FROM people"

static char server[128]; /* the file that stands for the server */

static inline bool has_event(const struct fixture *f, const char *text)
{
	return strstr(f->events, text) != NULL;
}

/* A cache at C1 that compares every 30 s, and the server with the same rows. */
static inline int setup_proving(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	assert_non_null(f);
	make_dir(f);
	f->connected_more = ",\"sync_interval_s\":30,\"sync_request\":100";
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	*state = f;
	connect_link(f);
	assert_non_null(strstr(sent(f), "\"cursor\":null"));
	assert_int_equal(say(f,
			     "{\"type\":\"resync_required\",\"reason\":\"no_cursor\",\"at\":\"" C1
			     "\",\"tables\":null}"),
			 CLINIC_CACHE_OK);
	fetch(f, C1, NULL);
	assert_int_equal(clinic_cache_snapshot_fetched(f->cache, f->now), CLINIC_CACHE_OK);
	become_ready(f);
	f->events[0] = '\0';
	snprintf(server, sizeof(server), "%s/server.db", f->dir);
	make_snapshot(server, C1, NULL);
	return 0;
}

/* Let time pass and work be done until it says something, or nothing is left; NULL: it does not. */
static inline const char *tick(struct fixture *f, uint64_t ms)
{
	struct clinic_cache_todo todo;
	size_t len;

	f->now += ms;
	for (int i = 0; i < 10000; i++) {
		clinic_cache_alive(f->cache, f->now);
		assert_true(clinic_cache_tick(f->cache, f->now));
		if (clinic_cache_has_frame(f->cache))
			return clinic_cache_next_frame(f->cache, &len);
		if (next(f, &todo) != CLINIC_CACHE_WAIT || todo.wait_ms > 0)
			return NULL;
	}
	fail_msg("work without end");
	return NULL;
}

/* The same, when it has to say something with this in it. */
static inline const char *asks(struct fixture *f, uint64_t ms, const char *what)
{
	const char *text = tick(f, 0);

	if (!text)
		text = tick(f, ms);
	assert_non_null(text);
	if (!strstr(text, what))
		fail_msg("%s is not in %s", what, text);
	return text;
}

struct digest_sum {
	const char *after, *upto; /* of ids of people; NULL: open */
	long long rows;
	uint64_t sum;
};

static inline void add_row_hash(const char *key, const char *row_hash, void *context)
{
	struct digest_sum *d = context;
	char id[64] = "";

	sscanf(key, "{\"id\":\"%63[^\"]", id);
	if ((d->after && strcmp(id, d->after) <= 0) || (d->upto && strcmp(id, d->upto) > 0))
		return;
	d->rows++;
	d->sum += strtoull(row_hash, NULL, 16);
}

/* What the server says of a slice: {"rows":…,"hash":"…"}. */
static inline const char *server_slice(const char *table, const char *after, const char *upto)
{
	static char out[8][80];
	static int at;
	struct digest_sum d = {after, upto, 0, 0};
	struct clinic_cache_view *v;

	assert_int_equal(clinic_cache_view_open(server, &v, NULL), CLINIC_CACHE_OK);
	assert_int_equal(clinic_cache_view_row_hashes(v, table, add_row_hash, &d, NULL),
			 CLINIC_CACHE_OK);
	clinic_cache_view_close(v);
	at = (at + 1) % 8;
	snprintf(out[at], sizeof(out[at]), "{\"rows\":%lld,\"hash\":\"%016llx\"}", d.rows,
		 (unsigned long long)d.sum);
	return out[at];
}

#define WHOLE(table) "{\"table\":\"" table "\",\"after\":null,\"upto\":null}"

static inline void digest_begin(struct fixture *f, int id, const char *scope, const char *slices)
{
	char message[4096];

	snprintf(message, sizeof(message),
		 "{\"type\":\"digest_begin\",\"id\":%d,\"scope\":\"%s\",\"slices\":[%s]}", id,
		 scope, slices);
	assert_int_equal(say(f, message), CLINIC_CACHE_OK);
}

static inline void digest(struct fixture *f, int id, const char *scope, const char *cursor,
			  const char *slices, const char *counts, bool last)
{
	char message[4096];

	snprintf(message, sizeof(message),
		 "{\"type\":\"digest\",\"id\":%d,\"scope\":\"%s\",\"cursor\":\"%s\","
		 "\"slices\":[%s],\"counts\":{%s},\"last\":%s}",
		 id, scope, cursor, slices, counts, last ? "true" : "false");
	assert_int_equal(say(f, message), CLINIC_CACHE_OK);
}

/* Both tables of the server, of the form of slices. */
static inline const char *both_tables(void)
{
	static char out[256];

	snprintf(out, sizeof(out), "%s,%s", server_slice("people", NULL, NULL),
		 server_slice("bills", NULL, NULL));
	return out;
}

/* One periodic round over both tables, without frames in between. */
static inline void periodic_round(struct fixture *f, int id, const char *cursor)
{
	asks(f, INTERVAL_MS, "\"request_digest\",\"scope\":\"slice\"");
	digest_begin(f, id, "slice", WHOLE("people") "," WHOLE("bills"));
	digest(f, id, "slice", cursor, both_tables(), "", true);
}

/* Rows of people at the server as the wire writes them. */
static inline const char *wire_people(const char *where)
{
	static char out[60000];
	char sql[1024];
	const char *found;

	snprintf(sql, sizeof(sql),
		 "SELECT group_concat(json_object('id', id, 'login', login, 'score',"
		 " CASE WHEN score IS NOT NULL THEN printf('%%g', score) END, 'seen',"
		 " json(CASE seen WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END)), ',')"
		 " FROM (SELECT * FROM people WHERE %s ORDER BY id)",
		 where);
	found = query(server, sql);
	snprintf(out, sizeof(out), "%s", strcmp(found, "~") == 0 ? "" : found);
	return out;
}

static inline clinic_cache_status table_sync(struct fixture *f, int part, const char *cursor,
					     const char *rows, bool last)
{
	static char message[65536];

	snprintf(message, sizeof(message),
		 "{\"type\":\"table_sync\",\"table\":\"people\",\"cursor\":\"%s\",\"part\":%d,%s%s"
		 "\"rows\":[%s]%s,\"last\":%s}",
		 cursor, part, part == 0 ? "\"schema\":" PEOPLE_SCHEMA : "", part == 0 ? "," : "",
		 rows, last ? ",\"oversize\":[]" : "", last ? "true" : "false");
	return say(f, message);
}

static inline const char *meta(struct fixture *f, const char *key)
{
	char sql[128];

	snprintf(sql, sizeof(sql), "SELECT value FROM clinic_sync_meta WHERE key = '%s'", key);
	return query(f->path, sql);
}

#define SCORE(id, value) CHANGE("people", "update", PERSON(id), "{\"score\":\"" value "\"}")
#define PROVING(test) cmocka_unit_test_setup_teardown(test, setup_proving, teardown)
#define ALL_PEOPLE "SELECT id, login, score, seen FROM people ORDER BY id"

static inline const char *people_digest(const char *path)
{
	static char out[2][64];
	static int at;
	struct clinic_cache_view *v;
	int64_t rows;
	char hash[17];

	assert_int_equal(clinic_cache_view_open(path, &v, NULL), CLINIC_CACHE_OK);
	assert_int_equal(clinic_cache_view_digest(v, "people", &rows, hash, NULL), CLINIC_CACHE_OK);
	clinic_cache_view_close(v);
	at = !at;
	snprintf(out[at], sizeof(out[at]), "%lld rows, %s", (long long)rows, hash);
	return out[at];
}

static inline void assert_same_people(struct fixture *f)
{
	assert_string_equal(people_digest(f->path), people_digest(server));
}

/* ---- a repair ----------------------------------------------------------------------------- */

/* Found to differ and asked for. */
static inline void asked_for(struct fixture *f, const char *damage)
{
	exec_sql(f->path, damage);
	periodic_round(f, 1, C1);
	assert_true(has_event(f, "table_differs people"));
	asks(f, 0, "{\"type\":\"request_table_sync\",\"table\":\"people\"}");
	f->events[0] = '\0';
}

static inline void all_rows_come(struct fixture *f, const char *cursor)
{
	assert_int_equal(table_sync(f, 0, cursor, wire_people("1"), true), CLINIC_CACHE_OK);
}

static inline void assert_repaired(struct fixture *f)
{
	char part[160];

	assert_null(tick(f, 0));
	assert_same_people(f);
	assert_true(has_event(f, "table_sync_completed people - -\nui_refresh_requested"));
	snprintf(part, sizeof(part), "%s.table-part", f->path);
	assert_int_not_equal(access(part, F_OK), 0);
	/* the next round says it too */
	f->events[0] = '\0';
	asks(f, INTERVAL_MS, "\"repairs\":1");
}

static inline void one_step(struct fixture *f)
{
	clinic_cache_alive(f->cache, f->now);
	assert_true(clinic_cache_tick(f->cache, f->now));
}

#endif
