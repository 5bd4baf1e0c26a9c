/*
 * A staged table takes the place of the live one's rows, in one transaction.
 *
 * The staged rows are the server's at S.  Since the table was asked for at R
 * all changes to it were kept, up to the file's cursor D, and R <= S <= D.
 * First the rows that differ, and those that any kept change touches, become
 * what they are in the staged table: then the table is the server's at S,
 * with all that the schema promises.  Then all kept changes are applied once
 * more.  Those up to S are in it already, but each column and row ends as the
 * last change to it left it, so the table ends at D.
 */
#include "cache_repair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct swapping {
	struct clinic_cache *c;
	struct swap *s;
	struct cached_table *t;
	sqlite3_stmt *note; /* a key into the list */
	bool slow;
	bool unique;
	struct cs_error *err;
};

typedef cs_status kept_fn(struct swapping *w, const struct wire_change *change);

struct reading {
	struct swapping *w;
	kept_fn *on_change;
};

static cs_status read_one(void *context, const struct wire_change *change, struct cs_error *err)
{
	struct reading *r = context;

	(void)err;
	if (change->table.form != WIRE_STRING ||
	    !wire_is(change->table.text, change->table.len, r->w->t->schema->table))
		return CS_OK;
	return r->on_change(r->w, change);
}

/* Every kept change of the table. */
static cs_status read_kept(struct swapping *w, kept_fn *on_change)
{
	struct reading r = {w, on_change};
	cs_status st = CS_OK;
	char *message = NULL;
	size_t len = 0;

	if (!w->s->kept)
		return CS_OK;
	stage_rewind(w->s->kept);
	while (st == CS_OK && (st = stage_next(w->s->kept, &message, &len, w->err)) == CS_OK &&
	       message) {
		st = changes_read(message, len, read_one, &r, w->err);
		free(message);
		message = NULL;
	}
	return st;
}

/* ---- the rows ---------------------------------------------------------------------------- */

static cs_status note_key(struct swapping *w, const struct wire_change *change)
{
	cs_status st;

	if (!change->key.there) {
		/* it concerns all of them */
		w->s->whole = true;
		return CS_OK;
	}
	st = bind_key(w->note, 1, w->t, &change->key, &w->c->scratch, w->err);
	if (st == CS_OK && sqlite3_step(w->note) != SQLITE_DONE)
		st = store_fail(w->c->db, "note a row that changed", w->err);
	sqlite3_reset(w->note);
	return st;
}

static cs_status note_kept(struct swapping *w)
{
	struct dynbuf *sql = &w->c->sql;
	cs_status st;

	if (w->s->whole)
		return CS_OK;
	dynbuf_reset(sql);
	for (size_t i = 0; i < w->t->schema->key_count; i++)
		dynbuf_addf(sql, "%s?%zu",
			    i ? ", " : "INSERT OR IGNORE INTO temp." REPAIR_LIST " VALUES(", i + 1);
	if (!dynbuf_adds(sql, ")"))
		return cs_fail(w->err, CS_ERR_NOMEM, "out of memory");
	st = store_prepare(w->c->db, sql->data, &w->note, w->err);
	if (st == CS_OK)
		st = read_kept(w, note_key);
	sqlite3_finalize(w->note);
	w->note = NULL;
	return st;
}

static cs_status count(struct swapping *w, const char *sql_of_table, int64_t *out)
{
	char *sql = sqlite3_mprintf(sql_of_table, w->t->schema->table);
	cs_status st = sql ? store_integer(w->c->db, sql, out, w->err)
			   : cs_fail(w->err, CS_ERR_NOMEM, "out of memory");

	sqlite3_free(sql);
	return st;
}

static cs_status run_on_table(struct swapping *w, const char *format)
{
	char *sql = sqlite3_mprintf(format, w->t->schema->table, w->t->schema->table);
	cs_status st = sql ? store_exec(w->c->db, sql, w->err)
			   : cs_fail(w->err, CS_ERR_NOMEM, "out of memory");

	sqlite3_free(sql);
	return st;
}

static cs_status replace_all(struct swapping *w)
{
	cs_status st = count(w, "SELECT count(*) FROM " REPAIR_SCHEMA ".\"%w\"", &w->s->written);

	return st == CS_OK ? rows_load(w->c, w->t, REPAIR_SCHEMA, w->err) : st;
}

static cs_status replace_listed(struct swapping *w)
{
	cs_status st = store_integer(w->c->db, "SELECT count(*) FROM temp." REPAIR_LIST,
				     &w->s->written, w->err);

	/* what is parked is in no table that was compared */
	if (st == CS_OK && (w->s->written || w->t->has_parked))
		st = rows_load_listed(w->c, w->t, REPAIR_SCHEMA, REPAIR_LIST, w->err);
	return st;
}

/* Rows that are not held are in no table, so they are in no list either. */
static cs_status replace_oversize(struct swapping *w)
{
	int64_t any = 0;
	cs_status st = run_on_table(w, "DELETE FROM main.clinic_sync_oversize WHERE \"table\" = %Q"
				       " AND key NOT IN (SELECT key FROM " REPAIR_SCHEMA
				       ".clinic_sync_oversize WHERE \"table\" = %Q)");

	if (st == CS_OK)
		st = run_on_table(w, "INSERT OR IGNORE INTO main.clinic_sync_oversize"
				     " SELECT \"table\", key FROM " REPAIR_SCHEMA
				     ".clinic_sync_oversize WHERE \"table\" = %Q");
	if (st == CS_OK)
		st = count(w,
			   "SELECT EXISTS (SELECT 1 FROM main.clinic_sync_oversize"
			   " WHERE \"table\" = %Q)",
			   &any);
	w->t->has_oversize = any != 0;
	return st;
}

/* ---- the changes ------------------------------------------------------------------------- */

static cs_status apply_again(struct swapping *w, const struct wire_change *change)
{
	return apply_change(w->c, change, w->slow, &w->unique, w->err);
}

static cs_status apply_kept(struct swapping *w)
{
	cs_status st = read_kept(w, apply_again);

	if (st == CS_OK && w->slow)
		st = slow_finish(w->c, w->err);
	if (st == CS_OK && w->t->has_parked)
		st = parked_retry_table(w->c, w->t, w->err);
	return st;
}

static cs_status note_repair(struct swapping *w)
{
	char text[24];
	int64_t repairs = 0;
	cs_status st = store_integer(
		w->c->db, "SELECT value FROM main.clinic_sync_meta WHERE key = 'repairs'", &repairs,
		w->err);

	if (st != CS_OK || !w->s->counted)
		return st;
	snprintf(text, sizeof(text), "%lld", (long long)repairs + 1);
	return meta_set(w->c->db, "repairs", text, w->err);
}

/* ---- the transaction --------------------------------------------------------------------- */

static cs_status in_transaction(struct swapping *w)
{
	cs_status st = note_kept(w);

	if (st == CS_OK)
		st = w->s->whole || w->t->key_converts ? replace_all(w) : replace_listed(w);
	if (st == CS_OK)
		st = replace_oversize(w);
	if (st == CS_OK)
		st = apply_kept(w);
	if (st == CS_OK)
		st = count(w, "SELECT count(*) FROM main.\"%w\"", &w->s->rows);
	if (st == CS_OK)
		st = note_repair(w);
	if (st == CS_OK)
		st = drift_forget_due(w->c, w->t->schema->table, w->err);
	return st;
}

/* CS_AGAIN with w->unique: a unique value changes hands, the slow form is due. */
static cs_status attempt(struct swapping *w)
{
	struct clinic_cache *c = w->c;
	cs_status st = write_begin(c, WRITE_LONG, w->err);

	if (st != CS_OK)
		return st;
	w->t = tables_find(&c->tables, w->s->table, strlen(w->s->table));
	w->unique = false;
	if (!w->t)
		st = cs_fail(w->err, CS_ERR_STORE, "a table is gone from the file");
	else
		w->t->lenient = true;
	if (st == CS_OK)
		st = in_transaction(w);
	if (st == CS_OK)
		st = write_commit(c, w->err);
	if (st == CS_OK) {
		w->t->lenient = false;
		parked_tell(c);
		return drift_mark(c, w->err);
	}
	statements_clear(c);
	write_rollback(c);
	if (cache_reload(c, w->err) != CS_OK)
		cache_close_file(c);
	return st;
}

cs_status swap_table(struct clinic_cache *c, struct swap *s, struct cs_error *err)
{
	struct swapping w = {.c = c, .s = s, .err = err};
	cs_status st;

	statements_clear(c);
	st = part_attach(c, s->path, err);
	if (st != CS_OK)
		return st;
	do {
		st = attempt(&w);
		if (st == CS_AGAIN && w.unique && !w.slow && c->db) {
			w.slow = true;
			st = attempt(&w);
		}
	} while (st != CS_OK && c->db && write_try_again(c, err));
	if (st == CS_AGAIN)
		st = cs_fail(err, CS_ERR_STORE,
			     "table %s: rows of the file stand against the server's", s->table);
	statements_clear(c);
	if (c->db)
		part_detach(c);
	return st;
}
