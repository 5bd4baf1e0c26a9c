/* The rotation over the slices of a class; see digest_class.h. */
#include "digest_class.h"

#include <stdlib.h>
#include <string.h>

/* A thousand long names and what they skip: no more than a device could say in a message. */
#define KEY_MOST_BYTES ((size_t)64 * 1024 * 1024)

/* ---- the class ------------------------------------------------------------------ */

static void add_name(struct dynbuf *b, const char *name)
{
	dynbuf_add_json(b, name, strlen(name));
}

char *class_key(const struct in_request_digest *r, char *const *tables, size_t table_count)
{
	struct dynbuf b;

	dynbuf_init(&b, KEY_MOST_BYTES);
	dynbuf_adds(&b, r->whole ? "tables" : "slice");
	if (!tables)
		dynbuf_adds(&b, " all");
	for (size_t i = 0; i < table_count; i++)
		add_name(&b, tables[i]);
	for (size_t i = 0; i < r->held_count; i++) {
		if (!r->held[i].skip)
			continue;
		dynbuf_adds(&b, ";");
		add_name(&b, r->held[i].table);
		dynbuf_adds(&b, r->held[i].skip);
	}
	if (b.failed)
		dynbuf_free(&b);
	return b.data;
}

static bool keep_held(struct digest_class *c, const struct in_request_digest *r)
{
	c->held = calloc(r->held_count ? r->held_count : 1, sizeof(*c->held));
	if (!c->held)
		return false;
	for (; c->held_count < r->held_count; c->held_count++) {
		struct in_held *held = &c->held[c->held_count];

		*held = r->held[c->held_count];
		held->skip = held->skip ? strdup(held->skip) : NULL;
		held->table = strdup(held->table);
		if (!held->table || (!held->skip && r->held[c->held_count].skip)) {
			free(held->table);
			free(held->skip);
			return false;
		}
	}
	return true;
}

static bool keep_asked(struct digest_class *c, char *const *tables, size_t table_count)
{
	if (!tables)
		return true;
	c->asked = calloc(table_count ? table_count : 1, sizeof(*c->asked));
	if (!c->asked)
		return false;
	for (; c->asked_count < table_count; c->asked_count++) {
		c->asked[c->asked_count] = strdup(tables[c->asked_count]);
		if (!c->asked[c->asked_count])
			return false;
	}
	return true;
}

struct digest_class *class_new(char *key, const struct in_request_digest *r, char *const *tables,
			       size_t table_count)
{
	struct digest_class *c = key ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		free(key);
		return NULL;
	}
	c->key = key;
	c->whole = r->whole;
	if (keep_held(c, r) && keep_asked(c, tables, table_count))
		return c;
	class_free(c);
	return NULL;
}

static void forget_bounds(struct class_table *t)
{
	for (size_t i = 0; i < t->bound_count; i++)
		free(t->bounds[i]);
	free(t->bounds);
	t->bounds = NULL;
	t->bound_count = 0;
}

static void free_tables(struct class_table *tables, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		forget_bounds(&tables[i]);
		free(tables[i].name);
	}
	free(tables);
}

void class_free(struct digest_class *c)
{
	if (!c)
		return;
	free_tables(c->tables, c->table_count);
	for (size_t i = 0; i < c->held_count; i++) {
		free(c->held[i].table);
		free(c->held[i].skip);
	}
	free(c->held);
	in_names_free(&c->asked, &c->asked_count);
	free(c->key);
	free(c);
}

/* ---- its tables ------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct class_table *find_table(const struct digest_class *c, const char *name)
{
	for (size_t i = 0; i < c->table_count; i++)
		if (strcmp(c->tables[i].name, name) == 0)
			return &c->tables[i];
	return NULL;
}

static const struct in_held *held_of(const struct digest_class *c, const char *table)
{
	for (size_t i = 0; i < c->held_count; i++)
		if (strcmp(c->held[i].table, table) == 0)
			return &c->held[i];
	return NULL;
}

static bool has_tables(const struct digest_class *c, char *const *sorted, size_t count)
{
	if (c->table_count != count)
		return false;
	for (size_t i = 0; i < count; i++)
		if (strcmp(c->tables[i].name, sorted[i]) != 0)
			return false;
	return true;
}

static uint64_t size_of(const struct table_sizes *sizes, const char *name)
{
	for (size_t i = 0; i < sizes->count; i++)
		if (strcmp(sizes->names[i], name) == 0)
			return sizes->rows[i];
	return UINT64_MAX;
}

/* Also if the server counted less: it may have grown since. */
static void hear_count(struct class_table *t, const struct in_held *held)
{
	if (held->counted && t->bound_count == 0 && held->rows > t->last_rows)
		t->last_rows = held->rows;
}

/* What is known of a table that stays goes over to the new list. */
static bool fill_table(const struct digest_class *c, struct class_table *t, const char *name,
		       const struct table_sizes *sizes)
{
	const struct in_held *held = held_of(c, name);
	struct class_table *old = find_table(c, name);

	t->name = strdup(name);
	if (!t->name)
		return false;
	t->skip = held ? held->skip : NULL;
	t->last_rows = old ? old->last_rows : size_of(sizes, name);
	if (!old) {
		if (held)
			hear_count(t, held);
		return true;
	}
	t->bounds = old->bounds;
	t->bound_count = old->bound_count;
	t->bounds_asked = old->bounds_asked;
	old->bounds = NULL;
	old->bound_count = 0;
	return true;
}

/* The rotation goes on at the table where it stood, or at the one that came after it. */
static void place_rotation(struct digest_class *c, const char *name)
{
	size_t at = 0;

	while (name && at < c->table_count && strcmp(c->tables[at].name, name) < 0)
		at++;
	if (!name || at == c->table_count || strcmp(c->tables[at].name, name) != 0)
		c->at_slice = 0;
	c->at_table = at < c->table_count ? at : 0;
}

static bool replace_tables(struct digest_class *c, char *const *sorted, size_t count,
			   const struct table_sizes *sizes)
{
	struct class_table *tables = calloc(count ? count : 1, sizeof(*tables));
	struct class_table *old = c->tables;
	size_t old_count = c->table_count, filled = 0;

	if (!tables)
		return false;
	while (filled < count && fill_table(c, &tables[filled], sorted[filled], sizes))
		filled++;
	c->tables = tables;
	c->table_count = filled;
	place_rotation(c, c->at_table < old_count ? old[c->at_table].name : NULL);
	free_tables(old, old_count);
	return filled == count;
}

bool class_set_tables(struct digest_class *c, char *const *names, size_t count,
		      const struct table_sizes *sizes)
{
	char **sorted = calloc(count ? count : 1, sizeof(*sorted));
	bool good;

	if (!sorted)
		return false;
	for (size_t i = 0; i < count; i++)
		sorted[i] = names[i];
	qsort(sorted, count, sizeof(*sorted), by_bytes);
	good = has_tables(c, sorted, count) || replace_tables(c, sorted, count, sizes);
	free(sorted);
	return good;
}

void class_hear_counts(struct digest_class *c, const struct in_request_digest *r)
{
	for (size_t i = 0; i < r->held_count; i++) {
		struct class_table *t = find_table(c, r->held[i].table);

		if (t)
			hear_count(t, &r->held[i]);
	}
}

void class_begin_at(struct digest_class *c, size_t table)
{
	c->at_table = c->table_count ? table % c->table_count : 0;
	c->at_slice = 0;
}

/* ---- bounds ------------------------------------------------------------------------ */

static bool is_due(const struct class_table *t)
{
	return !t->bounds_asked && (t->bound_count || t->last_rows > SLICE_ROWS);
}

const char *class_bounds_due(const struct digest_class *c)
{
	const struct class_table *t = c->tables + c->at_table;

	return c->table_count && c->at_slice == 0 && is_due(t) ? t->name : NULL;
}

void class_await_bounds(struct digest_class *c)
{
	struct class_table *t = &c->tables[c->at_table];

	forget_bounds(t);
	t->bounds_asked = true;
	if (t->last_rows > SLICE_ROWS)
		t->last_rows = SLICE_ROWS;
}

void class_give_up_bounds(struct digest_class *c)
{
	struct class_table *t = &c->tables[c->at_table];

	forget_bounds(t);
	t->bounds_asked = false;
	t->last_rows = UINT64_MAX;
	class_begin_at(c, c->at_table + 1);
}

bool class_take_bounds(struct digest_class *c, const char *table, const json_t *keys)
{
	struct class_table *t = find_table(c, table);
	size_t count = json_array_size(keys);
	char **grown;

	if (!t)
		return false;
	if (!count)
		return true;
	grown = realloc(t->bounds, (t->bound_count + count) * sizeof(*grown));
	if (!grown)
		return false;
	t->bounds = grown;
	for (size_t i = 0; i < count; i++) {
		const json_t *key = json_array_get(keys, i);
		char *text = json_is_object(key) ? json_dumps(key, JSON_COMPACT) : NULL;

		if (!text)
			return false;
		t->bounds[t->bound_count++] = text;
	}
	return true;
}

/* ---- the rotation ------------------------------------------------------------------- */

static uint64_t rows_of(const struct class_table *t, size_t slice)
{
	if (slice < t->bound_count || t->last_rows > SLICE_ROWS)
		return SLICE_ROWS;
	return t->last_rows;
}

static size_t text_of(const struct class_table *t, size_t slice)
{
	size_t bytes = strlen(t->name) + (t->skip ? strlen(t->skip) : 0) + 64;

	if (slice)
		bytes += strlen(t->bounds[slice - 1]);
	return bytes + (slice < t->bound_count ? strlen(t->bounds[slice]) : 0);
}

/* True: the last slice of the last table is behind it. */
static bool step(struct digest_class *c)
{
	struct class_table *t = &c->tables[c->at_table];

	if (c->at_slice++ < t->bound_count)
		return false;
	t->bounds_asked = false;
	c->at_slice = 0;
	c->at_table = (c->at_table + 1) % c->table_count;
	return c->at_table == 0;
}

size_t class_choose(struct digest_class *c, uint64_t rows_most, struct digest_slice *out,
		    bool *wrapped)
{
	size_t first_table = c->at_table, first_slice = c->at_slice;
	size_t chosen = 0, text = 0;
	uint64_t rows = 0;

	*wrapped = c->table_count == 0;
	while (c->table_count && chosen < ROUND_SLICES_MOST) {
		struct class_table *t = &c->tables[c->at_table];

		rows += rows_of(t, c->at_slice);
		text += text_of(t, c->at_slice);
		if (chosen &&
		    (rows > rows_most || text > ROUND_TEXT_MOST || (c->at_slice == 0 && is_due(t))))
			break;
		out[chosen++] = (struct digest_slice){t, c->at_slice};
		*wrapped |= step(c);
		if ((c->whole && *wrapped) ||
		    (c->at_table == first_table && c->at_slice == first_slice))
			break;
	}
	return chosen;
}

void class_table_counted(struct digest_class *c, const char *table, uint64_t rows)
{
	struct class_table *t = find_table(c, table);

	if (t && t->bound_count == 0)
		t->last_rows = rows;
}

void class_slice_counted(const struct digest_slice *s, uint64_t rows)
{
	if (s->number != s->table->bound_count)
		return;
	s->table->last_rows = rows;
}

bool class_is_whole_table(const struct digest_slice *s)
{
	return s->table->bound_count == 0;
}

void class_add_range(const struct digest_slice *s, struct dynbuf *out)
{
	const struct class_table *t = s->table;

	dynbuf_adds(out, "\"after\":");
	dynbuf_adds(out, s->number ? t->bounds[s->number - 1] : "null");
	dynbuf_adds(out, ",\"upto\":");
	dynbuf_adds(out, s->number < t->bound_count ? t->bounds[s->number] : "null");
}
