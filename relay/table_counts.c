/* Rows per table; see table_counts.h. */
#include "table_counts.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_MOST 4096

/*
 * Names are kept once for the process, so that a ring of many small frames
 * counts in pointers.  A name that was seen stays: there are as many as tables.
 */
static struct {
	char **items;
	size_t len;
} names;

static const char *intern(const char *name, size_t len)
{
	char **items;
	char *copy;

	for (size_t i = 0; i < names.len; i++)
		if (strncmp(names.items[i], name, len) == 0 && names.items[i][len] == '\0')
			return names.items[i];
	if (names.len == NAMES_MOST)
		return NULL;
	items = realloc(names.items, (names.len + 1) * sizeof(*items));
	if (!items)
		return NULL;
	names.items = items;
	copy = strndup(name, len);
	if (copy)
		names.items[names.len++] = copy;
	return copy;
}

static bool add_interned(struct table_counts *c, const char *table, uint64_t rows)
{
	struct table_count *items;

	for (size_t i = 0; i < c->len; i++) {
		if (c->items[i].table == table) {
			c->items[i].rows += rows;
			return true;
		}
	}
	items = realloc(c->items, (c->len + 1) * sizeof(*items));
	if (!items)
		return false;
	c->items = items;
	c->items[c->len].table = table;
	c->items[c->len++].rows = rows;
	return true;
}

bool table_counts_add(struct table_counts *c, const char *table, size_t len, uint64_t rows)
{
	const char *name;

	/* rows of one table mostly come in a run: look at the latest first */
	if (c->len && strncmp(c->items[c->len - 1].table, table, len) == 0 &&
	    c->items[c->len - 1].table[len] == '\0') {
		c->items[c->len - 1].rows += rows;
		return true;
	}
	name = intern(table, len);
	return name && add_interned(c, name, rows);
}

bool table_counts_add_all(struct table_counts *to, const struct table_counts *from)
{
	for (size_t i = 0; i < from->len; i++)
		if (!add_interned(to, from->items[i].table, from->items[i].rows))
			return false;
	return true;
}

void table_counts_free(struct table_counts *c)
{
	free(c->items);
	c->items = NULL;
	c->len = 0;
}
