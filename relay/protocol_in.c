/* Parsing of device messages; see protocol_in.h. */
#include "protocol_in.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* No name of a table is longer (NAMEDATALEN, and what a custom build may raise it to). */
#define TABLE_NAME_MOST_BYTES 255

static const char id_characters[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

/* A string of at most size - 1 bytes; absent or null is "" unless it is required. */
static cs_status copy_text(const json_t *message, const char *key, bool required, char *out,
			   size_t size, struct cs_error *err)
{
	const json_t *value = json_object_get(message, key);

	out[0] = '\0';
	if (!value || json_is_null(value)) {
		if (required)
			return cs_fail(err, CS_ERR_PROTOCOL, "key \"%s\" is missing", key);
		return CS_OK;
	}
	if (!json_is_string(value))
		return cs_fail(err, CS_ERR_PROTOCOL, "key \"%s\" is not a string", key);
	if (json_string_length(value) >= size)
		return cs_fail(err, CS_ERR_PROTOCOL, "key \"%s\" is too long", key);
	memcpy(out, json_string_value(value), json_string_length(value) + 1);
	return CS_OK;
}

static size_t characters(const char *utf8)
{
	size_t n = 0;

	for (; *utf8; utf8++)
		n += ((unsigned char)*utf8 & 0xc0) != 0x80;
	return n;
}

/* Text for people: up to 128 characters, not bytes. */
static cs_status copy_label(const json_t *message, const char *key, char *out, struct cs_error *err)
{
	cs_status st = copy_text(message, key, false, out, DEVICE_TEXT_BYTES, err);

	if (st == CS_OK && characters(out) > 128)
		return cs_fail(err, CS_ERR_PROTOCOL, "key \"%s\" is too long", key);
	return st;
}

static cs_status parse_client_info(const json_t *message, struct in_client_info *out,
				   struct cs_error *err)
{
	cs_status st =
		copy_text(message, "device_id", true, out->device_id, sizeof(out->device_id), err);

	if (st == CS_OK &&
	    (!out->device_id[0] || out->device_id[strspn(out->device_id, id_characters)]))
		return cs_fail(err, CS_ERR_PROTOCOL,
			       "key \"device_id\" is not 1-64 of A-Z a-z 0-9 . _ -");
	if (st == CS_OK)
		st = copy_label(message, "name", out->name, err);
	if (st == CS_OK)
		st = copy_label(message, "app_version", out->app_version, err);
	if (st == CS_OK)
		st = copy_text(message, "access_code", false, out->access_code,
			       sizeof(out->access_code), err);
	return st;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void drop_duplicates(struct in_request_sync *r)
{
	size_t kept = 0;

	qsort(r->tables, r->table_count, sizeof(*r->tables), by_bytes);
	for (size_t i = 0; i < r->table_count; i++) {
		if (kept && strcmp(r->tables[kept - 1], r->tables[i]) == 0)
			free(r->tables[i]);
		else
			r->tables[kept++] = r->tables[i];
	}
	r->table_count = kept;
}

static cs_status parse_tables(const json_t *tables, struct in_request_sync *out,
			      struct cs_error *err)
{
	size_t count;

	if (!tables || json_is_null(tables))
		return CS_OK;
	count = json_array_size(tables);
	if (!json_is_array(tables) || count == 0 || count > TABLES_MOST)
		return cs_fail(err, CS_ERR_PROTOCOL,
			       "key \"tables\" is neither null nor a list of 1 to %d names",
			       TABLES_MOST);
	out->tables = calloc(count, sizeof(*out->tables));
	if (!out->tables)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (; out->table_count < count; out->table_count++) {
		const json_t *name = json_array_get(tables, out->table_count);

		if (!json_is_string(name) || !json_string_length(name) ||
		    json_string_length(name) > TABLE_NAME_MOST_BYTES)
			return cs_fail(err, CS_ERR_PROTOCOL,
				       "key \"tables\" holds something that is not a table's name");
		out->tables[out->table_count] = strdup(json_string_value(name));
		if (!out->tables[out->table_count])
			return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	}
	drop_duplicates(out);
	return CS_OK;
}

static cs_status parse_request_sync(const json_t *message, struct in_request_sync *out,
				    struct cs_error *err)
{
	const json_t *cursor = json_object_get(message, "cursor");

	if (!cursor)
		return cs_fail(err, CS_ERR_PROTOCOL, "key \"cursor\" is missing");
	if (json_is_null(cursor))
		out->cursor_state = IN_CURSOR_NONE;
	else if (!json_is_string(cursor))
		return cs_fail(err, CS_ERR_PROTOCOL, "key \"cursor\" is neither null nor a string");
	else if (cursor_parse(json_string_value(cursor), json_string_length(cursor), &out->cursor))
		out->cursor_state = IN_CURSOR_GOOD;
	else
		out->cursor_state = IN_CURSOR_BAD;
	return parse_tables(json_object_get(message, "tables"), out, err);
}

static cs_status parse_message(const json_t *message, struct in_message *out, struct cs_error *err)
{
	const char *type = json_string_value(json_object_get(message, "type"));

	if (!json_is_object(message))
		return cs_fail(err, CS_ERR_PROTOCOL, "the message is not an object");
	if (!type)
		return cs_fail(err, CS_ERR_PROTOCOL, "key \"type\" is missing");
	if (strcmp(type, "client_info") == 0) {
		out->type = IN_CLIENT_INFO;
		return parse_client_info(message, &out->client_info, err);
	}
	if (strcmp(type, "request_sync") == 0) {
		out->type = IN_REQUEST_SYNC;
		return parse_request_sync(message, &out->request_sync, err);
	}
	return cs_fail(err, CS_ERR_PROTOCOL, "no such type of message");
}

cs_status protocol_in_parse(const char *text, size_t len, struct in_message *out,
			    struct cs_error *err)
{
	json_t *message = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	cs_status st;

	memset(out, 0, sizeof(*out));
	if (!message)
		return cs_fail(err, CS_ERR_PROTOCOL, "the message is not JSON");
	st = parse_message(message, out, err);
	json_decref(message);
	if (st != CS_OK)
		in_message_free(out);
	return st;
}

void in_request_free(struct in_request_sync *r)
{
	for (size_t i = 0; i < r->table_count; i++)
		free(r->tables[i]);
	free(r->tables);
	r->tables = NULL;
	r->table_count = 0;
}

void in_message_free(struct in_message *m)
{
	in_request_free(&m->request_sync);
	explicit_bzero(m->client_info.access_code, sizeof(m->client_info.access_code));
}
