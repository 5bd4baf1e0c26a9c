/*
 * Parked rows, tried again before a frame's transaction ends.
 *
 * First what the frame itself parked or changed, all of it: two rows that
 * swap a value were both out for a moment.  Then rows of the touched tables
 * that a UNIQUE refused, for what they clashed with may be gone: up to
 * RETRIES_MOST of them, and no longer than a frame may hold the lock; the rest
 * after the next frames.  A row that comes in takes values and frees none, so
 * one walk is enough.  What a CHECK or a NOT NULL refused needs another row or
 * another table: it is tried when its own key changes, and once after the table
 * was read anew.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

#define RETRIES_MOST 1000
#define REASON_BYTES 256

/* A parked row in hand; texts are owned. */
struct candidate {
	char *key;
	char *kept;
	struct dynbuf message; /* a put of it, as a frame would bring it */
	char reason[REASON_BYTES];
};

static void candidate_clear(struct candidate *row)
{
	free(row->key);
	free(row->kept);
	row->key = row->kept = NULL;
}

static cs_status take_candidate(struct cached_table *t, sqlite3_stmt *stmt, struct candidate *row,
				struct cs_error *err)
{
	const char *key = (const char *)sqlite3_column_text(stmt, 0);
	const char *data = (const char *)sqlite3_column_text(stmt, 1);
	const char *kept = (const char *)sqlite3_column_text(stmt, 2);
	const char *table = t->schema->table;

	candidate_clear(row);
	dynbuf_reset(&row->message);
	dynbuf_adds(&row->message, "{\"changes\":[{\"operation\":\"put\",\"table\":");
	dynbuf_add_json(&row->message, table, strlen(table));
	dynbuf_addf(&row->message, ",\"key\":%s,\"data\":", key ? key : "null");
	dynbuf_adds(&row->message, data ? data : "null");
	dynbuf_adds(&row->message, "}]}");
	row->key = strdup(key ? key : "");
	row->kept = kept ? strdup(kept) : NULL;
	if (!row->key || (kept && !row->kept) || row->message.failed)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return CS_OK;
}

/* The next parked row behind after (NULL: the first); *found false: there is none. */
static cs_status next_candidate(struct clinic_cache *c, struct cached_table *t, sqlite3_stmt *stmt,
				const char *after, struct candidate *row, bool *found,
				struct cs_error *err)
{
	cs_status st = CS_OK;
	int rc;

	*found = false;
	sqlite3_bind_text(stmt, 1, t->schema->table, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, after ? after : "", -1, SQLITE_STATIC);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		*found = true;
		st = take_candidate(t, stmt, row, err);
	} else if (rc != SQLITE_DONE) {
		st = store_fail(c->db, "read clinic_cache_parked", err);
	}
	/* nothing stays open while the table below it changes */
	sqlite3_reset(stmt);
	return st;
}

static cs_status note_reason(struct clinic_cache *c, struct cached_table *t,
			     const struct candidate *row, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(c->db,
				     "UPDATE main.clinic_cache_parked SET reason = ?3"
				     " WHERE \"table\" = ?1 AND key = ?2 AND reason IS NOT ?3",
				     &stmt, err);

	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, t->schema->table, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, row->key, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 3, row->reason, -1, SQLITE_STATIC);
	if (sqlite3_step(stmt) != SQLITE_DONE)
		st = store_fail(c->db, "write clinic_cache_parked", err);
	sqlite3_finalize(stmt);
	return st;
}

static cs_status try_one(struct clinic_cache *c, struct cached_table *t, struct candidate *row,
			 struct cs_error *err)
{
	bool found;
	cs_status st = apply_parked(c, t, row->message.data, row->message.len, row->kept,
				    row->reason, sizeof(row->reason), err);

	if (st != CS_OK)
		return st;
	return row->reason[0] ? note_reason(c, t, row, err)
			      : parked_forget(c, t, row->key, &found, err);
}

/* What this transaction parked or changed. */
static cs_status try_due(struct clinic_cache *c, struct cached_table *t, struct candidate *row,
			 struct cs_error *err)
{
	sqlite3_stmt *stmt;
	char *after = NULL;
	bool found = true;
	cs_status st = store_prepare(c->db,
				     "SELECT d.key, p.data, p.kept FROM temp.clinic_cache_due AS d"
				     " JOIN main.clinic_cache_parked AS p"
				     " ON p.\"table\" = d.\"table\" AND p.key = d.key"
				     " WHERE d.\"table\" = ?1 AND d.key > ?2"
				     " ORDER BY d.key LIMIT 1",
				     &stmt, err);

	while (st == CS_OK && found) {
		st = next_candidate(c, t, stmt, after, row, &found, err);
		if (st != CS_OK || !found)
			break;
		st = try_one(c, t, row, err);
		free(after);
		after = row->key;
		row->key = NULL;
	}
	sqlite3_finalize(stmt);
	free(after);
	return st;
}

/* A frame that holds the lock long enough leaves the rest to the next. */
static bool time_is_over(const struct clinic_cache *c)
{
	return c->use.kind == WRITE_SHORT && write_held_ms(c) >= CACHE_LOCK_MS;
}

static cs_status walk_older(struct clinic_cache *c, struct cached_table *t, sqlite3_stmt *stmt,
			    struct candidate *row, struct cs_error *err)
{
	for (int tries = 0; tries < RETRIES_MOST; tries++) {
		bool found;
		cs_status st;

		/* one at least, so that every walk comes to its end */
		if (tries > 0 && time_is_over(c))
			break;
		st = next_candidate(c, t, stmt, t->retry_after, row, &found, err);
		if (st == CS_OK && found)
			st = try_one(c, t, row, err);
		if (st != CS_OK)
			return st;
		free(t->retry_after);
		t->retry_after = row->key;
		row->key = NULL;
		if (found)
			continue;
		/* the end: the next walk begins anew */
		free(t->retry_after);
		t->retry_after = NULL;
		t->retry_all = false;
		break;
	}
	return CS_OK;
}

/* Those of earlier frames, from where the last walk ended. */
static cs_status try_older(struct clinic_cache *c, struct cached_table *t, struct candidate *row,
			   struct cs_error *err)
{
	const char *sql = t->retry_all ? "SELECT key, data, kept FROM main.clinic_cache_parked"
					 " WHERE \"table\" = ?1 AND key > ?2 ORDER BY key LIMIT 1"
				       : "SELECT key, data, kept FROM main.clinic_cache_parked"
					 " WHERE \"table\" = ?1 AND key > ?2"
					 " AND reason LIKE 'UNIQUE%' ORDER BY key LIMIT 1";
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(c->db, sql, &stmt, err);

	if (st == CS_OK)
		st = walk_older(c, t, stmt, row, err);
	sqlite3_finalize(stmt);
	return st;
}

cs_status parked_retry_table(struct clinic_cache *c, struct cached_table *t, struct cs_error *err)
{
	struct candidate row = {0};
	int64_t left = 0;
	cs_status st = CS_OK;

	dynbuf_init(&row.message, CACHE_MESSAGE_BYTES_MOST);
	if (c->parked_now)
		st = try_due(c, t, &row, err);
	if (st == CS_OK)
		st = try_older(c, t, &row, err);
	if (st == CS_OK)
		st = parked_count(c->db, t->schema->table, &left, err);
	t->has_parked = left > 0;
	candidate_clear(&row);
	dynbuf_free(&row.message);
	return st;
}

cs_status parked_retry(struct clinic_cache *c, struct cs_error *err)
{
	cs_status st = CS_OK;

	for (size_t i = 0; i < c->tables.count && st == CS_OK; i++) {
		struct cached_table *t = c->tables.items[i];

		if (t->has_parked && t->touched)
			st = parked_retry_table(c, t, err);
	}
	return st;
}

static void tell_all(struct clinic_cache *c)
{
	sqlite3_stmt *stmt;

	if (store_prepare(c->db,
			  "SELECT p.\"table\", p.key FROM temp.clinic_cache_due AS d"
			  " JOIN main.clinic_cache_parked AS p"
			  " ON p.\"table\" = d.\"table\" AND p.key = d.key"
			  " WHERE d.fresh ORDER BY d.\"table\", d.key",
			  &stmt, NULL) != CS_OK)
		return;
	while (sqlite3_step(stmt) == SQLITE_ROW)
		event_row(c, "row_parked", (const char *)sqlite3_column_text(stmt, 0),
			  (const char *)sqlite3_column_text(stmt, 1));
	sqlite3_finalize(stmt);
}

void parked_tell(struct clinic_cache *c)
{
	if (!c->parked_now)
		return;
	c->parked_now = false;
	if (c->on_event)
		tell_all(c);
	/* of use in this transaction only */
	sqlite3_exec(c->db, "DROP TABLE temp.clinic_cache_due", NULL, NULL, NULL);
}
