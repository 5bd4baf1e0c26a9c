/*
 * batch_log.c
 *		Finding the log rows of a batch.
 *
 * Every segment has an index on xid; a batch's ranges of transactions are
 * scanned in it, so what is read is what the batch holds (and what else is on
 * the same pages, see batch_pages.c), however long an open transaction has been
 * writing.
 *
 * Locks on segments stay until the transaction's end, so that none is pruned
 * between two answers of one transaction.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "batch_log.h"
#include "change_log.h"
#include "compat.h"
#include "own_tables.h"

/*
 * Segments.
 */

static CsSegmentState
segment_state(const char *word)
{
	if (strcmp(word, "current") == 0)
		return CS_SEGMENT_CURRENT;
	return strcmp(word, "sealed") == 0 ? CS_SEGMENT_SEALED : CS_SEGMENT_CLOSED;
}

static CsSegmentRow *
decode_segment(CsOwnScan *scan, HeapTuple row)
{
	CsSegmentRow *segment = palloc(sizeof(CsSegmentRow));
	bool isnull;

	segment->id = DatumGetInt32(cs_own_value(scan, row, "id", &isnull));
	segment->state = segment_state(TextDatumGetCString(cs_own_value(scan, row, "state", &isnull)));
	segment->created_at = DatumGetTimestampTz(cs_own_value(scan, row, "created_at", &isnull));
	return segment;
}

/*
 * A sealed segment's transactions were all over before the one that sealed it
 * ended.  So a snapshot which sees that one sees them all, whatever else is
 * still open in it.
 */
static bool
sees_all_of(const CsSnapshot *before, CsOwnScan *scan, HeapTuple row)
{
	bool isnull;
	Datum max_xid = cs_own_value(scan, row, "max_xid", &isnull);
	Datum sealed_by = cs_own_value(scan, row, "sealed_by", &isnull);

	return FullTransactionIdPrecedes(DatumGetFullTransactionId(max_xid), before->xmin) ||
		   cs_snapshot_sees(before, DatumGetFullTransactionId(sealed_by));
}

List *
cs_log_segments(Snapshot snapshot, const CsSnapshot *before)
{
	CsOwnScan scan;
	HeapTuple row;
	List *segments = NIL;

	cs_own_scan_begin(&scan, cs_own_relation("segment"), snapshot);
	while ((row = cs_own_scan_next(&scan)) != NULL)
	{
		CsSegmentRow *segment = decode_segment(&scan, row);

		if (before == NULL || segment->state != CS_SEGMENT_SEALED ||
			!sees_all_of(before, &scan, row))
			segments = lappend(segments, segment);
	}
	cs_own_scan_end(&scan);
	return segments;
}

void
cs_log_reader_begin(CsLogReader *reader, Snapshot snapshot)
{
	*reader = (CsLogReader){.snapshot = snapshot, .context = CurrentMemoryContext};
}

static void
close_segment(CsLogSegment *segment)
{
	index_endscan(segment->scan);
	ExecDropSingleTupleTableSlot(segment->slot);
	index_close(segment->index, NoLock);
	table_close(segment->table, NoLock);
	pfree(segment);
}

void
cs_log_reader_end(CsLogReader *reader)
{
	ListCell *cell;

	foreach (cell, reader->segments)
		close_segment(lfirst(cell));
	list_free(reader->segments);
	reader->segments = NIL;
}

/* One that has all rows, or all heads, and that queries may use. */
static bool
finds_transactions(Relation index)
{
	return index->rd_index->indisvalid && index->rd_index->indkey.values[0] == LOG_XID + 1 &&
		   cs_log_index_kind(index) != CS_LOG_INDEX_OTHER;
}

static Relation
find_index_on_xid(Relation table)
{
	List *indexes = RelationGetIndexList(table);
	ListCell *cell;
	Relation index = NULL;

	foreach (cell, indexes)
	{
		index = index_open(lfirst_oid(cell), AccessShareLock);
		if (finds_transactions(index))
			break;
		index_close(index, AccessShareLock);
		index = NULL;
	}
	list_free(indexes);
	return index;
}

static Relation
open_index_on_xid(Relation table)
{
	Relation index = find_index_on_xid(table);

	/* REINDEX CONCURRENTLY may have made another one the valid one while we looked */
	if (index == NULL)
		index = find_index_on_xid(table);
	if (index == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"clinic_sync.%s\" has no index on xid",
							   RelationGetRelationName(table))));
	return index;
}

bool
cs_log_is_lost(void)
{
	CsOwnScan scan;
	bool lost;

	cs_own_scan_begin(&scan, cs_own_relation("log_lost"), GetActiveSnapshot());
	lost = cs_own_scan_next(&scan) != NULL;
	cs_own_scan_end(&scan);
	return lost;
}

static CsLogSegment *
open_segment(CsLogReader *reader, int32 id)
{
	Oid oid = cs_segment_relation(id);
	Relation table = OidIsValid(oid) ? try_relation_open(oid, AccessShareLock) : NULL;
	CsLogSegment *segment;

	if (table == NULL)
		return NULL;
	segment = palloc(sizeof(CsLogSegment));
	segment->id = id;
	segment->context = reader->context;
	segment->table = table;
	segment->index = open_index_on_xid(table);
	segment->scan = cs_index_beginscan(table, segment->index, reader->snapshot, 2);
	segment->slot = table_slot_create(table, NULL);
	return segment;
}

CsLogSegment *
cs_log_reader_segment(CsLogReader *reader, int32 id)
{
	MemoryContext caller;
	CsLogSegment *segment;
	ListCell *cell;

	foreach (cell, reader->segments)
	{
		segment = lfirst(cell);
		if (segment->id == id)
			return segment;
	}
	caller = MemoryContextSwitchTo(reader->context);
	segment = open_segment(reader, id);
	if (segment != NULL)
		reader->segments = lappend(reader->segments, segment);
	MemoryContextSwitchTo(caller);
	return segment;
}

/*
 * For table_digest().
 */

static bool
is_of_publication(CsLogSegment *segment, TupleTableSlot *row, void *arg)
{
	slot_getsomeattrs(row, LOG_PUBLICATION + 1);
	return DatumGetInt32(row->tts_values[LOG_PUBLICATION]) != *(int32 *) arg;
}

static bool
has_changed(int32 publication, const CsSnapshot *before, const CsSnapshot *after)
{
	CsLogReader reader;
	List *segments = cs_log_segments(GetActiveSnapshot(), before);
	ListCell *cell;
	int nranges;
	CsXidRange *ranges = cs_xid_ranges(before, after, &nranges);
	bool changed = false;

	cs_log_reader_begin(&reader, GetActiveSnapshot());
	foreach (cell, segments)
	{
		CsLogSegment *segment = cs_log_reader_segment(&reader, ((CsSegmentRow *) lfirst(cell))->id);

		/* one that was pruned says nothing */
		changed = segment == NULL ||
				  !cs_log_visit(segment, ranges, nranges, is_of_publication, &publication);
		if (changed)
			break;
	}
	cs_log_reader_end(&reader);
	return changed;
}

PG_FUNCTION_INFO_V1(clinic_sync_changed_between);

/*
 * changed_between(publication int, before pg_snapshot, after pg_snapshot) RETURNS boolean
 */
Datum
clinic_sync_changed_between(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(cs_log_is_lost() ||
				   has_changed(PG_GETARG_INT32(0), cs_snapshot_copy(PG_GETARG_DATUM(1)),
							   cs_snapshot_copy(PG_GETARG_DATUM(2))));
}
