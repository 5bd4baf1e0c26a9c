/*
 * Schema objects come over the network and become SQL. Whatever is accepted
 * must make statements that SQLite takes, whatever its names are.
 */
#include "dynbuf.h"
#include "schema.h"

#include <sqlite3.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* More columns or longer text than SQLite takes is its error, not a wrong statement. */
static void run(sqlite3 *db, const struct dynbuf *sql)
{
	int rc = sqlite3_exec(db, sql->data, NULL, NULL, NULL);

	if (rc != SQLITE_OK && sqlite3_error_offset(db) >= 0)
		abort();
}

static void make_table(const struct schema *schema)
{
	struct dynbuf sql;
	sqlite3 *db;

	if (sqlite3_open(":memory:", &db) != SQLITE_OK)
		abort();
	dynbuf_init(&sql, 16 * 1024 * 1024);
	if (schema_add_create_table(&sql, schema))
		run(db, &sql);
	for (size_t i = 0; i < schema->index_count; i++) {
		dynbuf_reset(&sql);
		if (schema_add_create_index(&sql, schema, &schema->indexes[i]))
			run(db, &sql);
	}
	dynbuf_free(&sql);
	sqlite3_close(db);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct schema *schema = NULL;
	struct cs_error err = {0};

	if (schema_parse_text((const char *)data, size, &schema, &err) == CS_OK)
		make_table(schema);
	schema_free(schema);
	return 0;
}
