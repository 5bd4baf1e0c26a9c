/*
 * row_scan.c
 *		Reading the rows of a published table, whatever it consists of.
 *
 * Rows are read by the active snapshot straight from the table and its leaves,
 * past row security: caches hold what capture logged, which is every row.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "row_scan.h"

void
cs_read_parts(Oid relation, CsPartReader read, void *arg)
{
	List *relids = find_all_inheritors(relation, AccessShareLock, NULL);
	ListCell *cell;

	foreach (cell, relids)
	{
		Relation part = table_open(lfirst_oid(cell), NoLock);
		CsPublication *pub = cs_publication_get(part);

		if (pub == NULL)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("table \"%s\" is not published", RelationGetRelationName(part)),
							errhint("Publish it with clinic_sync.publish().")));
		read(part, pub, arg);
		table_close(part, NoLock);
	}
	list_free(relids);
}

/* A scan of either kind. */
typedef struct RowSource
{
	TableScanDesc heap;
	IndexScanDesc index;
	TupleTableSlot *row;
} RowSource;

static bool
next_row(RowSource *source)
{
	if (source->index != NULL)
		return index_getnext_slot(source->index, ForwardScanDirection, source->row);
	return table_scan_getnextslot(source->heap, ForwardScanDirection, source->row);
}

static void
read_all(RowSource *source, CsRowReader read, void *arg)
{
	MemoryContext per_row =
		AllocSetContextCreate(CurrentMemoryContext, "clinic_sync row", ALLOCSET_DEFAULT_SIZES);

	while (next_row(source))
	{
		MemoryContext caller = MemoryContextSwitchTo(per_row);

		CHECK_FOR_INTERRUPTS();
		read(source->row, arg);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(per_row);
	}
	MemoryContextDelete(per_row);
}

void
cs_read_rows(Relation part, CsRowReader read, void *arg)
{
	RowSource source = {.row = table_slot_create(part, NULL)};

	source.heap = table_beginscan(part, GetActiveSnapshot(), 0, NULL);
	read_all(&source, read, arg);
	table_endscan(source.heap);
	ExecDropSingleTupleTableSlot(source.row);
}

void
cs_read_by_index(Relation part, Relation index, ScanKey conditions, int count, CsRowReader read,
				 void *arg)
{
	RowSource source = {.row = table_slot_create(part, NULL)};

	source.index = cs_index_beginscan(part, index, GetActiveSnapshot(), count);
	index_rescan(source.index, conditions, count, NULL, 0);
	read_all(&source, read, arg);
	index_endscan(source.index);
	ExecDropSingleTupleTableSlot(source.row);
}
