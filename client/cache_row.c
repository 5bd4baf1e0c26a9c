/*
 * Rows of a file as the wire has them: canonical texts.
 *
 * Every stored value is printed back as its canonical text; where the column
 * could not hold it, the text comes from clinic_sync_exact.  That side table
 * is asked only for columns that have anything in it.  Columns that the file
 * lacks are not there at all.
 */
#include "cache_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE_REAL_MOST 9007199254740992.0 /* 2^53: whole numbers are exact below it */

static cs_status nomem(struct row_reader *r)
{
	return cs_fail(r->err, CS_ERR_NOMEM, "out of memory");
}

/* ---- opening ------------------------------------------------------------------------------ */

static void add_from(struct row_reader *r, const struct row_choice *choice, bool local,
		     const struct key_bound *after, const struct key_bound *upto)
{
	const struct schema *s = r->t->schema;

	if (choice->keys_of) {
		dynbuf_addf(&r->text, " FROM temp.%s AS stored", choice->keys_of);
		return;
	}
	if (choice->list) {
		/* CROSS: the list is walked, and each row is looked up */
		dynbuf_addf(&r->text, " FROM temp.%s AS listed CROSS JOIN ", choice->list);
		dynbuf_addf(&r->text, "%s.", r->where);
		schema_add_identifier(&r->text, s->table);
		dynbuf_adds(&r->text, " AS stored ON ");
		table_add_key_match(&r->text, r->t, "stored", "listed");
		return;
	}
	dynbuf_addf(&r->text, " FROM %s.", r->where);
	schema_add_identifier(&r->text, s->table);
	dynbuf_adds(&r->text, " AS stored");
	if (choice->key) {
		dynbuf_adds(&r->text, " WHERE ");
		table_add_key_condition(&r->text, r->t, 1);
	}
	key_add_range(&r->text, r->t, local, after, upto);
	if (choice->in_order)
		key_add_order(&r->text, r->t, local);
}

static cs_status prepare_rows(struct row_reader *r, const struct row_choice *choice,
			      const struct key_bound *after, const struct key_bound *upto)
{
	const struct schema *s = r->t->schema;
	int count = 0;
	cs_status st;

	dynbuf_reset(&r->text);
	for (size_t i = 0; i < s->column_count; i++) {
		size_t at = s->by_name[i];

		r->result[at] = -1;
		if (r->t->local[at].missing || (choice->keys_of && s->columns[at].key_position < 0))
			continue;
		dynbuf_adds(&r->text, count ? ", stored." : "SELECT stored.");
		schema_add_identifier(&r->text, s->columns[at].name);
		r->result[at] = count++;
	}
	add_from(r, choice, !choice->where, after, upto);
	if (r->text.failed)
		return nomem(r);
	st = store_prepare(r->db, r->text.data, &r->rows, r->err);
	if (st == CS_OK && choice->key)
		return bind_key(r->rows, 1, r->t, choice->key, &r->text, r->err);
	return st == CS_OK ? key_bind_range(r->rows, s, after, upto, r->err) : st;
}

static cs_status note_exact_columns(struct row_reader *r, bool *any)
{
	char sql[128];
	sqlite3_stmt *stmt;
	cs_status st;
	int rc;

	snprintf(sql, sizeof(sql),
		 "SELECT DISTINCT column FROM %s.clinic_sync_exact WHERE \"table\" = ?1", r->where);
	st = store_prepare(r->db, sql, &stmt, r->err);
	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, r->t->schema->table, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(stmt, 0);
		int at = name ? schema_find(r->t->schema, name) : -1;

		if (at < 0 || r->result[at] < 0)
			continue;
		r->asks[at] = true;
		*any = true;
	}
	if (rc != SQLITE_DONE)
		st = store_fail(r->db, "read clinic_sync_exact", r->err);
	sqlite3_finalize(stmt);
	return st;
}

static cs_status prepare_exact(struct row_reader *r)
{
	char sql[160];
	bool any = false;
	cs_status st;

	/* what the table remembers is of main */
	if (strcmp(r->where, "main") == 0 && !r->t->has_exact)
		return CS_OK;
	st = note_exact_columns(r, &any);
	if (st != CS_OK || !any)
		return st;
	snprintf(sql, sizeof(sql),
		 "SELECT value FROM %s.clinic_sync_exact"
		 " WHERE \"table\" = ?1 AND key = ?2 AND column = ?3",
		 r->where);
	return store_prepare(r->db, sql, &r->exact, r->err);
}

cs_status row_reader_open(struct row_reader *r, sqlite3 *db, const struct cached_table *t,
			  const struct row_choice *choice, struct cs_error *err)
{
	struct key_bound low = {0}, high = {0};
	cs_status st;

	memset(r, 0, sizeof(*r));
	r->db = db;
	r->t = t;
	r->where = choice->where ? choice->where : "main";
	r->err = err;
	dynbuf_init(&r->text, CACHE_MESSAGE_BYTES_MOST);
	dynbuf_init(&r->key, CACHE_MESSAGE_BYTES_MOST);
	r->hash = row_hash_new();
	r->asks = calloc(t->schema->column_count, sizeof(*r->asks));
	r->result = calloc(t->schema->column_count, sizeof(*r->result));
	if (!r->hash || !r->asks || !r->result)
		return nomem(r);
	st = key_bound_parse(t->schema, choice->after, &low, err);
	if (st == CS_OK)
		st = key_bound_parse(t->schema, choice->upto, &high, err);
	if (st == CS_OK)
		st = prepare_rows(r, choice, &low, &high);
	if (st == CS_OK)
		st = prepare_exact(r);
	key_bound_free(&low);
	key_bound_free(&high);
	return st;
}

void row_reader_close(struct row_reader *r)
{
	sqlite3_finalize(r->rows);
	sqlite3_finalize(r->exact);
	row_hash_free(r->hash);
	free(r->asks);
	free(r->result);
	dynbuf_free(&r->text);
	dynbuf_free(&r->key);
}

cs_status row_reader_next(struct row_reader *r, bool *more)
{
	int rc = sqlite3_step(r->rows);

	*more = rc == SQLITE_ROW;
	return *more || rc == SQLITE_DONE ? CS_OK : store_fail(r->db, "read a table", r->err);
}

/* ---- values ------------------------------------------------------------------------------- */

static bool take_stored(sqlite3_stmt *stmt, int i, struct bound_value *v)
{
	switch (sqlite3_column_type(stmt, i)) {
	case SQLITE_NULL:
		v->kind = BIND_NULL;
		return true;
	case SQLITE_INTEGER:
		v->kind = BIND_INTEGER;
		v->integer = sqlite3_column_int64(stmt, i);
		return true;
	case SQLITE_FLOAT:
		v->kind = BIND_REAL;
		v->real = sqlite3_column_double(stmt, i);
		return true;
	case SQLITE_BLOB:
		v->kind = BIND_BLOB;
		v->len = (size_t)sqlite3_column_bytes(stmt, i);
		v->bytes = sqlite3_column_blob(stmt, i);
		return true;
	default:
		v->kind = BIND_TEXT;
		v->bytes = (const char *)sqlite3_column_text(stmt, i);
		v->len = (size_t)sqlite3_column_bytes(stmt, i);
		return v->bytes != NULL;
	}
}

/* A number or truth value in a column of texts. What is neither stays the text it is. */
static void read_text(const struct schema_column *column, struct bound_value *v,
		      struct dynbuf *scratch)
{
	struct bound_value number = {0};

	if (column->class == CLASS_BOOLEAN && v->len == 1 &&
	    (v->bytes[0] == '0' || v->bytes[0] == '1')) {
		v->kind = BIND_INTEGER;
		v->integer = v->bytes[0] - '0';
	} else if ((column->class == CLASS_FLOAT || column->class == CLASS_DECIMAL) &&
		   value_decide(column, v->bytes, v->len, scratch, &number) &&
		   number.kind == BIND_REAL) {
		v->kind = BIND_REAL;
		v->real = number.real;
	}
}

static bool is_whole(double value)
{
	return value >= -WHOLE_REAL_MOST && value <= WHOLE_REAL_MOST &&
	       value == (double)(int64_t)value;
}

void row_read_form(const struct schema_column *column, struct bound_value *v,
		   struct dynbuf *scratch)
{
	bool whole = column->class == CLASS_BOOLEAN || column->class == CLASS_INTEGER ||
		     column->class == CLASS_BIGINT;

	if (v->kind == BIND_TEXT && column->class != CLASS_TEXT) {
		read_text(column, v, scratch);
	} else if (v->kind == BIND_REAL && whole && is_whole(v->real)) {
		v->kind = BIND_INTEGER;
		v->integer = (int64_t)v->real;
	}
}

static cs_status stored_text(struct row_reader *r, size_t position, const char **text, size_t *len)
{
	const struct schema_column *column = &r->t->schema->columns[position];
	struct bound_value v = {0};

	if (!take_stored(r->rows, r->result[position], &v))
		return nomem(r);
	row_read_form(column, &v, &r->text);
	return value_print_stored(column, &v, &r->text, text, len) ? CS_OK : nomem(r);
}

/* True if the side table has the text of this row's column; valid until the next call. */
static bool exact_text(struct row_reader *r, const struct schema_column *column, const char **text,
		       size_t *len)
{
	sqlite3_reset(r->exact);
	sqlite3_bind_text(r->exact, 1, r->t->schema->table, -1, SQLITE_STATIC);
	sqlite3_bind_text64(r->exact, 2, r->key.data, r->key.len, SQLITE_STATIC, SQLITE_UTF8);
	sqlite3_bind_text(r->exact, 3, column->name, -1, SQLITE_STATIC);
	if (sqlite3_step(r->exact) != SQLITE_ROW)
		return false;
	*text = (const char *)sqlite3_column_text(r->exact, 0);
	*len = (size_t)sqlite3_column_bytes(r->exact, 0);
	return *text != NULL;
}

/* ---- the key ------------------------------------------------------------------------------ */

/* With minus_zero: a float that is 0 is printed as -0. */
static cs_status print_key(struct row_reader *r, bool minus_zero)
{
	const struct schema *schema = r->t->schema;

	dynbuf_reset(&r->key);
	for (size_t i = 0; i < schema->key_count; i++) {
		const struct schema_column *column = &schema->columns[schema->key[i]];
		const char *text;
		size_t len;
		cs_status st = stored_text(r, schema->key[i], &text, &len);

		if (st != CS_OK)
			return st;
		if (minus_zero && column->class == CLASS_FLOAT && len == 1 && text[0] == '0') {
			text = "-0";
			len = 2;
		}
		dynbuf_adds(&r->key, i ? "," : "{");
		dynbuf_add_json(&r->key, column->name, strlen(column->name));
		dynbuf_adds(&r->key, ":");
		value_add_json(&r->key, column, text, len);
	}
	return dynbuf_adds(&r->key, "}") ? CS_OK : nomem(r);
}

/*
 * The key as the wire writes it.  A column holds -0 as 0: the side table says
 * which of the two a key was.
 */
cs_status row_reader_key(struct row_reader *r)
{
	const struct schema *schema = r->t->schema;
	const char *text;
	size_t len;
	cs_status st = CS_OK;

	for (size_t i = 0; i < schema->key_count && st == CS_OK; i++) {
		const struct schema_column *column = &schema->columns[schema->key[i]];

		if (!r->asks[schema->key[i]] || column->class != CLASS_FLOAT)
			continue;
		st = print_key(r, true);
		if (st == CS_OK && exact_text(r, column, &text, &len))
			return CS_OK;
	}
	return st == CS_OK ? print_key(r, false) : st;
}

cs_status row_reader_text(struct row_reader *r, size_t position, const char **text, size_t *len)
{
	if (r->asks[position] && exact_text(r, &r->t->schema->columns[position], text, len))
		return CS_OK;
	return stored_text(r, position, text, len);
}

cs_status row_reader_json(struct row_reader *r, struct dynbuf *out)
{
	const struct schema *schema = r->t->schema;
	bool any = false;
	cs_status st = row_reader_key(r);

	for (size_t i = 0; i < schema->column_count && st == CS_OK; i++) {
		const struct schema_column *column = &schema->columns[i];
		const char *text;
		size_t len;

		if (r->result[i] < 0)
			continue;
		st = row_reader_text(r, i, &text, &len);
		if (st != CS_OK)
			return st;
		dynbuf_adds(out, any ? "," : "{");
		dynbuf_add_json(out, column->name, strlen(column->name));
		dynbuf_adds(out, ":");
		value_add_json(out, column, text, len);
		any = true;
	}
	if (st == CS_OK && !dynbuf_adds(out, "}"))
		return nomem(r);
	return st;
}

cs_status row_reader_hash(struct row_reader *r, uint64_t *out)
{
	const struct schema *schema = r->t->schema;
	cs_status st = r->exact ? row_reader_key(r) : CS_OK;

	if (st == CS_OK && !row_hash_begin(r->hash))
		return nomem(r);
	for (size_t i = 0; i < schema->column_count && st == CS_OK; i++) {
		size_t at = schema->by_name[i];
		const char *text;
		size_t len;

		if (r->result[at] < 0)
			continue;
		st = row_reader_text(r, at, &text, &len);
		if (st == CS_OK)
			row_hash_add(r->hash, text, len);
	}
	if (st == CS_OK && !row_hash_end(r->hash, out))
		return nomem(r);
	return st;
}
