/*
 * The rows of one table as (key, row hash) pairs, kept small, to count how
 * many differ between two sides.  A key is held as a 128-bit hash of its
 * normal form, so a million rows take 32 MB.  Pure.
 */
#ifndef CLINIC_SYNC_CLI_ROWSET_H
#define CLINIC_SYNC_CLI_ROWSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli_row {
	uint64_t key[2];
	uint64_t hash;
};

struct cli_rowset {
	struct cli_row *rows; /* owned */
	size_t count;
	size_t capacity;
	bool failed; /* out of memory, over the limit, or a key or hash of the wrong form */
};

/* key: JSON object text in any spacing and escaping; hash: 16 hex digits. */
void cli_rowset_add(struct cli_rowset *set, const char *key, const char *hash);
void cli_rowset_free(struct cli_rowset *set);
/* Rows that are on one side only, or different. Sorts both. */
size_t cli_rowset_differences(struct cli_rowset *a, struct cli_rowset *b);

#endif
