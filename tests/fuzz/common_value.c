/*
 * libFuzzer: a schema object and canonical texts. What value_decide() calls
 * exact must print back byte for byte; the first byte chooses the class.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "value.h"

static void check_value(const struct schema_column *column, const char *text, size_t len)
{
	struct dynbuf scratch;
	struct dynbuf b;
	struct bound_value v;

	dynbuf_init(&scratch, 1 << 20);
	dynbuf_init(&b, 1 << 20);
	if (value_decide(column, text, len, &scratch, &v) && v.exact) {
		if (v.kind == BIND_INTEGER)
			value_print_integer(column, v.integer, &b);
		else if (v.kind == BIND_REAL)
			value_print_real(column, v.real, &b);
		else if (v.kind == BIND_BLOB)
			value_print_blob(v.bytes, v.len, &b);
		else
			dynbuf_add(&b, v.bytes, v.len);
		if (b.len != len || (len && memcmp(b.data, text, len) != 0))
			abort();
	}
	dynbuf_free(&scratch);
	dynbuf_free(&b);
}

static void check_schema(const char *text, size_t len)
{
	struct schema *s;
	struct schema *again;
	struct dynbuf b;

	if (schema_parse_text(text, len, &s, NULL) != CS_OK)
		return;
	if (schema_parse_text(s->json, strlen(s->json), &again, NULL) != CS_OK)
		abort();
	dynbuf_init(&b, 1 << 20);
	schema_add_create_table(&b, s);
	for (size_t i = 0; i < s->index_count; i++)
		schema_add_create_index(&b, s, &s->indexes[i]);
	dynbuf_free(&b);
	schema_free(s);
	schema_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char *const types[] = {
		"text",          "boolean", "integer", "bigint",         "double precision",
		"numeric(12,2)", "bytea",   "real",    "numeric(15,15)", "numeric(15)"};
	static const value_class classes[] = {
		CLASS_TEXT,    CLASS_BOOLEAN, CLASS_INTEGER, CLASS_BIGINT,  CLASS_FLOAT,
		CLASS_DECIMAL, CLASS_BLOB,    CLASS_FLOAT,   CLASS_DECIMAL, CLASS_DECIMAL};
	static const int scales[] = {0, 0, 0, 0, 0, 2, 0, 0, 15, 0};
	size_t which;
	struct schema_column column = {.name = "x"};

	if (size == 0)
		return 0;
	which = data[0] % 11;
	if (which == 10) {
		check_schema((const char *)data + 1, size - 1);
		return 0;
	}
	column.type = types[which];
	column.class = classes[which];
	column.scale = scales[which];
	check_value(&column, (const char *)data + 1, size - 1);
	return 0;
}
