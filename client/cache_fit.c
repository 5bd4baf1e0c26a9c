/*
 * Can the server's rows go into the app's own tables at all?
 *
 * What no second try would change is found before anything is fetched or
 * copied where that can be, and says what it is: the program ends instead of
 * fetching one snapshot after the other.  A table must be a plain one in which
 * a key of the server's has one row at most; and since an index or a constraint
 * may call what only the app's own program has, each way of writing to it must
 * at least compile.  Triggers need not: they do not run on our connection.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- the file ----------------------------------------------------------------------------- */

cs_status fit_check_file(sqlite3 *db, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	bool is_utf8 = true;
	cs_status st = store_prepare(db, "PRAGMA main.encoding", &stmt, err);

	if (st != CS_OK)
		return st;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		is_utf8 = strcmp((const char *)sqlite3_column_text(stmt, 0), "UTF-8") == 0;
	else
		st = store_fail(db, "read the file's encoding", err);
	sqlite3_finalize(stmt);
	if (st == CS_OK && !is_utf8)
		st = cs_fail(err, CS_ERR_CONFIG,
			     "the file's texts are UTF-16, and SQLite joins no such file with the "
			     "server's rows: have the app make one in UTF-8, SQLite's own choice");
	return st;
}

/* ---- one row for each key ----------------------------------------------------------------- */

static cs_status key_json(const struct schema *s, struct dynbuf *out, struct cs_error *err)
{
	for (size_t i = 0; i < s->key_count; i++) {
		const char *name = s->columns[s->key[i]].name;

		dynbuf_adds(out, i ? "," : "[");
		dynbuf_add_json(out, name, strlen(name));
	}
	return dynbuf_adds(out, "]") ? CS_OK : cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

/* One integer out of sql with the table as ?1, the key's names as ?2, their number as ?3. */
static cs_status ask(sqlite3 *db, const char *sql, const struct schema *s, const char *key,
		     int64_t *out, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(db, sql, &stmt, err);

	*out = 0;
	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, s->table, -1, SQLITE_STATIC);
	if (sqlite3_bind_parameter_count(stmt) > 1) {
		sqlite3_bind_text(stmt, 2, key, -1, SQLITE_STATIC);
		sqlite3_bind_int64(stmt, 3, (sqlite3_int64)s->key_count);
	}
	if (sqlite3_step(stmt) == SQLITE_ROW)
		*out = sqlite3_column_int64(stmt, 0);
	else
		st = store_fail(db, "read a table's columns", err);
	sqlite3_finalize(stmt);
	return st;
}

#define KEY_NAMES "(SELECT value FROM json_each(?2))"

static cs_status check_with_key(sqlite3 *db, const struct schema *s, const char *key,
				struct cs_error *err)
{
	int64_t plain;
	int64_t columns;
	int64_t unique = 0;
	cs_status st = ask(db,
			   "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table'"
			   " AND name = ?1 COLLATE NOCASE AND sql NOT LIKE 'CREATE VIRTUAL%'",
			   s, NULL, &plain, err);

	if (st == CS_OK && !plain)
		return cs_fail(err, CS_ERR_CONFIG,
			       "%s is no plain table in the file, so rows of the server's table of "
			       "that name cannot be kept in it",
			       s->table);
	if (st == CS_OK)
		st = ask(db,
			 "SELECT count(*) = ?3 FROM pragma_table_info(?1, 'main')"
			 " WHERE name COLLATE NOCASE IN " KEY_NAMES,
			 s, key, &columns, err);
	if (st == CS_OK && !columns)
		return cs_fail(err, CS_ERR_CONFIG,
			       "table %s of the file lacks a column of the server's key %s",
			       s->table, key);
	if (st == CS_OK)
		st = ask(db,
			 "SELECT (SELECT count(*) = ?3 AND min(name COLLATE NOCASE IN " KEY_NAMES
			 ")"
			 "  FROM pragma_table_info(?1, 'main') WHERE pk > 0)"
			 " OR EXISTS (SELECT 1 FROM pragma_index_list(?1, 'main') AS l"
			 "  WHERE l.\"unique\" AND NOT l.partial AND"
			 "  (SELECT count(*) = ?3 AND min(ifnull(name, '') COLLATE NOCASE "
			 "IN " KEY_NAMES ")"
			 "   FROM pragma_index_info(l.name, 'main')))",
			 s, key, &unique, err);
	if (st == CS_OK && !unique)
		return cs_fail(err, CS_ERR_CONFIG,
			       "table %s of the file may hold several rows of one key: the "
			       "server's key %s is neither its primary key nor unique",
			       s->table, key);
	return st;
}

cs_status adopt_check(sqlite3 *db, const struct schema *s, struct cs_error *err)
{
	struct dynbuf key;
	cs_status st;

	dynbuf_init(&key, CACHE_SQL_BYTES_MOST);
	st = key_json(s, &key, err);
	if (st == CS_OK)
		st = check_with_key(db, s, key.data, err);
	dynbuf_free(&key);
	return st;
}

/* ---- every statement compiles ------------------------------------------------------------- */

/* `UPDATE main."t" SET "a" = "a", …` of all that can be set: whatever hangs on a column. */
static cs_status add_update(sqlite3 *db, const char *table, struct dynbuf *sql,
			    struct cs_error *err)
{
	sqlite3_stmt *stmt;
	bool any = false;
	int rc;
	cs_status st =
		store_prepare(db, "SELECT name FROM pragma_table_info(?1, 'main')", &stmt, err);

	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
	dynbuf_adds(sql, "UPDATE main.");
	schema_add_identifier(sql, table);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(stmt, 0);

		dynbuf_adds(sql, any ? ", " : " SET ");
		schema_add_identifier(sql, name);
		dynbuf_adds(sql, " = ");
		schema_add_identifier(sql, name);
		any = true;
	}
	if (rc != SQLITE_DONE)
		st = store_fail(db, "read a table's columns", err);
	sqlite3_finalize(stmt);
	return st;
}

static cs_status compiles(sqlite3 *db, const char *table, struct dynbuf *sql, struct cs_error *err)
{
	sqlite3_stmt *stmt = NULL;
	int rc;

	if (sql->failed)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	rc = sqlite3_prepare_v2(db, sql->data, -1, &stmt, NULL);
	sqlite3_finalize(stmt);
	/* somebody's lock, say, is another time's matter */
	if ((rc & 0xff) != SQLITE_ERROR)
		return rc == SQLITE_OK ? CS_OK : store_fail(db, "read a table's schema", err);
	return cs_fail(err, CS_ERR_CONFIG,
		       "nothing can be written to table %s of the file without what only its app "
		       "has (%s); sync it inside the app, with clinic_cache.so, or drop the index "
		       "or constraint that needs it",
		       table, sqlite3_errmsg(db));
}

static cs_status check_writes(sqlite3 *db, const char *table, struct cs_error *err)
{
	static const char *const others[][2] = {
		{"DELETE FROM main.", ""},
		{"INSERT INTO main.", " DEFAULT VALUES"},
	};
	struct dynbuf sql;
	cs_status st;

	dynbuf_init(&sql, CACHE_SQL_BYTES_MOST);
	st = add_update(db, table, &sql, err);
	if (st == CS_OK)
		st = compiles(db, table, &sql, err);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]) && st == CS_OK; i++) {
		dynbuf_reset(&sql);
		dynbuf_adds(&sql, others[i][0]);
		schema_add_identifier(&sql, table);
		dynbuf_adds(&sql, others[i][1]);
		st = compiles(db, table, &sql, err);
	}
	dynbuf_free(&sql);
	return st;
}

cs_status fit_check_tables(struct clinic_cache *c, struct cs_error *err)
{
	char **names = NULL;
	size_t count = 0;
	cs_status st = adopt_list_both(c, &names, &count, err);

	for (size_t i = 0; i < count && st == CS_OK; i++)
		st = check_writes(c->db, names[i], err);
	names_free(names, count);
	return st;
}
