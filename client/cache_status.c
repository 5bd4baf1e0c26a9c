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

static cs_status read_table(sqlite3 *db, const struct cached_table *cached, bool has_parked,
			    struct clinic_cache_table_status *out, struct cs_error *err)
{
	cs_status st;

	snprintf(out->name, sizeof(out->name), "%s", cached->schema->table);
	out->adopted = cached->adopted;
	st = count(db, "SELECT count(*) FROM main.\"%w\"", out->name, &out->rows, err);
	if (st == CS_OK)
		st = count(db,
			   "SELECT count(*) FROM main.clinic_sync_oversize WHERE \"table\" = %Q",
			   out->name, &out->oversize_rows, err);
	if (st == CS_OK && has_parked)
		st = parked_count(db, out->name, &out->parked_rows, err);
	return st;
}

static cs_status read_tables(sqlite3 *db, struct clinic_cache_file_status *out,
			     struct cs_error *err)
{
	bool has_parked = store_table_exists(db, "main", "clinic_cache_parked");
	struct table_set set;
	cs_status st = tables_load(db, &set, err);

	if (st != CS_OK)
		return st;
	out->tables = calloc(set.count + 1, sizeof(*out->tables));
	if (!out->tables)
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < set.count && st == CS_OK; i++) {
		st = read_table(db, set.items[i], has_parked, &out->tables[i], err);
		out->parked += out->tables[i].parked_rows;
		out->table_count = i + 1;
	}
	tables_free(&set);
	return st;
}

/* Texts of clinic_sync_meta and where they go. */
static cs_status read_texts(sqlite3 *db, struct clinic_cache_file_status *out, struct cs_error *err)
{
	const struct {
		const char *key;
		char *to;
		size_t size;
	} texts[] = {
		{"cursor", out->cursor, sizeof(out->cursor)},
		{"url", out->url, sizeof(out->url)},
		{"device_id", out->device_id, sizeof(out->device_id)},
		{"snapshot_at", out->snapshot_at, sizeof(out->snapshot_at)},
		{"last_frame_at", out->last_frame_at, sizeof(out->last_frame_at)},
		{"proven_at", out->proven_at, sizeof(out->proven_at)},
		{"adopted_at", out->adopted_at, sizeof(out->adopted_at)},
		{"backup", out->backup, sizeof(out->backup)},
		{"journal_reason", out->journal_reason, sizeof(out->journal_reason)},
	};
	cs_status st = CS_OK;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && st == CS_OK; i++)
		st = meta_get(db, "main", texts[i].key, texts[i].to, texts[i].size, err);
	return st;
}

static cs_status read_numbers(sqlite3 *db, struct clinic_cache_file_status *out,
			      struct cs_error *err)
{
	int64_t interval = 0;
	int64_t foreign = 0;
	const struct {
		const char *key;
		int64_t *to;
	} numbers[] = {
		{"diverged", &out->diverged},
		{"repairs", &out->repairs},
		{"longest_lock_ms", &out->longest_lock_ms},
		{"longest_swap_ms", &out->longest_swap_ms},
		{"sync_interval_s", &interval},
		{"foreign_writer", &foreign},
	};
	cs_status st = CS_OK;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && st == CS_OK; i++)
		st = count(db, "SELECT value FROM main.clinic_sync_meta WHERE key = %Q",
			   numbers[i].key, numbers[i].to, err);
	out->sync_interval_s = (int)interval;
	out->foreign_writer = foreign != 0;
	if (st == CS_OK && store_table_exists(db, "main", "clinic_cache_orphans"))
		st = store_integer(db, "SELECT count(*) FROM main.clinic_cache_orphans",
				   &out->orphans, err);
	return st;
}

static cs_status read_journal_mode(sqlite3 *db, struct clinic_cache_file_status *out,
				   struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(db, "PRAGMA main.journal_mode", &stmt, err);

	if (st != CS_OK)
		return st;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		snprintf(out->journal_mode, sizeof(out->journal_mode), "%s",
			 (const char *)sqlite3_column_text(stmt, 0));
	sqlite3_finalize(stmt);
	return CS_OK;
}

static cs_status read_all(sqlite3 *db, struct clinic_cache_file_status *out, struct cs_error *err)
{
	cs_status st = store_exec(db, "BEGIN", err);

	if (st != CS_OK || !store_table_exists(db, "main", "clinic_sync_meta"))
		return st;
	st = read_texts(db, out, err);
	if (st == CS_OK)
		st = read_numbers(db, out, err);
	if (st == CS_OK)
		st = read_journal_mode(db, out, err);
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
