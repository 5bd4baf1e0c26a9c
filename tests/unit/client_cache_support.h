/*
 * What the tests of libclinic_cache share: a directory of their own, a
 * snapshot as a relay would serve it, a handle that has applied it and is
 * ready for frames, and short ways to look into the file.
 */
#ifndef CLIENT_CACHE_SUPPORT_H
#define CLIENT_CACHE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clinic_cache.h"

#define C1 "1-00000000000000aa"
#define C2 "2-00000000000000bb"
#define C3 "3-00000000000000cc"
#define C4 "4-00000000000000dd"

#define PEOPLE_SCHEMA                                                                              \
	"{\"table\":\"people\",\"event\":\"patient_data_change_immediate\",\"version\":1,"         \
	"\"key\":[\"id\"],\"columns\":["                                                           \
	"{\"name\":\"id\",\"type\":\"text\",\"class\":\"text\",\"nullable\":false,"                \
	"\"identity\":false},"                                                                     \
	"{\"name\":\"login\",\"type\":\"text\",\"class\":\"text\",\"nullable\":true,"              \
	"\"identity\":false},"                                                                     \
	"{\"name\":\"score\",\"type\":\"double precision\",\"class\":\"float\","                   \
	"\"nullable\":true,\"identity\":false},"                                                   \
	"{\"name\":\"seen\",\"type\":\"boolean\",\"class\":\"boolean\",\"nullable\":true,"         \
	"\"identity\":false}],"                                                                    \
	"\"indexes\":[{\"name\":\"people_login\",\"columns\":[\"login\"],\"unique\":true}]}"

#define BILLS_SCHEMA                                                                               \
	"{\"table\":\"bills\",\"event\":\"billing_change_immediate\",\"version\":1,"               \
	"\"key\":[\"id\"],\"columns\":["                                                           \
	"{\"name\":\"id\",\"type\":\"integer\",\"class\":\"integer\",\"nullable\":false,"          \
	"\"identity\":true},"                                                                      \
	"{\"name\":\"amount\",\"type\":\"numeric(12,2)\",\"class\":\"decimal\","                   \
	"\"nullable\":true,\"identity\":false}],\"indexes\":[]}"

struct fixture {
	char dir[64];
	char path[96];
	char part[128];
	struct clinic_cache *cache;
	struct clinic_cache_error err;
	/* events as "type table operation key", one per line */
	char events[16384];
	void (*on_event)(const struct clinic_cache_event *event, struct fixture *f);
	uint64_t now;
	const char *connected_more; /* further keys of `connected`; NULL: none */
	void (*options)(struct clinic_cache_options *options); /* NULL: as they are */
};

static inline void exec_sql(const char *path, const char *sql)
{
	sqlite3 *db;
	char *message = NULL;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 5000);
	if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
		fail_msg("%s: %s", sql, message);
	sqlite3_close(db);
}

/* All rows of a query, columns split by | and rows by newline; static storage. */
static inline const char *query(const char *path, const char *sql)
{
	static char out[65536];
	sqlite3 *db;
	sqlite3_stmt *stmt;
	size_t at = 0;

	out[0] = '\0';
	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	sqlite3_busy_timeout(db, 5000);
	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		if (at)
			at += (size_t)snprintf(out + at, sizeof(out) - at, "\n");
		for (int i = 0; i < sqlite3_column_count(stmt); i++) {
			const char *text = (const char *)sqlite3_column_text(stmt, i);

			at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%s", i ? "|" : "",
					       text ? text : "~");
		}
	}
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return out;
}

/* A snapshot at path with people and bills, as docs/protocol.md describes the file. */
static inline void make_snapshot(const char *path, const char *cursor, const char *more_sql)
{
	char sql[8192];

	unlink(path);
	snprintf(sql, sizeof(sql),
		 "CREATE TABLE clinic_sync_meta(key TEXT PRIMARY KEY, value TEXT);"
		 "CREATE TABLE clinic_sync_table(name TEXT PRIMARY KEY, schema TEXT, rows INTEGER);"
		 "CREATE TABLE clinic_sync_exact(\"table\" TEXT, key TEXT, column TEXT, value TEXT,"
		 " PRIMARY KEY(\"table\", key, column));"
		 "CREATE TABLE clinic_sync_oversize(\"table\" TEXT, key TEXT,"
		 " PRIMARY KEY(\"table\", key));"
		 "CREATE TABLE people(id TEXT NOT NULL, login TEXT, score REAL, seen INTEGER,"
		 " PRIMARY KEY(id));"
		 "CREATE TABLE bills(id INTEGER PRIMARY KEY AUTOINCREMENT, amount REAL);"
		 "INSERT INTO people VALUES('p1', 'ann', 1.5, 1), ('p2', 'bob', NULL, 0);"
		 "INSERT INTO bills VALUES(1, 1500.0);"
		 "CREATE UNIQUE INDEX people_login ON people(login);"
		 "INSERT INTO clinic_sync_meta VALUES('format', '1'), ('cursor', '%s'),"
		 " ('created_at', '2026-11-23T08:00:00.000Z');"
		 "INSERT INTO clinic_sync_table VALUES('people', '%s', 2), ('bills', '%s', 1);%s",
		 cursor, PEOPLE_SCHEMA, BILLS_SCHEMA, more_sql ? more_sql : "");
	exec_sql(path, sql);
}

static inline void keep_event(const struct clinic_cache_event *event, void *context)
{
	struct fixture *f = context;
	size_t at = strlen(f->events);

	if (at < sizeof(f->events) - 512)
		snprintf(f->events + at, sizeof(f->events) - at, "%s %s %s %s\n", event->type,
			 event->table ? event->table : "-",
			 event->operation ? event->operation : "-", event->key ? event->key : "-");
	if (f->on_event)
		f->on_event(event, f);
}

static inline clinic_cache_status open_cache(struct fixture *f)
{
	struct clinic_cache_options options = {
		.url = "ws://127.0.0.1:8080/ws",
		.access_code = "code",
		.on_event = keep_event,
		.context = f,
	};

	if (f->options)
		f->options(&options);
	return clinic_cache_open(f->path, &options, &f->cache, &f->err);
}

static inline clinic_cache_status say(struct fixture *f, const char *message)
{
	return clinic_cache_receive(f->cache, f->now, message, strlen(message));
}

static inline clinic_cache_action next(struct fixture *f, struct clinic_cache_todo *todo)
{
	clinic_cache_next_action(f->cache, f->now, todo);
	return todo->action;
}

/* The next message the cache wants to send; fails if there is none. */
static inline const char *sent(struct fixture *f)
{
	size_t len;
	const char *text = clinic_cache_next_frame(f->cache, &len);

	assert_non_null(text);
	assert_int_equal(strlen(text), len);
	return text;
}

static inline void connect_link(struct fixture *f)
{
	struct clinic_cache_todo todo;
	char message[512];

	f->now += 120000;
	assert_int_equal(next(f, &todo), CLINIC_CACHE_CONNECT);
	assert_string_equal(todo.url, "ws://127.0.0.1:8080/ws");
	clinic_cache_connected(f->cache, f->now);
	assert_non_null(strstr(sent(f), "\"client_info\""));
	snprintf(message, sizeof(message),
		 "{\"type\":\"connected\",\"server\":\"clinic-relay\",\"version\":\"1\","
		 "\"protocol\":\"clinic-sync.v1\",\"time\":\"t\",\"limits\":{}%s}",
		 f->connected_more ? f->connected_more : "");
	assert_int_equal(say(f, message), CLINIC_CACHE_OK);
}

static inline void become_ready(struct fixture *f)
{
	char message[256];

	assert_non_null(strstr(sent(f), "\"request_sync\""));
	snprintf(message, sizeof(message), "{\"type\":\"ready\",\"cursor\":\"%s\",\"tables\":[]}",
		 clinic_cache_cursor(f->cache));
	assert_int_equal(say(f, message), CLINIC_CACHE_OK);
}

static inline void fetch(struct fixture *f, const char *cursor, const char *more_sql)
{
	struct clinic_cache_todo todo;

	f->now += 120000;
	assert_int_equal(next(f, &todo), CLINIC_CACHE_FETCH_SNAPSHOT);
	assert_string_equal(todo.fetch_file, f->part);
	make_snapshot(f->part, cursor, more_sql);
}

static inline void make_dir(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	strcpy(f->dir, "/tmp/clinic-cache-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/cache.db", f->dir);
	snprintf(f->part, sizeof(f->part), "%s.snapshot-part", f->path);
}

static inline int setup_empty(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	assert_non_null(f);
	make_dir(f);
	assert_int_equal(open_cache(f), CLINIC_CACHE_OK);
	*state = f;
	return 0;
}

/* A cache at C1, ready for frames, no events noted. */
static inline int setup_ready(void **state)
{
	struct fixture *f;

	setup_empty(state);
	f = *state;
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
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	char command[128];

	clinic_cache_close(f->cache);
	snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

/* A frame from one cursor to the next with these change objects. */
static inline clinic_cache_status frame(struct fixture *f, const char *from, const char *to,
					const char *changes)
{
	char message[16384];

	snprintf(message, sizeof(message),
		 "{\"type\":\"database_change\",\"from\":\"%s\",\"to\":\"%s\","
		 "\"time\":\"2026-11-23T08:00:01.250Z\",\"changes\":[%s]}",
		 from, to, changes);
	return say(f, message);
}

static inline const char *file_cursor(struct fixture *f)
{
	return query(f->path, "SELECT value FROM clinic_sync_meta WHERE key = 'cursor'");
}

/* One change object. key and data are JSON; NULL stands for null. */
#define CHANGE(table, operation, key, data)                                                        \
	"{\"event\":\"data_change_immediate\",\"table\":\"" table "\",\"operation\":\"" operation  \
	"\",\"key\":" key ",\"data\":" data ",\"origin\":null}"
#define PERSON(id) "{\"id\":\"" id "\"}"

#endif
