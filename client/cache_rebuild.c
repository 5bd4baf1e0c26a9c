/*
 * A table of ours is made anew: the server dropped or retyped a column.
 *
 * What the app has added to it must outlive that: its columns with their
 * values, its indexes and triggers.  The values wait in a temporary table
 * under the row's key, and go back when the rows are there again.  With
 * another key there is no such row, and those that had any become orphans; and
 * where the app added what SQLite does not say in parts, nothing is made anew
 * (rebuild_loses()).
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

static cs_status run(struct clinic_cache *c, struct cs_error *err)
{
	if (c->sql.failed)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return store_exec(c->db, c->sql.data, err);
}

static cs_status keep(struct clinic_cache *c, const struct schema *s, const char *names,
		      struct cs_error *err)
{
	struct dynbuf *sql = &c->sql;

	dynbuf_reset(sql);
	dynbuf_adds(sql, "CREATE TABLE temp.clinic_cache_rebuilt AS SELECT ");
	table_add_key_names(sql, s);
	dynbuf_addf(sql, ", %s FROM main.", names);
	schema_add_identifier(sql, s->table);
	dynbuf_adds(sql, "; CREATE INDEX temp.clinic_cache_rebuilt_key ON clinic_cache_rebuilt(");
	table_add_key_names(sql, s);
	dynbuf_adds(sql, ")");
	return run(c, err);
}

cs_status rebuild_restore(struct clinic_cache *c, const struct schema *s, const char *names,
			  struct cs_error *err)
{
	struct dynbuf *sql = &c->sql;

	dynbuf_reset(sql);
	dynbuf_adds(sql, "UPDATE main.");
	schema_add_identifier(sql, s->table);
	dynbuf_addf(sql, " AS t SET (%s) = (SELECT %s FROM temp.clinic_cache_rebuilt AS k WHERE ",
		    names, names);
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < s->key_count; i++) {
			const char *name = s->columns[s->key[i]].name;

			dynbuf_adds(sql, i ? " AND k." : "k.");
			schema_add_identifier(sql, name);
			dynbuf_adds(sql, " = t.");
			schema_add_identifier(sql, name);
		}
		if (pass == 0)
			dynbuf_adds(sql, ") WHERE EXISTS (SELECT 1 FROM temp.clinic_cache_rebuilt "
					 "AS k WHERE ");
	}
	dynbuf_adds(sql, "); DROP TABLE temp.clinic_cache_rebuilt");
	return run(c, err);
}

/* ---- a table made anew -------------------------------------------------------------------- */

/* What of the old table is the app's. */
struct app_parts {
	struct dynbuf names;        /* `"a", "b"`: its columns … */
	struct dynbuf declarations; /* … each as ADD COLUMN wants it, ended by NUL */
	size_t columns;
	struct dynbuf objects; /* its indexes and triggers, each ended by NUL */
	size_t object_count;
};

static void add_declaration(struct clinic_cache *c, struct app_parts *p, const char *table,
			    sqlite3_stmt *stmt)
{
	const char *name = (const char *)sqlite3_column_text(stmt, 0);
	const char *type = (const char *)sqlite3_column_text(stmt, 1);
	const char *dflt = (const char *)sqlite3_column_text(stmt, 3);
	const char *collation = NULL;

	dynbuf_adds(&p->names, p->columns ? ", " : "");
	schema_add_identifier(&p->names, name);
	schema_add_identifier(&p->declarations, name);
	if (type && type[0]) {
		dynbuf_adds(&p->declarations, " ");
		schema_add_identifier(&p->declarations, type);
	}
	if (sqlite3_table_column_metadata(c->db, "main", table, name, NULL, &collation, NULL, NULL,
					  NULL) == SQLITE_OK &&
	    collation)
		dynbuf_addf(&p->declarations, " COLLATE %s", collation);
	/* a new column that must have something needs a default */
	if (dflt)
		dynbuf_addf(&p->declarations, "%s DEFAULT (%s)",
			    sqlite3_column_int(stmt, 2) ? " NOT NULL" : "", dflt);
	dynbuf_add(&p->declarations, "", 1);
	p->columns++;
}

static cs_status read_columns(struct clinic_cache *c, const struct schema *old,
			      const struct schema *new, struct app_parts *p, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	int rc;
	cs_status st = store_prepare(
		c->db,
		"SELECT name, type, \"notnull\", dflt_value FROM pragma_table_info(?1, 'main')",
		&stmt, err);

	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, new->table, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(stmt, 0);

		if (schema_find(new, name) < 0 && (!old || schema_find(old, name) < 0))
			add_declaration(c, p, new->table, stmt);
	}
	if (rc != SQLITE_DONE)
		st = store_fail(c->db, "read a table's columns", err);
	sqlite3_finalize(stmt);
	return st;
}

static bool is_index_of(const struct schema *s, const char *name)
{
	for (size_t i = 0; s && i < s->index_count; i++)
		if (strcmp(s->indexes[i].name, name) == 0)
			return true;
	return false;
}

static cs_status read_objects(struct clinic_cache *c, const struct schema *old,
			      const struct schema *new, struct app_parts *p, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	int rc;
	cs_status st = store_prepare(c->db,
				     "SELECT name, sql FROM main.sqlite_schema"
				     " WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
				     " AND tbl_name = ?1 COLLATE NOCASE ORDER BY type, name",
				     &stmt, err);

	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, new->table, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(stmt, 0);

		if (is_index_of(old, name) || is_index_of(new, name))
			continue;
		dynbuf_adds(&p->objects, (const char *)sqlite3_column_text(stmt, 1));
		dynbuf_add(&p->objects, "", 1);
		p->object_count++;
	}
	if (rc != SQLITE_DONE)
		st = store_fail(c->db, "read a table's indexes", err);
	sqlite3_finalize(stmt);
	return st;
}

static cs_status make_table(struct clinic_cache *c, const struct schema *s,
			    const struct app_parts *p, struct cs_error *err)
{
	const char *declaration = p->declarations.data;
	cs_status st;

	dynbuf_reset(&c->sql);
	dynbuf_adds(&c->sql, "DROP TABLE main.");
	schema_add_identifier(&c->sql, s->table);
	dynbuf_adds(&c->sql, ";");
	schema_add_create_table(&c->sql, s);
	st = run(c, err);
	for (size_t i = 0; i < p->columns && st == CS_OK; i++) {
		dynbuf_reset(&c->sql);
		dynbuf_adds(&c->sql, "ALTER TABLE main.");
		schema_add_identifier(&c->sql, s->table);
		dynbuf_addf(&c->sql, " ADD COLUMN %s", declaration);
		st = run(c, err);
		declaration += strlen(declaration) + 1;
	}
	return st;
}

/* An index of the app's on a column that the server dropped cannot be there any more. */
static void make_objects(struct clinic_cache *c, const struct app_parts *p)
{
	const char *sql = p->objects.data;

	for (size_t i = 0; i < p->object_count; i++) {
		sqlite3_exec(c->db, sql, NULL, NULL, NULL);
		sql += strlen(sql) + 1;
	}
}

static cs_status read_sql(sqlite3_stmt *stmt, char **out, bool *extra, struct cs_error *err)
{
	const char *text;

	*out = NULL;
	*extra = false;
	if (sqlite3_step(stmt) != SQLITE_ROW)
		return CS_OK;
	text = (const char *)sqlite3_column_text(stmt, 0);
	*extra = sqlite3_column_int(stmt, 1) != 0;
	*out = strdup(text ? text : "");
	return *out ? CS_OK : cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

cs_status rebuild_loses(struct clinic_cache *c, const struct schema *s, bool *out,
			struct cs_error *err)
{
	sqlite3_stmt *stmt;
	char *sql = NULL;
	bool restrained = false;
	cs_status st = store_prepare(
		c->db,
		"SELECT sql, EXISTS (SELECT 1 FROM pragma_table_xinfo(?1, 'main')"
		"  WHERE hidden IN (2, 3))"
		" OR EXISTS (SELECT 1 FROM pragma_foreign_key_list(?1, 'main'))"
		" FROM main.sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE",
		&stmt, err);

	*out = false;
	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, s->table, -1, SQLITE_STATIC);
	st = read_sql(stmt, &sql, out, err);
	sqlite3_finalize(stmt);
	if (st == CS_OK && sql)
		st = constraint_find(c->db, s, sql, &restrained, err);
	free(sql);
	*out = *out || restrained;
	return st;
}

cs_status rebuild_table(struct clinic_cache *c, const struct schema *old, const struct schema *new,
			bool same_key, bool *kept, struct cs_error *err)
{
	struct app_parts p = {.columns = 0};
	cs_status st;

	*kept = false;
	dynbuf_init(&p.names, CACHE_SQL_BYTES_MOST);
	dynbuf_init(&p.declarations, CACHE_SQL_BYTES_MOST);
	dynbuf_init(&p.objects, CACHE_SQL_BYTES_MOST);
	st = read_columns(c, old, new, &p, err);
	if (st == CS_OK)
		st = read_objects(c, old, new, &p, err);
	if (st == CS_OK && (p.names.failed || p.declarations.failed || p.objects.failed))
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (st == CS_OK && p.columns && same_key) {
		st = keep(c, new, p.names.data, err);
		*kept = st == CS_OK;
	} else if (st == CS_OK && p.columns) {
		st = adopt_keep_values(c, old ? old : new, p.names.data, err);
	}
	if (st == CS_OK)
		st = make_table(c, new, &p, err);
	if (st == CS_OK)
		make_objects(c, &p);
	dynbuf_free(&p.names);
	dynbuf_free(&p.declarations);
	dynbuf_free(&p.objects);
	return st;
}
