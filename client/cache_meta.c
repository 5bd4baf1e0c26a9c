/* clinic_sync_meta and the other side tables of a cache file; docs/protocol.md, "The snapshot
 * file". */
#include "cache_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cs_status meta_create(sqlite3 *db, struct cs_error *err)
{
	return store_exec(db,
			  "CREATE TABLE IF NOT EXISTS main.clinic_sync_meta("
			  "key TEXT PRIMARY KEY, value TEXT);"
			  "CREATE TABLE IF NOT EXISTS main.clinic_sync_table("
			  "name TEXT PRIMARY KEY, schema TEXT, rows INTEGER);"
			  "CREATE TABLE IF NOT EXISTS main.clinic_sync_exact("
			  "\"table\" TEXT, key TEXT, column TEXT, value TEXT,"
			  " PRIMARY KEY(\"table\", key, column));"
			  "CREATE TABLE IF NOT EXISTS main.clinic_sync_oversize("
			  "\"table\" TEXT, key TEXT, PRIMARY KEY(\"table\", key));"
			  "CREATE TABLE IF NOT EXISTS main.clinic_cache_parked("
			  "\"table\" TEXT, key TEXT, data TEXT, reason TEXT, parked_at TEXT,"
			  " kept TEXT, PRIMARY KEY(\"table\", key))",
			  err);
}

cs_status meta_get(sqlite3 *db, const char *schema, const char *key, char *out, size_t size,
		   struct cs_error *err)
{
	char sql[96];
	sqlite3_stmt *stmt;
	cs_status st;
	int rc;

	out[0] = '\0';
	snprintf(sql, sizeof(sql), "SELECT value FROM %s.clinic_sync_meta WHERE key = ?1", schema);
	st = store_prepare(db, sql, &stmt, err);
	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW && sqlite3_column_text(stmt, 0)) {
		if ((size_t)sqlite3_column_bytes(stmt, 0) >= size)
			st = cs_fail(err, CS_ERR_STORE, "clinic_sync_meta: %s is too long", key);
		else
			strcpy(out, (const char *)sqlite3_column_text(stmt, 0));
	} else if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
		st = store_fail(db, "read clinic_sync_meta", err);
	}
	sqlite3_finalize(stmt);
	return st;
}

cs_status meta_set(sqlite3 *db, const char *key, const char *value, struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st =
		store_prepare(db,
			      value ? "INSERT INTO main.clinic_sync_meta(key, value) VALUES(?1, ?2)"
				      " ON CONFLICT(key) DO UPDATE SET value = excluded.value"
				    : "DELETE FROM main.clinic_sync_meta WHERE key = ?1",
			      &stmt, err);

	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
	if (value)
		sqlite3_bind_text(stmt, 2, value, -1, SQLITE_STATIC);
	if (sqlite3_step(stmt) != SQLITE_DONE)
		st = store_fail(db, "write clinic_sync_meta", err);
	sqlite3_finalize(stmt);
	return st;
}

cs_status meta_move_cursor(sqlite3 *db, const char *from, const char *to, const char *time,
			   struct cs_error *err)
{
	sqlite3_stmt *stmt;
	cs_status st = store_prepare(db,
				     "UPDATE main.clinic_sync_meta SET value = ?2"
				     " WHERE key = 'cursor' AND value = ?1",
				     &stmt, err);

	if (st != CS_OK)
		return st;
	sqlite3_bind_text(stmt, 1, from, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, to, -1, SQLITE_STATIC);
	if (sqlite3_step(stmt) != SQLITE_DONE)
		st = store_fail(db, "write the cursor", err);
	else if (sqlite3_changes(db) != 1)
		st = cs_fail(err, CS_ERR_DIVERGED, "somebody else changed the cursor in the file");
	sqlite3_finalize(stmt);
	return st == CS_OK && time ? meta_set(db, "last_frame_at", time, err) : st;
}

void names_free(char **names, size_t count)
{
	for (size_t i = 0; names && i < count; i++)
		free(names[i]);
	free(names);
}

bool names_have(char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

cs_status names_parse(const char *json, char ***names, size_t *count, struct cs_error *err)
{
	json_t *array = json ? json_loads(json, 0, NULL) : NULL;
	size_t size = json_array_size(array);
	cs_status st = CS_OK;

	if (!array || size > CACHE_TABLES_MOST) {
		json_decref(array);
		return cs_fail(err, CS_ERR_STORE, "clinic_sync_meta: a list of tables is damaged");
	}
	*names = calloc(size + 1, sizeof(**names));
	for (size_t i = 0; *names && i < size && st == CS_OK; i++) {
		const char *name = json_string_value(json_array_get(array, i));

		(*names)[i] = strdup(name ? name : "");
		if (!(*names)[i])
			st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
		else
			*count = i + 1;
	}
	json_decref(array);
	return *names ? st : cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

cs_status meta_get_names(sqlite3 *db, const char *key, char ***names, size_t *count,
			 struct cs_error *err)
{
	size_t size = CACHE_TABLES_MOST * 70;
	char *text = malloc(size);
	cs_status st;

	*names = NULL;
	*count = 0;
	if (!text)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	st = meta_get(db, "main", key, text, size, err);
	if (st == CS_OK && text[0])
		st = names_parse(text, names, count, err);
	free(text);
	if (st != CS_OK) {
		names_free(*names, *count);
		*names = NULL;
		*count = 0;
	}
	return st;
}

cs_status meta_set_names(sqlite3 *db, const char *key, char *const *names, size_t count,
			 struct cs_error *err)
{
	struct dynbuf text;
	cs_status st;

	if (count == 0)
		return meta_set(db, key, NULL, err);
	dynbuf_init(&text, CACHE_SQL_BYTES_MOST);
	for (size_t i = 0; i < count; i++) {
		dynbuf_adds(&text, i ? "," : "[");
		dynbuf_add_json(&text, names[i], strlen(names[i]));
	}
	if (!dynbuf_adds(&text, "]"))
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	else
		st = meta_set(db, key, text.data, err);
	dynbuf_free(&text);
	return st;
}

cs_status meta_add_name(sqlite3 *db, const char *key, const char *name, struct cs_error *err)
{
	char **names;
	char **more;
	size_t count;
	cs_status st = meta_get_names(db, key, &names, &count, err);

	if (st != CS_OK || names_have(names, count, name)) {
		names_free(names, count);
		return st;
	}
	more = realloc(names, (count + 1) * sizeof(*more));
	if (more) {
		names = more;
		names[count] = strdup(name);
	}
	if (!more || !names[count])
		st = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	else
		st = meta_set_names(db, key, names, ++count, err);
	names_free(names, count);
	return st;
}

cs_status meta_remove_name(sqlite3 *db, const char *key, const char *name, struct cs_error *err)
{
	char **names;
	size_t count;
	size_t left = 0;
	cs_status st = meta_get_names(db, key, &names, &count, err);

	if (st != CS_OK)
		return st;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(names[i], name) == 0)
			free(names[i]);
		else
			names[left++] = names[i];
	}
	if (left != count)
		st = meta_set_names(db, key, names, left, err);
	names_free(names, left);
	return st;
}

void meta_new_device_id(char *out)
{
	unsigned char byte[16];

	sqlite3_randomness(sizeof(byte), byte);
	byte[6] = (unsigned char)((byte[6] & 0x0f) | 0x40);
	byte[8] = (unsigned char)((byte[8] & 0x3f) | 0x80);
	for (size_t i = 0; i < sizeof(byte); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		out += sprintf(out, "%02x", byte[i]);
	}
}
