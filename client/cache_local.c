/*
 * What the file's own table is like, beside what the server says of it.
 *
 * An app's table has its own columns, in its own order and of its own types.
 * A delivered column that it lacks (or computes itself) is skipped wherever
 * rows are written, read or counted; one of another affinity holds a value in
 * that affinity's form.  A column that nobody delivers keeps what it has.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

/* Names by which SQLite knows a row's number, unless a column has them. */
static const char *const rowids[] = {"rowid", "_rowid_", "oid"};
#define ROWIDS (sizeof(rowids) / sizeof(rowids[0]))

/* What table_read_local() gathers on its way over the file's columns. */
struct local_columns {
	struct dynbuf names, declarations, extra;
	struct local_column *columns; /* by position in the schema */
	size_t delivered;
	struct extra_column *extras;
	size_t extra_count;
	int numbered;        /* which of them is of type INTEGER and the whole key; -1: none */
	size_t key_count;    /* columns of the file's own key */
	bool hidden[ROWIDS]; /* a column has that name of the rowid */
	bool failed;
};

static void add_to_list(struct dynbuf *b, const char *name)
{
	if (b->len)
		dynbuf_adds(b, ", ");
	schema_add_identifier(b, name);
}

static bool has_word(const char *type, const char *word)
{
	size_t len = strlen(word);

	for (; *type; type++) {
		size_t i = 0;

		while (i < len && (type[i] & ~0x20) == word[i])
			i++;
		if (i == len)
			return true;
	}
	return false;
}

/* SQLite's own rules, in their order (datatype3.html, 3.1). */
static column_affinity affinity_of(const char *type)
{
	if (has_word(type, "INT"))
		return AFFINITY_NUMERIC;
	if (has_word(type, "CHAR") || has_word(type, "CLOB") || has_word(type, "TEXT"))
		return AFFINITY_TEXT;
	if (!type[0] || has_word(type, "BLOB"))
		return AFFINITY_NONE;
	if (has_word(type, "REAL") || has_word(type, "FLOA") || has_word(type, "DOUB"))
		return AFFINITY_REAL;
	return AFFINITY_NUMERIC;
}

/* Would a value of the class come out of such a column in another form than it went in? */
static bool converts(value_class class, column_affinity affinity)
{
	switch (class) {
	case CLASS_TEXT:
		return affinity == AFFINITY_NUMERIC || affinity == AFFINITY_REAL;
	case CLASS_BOOLEAN:
	case CLASS_INTEGER:
	case CLASS_BIGINT:
		return affinity == AFFINITY_TEXT || affinity == AFFINITY_REAL;
	case CLASS_FLOAT:
	case CLASS_DECIMAL:
		return affinity == AFFINITY_TEXT;
	case CLASS_BLOB:
		break;
	}
	return false;
}

/* What a column that nobody delivers gets in a new row, if it must have something. */
static const char *fill_of(const char *type)
{
	static const char *const numeric[] = {"INT", "REAL", "FLOA", "DOUB", "NUM", "DEC", "BOOL"};

	for (size_t i = 0; i < sizeof(numeric) / sizeof(numeric[0]); i++)
		if (has_word(type, numeric[i]))
			return "0";
	return "''";
}

/* SQLite's names of columns know no case: an app's ID is the server's id. */
int table_find_delivered(const struct schema *schema, const char *name)
{
	for (size_t i = 0; i < schema->column_count; i++)
		if (platform_same_name(schema->columns[i].name, name))
			return (int)i;
	return -1;
}

static void note_delivered(struct local_columns *l, const struct schema_column *column,
			   struct local_column *local, const char *type)
{
	local->missing = false;
	local->affinity = affinity_of(type);
	local->converted = converts(column->class, local->affinity);
	l->delivered++;
}

/* fill NULL: a new row gets something there of itself. */
static void add_extra(struct local_columns *l, const char *name, const char *fill, bool numbers)
{
	struct extra_column *grown =
		realloc(l->extras, (l->extra_count + 1) * sizeof(l->extras[0]));
	char *copy = strdup(name);

	if (grown)
		l->extras = grown;
	if (!grown || !copy) {
		free(copy);
		l->failed = true;
		return;
	}
	add_to_list(&l->extra, name);
	if (numbers)
		l->numbered = (int)l->extra_count;
	l->extras[l->extra_count++] = (struct extra_column){.name = copy, .fill = fill};
}

static void add_local_column(struct local_columns *l, const struct schema *schema,
			     sqlite3_stmt *stmt)
{
	const char *name = (const char *)sqlite3_column_text(stmt, 1);
	const char *type = (const char *)sqlite3_column_text(stmt, 2);
	const char *dflt = (const char *)sqlite3_column_text(stmt, 4);
	bool empty_default = !dflt || platform_same_name(dflt, "NULL");
	bool must_have = sqlite3_column_int(stmt, 3) && empty_default;
	int at = table_find_delivered(schema, name);

	for (size_t i = 0; i < ROWIDS; i++)
		l->hidden[i] = l->hidden[i] || platform_same_name(name, rowids[i]);
	l->key_count += sqlite3_column_int(stmt, 5) > 0;
	add_to_list(&l->names, name);
	add_to_list(&l->declarations, name);
	/* only the affinity matters to the twin; INTEGER bare, so that a key stays the rowid */
	if (type && platform_same_name(type, "INTEGER")) {
		dynbuf_adds(&l->declarations, " INTEGER");
	} else if (type && type[0]) {
		dynbuf_adds(&l->declarations, " ");
		schema_add_identifier(&l->declarations, type);
	}
	if (dflt)
		dynbuf_addf(&l->declarations, " DEFAULT (%s)", dflt);
	if (at >= 0) {
		note_delivered(l, &schema->columns[at], &l->columns[at], type ? type : "");
		return;
	}
	add_extra(l, name, must_have ? fill_of(type ? type : "") : NULL,
		  type && platform_same_name(type, "INTEGER") && sqlite3_column_int(stmt, 5));
}

static cs_status replace_text(char **slot, struct dynbuf *text, bool null_if_empty,
			      struct cs_error *err)
{
	free(*slot);
	*slot = NULL;
	if (text->failed)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (text->len == 0 && null_if_empty)
		return CS_OK;
	*slot = strdup(text->len ? text->data : "");
	return *slot ? CS_OK : cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

/* Does a column compare otherwise than byte by byte? Only SQLite's catalog says. */
static bool is_collated(sqlite3 *db, const struct schema *schema, size_t position)
{
	const char *collation = NULL;

	return sqlite3_table_column_metadata(db, "main", schema->table,
					     schema->columns[position].name, NULL, &collation, NULL,
					     NULL, NULL) == SQLITE_OK &&
	       collation && !platform_same_name(collation, "BINARY");
}

static void keep_columns(sqlite3 *db, struct cached_table *t, struct local_columns *l)
{
	const struct schema *s = t->schema;

	free(t->local);
	t->local = l->columns;
	l->columns = NULL;
	t->missing = s->column_count - l->delivered;
	t->converts = t->key_converts = t->key_collates = false;
	extra_free(t);
	t->extra = l->extras;
	t->extra_count = l->extra_count;
	l->extras = NULL;
	l->extra_count = 0;
	for (size_t i = 0; i < s->column_count; i++) {
		t->local[i].collated = is_collated(db, s, i);
		t->converts = t->converts || t->local[i].converted;
	}
	for (size_t i = 0; i < s->key_count; i++) {
		t->key_converts = t->key_converts || t->local[s->key[i]].converted;
		t->key_collates = t->key_collates || t->local[s->key[i]].collated;
	}
}

static cs_status ask(sqlite3 *db, const char *format, const struct cached_table *t, int64_t *out,
		     struct cs_error *err)
{
	char *sql = sqlite3_mprintf(format, t->schema->table);
	cs_status st = sql ? store_integer(db, sql, out, err)
			   : cs_fail(err, CS_ERR_NOMEM, "out of memory");

	sqlite3_free(sql);
	return st;
}

/* Has a row a number, and is that a column? */
static cs_status read_numbering(sqlite3 *db, struct cached_table *t, const struct local_columns *l,
				struct cs_error *err)
{
	int64_t without = 0;
	int64_t index = 0;
	bool is_column;
	cs_status st = ask(db, "SELECT wr FROM pragma_table_list(%Q) WHERE schema = 'main'", t,
			   &without, err);

	/* the one key that needs no index is the number itself */
	if (st == CS_OK)
		st = ask(db,
			 "SELECT EXISTS(SELECT 1 FROM pragma_index_list(%Q, 'main')"
			 " WHERE origin = 'pk')",
			 t, &index, err);
	is_column = l->key_count == 1 && !index && !without;
	t->numbered = is_column ? l->numbered : -1;
	t->kept_most = NUMBER_UNKNOWN;
	t->rowid = NULL;
	if (t->numbered >= 0)
		t->extra[t->numbered].fill = NULL;
	for (size_t i = 0; i < ROWIDS && !without && !is_column && !t->rowid; i++)
		if (!l->hidden[i])
			t->rowid = rowids[i];
	return st;
}

static cs_status keep_local(sqlite3 *db, struct cached_table *t, struct local_columns *l,
			    struct cs_error *err)
{
	cs_status st = replace_text(&t->local_names, &l->names, false, err);

	if (st == CS_OK)
		st = replace_text(&t->local_declarations, &l->declarations, false, err);
	if (st == CS_OK)
		st = replace_text(&t->extra_names, &l->extra, true, err);
	if (st == CS_OK && l->failed)
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (st == CS_OK)
		keep_columns(db, t, l);
	return st == CS_OK ? read_numbering(db, t, l, err) : st;
}

/* Rows without their key cannot be told apart; a table of ours has every column. */
static bool has_enough(const struct cached_table *t, const struct local_columns *l)
{
	const struct schema *s = t->schema;

	for (size_t i = 0; i < s->key_count; i++)
		if (l->columns[s->key[i]].missing)
			return false;
	return t->adopted ? l->delivered > 0 : l->delivered == s->column_count;
}

static cs_status read_columns(sqlite3 *db, struct cached_table *t, struct local_columns *l,
			      struct cs_error *err)
{
	sqlite3_stmt *stmt;
	/* without the columns that the table computes: nobody can write those */
	cs_status st = store_prepare(db, "SELECT * FROM pragma_table_info(?1, 'main')", &stmt, err);
	int rc;

	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, t->schema->table, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		add_local_column(l, t->schema, stmt);
	if (rc != SQLITE_DONE)
		st = store_fail(db, "read a table's columns", err);
	else if (!has_enough(t, l))
		st = cs_fail(err, CS_ERR_DIVERGED,
			     "table %s is not in the file as the server knows it",
			     t->schema->table);
	else
		st = keep_local(db, t, l, err);
	sqlite3_finalize(stmt);
	return st;
}

cs_status table_read_local(sqlite3 *db, struct cached_table *t, struct cs_error *err)
{
	struct local_columns l = {.numbered = -1};
	struct dynbuf *lists[] = {&l.names, &l.declarations, &l.extra};
	size_t lists_count = sizeof(lists) / sizeof(lists[0]);
	cs_status st;

	l.columns = calloc(t->schema->column_count, sizeof(*l.columns));
	if (!l.columns)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < t->schema->column_count; i++)
		l.columns[i].missing = true;
	for (size_t i = 0; i < lists_count; i++)
		dynbuf_init(lists[i], CACHE_SQL_BYTES_MOST);
	st = read_columns(db, t, &l, err);
	for (size_t i = 0; i < lists_count; i++)
		dynbuf_free(lists[i]);
	free(l.columns);
	for (size_t i = 0; i < l.extra_count; i++)
		free(l.extras[i].name);
	free(l.extras);
	return st;
}

cs_status table_add_skipped(const struct cached_table *t, struct dynbuf *out, bool *any,
			    struct cs_error *err)
{
	*any = false;
	for (size_t i = 0; i < t->schema->column_count; i++) {
		const char *name = t->schema->columns[i].name;

		if (!t->local[i].missing)
			continue;
		dynbuf_adds(out, *any ? "," : "");
		dynbuf_add_json(out, name, strlen(name));
		*any = true;
	}
	return out->failed ? cs_fail(err, CS_ERR_NOMEM, "out of memory") : CS_OK;
}
