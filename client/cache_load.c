/*
 * Rows of a snapshot into the file's own tables.
 *
 * A row whose key stays is never taken out: the app may number its rows, refer
 * to those numbers, and keep values in columns of its own.  So rows that the
 * snapshot lacks are deleted, those that differ are updated, new ones are put
 * in, each with one statement; rows that are as they should be are not written.
 *
 * SQLite checks UNIQUE at every step, and two rows may swap a value.  Then all
 * that differ are moved out at once, and come back with their numbers and the
 * app's values.  What an app's table refuses even so goes in row by row, as a
 * frame would bring it, and is parked (cache_load_each.c).
 */
#include "cache_load.h"

#include <stdio.h>
#include <string.h>

#define UNLIKE "temp.clinic_cache_unlike"
#define MOVED "temp.clinic_cache_moved"

static cs_status nomem(struct loading *l)
{
	return cs_fail(l->err, CS_ERR_NOMEM, "out of memory");
}

static struct dynbuf *begin_sql(struct loading *l)
{
	dynbuf_reset(&l->c->sql);
	return &l->c->sql;
}

static cs_status run(struct loading *l)
{
	return l->c->sql.failed ? nomem(l) : store_exec(l->c->db, l->c->sql.data, l->err);
}

/* ---- side tables --------------------------------------------------------------------------- */

static cs_status bring_exact(struct loading *l, const char *key)
{
	char *sql = sqlite3_mprintf(
		"INSERT OR REPLACE INTO main.clinic_sync_exact(\"table\", key, column, value)"
		" SELECT \"table\", key, column, value FROM %s.clinic_sync_exact"
		" WHERE \"table\" = %Q AND (%Q IS NULL OR key = %Q)",
		l->from, l->t->schema->table, key, key);
	cs_status st = sql ? store_exec(l->c->db, sql, l->err) : nomem(l);

	sqlite3_free(sql);
	if (st == CS_OK && sqlite3_changes(l->c->db) > 0)
		l->t->has_exact = true;
	return st;
}

static cs_status bring_oversize(struct loading *l, const char *key)
{
	char *sql =
		sqlite3_mprintf("INSERT OR IGNORE INTO main.clinic_sync_oversize(\"table\", key)"
				" SELECT \"table\", key FROM %s.clinic_sync_oversize"
				" WHERE \"table\" = %Q AND (%Q IS NULL OR key = %Q)",
				l->from, l->t->schema->table, key, key);
	cs_status st = sql ? store_exec(l->c->db, sql, l->err) : nomem(l);

	sqlite3_free(sql);
	if (st == CS_OK && sqlite3_changes(l->c->db) > 0)
		l->t->has_oversize = true;
	return st;
}

/* Each row that is put in row by row renews its own exact texts. */
static cs_status forget_all(struct loading *l)
{
	char *sql;
	cs_status st;

	if (!l->t->converts)
		return side_forget_table(l->c, l->t, l->err);
	sql = sqlite3_mprintf("DELETE FROM main.clinic_sync_oversize WHERE \"table\" = %Q",
			      l->t->schema->table);
	st = sql ? store_exec(l->c->db, sql, l->err) : nomem(l);
	sqlite3_free(sql);
	l->t->has_oversize = false;
	return st;
}

/* What the side tables say of one row; NULL: of all. */
static cs_status renew_side(struct loading *l, const char *key)
{
	cs_status st = key ? side_forget_row(l->c, l->t, key, l->err) : forget_all(l);

	if (st == CS_OK && !l->t->converts)
		st = bring_exact(l, key);
	return st == CS_OK ? bring_oversize(l, key) : st;
}

/* What the side tables say of the listed rows, key by key. */
static cs_status renew_listed(struct loading *l)
{
	struct row_reader r;
	bool more = true;
	cs_status st = row_reader_open(&r, l->c->db, l->t, &(struct row_choice){.keys_of = l->list},
				       l->err);

	while (st == CS_OK && more) {
		st = row_reader_next(&r, &more);
		if (st == CS_OK && more)
			st = row_reader_key(&r);
		if (st == CS_OK && more)
			st = renew_side(l, r.key.data);
	}
	row_reader_close(&r);
	return st;
}

cs_status load_renew_sides(struct loading *l)
{
	return l->list ? renew_listed(l) : renew_side(l, NULL);
}

/* ---- statements ---------------------------------------------------------------------------- */

static void add_columns(struct dynbuf *sql, const struct cached_table *t, const char *of)
{
	bool any = false;

	for (size_t i = 0; i < t->schema->column_count; i++) {
		if (t->local[i].missing)
			continue;
		dynbuf_addf(sql, "%s%s", any ? ", " : "", of);
		schema_add_identifier(sql, t->schema->columns[i].name);
		any = true;
	}
}

/* ` (keys of stored) IN (list)`; a collated column takes two keys for one. */
static void add_listed(struct dynbuf *sql, const struct cached_table *t, const char *list,
		       const char *where)
{
	dynbuf_adds(sql, " (");
	table_add_key_names(sql, t->schema);
	dynbuf_adds(sql, ") IN (SELECT ");
	table_add_key_names(sql, t->schema);
	dynbuf_addf(sql, " FROM %s%s)", list, where);
	if (!t->key_collates)
		return;
	dynbuf_addf(sql, " AND EXISTS(SELECT 1 FROM %s AS listed WHERE ", list);
	table_add_key_match(sql, t, "listed", "stored");
	dynbuf_adds(sql, ")");
}

/* `(+of."a" COLLATE BINARY, …)`: what is stored, whatever the column makes of a comparison. */
static void add_stored_values(struct dynbuf *sql, const struct cached_table *t, const char *of,
			      bool keys)
{
	bool any = false;

	for (size_t i = 0; i < t->schema->column_count; i++) {
		if (t->local[i].missing || (t->schema->columns[i].key_position >= 0) != keys)
			continue;
		dynbuf_addf(sql, "%s+%s.", any ? ", " : "(", of);
		schema_add_identifier(sql, t->schema->columns[i].name);
		dynbuf_adds(sql, " COLLATE BINARY");
		any = true;
	}
	dynbuf_adds(sql, ")");
}

static bool has_values(const struct cached_table *t)
{
	return t->schema->column_count > t->missing + t->schema->key_count;
}

/* *refused: the table did not take what the statement brings, and took nothing of it. */
static cs_status try_run(struct loading *l, bool *refused)
{
	int rc;

	*refused = false;
	if (l->c->sql.failed)
		return nomem(l);
	if (sqlite3_exec(l->c->db, l->c->sql.data, NULL, NULL, NULL) == SQLITE_OK)
		return CS_OK;
	rc = sqlite3_extended_errcode(l->c->db) & 0xff;
	if (rc != SQLITE_CONSTRAINT && rc != SQLITE_MISMATCH)
		return store_fail(l->c->db, "put rows into a table", l->err);
	*refused = true;
	return CS_OK;
}

/* Only an app's table may refuse what the server has. */
static cs_status must_be_the_apps(struct loading *l, bool refused)
{
	if (refused && !l->t->adopted)
		return store_fail(l->c->db, "put rows into a table", l->err);
	return CS_OK;
}

/* Rows that main does not have; list NULL: all. */
static cs_status insert_rows(struct loading *l, const char *list, bool *refused)
{
	struct dynbuf *sql = begin_sql(l);
	cs_status st;

	dynbuf_adds(sql, "INSERT OR ABORT INTO main.");
	schema_add_identifier(sql, l->t->schema->table);
	dynbuf_adds(sql, "(");
	add_columns(sql, l->t, "");
	extra_add_fills(sql, l->t, NULL, 0, true);
	dynbuf_adds(sql, ") SELECT ");
	add_columns(sql, l->t, "stored.");
	extra_add_fills(sql, l->t, NULL, 0, false);
	dynbuf_adds(sql, " FROM ");
	if (list)
		dynbuf_addf(sql, "temp.%s AS listed CROSS JOIN ", list);
	dynbuf_addf(sql, "%s.", l->from);
	schema_add_identifier(sql, l->t->schema->table);
	dynbuf_adds(sql, " AS stored");
	if (list) {
		dynbuf_adds(sql, " ON ");
		table_add_key_match(sql, l->t, "stored", "listed");
	}
	st = try_run(l, refused);
	return st == CS_OK ? must_be_the_apps(l, *refused) : st;
}

static cs_status delete_gone(struct loading *l)
{
	struct dynbuf *sql = begin_sql(l);
	char list[80];

	dynbuf_adds(sql, "DELETE FROM main.");
	schema_add_identifier(sql, l->t->schema->table);
	dynbuf_adds(sql, " AS stored WHERE");
	if (l->list) {
		snprintf(list, sizeof(list), "temp.%s", l->list);
		add_listed(sql, l->t, list, "");
		dynbuf_adds(sql, " AND");
	}
	dynbuf_addf(sql, " NOT EXISTS(SELECT 1 FROM %s.", l->from);
	schema_add_identifier(sql, l->t->schema->table);
	dynbuf_adds(sql, " AS other WHERE ");
	table_add_key_match(sql, l->t, "other", "stored");
	dynbuf_adds(sql, " AND ");
	add_stored_values(sql, l->t, "other", true);
	dynbuf_adds(sql, " IS ");
	add_stored_values(sql, l->t, "stored", true);
	dynbuf_adds(sql, ")");
	return run(l);
}

/* Keys of the rows that are to be written; those that are in main are marked. */
static cs_status list_unlike(struct loading *l)
{
	const struct schema *s = l->t->schema;
	struct dynbuf *sql = begin_sql(l);

	dynbuf_adds(sql, "CREATE TABLE " UNLIKE " AS SELECT");
	for (size_t i = 0; i < s->key_count; i++) {
		dynbuf_adds(sql, " other.");
		schema_add_identifier(sql, s->columns[s->key[i]].name);
		dynbuf_adds(sql, ",");
	}
	dynbuf_adds(sql, " here.");
	schema_add_identifier(sql, s->columns[s->key[0]].name);
	dynbuf_adds(sql, " IS NOT NULL AS clinic_cache_here FROM ");
	if (l->list)
		dynbuf_addf(sql, "temp.%s AS listed CROSS JOIN ", l->list);
	dynbuf_addf(sql, "%s.", l->from);
	schema_add_identifier(sql, s->table);
	dynbuf_adds(sql, " AS other");
	if (l->list) {
		dynbuf_adds(sql, " ON ");
		table_add_key_match(sql, l->t, "other", "listed");
	}
	dynbuf_adds(sql, " LEFT JOIN main.");
	schema_add_identifier(sql, s->table);
	dynbuf_adds(sql, " AS here ON ");
	table_add_key_match(sql, l->t, "here", "other");
	dynbuf_adds(sql, " WHERE here.");
	schema_add_identifier(sql, s->columns[s->key[0]].name);
	dynbuf_adds(sql, " IS NULL");
	if (has_values(l->t)) {
		dynbuf_adds(sql, " OR ");
		add_stored_values(sql, l->t, "here", false);
		dynbuf_adds(sql, " IS NOT ");
		add_stored_values(sql, l->t, "other", false);
	}
	return run(l);
}

/* `"a", of."b"`: the delivered columns that are not of the key. */
static void add_values(struct dynbuf *sql, const struct cached_table *t, const char *of)
{
	bool any = false;

	for (size_t i = 0; i < t->schema->column_count; i++) {
		if (t->local[i].missing || t->schema->columns[i].key_position >= 0)
			continue;
		dynbuf_addf(sql, "%s%s", any ? ", " : "", of);
		schema_add_identifier(sql, t->schema->columns[i].name);
		any = true;
	}
}

static cs_status update_rows(struct loading *l, bool *refused)
{
	struct dynbuf *sql = begin_sql(l);

	*refused = false;
	if (!has_values(l->t))
		return CS_OK;
	dynbuf_adds(sql, "UPDATE OR ABORT main.");
	schema_add_identifier(sql, l->t->schema->table);
	dynbuf_adds(sql, " AS stored SET (");
	add_values(sql, l->t, "");
	dynbuf_adds(sql, ") = (SELECT ");
	add_values(sql, l->t, "other.");
	dynbuf_addf(sql, " FROM %s.", l->from);
	schema_add_identifier(sql, l->t->schema->table);
	dynbuf_adds(sql, " AS other WHERE ");
	table_add_key_match(sql, l->t, "other", "stored");
	dynbuf_adds(sql, ") WHERE");
	add_listed(sql, l->t, UNLIKE, " WHERE clinic_cache_here");
	return try_run(l, refused);
}

/* ---- rows that swap values ------------------------------------------------------------------ */

/* `, rowid, of."a", …`: what a moved row takes along: its number, and what the app has in it. */
static void add_own(struct dynbuf *sql, const struct cached_table *t, const char *rowid,
		    const char *of)
{
	if (t->rowid)
		dynbuf_addf(sql, ", %s", rowid);
	for (size_t i = 0; i < t->extra_count; i++) {
		dynbuf_addf(sql, ", %s", of);
		schema_add_identifier(sql, t->extra[i].name);
	}
}

static cs_status move_out(struct loading *l)
{
	const struct schema *s = l->t->schema;
	struct dynbuf *sql = begin_sql(l);
	char number[64];

	snprintf(number, sizeof(number), "stored.%s AS clinic_cache_number",
		 l->t->rowid ? l->t->rowid : "rowid");
	dynbuf_adds(sql, "CREATE TABLE " MOVED " AS SELECT ");
	for (size_t i = 0; i < s->key_count; i++) {
		dynbuf_adds(sql, i ? ", stored." : "stored.");
		schema_add_identifier(sql, s->columns[s->key[i]].name);
	}
	add_own(sql, l->t, number, "stored.");
	dynbuf_adds(sql, " FROM " UNLIKE " AS listed CROSS JOIN main.");
	schema_add_identifier(sql, s->table);
	dynbuf_adds(sql, " AS stored ON ");
	table_add_key_match(sql, l->t, "stored", "listed");
	dynbuf_adds(sql, " WHERE listed.clinic_cache_here; DELETE FROM main.");
	schema_add_identifier(sql, s->table);
	dynbuf_adds(sql, " AS stored WHERE");
	add_listed(sql, l->t, UNLIKE, " WHERE clinic_cache_here");
	return run(l);
}

static cs_status move_back(struct loading *l, bool *refused)
{
	struct dynbuf *sql = begin_sql(l);

	dynbuf_adds(sql, "INSERT OR ABORT INTO main.");
	schema_add_identifier(sql, l->t->schema->table);
	dynbuf_adds(sql, "(");
	add_columns(sql, l->t, "");
	add_own(sql, l->t, l->t->rowid, "");
	dynbuf_adds(sql, ") SELECT ");
	add_columns(sql, l->t, "other.");
	add_own(sql, l->t, "moved.clinic_cache_number", "moved.");
	dynbuf_addf(sql, " FROM " MOVED " AS moved CROSS JOIN %s.", l->from);
	schema_add_identifier(sql, l->t->schema->table);
	dynbuf_adds(sql, " AS other ON ");
	table_add_key_match(sql, l->t, "other", "moved");
	return try_run(l, refused);
}

/* *refused: nothing was moved. */
static cs_status move_rows(struct loading *l, bool *refused)
{
	cs_status st = store_exec(l->c->db, "SAVEPOINT clinic_cache_move", l->err);

	if (st == CS_OK)
		st = move_out(l);
	if (st == CS_OK)
		st = move_back(l, refused);
	if (st == CS_OK)
		st = must_be_the_apps(l, *refused);
	if (st == CS_OK && *refused)
		st = store_exec(l->c->db, "ROLLBACK TO clinic_cache_move", l->err);
	else if (st == CS_OK)
		st = store_exec(l->c->db, "DROP TABLE " MOVED, l->err);
	return st == CS_OK ? store_exec(l->c->db, "RELEASE clinic_cache_move", l->err) : st;
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* *rest: what is left on the list goes row by row. */
static cs_status write_unlike(struct loading *l, bool *rest)
{
	cs_status st = update_rows(l, rest);

	if (st == CS_OK && *rest)
		st = move_rows(l, rest);
	if (st != CS_OK || *rest)
		return st;
	st = store_exec(l->c->db, "DELETE FROM " UNLIKE " WHERE clinic_cache_here", l->err);
	if (st == CS_OK && !l->t->has_parked)
		return insert_rows(l, "clinic_cache_unlike", rest);
	/* some of them are parked, with values of the app's */
	*rest = true;
	return st;
}

static cs_status load_in_place(struct loading *l)
{
	bool rest = false;
	cs_status st = delete_gone(l);

	if (st == CS_OK)
		st = load_renew_sides(l);
	if (st == CS_OK)
		st = list_unlike(l);
	if (st == CS_OK)
		st = write_unlike(l, &rest);
	if (st == CS_OK && rest)
		st = load_each(l, "clinic_cache_unlike", false);
	statements_clear(l->c);
	return st == CS_OK ? store_exec(l->c->db, "DROP TABLE " UNLIKE, l->err) : st;
}

static cs_status load_empty(struct loading *l)
{
	bool refused = l->t->converts;
	cs_status st = l->list ? CS_OK : side_forget_table(l->c, l->t, l->err);

	if (st == CS_OK)
		st = load_renew_sides(l);
	if (st == CS_OK && !refused)
		st = insert_rows(l, l->list, &refused);
	return st == CS_OK && refused ? load_each(l, l->list, true) : st;
}

static cs_status is_empty(struct loading *l, bool *out)
{
	struct dynbuf *sql = begin_sql(l);
	int64_t any = 0;
	cs_status st;

	dynbuf_adds(sql, "SELECT EXISTS(SELECT 1 FROM main.");
	schema_add_identifier(sql, l->t->schema->table);
	dynbuf_adds(sql, ")");
	st = sql->failed ? nomem(l) : store_integer(l->c->db, sql->data, &any, l->err);
	*out = any == 0;
	return st;
}

static cs_status load(struct loading *l)
{
	int64_t parked = 0;
	bool empty = false;
	cs_status st = CS_OK;

	if (l->t->adopted)
		st = parked_count(l->c->db, l->t->schema->table, &parked, l->err);
	if (st != CS_OK)
		return st;
	l->t->has_parked = parked > 0;
	/* statements of frames would stand in the way of the temporary tables' end */
	statements_clear(l->c);
	if (l->t->has_parked)
		st = load_list_parked(l);
	if (st == CS_OK)
		st = is_empty(l, &empty);
	if (st == CS_OK && empty && !l->t->has_parked)
		st = load_empty(l);
	else if (st == CS_OK)
		st = l->t->converts ? load_converting(l) : load_in_place(l);
	statements_clear(l->c);
	/* what clashed with a row that is gone */
	if (st == CS_OK && l->t->has_parked)
		st = parked_retry_table(l->c, l->t, l->err);
	return st;
}

cs_status rows_load(struct clinic_cache *c, struct cached_table *t, const char *from,
		    struct cs_error *err)
{
	struct loading l = {.c = c, .t = t, .from = from, .err = err};

	return load(&l);
}

/* -0 and 0 are one key of a column and two in the side tables. */
static bool has_float_key(const struct schema *s)
{
	for (size_t i = 0; i < s->key_count; i++)
		if (s->columns[s->key[i]].class == CLASS_FLOAT)
			return true;
	return false;
}

cs_status rows_load_listed(struct clinic_cache *c, struct cached_table *t, const char *from,
			   const char *list_table, struct cs_error *err)
{
	struct loading l = {.c = c, .t = t, .from = from, .list = list_table, .err = err};

	/* a column that makes one key of two would lose a row that is not listed */
	if (has_float_key(t->schema) || t->key_converts)
		l.list = NULL;
	return load(&l);
}
