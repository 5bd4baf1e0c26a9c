/*
 * key_order.c
 *		The order of keys that server and caches share.
 *
 * Keys are compared column by column in the key's order: classes integer and
 * bigint as numbers, class text by the bytes of its canonical text, which is
 * what SQLite's BINARY collation does.  The server's own order of the column
 * (a collation, dates, network addresses) does not matter.  Other classes
 * have no order that both sides share without rounding or decoding; a table
 * with such a key column cannot be divided.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily_d.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "key_order.h"

/*
 * Columns.
 */

/* As clinic_sync.type_class() says: numeric is text where REAL cannot hold all its digits. */
static bool
numeric_is_text(int32 typmod)
{
	int precision, scale;

	if (typmod < (int32) VARHDRSZ)
		return true;
	precision = ((typmod - VARHDRSZ) >> 16) & 0xffff;
	scale = (((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;
	return precision > 15 || scale < 0 || scale > precision;
}

/* False if the order is not shared. */
static bool
init_column(CsKeyColumn *key, Form_pg_attribute att)
{
	int32 typmod = att->atttypmod;

	key->base = getBaseTypeAndTypmod(att->atttypid, &typmod);
	key->is_number = key->base == INT2OID || key->base == INT4OID || key->base == INT8OID;
	switch (key->base)
	{
		case BOOLOID:
		case FLOAT4OID:
		case FLOAT8OID:
		case BYTEAOID:
			return false;
		case NUMERICOID:
			return numeric_is_text(typmod);
		default:
			return true;
	}
}

void
cs_key_order_init(CsKeyOrder *order, Relation part, CsPublication *pub)
{
	order->pub = pub;
	order->ncolumns = pub->nkeys;
	order->columns = palloc(sizeof(CsKeyColumn) * Max(pub->nkeys, 1));
	order->pinned = false;
	order->is_shared = pub->nkeys > 0;
	for (int i = 0; i < pub->nkeys; i++)
	{
		CsColumn *column = &pub->columns[pub->keys[i]];

		order->columns[i].column = column;
		order->pinned |= column->canon.pinned;
		order->is_shared &= init_column(&order->columns[i],
										TupleDescAttr(RelationGetDescr(part), column->attnum - 1));
	}
}

/*
 * Keys from key objects.
 */

static void
reject_key(const CsKeyOrder *order)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("not a key object of table \"%s\"", NameStr(order->pub->table)),
					errhint("Use the keys that clinic_sync.slice_bounds() returns.")));
}

/* A member as text; NULL: it is missing or null. */
static text *
member_text(text *object, const char *name)
{
	LOCAL_FCINFO(call, 2);
	Datum result;

	InitFunctionCallInfoData(*call, NULL, 2, InvalidOid, NULL, NULL);
	call->args[0].value = PointerGetDatum(object);
	call->args[0].isnull = false;
	call->args[1].value = CStringGetTextDatum(name);
	call->args[1].isnull = false;
	result = json_object_field_text(call);
	return call->isnull ? NULL : DatumGetTextPP(result);
}

static void
parse_value(const CsKeyOrder *order, const CsKeyColumn *key, text *object, CsKeyValue *value)
{
	text *member = member_text(object, NameStr(key->column->name));

	if (member == NULL)
		reject_key(order);
	value->bytes = VARDATA_ANY(member);
	value->length = VARSIZE_ANY_EXHDR(member);
	if (key->is_number)
		value->number =
			DatumGetInt64(DirectFunctionCall1(int8in, CStringGetDatum(text_to_cstring(member))));
}

/* The errors of parsing would quote the key, which belongs in no log. */
CsKeyValue *
cs_key_parse(const CsKeyOrder *order, text *object)
{
	MemoryContext context = CurrentMemoryContext;
	CsKeyValue *values = palloc0(sizeof(CsKeyValue) * order->ncolumns);
	bool is_cancelled;

	PG_TRY();
	{
		for (int i = 0; i < order->ncolumns; i++)
			parse_value(order, &order->columns[i], object, &values[i]);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		is_cancelled = ERRCODE_TO_CATEGORY(geterrcode()) == ERRCODE_OPERATOR_INTERVENTION;
		if (is_cancelled)
			PG_RE_THROW();
		FlushErrorState();
		reject_key(order);
	}
	PG_END_TRY();
	return values;
}

/*
 * Keys of rows.
 */

typedef struct RowKey
{
	const CsKeyOrder *order;
	TupleTableSlot *row;
	CsKeyValue *values;
} RowKey;

static int64
number_of(Oid base, Datum value)
{
	if (base == INT2OID)
		return DatumGetInt16(value);
	return base == INT4OID ? DatumGetInt32(value) : DatumGetInt64(value);
}

static void
text_of(CsCanon *canon, Datum value, CsKeyValue *result)
{
	char scratch[CS_CANON_SCRATCH];

	result->bytes = cs_canon_text(canon, value, scratch, &result->length);
	if (result->bytes == scratch)
	{
		char *copy = palloc(result->length + 1);

		memcpy(copy, scratch, result->length);
		result->bytes = copy;
	}
}

static void
make_key(void *arg)
{
	RowKey *key = arg;

	for (int i = 0; i < key->order->ncolumns; i++)
	{
		CsKeyColumn *column = &key->order->columns[i];
		Datum value = key->row->tts_values[column->column->attnum - 1];

		if (column->is_number)
			key->values[i].number = number_of(column->base, value);
		else
			text_of(&column->column->canon, value, &key->values[i]);
	}
}

void
cs_key_of_row(const CsKeyOrder *order, TupleTableSlot *row, CsKeyValue *values)
{
	RowKey key = {.order = order, .row = row, .values = values};

	slot_getsomeattrs(row, order->pub->last_attnum);
	if (order->pinned)
		cs_canon_pinned(make_key, &key);
	else
		make_key(&key);
}

int
cs_key_compare(const CsKeyOrder *order, const CsKeyValue *a, const CsKeyValue *b)
{
	for (int i = 0; i < order->ncolumns; i++)
	{
		int difference;

		if (order->columns[i].is_number)
			difference = (a[i].number > b[i].number) - (a[i].number < b[i].number);
		else
			difference = memcmp(a[i].bytes, b[i].bytes, Min(a[i].length, b[i].length));
		if (difference == 0 && !order->columns[i].is_number)
			difference = (a[i].length > b[i].length) - (a[i].length < b[i].length);
		if (difference != 0)
			return difference;
	}
	return 0;
}

/*
 * The index.
 */

/* Is its first column that of the key, and ordered as we order it? */
static bool
index_has_order(const CsKeyOrder *order, Relation index)
{
	const CsKeyColumn *first = &order->columns[0];

	if (index->rd_rel->relam != BTREE_AM_OID ||
		index->rd_index->indkey.values[0] != first->column->attnum)
		return false;
	if (first->is_number)
		return index->rd_opfamily[0] == INTEGER_BTREE_FAM_OID;
	/* text and varchar; other types have an order of their own */
	return index->rd_opfamily[0] == TEXT_BTREE_FAM_OID &&
		   (first->base == TEXTOID || first->base == VARCHAROID) &&
		   cs_collation_is_c(index->rd_indcollation[0]);
}

/* May a scan in the active snapshot use it?  The planner asks the same. */
static bool
index_is_usable(Relation index)
{
	return index->rd_index->indisvalid &&
		   (!index->rd_index->indcheckxmin ||
			TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data),
								  TransactionXmin));
}

Relation
cs_key_index_open(const CsKeyOrder *order, Relation part)
{
	Relation index = try_relation_open(order->pub->key_index, AccessShareLock);

	if (index == NULL)
		return NULL;
	if (index->rd_rel->relkind == RELKIND_INDEX && index->rd_index->indrelid == part->rd_id &&
		index_is_usable(index) && index_has_order(order, index))
		return index;
	relation_close(index, AccessShareLock);
	return NULL;
}

void
cs_key_condition(const CsKeyOrder *order, Relation index, StrategyNumber strategy,
				 const CsKeyValue *key, ScanKey condition)
{
	bool is_number = order->columns[0].is_number;
	Oid right = is_number ? INT8OID : TEXTOID;
	Oid op = get_opfamily_member(index->rd_opfamily[0], index->rd_opcintype[0], right, strategy);
	Datum bound = is_number
					  ? Int64GetDatum(key[0].number)
					  : PointerGetDatum(cstring_to_text_with_len(key[0].bytes, key[0].length));

	if (!OidIsValid(op))
		elog(ERROR, "operator family %u lacks an operator for types %u and %u",
			 index->rd_opfamily[0], index->rd_opcintype[0], right);
	ScanKeyEntryInitialize(condition, 0, 1, strategy, right, index->rd_indcollation[0],
						   get_opcode(op), bound);
}
