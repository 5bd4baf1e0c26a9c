/*
 * A frozen view of a cache file: a read-only connection with an open read
 * transaction, so that the cursor and the rows it shows belong together
 * however fast the file moves on.
 *
 * In a file with a rollback journal nobody can commit while somebody reads.
 * So there a view that is to last is a copy, in a temporary file that SQLite
 * removes, and the file itself is let go.
 */
#include "cache_view.h"

#include <stdlib.h>
#include <string.h>

static void unfreeze(struct clinic_cache_view *v)
{
	tables_free(&v->tables);
	v->cursor[0] = '\0';
	store_rollback(v->file);
	sqlite3_close(v->copy);
	v->copy = NULL;
	v->db = v->file;
}

static cs_status freeze(struct clinic_cache_view *v, struct cs_error *err)
{
	cs_status st = store_exec(v->db, "BEGIN", err);

	/* the first read fixes what the transaction sees */
	if (st == CS_OK && !store_table_exists(v->db, "main", "clinic_sync_meta"))
		return cs_fail(err, CS_ERR_CONFIG, "the file was never synced");
	if (st == CS_OK)
		st = meta_get(v->db, "main", "cursor", v->cursor, sizeof(v->cursor), err);
	if (st == CS_OK && !v->cursor[0])
		return cs_fail(err, CS_ERR_CONFIG, "the file was never synced");
	return st == CS_OK ? tables_load(v->db, &v->tables, err) : st;
}

clinic_cache_status clinic_cache_view_open(const char *path, struct clinic_cache_view **out,
					   struct clinic_cache_error *err)
{
	struct clinic_cache_view *v = calloc(1, sizeof(*v));
	struct cs_error why = {0};
	cs_status st;

	*out = NULL;
	if (!v)
		st = cs_fail(&why, CS_ERR_NOMEM, "out of memory");
	else if (!platform_exists(path))
		st = cs_fail(&why, CS_ERR_CONFIG, "there is no file \"%s\"", path);
	else
		st = store_open(path, SQLITE_OPEN_READONLY, &v->file, &why);
	if (st == CS_OK) {
		v->db = v->file;
		st = freeze(v, &why);
	}
	if (st == CS_OK) {
		*out = v;
		return CLINIC_CACHE_OK;
	}
	clinic_cache_view_close(v);
	return cache_publish_error(&why, err);
}

clinic_cache_status clinic_cache_view_refresh(struct clinic_cache_view *v,
					      struct clinic_cache_error *err)
{
	struct cs_error why = {0};

	unfreeze(v);
	return freeze(v, &why) == CS_OK ? CLINIC_CACHE_OK : cache_publish_error(&why, err);
}

void clinic_cache_view_close(struct clinic_cache_view *v)
{
	if (!v)
		return;
	if (v->file)
		unfreeze(v);
	sqlite3_close(v->file);
	free(v);
}

static bool has_wal(sqlite3 *db)
{
	sqlite3_stmt *stmt;
	bool wal = false;

	if (store_prepare(db, "PRAGMA main.journal_mode", &stmt, NULL) != CS_OK)
		return false;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		wal = strcmp((const char *)sqlite3_column_text(stmt, 0), "wal") == 0;
	sqlite3_finalize(stmt);
	return wal;
}

static cs_status copy(struct clinic_cache_view *v, struct cs_error *err)
{
	sqlite3_backup *backup = NULL;
	int rc = sqlite3_open_v2("", &v->copy,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
				 NULL);

	if (rc == SQLITE_OK) {
		backup = sqlite3_backup_init(v->copy, "main", v->file, "main");
		rc = backup ? sqlite3_backup_step(backup, -1) : sqlite3_errcode(v->copy);
		sqlite3_backup_finish(backup);
	}
	if (rc == SQLITE_DONE)
		return CS_OK;
	sqlite3_close(v->copy);
	v->copy = NULL;
	return cs_fail(err, CS_ERR_STORE, "cannot copy the file to look at it: %s",
		       sqlite3_errstr(rc));
}

clinic_cache_status clinic_cache_view_keep(struct clinic_cache_view *v,
					   struct clinic_cache_error *err)
{
	struct cs_error why = {0};

	if (v->copy || has_wal(v->file))
		return CLINIC_CACHE_OK;
	if (copy(v, &why) != CS_OK)
		return cache_publish_error(&why, err);
	v->db = v->copy;
	store_rollback(v->file);
	return CLINIC_CACHE_OK;
}

void clinic_cache_view_let_go(struct clinic_cache_view *v)
{
	if (!has_wal(v->file))
		store_rollback(v->file);
}

const char *clinic_cache_view_cursor(const struct clinic_cache_view *v)
{
	return v->cursor;
}

size_t clinic_cache_view_table_count(const struct clinic_cache_view *v)
{
	return v->tables.count;
}

const char *clinic_cache_view_table(const struct clinic_cache_view *v, size_t i)
{
	return i < v->tables.count ? v->tables.items[i]->schema->table : NULL;
}

const char *clinic_cache_view_skipped(const struct clinic_cache_view *v, const char *table,
				      size_t i)
{
	const struct cached_table *t = tables_find(&v->tables, table, strlen(table));

	for (size_t at = 0; t && at < t->schema->column_count; at++) {
		if (!t->local[at].missing)
			continue;
		if (i-- == 0)
			return t->schema->columns[at].name;
	}
	return NULL;
}

clinic_cache_status clinic_cache_view_parked(struct clinic_cache_view *v, const char *table,
					     int64_t *rows, struct clinic_cache_error *err)
{
	struct cs_error why = {0};

	return parked_count(v->db, table, rows, &why) == CS_OK ? CLINIC_CACHE_OK
							       : cache_publish_error(&why, err);
}
