/* Orders of a job and lists of table names; see job_orders.h. */
#include "job_orders.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "dynbuf.h"

/* What a device may name, each name as long as PostgreSQL allows. */
#define LIST_NAMES_MOST 1000
#define LIST_MOST_BYTES ((size_t)LIST_NAMES_MOST * 64)

static const char *const kinds[] = {
	[JOB_SNAPSHOT] = "snapshot", [JOB_DIGEST] = "digest", [JOB_PROOF] = "proof"};

char *job_orders_print(const struct job_orders *o)
{
	json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:O*}", "job", kinds[o->kind],
				   "dsn", o->dsn, "tables", o->tables ? o->tables : "", "path",
				   o->path ? o->path : "", "rows", (int)o->rows, "skip",
				   o->skip ? o->skip : "", "spec", o->spec);
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	json_decref(object);
	return text;
}

bool job_orders_take(json_t *object, struct job_orders *out)
{
	json_t *rows = json_object_get(object, "rows");
	json_t *kind = json_object_get(object, "job");

	memset(out, 0, sizeof(*out));
	out->dsn = json_string_value(json_object_get(object, "dsn"));
	out->tables = json_string_value(json_object_get(object, "tables"));
	out->path = json_string_value(json_object_get(object, "path"));
	out->rows = json_is_true(rows);
	out->skip = json_string_value(json_object_get(object, "skip"));
	out->spec = json_object_get(object, "spec");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!json_is_string(kind) || strcmp(json_string_value(kind), kinds[i]) != 0)
			continue;
		out->kind = (enum job_kind)i;
		return out->dsn && out->tables && out->path;
	}
	return false;
}

json_t *job_list_names(const char *list)
{
	json_t *names = json_object();
	bool good = names != NULL;

	for (const char *at = list ? list : ""; good && *at;) {
		size_t len = strcspn(at, ",");
		char *name = strndup(at, len);

		good = name && json_object_set_new(names, name, json_true()) == 0;
		free(name);
		at += len + (at[len] == ',');
	}
	if (good)
		return names;
	json_decref(names);
	return NULL;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char *job_list_normalize(const char *list)
{
	char *names[LIST_NAMES_MOST];
	char *copy = strdup(list ? list : "");
	char *rest = copy;
	struct dynbuf out;
	size_t count = 0;

	dynbuf_init(&out, LIST_MOST_BYTES);
	if (!copy)
		return NULL;
	for (char *name; count < LIST_NAMES_MOST && (name = strsep(&rest, ",")) != NULL;)
		names[count++] = name;
	qsort(names, count, sizeof(names[0]), compare_names);
	dynbuf_adds(&out, "");
	for (size_t i = 0; i < count; i++) {
		if (i > 0 && strcmp(names[i], names[i - 1]) == 0)
			continue;
		dynbuf_adds(&out, out.len ? "," : "");
		dynbuf_adds(&out, names[i]);
	}
	free(copy);
	if (!out.failed && !rest)
		return out.data;
	dynbuf_free(&out);
	return NULL;
}
