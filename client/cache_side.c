/*
 * The side tables of the rows: clinic_sync_exact (texts a column cannot hold)
 * and clinic_sync_oversize (keys of rows that are not held).  Both are nearly
 * always empty, so each table remembers whether it has any.
 */
#include "cache_internal.h"

#include <string.h>

/* Run sql with up to four text parameters, NULL ones left out. */
static cs_status run(struct clinic_cache *c, const char *sql, const char *const *texts,
		     size_t count, bool *found, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(c->db, sql, &stmt, err);
	int rc;

	if (st != CS_OK)
		return st;
	for (size_t i = 0; i < count; i++)
		sqlite3_bind_text(stmt, (int)i + 1, texts[i], -1, SQLITE_STATIC);
	rc = sqlite3_step(stmt);
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		st = store_fail(c->db, "write a side table", err);
	if (found)
		*found = rc == SQLITE_ROW;
	sqlite3_finalize(stmt);
	return st;
}

cs_status side_forget_row(struct clinic_cache *c, struct cached_table *t, const char *key,
			  struct cs_error *err)
{
	const char *texts[] = {t->schema->table, key};
	cs_status st = CS_OK;

	if (t->has_exact)
		st = run(c, "DELETE FROM main.clinic_sync_exact WHERE \"table\" = ?1 AND key = ?2",
			 texts, 2, NULL, err);
	if (st == CS_OK && t->has_oversize)
		st = run(c,
			 "DELETE FROM main.clinic_sync_oversize WHERE \"table\" = ?1 AND key = ?2",
			 texts, 2, NULL, err);
	return st;
}

cs_status side_forget_table(struct clinic_cache *c, struct cached_table *t, struct cs_error *err)
{
	const char *texts[] = {t->schema->table};
	cs_status st = run(c, "DELETE FROM main.clinic_sync_exact WHERE \"table\" = ?1", texts, 1,
			   NULL, err);

	if (st == CS_OK)
		st = run(c, "DELETE FROM main.clinic_sync_oversize WHERE \"table\" = ?1", texts, 1,
			 NULL, err);
	if (st == CS_OK)
		t->has_exact = t->has_oversize = false;
	return st;
}

cs_status side_forget_exact(struct clinic_cache *c, struct cached_table *t, const char *key,
			    const char *column, struct cs_error *err)
{
	const char *texts[] = {t->schema->table, key, column};

	if (!t->has_exact)
		return CS_OK;
	return run(c,
		   "DELETE FROM main.clinic_sync_exact"
		   " WHERE \"table\" = ?1 AND key = ?2 AND column = ?3",
		   texts, 3, NULL, err);
}

cs_status side_keep_exact(struct clinic_cache *c, struct cached_table *t, const char *key,
			  const char *column, const char *text, struct cs_error *err)
{
	const char *texts[] = {t->schema->table, key, column, text};

	t->has_exact = true;
	return run(c,
		   "INSERT INTO main.clinic_sync_exact(\"table\", key, column, value)"
		   " VALUES(?1, ?2, ?3, ?4)"
		   " ON CONFLICT(\"table\", key, column) DO UPDATE SET value = excluded.value",
		   texts, 4, NULL, err);
}

cs_status side_keep_oversize(struct clinic_cache *c, struct cached_table *t, const char *key,
			     struct cs_error *err)
{
	const char *texts[] = {t->schema->table, key};

	t->has_oversize = true;
	return run(c,
		   "INSERT INTO main.clinic_sync_oversize(\"table\", key) VALUES(?1, ?2)"
		   " ON CONFLICT DO NOTHING",
		   texts, 2, NULL, err);
}

cs_status side_is_oversize(struct clinic_cache *c, struct cached_table *t, const char *key,
			   bool *out, struct cs_error *err)
{
	const char *texts[] = {t->schema->table, key};

	*out = false;
	if (!t->has_oversize)
		return CS_OK;
	return run(c, "SELECT 1 FROM main.clinic_sync_oversize WHERE \"table\" = ?1 AND key = ?2",
		   texts, 2, out, err);
}
