/*
 * A staged table against the live one, some thousand rows at a time.
 *
 * Both are walked in the order of their keys, and the keys of rows that differ
 * are noted in a temporary list; nothing is locked for writing meanwhile, and
 * frames come in between.  A row that a frame changes after it was compared is
 * no loss: the changes since the table was asked for are kept, and their rows
 * are replaced, too (cache_swap.c).
 *
 * The walk needs both in the same order.  Where SQLite makes something else of
 * a key in the file (an app's TEXT column for numbers) they are not, and rows
 * cannot be told one by one: then all of them are replaced.
 *
 * Values are compared with the columns' affinities and without their
 * collations, and the texts of clinic_sync_exact beside them: what is equal
 * here is equal to a digest.  On a connection that is lent to us nothing may
 * stay open between two calls, so the staged file is attached for each step.
 */
#include "cache_repair.h"

#include <stdlib.h>
#include <string.h>

#define STEP_ROWS 2000
#define STEPS_TO_SPARE 1000 /* for rows that come while it is walked */
#define OPERANDS_MOST 100   /* in one chain: SQLite limits the depth of an expression */

struct comparing {
	struct clinic_cache *c;
	const struct cached_table *t;
	struct compare_walk *walk;
	struct dynbuf sql;
	sqlite3_value **upto; /* key where this step ends; NULL: with the table */
	struct cs_error *err;
};

cs_status part_attach(struct clinic_cache *c, const char *path, struct cs_error *err)
{
	char *sql = sqlite3_mprintf("ATTACH %Q AS " REPAIR_SCHEMA, path);
	cs_status st =
		sql ? store_exec(c->db, sql, err) : cs_fail(err, CS_ERR_NOMEM, "out of memory");

	sqlite3_free(sql);
	return st;
}

void part_detach(struct clinic_cache *c)
{
	sqlite3_exec(c->db, "DETACH " REPAIR_SCHEMA, NULL, NULL, NULL);
}

/* ---- keys ------------------------------------------------------------------------------- */

static void free_key(sqlite3_value **key, size_t count)
{
	for (size_t i = 0; key && i < count; i++)
		sqlite3_value_free(key[i]);
	free(key);
}

/* The key columns of the row that stmt is on. *out NULL: out of memory. */
static sqlite3_value **copy_key(sqlite3_stmt *stmt, size_t count)
{
	sqlite3_value **key = calloc(count, sizeof(sqlite3_value *));

	for (size_t i = 0; key && i < count; i++) {
		key[i] = sqlite3_value_dup(sqlite3_column_value(stmt, (int)i));
		if (!key[i]) {
			free_key(key, count);
			return NULL;
		}
	}
	return key;
}

static void bind_key_at(sqlite3_stmt *stmt, size_t first, sqlite3_value **key, size_t count)
{
	for (size_t i = 0; key && i < count; i++)
		sqlite3_bind_value(stmt, (int)(first + i), key[i]);
}

static const char *key_name(const struct comparing *k, size_t i)
{
	return k->t->schema->columns[k->t->schema->key[i]].name;
}

/* ---- pieces of SQL ---------------------------------------------------------------------- */

static void add(struct comparing *k, const char *text)
{
	dynbuf_adds(&k->sql, text);
}

static void add_column(struct comparing *k, const char *alias, const char *name)
{
	add(k, alias);
	add(k, ".");
	schema_add_identifier(&k->sql, name);
}

/* An app's table may sort a key column in a way of its own. */
static bool sorts_by_bytes(const struct comparing *k, const char *alias, size_t i)
{
	return alias[0] != 'l' || !k->t->local[k->t->schema->key[i]].collated;
}

static void add_key_columns(struct comparing *k, const char *alias, bool for_order)
{
	for (size_t i = 0; i < k->t->schema->key_count; i++) {
		add(k, i ? ", " : "");
		add_column(k, alias, key_name(k, i));
		if (for_order && !sorts_by_bytes(k, alias, i))
			add(k, " COLLATE BINARY");
	}
}

static void add_table(struct comparing *k, const char *alias)
{
	add(k, alias[0] == 'l' ? "main." : REPAIR_SCHEMA ".");
	schema_add_identifier(&k->sql, k->t->schema->table);
	add(k, " AS ");
	add(k, alias);
}

static void add_parameters(struct comparing *k, size_t first)
{
	for (size_t i = 0; i < k->t->schema->key_count; i++)
		dynbuf_addf(&k->sql, "%s?%zu", i ? ", " : "(", first + i);
	add(k, ")");
}

/* The rows of this step: behind the last key, parameters 1 …, up to the next, those after. */
static void add_range(struct comparing *k, const char *alias)
{
	add(k, "1");
	if (k->walk->last) {
		add(k, " AND (");
		add_key_columns(k, alias, true);
		add(k, ") > ");
		add_parameters(k, 1);
	}
	if (k->upto) {
		add(k, " AND (");
		add_key_columns(k, alias, true);
		add(k, ") <= ");
		add_parameters(k, 1 + k->t->schema->key_count);
	}
}

static void add_same_key(struct comparing *k)
{
	for (size_t i = 0; i < k->t->schema->key_count; i++) {
		add(k, i ? " AND " : "");
		/* the staged table's first: its collation counts */
		add_column(k, "s", key_name(k, i));
		add(k, " = ");
		add_column(k, "l", key_name(k, i));
	}
}

static void add_difference(struct comparing *k)
{
	const struct schema *s = k->t->schema;
	size_t operands = 0;

	add(k, "((l.");
	schema_add_identifier(&k->sql, key_name(k, 0));
	add(k, " IS NULL");
	for (size_t i = 0; i < s->column_count; i++) {
		if (s->columns[i].key_position >= 0 || k->t->local[i].missing)
			continue;
		add(k, ++operands % OPERANDS_MOST ? " OR " : ") OR (");
		add_column(k, "s", s->columns[i].name);
		add(k, " IS NOT ");
		add_column(k, "l", s->columns[i].name);
	}
	add(k, "))");
}

/* ---- steps ------------------------------------------------------------------------------ */

static cs_status prepare(struct comparing *k, sqlite3_stmt **out)
{
	cs_status st;

	*out = NULL;
	if (k->sql.failed)
		return cs_fail(k->err, CS_ERR_NOMEM, "out of memory");
	st = store_prepare(k->c->db, k->sql.data, out, k->err);
	if (st != CS_OK)
		return st;
	bind_key_at(*out, 1, k->walk->last, k->walk->key_count);
	bind_key_at(*out, 1 + k->walk->key_count, k->upto, k->walk->key_count);
	return CS_OK;
}

static cs_status run(struct comparing *k)
{
	sqlite3_stmt *stmt;
	cs_status st = prepare(k, &stmt);

	if (st == CS_OK && sqlite3_step(stmt) != SQLITE_DONE)
		st = store_fail(k->c->db, "compare a table", k->err);
	sqlite3_finalize(stmt);
	return st;
}

/* Where the step ends: at row STEP_ROWS of either table, whichever comes first. */
static cs_status find_end(struct comparing *k)
{
	static const char *const aliases[] = {"s", "l"};
	sqlite3_stmt *stmt;
	cs_status st;
	int rc;

	dynbuf_reset(&k->sql);
	add(k, "SELECT * FROM (");
	for (size_t i = 0; i < 2; i++) {
		add(k, i ? " UNION ALL SELECT * FROM (SELECT " : "SELECT * FROM (SELECT ");
		add_key_columns(k, aliases[i], false);
		add(k, " FROM ");
		add_table(k, aliases[i]);
		add(k, " WHERE ");
		add_range(k, aliases[i]);
		add(k, " ORDER BY ");
		add_key_columns(k, aliases[i], true);
		dynbuf_addf(&k->sql, " LIMIT 1 OFFSET %d)", STEP_ROWS - 1);
	}
	add(k, ") ORDER BY ");
	for (size_t i = 0; i < k->t->schema->key_count; i++)
		dynbuf_addf(&k->sql, "%s%zu", i ? ", " : "", i + 1);
	add(k, " LIMIT 1");
	st = prepare(k, &stmt);
	if (st != CS_OK)
		return st;
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		k->upto = copy_key(stmt, k->walk->key_count);
		if (!k->upto)
			st = cs_fail(k->err, CS_ERR_NOMEM, "out of memory");
	} else if (rc != SQLITE_DONE) {
		st = store_fail(k->c->db, "compare a table", k->err);
	}
	sqlite3_finalize(stmt);
	return st;
}

/* Rows that the file lacks, or has otherwise. */
static cs_status list_different(struct comparing *k)
{
	dynbuf_reset(&k->sql);
	add(k, "INSERT OR IGNORE INTO temp." REPAIR_LIST " SELECT ");
	add_key_columns(k, "s", false);
	add(k, " FROM ");
	add_table(k, "s");
	add(k, " LEFT JOIN ");
	add_table(k, "l");
	add(k, " ON ");
	add_same_key(k);
	add(k, " WHERE ");
	add_range(k, "s");
	add(k, " AND ");
	add_difference(k);
	return run(k);
}

/* Rows that only the file has. */
static cs_status list_extra(struct comparing *k)
{
	dynbuf_reset(&k->sql);
	add(k, "INSERT OR IGNORE INTO temp." REPAIR_LIST " SELECT ");
	add_key_columns(k, "l", false);
	add(k, " FROM ");
	add_table(k, "l");
	add(k, " WHERE ");
	add_range(k, "l");
	add(k, " AND NOT EXISTS (SELECT 1 FROM ");
	add_table(k, "s");
	add(k, " WHERE ");
	add_same_key(k);
	add(k, ")");
	return run(k);
}

/* ---- the texts beside the rows ---------------------------------------------------------- */

/* Exact texts that only one of the two has. */
static void add_exact_difference(struct comparing *k)
{
	static const char one[] = "SELECT key, column, value FROM %s.clinic_sync_exact"
				  " WHERE \"table\" = ?1";

	for (int pass = 0; pass < 2; pass++) {
		add(k, pass ? " UNION ALL SELECT key FROM (" : "SELECT key FROM (");
		dynbuf_addf(&k->sql, one, pass ? "main" : REPAIR_SCHEMA);
		add(k, " EXCEPT ");
		dynbuf_addf(&k->sql, one, pass ? REPAIR_SCHEMA : "main");
		add(k, ")");
	}
}

/* Can SQLite take the key out of its JSON text as the column has it? */
static bool key_is_plain(const struct schema *s)
{
	for (size_t i = 0; i < s->key_count; i++) {
		const struct schema_column *column = &s->columns[s->key[i]];

		if (column->class == CLASS_FLOAT || column->class == CLASS_DECIMAL ||
		    column->class == CLASS_BLOB || strpbrk(column->name, "\"\\"))
			return false;
	}
	return true;
}

static cs_status list_exact(struct comparing *k)
{
	const struct schema *s = k->t->schema;
	bool plain = key_is_plain(s);
	sqlite3_stmt *stmt = NULL;
	cs_status st;
	int rc;

	dynbuf_reset(&k->sql);
	if (plain)
		add(k, "INSERT OR IGNORE INTO temp." REPAIR_LIST " ");
	for (size_t i = 0; plain && i < s->key_count; i++) {
		char *path = sqlite3_mprintf("%s json_extract(key, '$.\"%q\"')", i ? "," : "SELECT",
					     key_name(k, i));

		add(k, path ? path : "");
		sqlite3_free(path);
	}
	add(k, plain ? " FROM (" : "SELECT EXISTS (");
	add_exact_difference(k);
	add(k, ")");
	if (k->sql.failed)
		return cs_fail(k->err, CS_ERR_NOMEM, "out of memory");
	st = store_prepare(k->c->db, k->sql.data, &stmt, k->err);
	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, s->table, -1, SQLITE_STATIC);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		k->walk->whole = k->walk->whole || sqlite3_column_int(stmt, 0);
	else if (rc != SQLITE_DONE)
		st = store_fail(k->c->db, "compare a table", k->err);
	sqlite3_finalize(stmt);
	return st;
}

/* ---- from outside ----------------------------------------------------------------------- */

static void end(struct comparing *k)
{
	free_key(k->upto, k->walk->key_count);
	dynbuf_free(&k->sql);
}

static cs_status ask(struct comparing *k, int64_t *out)
{
	if (k->sql.failed)
		return cs_fail(k->err, CS_ERR_NOMEM, "out of memory");
	return store_integer(k->c->db, k->sql.data, out, k->err);
}

/* Each step but the last goes over STEP_ROWS rows of one of the two. */
static cs_status count_steps(struct comparing *k, int64_t staged)
{
	int64_t live = 0;
	cs_status st;

	dynbuf_reset(&k->sql);
	add(k, "SELECT count(*) FROM ");
	add_table(k, "l");
	st = ask(k, &live);
	k->walk->steps_left = (staged + live) / STEP_ROWS + STEPS_TO_SPARE;
	return st;
}

/* A key that is null is found by no comparison. */
static cs_status look_for_null_keys(struct comparing *k)
{
	int64_t found = 0;
	cs_status st;

	dynbuf_reset(&k->sql);
	add(k, "SELECT EXISTS (SELECT 1 FROM ");
	add_table(k, "l");
	for (size_t i = 0; i < k->t->schema->key_count; i++) {
		add(k, i ? " OR " : " WHERE ");
		add_column(k, "l", key_name(k, i));
		add(k, " IS NULL");
	}
	add(k, ")");
	st = ask(k, &found);
	k->walk->whole = found != 0;
	return st;
}

/* Can the two be walked together? */
static cs_status look_at_keys(struct comparing *k, int64_t staged)
{
	cs_status st;

	if (k->t->key_converts) {
		k->walk->whole = true;
		return CS_OK;
	}
	st = look_for_null_keys(k);
	return st == CS_OK ? count_steps(k, staged) : st;
}

cs_status compare_begin(struct clinic_cache *c, const struct cached_table *t, int64_t staged,
			struct compare_walk *walk, struct cs_error *err)
{
	const struct schema *s = t->schema;
	struct comparing k = {.c = c, .t = t, .walk = walk, .err = err};
	cs_status st;

	memset(walk, 0, sizeof(*walk));
	walk->key_count = s->key_count;
	dynbuf_init(&k.sql, CACHE_SQL_BYTES_MOST);
	add(&k, "DROP TABLE IF EXISTS temp." REPAIR_LIST ";CREATE TABLE temp." REPAIR_LIST);
	for (size_t i = 0; i < s->key_count; i++) {
		add(&k, i ? ", " : "(");
		schema_add_identifier(&k.sql, key_name(&k, i));
		dynbuf_addf(&k.sql, " %s", schema_sqlite_type(s->columns[s->key[i]].class));
	}
	add(&k, ", PRIMARY KEY(");
	for (size_t i = 0; i < s->key_count; i++) {
		add(&k, i ? ", " : "");
		schema_add_identifier(&k.sql, key_name(&k, i));
	}
	add(&k, "))");
	st = k.sql.failed ? cs_fail(err, CS_ERR_NOMEM, "out of memory")
			  : store_exec(c->db, k.sql.data, err);
	if (st == CS_OK)
		st = look_at_keys(&k, staged);
	end(&k);
	return st;
}

static cs_status step(struct comparing *k)
{
	cs_status st = find_end(k);

	if (st == CS_OK)
		st = list_different(k);
	if (st == CS_OK)
		st = list_extra(k);
	if (st != CS_OK)
		return st;
	if (!k->upto) {
		k->walk->over = true;
		return list_exact(k);
	}
	free_key(k->walk->last, k->walk->key_count);
	k->walk->last = k->upto;
	k->upto = NULL;
	return CS_OK;
}

cs_status compare_step(struct clinic_cache *c, const struct cached_table *t, const char *path,
		       struct compare_walk *walk, struct cs_error *err)
{
	struct comparing k = {.c = c, .t = t, .walk = walk, .err = err};
	cs_status st = part_attach(c, path, err);

	if (st != CS_OK)
		return st;
	dynbuf_init(&k.sql, CACHE_SQL_BYTES_MOST);
	walk->whole = walk->whole || walk->steps_left-- <= 0;
	if (walk->whole)
		walk->over = true;
	else
		st = step(&k);
	end(&k);
	part_detach(c);
	return st;
}

void compare_end(struct clinic_cache *c, struct compare_walk *walk)
{
	if (walk->key_count && c->db)
		sqlite3_exec(c->db, "DROP TABLE IF EXISTS temp." REPAIR_LIST, NULL, NULL, NULL);
	free_key(walk->last, walk->key_count);
	memset(walk, 0, sizeof(*walk));
}
