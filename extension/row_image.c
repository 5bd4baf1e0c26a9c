/*
 * row_image.c
 *		JSON forms of a row's key and data.
 *
 * Texts are built in place as PostgreSQL text values (a StringInfo that begins
 * with room for the header), so a row of many megabytes is copied once.
 * Everything is allocated in the caller's memory context: for a trigger that
 * is the executor's per-row context, which is reset after each row.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "lib/stringinfo.h"
#include "utils/datum.h"

#include "attempt.h"
#include "compat.h"
#include "guc.h"
#include "row_image.h"

/* Values of unbounded types up to this size print in memory easily. */
#define UNBOUNDED_SAFE_BYTES 8192

/*
 * JSON.
 */

static void
append_escaped(StringInfo buf, unsigned char c)
{
	switch (c)
	{
		case '"':
			appendBinaryStringInfo(buf, "\\\"", 2);
			break;
		case '\\':
			appendBinaryStringInfo(buf, "\\\\", 2);
			break;
		case '\b':
			appendBinaryStringInfo(buf, "\\b", 2);
			break;
		case '\f':
			appendBinaryStringInfo(buf, "\\f", 2);
			break;
		case '\n':
			appendBinaryStringInfo(buf, "\\n", 2);
			break;
		case '\r':
			appendBinaryStringInfo(buf, "\\r", 2);
			break;
		case '\t':
			appendBinaryStringInfo(buf, "\\t", 2);
			break;
		default:
			appendStringInfo(buf, "\\u%04x", c);
	}
}

/*
 * How many bytes at the start need no escape.  Eight at a time: a byte below
 * 0x20 borrows into its high bit when 0x20 is taken from it, and a byte that
 * is equal to another becomes 0 when both are XORed, then the same.
 */
static Size
plain_length(const char *bytes, Size length)
{
	const uint64 ones = UINT64CONST(0x0101010101010101);
	const uint64 highs = UINT64CONST(0x8080808080808080);
	Size i = 0;

	for (; i + sizeof(uint64) <= length; i += sizeof(uint64))
	{
		uint64 word, quotes, backslashes, found;

		memcpy(&word, bytes + i, sizeof(word));
		quotes = word ^ (ones * '"');
		backslashes = word ^ (ones * '\\');
		found = ((word - ones * ' ') & ~word) | ((quotes - ones) & ~quotes) |
				((backslashes - ones) & ~backslashes);
		if ((found & highs) != 0)
			break;
	}
	while (i < length && (unsigned char) bytes[i] >= ' ' && bytes[i] != '"' && bytes[i] != '\\')
		i++;
	return i;
}

/* Append a JSON string; the bytes are as to_json() would print them. */
static void
append_string(StringInfo buf, const char *bytes, Size length)
{
	appendStringInfoCharMacro(buf, '"');
	for (;;)
	{
		Size plain = plain_length(bytes, length);

		appendBinaryStringInfo(buf, bytes, plain);
		if (plain == length)
			break;
		append_escaped(buf, bytes[plain]);
		bytes += plain + 1;
		length -= plain + 1;
	}
	appendStringInfoCharMacro(buf, '"');
}

char *
cs_json_label(const char *name, int *length)
{
	StringInfoData buf;

	initStringInfo(&buf);
	append_string(&buf, name, strlen(name));
	appendStringInfoChar(&buf, ':');
	*length = buf.len;
	return buf.data;
}

static void
begin_object(StringInfo buf)
{
	initStringInfo(buf);
	buf->len = VARHDRSZ;
	appendStringInfoChar(buf, '{');
}

static text *
end_object(StringInfo buf)
{
	appendStringInfoChar(buf, '}');
	SET_VARSIZE(buf->data, buf->len);
	return (text *) buf->data;
}

static void
append_member(StringInfo buf, CsColumn *column, TupleTableSlot *row)
{
	int i = column->attnum - 1;
	char scratch[CS_CANON_SCRATCH];
	const char *bytes;
	Size length;

	if (buf->len > VARHDRSZ + 1)
		appendStringInfoCharMacro(buf, ',');
	appendBinaryStringInfo(buf, column->label, column->label_length);
	if (row->tts_isnull[i])
	{
		appendBinaryStringInfo(buf, "null", 4);
		return;
	}

	bytes = cs_canon_text(&column->canon, row->tts_values[i], scratch, &length);
	if (cs_canon_is_literal(&column->canon))
		appendBinaryStringInfo(buf, bytes, length);
	else
		append_string(buf, bytes, length);
}

/* Which members of which row an object has. */
typedef struct ObjectPlan
{
	StringInfoData buf;
	CsPublication *pub;
	TupleTableSlot *row;
	const int *order; /* numbers of columns; NULL: all, as they are */
	int count;
	const bool *wanted; /* of those, the ones set here; NULL: all */
} ObjectPlan;

static void
append_members(void *arg)
{
	ObjectPlan *plan = arg;

	for (int i = 0; i < plan->count; i++)
	{
		int column = plan->order == NULL ? i : plan->order[i];

		if (plan->wanted == NULL || plan->wanted[column])
			append_member(&plan->buf, &plan->pub->columns[column], plan->row);
	}
}

static text *
make_object(ObjectPlan *plan)
{
	slot_getsomeattrs(plan->row, plan->pub->last_attnum);
	begin_object(&plan->buf);
	if (plan->pub->pinned)
		cs_canon_pinned(append_members, plan);
	else
		append_members(plan);
	return end_object(&plan->buf);
}

text *
cs_row_key(CsPublication *pub, TupleTableSlot *row)
{
	ObjectPlan plan = {.pub = pub, .row = row, .order = pub->keys, .count = pub->nkeys};

	return make_object(&plan);
}

/*
 * Size.
 */

/* Bytes of the published columns before compression. */
static Size
raw_size(CsPublication *pub, TupleTableSlot *row, bool unbounded_only)
{
	Size total = 0;

	slot_getsomeattrs(row, pub->last_attnum);
	for (int i = 0; i < pub->ncolumns; i++)
	{
		CsColumn *column = &pub->columns[i];

		if (column->typlen != -1 || row->tts_isnull[column->attnum - 1])
			continue;
		if (!unbounded_only || column->canon.unbounded)
			total += cs_raw_bytes(column->typlen, row->tts_values[column->attnum - 1]);
	}
	return total;
}

bool
cs_row_is_oversize(CsPublication *pub, TupleTableSlot *row)
{
	return raw_size(pub, row, false) > (Size) cs_max_row_bytes;
}

bool
cs_row_is_risky(CsPublication *pub, TupleTableSlot *row)
{
	return pub->unbounded && raw_size(pub, row, true) > UNBOUNDED_SAFE_BYTES;
}

static void
attempt_object(void *arg)
{
	make_object(arg);
}

text *
cs_row_data(CsPublication *pub, TupleTableSlot *row, const bool *wanted)
{
	ObjectPlan plan = {.pub = pub, .row = row, .count = pub->ncolumns, .wanted = wanted};

	if (cs_row_is_oversize(pub, row))
		return NULL;
	if (!cs_row_is_risky(pub, row))
		return make_object(&plan);
	return cs_attempt(attempt_object, &plan) ? (text *) plan.buf.data : NULL;
}

bool
cs_row_is_held(CsPublication *pub, TupleTableSlot *row)
{
	if (cs_row_is_oversize(pub, row))
		return false;
	return !cs_row_is_risky(pub, row) || cs_row_data(pub, row, NULL) != NULL;
}

/*
 * Comparison of two versions of a row.
 */

/*
 * True if a stored value differs.  Versions of a row share the out-of-line
 * values that an UPDATE left alone: equal pointers are equal values, without
 * fetching them.  A value too large for a cache counts as different.
 */
static bool
varlena_differs(Datum old, Datum new)
{
	Pointer a = DatumGetPointer(old);
	Pointer b = DatumGetPointer(new);
	Size raw;

	if (cs_is_plain_varlena(a) && cs_is_plain_varlena(b))
		return VARSIZE_ANY_EXHDR(a) != VARSIZE_ANY_EXHDR(b) ||
			   VARSIZE_ANY_EXHDR(a) > (Size) cs_max_row_bytes ||
			   memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) != 0;

	raw = toast_raw_datum_size(old);
	if (VARATT_IS_EXTERNAL_ONDISK(a) && VARATT_IS_EXTERNAL_ONDISK(b) &&
		memcmp(a, b, VARSIZE_EXTERNAL(a)) == 0)
		return false;
	if (raw != toast_raw_datum_size(new) || raw - VARHDRSZ > (Size) cs_max_row_bytes)
		return true;
	return !datum_image_eq(old, new, false, -1);
}

static bool
column_differs(CsColumn *column, TupleTableSlot *old, TupleTableSlot *new)
{
	int i = column->attnum - 1;

	if (old->tts_isnull[i] || new->tts_isnull[i])
		return old->tts_isnull[i] != new->tts_isnull[i];
	if (column->typlen == -1)
		return varlena_differs(old->tts_values[i], new->tts_values[i]);
	return old->tts_values[i] != new->tts_values[i] &&
		   !datum_image_eq(old->tts_values[i], new->tts_values[i], column->typbyval,
						   column->typlen);
}

bool
cs_row_same_key(CsPublication *pub, TupleTableSlot *old, TupleTableSlot *new)
{
	bool differs = false;

	slot_getsomeattrs(old, pub->last_attnum);
	slot_getsomeattrs(new, pub->last_attnum);
	for (int i = 0; i < pub->nkeys; i++)
		differs |= column_differs(&pub->columns[pub->keys[i]], old, new);

	/* stored bytes may differ where texts do not */
	return !differs || cs_text_equal(cs_row_key(pub, old), cs_row_key(pub, new));
}

bool *
cs_row_changed(CsPublication *pub, TupleTableSlot *old, TupleTableSlot *new)
{
	bool *changed = palloc(sizeof(bool) * Max(pub->ncolumns, 1));
	bool any = false;

	slot_getsomeattrs(old, pub->last_attnum);
	slot_getsomeattrs(new, pub->last_attnum);
	for (int i = 0; i < pub->ncolumns; i++)
	{
		changed[i] = column_differs(&pub->columns[i], old, new);
		any |= changed[i];
	}
	return any ? changed : NULL;
}

bool
cs_text_equal(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		   memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}
