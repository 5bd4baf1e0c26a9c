/* The server's digest; see cli_digest.h. */
#include "cli_digest.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define MAX_TABLES 10000
#define MAX_PATH_BYTES 3500 /* what fits a request's headers everywhere */

static void set_problem(struct cli_digest *digest, const char *text)
{
	if (!digest->problem[0])
		log_quote(text, digest->problem, sizeof(digest->problem));
}

struct cli_digest_table *cli_digest_find(struct cli_digest *digest, const char *table)
{
	/* rows come table by table: the last one is nearly always the right one */
	for (size_t i = digest->table_count; i-- > 0;) {
		if (strcmp(digest->tables[i].name, table) == 0)
			return &digest->tables[i];
	}
	return NULL;
}

static struct cli_digest_table *find_or_add(struct cli_digest *digest, const char *name)
{
	struct cli_digest_table *table = cli_digest_find(digest, name);
	struct cli_digest_table *tables;

	if (table || digest->table_count == MAX_TABLES)
		return table;
	tables = realloc(digest->tables, (digest->table_count + 1) * sizeof(*tables));
	if (!tables)
		return NULL;
	digest->tables = tables;
	table = &tables[digest->table_count];
	memset(table, 0, sizeof(*table));
	table->name = strdup(name);
	if (!table->name)
		return NULL;
	digest->table_count++;
	return table;
}

/* {"table":…,"rows":…,"hash":…} or {"table":…,"key":…,"row_hash":…} */
static bool take_table(struct cli_digest *digest, json_t *line, const char *name)
{
	struct cli_digest_table *table = find_or_add(digest, name);
	json_t *key = json_object_get(line, "key");
	json_t *rows = json_object_get(line, "rows");
	const char *hash = json_string_value(json_object_get(line, key ? "row_hash" : "hash"));

	if (!table || !hash || strlen(hash) != 16)
		return false;
	if (key) {
		char *text = json_dumps(key, JSON_COMPACT | JSON_PRESERVE_ORDER);

		if (text)
			cli_rowset_add(&table->set, text, hash);
		free(text);
		return text && !table->set.failed;
	}
	memcpy(table->hash, hash, sizeof(table->hash));
	table->rows = json_integer_value(rows);
	return json_is_integer(rows);
}

static void on_line(void *context, const char *bytes, size_t len)
{
	struct cli_digest *digest = context;
	json_t *line = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, NULL);
	const char *cursor = json_string_value(json_object_get(line, "cursor"));
	const char *table = json_string_value(json_object_get(line, "table"));
	const char *error = json_string_value(json_object_get(line, "error"));

	if (json_is_true(json_object_get(line, "no_such_table")))
		digest->refused = true;
	if (error)
		set_problem(digest, error);
	else if (json_is_true(json_object_get(line, "done")))
		digest->saw_end = true;
	else if (table && !take_table(digest, line, table))
		set_problem(digest, "a line of the digest has the wrong form");
	else if (cursor && strlen(cursor) < sizeof(digest->cursor))
		strcpy(digest->cursor, cursor);
	else if (!table)
		set_problem(digest, "a line of the digest has the wrong form");
	json_decref(line);
}

static void on_done(void *context, int http_status, const char *problem)
{
	struct cli_digest *digest = context;

	digest->done = true;
	if (http_status >= 400 && http_status < 500)
		digest->refused = true;
	if (problem)
		set_problem(digest, problem);
	else if (!digest->saw_end)
		set_problem(digest, "the digest ended too early");
}

static const struct link_http_events events = {
	.on_line = on_line,
	.on_done = on_done,
};

static bool add_path(struct dynbuf *path, const struct cli_digest_request *request,
		     size_t table_count)
{
	dynbuf_reset(path);
	dynbuf_addf(path, "/db/digest?rows=%d", request->with_rows);
	for (size_t i = 0; i < table_count; i++) {
		dynbuf_adds(path, i ? "," : "&tables=");
		link_url_add_escaped(path, request->tables[i]);
	}
	if (request->skip[0])
		dynbuf_addf(path, "&skip=%s", request->skip);
	return !path->failed;
}

cs_status cli_digest_ask(struct link_loop *loop, const struct cli_digest_request *request,
			 struct cli_digest *out, struct cs_error *err)
{
	struct link_http_request get = {.url = request->url, .bearer = request->access_code};
	struct dynbuf path;
	cs_status status;

	memset(out, 0, sizeof(*out));
	dynbuf_init(&path, MAX_PATH_BYTES);
	/* too long with the tables' names: then all tables are asked for */
	if (add_path(&path, request, request->table_count) || add_path(&path, request, 0)) {
		get.path = path.data;
		status = link_http_get(loop, &get, &events, out, &out->http, err);
	} else {
		status = cs_fail(err, CS_ERR_CONFIG,
				 "the file lacks too many of the server's columns to name them; "
				 "compare some tables at a time");
	}
	dynbuf_free(&path);
	return status;
}

void cli_digest_free(struct cli_digest *digest)
{
	link_http_free(digest->http);
	for (size_t i = 0; i < digest->table_count; i++) {
		free(digest->tables[i].name);
		cli_rowset_free(&digest->tables[i].set);
	}
	free(digest->tables);
	memset(digest, 0, sizeof(*digest));
}
