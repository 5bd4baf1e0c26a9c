/* A group: its tables and its ring; see feed.h. */
#include "feed_group.h"

#include <stdlib.h>
#include <string.h>

#define RING_FIRST_CAPACITY 64

/* ---- tables ---------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool copy_tables(struct feed_group *g, char *const *tables, size_t table_count)
{
	g->tables = calloc(table_count, sizeof(*g->tables));
	if (!g->tables)
		return false;
	for (; g->table_count < table_count; g->table_count++) {
		g->tables[g->table_count] = strdup(tables[g->table_count]);
		if (!g->tables[g->table_count])
			return false;
	}
	qsort(g->tables, g->table_count, sizeof(*g->tables), by_bytes);
	return true;
}

struct feed_group *group_new(struct feed *f, char *const *tables, size_t table_count)
{
	struct feed_group *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->feed = f;
	g->rests_end = &g->rests;
	g->capacity = RING_FIRST_CAPACITY;
	g->slots = calloc(g->capacity, sizeof(*g->slots));
	if (!g->slots || (tables && !copy_tables(g, tables, table_count))) {
		group_free(g); /* an untouched builder is fine to free */
		return NULL;
	}
	return g;
}

void group_free(struct feed_group *g)
{
	group_break(g);
	builder_free(&g->builder);
	for (size_t i = 0; i < g->table_count; i++)
		free(g->tables[i]);
	free(g->tables);
	free(g->slots);
	free(g);
}

bool group_is(const struct feed_group *g, char *const *tables, size_t table_count)
{
	if (!tables || !g->tables)
		return !tables && !g->tables;
	if (g->table_count != table_count)
		return false;
	for (size_t i = 0; i < table_count; i++)
		if (!feed_group_has(g, tables[i], strlen(tables[i])))
			return false;
	return true;
}

bool feed_group_has(const struct feed_group *g, const char *table, size_t len)
{
	size_t low = 0, high = g->table_count;

	if (!g->tables)
		return true;
	while (low < high) {
		size_t middle = (low + high) / 2;
		const char *here = g->tables[middle];
		int order = strncmp(here, table, len);

		if (order == 0 && here[len] == '\0')
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

bool feed_group_resynced(const struct feed_group *g, const struct upstream_batch *b,
			 struct dynbuf *tables)
{
	const char *at = b->resync;

	dynbuf_init(tables, 1 << 20);
	while (at && *at) {
		size_t len = strcspn(at, ",");

		if (feed_group_has(g, at, len)) {
			dynbuf_adds(tables, tables->len ? "," : "[");
			dynbuf_add_json(tables, at, len);
		}
		at += len;
		if (*at == ',')
			at++;
	}
	if (tables->len)
		dynbuf_adds(tables, "]");
	return tables->len || tables->failed;
}

/* ---- ring ------------------------------------------------------------------ */

static struct feed_entry **slot(const struct feed_group *g, uint64_t seq)
{
	return &g->slots[seq & (g->capacity - 1)];
}

static bool grow(struct feed_group *g)
{
	struct feed_entry **slots = calloc(g->capacity * 2, sizeof(*slots));

	if (!slots)
		return false;
	for (uint64_t seq = g->first; seq < g->next_seq; seq++)
		slots[seq & (g->capacity * 2 - 1)] = *slot(g, seq);
	free(g->slots);
	g->slots = slots;
	g->capacity *= 2;
	return true;
}

static void unlink_rest(struct feed_group *g, struct feed_rest **at)
{
	struct feed_rest *r = *at;

	*at = r->next;
	if (!*at)
		g->rests_end = at;
	g->memory -= feed_entry_memory(r->entry);
	g->rest_bytes -= feed_entry_memory(r->entry);
	feed_entry_unref(r->entry);
	free(r);
}

void group_drop_rest(struct feed_group *g)
{
	unlink_rest(g, &g->rests);
}

void group_drop_oldest(struct feed_group *g)
{
	struct feed_entry *e = *slot(g, g->first);

	for (struct feed_rest **at = &g->rests; *at;) {
		if ((*at)->seq == g->first)
			unlink_rest(g, at);
		else
			at = &(*at)->next;
	}

	g->memory -= feed_entry_memory(e);
	g->spooled -= feed_entry_spooled(e);
	g->spool_cost -= feed_entry_spool_cost(e);
	feed_entry_unref(e);
	g->first++;
}

void group_break(struct feed_group *g)
{
	while (g->first < g->next_seq)
		group_drop_oldest(g);
	g->first = ++g->next_seq;
}

void group_push(struct feed_group *g, struct feed_entry *e)
{
	/* no memory to grow: forget the oldest, as when the ring is full of bytes */
	if (g->next_seq - g->first == g->capacity && !grow(g))
		group_drop_oldest(g);
	g->last_bytes += feed_entry_memory(e);
	e->end_bytes = g->last_bytes;
	g->memory += feed_entry_memory(e);
	g->spooled += feed_entry_spooled(e);
	g->spool_cost += feed_entry_spool_cost(e);
	*slot(g, g->next_seq++) = e;
}

struct feed_entry *feed_at(const struct feed_group *g, uint64_t seq)
{
	if (seq < g->first || seq >= g->next_seq)
		return NULL;
	return *slot(g, seq);
}

uint64_t feed_behind(const struct feed_group *g, uint64_t seq)
{
	const struct feed_entry *e;

	if (seq >= g->next_seq)
		return 0;
	e = feed_at(g, seq < g->first ? g->first : seq);
	return g->last_bytes - e->end_bytes + feed_entry_memory(e);
}

/*
 * Steps follow each other, so their batch ids rise: the first entry that begins
 * at this batch or after it.
 */
static uint64_t first_from(const struct feed_group *g, int64_t batch)
{
	uint64_t low = g->first, high = g->next_seq;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (feed_at(g, middle)->step.from.batch < batch)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* By number, then see that it is that batch and not its namesake in another history. */
bool group_find_start(const struct feed_group *g, const struct cursor *cursor, uint64_t *seq)
{
	uint64_t at = first_from(g, cursor->batch);

	if (at == g->next_seq || !cursor_equal(&feed_at(g, at)->step.from, cursor))
		return false;
	*seq = at;
	return true;
}

const struct entry_mark *group_find_inside(const struct feed_group *g, const struct cursor *cursor,
					   uint64_t *seq)
{
	uint64_t at = first_from(g, cursor->batch);

	if (at == g->first)
		return NULL;
	*seq = at - 1;
	return marks_find(&feed_at(g, at - 1)->marks, cursor);
}

struct feed_entry *group_rest(struct feed_group *g, uint64_t seq, const struct entry_mark *mark)
{
	struct feed_rest *r;

	for (r = g->rests; r; r = r->next)
		if (r->seq == seq && cursor_equal(&r->entry->step.from, &mark->cursor))
			return r->entry;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->seq = seq;
	r->entry = feed_entry_of_rest(feed_at(g, seq), mark);
	if (!r->entry) {
		free(r);
		return NULL;
	}
	*g->rests_end = r;
	g->rests_end = &r->next;
	g->memory += feed_entry_memory(r->entry);
	g->rest_bytes += feed_entry_memory(r->entry);
	return r->entry;
}
