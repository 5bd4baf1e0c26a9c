/*
 * The schema object of a published table (docs/protocol.md, "Schema object")
 * and the SQLite DDL derived from it.  Pure: text in, structs and text out.
 */
#ifndef CLINIC_SYNC_SCHEMA_H
#define CLINIC_SYNC_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "dynbuf.h"
#include "status.h"

/* How a cache holds a value; docs/protocol.md, "Values". */
typedef enum {
	CLASS_TEXT,
	CLASS_BOOLEAN,
	CLASS_INTEGER,
	CLASS_BIGINT,
	CLASS_FLOAT,
	CLASS_DECIMAL,
	CLASS_BLOB,
} value_class;

struct schema_column {
	char *name;
	char *type;
	value_class class;
	int scale; /* digits after the point, CLASS_DECIMAL only */
	bool nullable;
	bool identity;
	int key_position; /* 0 = first key column; -1: not in the key */
};

struct schema_index {
	char *name;
	char **columns;
	size_t column_count;
	bool unique;
};

struct schema {
	char *table;
	char *event;
	int version;
	struct schema_column *columns; /* in the server's order */
	size_t column_count;
	size_t *key; /* positions in columns, in key order */
	size_t key_count;
	size_t *by_name; /* positions in columns, in byte order of the names: the digest's order */
	struct schema_index *indexes;
	size_t index_count;
	char *json; /* the object's text, compact */
};

/* On success *out is new and owned by the caller. Checks everything: it comes from the network. */
cs_status schema_parse(const json_t *object, struct schema **out, struct cs_error *err) CS_CHECKED;
cs_status schema_parse_text(const char *text, size_t len, struct schema **out,
			    struct cs_error *err) CS_CHECKED;
void schema_free(struct schema *s);

/* Position of a column, or -1. */
int schema_find(const struct schema *s, const char *column);

/* "name" with double quotes doubled, appended to b. */
bool schema_add_identifier(struct dynbuf *b, const char *name);
/*
 * CREATE TABLE (types of the class; PRIMARY KEY; a single identity key is
 * INTEGER PRIMARY KEY AUTOINCREMENT; NOT NULL only for the key), no indexes.
 */
bool schema_add_create_table(struct dynbuf *b, const struct schema *s);
/* One CREATE [UNIQUE] INDEX IF NOT EXISTS statement. */
bool schema_add_create_index(struct dynbuf *b, const struct schema *s,
			     const struct schema_index *i);
/* SQLite type name of a class: "TEXT", "INTEGER", "REAL", "BLOB". */
const char *schema_sqlite_type(value_class class);

#endif
