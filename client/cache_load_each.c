/*
 * Rows of a snapshot into the file's own tables, one by one, as a frame would
 * bring them: what the app's table refuses is parked.
 *
 * Where its columns are of other affinities, no statement can tell whether two
 * rows are the same.  There the digests of both are compared, which are made
 * of what the wire would have.
 */
#include "cache_load.h"

#include <stdlib.h>
#include <string.h>

static cs_status nomem(struct loading *l)
{
	return cs_fail(l->err, CS_ERR_NOMEM, "out of memory");
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

static bool is_wanted(sqlite3_stmt *wanted, const struct row_reader *r)
{
	bool found;

	sqlite3_bind_text64(wanted, 1, r->key.data, r->key.len, SQLITE_STATIC, SQLITE_UTF8);
	found = sqlite3_step(wanted) == SQLITE_ROW;
	sqlite3_reset(wanted);
	return found;
}

static cs_status load_rows(struct loading *l, struct row_reader *r, struct loaded_row *row,
			   sqlite3_stmt *wanted, bool fresh)
{
	bool more;
	cs_status st;

	while ((st = row_reader_next(r, &more)) == CS_OK && more) {
		st = row_reader_key(r);
		if (st == CS_OK && wanted && !is_wanted(wanted, r))
			continue;
		if (st == CS_OK)
			st = copy_texts(l, r, row);
		if (st != CS_OK)
			return st;
		take_key(l, row);
		st = apply_loaded(l->c, l->t, &row->change, fresh, l->err);
		if (st != CS_OK)
			return st;
	}
	return st;
}

/* wanted: finds the key texts of rows that are due; NULL: all are. */
static cs_status load_some(struct loading *l, const char *list, sqlite3_stmt *wanted, bool fresh)
{
	struct row_reader r = {0};
	struct loaded_row row;
	cs_status st = row_init(l, &row);

	if (st == CS_OK) {
		st = row_reader_open(&r, l->c->db, l->t,
				     &(struct row_choice){.where = l->from, .list = list}, l->err);
		if (st == CS_OK)
			st = load_rows(l, &r, &row, wanted, fresh);
		row_reader_close(&r);
	}
	row_free(&row);
	return st;
}

cs_status load_each(struct loading *l, const char *list, bool fresh)
{
	return load_some(l, list, NULL, fresh);
}

/* ---- columns that convert ------------------------------------------------------------------ */

#define SERVER "temp.clinic_cache_server"

/* Two rows of main can have one key text only in a column of these, in which nobody has keys. */
static bool has_odd_key(const struct cached_table *t)
{
	for (size_t i = 0; i < t->schema->key_count; i++) {
		size_t at = t->schema->key[i];
		value_class class = t->schema->columns[at].class;

		if (t->local[at].converted &&
		    (class == CLASS_BOOLEAN || class == CLASS_FLOAT || class == CLASS_DECIMAL))
			return true;
	}
	return false;
}

typedef cs_status row_fn(struct loading *l, struct row_reader *r, sqlite3_stmt *stmt,
			 sqlite3_stmt *other);

static cs_status walk(struct loading *l, const char *where, row_fn *on_row, sqlite3_stmt *stmt,
		      sqlite3_stmt *other)
{
	struct row_reader r;
	bool more = true;
	cs_status st = row_reader_open(
		&r, l->c->db, l->t, &(struct row_choice){.where = where, .list = l->list}, l->err);

	while (st == CS_OK && more) {
		st = row_reader_next(&r, &more);
		if (st == CS_OK && more)
			st = row_reader_key(&r);
		if (st == CS_OK && more)
			st = on_row(l, &r, stmt, other);
	}
	row_reader_close(&r);
	return st;
}

/* Bind key text and digest; one step. */
static cs_status step_row(struct loading *l, struct row_reader *r, sqlite3_stmt *stmt)
{
	uint64_t hash;
	cs_status st = row_reader_hash(r, &hash);

	if (st != CS_OK)
		return st;
	sqlite3_bind_text64(stmt, 1, r->key.data, r->key.len, SQLITE_TRANSIENT, SQLITE_UTF8);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)hash);
	if (sqlite3_step(stmt) != SQLITE_DONE)
		st = store_fail(l->c->db, "compare rows", l->err);
	sqlite3_reset(stmt);
	return st;
}

static cs_status note_row(struct loading *l, struct row_reader *r, sqlite3_stmt *stmt,
			  sqlite3_stmt *other)
{
	(void)other;
	return step_row(l, r, stmt);
}

/* By what its key's columns hold, which may be nothing that the server has. */
static cs_status delete_row(struct loading *l, struct row_reader *r, sqlite3_stmt *stmt)
{
	const struct schema *s = l->t->schema;
	cs_status st = CS_OK;

	for (size_t i = 0; i < s->key_count; i++)
		sqlite3_bind_value(stmt, (int)i + 1,
				   sqlite3_column_value(r->rows, r->result[s->key[i]]));
	if (sqlite3_step(stmt) != SQLITE_DONE)
		st = store_fail(l->c->db, "delete a row", l->err);
	sqlite3_reset(stmt);
	return st;
}

static cs_status compare_row(struct loading *l, struct row_reader *r, sqlite3_stmt *stmt,
			     sqlite3_stmt *other)
{
	cs_status st = step_row(l, r, stmt);

	return st == CS_OK && sqlite3_changes(l->c->db) == 0 ? delete_row(l, r, other) : st;
}

static cs_status prepare_delete(struct loading *l, sqlite3_stmt **out)
{
	const struct schema *s = l->t->schema;
	struct dynbuf *sql = &l->c->sql;

	dynbuf_reset(sql);
	dynbuf_adds(sql, "DELETE FROM main.");
	schema_add_identifier(sql, s->table);
	for (size_t i = 0; i < s->key_count; i++) {
		dynbuf_adds(sql, i ? " AND " : " WHERE ");
		schema_add_identifier(sql, s->columns[s->key[i]].name);
		dynbuf_addf(sql, " IS ?%zu AND ", i + 1);
		schema_add_identifier(sql, s->columns[s->key[i]].name);
		dynbuf_addf(sql, " IS ?%zu COLLATE BINARY", i + 1);
	}
	*out = NULL;
	return sql->failed ? nomem(l) : store_prepare(l->c->db, sql->data, out, l->err);
}

/* Rows that the server does not have go; those that are the same are marked. */
static cs_status compare_main(struct loading *l)
{
	sqlite3_stmt *stmt, *delete = NULL;
	cs_status st = store_prepare(l->c->db,
				     "UPDATE " SERVER " SET same = hash = ?2"
				     " WHERE key = ?1",
				     &stmt, l->err);

	if (st == CS_OK)
		st = prepare_delete(l, &delete);
	if (st == CS_OK)
		st = walk(l, NULL, compare_row, stmt, delete);
	sqlite3_finalize(stmt);
	sqlite3_finalize(delete);
	return st;
}

static cs_status note_server(struct loading *l)
{
	sqlite3_stmt *stmt;
	cs_status st = store_exec(l->c->db,
				  "CREATE TABLE " SERVER "(key TEXT PRIMARY KEY, hash INTEGER,"
				  " same INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID",
				  l->err);

	if (st != CS_OK)
		return st;
	st = store_prepare(l->c->db, "INSERT INTO " SERVER "(key, hash) VALUES(?1, ?2)", &stmt,
			   l->err);
	if (st == CS_OK)
		st = walk(l, l->from, note_row, stmt, NULL);
	sqlite3_finalize(stmt);
	return st;
}

/* Exact texts of rows that are there no more; with a list, all of the listed ones were renewed. */
static cs_status forget_exact(struct loading *l)
{
	char *sql;
	cs_status st;

	if (l->list)
		return store_exec(l->c->db, "UPDATE " SERVER " SET same = 0", l->err);
	sql = sqlite3_mprintf("DELETE FROM main.clinic_sync_exact WHERE \"table\" = %Q"
			      " AND key NOT IN (SELECT key FROM " SERVER ")",
			      l->t->schema->table);
	st = sql ? store_exec(l->c->db, sql, l->err) : nomem(l);
	sqlite3_free(sql);
	return st;
}

static cs_status load_unlike(struct loading *l)
{
	sqlite3_stmt *wanted;
	cs_status st = store_prepare(
		l->c->db, "SELECT 1 FROM " SERVER " WHERE key = ?1 AND NOT same", &wanted, l->err);

	if (st == CS_OK)
		st = load_some(l, l->list, wanted, false);
	sqlite3_finalize(wanted);
	return st;
}

static cs_status empty_main(struct loading *l)
{
	struct dynbuf *sql = &l->c->sql;

	dynbuf_reset(sql);
	dynbuf_adds(sql, "DELETE FROM main.");
	schema_add_identifier(sql, l->t->schema->table);
	return sql->failed ? nomem(l) : store_exec(l->c->db, sql->data, l->err);
}

cs_status load_converting(struct loading *l)
{
	cs_status st = has_odd_key(l->t) ? empty_main(l) : CS_OK;

	if (st == CS_OK)
		st = note_server(l);
	if (st == CS_OK)
		st = compare_main(l);
	if (st == CS_OK)
		st = load_renew_sides(l);
	if (st == CS_OK)
		st = forget_exact(l);
	if (st == CS_OK)
		st = load_unlike(l);
	statements_clear(l->c);
	return st == CS_OK ? store_exec(l->c->db, "DROP TABLE " SERVER, l->err) : st;
}

/* ---- parked rows ---------------------------------------------------------------------------- */

struct listing {
	struct loading *l;
	sqlite3_stmt *find; /* in from */
	sqlite3_stmt *list; /* NULL: there is none */
};

static cs_status step_key(struct listing *g, sqlite3_stmt *stmt, const struct wire_change *change,
			  bool *row)
{
	struct loading *l = g->l;
	int rc;
	cs_status st = bind_key(stmt, 1, l->t, &change->key, &l->c->scratch, l->err);

	if (st != CS_OK)
		return st;
	rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		st = store_fail(l->c->db, "list a row", l->err);
	*row = rc == SQLITE_ROW;
	sqlite3_reset(stmt);
	return st;
}

static cs_status list_key(void *context, const struct wire_change *change, struct cs_error *err)
{
	struct listing *g = context;
	bool found;
	cs_status st = step_key(g, g->find, change, &found);

	if (st == CS_OK && !found) {
		st = key_text(g->l->t->schema, &change->key, &g->l->c->key, err);
		if (st == CS_OK)
			st = parked_forget(g->l->c, g->l->t, g->l->c->key.data, &found, err);
	}
	return st == CS_OK && g->list ? step_key(g, g->list, change, &found) : st;
}

static cs_status prepare_find(struct listing *g)
{
	struct loading *l = g->l;
	struct dynbuf *sql = &l->c->sql;

	dynbuf_reset(sql);
	dynbuf_addf(sql, "SELECT 1 FROM %s.", l->from);
	schema_add_identifier(sql, l->t->schema->table);
	dynbuf_adds(sql, " WHERE ");
	table_add_key_condition(sql, l->t, 1);
	return sql->failed ? nomem(l) : store_prepare(l->c->db, sql->data, &g->find, l->err);
}

static cs_status prepare_list(struct listing *g)
{
	struct loading *l = g->l;
	struct dynbuf *sql = &l->c->sql;

	if (!l->list)
		return CS_OK;
	dynbuf_reset(sql);
	dynbuf_addf(sql, "INSERT INTO temp.%s(", l->list);
	table_add_key_names(sql, l->t->schema);
	for (size_t i = 0; i < l->t->schema->key_count; i++)
		dynbuf_addf(sql, "%s?%zu", i ? ", " : ") SELECT ", i + 1);
	dynbuf_addf(sql, " WHERE NOT EXISTS (SELECT 1 FROM temp.%s WHERE ", l->list);
	table_add_key_condition(sql, l->t, 1);
	dynbuf_adds(sql, ")");
	return sql->failed ? nomem(l) : store_prepare(l->c->db, sql->data, &g->list, l->err);
}

static cs_status walk_parked(struct listing *g)
{
	struct loading *l = g->l;
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
				    : changes_read(message.data, message.len, list_key, g, l->err);
	}
	if (st == CS_OK && rc != SQLITE_DONE)
		st = store_fail(l->c->db, "read clinic_cache_parked", l->err);
	sqlite3_finalize(stmt);
	dynbuf_free(&message);
	return st;
}

/*
 * Who compared the tables did not see what is parked: each such row becomes
 * what the snapshot has of it, or nothing.
 */
cs_status load_list_parked(struct loading *l)
{
	struct listing g = {.l = l};
	cs_status st = prepare_find(&g);

	if (st == CS_OK)
		st = prepare_list(&g);
	if (st == CS_OK)
		st = walk_parked(&g);
	sqlite3_finalize(g.find);
	sqlite3_finalize(g.list);
	return st;
}
