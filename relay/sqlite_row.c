/*
 * A row of a snapshot file as the wire has it.
 *
 * Every stored value is printed back as its canonical text (common/value.c);
 * where the column could not hold it, the text comes from clinic_sync_exact,
 * which is asked only for columns that have anything in it.
 */
#include <sqlite3.h>

#include "sqlite_reader_internal.h"
#include "value.h"

/* A buffer grown beyond this by one large row is given back after it. */
#define KEEP_BYTES ((size_t)1024 * 1024)
/* Columns of a key that may be -0 at once; more of them are taken for 0. */
#define ZEROS_MOST 8

static cs_status out_of_memory(struct cs_error *err)
{
	return cs_fail(err, CS_ERR_NOMEM, "out of memory");
}

/* Canonical text of column i of the current row as the table has it. */
static bool stored_text(struct snapshot_reader *r, size_t i, const char **text, size_t *len)
{
	struct bound_value v = {0};
	int at = (int)i;

	switch (sqlite3_column_type(r->select, at)) {
	case SQLITE_NULL:
		v.kind = BIND_NULL;
		break;
	case SQLITE_INTEGER:
		v.kind = BIND_INTEGER;
		v.integer = sqlite3_column_int64(r->select, at);
		break;
	case SQLITE_FLOAT:
		v.kind = BIND_REAL;
		v.real = sqlite3_column_double(r->select, at);
		break;
	case SQLITE_BLOB:
		v.kind = BIND_BLOB;
		v.bytes = sqlite3_column_blob(r->select, at);
		v.len = (size_t)sqlite3_column_bytes(r->select, at);
		break;
	default:
		v.kind = BIND_TEXT;
		v.bytes = (const char *)sqlite3_column_text(r->select, at);
		v.len = (size_t)sqlite3_column_bytes(r->select, at);
		if (!v.bytes)
			return false;
	}
	return value_print_stored(&r->schema->columns[i], &v, &r->text, text, len);
}

/* Ask clinic_sync_exact for column i of the row that r->key names; valid until the next call. */
static bool exact_text(struct snapshot_reader *r, size_t i, const char **text, size_t *len)
{
	sqlite3_reset(r->exact);
	sqlite3_bind_text(r->exact, 1, r->table->name, -1, SQLITE_STATIC);
	sqlite3_bind_text64(r->exact, 2, r->key.data, r->key.len, SQLITE_STATIC, SQLITE_UTF8);
	sqlite3_bind_text(r->exact, 3, r->schema->columns[i].name, -1, SQLITE_STATIC);
	if (sqlite3_step(r->exact) != SQLITE_ROW)
		return false;
	*text = (const char *)sqlite3_column_text(r->exact, 0);
	*len = (size_t)sqlite3_column_bytes(r->exact, 0);
	return *text != NULL;
}

/* Could column `at` of the key be -0?  A column holds that as 0. */
static bool may_be_minus_zero(const struct snapshot_reader *r, size_t at, const char *text,
			      size_t len)
{
	return r->asks[at] && r->schema->columns[at].class == CLASS_FLOAT && len == 1 &&
	       text[0] == '0';
}

/*
 * The key as the wire writes it into r->key; minus: a bit for each column of it that
 * could be -0, set where it is.  *columns: how many could.  *asked: one that is.
 */
static cs_status print_key(struct snapshot_reader *r, unsigned minus, unsigned *columns,
			   size_t *asked, struct cs_error *err)
{
	const struct schema *schema = r->schema;

	dynbuf_reset(&r->key);
	*columns = 0;
	for (size_t i = 0; i < schema->key_count; i++) {
		size_t at = schema->key[i];
		const char *text;
		size_t len;

		if (!stored_text(r, at, &text, &len))
			return out_of_memory(err);
		if (*columns < ZEROS_MOST && may_be_minus_zero(r, at, text, len) &&
		    minus & 1U << (*columns)++) {
			text = "-0";
			len = 2;
			*asked = at;
		}
		dynbuf_adds(&r->key, i ? "," : "{");
		dynbuf_add(&r->key, r->labels[at].data, r->labels[at].len);
		value_add_json(&r->key, &schema->columns[at], text, len);
	}
	return dynbuf_adds(&r->key, "}") ? CS_OK : out_of_memory(err);
}

/*
 * clinic_sync_exact has each -0 under the key that the row had.  To the server
 * 0 and -0 are one key, so no more than one of the combinations is there.
 */
static cs_status find_key(struct snapshot_reader *r, struct cs_error *err)
{
	unsigned columns;
	size_t asked = 0, len;
	const char *text;
	cs_status status = print_key(r, 0, &columns, &asked, err);
	unsigned combinations = status == CS_OK ? 1U << columns : 0;

	for (unsigned minus = 1; minus < combinations; minus++) {
		status = print_key(r, minus, &columns, &asked, err);
		if (status != CS_OK || exact_text(r, asked, &text, &len))
			return status;
	}
	return combinations > 1 ? print_key(r, 0, &columns, &asked, err) : status;
}

cs_status snapshot_row_print(struct snapshot_reader *r, struct cs_error *err)
{
	const struct schema *schema = r->schema;
	cs_status status = r->exact ? find_key(r, err) : CS_OK;

	if (status != CS_OK)
		return status;
	if (r->row.cap > KEEP_BYTES)
		dynbuf_free(&r->row);
	if (r->text.cap > KEEP_BYTES)
		dynbuf_free(&r->text);
	dynbuf_reset(&r->row);
	for (size_t i = 0; i < schema->column_count; i++) {
		const char *text;
		size_t len;

		if (!(r->asks[i] && exact_text(r, i, &text, &len)) &&
		    !stored_text(r, i, &text, &len))
			return out_of_memory(err);
		dynbuf_add(&r->row, i ? "," : "{", 1);
		dynbuf_add(&r->row, r->labels[i].data, r->labels[i].len);
		value_add_json(&r->row, &schema->columns[i], text, len);
	}
	return dynbuf_adds(&r->row, "}") ? CS_OK : out_of_memory(err);
}
