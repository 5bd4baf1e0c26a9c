/*
 * The synced tables of a file: what the server says of them (clinic_sync_table)
 * and what the file has (its own columns, which an app may have added to).
 */
#include "cache_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void table_free(struct cached_table *t)
{
	if (!t)
		return;
	schema_free(t->schema);
	free(t->local);
	free(t->retry_after);
	free(t->local_names);
	free(t->local_declarations);
	free(t->extra_names);
	extra_free(t);
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

void table_add_key_names(struct dynbuf *b, const struct schema *s)
{
	for (size_t i = 0; i < s->key_count; i++) {
		dynbuf_adds(b, i ? ", " : "");
		schema_add_identifier(b, s->columns[s->key[i]].name);
	}
}

/* A collated column finds its row by its index, and byte by byte that it is the right one. */
void table_add_key_condition(struct dynbuf *b, const struct cached_table *t, size_t first_parameter)
{
	const struct schema *s = t->schema;

	for (size_t i = 0; i < s->key_count; i++) {
		dynbuf_adds(b, i ? " AND " : "");
		schema_add_identifier(b, s->columns[s->key[i]].name);
		dynbuf_addf(b, " = ?%zu", first_parameter + i);
		if (!t->local[s->key[i]].collated)
			continue;
		dynbuf_adds(b, " AND ");
		schema_add_identifier(b, s->columns[s->key[i]].name);
		dynbuf_addf(b, " = ?%zu COLLATE BINARY", first_parameter + i);
	}
}

static void add_match(struct dynbuf *b, const char *name, const char *left, const char *right)
{
	dynbuf_addf(b, "%s.", left);
	schema_add_identifier(b, name);
	dynbuf_addf(b, " = %s.", right);
	schema_add_identifier(b, name);
}

void table_add_key_match(struct dynbuf *b, const struct cached_table *t, const char *left,
			 const char *right)
{
	const struct schema *s = t->schema;

	for (size_t i = 0; i < s->key_count; i++) {
		dynbuf_adds(b, i ? " AND " : "");
		add_match(b, s->columns[s->key[i]].name, left, right);
		if (!t->local[s->key[i]].collated)
			continue;
		dynbuf_adds(b, " AND ");
		add_match(b, s->columns[s->key[i]].name, left, right);
		dynbuf_adds(b, " COLLATE BINARY");
	}
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

/* The adopted tables of a file; none where it does not say. */
struct adopted {
	char **names;
	size_t count;
};

static cs_status load_one(sqlite3 *db, sqlite3_stmt *stmt, const struct adopted *adopted,
			  struct cached_table *t, struct cs_error *err)
{
	const char *json = (const char *)sqlite3_column_text(stmt, 1);
	struct cs_error why = {0};
	cs_status st = schema_parse_text(json ? json : "", (size_t)sqlite3_column_bytes(stmt, 1),
					 &t->schema, &why);

	if (st == CS_ERR_PROTOCOL)
		return cs_fail(err, CS_ERR_DIVERGED, "clinic_sync_table is damaged: %s", why.text);
	if (st == CS_OK) {
		t->adopted = names_have(adopted->names, adopted->count, t->schema->table);
		st = table_read_local(db, t, err);
	}
	if (st == CS_OK && t->adopted && store_table_exists(db, "main", "clinic_cache_parked"))
		st = has_side_rows(db, "clinic_cache_parked", t->schema->table, &t->has_parked,
				   err);
	/* whatever refused them may be gone since */
	t->retry_all = t->has_parked;
	if (st == CS_OK)
		st = has_side_rows(db, "clinic_sync_exact", t->schema->table, &t->has_exact, err);
	if (st == CS_OK)
		st = has_side_rows(db, "clinic_sync_oversize", t->schema->table, &t->has_oversize,
				   err);
	return st;
}

static cs_status load_all(sqlite3 *db, const struct adopted *adopted, struct table_set *out,
			  struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(
		db, "SELECT name, schema FROM main.clinic_sync_table ORDER BY name", &stmt, err);
	int rc = SQLITE_DONE;

	while (st == CS_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		if (out->count == CACHE_TABLES_MOST) {
			st = cs_fail(err, CS_ERR_STORE, "the file has too many synced tables");
			break;
		}
		out->items[out->count] = calloc(1, sizeof(struct cached_table));
		if (out->items[out->count])
			st = load_one(db, stmt, adopted, out->items[out->count++], err);
		else
			st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	}
	if (st == CS_OK && rc != SQLITE_DONE)
		st = store_fail(db, "read clinic_sync_table", err);
	sqlite3_finalize(stmt);
	return st;
}

cs_status tables_load(sqlite3 *db, struct table_set *out, struct cs_error *err)
{
	struct adopted adopted = {0};
	cs_status st;

	out->count = 0;
	out->items = calloc(CACHE_TABLES_MOST, sizeof(struct cached_table *));
	if (!out->items)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	st = meta_get_names(db, "adopted", &adopted.names, &adopted.count, err);
	if (st == CS_OK)
		st = load_all(db, &adopted, out, err);
	names_free(adopted.names, adopted.count);
	if (st != CS_OK)
		tables_free(out);
	return st;
}

const char *table_name_in(const char *where, const char *table, char out[TABLE_NAME_BYTES])
{
	snprintf(out, TABLE_NAME_BYTES, "%s%s", strcmp(where, "temp") == 0 ? "clinic_twin_" : "",
		 table);
	return out;
}

static cs_status add_column(sqlite3 *db, const char *where, const char *table,
			    const struct schema_column *column, struct cs_error *err)
{
	struct dynbuf sql;
	cs_status st;

	dynbuf_init(&sql, CACHE_SQL_BYTES_MOST);
	dynbuf_addf(&sql, "ALTER TABLE %s.", where);
	schema_add_identifier(&sql, table);
	dynbuf_adds(&sql, " ADD COLUMN ");
	schema_add_identifier(&sql, column->name);
	if (dynbuf_addf(&sql, " %s", schema_sqlite_type(column->class)))
		st = store_exec(db, sql.data, err);
	else
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	dynbuf_free(&sql);
	return st;
}

cs_status table_add_columns(sqlite3 *db, const char *where, const struct schema *schema,
			    struct cs_error *err)
{
	char buffer[TABLE_NAME_BYTES];
	const char *table = table_name_in(where, schema->table, buffer);
	cs_status st = CS_OK;

	for (size_t i = 0; i < schema->column_count && st == CS_OK; i++) {
		const struct schema_column *column = &schema->columns[i];

		if (sqlite3_table_column_metadata(db, where, table, column->name, NULL, NULL, NULL,
						  NULL, NULL) != SQLITE_OK)
			st = add_column(db, where, table, column, err);
	}
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
