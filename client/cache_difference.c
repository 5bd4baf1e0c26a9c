/*
 * How the rows of an app's file differ from the server's.
 *
 * Before anything of a file is touched that was never synced, each of its
 * tables that the server has, too, is compared with the snapshot: by key, and
 * where the key is in both by the canonical text of each delivered column, as
 * a digest would, so that 1500 and 1500.00 are one amount.  All of it is
 * reading; what to do about it is for people to say.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- one value and the other -------------------------------------------------------------- */

struct comparing {
	const struct cached_table *t;
	const struct schema *schema;
	size_t *columns; /* positions in the schema, in the order of the query */
	size_t count;
	struct dynbuf here, there;
};

static void take(sqlite3_stmt *stmt, int at, struct bound_value *out)
{
	memset(out, 0, sizeof(*out));
	switch (sqlite3_column_type(stmt, at)) {
	case SQLITE_INTEGER:
		out->kind = BIND_INTEGER;
		out->integer = sqlite3_column_int64(stmt, at);
		return;
	case SQLITE_FLOAT:
		out->kind = BIND_REAL;
		out->real = sqlite3_column_double(stmt, at);
		return;
	case SQLITE_BLOB:
		out->kind = BIND_BLOB;
		out->bytes = sqlite3_column_blob(stmt, at);
		break;
	case SQLITE_TEXT:
		out->kind = BIND_TEXT;
		out->bytes = (const char *)sqlite3_column_text(stmt, at);
		break;
	default:
		out->kind = BIND_NULL;
		return;
	}
	out->len = (size_t)sqlite3_column_bytes(stmt, at);
}

/* Column i of the query: the file's value, and the snapshot's next to it. */
static bool is_same(struct comparing *cmp, sqlite3_stmt *stmt, size_t i)
{
	const struct schema_column *column = &cmp->schema->columns[cmp->columns[i]];
	struct bound_value here, there;
	const char *text[2];
	size_t len[2];

	take(stmt, (int)(2 * i), &here);
	take(stmt, (int)(2 * i) + 1, &there);
	dynbuf_reset(&cmp->here);
	dynbuf_reset(&cmp->there);
	/* the app has 1 for true where the column is of texts */
	row_read_form(column, &here, &cmp->here);
	if (!value_print_stored(column, &here, &cmp->here, &text[0], &len[0]) ||
	    !value_print_stored(column, &there, &cmp->there, &text[1], &len[1]))
		return false;
	if (!text[0] || !text[1])
		return !text[0] && !text[1];
	return len[0] == len[1] && memcmp(text[0], text[1], len[0]) == 0;
}

static bool row_is_same(struct comparing *cmp, sqlite3_stmt *stmt)
{
	for (size_t i = 0; i < cmp->count; i++)
		if (!is_same(cmp, stmt, i))
			return false;
	return true;
}

/* ---- one table ---------------------------------------------------------------------------- */

/* What of a text key a column keeps as it is; see convert() in cache_bind.c. */
static const char *text_key(column_affinity affinity)
{
	if (affinity == AFFINITY_NUMERIC)
		return "CASE typeof(%s) WHEN 'text' THEN %s WHEN 'integer' THEN CASE WHEN %s"
		       " BETWEEN -999999999999999999 AND 999999999999999999"
		       " THEN CAST(%s AS TEXT) END END";
	return affinity == AFFINITY_TEXT ? "%s COLLATE BINARY"
					 : "CASE typeof(%s) WHEN 'text' THEN %s END";
}

static const char *number_key(value_class class, column_affinity affinity)
{
	bool whole = class != CLASS_FLOAT && class != CLASS_DECIMAL;

	if (affinity == AFFINITY_TEXT)
		return whole ? "CASE WHEN CAST(CAST(%s AS INTEGER) AS TEXT) = %s COLLATE BINARY"
			       " THEN CAST(%s AS INTEGER) END"
			     : "CASE WHEN CAST(CAST(%s AS REAL) AS TEXT) = %s COLLATE BINARY"
			       " THEN CAST(%s AS REAL) END";
	if (affinity == AFFINITY_NONE)
		return "CASE WHEN typeof(%s) IN ('integer', 'real') THEN %s END";
	/* whole numbers that a REAL column holds exactly */
	return whole && affinity == AFFINITY_REAL
		       ? "CASE WHEN %s BETWEEN -9007199254740992 AND 9007199254740992 THEN %s END"
		       : "%s";
}

/*
 * A key column of the file as the server has it.  NULL where it can be no key
 * of the server's: SQLite would find 917 in a column of numbers to be '0917',
 * which is another row, and that row's is not this one's place.
 */
static void add_key_value(struct dynbuf *b, const struct cached_table *t, size_t at)
{
	const struct schema_column *column = &t->schema->columns[at];
	column_affinity affinity = t->local[at].affinity;
	const char *form = "%s";

	if (column->class == CLASS_TEXT)
		form = text_key(affinity);
	else if (column->class != CLASS_BLOB)
		form = number_key(column->class, affinity);
	for (const char *next; (next = strstr(form, "%s")) != NULL; form = next + 2) {
		dynbuf_add(b, form, (size_t)(next - form));
		dynbuf_adds(b, "m.");
		schema_add_identifier(b, column->name);
	}
	dynbuf_adds(b, form);
}

static void add_on_key(struct dynbuf *b, const struct cached_table *t)
{
	const struct schema *s = t->schema;

	for (size_t i = 0; i < s->key_count; i++) {
		dynbuf_adds(b, i ? " AND s." : "s.");
		schema_add_identifier(b, s->columns[s->key[i]].name);
		dynbuf_adds(b, " = ");
		add_key_value(b, t, s->key[i]);
	}
}

void adopt_add_only_here(struct dynbuf *b, const struct cached_table *t)
{
	dynbuf_adds(b, " FROM main.");
	schema_add_identifier(b, t->schema->table);
	dynbuf_adds(b, " AS m WHERE NOT EXISTS (SELECT 1 FROM " SNAPSHOT_SCHEMA ".");
	schema_add_identifier(b, t->schema->table);
	dynbuf_adds(b, " AS s WHERE ");
	add_on_key(b, t);
	dynbuf_adds(b, ")");
}

/* The values of both sides, of the delivered columns that the file has. */
static void add_columns(struct comparing *cmp, struct dynbuf *sql)
{
	const struct schema *s = cmp->schema;

	for (size_t i = 0; i < s->column_count; i++) {
		if (s->columns[i].key_position >= 0 || cmp->t->local[i].missing)
			continue;
		dynbuf_adds(sql, cmp->count ? ", m." : "m.");
		schema_add_identifier(sql, s->columns[i].name);
		dynbuf_adds(sql, ", s.");
		schema_add_identifier(sql, s->columns[i].name);
		cmp->columns[cmp->count++] = i;
	}
}

static cs_status count_rows(sqlite3 *db, const char *where, const struct schema *s, int64_t *out,
			    struct cs_error *err)
{
	char *sql = sqlite3_mprintf("SELECT count(*) FROM %s.\"%w\"", where, s->table);
	cs_status st = sql ? store_integer(db, sql, out, err)
			   : cs_fail(err, CS_ERR_NOMEM, "out of memory");

	sqlite3_free(sql);
	return st;
}

static cs_status run_count(sqlite3 *db, struct dynbuf *sql, int64_t *out, struct cs_error *err)
{
	if (sql->failed)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return store_integer(db, sql->data, out, err);
}

static cs_status count_different(struct clinic_cache *c, struct comparing *cmp, int64_t *out,
				 struct cs_error *err)
{
	struct dynbuf *sql = &c->sql;
	sqlite3_stmt *stmt;
	cs_status st;
	int rc;

	dynbuf_reset(sql);
	dynbuf_adds(sql, "SELECT ");
	add_columns(cmp, sql);
	if (cmp->count == 0)
		return CS_OK;
	dynbuf_adds(sql, " FROM main.");
	schema_add_identifier(sql, cmp->schema->table);
	dynbuf_adds(sql, " AS m JOIN " SNAPSHOT_SCHEMA ".");
	schema_add_identifier(sql, cmp->schema->table);
	dynbuf_adds(sql, " AS s ON ");
	add_on_key(sql, cmp->t);
	if (sql->failed)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	st = store_prepare(c->db, sql->data, &stmt, err);
	if (st != CS_OK)
		return st;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		*out += !row_is_same(cmp, stmt);
	if (rc != SQLITE_DONE)
		st = store_fail(c->db, "compare the file", err);
	sqlite3_finalize(stmt);
	return st;
}

static cs_status compare(struct clinic_cache *c, const struct cached_table *t,
			 struct clinic_cache_table_difference *out, struct cs_error *err)
{
	const struct schema *s = t->schema;
	struct comparing cmp = {.t = t, .schema = s};
	struct dynbuf *sql = &c->sql;
	cs_status st = count_rows(c->db, "main", s, &out->here, err);

	if (st == CS_OK)
		st = count_rows(c->db, SNAPSHOT_SCHEMA, s, &out->there, err);
	dynbuf_reset(sql);
	dynbuf_adds(sql, "SELECT count(*)");
	adopt_add_only_here(sql, t);
	if (st == CS_OK)
		st = run_count(c->db, sql, &out->only_here, err);
	out->only_there = out->there - (out->here - out->only_here);
	cmp.columns = calloc(s->column_count + 1, sizeof(*cmp.columns));
	if (!cmp.columns && st == CS_OK)
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	dynbuf_init(&cmp.here, CACHE_MESSAGE_BYTES_MOST);
	dynbuf_init(&cmp.there, CACHE_MESSAGE_BYTES_MOST);
	if (st == CS_OK)
		st = count_different(c, &cmp, &out->different, err);
	dynbuf_free(&cmp.here);
	dynbuf_free(&cmp.there);
	free(cmp.columns);
	return st;
}

/* ---- all of them -------------------------------------------------------------------------- */

static cs_status compare_next(struct clinic_cache *c, const char *name,
			      struct clinic_cache_difference *out, struct cs_error *err)
{
	struct clinic_cache_table_difference *d = &out->tables[out->table_count];
	struct cached_table *t = NULL;
	cs_status st = adopt_table(c, name, &t, err);

	if (st == CS_OK)
		st = compare(c, t, d, err);
	if (st == CS_OK && d->here > 0) {
		strncpy(d->name, name, sizeof(d->name) - 1);
		out->table_count++;
	}
	table_free(t);
	return st;
}

cs_status difference_find(struct clinic_cache *c, struct clinic_cache_difference *out,
			  struct cs_error *err)
{
	char **names = NULL;
	size_t count = 0;
	cs_status st = adopt_list(c, &names, &count, err);

	difference_free(out);
	if (st == CS_OK)
		out->tables = calloc(count + 1, sizeof(*out->tables));
	if (st == CS_OK && !out->tables)
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < count && st == CS_OK; i++) {
		memset(&out->tables[out->table_count], 0, sizeof(*out->tables));
		st = compare_next(c, names[i], out, err);
	}
	names_free(names, count);
	if (st != CS_OK)
		difference_free(out);
	return st;
}

void difference_free(struct clinic_cache_difference *d)
{
	free(d->tables);
	d->tables = NULL;
	d->table_count = 0;
}

const struct clinic_cache_difference *clinic_cache_difference_of(const struct clinic_cache *c)
{
	return c->difference.table_count ? &c->difference : NULL;
}
