/*
 * The content of a snapshot replaces that of an existing file.
 *
 * One transaction: a reader sees the old tables with the old cursor or the
 * new ones with the new, never anything between.  Rows are replaced by DELETE
 * and INSERT … SELECT, with our indexes out of the way while they load; a
 * table is dropped only if it is ours and no longer fits.  The app's own keep
 * their schema, and rows in them that never came from the server are replaced
 * only when somebody said so, cache_adopt.c.
 */
#include "cache_internal.h"
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOKS_MOST 3 /* the app may add rows while we look */

struct merge {
	struct clinic_cache *c;
	sqlite3 *db;
	char **adopted; /* tables that were in the file before us: never dropped */
	size_t adopted_count;
	char *backup;   /* the copy that was made because the app's rows will go */
	int app_sqlite; /* what wrote the file last before us; 0: not known */
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

/* From now on the table is the app's: neither dropped nor altered. */
static cs_status remember_adopted(struct merge *m, const char *table)
{
	cs_status st = meta_add_name(m->db, "adopted", table, m->err);

	names_free(m->adopted, m->adopted_count);
	m->adopted = NULL;
	m->adopted_count = 0;
	if (st == CS_OK)
		st = meta_get_names(m->db, "adopted", &m->adopted, &m->adopted_count, m->err);
	return st;
}

/* A table of the app's own. */
static cs_status adopt(struct merge *m, const struct schema *s)
{
	struct cached_table *t = NULL;
	cs_status st = adopt_table(m->c, s->table, &t, m->err);

	if (st == CS_OK && m->backup)
		st = adopt_keep_orphans(m->c, t, m->err);
	table_free(t);
	return st == CS_OK ? remember_adopted(m, s->table) : st;
}

/* One that we made, if the app did not drop it and make its own since. */
static cs_status is_ours(struct merge *m, const struct schema *old, bool *out)
{
	size_t missing;
	size_t extra;
	struct cs_error why = {0};
	cs_status st;

	*out = true;
	if (!old)
		return CS_OK;
	st = drift_compare(m->c, old, &missing, &extra, out, m->err);
	if (st == CS_OK && *out && adopt_check(m->db, old, &why) != CS_OK)
		*out = extra <= missing;
	return st;
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

/* Ours until now, but it cannot be made anew without a loss: what it lacks is added. */
static cs_status leave_to_app(struct merge *m, const struct schema *old, const struct schema *s)
{
	cs_status st = drop_indexes(m, old);

	if (st == CS_OK)
		st = table_add_columns(m->db, "main", s, m->err);
	return st == CS_OK ? remember_adopted(m, s->table) : st;
}

/* A table of ours: only its rows change if it still fits. */
static cs_status make_ours_fit(struct merge *m, const struct schema *old, const struct schema *s,
			       bool *kept)
{
	struct cs_error why = {0};
	bool same_key = adopt_check(m->db, s, &why) == CS_OK;
	bool loses = false;
	cs_status st;

	if (still_fits(old, s) && same_key) {
		st = drop_indexes(m, old);
		return st == CS_OK ? table_add_columns(m->db, "main", s, m->err) : st;
	}
	st = rebuild_loses(m->c, old ? old : s, &loses, m->err);
	if (st == CS_OK && loses && same_key)
		return leave_to_app(m, old, s);
	return st == CS_OK ? rebuild_table(m->c, old, s, same_key, kept, m->err) : st;
}

/* After this main has a table that can take the snapshot's rows. */
static cs_status make_room(struct merge *m, const struct schema *s, bool *kept)
{
	struct schema *old;
	bool synced;
	bool ours = false;
	bool there = store_table_exists(m->db, "main", s->table);
	cs_status st = schema_in(m, "main", s->table, &synced, &old);

	if (st == CS_OK && there && synced && !names_have(m->adopted, m->adopted_count, s->table))
		st = is_ours(m, old, &ours);
	if (st == CS_OK && !there)
		st = create_table(m, s);
	else if (st == CS_OK && ours)
		st = make_ours_fit(m, old, s, kept);
	else if (st == CS_OK && !synced)
		st = adopt(m, s);
	else if (st == CS_OK)
		/* it may have been made anew by the app, or the server's key is another one */
		st = adopt_check(m->db, s, m->err);
	if (st == CS_OK && there && synced && !ours)
		st = remember_adopted(m, s->table);
	schema_free(old);
	return st;
}

static cs_status merge_table(struct merge *m, struct cached_table *t)
{
	bool kept = false;
	cs_status st = make_room(m, t->schema, &kept);

	t->adopted = names_have(m->adopted, m->adopted_count, t->schema->table);
	if (st == CS_OK)
		st = table_read_local(m->db, t, m->err);
	if (st == CS_OK)
		st = rows_load(m->c, t, SNAPSHOT_SCHEMA, m->err);
	if (st == CS_OK && kept)
		st = rebuild_restore(m->c, t->schema, t->extra_names, m->err);
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
	st = schema_in(m, SNAPSHOT_SCHEMA, name, &listed, &t->schema);
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
		m, "SELECT json_group_array(name) FROM " SNAPSHOT_SCHEMA ".clinic_sync_table",
		&names, &count);

	for (size_t i = 0; i < count && st == CS_OK; i++)
		st = merge_one(m, names[i]);
	names_free(names, count);
	return st;
}

/* Has the app put anything of its own into a table that we made? */
static cs_status has_app_parts(struct merge *m, const char *table, bool *out)
{
	struct schema *old;
	size_t missing;
	size_t extra = 0;
	bool listed;
	bool as_we_made;
	cs_status st = schema_in(m, "main", table, &listed, &old);

	*out = true;
	if (st == CS_OK && old)
		st = drift_compare(m->c, old, &missing, &extra, &as_we_made, m->err);
	if (st == CS_OK && old && extra == 0)
		st = rebuild_loses(m->c, old, out, m->err);
	schema_free(old);
	return st;
}

/* Published no more: a table of ours goes, unless it has become the app's in part. */
static cs_status drop_table(struct merge *m, const char *table)
{
	bool has_parts = false;
	cs_status st = CS_OK;

	if (store_table_exists(m->db, "main", table))
		st = has_app_parts(m, table, &has_parts);
	if (st == CS_OK && has_parts)
		return remember_adopted(m, table);
	return st == CS_OK ? run_on(m, "DROP TABLE IF EXISTS main.", table, "") : st;
}

/* Tables that are published no more: the app's own stay as they are. */
static cs_status drop_unpublished(struct merge *m)
{
	char **gone;
	size_t count;
	cs_status st = list_tables(m,
				   "SELECT json_group_array(name) FROM main.clinic_sync_table"
				   " WHERE name NOT IN (SELECT name FROM " SNAPSHOT_SCHEMA
				   ".clinic_sync_table)",
				   &gone, &count);

	for (size_t i = 0; i < count && st == CS_OK; i++)
		if (!names_have(m->adopted, m->adopted_count, gone[i]))
			st = drop_table(m, gone[i]);
	names_free(gone, count);
	return st;
}

static cs_status copy_side_tables(struct merge *m)
{
	return store_exec(m->db,
			  "DELETE FROM main.clinic_sync_table;"
			  "INSERT INTO main.clinic_sync_table(name, schema, rows)"
			  " SELECT name, schema, rows FROM " SNAPSHOT_SCHEMA ".clinic_sync_table;"
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
			  " SELECT key, value FROM " SNAPSHOT_SCHEMA ".clinic_sync_meta"
			  " WHERE key IN ('format', 'cursor', 'created_at')",
			  m->err);
}

/* Are there rows in tables that were never synced? */
static cs_status has_own_rows(struct merge *m, bool *out)
{
	char **names;
	size_t count;
	cs_status st = adopt_list(m->c, &names, &count, m->err);

	*out = false;
	for (size_t i = 0; i < count && st == CS_OK && !*out; i++) {
		char *sql = sqlite3_mprintf("SELECT EXISTS(SELECT 1 FROM main.\"%w\")", names[i]);
		int64_t found = 0;

		st = sql ? store_integer(m->db, sql, &found, m->err)
			 : cs_fail(m->err, CS_ERR_NOMEM, "out of memory");
		sqlite3_free(sql);
		*out = found != 0;
	}
	names_free(names, count);
	return st;
}

/* With the write lock held and nothing written: what it takes before rows of the app's may go. */
static cs_status prepare_adoption(struct merge *m)
{
	bool own_rows;
	cs_status st = has_own_rows(m, &own_rows);

	if (st != CS_OK || !own_rows)
		return st;
	/* they came since we looked */
	if (!m->c->adopt_server)
		return CS_AGAIN;
	return adopt_backup(m->c, &m->backup, m->err);
}

static cs_status sign(struct merge *m)
{
	char now[CLOCK_TEXT_BYTES];
	cs_status st = snapshot_sign(m->c, m->db, m->err);

	if (st == CS_OK && m->backup)
		st = meta_set(m->db, "backup", m->backup, m->err);
	if (st == CS_OK && m->backup)
		st = meta_set(m->db, "adopted_at", clock_utc_text(now), m->err);
	if (st == CS_OK)
		st = journal_note_header(m->c, m->app_sqlite, m->err);
	return st == CS_OK ? drift_forget_due(m->c, NULL, m->err) : st;
}

static cs_status merge_all(struct merge *m)
{
	cs_status st = write_begin(m->c, WRITE_LONG, m->err);

	if (st != CS_OK)
		return st;
	st = prepare_adoption(m);
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
		st = sign(m);
	if (st != CS_OK) {
		write_rollback(m->c);
		return st;
	}
	return write_commit(m->c, m->err);
}

/* Rows that never came from the server are not replaced before somebody said so. */
static cs_status look_first(struct merge *m)
{
	struct clinic_cache *c = m->c;
	const struct clinic_cache_difference *d = &c->difference;
	char which[160];
	cs_status st = store_exec(m->db, "BEGIN", m->err);

	if (st == CS_OK)
		st = fit_check_tables(c, m->err);
	if (st == CS_OK)
		st = difference_find(c, &c->difference, m->err);
	store_rollback(m->db);
	if (st != CS_OK || d->table_count == 0 || c->adopt_server)
		return st;
	if (d->table_count == 1)
		snprintf(which, sizeof(which), "table %s of the file has", d->tables[0].name);
	else
		snprintf(which, sizeof(which), "%zu tables of the file (%s, ...) have",
			 d->table_count, d->tables[0].name);
	return cs_fail(
		m->err, CS_ERR_CONFIG,
		"%s rows that never came from the server; with --adopt=server the server's rows "
		"replace them, after a copy of the file was made, and rows that only the file has "
		"are kept aside",
		which);
}

static cs_status merge_once(struct merge *m)
{
	int64_t known = m->c->use.schema_version;
	cs_status st = look_first(m);

	if (st != CS_OK)
		return st;
	/* all tables come anew: what somebody did to them needs no putting right before */
	m->c->use.schema_version = -1;
	st = merge_all(m);
	if (st != CS_OK)
		m->c->use.schema_version = known;
	if (st != CS_OK && m->backup)
		adopt_drop_backup(m->c, m->backup);
	names_free(m->adopted, m->adopted_count);
	m->adopted = NULL;
	m->adopted_count = 0;
	free(m->backup);
	m->backup = NULL;
	return st;
}

static cs_status attach(struct merge *m, const char *path)
{
	char *sql = sqlite3_mprintf("ATTACH %Q AS " SNAPSHOT_SCHEMA, path);
	cs_status st = sql ? store_exec(m->db, sql, m->err)
			   : cs_fail(m->err, CS_ERR_NOMEM, "out of memory");

	sqlite3_free(sql);
	return st;
}

cs_status merge_snapshot(struct clinic_cache *c, const char *path, struct cs_error *err)
{
	struct merge m = {.c = c, .db = c->db, .err = err};
	bool is_new = !c->cursor[0];
	int looks = 0;
	cs_status st;

	if (is_new)
		m.app_sqlite = journal_header(c);
	statements_clear(c);
	st = attach(&m, path);
	if (st != CS_OK)
		return st;
	dynbuf_init(&m.sql, CACHE_SQL_BYTES_MOST);
	/* somebody's lock, or rows that came while we looked: the snapshot is worth another try */
	do {
		st = merge_once(&m);
	} while (st == CS_AGAIN ? ++looks < LOOKS_MOST : st != CS_OK && write_try_again(c, err));
	if (st == CS_AGAIN)
		st = cs_fail(err, CS_ERR_STORE, "another program writes the file all the time");
	dynbuf_free(&m.sql);
	if (sqlite3_exec(c->db, "DETACH " SNAPSHOT_SCHEMA, NULL, NULL, NULL) != SQLITE_OK &&
	    st == CS_OK)
		st = store_fail(c->db, "let go of the snapshot", err);
	if (st != CS_OK)
		return st;
	st = cache_reload(c, err);
	if (st == CS_OK)
		st = meta_get(c->db, "main", "cursor", c->cursor, sizeof(c->cursor), err);
	if (st == CS_OK && is_new)
		st = journal_apply(c, err);
	if (st == CS_OK)
		parked_tell(c);
	return st;
}
