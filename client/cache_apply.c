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
#include "cache_apply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cs_status apply_diverged(struct applying *a, const char *what)
{
	return cs_fail(a->err, CS_ERR_DIVERGED, "table %s: %s", a->t->schema->table, what);
}

cs_status apply_name_key(struct applying *a)
{
	return key_text(a->t->schema, &a->change->key, &a->c->key, a->err);
}

/* The row is not there: that is right only for one that is not held. */
cs_status apply_must_be_oversize(struct applying *a)
{
	bool oversize = false;
	cs_status st = apply_name_key(a);

	if (st == CS_OK)
		st = side_is_oversize(a->c, a->t, a->c->key.data, &oversize, a->err);
	if (st == CS_OK && !oversize && !a->t->lenient)
		return apply_diverged(
			a, "a change is for a row that should be in the cache and is not");
	return st;
}

/* Remove the row if it is there, and what the side tables say of it. */
static cs_status remove_row(struct applying *a, int *changed)
{
	bool fits = true;
	cs_status st = put_pull_row(a);

	if (st == CS_OK && a->t->key_converts)
		st = key_fits(a->t, &a->change->key, &a->c->scratch, &fits, a->err);
	if (st == CS_OK && fits)
		st = put_run_by_key(a, STATEMENT_DELETE, a->slow, changed);
	if (st != CS_OK || (!a->t->has_exact && !a->t->has_oversize))
		return st;
	return apply_name_key(a);
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
	cs_status st = refuse_forget(a, &was_parked);

	if (st == CS_OK && !was_parked)
		st = remove_row(a, &changed);
	if (st == CS_OK && !was_parked && changed == 0)
		st = apply_must_be_oversize(a);
	return st == CS_OK ? forget_row(a) : st;
}

static cs_status apply_put(struct applying *a)
{
	bool was_parked;
	cs_status st;

	if (!a->change->data_is_null)
		return put_row(a);
	st = refuse_forget(a, &was_parked);
	if (st == CS_OK)
		st = remove_row(a, NULL);
	return st == CS_OK ? forget_row(a) : st;
}

static cs_status apply_oversize(struct applying *a)
{
	bool was_parked;
	cs_status st = refuse_forget(a, &was_parked);

	if (st == CS_OK)
		st = remove_row(a, NULL);
	if (st == CS_OK)
		st = forget_row(a);
	if (st == CS_OK)
		st = apply_name_key(a);
	return st == CS_OK ? side_keep_oversize(a->c, a->t, a->c->key.data, a->err) : st;
}

static cs_status empty_table(struct applying *a, const char *where)
{
	struct dynbuf *sql = &a->c->sql;
	char name[TABLE_NAME_BYTES];

	dynbuf_reset(sql);
	dynbuf_addf(sql, "DELETE FROM %s.", where);
	if (!schema_add_identifier(sql, table_name_in(where, a->t->schema->table, name)))
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
	{"insert", put_row, true},           {"update", put_update, true},
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
	cs_status st = run_operation(&a, put_row);

	return st == CS_AGAIN ? apply_diverged(&a, "a snapshot brings a unique value twice") : st;
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
	return run_operation(&r->a, put_row);
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
