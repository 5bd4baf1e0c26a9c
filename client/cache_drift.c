/*
 * The app changes its schema below us.
 *
 * An app's upgrade drops, rebuilds or alters tables, and some of them are
 * synced.  That is no change of any row of the clinic's, so it is never read as
 * one: the table is made usable again at once, in a transaction of its own
 * before the next frame, and noted as due: its rows come from the server
 * again, and until they have a row that is missing is no divergence.
 *
 * How we know: SQLite counts the changes of a file's schema.  The count stands
 * in meta as it was when we last saw to it, and clinic_cache_local holds what
 * each synced table looked like then: its CREATE TABLE and its first page.
 * Whoever moved the count, the tables are compared with that.
 *
 * A table that was dropped and made again may look the same to the letter.  So
 * whenever the count moved, all rows are in doubt, in meta until a sync now
 * has proven them; and as long as they are, a missing row is no divergence.
 */
#include "cache_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_EVERY_MS 1000
#define LOOK_AFTER_FAILURE_MS 10000
#define DOUBT_EVERY_MS 60000 /* an app that makes tables all the time, and none of ours */

#define LOCAL_TABLE                                                                                \
	"CREATE TABLE IF NOT EXISTS main.clinic_cache_local("                                      \
	"\"table\" TEXT PRIMARY KEY, sql TEXT, root INTEGER)"

/* ---- what we know ------------------------------------------------------------------------- */

cs_status drift_has_moved(struct clinic_cache *c, bool *moved, struct cs_error *err)
{
	int64_t version;
	cs_status st = store_integer(c->db, "PRAGMA main.schema_version", &version, err);

	*moved = st == CS_OK && c->use.schema_version >= 0 && version != c->use.schema_version;
	return st;
}

cs_status drift_note(struct clinic_cache *c, struct cs_error *err)
{
	int64_t version;
	char text[24];
	cs_status st = store_integer(c->db, "PRAGMA main.schema_version", &version, err);

	if (st != CS_OK || version == c->use.schema_version ||
	    !store_table_exists(c->db, "main", "clinic_sync_table"))
		return st;
	st = store_exec(c->db,
			LOCAL_TABLE
			";DELETE FROM main.clinic_cache_local;"
			"INSERT INTO main.clinic_cache_local"
			" SELECT t.name, s.sql, s.rootpage FROM main.clinic_sync_table AS t"
			" JOIN main.sqlite_schema AS s"
			" ON s.type = 'table' AND s.name = t.name COLLATE NOCASE",
			err);
	if (st == CS_OK)
		st = store_integer(c->db, "PRAGMA main.schema_version", &version, err);
	snprintf(text, sizeof(text), "%lld", (long long)version);
	if (st == CS_OK)
		st = meta_set(c->db, "schema_version", text, err);
	if (st == CS_OK)
		c->use.schema_version = version;
	return st;
}

/* ---- what is due -------------------------------------------------------------------------- */

static void forget_names(struct clinic_cache *c)
{
	names_free(c->use.due, c->use.due_count);
	c->use.due = NULL;
	c->use.due_count = 0;
}

cs_status drift_mark(struct clinic_cache *c, struct cs_error *err)
{
	char doubt[8] = "";
	cs_status st;

	forget_names(c);
	st = meta_get_names(c->db, "repair_due", &c->use.due, &c->use.due_count, err);
	if (st == CS_OK)
		st = meta_get(c->db, "main", "doubt", doubt, sizeof(doubt), err);
	c->use.doubt = st == CS_OK && doubt[0];
	for (size_t i = 0; i < c->tables.count && st == CS_OK; i++) {
		struct cached_table *t = c->tables.items[i];

		if (c->use.doubt || names_have(c->use.due, c->use.due_count, t->schema->table))
			t->lenient = true;
	}
	return st;
}

cs_status drift_forget_due(struct clinic_cache *c, const char *table, struct cs_error *err)
{
	cs_status st = table ? meta_remove_name(c->db, "repair_due", table, err)
			     : meta_set(c->db, "repair_due", NULL, err);

	return st == CS_OK && !table ? meta_set(c->db, "doubt", NULL, err) : st;
}

/* ---- putting right ------------------------------------------------------------------------ */

/* A synced table as it was and as it is. */
struct look {
	struct schema *schema;
	char *type_now; /* NULL: it is gone */
	char *sql_now;
	bool is_noted; /* we know what it looked like */
	bool same_sql;
	bool same_root; /* not moved: neither made anew, nor by a VACUUM */
	bool had_rows;  /* when the snapshot came */
};

static cs_status read_look(sqlite3_stmt *stmt, struct look *out, struct cs_error *err)
{
	const char *json = (const char *)sqlite3_column_text(stmt, 0);
	const char *type = (const char *)sqlite3_column_text(stmt, 1);
	const char *sql = (const char *)sqlite3_column_text(stmt, 6);
	struct cs_error why = {0};
	cs_status st;

	out->is_noted = sqlite3_column_int(stmt, 2);
	out->same_sql = sqlite3_column_int(stmt, 3);
	out->same_root = sqlite3_column_int(stmt, 4);
	out->had_rows = sqlite3_column_int(stmt, 5);
	out->type_now = type ? strdup(type) : NULL;
	out->sql_now = strdup(sql ? sql : "");
	if ((type && !out->type_now) || !out->sql_now)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	st = schema_parse_text(json ? json : "", (size_t)sqlite3_column_bytes(stmt, 0),
			       &out->schema, &why);
	if (st == CS_ERR_PROTOCOL)
		return cs_fail(err, CS_ERR_DIVERGED, "clinic_sync_table is damaged: %s", why.text);
	return st == CS_OK ? CS_OK : cs_fail(err, st, "%s", why.text);
}

/* All of them; no statement stays open, since DDL follows. */
static cs_status read_looks(struct clinic_cache *c, struct look *out, size_t *count,
			    struct cs_error *err)
{
	sqlite3_stmt *stmt;
	int rc = SQLITE_DONE;
	cs_status st = store_exec(c->db, LOCAL_TABLE, err);

	*count = 0;
	if (st != CS_OK)
		return st;
	st = store_prepare(c->db,
			   "SELECT t.schema, s.type, l.sql IS NOT NULL, s.sql IS l.sql,"
			   " s.rootpage IS l.root, coalesce(t.rows, 0) > 0, s.sql"
			   " FROM main.clinic_sync_table AS t"
			   " LEFT JOIN main.clinic_cache_local AS l ON l.\"table\" = t.name"
			   " LEFT JOIN main.sqlite_schema AS s"
			   " ON s.type IN ('table', 'view') AND s.name = t.name COLLATE NOCASE",
			   &stmt, err);
	while (st == CS_OK && *count < CACHE_TABLES_MOST && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
		st = read_look(stmt, &out[(*count)++], err);
	if (st == CS_OK && rc != SQLITE_DONE)
		st = store_fail(c->db, "read clinic_sync_table", err);
	sqlite3_finalize(stmt);
	return st;
}

cs_status drift_add_due(struct clinic_cache *c, const char *table, struct cs_error *err)
{
	return meta_add_name(c->db, "repair_due", table, err);
}

static cs_status run_for(sqlite3 *db, const char *format, const char *table, struct cs_error *err)
{
	char *sql = sqlite3_mprintf(format, table);
	cs_status st = sql ? store_exec(db, sql, err) : cs_fail(err, CS_ERR_NOMEM, "out of memory");

	sqlite3_free(sql);
	return st;
}

/* The table as the server has it, empty; what is said of rows it had goes, too. */
static cs_status make_again(struct clinic_cache *c, const struct look *l, struct cs_error *err)
{
	const char *table = l->schema->table;
	struct dynbuf sql;
	cs_status st = run_for(c->db, "DROP TABLE IF EXISTS main.\"%w\"", table, err);

	dynbuf_init(&sql, CACHE_SQL_BYTES_MOST);
	if (st == CS_OK && !schema_add_create_table(&sql, l->schema))
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (st == CS_OK)
		st = store_exec(c->db, sql.data, err);
	dynbuf_free(&sql);
	if (st == CS_OK)
		st = table_create_indexes(c->db, l->schema, err);
	if (st == CS_OK)
		st = run_for(c->db, "DELETE FROM main.clinic_sync_exact WHERE \"table\" = %Q",
			     table, err);
	if (st == CS_OK)
		st = run_for(c->db, "DELETE FROM main.clinic_sync_oversize WHERE \"table\" = %Q",
			     table, err);
	if (st == CS_OK && store_table_exists(c->db, "main", "clinic_cache_parked"))
		st = run_for(c->db, "DELETE FROM main.clinic_cache_parked WHERE \"table\" = %Q",
			     table, err);
	if (st == CS_OK)
		st = meta_remove_name(c->db, "adopted", table, err);
	return st == CS_OK ? drift_add_due(c, table, err) : st;
}

cs_status drift_compare(struct clinic_cache *c, const struct schema *s, size_t *missing,
			size_t *extra, bool *as_we_made, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	size_t found = 0;
	int rc;
	cs_status st = store_prepare(
		c->db, "SELECT name, type, \"notnull\", pk FROM pragma_table_info(?1, 'main')",
		&stmt, err);

	*extra = 0;
	*as_we_made = true;
	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, s->table, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *type = (const char *)sqlite3_column_text(stmt, 1);
		int at = schema_find(s, (const char *)sqlite3_column_text(stmt, 0));

		if (at < 0) {
			++*extra;
			continue;
		}
		found++;
		if (!type || strcmp(type, schema_sqlite_type(s->columns[at].class)) != 0 ||
		    sqlite3_column_int(stmt, 3) != s->columns[at].key_position + 1 ||
		    (sqlite3_column_int(stmt, 2) && s->columns[at].key_position < 0))
			*as_we_made = false;
	}
	if (rc != SQLITE_DONE)
		st = store_fail(c->db, "read a table's columns", err);
	sqlite3_finalize(stmt);
	*missing = s->column_count - found;
	return st;
}

/* A table we made, and somebody changed. */
static cs_status settle_ours(struct clinic_cache *c, const struct look *l, struct cs_error *err)
{
	const struct schema *s = l->schema;
	size_t missing;
	size_t extra;
	bool as_we_made;
	bool restrained = false;
	struct cs_error why = {0};
	cs_status st = drift_compare(c, s, &missing, &extra, &as_we_made, err);

	if (st == CS_OK)
		st = constraint_find(c->db, l->schema, l->sql_now, &restrained, err);
	if (st != CS_OK)
		return st;
	if (adopt_check(c->db, s, &why) != CS_OK) {
		/* its key was renamed, say: nothing of it is the app's unless there is more */
		if (extra <= missing)
			return make_again(c, l, err);
		return cs_fail(err, CS_ERR_DIVERGED, "%s", why.text);
	}
	/* dropped, and made anew by the app: then its schema is the app's */
	if (!as_we_made || restrained || (missing && !l->same_root))
		st = meta_add_name(c->db, "adopted", s->table, err);
	else
		st = table_add_columns(c->db, "main", s, err);
	if (st == CS_OK && as_we_made)
		st = table_create_indexes(c->db, s, err);
	return st == CS_OK ? drift_add_due(c, s->table, err) : st;
}

static cs_status is_empty(struct clinic_cache *c, const char *table, bool *out,
			  struct cs_error *err)
{
	char *sql = sqlite3_mprintf("SELECT EXISTS(SELECT 1 FROM main.\"%w\")", table);
	int64_t rows = 0;
	cs_status st = sql ? store_integer(c->db, sql, &rows, err)
			   : cs_fail(err, CS_ERR_NOMEM, "out of memory");

	sqlite3_free(sql);
	*out = !rows;
	return st;
}

static cs_status settle_one(struct clinic_cache *c, const struct look *l, bool adopted,
			    struct cs_error *err)
{
	const char *table = l->schema->table;
	struct cs_error why = {0};
	bool restrained = false;
	bool empty;
	cs_status st;

	if (!l->type_now)
		return make_again(c, l, err);
	if (!l->is_noted || !l->same_sql) {
		if (!adopted && strcmp(l->type_now, "table") == 0)
			return settle_ours(c, l, err);
		/* the next snapshot says for good whether it can go on */
		if (adopt_check(c->db, l->schema, &why) != CS_OK)
			return cs_fail(err, CS_ERR_DIVERGED, "%s", why.text);
		return drift_add_due(c, table, err);
	}
	if (!adopted) {
		st = constraint_find(c->db, l->schema, l->sql_now, &restrained, err);
		if (st == CS_OK && restrained)
			st = meta_add_name(c->db, "adopted", table, err);
		if (st != CS_OK)
			return st;
	}
	/* one with other rows looks like one that a VACUUM moved: a proof will say, at once */
	if (!l->same_root)
		c->use.doubt_at = 0;
	st = is_empty(c, table, &empty, err);
	return st == CS_OK && empty && l->had_rows ? drift_add_due(c, table, err) : st;
}

cs_status drift_settle(struct clinic_cache *c, struct cs_error *err)
{
	struct look *looks = calloc(CACHE_TABLES_MOST, sizeof(*looks));
	char **adopted = NULL;
	size_t adopted_count = 0;
	size_t count = 0;
	cs_status st;

	if (!looks)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	statements_clear(c);
	st = read_looks(c, looks, &count, err);
	if (st == CS_OK)
		st = meta_get_names(c->db, "adopted", &adopted, &adopted_count, err);
	for (size_t i = 0; i < count && st == CS_OK; i++)
		st = settle_one(c, &looks[i],
				names_have(adopted, adopted_count, looks[i].schema->table), err);
	if (st == CS_OK && count > 0)
		st = meta_set(c->db, "doubt", "1", err);
	/* what is proven by now says nothing of this */
	c->use.proving = false;
	names_free(adopted, adopted_count);
	for (size_t i = 0; i < count; i++) {
		schema_free(looks[i].schema);
		free(looks[i].type_now);
		free(looks[i].sql_now);
	}
	free(looks);
	return st;
}

/* ---- while nothing comes from the server -------------------------------------------------- */

static cs_status look(struct clinic_cache *c, struct cs_error *err)
{
	bool moved;
	cs_status st = drift_has_moved(c, &moved, err);

	if (st != CS_OK || !moved)
		return st;
	st = write_begin(c, WRITE_SHORT, err);
	return st == CS_OK ? write_commit(c, err) : st;
}

static void failed_to_look(struct clinic_cache *c, const struct cs_error *err)
{
	/* somebody has the lock: the next look comes */
	if (c->use.gave_way && err->status != CS_ERR_DIVERGED)
		return;
	event_simple(c, "sync_error", err->text);
	if (err->status == CS_ERR_DIVERGED) {
		session_want_fresh(c, c->now_ms);
		c->link = LINK_BROKEN;
		return;
	}
	/* a lock on a lent connection, a full disk: that is no damage, and may pass */
	c->use.look_at = c->now_ms + LOOK_AFTER_FAILURE_MS;
}

static void end_doubt(struct clinic_cache *c)
{
	struct file_use *use = &c->use;

	if (!use->doubt || use->proving || c->now_ms < use->doubt_at || !prove_is_known(c) ||
	    c->link != LINK_READY)
		return;
	use->doubt_at = c->now_ms + DOUBT_EVERY_MS;
	use->proving = clinic_cache_sync_now(c, CLINIC_CACHE_SCOPE_ALL, NULL, c->now_ms) ==
		       CLINIC_CACHE_OK;
}

void drift_proven(struct clinic_cache *c, bool all)
{
	if (!all || !c->use.proving) {
		c->use.proving = false;
		return;
	}
	/* what cannot be written now is proven once more */
	if (!c->db || write_begin(c, WRITE_SHORT, NULL) != CS_OK)
		return;
	/* not if somebody has changed the schema again */
	if (!c->use.proving || meta_set(c->db, "doubt", NULL, NULL) != CS_OK ||
	    write_commit(c, NULL) != CS_OK)
		write_rollback(c);
	c->use.proving = false;
	for (size_t i = 0; i < c->tables.count; i++)
		c->tables.items[i]->lenient =
			repair_is_wanted(c, c->tables.items[i]->schema->table);
	(void)!drift_mark(c, NULL);
}

void drift_tick(struct clinic_cache *c)
{
	struct file_use *use = &c->use;
	struct cs_error err = {0};

	if (!c->db || !c->cursor[0] || c->now_ms < use->look_at)
		return;
	use->look_at = c->now_ms + LOOK_EVERY_MS;
	use->gave_way = false;
	if (look(c, &err) != CS_OK) {
		failed_to_look(c, &err);
		return;
	}
	if (use->journal_due)
		(void)!journal_apply(c, NULL);
	end_doubt(c);
}
