/*
 * Prepared statements, one per table, kind and set of columns, the least
 * recently used one replaced.  Preparing costs more than a row's change, and
 * updates name few sets of columns.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

static bool fits(const struct statement *s, const struct cached_table *t, statement_kind kind,
		 bool temp, const uint16_t *columns, size_t column_count)
{
	return s->stmt && s->table == t && s->kind == kind && s->temp == temp &&
	       s->column_count == column_count &&
	       (column_count == 0 ||
		memcmp(s->columns, columns, column_count * sizeof(*columns)) == 0);
}

static void forget(struct statement *s)
{
	sqlite3_finalize(s->stmt);
	free(s->columns);
	memset(s, 0, sizeof(*s));
}

void statements_clear(struct clinic_cache *c)
{
	for (size_t i = 0; i < CACHE_STATEMENTS_MOST; i++)
		forget(&c->statements[i]);
}

static void add_table(struct dynbuf *b, const struct cached_table *t, bool temp)
{
	const char *where = temp ? "temp" : "main";
	char name[TABLE_NAME_BYTES];

	dynbuf_addf(b, "%s.", where);
	schema_add_identifier(b, table_name_in(where, t->schema->table, name));
}

/* OR ABORT: an app's constraint may say REPLACE or IGNORE, and other rows would go unseen. */
static void add_insert(struct dynbuf *b, const struct cached_table *t, bool temp,
		       const uint16_t *columns, size_t column_count)
{
	size_t delivered = t->schema->column_count;

	dynbuf_adds(b, "INSERT OR ABORT INTO ");
	add_table(b, t, temp);
	for (size_t i = 0; i < column_count; i++) {
		dynbuf_adds(b, i ? ", " : "(");
		schema_add_identifier(b, columns[i] < delivered
						 ? t->schema->columns[columns[i]].name
						 : t->extra[columns[i] - delivered].name);
	}
	extra_add_fills(b, t, columns, column_count, true);
	for (size_t i = 0; i < column_count; i++)
		dynbuf_addf(b, "%s?%zu", i ? ", " : ") VALUES(", i + 1);
	extra_add_fills(b, t, columns, column_count, false);
	dynbuf_adds(b, ")");
}

static void add_upsert(struct dynbuf *b, const struct cached_table *t, bool temp,
		       const uint16_t *columns, size_t column_count)
{
	const struct schema *s = t->schema;
	bool set_any = false;

	add_insert(b, t, temp, columns, column_count);
	dynbuf_adds(b, " ON CONFLICT(");
	table_add_key_names(b, s);
	dynbuf_adds(b, ") DO ");
	for (size_t i = 0; i < column_count; i++) {
		const struct schema_column *column = &s->columns[columns[i]];

		if (column->key_position >= 0)
			continue;
		dynbuf_adds(b, set_any ? ", " : "UPDATE SET ");
		schema_add_identifier(b, column->name);
		dynbuf_adds(b, " = excluded.");
		schema_add_identifier(b, column->name);
		set_any = true;
	}
	if (!set_any)
		dynbuf_adds(b, "NOTHING");
}

static void add_sql(struct dynbuf *b, const struct cached_table *t, statement_kind kind, bool temp,
		    const uint16_t *columns, size_t column_count)
{
	switch (kind) {
	case STATEMENT_UPSERT:
		add_upsert(b, t, temp, columns, column_count);
		return;
	case STATEMENT_INSERT:
		add_insert(b, t, temp, columns, column_count);
		return;
	case STATEMENT_UPDATE:
		dynbuf_adds(b, "UPDATE OR ABORT ");
		add_table(b, t, temp);
		for (size_t i = 0; i < column_count; i++) {
			dynbuf_adds(b, i ? ", " : " SET ");
			schema_add_identifier(b, t->schema->columns[columns[i]].name);
			dynbuf_addf(b, " = ?%zu", i + 1);
		}
		break;
	case STATEMENT_DELETE:
		dynbuf_adds(b, "DELETE FROM ");
		add_table(b, t, temp);
		break;
	case STATEMENT_PULL:
		dynbuf_adds(b, "INSERT INTO ");
		add_table(b, t, true);
		dynbuf_addf(b, "(%s) SELECT %s FROM ", t->local_names, t->local_names);
		add_table(b, t, false);
		break;
	}
	dynbuf_adds(b, " WHERE ");
	table_add_key_condition(b, t, column_count + 1);
}

static struct statement *least_used(struct clinic_cache *c)
{
	struct statement *oldest = &c->statements[0];

	for (size_t i = 1; i < CACHE_STATEMENTS_MOST; i++)
		if (c->statements[i].used_at < oldest->used_at)
			oldest = &c->statements[i];
	return oldest;
}

static cs_status prepare(struct clinic_cache *c, struct statement *s, struct cs_error *err)
{
	dynbuf_reset(&c->sql);
	add_sql(&c->sql, s->table, s->kind, s->temp, s->columns, s->column_count);
	if (c->sql.failed)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (sqlite3_prepare_v3(c->db, c->sql.data, (int)c->sql.len + 1, SQLITE_PREPARE_PERSISTENT,
			       &s->stmt, NULL) != SQLITE_OK)
		return store_fail(c->db, "prepare a change", err);
	return CS_OK;
}

cs_status statement_get(struct clinic_cache *c, const struct cached_table *t, statement_kind kind,
			bool temp, const uint16_t *columns, size_t column_count, sqlite3_stmt **out,
			struct cs_error *err)
{
	struct statement *s;
	cs_status st;

	*out = NULL;
	for (size_t i = 0; i < CACHE_STATEMENTS_MOST; i++) {
		s = &c->statements[i];
		if (fits(s, t, kind, temp, columns, column_count)) {
			s->used_at = ++c->statement_clock;
			*out = s->stmt;
			return CS_OK;
		}
	}
	s = least_used(c);
	forget(s);
	s->columns = malloc((column_count + 1) * sizeof(*columns));
	if (!s->columns)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (column_count)
		memcpy(s->columns, columns, column_count * sizeof(*columns));
	s->column_count = column_count;
	s->table = t;
	s->kind = kind;
	s->temp = temp;
	st = prepare(c, s, err);
	if (st != CS_OK) {
		forget(s);
		return st;
	}
	s->used_at = ++c->statement_clock;
	*out = s->stmt;
	return CS_OK;
}
