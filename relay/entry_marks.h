/*
 * Where the batches end inside an entry that spans several, so that a device
 * that stands in its middle goes on from memory as well.
 *
 *     changes  {..},{..},{..},{..},{..},{..}
 *                  ^         ^         ^
 *                  mark 11   mark 12   mark 13        a cursor and an offset each
 *
 * Batches that brought nothing have a mark too: a device may have heard of them
 * by a heartbeat.  Pure.
 */
#ifndef CLINIC_RELAY_ENTRY_MARKS_H
#define CLINIC_RELAY_ENTRY_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cursor.h"
#include "table_counts.h"

/* So many in one entry; a builder that has them ends the entry. */
#define MARKS_MOST 4096

struct entry_mark {
	struct cursor cursor;
	uint32_t at;        /* bytes of the body up to the end of this batch */
	uint32_t counts_at; /* counts of the batches up to this one */
};

struct entry_marks {
	struct entry_mark *items;
	size_t len, capacity;
	struct table_count *counts; /* batch after batch */
	size_t counts_len, counts_capacity;
};

/*
 * A batch ended at this place.  Out of memory, all marks are forgotten: who
 * stands at one reads the log.
 */
void marks_add(struct entry_marks *m, const struct cursor *cursor, size_t at,
	       const struct table_counts *counts);
/* The entry ends at `to`: no mark is needed there.  Gives back what memory is left over. */
void marks_close(struct entry_marks *m, const struct cursor *to);
void marks_free(struct entry_marks *m);
/* NULL: no batch with this cursor ended inside. */
const struct entry_mark *marks_find(const struct entry_marks *m, const struct cursor *cursor);
/* Rows per table after the mark.  False: out of memory. */
bool marks_counts_after(const struct entry_marks *m, const struct entry_mark *mark,
			struct table_counts *out);
size_t marks_memory(const struct entry_marks *m);

#endif
