/* What the two halves of the reader know of each other: file and tables, and a row. */
#ifndef CLINIC_RELAY_SQLITE_READER_INTERNAL_H
#define CLINIC_RELAY_SQLITE_READER_INTERNAL_H

#include "schema.h"
#include "sqlite_reader.h"

struct sqlite3;
struct sqlite3_stmt;

struct reader_table {
	char *name;
	char *schema_json;
	uint64_t rows;
};

struct snapshot_reader {
	struct sqlite3 *db;
	char *cursor;
	char *created_at;
	struct reader_table *tables;
	size_t table_count;

	/* the table being read */
	const struct reader_table *table;
	struct schema *schema;
	struct dynbuf *labels; /* by position: "name": as JSON */
	bool *asks;            /* by position: clinic_sync_exact has texts of the column */
	struct sqlite3_stmt *select;
	struct sqlite3_stmt *exact; /* NULL: the table has no exact texts */
	uint64_t given;
	bool held; /* row is printed and waits for the next call */
	bool over;

	struct dynbuf row;
	struct dynbuf text; /* a value printed anew */
	struct dynbuf key;
};

/* The row at which r->select stands as a JSON object in r->row (sqlite_row.c). */
cs_status snapshot_row_print(struct snapshot_reader *r, struct cs_error *err) CS_CHECKED;

#endif
