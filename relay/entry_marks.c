/* Ends of batches inside an entry; see entry_marks.h. */
#include "entry_marks.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 8

void marks_free(struct entry_marks *m)
{
	free(m->items);
	free(m->counts);
	memset(m, 0, sizeof(*m));
}

static bool add_counts(struct entry_marks *m, const struct table_counts *counts)
{
	size_t needed = m->counts_len + counts->len;

	if (needed > m->counts_capacity) {
		size_t capacity = needed * 2 > FIRST_CAPACITY ? needed * 2 : FIRST_CAPACITY;
		struct table_count *grown = realloc(m->counts, capacity * sizeof(*grown));

		if (!grown)
			return false;
		m->counts = grown;
		m->counts_capacity = capacity;
	}
	if (counts->len)
		memcpy(m->counts + m->counts_len, counts->items,
		       counts->len * sizeof(*counts->items));
	m->counts_len = needed;
	return true;
}

void marks_add(struct entry_marks *m, const struct cursor *cursor, size_t at,
	       const struct table_counts *counts)
{
	if (m->len == m->capacity) {
		size_t capacity = m->capacity ? m->capacity * 2 : FIRST_CAPACITY;
		struct entry_mark *items = realloc(m->items, capacity * sizeof(*items));

		if (!items) {
			marks_free(m);
			return;
		}
		m->items = items;
		m->capacity = capacity;
	}
	if (at > UINT32_MAX || !add_counts(m, counts)) {
		marks_free(m);
		return;
	}
	m->items[m->len++] = (struct entry_mark){*cursor, (uint32_t)at, (uint32_t)m->counts_len};
}

void marks_close(struct entry_marks *m, const struct cursor *to)
{
	struct entry_mark *items;
	struct table_count *counts;

	if (m->len && cursor_equal(&m->items[m->len - 1].cursor, to))
		m->len--;
	if (!m->len) {
		marks_free(m);
		return;
	}
	items = realloc(m->items, m->len * sizeof(*items));
	if (items) {
		m->items = items;
		m->capacity = m->len;
	}
	counts = m->counts_len ? realloc(m->counts, m->counts_len * sizeof(*counts)) : NULL;
	if (counts) {
		m->counts = counts;
		m->counts_capacity = m->counts_len;
	}
}

/* By number, then see that it is that batch and not its namesake in another history. */
const struct entry_mark *marks_find(const struct entry_marks *m, const struct cursor *cursor)
{
	size_t low = 0, high = m->len;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (m->items[middle].cursor.batch < cursor->batch)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == m->len || !cursor_equal(&m->items[low].cursor, cursor))
		return NULL;
	return &m->items[low];
}

bool marks_counts_after(const struct entry_marks *m, const struct entry_mark *mark,
			struct table_counts *out)
{
	struct table_counts after = {m->counts + mark->counts_at, m->counts_len - mark->counts_at};

	return table_counts_add_all(out, &after);
}

size_t marks_memory(const struct entry_marks *m)
{
	return m->capacity * sizeof(*m->items) + m->counts_capacity * sizeof(*m->counts);
}
