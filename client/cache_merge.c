/*
 * The content of a snapshot replaces that of an existing file.
 *
 * One transaction: in WAL mode a reader sees the old tables with the old
 * cursor or the new ones with the new, never anything between.  Rows are
 * replaced by DELETE and INSERT … SELECT, with our indexes out of the way
 * while they load; a table is dropped only if it is ours and no longer fits.
 */
#include "cache_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct merge {
	struct clinic_cache *c;
	sqlite3 *db;
	char **adopted; /* tables that were in the file before us: never dropped */
	size_t adopted_count;
	struct dynbuf sql;
	struct cs_error *err;
};

static cs_status run(struct merge *m)
{
	if (m->sql.failed)
		return cs_fail(m->err, CS_ERR_NOMEM, "out of memory");
	return store_exec(m->db, m->sql.data, m->err);
}

/* head "table" tail, with the name quoted. */
static cs_status run_on(struct merge *m, const char *head, const char *table, const char *tail)
{
	dynbuf_reset(&m->sql);
	dynbuf_adds(&m->sql, head);
	schema_add_identifier(&m->sql, table);
	dynbuf_adds(&m->sql, tail);
	return run(m);
}

/*
 * The schema of a table as clinic_sync_table of main or snapshot has it.
 * *out NULL: it is not there, or (with *listed) it cannot be read.
 */
static cs_status schema_in(struct merge *m, const char *where, const char *table, bool *listed,
			   struct schema **out)
{
	char sql[96];
	sqlite3_stmt *stmt;
	cs_status st;

	*out = NULL;
	*listed = false;
	snprintf(sql, sizeof(sql), "SELECT schema FROM %s.clinic_sync_table WHERE name = ?1",
		 where);
	st = store_prepare(m->db, sql, &stmt, m->err);
	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
	if (sqlite3_step(stmt) == SQLITE_ROW) {
		const char *json = (const char *)sqlite3_column_text(stmt, 0);

		*listed = true;
		if (schema_parse_text(json ? json : "", (size_t)sqlite3_column_bytes(stmt, 0), out,
				      NULL) == CS_ERR_NOMEM)
			st = cs_fail(m->err, CS_ERR_NOMEM, "out of memory");
	}
	sqlite3_finalize(stmt);
	return st;
}

/* Names in the result of a json_group_array(); no statement stays open, so that DDL may follow. */
static cs_status list_tables(struct merge *m, const char *sql, char ***names, size_t *count)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(m->db, sql, &stmt, m->err);

	*names = NULL;
	*count = 0;
	if (st != CS_OK)
		return st;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		st = names_parse((const char *)sqlite3_column_text(stmt, 0), names, count, m->err);
	else
		st = store_fail(m->db, "read clinic_sync_table", m->err);
	sqlite3_finalize(stmt);
	return st;
}

/* Can the table stay and only its rows change? Columns may have come, nothing else. */
static bool still_fits(const struct schema *old, const struct schema *new)
{
	if (!old || old->key_count != new->key_count)
		return false;
	for (size_t i = 0; i < old->column_count; i++) {
		int at = schema_find(new, old->columns[i].name);

		if (at < 0 || new->columns[at].class != old->columns[i].class ||
		    new->columns[at].key_position != old->columns[i].key_position ||
		    new->columns[at].identity != old->columns[i].identity)
			return false;
	}
	return true;
}

static cs_status remember_adopted(struct merge *m, const char *table)
{
	char **names = realloc(m->adopted, (m->adopted_count + 1) * sizeof(*names));

	if (!names)
		return cs_fail(m->err, CS_ERR_NOMEM, "out of memory");
	m->adopted = names;
	names[m->adopted_count] = strdup(table);
	if (!names[m->adopted_count])
		return cs_fail(m->err, CS_ERR_NOMEM, "out of memory");
	m->adopted_count++;
	return meta_set_names(m->db, "adopted", m->adopted, m->adopted_count, m->err);
}

/* A table of the app's own: only an empty one can be taken over without losing anything. */
static cs_status adopt(struct merge *m, const char *table)
{
	char *sql = sqlite3_mprintf("SELECT EXISTS(SELECT 1 FROM main.\"%w\")", table);
	int64_t has_rows = 0;
	cs_status st = sql ? store_integer(m->db, sql, &has_rows, m->err)
			   : cs_fail(m->err, CS_ERR_NOMEM, "out of memory");

	sqlite3_free(sql);
	if (st == CS_OK && has_rows)
		return cs_fail(
			m->err, CS_ERR_CONFIG,
			"table %s of the file has rows that never came from the server; sync into "
			"a new file, or empty the table if its rows are not needed",
			table);
	return st == CS_OK ? remember_adopted(m, table) : st;
}

static cs_status drop_indexes(struct merge *m, const struct schema *s)
{
	cs_status st = CS_OK;

	for (size_t i = 0; s && i < s->index_count && st == CS_OK; i++)
		st = run_on(m, "DROP INDEX IF EXISTS main.", s->indexes[i].name, "");
	return st;
}

static cs_status create_table(struct merge *m, const struct schema *s)
{
	dynbuf_reset(&m->sql);
	schema_add_create_table(&m->sql, s);
	return run(m);
}

/* After this main has a table that can take the snapshot's rows. */
static cs_status make_room(struct merge *m, const struct schema *s)
{
	struct schema *old;
	bool synced;
	bool there = store_table_exists(m->db, "main", s->table);
	cs_status st = schema_in(m, "main", s->table, &synced, &old);

	if (st == CS_OK && there && !synced)
		st = adopt(m, s->table);
	if (st != CS_OK || names_have(m->adopted, m->adopted_count, s->table)) {
		/* its indexes are the app's own, too */
	} else if (there && !still_fits(old, s)) {
		st = run_on(m, "DROP TABLE main.", s->table, "");
		there = false;
	} else if (there) {
		st = drop_indexes(m, old);
	}
	schema_free(old);
	if (st != CS_OK)
		return st;
	if (!there)
		return create_table(m, s);
	/* an app's table is its own: what it lacks is skipped */
	return names_have(m->adopted, m->adopted_count, s->table)
		       ? CS_OK
		       : table_add_columns(m->db, "main", s, m->err);
}

static cs_status merge_table(struct merge *m, struct cached_table *t)
{
	cs_status st = make_room(m, t->schema);

	t->adopted = names_have(m->adopted, m->adopted_count, t->schema->table);
	if (st == CS_OK)
		st = table_read_local(m->db, t, m->err);
	if (st == CS_OK)
		st = rows_load(m->c, t, "snapshot", m->err);
	if (st == CS_OK && !t->adopted)
		st = table_create_indexes(m->db, t->schema, m->err);
	return st;
}

/* A cached_table around a schema of the snapshot, for as long as it is merged. */
static cs_status merge_one(struct merge *m, const char *name)
{
	struct cached_table *t = calloc(1, sizeof(*t));
	bool listed;
	cs_status st;

	if (!t)
		return cs_fail(m->err, CS_ERR_NOMEM, "out of memory");
	st = schema_in(m, "snapshot", name, &listed, &t->schema);
	if (st == CS_OK && !t->schema)
		st = cs_fail(m->err, CS_ERR_STORE, "the snapshot changed while it was read");
	if (st == CS_OK)
		st = merge_table(m, t);
	table_free(t);
	return st;
}

static cs_status merge_tables(struct merge *m)
{
	char **names;
	size_t count;
	cs_status st = list_tables(
		m, "SELECT json_group_array(name) FROM snapshot.clinic_sync_table", &names, &count);

	for (size_t i = 0; i < count && st == CS_OK; i++)
		st = merge_one(m, names[i]);
	names_free(names, count);
	return st;
}

/* Tables that are published no more: ours go, the app's own stay as they are. */
static cs_status drop_unpublished(struct merge *m)
{
	char **gone;
	size_t count;
	cs_status st =
		list_tables(m,
			    "SELECT json_group_array(name) FROM main.clinic_sync_table"
			    " WHERE name NOT IN (SELECT name FROM snapshot.clinic_sync_table)",
			    &gone, &count);

	for (size_t i = 0; i < count && st == CS_OK; i++)
		if (!names_have(m->adopted, m->adopted_count, gone[i]))
			st = run_on(m, "DROP TABLE IF EXISTS main.", gone[i], "");
	names_free(gone, count);
	return st;
}

static cs_status copy_side_tables(struct merge *m)
{
	return store_exec(m->db,
			  "DELETE FROM main.clinic_sync_table;"
			  "INSERT INTO main.clinic_sync_table(name, schema, rows)"
			  " SELECT name, schema, rows FROM snapshot.clinic_sync_table;"
			  /* what the side tables had of a table that is published no more */
			  "DELETE FROM main.clinic_sync_exact WHERE \"table\" NOT IN"
			  " (SELECT name FROM main.clinic_sync_table);"
			  "DELETE FROM main.clinic_sync_oversize WHERE \"table\" NOT IN"
			  " (SELECT name FROM main.clinic_sync_table);"
			  "DELETE FROM main.clinic_cache_parked WHERE \"table\" NOT IN"
			  " (SELECT name FROM main.clinic_sync_table);"
			  "DELETE FROM main.clinic_sync_meta"
			  " WHERE key IN ('format', 'cursor', 'created_at', 'last_frame_at',"
			  " 'fresh_wanted');"
			  "INSERT INTO main.clinic_sync_meta(key, value)"
			  " SELECT key, value FROM snapshot.clinic_sync_meta"
			  " WHERE key IN ('format', 'cursor', 'created_at')",
			  m->err);
}

static cs_status merge_all(struct merge *m)
{
	cs_status st = store_exec(m->db, "BEGIN IMMEDIATE", m->err);

	if (st == CS_OK)
		st = meta_create(m->db, m->err);
	if (st == CS_OK)
		st = meta_get_names(m->db, "adopted", &m->adopted, &m->adopted_count, m->err);
	if (st == CS_OK)
		st = drop_unpublished(m);
	if (st == CS_OK)
		st = merge_tables(m);
	if (st == CS_OK)
		st = copy_side_tables(m);
	if (st == CS_OK)
		st = snapshot_sign(m->c, m->db, m->err);
	if (st == CS_OK)
		st = store_exec(m->db, "COMMIT", m->err);
	if (st != CS_OK) {
		store_rollback(m->db);
		m->c->parked_now = false;
	}
	return st;
}

static cs_status attach(struct merge *m, const char *path)
{
	char *sql = sqlite3_mprintf("ATTACH %Q AS snapshot", path);
	cs_status st = sql ? store_exec(m->db, sql, m->err)
			   : cs_fail(m->err, CS_ERR_NOMEM, "out of memory");

	sqlite3_free(sql);
	return st;
}

cs_status merge_snapshot(struct clinic_cache *c, const char *path, struct cs_error *err)
{
	struct merge m = {.c = c, .db = c->db, .err = err};
	cs_status st;

	statements_clear(c);
	st = attach(&m, path);
	if (st != CS_OK)
		return st;
	dynbuf_init(&m.sql, CACHE_SQL_BYTES_MOST);
	st = merge_all(&m);
	names_free(m.adopted, m.adopted_count);
	dynbuf_free(&m.sql);
	if (sqlite3_exec(c->db, "DETACH snapshot", NULL, NULL, NULL) != SQLITE_OK && st == CS_OK)
		st = store_fail(c->db, "let go of the snapshot", err);
	if (st != CS_OK)
		return st;
	st = cache_reload(c, err);
	if (st == CS_OK)
		st = meta_get(c->db, "main", "cursor", c->cursor, sizeof(c->cursor), err);
	if (st == CS_OK)
		parked_tell(c);
	return st;
}
