/*
 * One frame, one SQLite transaction, and the cursor in it.
 *
 * Whatever ends the process in between, the file holds the frame whole with
 * its cursor, or neither.  Events are told after the COMMIT, from the messages
 * themselves: a giant batch is read again instead of being remembered.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

void source_rewind(struct frame_source *s)
{
	s->next = 0;
	if (s->stage)
		stage_rewind(s->stage);
}

cs_status source_next(struct frame_source *s, const char **out, size_t *len, struct cs_error *err)
{
	cs_status st = CS_OK;

	*out = NULL;
	*len = 0;
	if (s->stage) {
		free(s->held);
		st = stage_next(s->stage, &s->held, len, err);
		*out = s->held;
	} else if (s->next < s->count) {
		*out = s->frames[s->next].bytes;
		*len = s->frames[s->next].len;
		s->next++;
	}
	return st;
}

void source_done(struct frame_source *s)
{
	free(s->held);
	s->held = NULL;
}

cs_status cache_reload(struct clinic_cache *c, struct cs_error *err)
{
	cs_status st;

	statements_clear(c);
	tables_free(&c->tables);
	st = tables_load(c->db, &c->tables, err);
	return st == CS_OK ? drift_mark(c, err) : st;
}

struct applying_all {
	struct clinic_cache *c;
	bool slow;
	bool *unique;
};

static cs_status apply_one(void *context, const struct wire_change *change, struct cs_error *err)
{
	struct applying_all *a = context;

	return apply_change(a->c, change, a->slow, a->unique, err);
}

static cs_status apply_all(struct clinic_cache *c, struct frame_source *source, bool slow,
			   bool *unique, struct cs_error *err)
{
	struct applying_all all = {c, slow, unique};
	const char *message;
	size_t len;
	cs_status st;

	for (size_t i = 0; i < c->tables.count; i++)
		c->tables.items[i]->touched = false;
	source_rewind(source);
	while ((st = source_next(source, &message, &len, err)) == CS_OK && message) {
		st = changes_read(message, len, apply_one, &all, err);
		if (st != CS_OK)
			return st;
		/* who else wants to write waits long enough; the rest has a transaction of its own
		 */
		if (source->frames && write_held_ms(c) >= CACHE_LOCK_MS)
			source->count = source->next;
	}
	return st;
}

cs_status slow_move_table(struct clinic_cache *c, struct cached_table *t, struct cs_error *err)
{
	struct dynbuf *sql = &c->sql;
	char name[TABLE_NAME_BYTES];

	dynbuf_reset(sql);
	dynbuf_adds(sql, "CREATE TABLE temp.");
	schema_add_identifier(sql, table_name_in("temp", t->schema->table, name));
	dynbuf_addf(sql, "(%s, PRIMARY KEY(", t->local_declarations);
	table_add_key_names(sql, t->schema);
	if (!dynbuf_adds(sql, "))"))
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	t->moved = true;
	return store_exec(c->db, sql->data, err);
}

static cs_status put_back(struct clinic_cache *c, struct cached_table *t, struct cs_error *err)
{
	struct dynbuf *sql = &c->sql;
	char name[TABLE_NAME_BYTES];

	dynbuf_reset(sql);
	dynbuf_adds(sql, "INSERT INTO main.");
	schema_add_identifier(sql, t->schema->table);
	dynbuf_addf(sql, "(%s) SELECT %s FROM temp.", t->local_names, t->local_names);
	schema_add_identifier(sql, table_name_in("temp", t->schema->table, name));
	dynbuf_adds(sql, "; DROP TABLE temp.");
	if (!schema_add_identifier(sql, name))
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (sqlite3_exec(c->db, sql->data, NULL, NULL, NULL) == SQLITE_OK) {
		t->moved = false;
		return CS_OK;
	}
	if ((sqlite3_extended_errcode(c->db) & 0xff) == SQLITE_CONSTRAINT)
		return cs_fail(err, CS_ERR_DIVERGED,
			       "table %s: rows of the file stand against the server's",
			       t->schema->table);
	return store_fail(c->db, "put rows back", err);
}

cs_status slow_finish(struct clinic_cache *c, struct cs_error *err)
{
	cs_status st = CS_OK;

	/* the statements on the twins must not outlive them */
	statements_clear(c);
	for (size_t i = 0; i < c->tables.count && st == CS_OK; i++)
		if (c->tables.items[i]->moved)
			st = put_back(c, c->tables.items[i], err);
	return st;
}

/* The file stays as it was before the frame; the tables in memory follow it. */
static cs_status give_up(struct clinic_cache *c, cs_status st, struct cs_error *err)
{
	statements_clear(c);
	write_rollback(c);
	/* the first error is the one that counts */
	if (cache_reload(c, err) != CS_OK)
		cache_close_file(c);
	return st;
}

static write_kind kind_of(const struct frame_source *source)
{
	return source->stage ? WRITE_LONG : WRITE_SHORT;
}

static cs_status apply_slowly(struct clinic_cache *c, struct frame_source *source,
			      struct cs_error *err)
{
	bool unique = false;
	cs_status st;

	statements_clear(c);
	write_rollback(c);
	st = cache_reload(c, err);
	if (st == CS_OK)
		st = write_begin(c, kind_of(source), err);
	if (st == CS_OK)
		st = apply_all(c, source, true, &unique, err);
	if (st == CS_AGAIN)
		return cs_fail(err, CS_ERR_DIVERGED, "a frame brings one key twice");
	return st == CS_OK ? slow_finish(c, err) : st;
}

static cs_status make_due_indexes(struct clinic_cache *c, struct cs_error *err)
{
	cs_status st = CS_OK;

	for (size_t i = 0; i < c->tables.count && st == CS_OK; i++) {
		if (!c->tables.items[i]->indexes_due)
			continue;
		st = table_create_indexes(c->db, c->tables.items[i]->schema, err);
		c->tables.items[i]->indexes_due = false;
	}
	return st;
}

static cs_status apply_once(struct clinic_cache *c, struct frame_source *source, const char *from,
			    const char *to, const char *time, struct cs_error *err)
{
	const struct waiting_frame *last;
	bool unique = false;
	cs_status st = write_begin(c, kind_of(source), err);

	if (st != CS_OK)
		return st;
	st = apply_all(c, source, false, &unique, err);
	/* one of several is found, and has its slow form, when they are done one by one */
	if (st == CS_AGAIN && unique && source->count <= 1)
		st = apply_slowly(c, source, err);
	if (st == CS_OK)
		st = make_due_indexes(c, err);
	last = source->frames ? &source->frames[source->count - 1] : NULL;
	if (last) {
		to = last->to;
		time = last->time[0] ? last->time : NULL;
	}
	if (st == CS_OK)
		st = parked_retry(c, err);
	if (st == CS_OK)
		st = meta_move_cursor(c->db, from, to, time, err);
	if (st == CS_OK)
		st = write_commit(c, err);
	if (st != CS_OK)
		return give_up(c, st, err);
	strcpy(c->cursor, to);
	return CS_OK;
}

cs_status frame_apply(struct clinic_cache *c, struct frame_source *source, const char *from,
		      const char *to, const char *time, struct cs_error *err)
{
	const size_t count = source->count;
	cs_status st;

	do {
		source->count = count;
		st = apply_once(c, source, from, to, time, err);
	} while (st != CS_OK && write_try_again(c, err));
	if (st == CS_OK) {
		event_frame(c, source);
		parked_tell(c);
		prove_moved(c, source);
		repair_frame_applied(c, source);
	}
	return st;
}

static cs_status move_once(struct clinic_cache *c, const char *from, const char *to,
			   const char *time, struct cs_error *err)
{
	cs_status st = write_begin(c, WRITE_SHORT, err);

	if (st != CS_OK)
		return st;
	st = meta_move_cursor(c->db, from, to, time, err);
	if (st != CS_OK) {
		write_rollback(c);
		return st;
	}
	return write_commit(c, err);
}

cs_status frame_move_cursor(struct clinic_cache *c, const char *from, const char *to,
			    const char *time, struct cs_error *err)
{
	cs_status st;

	do {
		st = move_once(c, from, to, time, err);
	} while (st != CS_OK && write_try_again(c, err));
	if (st != CS_OK)
		return st;
	strcpy(c->cursor, to);
	prove_moved(c, NULL);
	return CS_OK;
}
