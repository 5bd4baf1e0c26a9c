/* Parsing of device messages; see protocol_in.h. */
#include "protocol_in.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* No name is longer (NAMEDATALEN, and what a custom build may raise it to). */
#define NAME_MOST_BYTES 255

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
	out->sync_request = -1;
	if (st == CS_OK)
		st = in_parse_number(message, "sync_request", INT64_MAX, &out->sync_request, err);
	return st;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void drop_duplicates(char **names, size_t *count)
{
	size_t kept = 0;

	qsort(names, *count, sizeof(*names), by_bytes);
	for (size_t i = 0; i < *count; i++) {
		if (kept && strcmp(names[kept - 1], names[i]) == 0)
			free(names[i]);
		else
			names[kept++] = names[i];
	}
	*count = kept;
}

bool in_is_name(const json_t *name)
{
	return json_string_length(name) && json_string_length(name) <= NAME_MOST_BYTES;
}

/* None that is published holds a comma, which divides the names of a list. */
bool in_is_table_name(const json_t *name)
{
	return in_is_name(name) && !strchr(json_string_value(name), ',');
}

cs_status in_parse_tables(const json_t *tables, char ***names, size_t *count, struct cs_error *err)
{
	size_t most;

	if (!tables || json_is_null(tables))
		return CS_OK;
	most = json_array_size(tables);
	if (!json_is_array(tables) || most == 0 || most > TABLES_MOST)
		return cs_fail(err, CS_ERR_PROTOCOL,
			       "key \"tables\" is neither null nor a list of 1 to %d names",
			       TABLES_MOST);
	*names = calloc(most, sizeof(**names));
	if (!*names)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (; *count < most; ++*count) {
		const json_t *name = json_array_get(tables, *count);

		if (!in_is_table_name(name))
			return cs_fail(err, CS_ERR_PROTOCOL,
				       "key \"tables\" holds something that is not a table's name");
		(*names)[*count] = strdup(json_string_value(name));
		if (!(*names)[*count])
			return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	}
	drop_duplicates(*names, count);
	return CS_OK;
}

cs_status in_parse_number(const json_t *message, const char *key, int64_t most, int64_t *out,
			  struct cs_error *err)
{
	const json_t *value = json_object_get(message, key);

	if (!value || json_is_null(value))
		return CS_OK;
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    json_integer_value(value) > most)
		return cs_fail(err, CS_ERR_PROTOCOL, "key \"%s\" is not a whole number in range",
			       key);
	*out = json_integer_value(value);
	return CS_OK;
}

cs_status in_parse_cursor(const json_t *message, const char *key, bool required, struct cursor *out,
			  struct cs_error *err)
{
	const json_t *value = json_object_get(message, key);

	if (!required && (!value || json_is_null(value)))
		return CS_OK;
	if (!json_is_string(value) ||
	    !cursor_parse(json_string_value(value), json_string_length(value), out))
		return cs_fail(err, CS_ERR_PROTOCOL, "key \"%s\" is not a cursor", key);
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
	return in_parse_tables(json_object_get(message, "tables"), &out->tables, &out->table_count,
			       err);
}

static cs_status parse_request_table_sync(const json_t *message, struct in_request_table_sync *out,
					  struct cs_error *err)
{
	const json_t *table = json_object_get(message, "table");

	if (!in_is_table_name(table))
		return cs_fail(err, CS_ERR_PROTOCOL, "key \"table\" is not a table's name");
	out->table = strdup(json_string_value(table));
	if (!out->table)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return in_parse_number(message, "id", INT64_MAX, &out->id, err);
}

static cs_status parse_request_full_sync(const json_t *message, struct in_request_full_sync *out,
					 struct cs_error *err)
{
	cs_status st = in_parse_cursor(message, "min", false, &out->min, err);

	if (st == CS_OK)
		st = in_parse_number(message, "id", INT64_MAX, &out->id, err);
	if (st != CS_OK)
		return st;
	return in_parse_tables(json_object_get(message, "tables"), &out->tables, &out->table_count,
			       err);
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
	if (strcmp(type, "request_digest") == 0) {
		out->type = IN_REQUEST_DIGEST;
		return in_parse_digest(message, &out->request_digest, err);
	}
	if (strcmp(type, "request_table_sync") == 0) {
		out->type = IN_REQUEST_TABLE_SYNC;
		return parse_request_table_sync(message, &out->request_table_sync, err);
	}
	if (strcmp(type, "request_full_sync") == 0) {
		out->type = IN_REQUEST_FULL_SYNC;
		return parse_request_full_sync(message, &out->request_full_sync, err);
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

void in_names_free(char ***names, size_t *count)
{
	for (size_t i = 0; i < *count; i++)
		free((*names)[i]);
	free(*names);
	*names = NULL;
	*count = 0;
}

void in_request_free(struct in_request_sync *r)
{
	in_names_free(&r->tables, &r->table_count);
}

void in_message_free(struct in_message *m)
{
	in_request_free(&m->request_sync);
	in_digest_free(&m->request_digest);
	free(m->request_table_sync.table);
	m->request_table_sync.table = NULL;
	in_names_free(&m->request_full_sync.tables, &m->request_full_sync.table_count);
	explicit_bzero(m->client_info.access_code, sizeof(m->client_info.access_code));
}
