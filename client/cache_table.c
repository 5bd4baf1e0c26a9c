/*
 * The synced tables of a file: what the server says of them (clinic_sync_table)
 * and what the file has (its own columns, which an app may have added to).
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

void table_free(struct cached_table *t)
{
	if (!t)
		return;
	schema_free(t->schema);
	free(t->fill_names);
	free(t->fill_values);
	free(t->local_names);
	free(t->local_declarations);
	free(t->extra_names);
	free(t);
}

void tables_free(struct table_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		table_free(set->items[i]);
	free(set->items);
	set->items = NULL;
	set->count = 0;
}

struct cached_table *tables_find(const struct table_set *set, const char *name, size_t len)
{
	for (size_t i = 0; i < set->count; i++)
		if (wire_is(name, len, set->items[i]->schema->table))
			return set->items[i];
	return NULL;
}

void table_add_key_condition(struct dynbuf *b, const struct schema *s, size_t first_parameter)
{
	for (size_t i = 0; i < s->key_count; i++) {
		dynbuf_adds(b, i ? " AND " : "");
		schema_add_identifier(b, s->columns[s->key[i]].name);
		dynbuf_addf(b, " = ?%zu", first_parameter + i);
	}
}

/* What table_read_local() gathers on its way over the file's columns. */
struct local_columns {
	struct dynbuf names, declarations, extra, fill_names, fill_values;
	size_t delivered;
};

static void add_to_list(struct dynbuf *b, const char *name)
{
	if (b->len)
		dynbuf_adds(b, ", ");
	schema_add_identifier(b, name);
}

/* What a column that nobody delivers gets in a new row, if it must have something. */
static const char *fill_of(const char *type)
{
	static const char *const numeric[] = {"%INT%", "%REAL%", "%FLOA%", "%DOUB%",
					      "%NUM%", "%DEC%",  "%BOOL%"};

	for (size_t i = 0; i < sizeof(numeric) / sizeof(numeric[0]); i++)
		if (sqlite3_strlike(numeric[i], type, 0) == 0)
			return "0";
	return "''";
}

static void add_local_column(struct local_columns *l, const struct schema *schema,
			     sqlite3_stmt *stmt)
{
	const char *name = (const char *)sqlite3_column_text(stmt, 1);
	const char *type = (const char *)sqlite3_column_text(stmt, 2);
	const char *dflt = (const char *)sqlite3_column_text(stmt, 4);
	bool must_have = sqlite3_column_int(stmt, 3) && !dflt;

	add_to_list(&l->names, name);
	add_to_list(&l->declarations, name);
	/* only the affinity matters to the twin; INTEGER bare, so that a key stays the rowid */
	if (type && platform_same_name(type, "INTEGER")) {
		dynbuf_adds(&l->declarations, " INTEGER");
	} else if (type && type[0]) {
		dynbuf_adds(&l->declarations, " ");
		schema_add_identifier(&l->declarations, type);
	}
	if (dflt)
		dynbuf_addf(&l->declarations, " DEFAULT (%s)", dflt);
	if (schema_find(schema, name) >= 0) {
		l->delivered++;
		return;
	}
	add_to_list(&l->extra, name);
	if (!must_have)
		return;
	dynbuf_adds(&l->fill_names, ", ");
	schema_add_identifier(&l->fill_names, name);
	dynbuf_addf(&l->fill_values, ", %s", fill_of(type ? type : ""));
}

static cs_status replace_text(char **slot, struct dynbuf *text, bool null_if_empty,
			      struct cs_error *err)
{
	free(*slot);
	*slot = NULL;
	if (text->failed)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (text->len == 0 && null_if_empty)
		return CS_OK;
	*slot = strdup(text->len ? text->data : "");
	return *slot ? CS_OK : cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

static cs_status keep_local(struct cached_table *t, struct local_columns *l, struct cs_error *err)
{
	cs_status st = replace_text(&t->local_names, &l->names, false, err);

	if (st == CS_OK)
		st = replace_text(&t->local_declarations, &l->declarations, false, err);
	if (st == CS_OK)
		st = replace_text(&t->extra_names, &l->extra, true, err);
	if (st == CS_OK)
		st = replace_text(&t->fill_names, &l->fill_names, false, err);
	if (st == CS_OK)
		st = replace_text(&t->fill_values, &l->fill_values, false, err);
	return st;
}

cs_status table_read_local(sqlite3 *db, struct cached_table *t, struct cs_error *err)
{
	struct local_columns l = {.delivered = 0};
	struct dynbuf *lists[] = {&l.names, &l.declarations, &l.extra, &l.fill_names,
				  &l.fill_values};
	sqlite3_stmt *stmt;
	cs_status st;
	int rc;

	st = store_prepare(db, "SELECT * FROM pragma_table_info(?1, 'main')", &stmt, err);
	if (st != CS_OK)
		return st;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		dynbuf_init(lists[i], CACHE_SQL_BYTES_MOST);
	sqlite3_bind_text(stmt, 1, t->schema->table, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		add_local_column(&l, t->schema, stmt);
	if (rc != SQLITE_DONE)
		st = store_fail(db, "read a table's columns", err);
	else if (l.delivered != t->schema->column_count)
		st = cs_fail(err, CS_ERR_DIVERGED,
			     "table %s is not in the file as the server knows it",
			     t->schema->table);
	else
		st = keep_local(t, &l, err);
	sqlite3_finalize(stmt);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		dynbuf_free(lists[i]);
	return st;
}

static cs_status has_side_rows(sqlite3 *db, const char *side, const char *table, bool *out,
			       struct cs_error *err)
{
	char *sql = sqlite3_mprintf("SELECT EXISTS(SELECT 1 FROM main.%s WHERE \"table\" = %Q)",
				    side, table);
	int64_t found = 0;
	cs_status st = sql ? store_integer(db, sql, &found, err)
			   : cs_fail(err, CS_ERR_NOMEM, "out of memory");

	sqlite3_free(sql);
	*out = found != 0;
	return st;
}

static cs_status load_one(sqlite3 *db, sqlite3_stmt *stmt, struct cached_table *t,
			  struct cs_error *err)
{
	const char *json = (const char *)sqlite3_column_text(stmt, 1);
	struct cs_error why = {0};
	cs_status st = schema_parse_text(json ? json : "", (size_t)sqlite3_column_bytes(stmt, 1),
					 &t->schema, &why);

	if (st == CS_ERR_PROTOCOL)
		return cs_fail(err, CS_ERR_DIVERGED, "clinic_sync_table is damaged: %s", why.text);
	if (st == CS_OK)
		st = table_read_local(db, t, err);
	if (st == CS_OK)
		st = has_side_rows(db, "clinic_sync_exact", t->schema->table, &t->has_exact, err);
	if (st == CS_OK)
		st = has_side_rows(db, "clinic_sync_oversize", t->schema->table, &t->has_oversize,
				   err);
	return st;
}

cs_status tables_load(sqlite3 *db, struct table_set *out, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st;
	int rc = SQLITE_DONE;

	out->count = 0;
	out->items = calloc(CACHE_TABLES_MOST, sizeof(struct cached_table *));
	if (!out->items)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	st = store_prepare(db, "SELECT name, schema FROM main.clinic_sync_table ORDER BY name",
			   &stmt, err);
	while (st == CS_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		if (out->count == CACHE_TABLES_MOST) {
			st = cs_fail(err, CS_ERR_STORE, "the file has too many synced tables");
			break;
		}
		out->items[out->count] = calloc(1, sizeof(struct cached_table));
		if (out->items[out->count])
			st = load_one(db, stmt, out->items[out->count++], err);
		else
			st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	}
	if (st == CS_OK && rc != SQLITE_DONE)
		st = store_fail(db, "read clinic_sync_table", err);
	sqlite3_finalize(stmt);
	if (st != CS_OK)
		tables_free(out);
	return st;
}

cs_status table_add_columns(sqlite3 *db, const char *where, const struct schema *schema,
			    struct cs_error *err)
{
	struct dynbuf sql;
	cs_status st = CS_OK;

	dynbuf_init(&sql, CACHE_SQL_BYTES_MOST);
	for (size_t i = 0; i < schema->column_count && st == CS_OK; i++) {
		const struct schema_column *column = &schema->columns[i];

		if (sqlite3_table_column_metadata(db, where, schema->table, column->name, NULL,
						  NULL, NULL, NULL, NULL) == SQLITE_OK)
			continue;
		dynbuf_reset(&sql);
		dynbuf_addf(&sql, "ALTER TABLE %s.", where);
		schema_add_identifier(&sql, schema->table);
		dynbuf_adds(&sql, " ADD COLUMN ");
		schema_add_identifier(&sql, column->name);
		if (dynbuf_addf(&sql, " %s", schema_sqlite_type(column->class)))
			st = store_exec(db, sql.data, err);
		else
			st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	}
	dynbuf_free(&sql);
	return st;
}

cs_status table_create_indexes(sqlite3 *db, const struct schema *schema, struct cs_error *err)
{
	struct dynbuf sql;
	cs_status st = CS_OK;

	dynbuf_init(&sql, CACHE_SQL_BYTES_MOST);
	for (size_t i = 0; i < schema->index_count && st == CS_OK; i++) {
		dynbuf_reset(&sql);
		if (schema_add_create_index(&sql, schema, &schema->indexes[i]))
			st = store_exec(db, sql.data, err);
		else
			st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	}
	dynbuf_free(&sql);
	return st;
}

cs_status table_remember(sqlite3 *db, const struct schema *schema, int64_t rows,
			 struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(db,
				     "INSERT INTO main.clinic_sync_table(name, schema, rows)"
				     " VALUES(?1, ?2, ?3) ON CONFLICT(name) DO UPDATE"
				     " SET schema = excluded.schema,"
				     " rows = coalesce(excluded.rows, rows)",
				     &stmt, err);

	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, schema->table, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, schema->json, -1, SQLITE_STATIC);
	if (rows >= 0)
		sqlite3_bind_int64(stmt, 3, rows);
	if (sqlite3_step(stmt) != SQLITE_DONE)
		st = store_fail(db, "write clinic_sync_table", err);
	sqlite3_finalize(stmt);
	return st;
}
