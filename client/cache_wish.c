/*
 * Which tables are to be fetched anew, and when.
 *
 * A table that differs again and again, however often it is put right, is
 * fetched at growing intervals: somebody works against us.  So is one that
 * cannot be fetched.  What is wanted stands in the file, too (meta
 * `repair_due`), for the next process; how often it was in vain does not.
 */
#include "cache_repair.h"

#include <stdlib.h>
#include <string.h>

#define PAUSE_LEAST_MS 1000
#define PAUSE_MOST_MS (60 * 60 * 1000)
#define TIMES_WITHOUT_PAUSE 2

struct wishes {
	struct wish *items;
	size_t count;
};

cs_status wishes_new(struct clinic_cache *c, struct cs_error *err)
{
	c->wishes = calloc(1, sizeof(*c->wishes));
	return c->wishes ? CS_OK : cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

void wishes_free(struct clinic_cache *c)
{
	if (c->wishes)
		free(c->wishes->items);
	free(c->wishes);
	c->wishes = NULL;
}

struct wish *wish_find(const struct clinic_cache *c, const char *table)
{
	struct wishes *all = c->wishes;

	for (size_t i = 0; i < all->count; i++)
		if (strcmp(all->items[i].name, table) == 0)
			return &all->items[i];
	return NULL;
}

static struct wish *find_or_add(struct clinic_cache *c, const char *table)
{
	struct wishes *all = c->wishes;
	struct wish *w = wish_find(c, table);

	if (w || all->count == CACHE_TABLES_MOST || strlen(table) >= sizeof(w->name))
		return w;
	w = realloc(all->items, (all->count + 1) * sizeof(*w));
	if (!w)
		return NULL;
	all->items = w;
	w = &all->items[all->count++];
	memset(w, 0, sizeof(*w));
	strcpy(w->name, table);
	return w;
}

static uint32_t pause_ms(unsigned before)
{
	uint64_t pause = PAUSE_LEAST_MS;

	for (unsigned i = 0; i < before && pause < PAUSE_MOST_MS; i++)
		pause *= 2;
	return pause < PAUSE_MOST_MS ? (uint32_t)pause : PAUSE_MOST_MS;
}

static struct cached_table *table_of(struct clinic_cache *c, const char *name)
{
	return tables_find(&c->tables, name, strlen(name));
}

/* The file remembers it, too, and that the table is to be taken leniently. */
static void remember(struct clinic_cache *c, const char *table)
{
	struct cached_table *t;

	if (write_begin(c, WRITE_SHORT, NULL) == CS_OK &&
	    (drift_add_due(c, table, NULL) != CS_OK || write_commit(c, NULL) != CS_OK))
		write_rollback(c);
	(void)!drift_mark(c, NULL);
	/* if it could not be written, this process knows it still */
	t = table_of(c, table);
	if (t)
		t->lenient = true;
}

cs_status repair_want(struct clinic_cache *c, const char *table, repair_reason reason,
		      struct cs_error *err)
{
	struct wish *w;

	if (!table_of(c, table))
		return CS_OK;
	w = find_or_add(c, table);
	if (!w)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (w->waiting)
		return CS_OK;
	w->waiting = true;
	w->reason = reason;
	w->times++;
	w->not_before = 0;
	if (w->times > TIMES_WITHOUT_PAUSE && reason == REPAIR_DIFFERS)
		w->not_before = c->now_ms + pause_ms(w->times - TIMES_WITHOUT_PAUSE);
	/* the tables may be read anew by this, and the caller's name go with them */
	remember(c, w->name);
	return CS_OK;
}

bool repair_is_wanted(const struct clinic_cache *c, const char *table)
{
	const struct wish *w = wish_find(c, table);

	return w && w->waiting;
}

void repair_proven(struct clinic_cache *c, const char *table)
{
	struct wish *w = wish_find(c, table);

	if (w)
		w->times = 0;
}

/* ---- what is next ------------------------------------------------------------------------ */

void wish_put_off(const struct clinic_cache *c, struct wish *w)
{
	w->not_before = c->now_ms + pause_ms(w->fails);
	w->fails++;
}

uint64_t repair_pause_ms(const struct clinic_cache *c, const char *table)
{
	const struct wish *w = wish_find(c, table);

	return w && w->waiting && w->not_before > c->now_ms ? w->not_before - c->now_ms : 0;
}

void wishes_snapshot_applied(struct clinic_cache *c)
{
	for (size_t i = 0; i < c->wishes->count; i++)
		if (c->wishes->items[i].reason == REPAIR_DIFFERS)
			c->wishes->items[i].waiting = false;
}

/* Tables that somebody else changed, or that an earlier process wanted. */
void wishes_take_due(struct clinic_cache *c)
{
	for (size_t i = 0; i < c->use.due_count; i++) {
		struct wish *w = find_or_add(c, c->use.due[i]);

		if (!w || w->waiting || !table_of(c, w->name))
			continue;
		w->waiting = true;
		w->reason = REPAIR_DIFFERS;
	}
}

const struct wish *wish_next(const struct clinic_cache *c)
{
	const struct wishes *all = c->wishes;
	const struct wish *next = NULL;

	for (size_t i = 0; i < all->count; i++)
		if (all->items[i].waiting && (!next || all->items[i].not_before < next->not_before))
			next = &all->items[i];
	return next;
}
