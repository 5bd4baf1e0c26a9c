/*
 * Rows of a snapshot into the file's own tables.
 *
 * One INSERT … SELECT where the table holds what ours do.  Where its columns
 * are of other affinities, or one of its constraints refuses a row, the rows
 * go in one by one as a frame would bring them, and what is refused is parked.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

/* One load on its way. */
struct loading {
	struct clinic_cache *c;
	struct cached_table *t;
	const char *from;
	const char *list; /* in temp; NULL: all rows */
	struct cs_error *err;
};

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

/* ---- what is there goes ------------------------------------------------------------------- */

static cs_status delete_rows(struct loading *l)
{
	struct dynbuf *sql = begin_sql(l);

	dynbuf_adds(sql, "DELETE FROM main.");
	schema_add_identifier(sql, l->t->schema->table);
	if (l->list) {
		dynbuf_adds(sql, " AS stored WHERE (");
		table_add_key_names(sql, l->t->schema);
		dynbuf_adds(sql, ") IN (SELECT ");
		table_add_key_names(sql, l->t->schema);
		dynbuf_addf(sql, " FROM temp.%s)", l->list);
	}
	if (l->list && l->t->key_collates) {
		dynbuf_addf(sql, " AND EXISTS(SELECT 1 FROM temp.%s AS listed WHERE ", l->list);
		table_add_key_match(sql, l->t, "listed", "stored");
		dynbuf_adds(sql, ")");
	}
	return run(l);
}

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

/* What the side tables say of one row; NULL: of all. The exact texts only of rows put in as a
 * whole. */
static cs_status renew_side(struct loading *l, const char *key, bool exact)
{
	bool found;
	cs_status st = key ? side_forget_row(l->c, l->t, key, l->err)
			   : side_forget_table(l->c, l->t, l->err);

	if (st == CS_OK && key && l->t->has_parked)
		st = parked_forget(l->c, l->t, key, &found, l->err);
	else if (st == CS_OK && !key && l->t->has_parked)
		st = parked_forget_table(l->c, l->t, l->err);
	if (st == CS_OK && exact)
		st = bring_exact(l, key);
	return st == CS_OK ? bring_oversize(l, key) : st;
}

/* ---- all at once -------------------------------------------------------------------------- */

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

/* *refused: the app's table does not take one of them, and took none. */
static cs_status insert_rows(struct loading *l, bool *refused)
{
	struct dynbuf *sql = begin_sql(l);

	*refused = false;
	dynbuf_adds(sql, "INSERT OR ABORT INTO main.");
	schema_add_identifier(sql, l->t->schema->table);
	dynbuf_adds(sql, "(");
	add_columns(sql, l->t, "");
	dynbuf_addf(sql, "%s) SELECT ", l->t->fill_names);
	add_columns(sql, l->t, "stored.");
	dynbuf_addf(sql, "%s FROM ", l->t->fill_values);
	if (l->list)
		dynbuf_addf(sql, "temp.%s AS listed CROSS JOIN ", l->list);
	dynbuf_addf(sql, "%s.", l->from);
	schema_add_identifier(sql, l->t->schema->table);
	dynbuf_adds(sql, " AS stored");
	if (l->list) {
		dynbuf_adds(sql, " ON ");
		table_add_key_match(sql, l->t, "stored", "listed");
	}
	if (sql->failed)
		return nomem(l);
	if (sqlite3_exec(l->c->db, sql->data, NULL, NULL, NULL) == SQLITE_OK)
		return CS_OK;
	if (l->t->adopted && ((sqlite3_extended_errcode(l->c->db) & 0xff) == SQLITE_CONSTRAINT ||
			      sqlite3_errcode(l->c->db) == SQLITE_MISMATCH)) {
		*refused = true;
		return CS_OK;
	}
	return store_fail(l->c->db, "put rows into a table", l->err);
}

/* ---- one by one --------------------------------------------------------------------------- */

/* A row of the snapshot as a change; its texts lie one behind the other. */
struct loaded_row {
	struct dynbuf texts;
	size_t *starts; /* by field of data */
	struct wire_field *data;
	struct wire_field *key;
	struct wire_change change;
};

static void row_free(struct loaded_row *row)
{
	dynbuf_free(&row->texts);
	free(row->starts);
	free(row->data);
	free(row->key);
}

static cs_status row_init(struct loading *l, struct loaded_row *row)
{
	const struct schema *s = l->t->schema;

	memset(row, 0, sizeof(*row));
	dynbuf_init(&row->texts, CACHE_MESSAGE_BYTES_MOST);
	row->starts = calloc(s->column_count, sizeof(*row->starts));
	row->data = calloc(s->column_count, sizeof(*row->data));
	row->key = calloc(s->key_count, sizeof(*row->key));
	return row->starts && row->data && row->key ? CS_OK : nomem(l);
}

static cs_status copy_texts(struct loading *l, struct row_reader *r, struct loaded_row *row)
{
	struct wire_object *data = &row->change.data;

	dynbuf_reset(&row->texts);
	data->count = 0;
	for (size_t i = 0; i < l->t->schema->column_count; i++) {
		const char *name = l->t->schema->columns[i].name;
		const char *text;
		size_t len;
		cs_status st;

		if (l->t->local[i].missing)
			continue;
		st = row_reader_text(r, i, &text, &len);
		if (st != CS_OK)
			return st;
		row->starts[data->count] = row->texts.len;
		row->data[data->count++] = (struct wire_field){
			.name = name,
			.name_len = strlen(name),
			.value = {.form = text ? WIRE_STRING : WIRE_NULL, .len = text ? len : 0},
		};
		dynbuf_add(&row->texts, text ? text : "", text ? len : 0);
	}
	/* so that an empty row has texts, too */
	return dynbuf_add(&row->texts, "", 1) ? CS_OK : nomem(l);
}

static void take_key(struct loading *l, struct loaded_row *row)
{
	const struct schema *s = l->t->schema;
	struct wire_object *data = &row->change.data;

	data->there = true;
	data->fields = row->data;
	for (size_t i = 0; i < data->count; i++)
		row->data[i].value.text = row->texts.data + row->starts[i];
	row->change.key.there = true;
	row->change.key.fields = row->key;
	row->change.key.count = s->key_count;
	for (size_t i = 0; i < s->key_count; i++) {
		const char *name = s->columns[s->key[i]].name;
		const struct wire_value *value = wire_object_get(data, s->key[i], name);

		row->key[i] = (struct wire_field){.name = name, .name_len = strlen(name)};
		row->key[i].value = *value;
	}
}

static cs_status load_all(struct loading *l, struct row_reader *r, struct loaded_row *row)
{
	const char *extra = l->t->extra_names ? EXTRA_KEPT : NULL;
	bool more;
	cs_status st;

	while ((st = row_reader_next(r, &more)) == CS_OK && more) {
		st = row_reader_key(r);
		if (st == CS_OK)
			st = copy_texts(l, r, row);
		if (st != CS_OK)
			return st;
		take_key(l, row);
		st = apply_loaded(l->c, l->t, &row->change, extra, l->err);
		if (st != CS_OK)
			return st;
	}
	return st;
}

static cs_status load_one_by_one(struct loading *l)
{
	struct row_reader r = {0};
	struct loaded_row row;
	cs_status st = row_init(l, &row);

	if (st == CS_OK) {
		st = row_reader_open(&r, l->c->db, l->t,
				     &(struct row_choice){.where = l->from, .list = l->list},
				     l->err);
		if (st == CS_OK)
			st = load_all(l, &r, &row);
		row_reader_close(&r);
	}
	row_free(&row);
	return st;
}

/* ---- both --------------------------------------------------------------------------------- */

static cs_status put_rows(struct loading *l)
{
	bool refused = l->t->converts;
	cs_status st = CS_OK;

	if (!refused)
		st = insert_rows(l, &refused);
	return st == CS_OK && refused ? load_one_by_one(l) : st;
}

/* ---- keys on the list ---------------------------------------------------------------------- */

static cs_status list_key(void *context, const struct wire_change *change, struct cs_error *err)
{
	struct loading *l = context;
	struct dynbuf *sql = begin_sql(l);
	sqlite3_stmt *stmt;
	cs_status st;

	dynbuf_addf(sql, "INSERT INTO temp.%s(", l->list);
	table_add_key_names(sql, l->t->schema);
	for (size_t i = 0; i < l->t->schema->key_count; i++)
		dynbuf_addf(sql, "%s?%zu", i ? ", " : ") SELECT ", i + 1);
	dynbuf_addf(sql, " WHERE NOT EXISTS (SELECT 1 FROM temp.%s WHERE ", l->list);
	table_add_key_condition(sql, l->t, 1);
	if (!dynbuf_adds(sql, ")"))
		return nomem(l);
	st = store_prepare(l->c->db, sql->data, &stmt, err);
	if (st == CS_OK)
		st = bind_key(stmt, 1, l->t, &change->key, &l->c->scratch, err);
	if (st == CS_OK && sqlite3_step(stmt) != SQLITE_DONE)
		st = store_fail(l->c->db, "list a row", err);
	sqlite3_finalize(stmt);
	return st;
}

/*
 * Who compared the tables did not see what is parked: each such row becomes
 * what the snapshot has of it, or nothing.
 */
static cs_status list_parked(struct loading *l)
{
	struct dynbuf message;
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(
		l->c->db, "SELECT key FROM main.clinic_cache_parked WHERE \"table\" = ?1", &stmt,
		l->err);
	int rc = SQLITE_DONE;

	if (st != CS_OK)
		return st;
	dynbuf_init(&message, CACHE_MESSAGE_BYTES_MOST);
	sqlite3_bind_text(stmt, 1, l->t->schema->table, -1, SQLITE_STATIC);
	while (st == CS_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		dynbuf_reset(&message);
		dynbuf_adds(&message, "{\"changes\":[{\"key\":");
		dynbuf_adds(&message, (const char *)sqlite3_column_text(stmt, 0));
		dynbuf_adds(&message, "}]}");
		st = message.failed ? nomem(l)
				    : changes_read(message.data, message.len, list_key, l, l->err);
	}
	if (st == CS_OK && rc != SQLITE_DONE)
		st = store_fail(l->c->db, "read clinic_cache_parked", l->err);
	sqlite3_finalize(stmt);
	dynbuf_free(&message);
	return st;
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
			st = renew_side(l, r.key.data, !l->t->converts);
	}
	row_reader_close(&r);
	return st;
}

static cs_status load(struct loading *l)
{
	int64_t parked = 0;
	cs_status st = CS_OK;

	if (l->t->adopted)
		st = parked_count(l->c->db, l->t->schema->table, &parked, l->err);
	if (st != CS_OK)
		return st;
	l->t->has_parked = parked > 0;
	/* statements of frames would stand in the way of the temporary table's end */
	statements_clear(l->c);
	if (l->list && l->t->has_parked)
		st = list_parked(l);
	if (st == CS_OK && l->t->extra_names)
		st = extra_keep_all(l->c, l->t, l->list, l->err);
	if (st == CS_OK)
		st = delete_rows(l);
	if (st == CS_OK)
		st = l->list ? renew_listed(l) : renew_side(l, NULL, !l->t->converts);
	if (st == CS_OK)
		st = put_rows(l);
	statements_clear(l->c);
	if (st == CS_OK && l->t->extra_names)
		st = extra_restore_all(l->c, l->t, l->err);
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
