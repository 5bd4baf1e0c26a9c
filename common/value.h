/*
 * Canonical text and what SQLite holds for it.
 *
 * value_decide() says how a canonical text is bound for its class: as a number
 * only if printing the number gives the same text back; otherwise the column
 * holds the nearest thing it can and `exact` is false: the caller keeps the
 * text in clinic_sync_exact.  value_print() is the way back.  Pure.
 */
#ifndef CLINIC_SYNC_VALUE_H
#define CLINIC_SYNC_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dynbuf.h"
#include "schema.h"

typedef enum { BIND_NULL, BIND_INTEGER, BIND_REAL, BIND_TEXT, BIND_BLOB } bind_kind;

struct bound_value {
	bind_kind kind;
	bool exact; /* false: canonical text cannot be rebuilt from what is bound */
	int64_t integer;
	double real;
	const char *bytes; /* BIND_TEXT: the input; BIND_BLOB: decoded, in scratch */
	size_t len;
};

/*
 * Decide how to bind text (len bytes, canonical) for the column.  scratch
 * receives decoded bytes of a blob and must live as long as *out is used.
 * False: not a canonical text of that class at all (a protocol error).
 */
bool value_decide(const struct schema_column *column, const char *text, size_t len,
		  struct dynbuf *scratch, struct bound_value *out);

/* Canonical text of a stored number or blob, appended to b. */
bool value_print_integer(const struct schema_column *column, int64_t value, struct dynbuf *b);
bool value_print_real(const struct schema_column *column, double value, struct dynbuf *b);
bool value_print_blob(const void *bytes, size_t len, struct dynbuf *b);

/*
 * Canonical text of what a SQLite column holds (kind and the field that goes
 * with it), unless clinic_sync_exact has another: printed into scratch, or
 * where the value has it.  *text is NULL for NULL.
 */
bool value_print_stored(const struct schema_column *column, const struct bound_value *stored,
			struct dynbuf *scratch, const char **text, size_t *len);

/* Canonical text as the wire writes it, in data and key objects; text NULL: null. */
bool value_add_json(struct dynbuf *b, const struct schema_column *column, const char *text,
		    size_t len);

/* The row hash of docs/protocol.md, "Digest", one column at a time, in byte order of the names. */
struct row_hash;
struct row_hash *row_hash_new(void); /* NULL: out of memory */
void row_hash_free(struct row_hash *h);
bool row_hash_begin(struct row_hash *h);
bool row_hash_add(struct row_hash *h, const char *text, size_t len); /* text NULL: NULL value */
bool row_hash_end(struct row_hash *h, uint64_t *out);

#endif
