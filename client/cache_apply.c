/*
 * One change, one row.
 *
 * Rows are written by UPDATE or INSERT … ON CONFLICT(key) DO UPDATE of the
 * delivered columns only: what an app added to a table stays, and no other
 * row is replaced.  Two rows may swap a unique value inside a frame, and
 * SQLite checks UNIQUE at every step; then the frame starts again in the slow
 * form: every touched row is moved out into a temporary twin of its table
 * without unique indexes, changed there, and put back at the end.
 *
 * An app's own table has constraints that the server does not know.  A row
 * that it refuses is parked (cache_park.c) and tried again at the end of the
 * frame; so a swap needs no slow form there.
 */
#include "cache_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REASON_BYTES 256

/* One change on its way into the file. */
struct applying {
	struct clinic_cache *c;
	struct cached_table *t;
	const struct wire_change *change;
	bool slow;
	bool *unique;
	bool fresh;                /* the row is not in main */
	bool parked;               /* the change is a parked row: columns may have come since */
	char *kept;                /* what the app has in the row, while it is not in main */
	json_t *own;               /* the same, and a number, on its way into an INSERT … */
	size_t own_count;          /* … so many of columns, behind the delivered ones */
	bool refused;              /* by a constraint of the app's table … */
	char reason[REASON_BYTES]; /* … namely */
	uint16_t *columns;         /* delivered columns in the order of data … */
	const struct wire_value **values; /* … and their values … */
	bool *exact;                      /* … which the column can hold or not */
	size_t column_count;
	struct cs_error *err;
};

static cs_status diverged(struct applying *a, const char *what)
{
	return cs_fail(a->err, CS_ERR_DIVERGED, "table %s: %s", a->t->schema->table, what);
}

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

static cs_status step(struct applying *a, sqlite3_stmt *stmt, int *changed)
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
static cs_status run_by_key(struct applying *a, statement_kind kind, bool temp, int *changed)
{
	sqlite3_stmt *stmt;
	cs_status st = statement_get(a->c, a->t, kind, temp, NULL, 0, &stmt, a->err);

	if (st == CS_OK)
		st = bind_key(stmt, 1, a->t, &a->change->key, &a->c->scratch, a->err);
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
		int found = find_column(s, field, at);

		if (found < 0 && a->parked)
			continue;
		if (found < 0)
			return diverged(a, "a change names a column that the cache does not know");
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
		return diverged(a, "a new row lacks a column");
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

/* ---- rows that the app's table refuses --------------------------------------------------- */

/* The row as the wire has it, with the columns that the file lacks. */
static cs_status add_row_json(struct applying *a, struct dynbuf *out)
{
	const struct wire_object *data = &a->change->data;
	const struct schema *s = a->t->schema;
	bool any = false;

	for (size_t i = 0; i < data->count; i++) {
		const struct wire_field *field = &data->fields[i];
		int at = find_column(s, field, i);

		if (at < 0)
			continue;
		dynbuf_adds(out, any ? "," : "{");
		any = true;
		dynbuf_add_json(out, s->columns[at].name, strlen(s->columns[at].name));
		dynbuf_adds(out, ":");
		value_add_json(out, &s->columns[at],
			       field->value.form == WIRE_NULL ? NULL : field->value.text,
			       field->value.len);
	}
	if (!dynbuf_adds(out, "}"))
		return cs_fail(a->err, CS_ERR_NOMEM, "out of memory");
	return CS_OK;
}

/* Out of main, if it is there, and what the app has in columns of its own into a->kept. */
static cs_status take_out(struct applying *a)
{
	char *kept = NULL;
	bool fits;
	cs_status st = key_fits(a->t, &a->change->key, &a->c->scratch, &fits, a->err);

	if (st != CS_OK || !fits)
		return st;
	st = extra_read(a->c, a->t, &a->change->key, &kept, a->err);
	if (kept) {
		free(a->kept);
		a->kept = kept;
	}
	return st == CS_OK ? run_by_key(a, STATEMENT_DELETE, false, NULL) : st;
}

/* data: the row as the wire has it. */
static cs_status park(struct applying *a, const char *data)
{
	cs_status st = take_out(a);

	if (st == CS_OK)
		st = name_key(a);
	if (st == CS_OK)
		st = side_forget_row(a->c, a->t, a->c->key.data, a->err);
	if (st == CS_OK)
		st = parked_keep(a->c, a->t,
				 &(struct parked_row){.key = a->c->key.data,
						      .data = data,
						      .reason = a->reason,
						      .kept = a->kept},
				 a->err);
	return st;
}

static cs_status park_whole(struct applying *a)
{
	struct dynbuf data;
	cs_status st;

	dynbuf_init(&data, CACHE_MESSAGE_BYTES_MOST);
	st = add_row_json(a, &data);
	if (st == CS_OK)
		st = park(a, data.data);
	dynbuf_free(&data);
	return st;
}

static cs_status read_main(struct applying *a, struct dynbuf *out)
{
	struct row_reader r;
	bool found = false;
	cs_status st = row_reader_open(&r, a->c->db, a->t,
				       &(struct row_choice){.key = &a->change->key}, a->err);

	if (st == CS_OK)
		st = row_reader_next(&r, &found);
	if (st == CS_OK && found)
		st = row_reader_json(&r, out);
	else if (st == CS_OK)
		st = diverged(a, "a row went away while it was changed");
	row_reader_close(&r);
	return st;
}

/* An update was refused: the row as it was is parked, and the update is for that. */
static cs_status park_updated(struct applying *a)
{
	struct dynbuf data;
	bool found;
	cs_status st;

	dynbuf_init(&data, CACHE_MESSAGE_BYTES_MOST);
	st = read_main(a, &data);
	if (st == CS_OK)
		st = park(a, data.data);
	if (st == CS_OK)
		st = parked_merge(a->c, a->t, a->c->key.data, &a->change->data, &found, a->err);
	dynbuf_free(&data);
	return st;
}

/* The change is for a row that is parked: its new end is another, so it is parked no more. */
static cs_status unpark(struct applying *a, bool *found)
{
	cs_status st;

	*found = false;
	if (!a->t->has_parked || a->parked)
		return CS_OK;
	st = name_key(a);
	return st == CS_OK ? parked_forget(a->c, a->t, a->c->key.data, found, a->err) : st;
}

/* The same for a row that comes in its place: the app's values are for that. */
static cs_status unpark_row(struct applying *a)
{
	cs_status st;

	if (!a->t->has_parked || a->parked)
		return CS_OK;
	st = name_key(a);
	return st == CS_OK ? parked_take(a->c, a->t, a->c->key.data, &a->kept, a->err) : st;
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
		return a->kept ? diverged(a, "clinic_cache_parked is damaged")
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
	return st == CS_OK ? step(a, stmt, changed) : st;
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

static cs_status apply_row(struct applying *a)
{
	bool all_exact = true;
	cs_status st = take_columns(a, true);

	if (st == CS_OK)
		st = unpark_row(a);
	if (st == CS_OK)
		st = pull_row(a);
	if (st == CS_OK)
		st = a->t->adopted ? write_adopted(a, &all_exact)
				   : write_columns(a, STATEMENT_UPSERT, &all_exact, NULL);
	if (st == CS_OK && a->refused)
		return a->parked ? CS_OK : park_whole(a);
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
	if (st == CS_OK && !oversize && !a->t->lenient)
		return diverged(a, "a change is for a row that should be in the cache and is not");
	return st;
}

static cs_status update_row(struct applying *a)
{
	bool all_exact = true;
	int changed = 0;
	cs_status st = take_columns(a, false);

	if (st == CS_OK)
		st = pull_row(a);
	if (st != CS_OK || a->column_count == 0)
		return st;
	st = write_columns(a, STATEMENT_UPDATE, &all_exact, &changed);
	if (st == CS_OK && a->refused)
		return park_updated(a);
	if (st == CS_OK && changed == 0)
		return must_be_oversize(a);
	if (st != CS_OK || (all_exact && !a->t->has_exact))
		return st;
	st = name_key(a);
	return st == CS_OK ? keep_exact(a, true) : st;
}

static cs_status apply_update(struct applying *a)
{
	bool fits = true;
	bool found = false;
	cs_status st = CS_OK;

	if (a->t->has_parked) {
		st = name_key(a);
		if (st == CS_OK && a->change->data.there)
			st = parked_merge(a->c, a->t, a->c->key.data, &a->change->data, &found,
					  a->err);
	}
	if (st == CS_OK && !found && a->t->key_converts)
		st = key_fits(a->t, &a->change->key, &a->c->scratch, &fits, a->err);
	if (st != CS_OK || found)
		return st;
	/* a key that the column cannot hold is nowhere but among the parked ones */
	return fits ? update_row(a) : must_be_oversize(a);
}

/* Remove the row if it is there, and what the side tables say of it. */
static cs_status remove_row(struct applying *a, int *changed)
{
	bool fits = true;
	cs_status st = pull_row(a);

	if (st == CS_OK && a->t->key_converts)
		st = key_fits(a->t, &a->change->key, &a->c->scratch, &fits, a->err);
	if (st == CS_OK && fits)
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
	bool was_parked = false;
	cs_status st = unpark(a, &was_parked);

	if (st == CS_OK && !was_parked)
		st = remove_row(a, &changed);
	if (st == CS_OK && !was_parked && changed == 0)
		st = must_be_oversize(a);
	return st == CS_OK ? forget_row(a) : st;
}

static cs_status apply_put(struct applying *a)
{
	bool was_parked;
	cs_status st;

	if (!a->change->data_is_null)
		return apply_row(a);
	st = unpark(a, &was_parked);
	if (st == CS_OK)
		st = remove_row(a, NULL);
	return st == CS_OK ? forget_row(a) : st;
}

static cs_status apply_oversize(struct applying *a)
{
	bool was_parked;
	cs_status st = unpark(a, &was_parked);

	if (st == CS_OK)
		st = remove_row(a, NULL);
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
	if (st == CS_OK && a->t->has_parked)
		st = parked_forget_table(a->c, a->t, a->err);
	return st == CS_OK ? side_forget_table(a->c, a->t, a->err) : st;
}

static cs_status apply_schema(struct applying *a)
{
	struct schema *s = NULL;
	const struct wire_object *data = &a->change->data;
	cs_status st = schema_parse_text(data->json, data->json_len, &s, a->err);

	if (st == CS_OK && strcmp(s->table, a->t->schema->table) != 0)
		st = cs_fail(a->err, CS_ERR_PROTOCOL, "a schema change names another table");
	/* an app's table is its own: what it lacks is skipped */
	if (st == CS_OK && !a->t->adopted)
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
	a->t->indexes_due = !a->t->adopted;
	a->t->retry_all = a->t->has_parked;
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
	size_t most = a->t->schema->column_count + a->t->extra_count;
	cs_status st;

	a->columns = malloc(most * sizeof(*a->columns));
	a->values = malloc(most * sizeof(a->values[0]));
	a->exact = malloc(most * sizeof(*a->exact));
	if (a->columns && a->values && a->exact)
		st = apply(a);
	else
		st = cs_fail(a->err, CS_ERR_NOMEM, "out of memory");
	free(a->columns);
	free(a->values);
	free(a->exact);
	free(a->kept);
	a->kept = NULL;
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
	a.slow = slow && !a.t->adopted;
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

cs_status apply_loaded(struct clinic_cache *c, struct cached_table *t,
		       const struct wire_change *change, bool fresh, struct cs_error *err)
{
	bool unique = false;
	struct applying a = {
		.c = c,
		.t = t,
		.change = change,
		.unique = &unique,
		.fresh = fresh,
		.err = err,
	};
	cs_status st = run_operation(&a, apply_row);

	return st == CS_AGAIN ? diverged(&a, "a snapshot brings a unique value twice") : st;
}

/* ---- parked rows, once more --------------------------------------------------------------- */

struct retry {
	struct applying a;
	const char *kept;
};

static cs_status retry_one(void *context, const struct wire_change *change, struct cs_error *err)
{
	struct retry *r = context;

	r->a.change = change;
	if (r->kept) {
		r->a.kept = strdup(r->kept);
		if (!r->a.kept)
			return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	}
	return run_operation(&r->a, apply_row);
}

cs_status apply_parked(struct clinic_cache *c, struct cached_table *t, const char *message,
		       size_t len, const char *kept, char *reason, size_t reason_bytes,
		       struct cs_error *err)
{
	struct retry r = {.a = {.c = c, .t = t, .parked = true, .err = err}, .kept = kept};
	cs_status st = changes_read(message, len, retry_one, &r, err);

	snprintf(reason, reason_bytes, "%s", r.a.refused ? r.a.reason : "");
	return st;
}
