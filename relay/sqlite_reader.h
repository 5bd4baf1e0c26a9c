/*
 * Reading a snapshot file (docs/protocol.md, "The snapshot file") back into what
 * the wire carries: row objects of canonical texts, key objects, schemas.
 *
 * One pass over each table, in the file's order, as far as the caller asks; no
 * more than a row is held between two calls.
 */
#ifndef CLINIC_RELAY_SQLITE_READER_H
#define CLINIC_RELAY_SQLITE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dynbuf.h"
#include "status.h"

struct snapshot_reader;

/* The file may be deleted once it is open. */
cs_status snapshot_reader_open(const char *path, struct snapshot_reader **out,
			       struct cs_error *err) CS_CHECKED;
/* Accepts NULL. */
void snapshot_reader_close(struct snapshot_reader *r);

/* Texts that live as long as the reader. */
const char *snapshot_reader_cursor(const struct snapshot_reader *r);
const char *snapshot_reader_created_at(const struct snapshot_reader *r);
size_t snapshot_reader_table_count(const struct snapshot_reader *r);
const char *snapshot_reader_table(const struct snapshot_reader *r, size_t i);
uint64_t snapshot_reader_table_rows(const struct snapshot_reader *r, size_t i);

/* From this table's first row on. *schema_json lives as long as the reader. CS_ERR_CONFIG: it is
   not in the file. */
cs_status snapshot_reader_begin(struct snapshot_reader *r, const char *table,
				const char **schema_json, uint64_t *rows,
				struct cs_error *err) CS_CHECKED;
/*
 * Append row objects in wire form to out, comma separated, until one more would
 * bring out->len over most_bytes (but at least one row) or the table is over.
 * *rows: how many were appended; *end: there are no more, known at once with the last.
 * A table that has other than its recorded number of rows is CS_ERR_STORE.
 */
cs_status snapshot_reader_rows(struct snapshot_reader *r, struct dynbuf *out, size_t most_bytes,
			       uint64_t *rows, bool *end, struct cs_error *err) CS_CHECKED;
/* Append the keys of this table's rows that are not held, a JSON array of key objects. */
cs_status snapshot_reader_oversize(struct snapshot_reader *r, struct dynbuf *out,
				   struct cs_error *err) CS_CHECKED;

#endif
