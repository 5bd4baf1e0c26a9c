/*
 * What is proved next: the rotation over the slices of a class of devices.
 *
 * A class is the devices that ask for the same tables with the same columns left
 * out, so that one digest answers all of them.  The rotation goes through the
 * slices of all tables, in the order of the tables' names; what is chosen for a round is
 * at most so many rows, as far as one can know:
 *
 *   patients [..10000][..10000][..3100]  payments [..800]  users [..40]
 *             round 1   round 2   \______________ round 3 ___________/
 *
 * Where a large table is cut, the server says when the rotation comes to it.
 * That a table is small only the server says: by its size until it has counted
 * the rows, and where neither is known it is asked where to cut.  A device's
 * own number may make a table larger (it may have grown since), never smaller:
 * else one that holds nothing would have the whole of a large table read at once.
 * Pure.
 */
#ifndef CLINIC_RELAY_DIGEST_CLASS_H
#define CLINIC_RELAY_DIGEST_CLASS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dynbuf.h"
#include "protocol_in.h"

#define SLICE_ROWS 10000
/* Rows of a round; of one that is part of a whole proof. */
#define ROUND_ROWS 10000
#define ROUND_ROWS_WHOLE 100000
#define ROUND_SLICES_MOST 256
/* Text of the slices of a round: what a device is sent, and the job. */
#define ROUND_TEXT_MOST ((size_t)64 * 1024)

struct class_table {
	char *name;
	const char *skip; /* JSON array, the class's; NULL: none */
	char **bounds; /* keys as JSON objects: slice i ends at bounds[i], the last one is open */
	size_t bound_count;
	bool bounds_asked;  /* since the rotation left the table */
	uint64_t last_rows; /* of the last slice, or of the whole table if it has no bounds, as
			       the server says; UINT64_MAX: it has not yet */
};

/* The server's word: about so many rows; UINT64_MAX: not known. */
struct table_sizes {
	char *const *names;
	const uint64_t *rows;
	size_t count;
};

struct digest_ask;

struct digest_class {
	struct digest_class *next;
	char *key;    /* two requests are of one class if their keys are equal */
	bool whole;   /* rounds back to back until all tables are through */
	char **asked; /* the tables asked for, in byte order; NULL: all that are published */
	size_t asked_count;
	struct in_held *held; /* what the first who asked said of each table */
	size_t held_count;
	struct class_table *tables; /* in byte order */
	size_t table_count;
	size_t at_table, at_slice; /* the next slice of the rotation */

	/* digest_when.c's and digest_round.c's */
	struct digest_ask *asks;
	size_t begin_at; /* the table where the rotation begins */
	uint64_t due_ms;
	uint64_t used_ms;  /* when somebody last asked */
	bool under_way;    /* whole: between the first round and the last */
	uint64_t took_ms;  /* whole: what its rounds took so far */
	uint64_t since_ms; /* ... when the last of them ended */
};

struct digest_slice {
	struct class_table *table; /* valid until class_set_tables() */
	size_t number;
};

/* What devices of one class have in common, as text the caller frees.  tables NULL: all.  NULL:
   out of memory. */
char *class_key(const struct in_request_digest *r, char *const *tables, size_t table_count);
/* Takes over key, also when it fails.  NULL: out of memory. */
struct digest_class *class_new(char *key, const struct in_request_digest *r, char *const *tables,
			       size_t table_count);
/* Accepts NULL.  Nobody may ask any more. */
void class_free(struct digest_class *c);

/* These are its tables now, in any order; what is known of those that stay is kept.  False: out of
   memory. */
bool class_set_tables(struct digest_class *c, char *const *names, size_t count,
		      const struct table_sizes *sizes);
/* A device says how many rows it holds in each table. */
void class_hear_counts(struct digest_class *c, const struct in_request_digest *r);
/* The rotation begins at this table's first slice. */
void class_begin_at(struct digest_class *c, size_t table);

/* The table whose bounds must be known before the next slices can be chosen, or NULL. */
const char *class_bounds_due(const struct digest_class *c);
/* Its bounds are about to come: forget the old ones. */
void class_await_bounds(struct digest_class *c);
/* They do not come: on to the next table. */
void class_give_up_bounds(struct digest_class *c);
/* Some of a table's bounds, in their order.  False: no such table, or out of memory. */
bool class_take_bounds(struct digest_class *c, const char *table, const json_t *keys);

/*
 * Choose the next slices, at least one if there is a table, at most
 * ROUND_SLICES_MOST, and move the rotation on.  *wrapped: it came to its end.
 */
size_t class_choose(struct digest_class *c, uint64_t rows_most, struct digest_slice *out,
		    bool *wrapped);
/* The server counted a table of which no slice was chosen. */
void class_table_counted(struct digest_class *c, const char *table, uint64_t rows);
/* The server counted a slice. */
void class_slice_counted(const struct digest_slice *s, uint64_t rows);
/* "after":…,"upto":… of a slice. */
void class_add_range(const struct digest_slice *s, struct dynbuf *out);
/* Is it all of its table? */
bool class_is_whole_table(const struct digest_slice *s);

#endif
