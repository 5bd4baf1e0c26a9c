/*
 * row_held.c
 *		SQL functions that say whether caches hold a row.
 *
 * Capture logs a row by its key alone if it is over clinic_sync.max_row_bytes
 * or if its JSON form is more than PostgreSQL can hold.  A snapshot must leave
 * out just these rows, and would fail on some of them.
 *
 * The columns come as one record: a reader with rights on the published
 * columns only cannot name the whole row.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "canon.h"
#include "compat.h"
#include "publication_cache.h"
#include "row_image.h"

PG_FUNCTION_INFO_V1(clinic_sync_text_is_unbounded);

/*
 * text_is_unbounded(type oid) RETURNS boolean
 *		True if a value's text may be far longer than the value.
 */
Datum
clinic_sync_text_is_unbounded(PG_FUNCTION_ARGS)
{
	CsCanon canon;

	cs_canon_init(&canon, PG_GETARG_OID(0), CurrentMemoryContext);
	PG_RETURN_BOOL(canon.unbounded);
}

static void
reject_record(Relation rel)
{
	ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
					errmsg("the record does not hold the published columns of table \"%s\"",
						   RelationGetRelationName(rel)),
					errhint("Use the queries that clinic_sync.snapshot_tables() returns.")));
}

/* Put the record's values where the table has its published columns. */
static TupleTableSlot *
make_row(CsPublication *pub, Relation rel, HeapTupleHeader record)
{
	TupleTableSlot *row = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	TupleDesc desc =
		lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(record), HeapTupleHeaderGetTypMod(record));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(record), .t_data = record};
	Datum *values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	bool *isnull = palloc(sizeof(bool) * Max(desc->natts, 1));

	if (desc->natts != pub->ncolumns)
		reject_record(rel);
	heap_deform_tuple(&tuple, desc, values, isnull);

	memset(row->tts_isnull, true, sizeof(bool) * row->tts_tupleDescriptor->natts);
	for (int i = 0; i < pub->ncolumns; i++)
	{
		int column = pub->columns[i].attnum - 1;

		if (TupleDescAttr(desc, i)->atttypid !=
			TupleDescAttr(RelationGetDescr(rel), column)->atttypid)
			reject_record(rel);
		row->tts_values[column] = values[i];
		row->tts_isnull[column] = isnull[i];
	}
	ReleaseTupleDesc(desc);
	return ExecStoreVirtualTuple(row);
}

PG_FUNCTION_INFO_V1(clinic_sync_row_is_held);

/*
 * row_is_held(relation regclass, published_columns record) RETURNS boolean
 */
Datum
clinic_sync_row_is_held(PG_FUNCTION_ARGS)
{
	Relation rel = table_open(PG_GETARG_OID(0), AccessShareLock);
	CsPublication *pub = cs_publication_get(rel);
	TupleTableSlot *row;
	bool held;

	if (pub == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" is not published", RelationGetRelationName(rel)),
						errhint("Publish it with clinic_sync.publish().")));
	row = make_row(pub, rel, PG_GETARG_HEAPTUPLEHEADER(1));
	held = cs_row_is_held(pub, row);
	ExecDropSingleTupleTableSlot(row);
	table_close(rel, AccessShareLock);
	PG_RETURN_BOOL(held);
}
