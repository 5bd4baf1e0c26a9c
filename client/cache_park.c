/*
 * Rows that the app's own table refuses: clinic_cache_parked.
 *
 * The server knows nothing of a CHECK, a UNIQUE or a NOT NULL of the app's.
 * A row that breaks one waits here, whole and in the form of the wire, and
 * the rest of its batch is applied.  It is a row of the cache like any other:
 * changes of its key work on it, digests and counts have it.  Its key is
 * never in main at the same time.
 *
 * temp.clinic_cache_due has the keys that were parked or changed in this
 * transaction: they are tried again before it ends, and those that are still
 * parked then are told as events.
 */
#include "cache_internal.h"

#include "clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A statement on the parked rows with up to six texts; *found: it had a row or changed one. */
static cs_status run(struct clinic_cache *c, const char *sql, const char *const *texts,
		     size_t count, bool *found, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(c->db, sql, &stmt, err);
	int rc;

	if (st != CS_OK)
		return st;
	for (size_t i = 0; i < count; i++)
		sqlite3_bind_text(stmt, (int)i + 1, texts[i], -1, SQLITE_STATIC);
	rc = sqlite3_step(stmt);
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		st = store_fail(c->db, "write clinic_cache_parked", err);
	if (found)
		*found = rc == SQLITE_ROW || sqlite3_changes(c->db) > 0;
	sqlite3_finalize(stmt);
	return st;
}

/* ---- rows come and go --------------------------------------------------------------------- */

static cs_status make_due(struct clinic_cache *c, struct cached_table *t, const char *key,
			  bool fresh, struct cs_error *err)
{
	const char *texts[] = {t->schema->table, key, fresh ? "1" : "0"};
	cs_status st = CS_OK;

	if (!c->parked_now)
		st = store_exec(c->db,
				"CREATE TABLE IF NOT EXISTS temp.clinic_cache_due("
				"\"table\" TEXT, key TEXT, fresh INTEGER,"
				" PRIMARY KEY(\"table\", key))",
				err);
	if (st != CS_OK)
		return st;
	c->parked_now = true;
	return run(c,
		   "INSERT INTO temp.clinic_cache_due(\"table\", key, fresh) VALUES(?1, ?2, ?3)"
		   " ON CONFLICT(\"table\", key) DO UPDATE SET fresh = max(fresh, excluded.fresh)",
		   texts, 3, NULL, err);
}

cs_status parked_keep(struct clinic_cache *c, struct cached_table *t, const struct parked_row *row,
		      struct cs_error *err)
{
	char now[CLOCK_TEXT_BYTES];
	const char *texts[] = {t->schema->table, row->key,  row->data,
			       row->reason,      row->kept, clock_utc_text(now)};
	/* a file of an older version has no such table */
	cs_status st = c->parked_now ? CS_OK : meta_create(c->db, err);

	if (st == CS_OK)
		st = run(c,
			 "INSERT OR REPLACE INTO main.clinic_cache_parked"
			 "(\"table\", key, data, reason, kept, parked_at)"
			 " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
			 texts, 6, NULL, err);
	if (st != CS_OK)
		return st;
	t->has_parked = true;
	if (row->kept)
		extra_note_kept(t, row->kept);
	return make_due(c, t, row->key, true, err);
}

cs_status parked_forget(struct clinic_cache *c, struct cached_table *t, const char *key,
			bool *found, struct cs_error *err)
{
	const char *texts[] = {t->schema->table, key};

	return run(c, "DELETE FROM main.clinic_cache_parked WHERE \"table\" = ?1 AND key = ?2",
		   texts, 2, found, err);
}

cs_status parked_take(struct clinic_cache *c, struct cached_table *t, const char *key, char **kept,
		      struct cs_error *err)
{
	sqlite3_stmt *stmt;
	const char *text;
	cs_status st = store_prepare(c->db,
				     "DELETE FROM main.clinic_cache_parked"
				     " WHERE \"table\" = ?1 AND key = ?2 RETURNING kept",
				     &stmt, err);
	int rc;

	*kept = NULL;
	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, t->schema->table, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, key, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		text = (const char *)sqlite3_column_text(stmt, 0);
		if (text && !*kept) {
			*kept = strdup(text);
			if (!*kept)
				st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
		}
	}
	if (rc != SQLITE_DONE)
		st = store_fail(c->db, "write clinic_cache_parked", err);
	sqlite3_finalize(stmt);
	return st;
}

cs_status parked_forget_table(struct clinic_cache *c, struct cached_table *t, struct cs_error *err)
{
	const char *texts[] = {t->schema->table};

	t->has_parked = false;
	return run(c, "DELETE FROM main.clinic_cache_parked WHERE \"table\" = ?1", texts, 1, NULL,
		   err);
}

/* ---- an update of a parked row ------------------------------------------------------------ */

static json_t *value_as_json(const struct wire_value *value)
{
	char number[32];

	switch (value->form) {
	case WIRE_NULL:
		return json_null();
	case WIRE_STRING:
		return json_stringn(value->text, value->len);
	case WIRE_BOOLEAN:
		return json_boolean(value->len == 4);
	case WIRE_NUMBER:
		if (value->len >= sizeof(number))
			return NULL;
		memcpy(number, value->text, value->len);
		number[value->len] = '\0';
		return json_integer(strtoll(number, NULL, 10));
	case WIRE_ABSENT:
	case WIRE_OTHER:
		break;
	}
	return NULL;
}

static cs_status merge_fields(const struct schema *s, json_t *row, const struct wire_object *data,
			      struct cs_error *err)
{
	for (size_t i = 0; i < data->count; i++) {
		const struct wire_field *field = &data->fields[i];
		json_t *value = value_as_json(&field->value);
		char name[256];

		if (!value || field->name_len >= sizeof(name)) {
			json_decref(value);
			return cs_fail(err, CS_ERR_PROTOCOL,
				       "table %s: a change of a parked row is of the wrong form",
				       s->table);
		}
		memcpy(name, field->name, field->name_len);
		name[field->name_len] = '\0';
		if (json_object_set_new(row, name, value) != 0)
			return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	}
	return CS_OK;
}

static cs_status read_data(struct clinic_cache *c, struct cached_table *t, const char *key,
			   json_t **out, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(
		c->db,
		"SELECT data FROM main.clinic_cache_parked WHERE \"table\" = ?1 AND key = ?2",
		&stmt, err);

	*out = NULL;
	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, t->schema->table, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, key, -1, SQLITE_STATIC);
	if (sqlite3_step(stmt) == SQLITE_ROW) {
		const char *data = (const char *)sqlite3_column_text(stmt, 0);

		*out = json_loads(data ? data : "", 0, NULL);
		if (!json_is_object(*out))
			st = cs_fail(err, CS_ERR_DIVERGED, "clinic_cache_parked is damaged");
	}
	sqlite3_finalize(stmt);
	return st;
}

cs_status parked_merge(struct clinic_cache *c, struct cached_table *t, const char *key,
		       const struct wire_object *data, bool *found, struct cs_error *err)
{
	json_t *row;
	char *text = NULL;
	cs_status st = read_data(c, t, key, &row, err);

	*found = row != NULL;
	if (st == CS_OK && row)
		st = merge_fields(t->schema, row, data, err);
	if (st == CS_OK && row) {
		text = json_dumps(row, JSON_COMPACT | JSON_PRESERVE_ORDER);
		if (!text)
			st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	}
	if (st == CS_OK && row)
		st = run(c,
			 "UPDATE main.clinic_cache_parked SET data = ?3"
			 " WHERE \"table\" = ?1 AND key = ?2",
			 (const char *const[]){t->schema->table, key, text}, 3, NULL, err);
	if (st == CS_OK && row)
		st = make_due(c, t, key, false, err);
	free(text);
	json_decref(row);
	return st;
}

/* ---- counts and digests ------------------------------------------------------------------- */

cs_status parked_count(sqlite3 *db, const char *table, int64_t *out, struct cs_error *err)
{
	char *sql;
	cs_status st;

	*out = 0;
	if (!store_table_exists(db, "main", "clinic_cache_parked"))
		return CS_OK;
	sql = table ? sqlite3_mprintf("SELECT count(*) FROM main.clinic_cache_parked"
				      " WHERE \"table\" = %Q",
				      table)
		    : sqlite3_mprintf("SELECT count(*) FROM main.clinic_cache_parked");
	st = sql ? store_integer(db, sql, out, err) : cs_fail(err, CS_ERR_NOMEM, "out of memory");
	sqlite3_free(sql);
	return st;
}

static bool add_value(struct row_hash *hash, const json_t *value)
{
	char number[32];

	if (json_is_integer(value)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		return row_hash_add(hash, number, strlen(number));
	}
	if (json_is_boolean(value))
		return row_hash_add(hash, json_is_true(value) ? "true" : "false",
				    json_is_true(value) ? 4 : 5);
	return row_hash_add(hash, json_string_value(value), json_string_length(value));
}

static bool hash_data(const struct cached_table *t, const json_t *data, struct row_hash *hash,
		      uint64_t *out)
{
	const struct schema *s = t->schema;
	bool good = row_hash_begin(hash);

	for (size_t i = 0; i < s->column_count && good; i++) {
		size_t at = s->by_name[i];

		if (!t->local[at].missing)
			good = add_value(hash, json_object_get(data, s->columns[at].name));
	}
	return row_hash_end(hash, out) && good;
}

/* One walk over the parked rows of a table. */
struct hashing {
	const struct cached_table *t;
	struct key_bound after, upto;
	struct row_hash *hash;
	void (*on_row)(const char *key, uint64_t hash, void *context);
	void *context;
};

static cs_status hash_one(struct hashing *h, const char *key, const char *text,
			  struct cs_error *err)
{
	json_t *data = json_loads(text ? text : "", 0, NULL);
	json_t *parsed = key ? json_loads(key, 0, NULL) : NULL;
	uint64_t hash;
	cs_status st = CS_OK;

	if (!json_is_object(data) || !json_is_object(parsed))
		st = cs_fail(err, CS_ERR_DIVERGED, "clinic_cache_parked is damaged");
	else if (!hash_data(h->t, data, h->hash, &hash))
		st = cs_fail(err, CS_ERR_NOMEM, "SHA-256 is not to be had");
	else if (key_is_within(h->t->schema, parsed, &h->after, &h->upto))
		h->on_row(key, hash, h->context);
	json_decref(data);
	json_decref(parsed);
	return st;
}

static cs_status hash_all(struct hashing *h, sqlite3 *db, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(db,
				     "SELECT key, data FROM main.clinic_cache_parked"
				     " WHERE \"table\" = ?1 ORDER BY key",
				     &stmt, err);
	int rc = SQLITE_DONE;

	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, h->t->schema->table, -1, SQLITE_STATIC);
	while (st == CS_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
		st = hash_one(h, (const char *)sqlite3_column_text(stmt, 0),
			      (const char *)sqlite3_column_text(stmt, 1), err);
	if (st == CS_OK && rc != SQLITE_DONE)
		st = store_fail(db, "read clinic_cache_parked", err);
	sqlite3_finalize(stmt);
	return st;
}

cs_status parked_hashes(sqlite3 *db, const struct cached_table *t, const char *after,
			const char *upto,
			void (*on_row)(const char *key, uint64_t hash, void *context),
			void *context, struct cs_error *err)
{
	struct hashing h = {.t = t, .on_row = on_row, .context = context};
	cs_status st = key_bound_parse(t->schema, after, &h.after, err);

	if (st == CS_OK)
		st = key_bound_parse(t->schema, upto, &h.upto, err);
	h.hash = row_hash_new();
	if (!h.hash && st == CS_OK)
		st = cs_fail(err, CS_ERR_NOMEM, "SHA-256 is not to be had");
	if (st == CS_OK)
		st = hash_all(&h, db, err);
	row_hash_free(h.hash);
	key_bound_free(&h.after);
	key_bound_free(&h.upto);
	return st;
}
