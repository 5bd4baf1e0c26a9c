/*
 * Tables that the app made become synced ones.
 *
 * The app's schema stays as it is; only rows change hands, and none goes
 * unseen.  With our write lock held and nothing written yet, the file as it is
 * is copied and the copy made durable, under a name that it gets only when it
 * is whole.  Then, in the one transaction that also brings the server's rows,
 * the rows that only the file has are kept in clinic_cache_orphans, whole,
 * with the app's own columns.  So whatever ends the process leaves the old
 * file or the synced one.
 */
#include "cache_internal.h"
#include "clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MOST 100 /* copies made in one second */

/* ---- which tables ------------------------------------------------------------------------- */

static cs_status list(struct clinic_cache *c, const char *sql, char ***names, size_t *count,
		      struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(c->db, sql, &stmt, err);

	*names = NULL;
	*count = 0;
	if (st != CS_OK)
		return st;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		st = names_parse((const char *)sqlite3_column_text(stmt, 0), names, count, err);
	else
		st = store_fail(c->db, "read the tables", err);
	sqlite3_finalize(stmt);
	return st;
}

#define IN_BOTH                                                                                    \
	"SELECT json_group_array(name) FROM (SELECT t.name"                                        \
	" FROM " SNAPSHOT_SCHEMA ".clinic_sync_table AS t JOIN main.sqlite_schema AS s"            \
	" ON s.type IN ('table', 'view') AND s.name = t.name COLLATE NOCASE"

cs_status adopt_list_both(struct clinic_cache *c, char ***names, size_t *count,
			  struct cs_error *err)
{
	return list(c, IN_BOTH " AND s.type = 'table' ORDER BY t.name)", names, count, err);
}

cs_status adopt_list(struct clinic_cache *c, char ***names, size_t *count, struct cs_error *err)
{
	bool synced = store_table_exists(c->db, "main", "clinic_sync_table");

	return list(c,
		    synced ? IN_BOTH
			    " WHERE t.name NOT IN (SELECT name FROM main.clinic_sync_table)"
			    " ORDER BY t.name)"
			   : IN_BOTH " ORDER BY t.name)",
		    names, count, err);
}

static cs_status read_schema(struct clinic_cache *c, const char *table, struct schema **out,
			     struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(
		c->db, "SELECT schema FROM " SNAPSHOT_SCHEMA ".clinic_sync_table WHERE name = ?1",
		&stmt, err);
	const char *json;

	*out = NULL;
	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
	json = sqlite3_step(stmt) == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
	if (json)
		st = schema_parse_text(json, (size_t)sqlite3_column_bytes(stmt, 0), out, err);
	else
		st = store_fail(c->db, "read the snapshot", err);
	sqlite3_finalize(stmt);
	return st;
}

cs_status adopt_table(struct clinic_cache *c, const char *table, struct cached_table **out,
		      struct cs_error *err)
{
	struct cached_table *t = calloc(1, sizeof(*t));
	cs_status st;

	*out = t;
	if (!t)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	t->adopted = true;
	st = read_schema(c, table, &t->schema, err);
	if (st == CS_OK)
		st = adopt_check(c->db, t->schema, err);
	return st == CS_OK ? table_read_local(c->db, t, err) : st;
}

/* ---- the copy ----------------------------------------------------------------------------- */

static cs_status no_copy(const char *what, struct cs_error *err)
{
	return cs_fail(err, CS_ERR_STORE,
		       "cannot copy the file before it is synced, so it stays as it is: %s", what);
}

/* From a connection of its own, since ours holds the write lock and SQLite copies no such one. */
static cs_status copy_to(const char *from_path, const char *to_path, struct cs_error *err)
{
	sqlite3 *from = NULL;
	sqlite3 *to = NULL;
	sqlite3_backup *backup = NULL;
	int rc =
		sqlite3_open_v2(from_path, &from, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_open_v2(to_path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
				     NULL);
	if (rc == SQLITE_OK) {
		sqlite3_busy_timeout(from, CACHE_BUSY_TIMEOUT_MS);
		backup = sqlite3_backup_init(to, "main", from, "main");
		rc = backup ? sqlite3_backup_step(backup, -1) : sqlite3_errcode(to);
		if (rc == SQLITE_DONE)
			rc = SQLITE_OK;
		if (sqlite3_backup_finish(backup) != SQLITE_OK && rc == SQLITE_OK)
			rc = SQLITE_IOERR;
	}
	sqlite3_close(from);
	if (sqlite3_close(to) != SQLITE_OK && rc == SQLITE_OK)
		rc = SQLITE_IOERR;
	return rc == SQLITE_OK ? CS_OK : no_copy(sqlite3_errstr(rc), err);
}

/* FILE.before-sync-20261123T080000Z, or with a number behind it. */
static char *copy_name(const char *path, int try)
{
	char now[CLOCK_TEXT_BYTES];
	char stamp[CLOCK_TEXT_BYTES];
	size_t len = 0;

	clock_utc_text(now);
	for (const char *at = now; *at && *at != '.'; at++)
		if (*at != '-' && *at != ':')
			stamp[len++] = *at;
	stamp[len] = '\0';
	return try ? platform_format("%s.before-sync-%sZ-%d", path, stamp, try + 1)
		   : platform_format("%s.before-sync-%sZ", path, stamp);
}

/* The name that it got, owned by the caller. */
static cs_status place_copy(struct clinic_cache *c, const char *part, char **out,
			    struct cs_error *err)
{
	platform_placing placed = PLATFORM_TAKEN;
	char why[PLATFORM_ERROR_BYTES];
	char *name = NULL;

	if (!platform_sync_file(part))
		return no_copy(platform_error(why), err);
	for (int try = 0; try < NAMES_MOST && placed == PLATFORM_TAKEN; try++) {
		free(name);
		name = copy_name(c->path, try);
		if (!name)
			return cs_fail(err, CS_ERR_NOMEM, "out of memory");
		placed = platform_place(part, name);
	}
	if (placed != PLATFORM_PLACED || !platform_sync_directory_of(c->path)) {
		free(name);
		return no_copy(platform_error(why), err);
	}
	*out = name;
	return CS_OK;
}

void adopt_remove_part(struct clinic_cache *c)
{
	char *part = platform_format("%s.before-sync-part", c->path);

	if (part) {
		platform_remove(part);
		beside_remove(part);
	}
	free(part);
}

cs_status adopt_backup(struct clinic_cache *c, char **name, struct cs_error *err)
{
	char *part = platform_format("%s.before-sync-part", c->path);
	platform_file made;
	char why[PLATFORM_ERROR_BYTES];
	cs_status st = CS_OK;

	*name = NULL;
	if (!part)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	adopt_remove_part(c);
	/* it holds what the file holds: for its owner only, from the first byte */
	made = platform_open_lock(part, true);
	if (made == PLATFORM_NO_FILE)
		st = no_copy(platform_error(why), err);
	else
		platform_close(made);
	if (st == CS_OK)
		st = copy_to(c->path, part, err);
	if (st == CS_OK)
		st = place_copy(c, part, name, err);
	adopt_remove_part(c);
	free(part);
	return st;
}

/* A COMMIT that failed may have been one all the same: true if that cannot be ruled out. */
static bool is_named(struct clinic_cache *c, const char *name)
{
	char *sql = sqlite3_mprintf("SELECT count(*) FROM main.clinic_sync_meta"
				    " WHERE key = 'backup' AND value = %Q",
				    name);
	int64_t found = 0;
	cs_status st = store_integer(
		c->db, "SELECT count(*) FROM main.sqlite_schema WHERE name = 'clinic_sync_meta'",
		&found, NULL);

	if (st == CS_OK && found)
		st = sql ? store_integer(c->db, sql, &found, NULL) : CS_ERR_NOMEM;
	sqlite3_free(sql);
	return st != CS_OK || found;
}

void adopt_drop_backup(struct clinic_cache *c, const char *name)
{
	if (is_named(c, name))
		return;
	platform_remove(name);
	(void)!platform_sync_directory_of(c->path);
}

/* ---- orphans ------------------------------------------------------------------------------ */

#define ORPHANS_TABLE                                                                              \
	"CREATE TABLE IF NOT EXISTS main.clinic_cache_orphans("                                    \
	"\"table\" TEXT, key TEXT, data TEXT, kept_at TEXT)"

static bool is_utf8(const unsigned char *text, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t more = text[i] < 0x80                      ? 0
			      : text[i] >= 0xc2 && text[i] < 0xe0 ? 1
			      : text[i] >= 0xe0 && text[i] < 0xf0 ? 2
			      : text[i] >= 0xf0 && text[i] < 0xf5 ? 3
								  : len;

		if (more >= len - i)
			return false;
		for (size_t k = 1; k <= more; k++)
			if ((text[i + k] & 0xc0) != 0x80)
				return false;
		i += more + 1;
	}
	return true;
}

static void add_hex(struct dynbuf *b, const char *kind, const unsigned char *bytes, size_t len)
{
	dynbuf_addf(b, "{\"%s\":\"", kind);
	for (size_t i = 0; i < len; i++)
		dynbuf_addf(b, "%02x", bytes[i]);
	dynbuf_adds(b, "\"}");
}

/* Seen to be no integer, and the infinite as SQLite itself writes it in JSON. */
static void add_real(struct dynbuf *b, double value)
{
	char text[40];

	snprintf(text, sizeof(text), "%.17g", value);
	if (isinf(value))
		dynbuf_adds(b, value < 0 ? "-9e999" : "9e999");
	else
		dynbuf_addf(b, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

/* A value as it stands in the file: nothing of it may be lost. */
static void add_stored(struct dynbuf *b, sqlite3_stmt *row, int i)
{
	const void *bytes;
	size_t len;

	switch (sqlite3_column_type(row, i)) {
	case SQLITE_INTEGER:
		dynbuf_addf(b, "%lld", (long long)sqlite3_column_int64(row, i));
		return;
	case SQLITE_FLOAT:
		add_real(b, sqlite3_column_double(row, i));
		return;
	case SQLITE_TEXT:
		bytes = sqlite3_column_text(row, i);
		len = (size_t)sqlite3_column_bytes(row, i);
		if (is_utf8(bytes, len))
			dynbuf_add_json(b, bytes, len);
		else
			add_hex(b, "text", bytes, len);
		return;
	case SQLITE_BLOB:
		bytes = sqlite3_column_blob(row, i);
		add_hex(b, "blob", bytes, (size_t)sqlite3_column_bytes(row, i));
		return;
	default:
		dynbuf_adds(b, "null");
	}
}

static void add_member(struct dynbuf *b, const char *name, sqlite3_stmt *row, int i)
{
	dynbuf_adds(b, b->len ? "," : "{");
	dynbuf_add_json(b, name, strlen(name));
	dynbuf_adds(b, ":");
	add_stored(b, row, i);
}

static cs_status keep_row(const struct schema *s, sqlite3_stmt *row, sqlite3_stmt *insert,
			  struct dynbuf *key, struct dynbuf *data)
{
	dynbuf_reset(key);
	dynbuf_reset(data);
	for (int i = 0; i < sqlite3_column_count(row); i++) {
		const char *name = sqlite3_column_name(row, i);
		int at = table_find_delivered(s, name);

		add_member(data, name, row, i);
		if (at >= 0 && s->columns[at].key_position >= 0)
			add_member(key, s->columns[at].name, row, i);
	}
	dynbuf_adds(key, "}");
	dynbuf_adds(data, "}");
	if (key->failed || data->failed)
		return CS_ERR_NOMEM;
	sqlite3_reset(insert);
	sqlite3_bind_text64(insert, 2, key->data, key->len, SQLITE_STATIC, SQLITE_UTF8);
	sqlite3_bind_text64(insert, 3, data->data, data->len, SQLITE_STATIC, SQLITE_UTF8);
	return sqlite3_step(insert) == SQLITE_DONE ? CS_OK : CS_ERR_STORE;
}

static cs_status keep_rows(struct clinic_cache *c, const struct schema *s, sqlite3_stmt *rows,
			   sqlite3_stmt *insert, struct cs_error *err)
{
	struct dynbuf key, data;
	char now[CLOCK_TEXT_BYTES];
	cs_status st = CS_OK;
	int rc = SQLITE_DONE;

	dynbuf_init(&key, CACHE_MESSAGE_BYTES_MOST);
	dynbuf_init(&data, CACHE_MESSAGE_BYTES_MOST);
	sqlite3_bind_text(insert, 1, s->table, -1, SQLITE_STATIC);
	sqlite3_bind_text(insert, 4, clock_utc_text(now), -1, SQLITE_TRANSIENT);
	while (st == CS_OK && (rc = sqlite3_step(rows)) == SQLITE_ROW)
		st = keep_row(s, rows, insert, &key, &data);
	if (st == CS_ERR_NOMEM)
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	else if (st != CS_OK || rc != SQLITE_DONE)
		st = store_fail(c->db, "keep rows that only the file has", err);
	dynbuf_free(&key);
	dynbuf_free(&data);
	return st;
}

/* Those that c->sql selects. */
static cs_status keep_selected(struct clinic_cache *c, const struct schema *s, struct cs_error *err)
{
	sqlite3_stmt *rows = NULL;
	sqlite3_stmt *insert = NULL;
	cs_status st = store_exec(c->db, ORPHANS_TABLE, err);

	if (st == CS_OK && c->sql.failed)
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (st == CS_OK)
		st = store_prepare(c->db, c->sql.data, &rows, err);
	if (st == CS_OK)
		st = store_prepare(c->db,
				   "INSERT INTO main.clinic_cache_orphans"
				   " VALUES(?1, ?2, ?3, ?4)",
				   &insert, err);
	if (st == CS_OK)
		st = keep_rows(c, s, rows, insert, err);
	sqlite3_finalize(rows);
	sqlite3_finalize(insert);
	return st;
}

cs_status adopt_keep_orphans(struct clinic_cache *c, const struct cached_table *t,
			     struct cs_error *err)
{
	dynbuf_reset(&c->sql);
	dynbuf_adds(&c->sql, "SELECT m.*");
	adopt_add_only_here(&c->sql, t);
	return keep_selected(c, t->schema, err);
}

cs_status adopt_keep_values(struct clinic_cache *c, const struct schema *s, const char *names,
			    struct cs_error *err)
{
	dynbuf_reset(&c->sql);
	dynbuf_adds(&c->sql, "SELECT * FROM main.");
	schema_add_identifier(&c->sql, s->table);
	dynbuf_addf(&c->sql, " WHERE coalesce(NULL, %s) IS NOT NULL", names);
	return keep_selected(c, s, err);
}
