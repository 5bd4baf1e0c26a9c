/*
 * batch_pages.c
 *		Visiting the rows of some transactions in a segment.
 *
 * 1. The index on xid has one row of each transaction on each page it wrote to
 *	  (its head there, see log_row.c).  So the index only says which pages to
 *	  look at, a bitmap keeps that, and each page is read once, all its rows.
 *
 * 2. That holds as long as rows stay where they were put.  VACUUM FULL and
 *	  CLUSTER write a table anew, which gives it another file: such a segment is
 *	  read from end to end (and is not written to for long, see batch_cut.c).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/stratnum.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/xid8.h"

#include "batch_log.h"
#include "compat.h"
#include "log_row.h"

/* The pages to be read, a bit each. */
typedef struct PageSet
{
	BlockNumber pages; /* of the segment */
	BlockNumber first; /* the first and the last one in the set */
	BlockNumber last;
	uint8 *bits;
} PageSet;

typedef struct Visit
{
	CsLogSegment *segment;
	const CsXidRange *ranges;
	int nranges;
	int found_in; /* the range that the last row was in */
	CsLogVisit visit;
	void *arg;
} Visit;

/*
 * Pages.
 */

static void
add_page(PageSet *set, BlockNumber page)
{
	/* behind the end: written since, and of no use to us */
	if (page >= set->pages)
		return;
	set->first = Min(set->first, page);
	set->last = Max(set->last, page);
	set->bits[page / 8] |= 1 << (page % 8);
}

static void
add_pages_of_range(PageSet *set, IndexScanDesc scan, CsXidRange range)
{
	ScanKeyData keys[2];
	ItemPointer tid;

	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_XID8GE,
				FullTransactionIdGetDatum(range.lo));
	ScanKeyInit(&keys[1], 1, BTLessStrategyNumber, F_XID8LT, FullTransactionIdGetDatum(range.hi));
	index_rescan(scan, keys, 2, NULL, 0);
	while ((tid = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		add_page(set, ItemPointerGetBlockNumber(tid));
	}
}

/* A new table's file has the number of the table. */
bool
cs_log_was_rewritten(Relation table)
{
	return table->rd_rel->relfilenode != RelationGetRelid(table);
}

static void
find_pages(const Visit *visit, PageSet *set)
{
	Relation table = visit->segment->table;

	set->pages = RelationGetNumberOfBlocks(table);
	set->first = MaxBlockNumber;
	set->last = 0;
	set->bits = palloc0(set->pages / 8 + 1);
	if (cs_log_was_rewritten(table))
	{
		for (BlockNumber page = 0; page < set->pages; page++)
			add_page(set, page);
		return;
	}
	for (int i = 0; i < visit->nranges; i++)
		add_pages_of_range(set, visit->segment->scan, visit->ranges[i]);
}

/*
 * Rows.
 */

/* Rows that follow each other are mostly of one transaction. */
static bool
is_wanted(Visit *visit, FullTransactionId xid)
{
	for (int i = 0; i < visit->nranges; i++)
	{
		int number = (visit->found_in + i) % visit->nranges;
		const CsXidRange *range = &visit->ranges[number];

		if (FullTransactionIdFollowsOrEquals(xid, range->lo) &&
			FullTransactionIdPrecedes(xid, range->hi))
		{
			visit->found_in = number;
			return true;
		}
	}
	return false;
}

/* False if there is no such row on the page. */
static bool
point_at(HeapTuple tuple, Relation table, Buffer buffer, OffsetNumber offset)
{
	Page page = BufferGetPage(buffer);
	ItemId item = PageGetItemId(page, offset);

	if (!ItemIdIsNormal(item))
		return false;
	tuple->t_tableOid = RelationGetRelid(table);
	tuple->t_data = (HeapTupleHeader) PageGetItem(page, item);
	tuple->t_len = ItemIdGetLength(item);
	ItemPointerSet(&tuple->t_self, BufferGetBlockNumber(buffer), offset);
	return true;
}

/* The rows on a locked page that are wanted and visible. */
static int
find_rows(Visit *visit, Buffer buffer, OffsetNumber *rows)
{
	OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
	HeapTupleData tuple;
	int count = 0;

	for (OffsetNumber offset = FirstOffsetNumber; offset <= last; offset++)
	{
		if (point_at(&tuple, visit->segment->table, buffer, offset) &&
			is_wanted(visit, cs_log_row(&tuple)->xid) &&
			HeapTupleSatisfiesVisibility(&tuple, visit->segment->scan->xs_snapshot, buffer))
			rows[count++] = offset;
	}
	return count;
}

static bool
visit_page(Visit *visit, BlockNumber page)
{
	CsLogSegment *segment = visit->segment;
	Buffer buffer = ReadBuffer(segment->table, page);
	OffsetNumber rows[MaxHeapTuplesPerPage];
	HeapTupleData tuple;
	int count;
	bool more = true;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	count = find_rows(visit, buffer, rows);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

	/* what is visible to us stays where it is while the page is pinned */
	for (int i = 0; more && i < count; i++)
	{
		point_at(&tuple, segment->table, buffer, rows[i]);
		ExecStoreBufferHeapTuple(&tuple, segment->slot, buffer);
		more = visit->visit(segment, segment->slot, visit->arg);
	}
	ExecClearTuple(segment->slot);
	ReleaseBuffer(buffer);
	return more;
}

/*
 * An index scan makes memory of its own on the way, which lives as long as the
 * scan: as long as the reader.
 */
bool
cs_log_visit(CsLogSegment *segment, const CsXidRange *ranges, int nranges, CsLogVisit callback,
			 void *arg)
{
	Visit visit = {
		.segment = segment, .ranges = ranges, .nranges = nranges, .visit = callback, .arg = arg};
	MemoryContext caller = MemoryContextSwitchTo(segment->context);
	PageSet set;
	bool more = true;

	find_pages(&visit, &set);
	for (BlockNumber page = set.first; more && page <= set.last && page < set.pages; page++)
	{
		CHECK_FOR_INTERRUPTS();
		if ((set.bits[page / 8] & (1 << (page % 8))) != 0)
			more = visit_page(&visit, page);
	}
	pfree(set.bits);
	MemoryContextSwitchTo(caller);
	return more;
}
