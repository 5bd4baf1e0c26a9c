/*
 * A fetched snapshot file becomes the cache.
 *
 * It is checked first: the file came over a network, and what it says of
 * itself must be true of it.  When there is no cache yet, the file itself is
 * signed (device, address, tables), made durable and renamed into place
 * without replacing anything: readers see no file or a whole one.  Otherwise
 * its content is merged, cache_merge.c.
 *
 * Before it is touched the part is renamed to PATH.snapshot-ready, so that a
 * part is always exactly what the relay sent and can be resumed by Range.
 */
#include "cache_internal.h"
#include "clock.h"

#include <stdlib.h>
#include <string.h>

static cs_status unusable(const char *what, struct cs_error *err)
{
	return cs_fail(err, CS_ERR_STORE, "the snapshot is unusable: %s", what);
}

/* Nothing in it may run or pretend: plain tables and indexes only. */
static cs_status check_objects(sqlite3 *db, struct cs_error *err)
{
	int64_t others = 0;
	cs_status st = store_integer(db,
				     "SELECT count(*) FROM sqlite_schema"
				     " WHERE type NOT IN ('table', 'index')"
				     " OR sql LIKE 'CREATE VIRTUAL%'",
				     &others, err);

	if (st == CS_OK && others)
		return unusable("it has more than tables and indexes", err);
	return st;
}

/* No page is damaged; a count of rows may come from an index, and would not show it. */
static cs_status check_pages(sqlite3 *db, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(db, "PRAGMA main.quick_check(1)", &stmt, err);
	const char *verdict = NULL;

	if (st != CS_OK)
		return st;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		verdict = (const char *)sqlite3_column_text(stmt, 0);
	if (!verdict || strcmp(verdict, "ok") != 0)
		st = unusable("it is damaged", err);
	sqlite3_finalize(stmt);
	return st;
}

static cs_status check_meta(sqlite3 *db, struct cs_error *err)
{
	char format[16];
	char cursor[CURSOR_TEXT_BYTES];
	cs_status st;

	if (!store_table_exists(db, "main", "clinic_sync_meta") ||
	    !store_table_exists(db, "main", "clinic_sync_table") ||
	    !store_table_exists(db, "main", "clinic_sync_exact") ||
	    !store_table_exists(db, "main", "clinic_sync_oversize"))
		return unusable("a clinic_sync table is missing", err);
	st = meta_get(db, "main", "format", format, sizeof(format), err);
	if (st == CS_OK)
		st = meta_get(db, "main", "cursor", cursor, sizeof(cursor), err);
	if (st == CS_OK && strcmp(format, "1") != 0)
		return unusable("its format is not 1", err);
	if (st == CS_OK && !cursor[0])
		return unusable("it has no cursor", err);
	return st;
}

/* The columns are there and the rows are as many as it says. */
static cs_status check_table(sqlite3 *db, const struct schema *schema, int64_t rows,
			     struct cs_error *err)
{
	char *sql;
	int64_t found = -1;
	cs_status st;

	for (size_t i = 0; i < schema->column_count; i++) {
		const struct schema_column *column = &schema->columns[i];
		const char *type;
		int in_key;

		if (sqlite3_table_column_metadata(db, "main", schema->table, column->name, &type,
						  NULL, NULL, &in_key, NULL) != SQLITE_OK)
			return unusable("a table or column is missing", err);
		if (!type || !platform_same_name(type, schema_sqlite_type(column->class)) ||
		    (in_key != 0) != (column->key_position >= 0))
			return unusable("a column is not what the table's schema says", err);
	}
	sql = sqlite3_mprintf("SELECT count(*) FROM main.\"%w\"", schema->table);
	if (!sql)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	st = store_integer(db, sql, &found, err);
	sqlite3_free(sql);
	if (st == CS_OK && found != rows)
		return unusable("a table has another number of rows than it says", err);
	return st;
}

static cs_status check_tables(struct clinic_cache *c, sqlite3 *db, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	size_t wanted = 0;
	cs_status st = store_prepare(
		db, "SELECT name, schema, rows FROM main.clinic_sync_table ORDER BY name", &stmt,
		err);
	int rc = SQLITE_DONE;

	while (st == CS_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(stmt, 0);
		const char *json = (const char *)sqlite3_column_text(stmt, 1);
		struct schema *schema = NULL;

		st = schema_parse_text(json ? json : "", (size_t)sqlite3_column_bytes(stmt, 1),
				       &schema, err);
		if (st == CS_OK && (!name || strcmp(name, schema->table) != 0))
			st = unusable("a table has two names", err);
		if (st == CS_OK && c->wanted_count &&
		    !names_have(c->wanted, c->wanted_count, schema->table))
			st = unusable("it has a table that was not asked for", err);
		if (st == CS_OK)
			st = check_table(db, schema, sqlite3_column_int64(stmt, 2), err);
		schema_free(schema);
		if (++wanted > CACHE_TABLES_MOST && st == CS_OK)
			st = unusable("it has too many tables", err);
	}
	if (st == CS_OK && rc != SQLITE_DONE)
		st = store_fail(db, "read the snapshot", err);
	sqlite3_finalize(stmt);
	if (st == CS_OK && c->wanted_count && wanted != c->wanted_count)
		return unusable("a table that was asked for is missing", err);
	return st;
}

static cs_status check(struct clinic_cache *c, struct cs_error *err)
{
	sqlite3 *db;
	cs_status st = store_open(c->ready_path, SQLITE_OPEN_READONLY, &db, err);

	if (st != CS_OK)
		return st;
	st = check_objects(db, err);
	if (st == CS_OK)
		st = check_pages(db, err);
	if (st == CS_OK)
		st = check_meta(db, err);
	if (st == CS_OK)
		st = check_tables(c, db, err);
	sqlite3_close(db);
	return st;
}

cs_status snapshot_sign(struct clinic_cache *c, sqlite3 *db, struct cs_error *err)
{
	char now[CLOCK_TEXT_BYTES];
	cs_status st = meta_set(db, "device_id", c->device_id, err);

	if (st == CS_OK)
		st = meta_set(db, "url", c->url, err);
	if (st == CS_OK)
		st = meta_set_names(db, "tables", c->wanted, c->wanted_count, err);
	if (st == CS_OK)
		st = meta_set(db, "snapshot_at", clock_utc_text(now), err);
	return st;
}

/* Before anybody can have it open: later a reader would be in the way of a change. */
static cs_status choose_journal(const struct clinic_cache *c, sqlite3 *db, struct cs_error *err)
{
	const struct journal_facts facts = {
		.ours = sqlite3_libversion_number(),
		.app = c->app_sqlite_version ? journal_parse_version(c->app_sqlite_version) : 0,
		.made = true,
	};
	struct journal_choice choice;

	journal_choose(&facts, &choice);
	return choice.wal ? store_exec(db, "PRAGMA main.journal_mode = WAL", err) : CS_OK;
}

static cs_status sign_file(struct clinic_cache *c, struct cs_error *err)
{
	sqlite3 *db;
	char user_version[48];
	cs_status st = store_open(c->ready_path, SQLITE_OPEN_READWRITE, &db, err);

	if (st != CS_OK)
		return st;
	/* what else it says of itself is not for it to say */
	st = store_exec(db,
			"BEGIN IMMEDIATE; DELETE FROM main.clinic_sync_meta"
			" WHERE key NOT IN ('format', 'cursor', 'created_at')",
			err);
	if (st == CS_OK)
		st = snapshot_sign(c, db, err);
	if (st == CS_OK && c->user_version > 0) {
		snprintf(user_version, sizeof(user_version), "PRAGMA main.user_version = %d",
			 c->user_version);
		st = store_exec(db, user_version, err);
	}
	if (st == CS_OK)
		st = store_exec(db, "COMMIT", err);
	if (st == CS_OK)
		st = choose_journal(c, db, err);
	/* the last connection brings the WAL into the file and removes it, if it can */
	if ((sqlite3_close(db) != SQLITE_OK || beside_has_wal(c->ready_path)) && st == CS_OK)
		st = unusable("it could not be completed, the disk may be full", err);
	return st;
}

static cs_status not_durable(struct cs_error *err)
{
	char why[PLATFORM_ERROR_BYTES];

	return cs_fail(err, CS_ERR_STORE, "cannot make the cache durable: %s", platform_error(why));
}

/* CS_AGAIN: a file appeared at the cache's path meanwhile. */
static cs_status put_in_place(struct clinic_cache *c, struct cs_error *err)
{
	char why[PLATFORM_ERROR_BYTES];

	if (!platform_sync_file(c->ready_path))
		return not_durable(err);
	/* of a cache that was deleted: its -wal would be played into this one */
	if (!platform_exists(c->path))
		beside_remove(c->path);
	switch (platform_place(c->ready_path, c->path)) {
	case PLATFORM_PLACED:
		break;
	case PLATFORM_TAKEN:
		return CS_AGAIN;
	case PLATFORM_FAILED:
		return cs_fail(err, CS_ERR_STORE, "cannot put the cache in place: %s",
			       platform_error(why));
	}
	return platform_sync_directory_of(c->path) ? CS_OK : not_durable(err);
}

static cs_status become_cache(struct clinic_cache *c, struct cs_error *err)
{
	cs_status st = sign_file(c, err);

	if (st == CS_OK)
		st = put_in_place(c, err);
	return st;
}

static cs_status use(struct clinic_cache *c, struct cs_error *err)
{
	cs_status st = check(c, err);

	if (st == CS_OK && !c->db && !platform_exists(c->path)) {
		st = become_cache(c, err);
		if (st == CS_OK)
			return cache_open_file(c, err);
		if (st != CS_AGAIN)
			return st;
		st = CS_OK;
	}
	if (st == CS_OK && !c->db)
		st = cache_open_file(c, err);
	if (st == CS_OK && !c->db)
		st = cs_fail(err, CS_ERR_STORE,
			     "the cache file comes and goes, or is a broken link");
	return st == CS_OK ? merge_snapshot(c, c->ready_path, err) : st;
}

cs_status snapshot_apply(struct clinic_cache *c, struct cs_error *err)
{
	char why[PLATFORM_ERROR_BYTES];
	cs_status st;

	(void)cache_file_moved(c);
	beside_remove(c->ready_path);
	if (!platform_rename(c->part_path, c->ready_path))
		return cs_fail(err, CS_ERR_STORE,
			       "the fetched snapshot is not where it should be: %s",
			       platform_error(why));
	st = use(c, err);
	/* good or bad, it is used up; what the driver knows of the part goes with it */
	platform_remove(c->ready_path);
	beside_remove(c->ready_path);
	return st;
}
