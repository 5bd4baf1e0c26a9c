/*
 * Rows of changes into their tables: which columns, bound how, by which
 * statement.
 */
#include "cache_apply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Does the code say that the row does not suit the table? */
static bool is_refusal(int rc)
{
	switch (rc) {
	case SQLITE_CONSTRAINT_UNIQUE:
	case SQLITE_CONSTRAINT_PRIMARYKEY:
	case SQLITE_CONSTRAINT_ROWID:
	case SQLITE_CONSTRAINT_CHECK:
	case SQLITE_CONSTRAINT_NOTNULL:
	case SQLITE_CONSTRAINT_DATATYPE:
	case SQLITE_MISMATCH: /* an INTEGER PRIMARY KEY that is to hold a text */
		return true;
	default:
		return false;
	}
}

cs_status put_step(struct applying *a, sqlite3_stmt *stmt, int *changed)
{
	int rc = store_step(stmt);
	cs_status st = CS_OK;

	if (a->t->adopted && is_refusal(rc)) {
		/* names of columns and constraints, never values */
		snprintf(a->reason, sizeof(a->reason), "%s", sqlite3_errmsg(a->c->db));
		a->refused = true;
	} else if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY ||
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
cs_status put_run_by_key(struct applying *a, statement_kind kind, bool temp, int *changed)
{
	sqlite3_stmt *stmt;
	cs_status st = statement_get(a->c, a->t, kind, temp, NULL, 0, &stmt, a->err);

	if (st == CS_OK)
		st = bind_key(stmt, 1, a->t, &a->change->key, &a->c->scratch, a->err);
	return st == CS_OK ? put_step(a, stmt, changed) : st;
}

/* Slow form: from now on the row lives in the twin. */
cs_status put_pull_row(struct applying *a)
{
	cs_status st = CS_OK;

	if (!a->slow)
		return CS_OK;
	if (!a->t->moved)
		st = slow_move_table(a->c, a->t, a->err);
	if (st == CS_OK)
		st = put_run_by_key(a, STATEMENT_PULL, false, NULL);
	return st == CS_OK ? put_run_by_key(a, STATEMENT_DELETE, false, NULL) : st;
}

/* Columns come in the server's order, so the next one is the first guess. */
int put_find_column(const struct schema *s, const struct wire_field *field, size_t guess)
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

static void take_column(struct applying *a, size_t position, const struct wire_value *value)
{
	a->columns[a->column_count] = (uint16_t)position;
	a->values[a->column_count] = value;
	a->column_count++;
}

/* Columns that came after the row was parked are empty in it, as in every other row. */
static void take_absent(struct applying *a)
{
	static const struct wire_value null = {.form = WIRE_NULL};

	for (size_t i = 0; i < a->t->schema->column_count; i++)
		if (!a->t->local[i].missing && !is_taken(a, (int)i))
			take_column(a, i, &null);
}

/* Take data apart; with_key: an insert, which must bring every column that the file has. */
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
		int found = put_find_column(s, field, at);

		if (found < 0 && a->parked)
			continue;
		if (found < 0)
			return apply_diverged(
				a, "a change names a column that the cache does not know");
		if (!with_key && s->columns[found].key_position >= 0)
			continue;
		if ((size_t)found < at && is_taken(a, found))
			return cs_fail(a->err, CS_ERR_PROTOCOL,
				       "table %s: a change names a column twice", s->table);
		if ((size_t)found >= at)
			at = (size_t)found + 1;
		if (!a->t->local[found].missing)
			take_column(a, (size_t)found, &field->value);
	}
	if (a->parked)
		take_absent(a);
	else if (with_key && a->column_count + a->t->missing != s->column_count)
		return apply_diverged(a, "a new row lacks a column");
	return CS_OK;
}

/* Bind the columns; note which of them need their text kept beside. */
static cs_status bind_columns(struct applying *a, sqlite3_stmt *stmt, bool *all_exact)
{
	*all_exact = true;
	for (size_t i = 0; i < a->column_count; i++) {
		cs_status st = bind_value(stmt, (int)i + 1, a->t, a->columns[i], a->values[i],
					  &a->c->scratch, &a->exact[i], a->err);

		if (st != CS_OK)
			return st;
		*all_exact = *all_exact && a->exact[i];
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

/* After bind_columns(). */
static cs_status keep_exact(struct applying *a, bool forget_first)
{
	for (size_t i = 0; i < a->column_count; i++) {
		const char *column = a->t->schema->columns[a->columns[i]].name;
		cs_status st = CS_OK;

		if (!a->exact[i])
			st = keep_text(a, column, a->values[i]);
		else if (forget_first)
			st = side_forget_exact(a->c, a->t, a->c->key.data, column, a->err);
		if (st != CS_OK)
			return st;
	}
	return CS_OK;
}

/* ---- rows -------------------------------------------------------------------------------- */

/* What the app has in the row goes into its INSERT: put in later, it might be in the way. */
static cs_status take_own(struct applying *a)
{
	struct cached_table *t = a->t;
	json_t *number;
	cs_status st = CS_OK;

	a->own = a->kept ? json_loads(a->kept, 0, NULL) : json_object();
	if (!a->own)
		return a->kept ? apply_diverged(a, "clinic_cache_parked is damaged")
			       : cs_fail(a->err, CS_ERR_NOMEM, "out of memory");
	if (t->numbered >= 0 && !json_object_get(a->own, t->extra[t->numbered].name)) {
		st = extra_number(a->c, t, &number, a->err);
		if (number && json_object_set_new(a->own, t->extra[t->numbered].name, number) != 0)
			st = cs_fail(a->err, CS_ERR_NOMEM, "out of memory");
	}
	/* a column that the app dropped meanwhile: what it kept there goes with it */
	for (size_t i = 0; i < t->extra_count; i++)
		if (json_object_get(a->own, t->extra[i].name))
			a->columns[a->column_count + a->own_count++] =
				(uint16_t)(t->schema->column_count + i);
	return st;
}

static cs_status bind_own(struct applying *a, sqlite3_stmt *stmt)
{
	cs_status st = CS_OK;

	for (size_t i = 0; i < a->own_count && st == CS_OK; i++) {
		size_t at = a->columns[a->column_count + i] - a->t->schema->column_count;

		st = extra_bind(stmt, (int)(a->column_count + i) + 1,
				json_object_get(a->own, a->t->extra[at].name), a->err);
	}
	return st;
}

static void drop_own(struct applying *a)
{
	json_decref(a->own);
	a->own = NULL;
	a->own_count = 0;
}

/* All columns bound and one step of the statement of that kind. */
static cs_status write_columns(struct applying *a, statement_kind kind, bool *all_exact,
			       int *changed)
{
	sqlite3_stmt *stmt;
	cs_status st = statement_get(a->c, a->t, kind, a->slow, a->columns,
				     a->column_count + a->own_count, &stmt, a->err);

	if (st == CS_OK)
		st = bind_columns(a, stmt, all_exact);
	if (st == CS_OK && a->own)
		st = bind_own(a, stmt);
	if (st == CS_OK && kind == STATEMENT_UPDATE)
		st = bind_key(stmt, (int)a->column_count + 1, a->t, &a->change->key, &a->c->scratch,
			      a->err);
	return st == CS_OK ? put_step(a, stmt, changed) : st;
}

static cs_status insert_adopted(struct applying *a, bool *all_exact)
{
	cs_status st = a->kept || a->t->has_parked ? take_own(a) : CS_OK;

	if (st == CS_OK)
		st = write_columns(a, STATEMENT_INSERT, all_exact, NULL);
	drop_own(a);
	return st;
}

/*
 * An app's table: no UPSERT, since its key may be another one than ours, or
 * of a collation that takes two of our keys for one.
 */
static cs_status write_adopted(struct applying *a, bool *all_exact)
{
	int changed = 0;
	bool fits;
	cs_status st = key_fits(a->t, &a->change->key, &a->c->scratch, &fits, a->err);

	if (st == CS_OK && !fits) {
		snprintf(a->reason, sizeof(a->reason), "the key's column cannot hold the key");
		a->refused = true;
	}
	if (st == CS_OK && !a->refused && !a->fresh)
		st = write_columns(a, STATEMENT_UPDATE, all_exact, &changed);
	if (st == CS_OK && !a->refused && changed == 0)
		st = insert_adopted(a, all_exact);
	return st;
}

cs_status put_row(struct applying *a)
{
	bool all_exact = true;
	cs_status st = take_columns(a, true);

	if (st == CS_OK)
		st = refuse_take(a);
	if (st == CS_OK)
		st = put_pull_row(a);
	if (st == CS_OK)
		st = a->t->adopted ? write_adopted(a, &all_exact)
				   : write_columns(a, STATEMENT_UPSERT, &all_exact, NULL);
	if (st == CS_OK && a->refused)
		return a->parked ? CS_OK : refuse_row(a);
	if (st != CS_OK || (all_exact && !a->t->has_exact && !a->t->has_oversize))
		return st;
	st = apply_name_key(a);
	if (st == CS_OK)
		st = side_forget_row(a->c, a->t, a->c->key.data, a->err);
	return st == CS_OK ? keep_exact(a, false) : st;
}

static cs_status update_row(struct applying *a)
{
	bool all_exact = true;
	int changed = 0;
	cs_status st = take_columns(a, false);

	if (st == CS_OK)
		st = put_pull_row(a);
	if (st != CS_OK || a->column_count == 0)
		return st;
	st = write_columns(a, STATEMENT_UPDATE, &all_exact, &changed);
	if (st == CS_OK && a->refused)
		return refuse_update(a);
	if (st == CS_OK && changed == 0)
		return apply_must_be_oversize(a);
	if (st != CS_OK || (all_exact && !a->t->has_exact))
		return st;
	st = apply_name_key(a);
	return st == CS_OK ? keep_exact(a, true) : st;
}

cs_status put_update(struct applying *a)
{
	bool fits = true;
	bool found = false;
	cs_status st = CS_OK;

	if (a->t->has_parked) {
		st = apply_name_key(a);
		if (st == CS_OK && a->change->data.there)
			st = parked_merge(a->c, a->t, a->c->key.data, &a->change->data, &found,
					  a->err);
	}
	if (st == CS_OK && !found && a->t->key_converts)
		st = key_fits(a->t, &a->change->key, &a->c->scratch, &fits, a->err);
	if (st != CS_OK || found)
		return st;
	/* a key that the column cannot hold is nowhere but among the parked ones */
	return fits ? update_row(a) : apply_must_be_oversize(a);
}
