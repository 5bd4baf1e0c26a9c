/*
 * log_row.c
 *		Writing a row into a segment of the change log, and into its index.
 *
 * 1. Readers want all rows of some transactions, and find them by an index on
 *	  xid.  It is enough to know on which pages they are: the index holds only
 *	  heads, the first row that a transaction wrote on each page.  A statement
 *	  of many rows so pays for one index entry a page, not one a row, and what
 *	  the index says is true (it is partial, WHERE head), so that REINDEX,
 *	  amcheck and the planner need not know of all this.
 *
 * 2. Whether a row is a head stands in the row itself, before it is known on
 *	  which page it will be put.  So that is foretold from the room that was
 *	  left on the page of the row before.  A head too many does no harm; a row
 *	  that is none and was put elsewhere, since other sessions filled the page,
 *	  is deleted and written once more.
 *
 * 3. A head that a savepoint takes away no longer stands for its page: after
 *	  the rollback of any savepoint the next row is a head again.  So each row
 *	  that stays has a head that stays, for none was rolled back in between.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/xact.h"
#include "storage/bufmgr.h"

#include "compat.h"
#include "log_row.h"
#include "own_tables.h"

/* With less room left than this, other sessions' rows are looked for. */
#define NEAR_END_BYTES 1024

/* Where this transaction has written its last head. */
static FullTransactionId head_xid = {0};
static Oid head_table = InvalidOid;
static BlockNumber head_block;
static Size room_left; /* bytes on that page, as far as we know; 0: look */

static Size
room_on_page(Relation table, BlockNumber block)
{
	Buffer buffer = ReadBuffer(table, block);
	Size room;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	room = PageGetHeapFreeSpace(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	return room;
}

static bool
has_head(Relation table, FullTransactionId xid)
{
	return FullTransactionIdEquals(head_xid, xid) && head_table == RelationGetRelid(table);
}

/* Will the row be put on the page of the last head? */
static bool
will_have_head(Relation table, HeapTuple tuple)
{
	Size need = MAXALIGN(tuple->t_len);

	if (!has_head(table, cs_log_row(tuple)->xid))
		return false;
	if (room_left < NEAR_END_BYTES)
		room_left = room_on_page(table, head_block);
	return need <= room_left;
}

static void
take_back(Relation table, HeapTuple tuple)
{
	CommandCounterIncrement(); /* no command can delete what it has written itself */
	simple_heap_delete(table, &tuple->t_self);
}

static void
insert_entries(Relation table, const CsSegment *segment, HeapTuple tuple, Datum *values,
			   bool *isnull)
{
	bool head = cs_log_row(tuple)->head;

	values[LOG_HEAD] = BoolGetDatum(head);
	for (int i = 0; i < segment->nindexes; i++)
	{
		const CsSegmentIndex *index = &segment->indexes[i];

		if (index->kind == CS_LOG_INDEX_OTHER)
			cs_own_index_insert(table, index->oid, tuple);
		else if (head || index->kind == CS_LOG_INDEX_ALL)
			cs_own_index_insert_plain(table, index->oid, tuple, values, isnull);
	}
}

void
cs_log_row_insert(Relation table, const CsSegment *segment, Datum *values, bool *isnull)
{
	HeapTuple tuple;
	CsLogRow *row;
	Size used;

	values[LOG_HEAD] = BoolGetDatum(false);
	tuple = heap_form_tuple(RelationGetDescr(table), values, isnull);
	row = cs_log_row(tuple);
	used = MAXALIGN(tuple->t_len) + sizeof(ItemIdData);
	row->head = !will_have_head(table, tuple);

	simple_heap_insert(table, tuple);
	if (!row->head && ItemPointerGetBlockNumber(&tuple->t_self) != head_block)
	{
		take_back(table, tuple);
		row->head = true;
		simple_heap_insert(table, tuple);
	}

	insert_entries(table, segment, tuple, values, isnull);
	if (row->head)
	{
		head_xid = row->xid;
		head_table = RelationGetRelid(table);
		head_block = ItemPointerGetBlockNumber(&tuple->t_self);
		room_left = 0;
	}
	else
		room_left -= Min(room_left, used);
	heap_freetuple(tuple);
}

static void
at_savepoint_end(SubXactEvent event, SubTransactionId self, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		head_table = InvalidOid;
}

void
cs_log_row_init(void)
{
	RegisterSubXactCallback(at_savepoint_end, NULL);
}
