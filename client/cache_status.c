/* What a file says of itself, read beside whoever syncs it. */
#include "cache_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cs_status count(sqlite3 *db, const char *format, const char *name, int64_t *out,
		       struct cs_error *err)
{
	char *sql = sqlite3_mprintf(format, name);
	cs_status st = sql ? store_integer(db, sql, out, err)
			   : cs_fail(err, CS_ERR_NOMEM, "out of memory");

	sqlite3_free(sql);
	return st;
}

static cs_status read_tables(sqlite3 *db, struct clinic_cache_file_status *out,
			     struct cs_error *err)
{
	struct table_set set;
	cs_status st = tables_load(db, &set, err);

	if (st != CS_OK)
		return st;
	out->tables = calloc(set.count + 1, sizeof(*out->tables));
	if (!out->tables)
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < set.count && st == CS_OK; i++) {
		struct clinic_cache_table_status *t = &out->tables[i];

		snprintf(t->name, sizeof(t->name), "%s", set.items[i]->schema->table);
		st = count(db, "SELECT count(*) FROM main.\"%w\"", t->name, &t->rows, err);
		if (st == CS_OK)
			st = count(db,
				   "SELECT count(*) FROM main.clinic_sync_oversize"
				   " WHERE \"table\" = %Q",
				   t->name, &t->oversize_rows, err);
		out->table_count = i + 1;
	}
	tables_free(&set);
	return st;
}

static cs_status read_all(sqlite3 *db, struct clinic_cache_file_status *out, struct cs_error *err)
{
	cs_status st = store_exec(db, "BEGIN", err);

	if (st != CS_OK || !store_table_exists(db, "main", "clinic_sync_meta"))
		return st;
	st = meta_get(db, "main", "cursor", out->cursor, sizeof(out->cursor), err);
	if (st == CS_OK)
		st = meta_get(db, "main", "url", out->url, sizeof(out->url), err);
	if (st == CS_OK)
		st = meta_get(db, "main", "device_id", out->device_id, sizeof(out->device_id), err);
	if (st == CS_OK)
		st = meta_get(db, "main", "snapshot_at", out->snapshot_at, sizeof(out->snapshot_at),
			      err);
	if (st == CS_OK)
		st = meta_get(db, "main", "last_frame_at", out->last_frame_at,
			      sizeof(out->last_frame_at), err);
	if (st == CS_OK)
		st = store_integer(db,
				   "SELECT value FROM main.clinic_sync_meta WHERE key = 'diverged'",
				   &out->diverged, err);
	return st == CS_OK ? read_tables(db, out, err) : st;
}

clinic_cache_status clinic_cache_read_status(const char *path, struct clinic_cache_file_status *out,
					     struct clinic_cache_error *err)
{
	struct cs_error why = {0};
	sqlite3 *db = NULL;
	char *real = platform_real_path(path);
	cs_status st;

	memset(out, 0, sizeof(*out));
	if (!real)
		st = cs_fail(&why, CS_ERR_CONFIG, "there is no file \"%s\"", path);
	else
		st = store_open(real, SQLITE_OPEN_READONLY, &db, &why);
	if (st == CS_OK)
		st = read_all(db, out, &why);
	if (st == CS_OK)
		out->syncing_pid = lock_holder(real);
	sqlite3_close(db);
	free(real);
	if (st == CS_OK)
		return CLINIC_CACHE_OK;
	clinic_cache_free_status(out);
	return cache_publish_error(&why, err);
}

void clinic_cache_free_status(struct clinic_cache_file_status *status)
{
	free(status->tables);
	memset(status, 0, sizeof(*status));
}
