/*
 * What stages, compares and swaps a table know of each other; for
 * cache_repair.c, cache_wish.c, cache_compare.c, cache_swap.c, cache_table_part.c and cache_full.c.
 */
#ifndef CLINIC_CACHE_REPAIR_H
#define CLINIC_CACHE_REPAIR_H

#include "cache_internal.h"

/* The staged table's database while it is attached, and the temporary list of keys. */
#define REPAIR_SCHEMA "clinic_part"
#define REPAIR_LIST "clinic_repair_list"

/* ---- what is to be fetched, and when: cache_wish.c ------------------------------------------ */

/* A table that was to be fetched at some time. */
struct wish {
	char name[64];
	bool waiting; /* or in hand */
	repair_reason reason;
	unsigned times; /* found to differ since it was last found equal */
	unsigned fails; /* tried in vain since it was last put right */
	uint64_t not_before;
};
cs_status wishes_new(struct clinic_cache *c, struct cs_error *err) CS_CHECKED;
void wishes_free(struct clinic_cache *c);
struct wish *wish_find(const struct clinic_cache *c, const char *table);
/* Tables that somebody else changed, or that an earlier process wanted. */
void wishes_take_due(struct clinic_cache *c);
/* The one that waits since longest, or has to wait least; NULL: none. */
const struct wish *wish_next(const struct clinic_cache *c);
/* It was tried in vain. */
void wish_put_off(const struct clinic_cache *c, struct wish *w);
/* Nothing differs any more. */
void wishes_snapshot_applied(struct clinic_cache *c);

/* ---- rows from the link: cache_table_part.c ------------------------------------------------ */

struct table_part;
/* Make path anew. Close before anybody reads it. */
cs_status table_part_create(const char *path, struct table_part **out,
			    struct cs_error *err) CS_CHECKED;
/* Accepts NULL. */
void table_part_close(struct table_part *p);
/* A message table_sync, which must be number *next_part of its table. */
cs_status table_part_take(struct table_part *p, const json_t *message, int64_t *next_part,
			  struct cs_error *err) CS_CHECKED;
/* Of the table that is being taken; NULL: none. */
const struct schema *table_part_schema(const struct table_part *p);
int64_t table_part_rows(const struct table_part *p);
/* The table is whole. */
cs_status table_part_end(struct table_part *p, struct cs_error *err) CS_CHECKED;
/* All are. */
cs_status table_part_finish(struct table_part *p, const char *cursor, bool with_indexes,
			    struct cs_error *err) CS_CHECKED;

/* ---- what differs: cache_compare.c ---------------------------------------------------------- */

/* How far two tables were compared. */
struct compare_walk {
	sqlite3_value **last; /* key of the last row; NULL: none so far */
	size_t key_count;
	bool over;
	bool whole;         /* rows cannot be told one by one: replace all */
	int64_t steps_left; /* more than this is no walk that gets anywhere */
};
/* Make the empty list; nothing was compared. staged: rows of the staged table. */
cs_status compare_begin(struct clinic_cache *c, const struct cached_table *t, int64_t staged,
			struct compare_walk *walk, struct cs_error *err) CS_CHECKED;
/* The next rows; walk->over afterwards: these were the last. path: the staged table's file. */
cs_status compare_step(struct clinic_cache *c, const struct cached_table *t, const char *path,
		       struct compare_walk *walk, struct cs_error *err) CS_CHECKED;
/* The list goes, too. */
void compare_end(struct clinic_cache *c, struct compare_walk *walk);

/* ATTACH path as REPAIR_SCHEMA; and let go of it. */
cs_status part_attach(struct clinic_cache *c, const char *path, struct cs_error *err) CS_CHECKED;
void part_detach(struct clinic_cache *c);

/* ---- one transaction: cache_swap.c ---------------------------------------------------------- */

struct swap {
	const char *table;
	const char *path;   /* the staged table's file */
	struct stage *kept; /* changes since it was asked for; NULL: none */
	bool whole;         /* all rows, not only those in the list */
	bool counted;       /* as a repair */
	int64_t rows;       /* out: of the table afterwards */
	int64_t written;    /* out: rows that were replaced or removed */
};
cs_status swap_table(struct clinic_cache *c, struct swap *s, struct cs_error *err) CS_CHECKED;

#endif
