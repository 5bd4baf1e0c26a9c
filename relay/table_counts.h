/*
 * Rows per table: what a frame, a resume or a catch-up carried, for the log
 * line "Synced X records from table Y".  Pure.
 */
#ifndef CLINIC_RELAY_TABLE_COUNTS_H
#define CLINIC_RELAY_TABLE_COUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_count {
	const char *table; /* interned: lives as long as the process */
	uint64_t rows;
};

struct table_counts {
	struct table_count *items;
	size_t len;
};

/* False: out of memory, or more different names than any database publishes. */
bool table_counts_add(struct table_counts *c, const char *table, size_t len, uint64_t rows);
bool table_counts_add_all(struct table_counts *to, const struct table_counts *from);
void table_counts_free(struct table_counts *c);

#endif
