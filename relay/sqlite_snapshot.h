/* Writing a snapshot file (docs/protocol.md, "The snapshot file"). */
#ifndef CLINIC_RELAY_SQLITE_SNAPSHOT_H
#define CLINIC_RELAY_SQLITE_SNAPSHOT_H

#include <stdint.h>

#include "copy_text.h"
#include "schema.h"
#include "status.h"

struct snapshot_file;

/* Make path anew; the file is not valid before snapshot_file_finish(). */
cs_status snapshot_file_create(const char *path, struct snapshot_file **out,
			       struct cs_error *err) CS_CHECKED;
/* Accepts NULL. */
void snapshot_file_close(struct snapshot_file *f);

/* schema must live until the next table begins. */
cs_status snapshot_file_begin_table(struct snapshot_file *f, const struct schema *schema,
				    struct cs_error *err) CS_CHECKED;
/* One field per column of the schema. */
cs_status snapshot_file_add_row(struct snapshot_file *f, const struct copy_field *fields,
				struct cs_error *err) CS_CHECKED;
cs_status snapshot_file_add_oversize(struct snapshot_file *f, const char *key, size_t len,
				     struct cs_error *err) CS_CHECKED;
/* *rows: how many rows it got. */
cs_status snapshot_file_end_table(struct snapshot_file *f, uint64_t *rows,
				  struct cs_error *err) CS_CHECKED;

/* Indexes, commit, flush to disk, close. */
cs_status snapshot_file_finish(struct snapshot_file *f, const char *cursor, uint64_t *bytes,
			       struct cs_error *err) CS_CHECKED;

#endif
