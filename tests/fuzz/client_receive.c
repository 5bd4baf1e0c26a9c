/*
 * What a relay sends, lines of the input one message each, to a cache file
 * with one table. The core must survive any bytes, and the file must say the
 * same cursor as the handle: rows and cursor move together or not at all.
 *
 * Time passes between the messages, so that the device asks for proofs, for
 * tables it found to differ and, if the first line is LINK_WORD, for all
 * tables over the link; what comes is an answer then.
 */
#include "clinic_cache.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_CURSOR "1-0123456789abcdef"
#define MAX_FILE_BYTES (1024 * 1024)
#define LINK_WORD "link\n"
#define STEP_MS 1500 /* longer than the sync interval */
#define STEP_TICKS 3

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];
static unsigned char template[MAX_FILE_BYTES];
static size_t template_bytes;

static const char template_sql[] =
	"CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, price REAL, seen INTEGER,"
	" photo BLOB);"
	"CREATE UNIQUE INDEX t_name ON t (name);"
	"INSERT INTO t VALUES (1, 'a', 1.5, 1, x'00ff'), (2, 'b', 0.0, 0, NULL);"
	"CREATE TABLE clinic_sync_meta (key TEXT PRIMARY KEY, value TEXT);"
	"INSERT INTO clinic_sync_meta VALUES ('format', '1'), ('cursor', '" FIRST_CURSOR "'),"
	" ('created_at', '2026-11-23T08:00:00.000Z'), ('device_id', 'fuzz'),"
	" ('url', 'ws://127.0.0.1:1/ws');"
	"CREATE TABLE clinic_sync_table (name TEXT PRIMARY KEY, schema TEXT, rows INTEGER);"
	"INSERT INTO clinic_sync_table VALUES ('t', "
	"'{\"table\":\"t\",\"event\":\"e\",\"version\":1,"
	"\"key\":[\"id\"],\"columns\":["
	"{\"name\":\"id\",\"type\":\"bigint\",\"class\":\"bigint\",\"nullable\":false,\"identity\":"
	"true},"
	"{\"name\":\"name\",\"type\":\"text\",\"class\":\"text\",\"nullable\":true,\"identity\":"
	"false},"
	"{\"name\":\"price\",\"type\":\"numeric(12,2)\",\"class\":\"decimal\",\"nullable\":true,"
	"\"identity\":false},"
	"{\"name\":\"seen\",\"type\":\"boolean\",\"class\":\"boolean\",\"nullable\":true,"
	"\"identity\":false},"
	"{\"name\":\"photo\",\"type\":\"bytea\",\"class\":\"blob\",\"nullable\":true,"
	"\"identity\":false}],"
	"\"indexes\":[{\"name\":\"t_name\",\"columns\":[\"name\"],\"unique\":true}]}', 2);"
	"CREATE TABLE clinic_sync_exact (\"table\" TEXT, key TEXT, column TEXT, value TEXT,"
	" PRIMARY KEY (\"table\", key, column));"
	"CREATE TABLE clinic_sync_oversize (\"table\" TEXT, key TEXT, PRIMARY KEY (\"table\", "
	"key));";

static void must(bool good)
{
	if (!good)
		abort();
}

static void remove_files(void)
{
	static const char *const suffixes[] = {
		"",
		"-wal",
		"-shm",
		"-journal",
		".clinic-lock",
		".table-part",
		".snapshot-link",
		".snapshot-part",
		".snapshot-ready",
	};
	char name[128];

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
		unlink(name);
	}
}

static char dir[] = "/dev/shm/clinic_fuzz.XXXXXX";

/* A run that crashes leaves its directory behind for who looks into it. */
static void remove_dir(void)
{
	remove_files();
	must(rmdir(dir) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	sqlite3 *db;
	FILE *f;

	(void)argc;
	(void)argv;
	must(mkdtemp(dir) != NULL);
	must(atexit(remove_dir) == 0);
	snprintf(path, sizeof(path), "%s/cache.db", dir);
	must(sqlite3_open(path, &db) == SQLITE_OK);
	must(sqlite3_exec(db, template_sql, NULL, NULL, NULL) == SQLITE_OK);
	must(sqlite3_close(db) == SQLITE_OK);
	f = fopen(path, "rb");
	must(f != NULL);
	template_bytes = fread(template, 1, sizeof(template), f);
	must(template_bytes > 0 && template_bytes < sizeof(template));
	fclose(f);
	return 0;
}

static void write_template(void)
{
	FILE *f;

	remove_files();
	f = fopen(path, "wb");
	must(f != NULL && fwrite(template, 1, template_bytes, f) == template_bytes);
	fclose(f);
}

static void drain(struct clinic_cache *c)
{
	size_t len;

	while (clinic_cache_next_frame(c, &len))
		;
}

static uint64_t now; /* ms */

static void let_time_pass(struct clinic_cache *c)
{
	now += STEP_MS;
	for (int i = 0; i < STEP_TICKS; i++) {
		clinic_cache_alive(c, now);
		clinic_cache_tick(c, now);
		drain(c);
	}
}

static bool receive(struct clinic_cache *c, const char *text, size_t len)
{
	clinic_cache_status st;

	let_time_pass(c);
	st = clinic_cache_receive(c, now, text, len);
	drain(c);
	return st == CLINIC_CACHE_OK;
}

/* From an open link to the point where frames may come. */
static void greet(struct clinic_cache *c)
{
	static const char connected[] =
		"{\"type\":\"connected\",\"protocol\":\"clinic-sync.v1\",\"limits\":{},"
		"\"sync_interval_s\":1,\"sync_request\":3}";
	static const char ready[] =
		"{\"type\":\"ready\",\"cursor\":\"" FIRST_CURSOR "\",\"tables\":[\"t\"]}";
	struct clinic_cache_todo todo;

	now = 1;
	clinic_cache_next_action(c, now, &todo);
	must(todo.action == CLINIC_CACHE_CONNECT);
	clinic_cache_connected(c, now);
	drain(c);
	must(receive(c, connected, sizeof(connected) - 1));
	must(receive(c, ready, sizeof(ready) - 1));
}

static void check_cursor(struct clinic_cache *c)
{
	const char *cursor = clinic_cache_cursor(c);
	sqlite3_stmt *stmt;
	sqlite3 *db;

	must(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK);
	must(sqlite3_prepare_v2(db, "SELECT value FROM clinic_sync_meta WHERE key = 'cursor'", -1,
				&stmt, NULL) == SQLITE_OK);
	must(sqlite3_step(stmt) == SQLITE_ROW && cursor &&
	     strcmp((const char *)sqlite3_column_text(stmt, 0), cursor) == 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct clinic_cache_options options = {.url = "ws://127.0.0.1:1/ws"};
	struct clinic_cache *c;

	if (size >= strlen(LINK_WORD) && memcmp(text, LINK_WORD, strlen(LINK_WORD)) == 0) {
		options.full_sync = "link";
		text += strlen(LINK_WORD);
		size -= strlen(LINK_WORD);
	}
	write_template();
	must(clinic_cache_open(path, &options, &c, NULL) == CLINIC_CACHE_OK);
	greet(c);
	while (size > 0) {
		const char *end = memchr(text, '\n', size);
		size_t len = end ? (size_t)(end - text) : size;

		if (!receive(c, text, len) || !end)
			break;
		size -= len + 1;
		text = end + 1;
	}
	let_time_pass(c);
	check_cursor(c);
	clinic_cache_close(c);
	return 0;
}
