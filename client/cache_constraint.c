/*
 * Can a table of ours refuse rows of the server's?
 *
 * As we made it, never.  With a UNIQUE or a CHECK that an app added to it, it
 * can; then it is the app's in this, and what it refuses is parked.  Taken for
 * one of ours it would be damaged with each such row, and no snapshot could
 * ever put it right.  A NOT NULL cannot be added without a default, foreign
 * keys and triggers are not in force on our connection.
 */
#include "cache_internal.h"

#include <string.h>

/* Behind the quoted name, text or comment that sql begins with; sql itself if it is none. */
static const char *skip_quoted(const char *sql)
{
	static const char open[] = "'\"`[";
	static const char close[] = "'\"`]";
	const char *quote = strchr(open, *sql);
	const char *end = NULL;

	/* a quote in a quoted name is doubled, so it is read as two names: just as well */
	if (*sql && quote)
		end = strchr(sql + 1, close[quote - open]);
	else if (strncmp(sql, "--", 2) == 0)
		end = strchr(sql, '\n');
	else if (strncmp(sql, "/*", 2) == 0 && (end = strstr(sql + 2, "*/")) != NULL)
		end++;
	else
		return sql;
	return end ? end + 1 : sql + strlen(sql);
}

static bool is_word(char c)
{
	return strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$", c) && c;
}

/* Has a CREATE TABLE a CHECK? Ours have none. */
static bool has_check(const char *sql)
{
	while (*sql) {
		const char *rest = skip_quoted(sql);
		size_t len = 0;

		if (rest != sql) {
			sql = rest;
			continue;
		}
		while (is_word(sql[len]))
			len++;
		if (len == 5 && sqlite3_strnicmp(sql, "check", 5) == 0)
			return true;
		sql += len ? len : 1;
	}
	return false;
}

static bool is_unique_of(const struct schema *s, const char *index)
{
	for (size_t i = 0; i < s->index_count; i++)
		if (s->indexes[i].unique && sqlite3_stricmp(s->indexes[i].name, index) == 0)
			return true;
	return false;
}

cs_status constraint_find(sqlite3 *db, const struct schema *s, const char *sql, bool *out,
			  struct cs_error *err)
{
	sqlite3_stmt *stmt;
	int rc;
	cs_status st = store_prepare(db,
				     "SELECT name FROM pragma_index_list(?1, 'main')"
				     " WHERE \"unique\" AND origin <> 'pk'",
				     &stmt, err);

	*out = has_check(sql);
	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, s->table, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		if (!is_unique_of(s, (const char *)sqlite3_column_text(stmt, 0)))
			*out = true;
	if (rc != SQLITE_DONE)
		st = store_fail(db, "read a table's indexes", err);
	sqlite3_finalize(stmt);
	return st;
}
