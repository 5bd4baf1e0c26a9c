/*
 * One change, one row.
 *
 * Rows are written by UPDATE or INSERT … ON CONFLICT(key) DO UPDATE of the
 * delivered columns only: what an app added to a table stays, and no other
 * row is replaced.  Two rows may swap a unique value inside a frame, and
 * SQLite checks UNIQUE at every step; then the frame starts again in the slow
 * form: every touched row is moved out into a temporary twin of its table
 * without unique indexes, changed there, and put back at the end.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

/* One change on its way into the file. */
struct applying {
	struct clinic_cache *c;
	struct cached_table *t;
	const struct wire_change *change;
	bool slow;
	bool *unique;
	uint16_t *columns;                /* delivered columns in the order of data … */
	const struct wire_value **values; /* … and their values */
	size_t column_count;
	struct cs_error *err;
};

static cs_status diverged(struct applying *a, const char *what)
{
	return cs_fail(a->err, CS_ERR_DIVERGED, "table %s: %s", a->t->schema->table, what);
}

static cs_status step(struct applying *a, sqlite3_stmt *stmt, int *changed)
{
	int rc = store_step(stmt);
	cs_status st = CS_OK;

	if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY ||
	    rc == SQLITE_CONSTRAINT_ROWID) {
		*a->unique = true;
		st = CS_AGAIN;
	} else if (rc != SQLITE_DONE) {
		st = store_fail(a->c->db, "apply a change", a->err);
	}
	if (changed)
		*changed = sqlite3_changes(a->c->db);
	sqlite3_reset(stmt);
	return st;
}

/* Run a statement whose only parameters are the key. */
static cs_status run_by_key(struct applying *a, statement_kind kind, bool temp, int *changed)
{
	sqlite3_stmt *stmt;
	cs_status st = statement_get(a->c, a->t, kind, temp, NULL, 0, &stmt, a->err);

	if (st == CS_OK)
		st = bind_key(stmt, 1, a->t->schema, &a->change->key, &a->c->scratch, a->err);
	return st == CS_OK ? step(a, stmt, changed) : st;
}

/* Slow form: from now on the row lives in the twin. */
static cs_status pull_row(struct applying *a)
{
	cs_status st = CS_OK;

	if (!a->slow)
		return CS_OK;
	if (!a->t->moved)
		st = slow_move_table(a->c, a->t, a->err);
	if (st == CS_OK)
		st = run_by_key(a, STATEMENT_PULL, false, NULL);
	return st == CS_OK ? run_by_key(a, STATEMENT_DELETE, false, NULL) : st;
}

static cs_status name_key(struct applying *a)
{
	return key_text(a->t->schema, &a->change->key, &a->c->key, a->err);
}

/* Columns come in the server's order, so the next one is the first guess. */
static int find_column(const struct schema *s, const struct wire_field *field, size_t guess)
{
	for (size_t i = 0; i < s->column_count; i++) {
		size_t at = (guess + i) % s->column_count;

		if (wire_is(field->name, field->name_len, s->columns[at].name))
			return (int)at;
	}
	return -1;
}

static bool is_taken(const struct applying *a, int column)
{
	for (size_t i = 0; i < a->column_count; i++)
		if (a->columns[i] == column)
			return true;
	return false;
}

/* Take data apart; with_key: an insert, which must bring every column. */
static cs_status take_columns(struct applying *a, bool with_key)
{
	const struct schema *s = a->t->schema;
	const struct wire_object *data = &a->change->data;
	size_t at = 0;

	if (!data->there)
		return cs_fail(a->err, CS_ERR_PROTOCOL, "table %s: a change has no data", s->table);
	a->column_count = 0;
	for (size_t i = 0; i < data->count; i++) {
		const struct wire_field *field = &data->fields[i];
		int found = find_column(s, field, at);

		if (found < 0)
			return diverged(a, "a change names a column that the cache does not know");
		if (!with_key && s->columns[found].key_position >= 0)
			continue;
		if ((size_t)found < at && is_taken(a, found))
			return cs_fail(a->err, CS_ERR_PROTOCOL,
				       "table %s: a change names a column twice", s->table);
		if ((size_t)found >= at)
			at = (size_t)found + 1;
		a->columns[a->column_count] = (uint16_t)found;
		a->values[a->column_count] = &field->value;
		a->column_count++;
	}
	if (with_key && a->column_count != s->column_count)
		return diverged(a, "a new row lacks a column");
	return CS_OK;
}

/* Bind the columns; note which of them need their text kept beside. */
static cs_status bind_columns(struct applying *a, sqlite3_stmt *stmt, bool *all_exact)
{
	*all_exact = true;
	for (size_t i = 0; i < a->column_count; i++) {
		bool exact;
		cs_status st = bind_value(stmt, (int)i + 1, &a->t->schema->columns[a->columns[i]],
					  a->values[i], &a->c->scratch, &exact, a->err);

		if (st != CS_OK)
			return st;
		if (exact)
			a->values[i] = NULL; /* nothing to keep */
		*all_exact = *all_exact && exact;
	}
	return CS_OK;
}

static cs_status keep_text(struct applying *a, const char *column, const struct wire_value *value)
{
	dynbuf_reset(&a->c->scratch);
	if (!dynbuf_add(&a->c->scratch, value->text, value->len))
		return cs_fail(a->err, CS_ERR_NOMEM, "out of memory");
	return side_keep_exact(a->c, a->t, a->c->key.data, column, a->c->scratch.data, a->err);
}

/* After bind_columns(): what is left in values is not exact. */
static cs_status keep_exact(struct applying *a, bool forget_first)
{
	for (size_t i = 0; i < a->column_count; i++) {
		const char *column = a->t->schema->columns[a->columns[i]].name;
		cs_status st = CS_OK;

		if (a->values[i])
			st = keep_text(a, column, a->values[i]);
		else if (forget_first)
			st = side_forget_exact(a->c, a->t, a->c->key.data, column, a->err);
		if (st != CS_OK)
			return st;
	}
	return CS_OK;
}

static cs_status apply_row(struct applying *a)
{
	sqlite3_stmt *stmt;
	bool all_exact = true;
	cs_status st = take_columns(a, true);

	if (st == CS_OK)
		st = pull_row(a);
	if (st == CS_OK)
		st = statement_get(a->c, a->t, STATEMENT_UPSERT, a->slow, a->columns,
				   a->column_count, &stmt, a->err);
	if (st == CS_OK)
		st = bind_columns(a, stmt, &all_exact);
	if (st == CS_OK)
		st = step(a, stmt, NULL);
	if (st != CS_OK || (all_exact && !a->t->has_exact && !a->t->has_oversize))
		return st;
	st = name_key(a);
	if (st == CS_OK)
		st = side_forget_row(a->c, a->t, a->c->key.data, a->err);
	return st == CS_OK ? keep_exact(a, false) : st;
}

/* The row is not there: that is right only for one that is not held. */
static cs_status must_be_oversize(struct applying *a)
{
	bool oversize = false;
	cs_status st = name_key(a);

	if (st == CS_OK)
		st = side_is_oversize(a->c, a->t, a->c->key.data, &oversize, a->err);
	if (st == CS_OK && !oversize)
		return diverged(a, "a change is for a row that should be in the cache and is not");
	return st;
}

static cs_status apply_update(struct applying *a)
{
	sqlite3_stmt *stmt;
	bool all_exact = true;
	int changed = 0;
	cs_status st = take_columns(a, false);

	if (st == CS_OK)
		st = pull_row(a);
	if (st != CS_OK || a->column_count == 0)
		return st;
	st = statement_get(a->c, a->t, STATEMENT_UPDATE, a->slow, a->columns, a->column_count,
			   &stmt, a->err);
	if (st == CS_OK)
		st = bind_columns(a, stmt, &all_exact);
	if (st == CS_OK)
		st = bind_key(stmt, (int)a->column_count + 1, a->t->schema, &a->change->key,
			      &a->c->scratch, a->err);
	if (st == CS_OK)
		st = step(a, stmt, &changed);
	if (st == CS_OK && changed == 0)
		return must_be_oversize(a);
	if (st != CS_OK || (all_exact && !a->t->has_exact))
		return st;
	st = name_key(a);
	return st == CS_OK ? keep_exact(a, true) : st;
}

/* Remove the row if it is there, and what the side tables say of it. */
static cs_status remove_row(struct applying *a, int *changed)
{
	cs_status st = pull_row(a);

	if (st == CS_OK)
		st = run_by_key(a, STATEMENT_DELETE, a->slow, changed);
	if (st != CS_OK || (!a->t->has_exact && !a->t->has_oversize))
		return st;
	return name_key(a);
}

static cs_status forget_row(struct applying *a)
{
	if (!a->t->has_exact && !a->t->has_oversize)
		return CS_OK;
	return side_forget_row(a->c, a->t, a->c->key.data, a->err);
}

static cs_status apply_delete(struct applying *a)
{
	int changed = 0;
	cs_status st = remove_row(a, &changed);

	if (st == CS_OK && changed == 0)
		st = must_be_oversize(a);
	return st == CS_OK ? forget_row(a) : st;
}

static cs_status apply_put(struct applying *a)
{
	cs_status st;

	if (!a->change->data_is_null)
		return apply_row(a);
	st = remove_row(a, NULL);
	return st == CS_OK ? forget_row(a) : st;
}

static cs_status apply_oversize(struct applying *a)
{
	cs_status st = remove_row(a, NULL);

	if (st == CS_OK)
		st = forget_row(a);
	if (st == CS_OK)
		st = name_key(a);
	return st == CS_OK ? side_keep_oversize(a->c, a->t, a->c->key.data, a->err) : st;
}

static cs_status empty_table(struct applying *a, const char *where)
{
	struct dynbuf *sql = &a->c->sql;

	dynbuf_reset(sql);
	dynbuf_addf(sql, "DELETE FROM %s.", where);
	if (!schema_add_identifier(sql, a->t->schema->table))
		return cs_fail(a->err, CS_ERR_NOMEM, "out of memory");
	return store_exec(a->c->db, sql->data, a->err);
}

static cs_status apply_truncate(struct applying *a)
{
	cs_status st = empty_table(a, "main");

	if (st == CS_OK && a->t->moved)
		st = empty_table(a, "temp");
	return st == CS_OK ? side_forget_table(a->c, a->t, a->err) : st;
}

static cs_status apply_schema(struct applying *a)
{
	struct schema *s = NULL;
	const struct wire_object *data = &a->change->data;
	cs_status st = schema_parse_text(data->json, data->json_len, &s, a->err);

	if (st == CS_OK && strcmp(s->table, a->t->schema->table) != 0)
		st = cs_fail(a->err, CS_ERR_PROTOCOL, "a schema change names another table");
	if (st == CS_OK)
		st = table_add_columns(a->c->db, "main", s, a->err);
	if (st == CS_OK && a->t->moved)
		st = table_add_columns(a->c->db, "temp", s, a->err);
	if (st == CS_OK)
		st = table_remember(a->c->db, s, -1, a->err);
	if (st != CS_OK) {
		schema_free(s);
		return st;
	}
	/* its statements were made for the old columns */
	statements_clear(a->c);
	schema_free(a->t->schema);
	a->t->schema = s;
	a->t->indexes_due = true;
	return table_read_local(a->c->db, a->t, a->err);
}

static const struct {
	const char *name;
	cs_status (*apply)(struct applying *a);
	bool keyed;
} operations[] = {
	{"insert", apply_row, true},         {"update", apply_update, true},
	{"delete", apply_delete, true},      {"put", apply_put, true},
	{"truncate", apply_truncate, false}, {"oversize", apply_oversize, true},
	{"schema", apply_schema, false},
};

/* Room for the columns of the widest row; a schema change may make it wider. */
static cs_status run_operation(struct applying *a, cs_status (*apply)(struct applying *))
{
	size_t most = a->t->schema->column_count;
	cs_status st;

	a->columns = malloc(most * sizeof(*a->columns));
	a->values = malloc(most * sizeof(a->values[0]));
	if (a->columns && a->values)
		st = apply(a);
	else
		st = cs_fail(a->err, CS_ERR_NOMEM, "out of memory");
	free(a->columns);
	free(a->values);
	return st;
}

cs_status apply_change(struct clinic_cache *c, const struct wire_change *change, bool slow,
		       bool *unique, struct cs_error *err)
{
	const struct wire_value *operation = &change->operation;
	struct applying a = {
		.c = c,
		.change = change,
		.slow = slow,
		.unique = unique,
		.err = err,
	};

	if (change->table.form != WIRE_STRING || operation->form != WIRE_STRING)
		return cs_fail(err, CS_ERR_PROTOCOL, "a change has no table or no operation");
	a.t = tables_find(&c->tables, change->table.text, change->table.len);
	if (!a.t)
		return cs_fail(err, CS_ERR_DIVERGED,
			       "a change is for a table that is not in the cache");
	a.t->touched = true;
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		if (!wire_is(operation->text, operation->len, operations[i].name))
			continue;
		if (operations[i].keyed && !change->key.there)
			return cs_fail(err, CS_ERR_PROTOCOL, "table %s: a change has no key",
				       a.t->schema->table);
		return run_operation(&a, operations[i].apply);
	}
	/* applying the rest without it would leave the cache at no batch at all */
	return cs_fail(err, CS_ERR_PROTOCOL, "an operation is not recognized");
}
