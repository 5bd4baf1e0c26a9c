/*
 * batch_log.h
 *		Finding the log rows of a batch.
 */
#ifndef CLINIC_SYNC_BATCH_LOG_H
#define CLINIC_SYNC_BATCH_LOG_H

#include "access/relscan.h"
#include "executor/tuptable.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#include "batch_store.h"

typedef enum CsSegmentState
{
	CS_SEGMENT_CURRENT,
	CS_SEGMENT_CLOSED,
	CS_SEGMENT_SEALED
} CsSegmentState;

/* A row of clinic_sync.segment. */
typedef struct CsSegmentRow
{
	int32 id;
	CsSegmentState state;
	TimestampTz created_at;
} CsSegmentRow;

/*
 * The segments that can hold rows which `before` does not see: all that are
 * not sealed, and sealed ones that reach the oldest transaction open in it and
 * were sealed since.  before may be NULL.  A list of CsSegmentRow *.
 */
extern List *cs_log_segments(Snapshot snapshot, const CsSnapshot *before);

/* Has capture stopped logging somewhere? */
extern bool cs_log_is_lost(void);

/* A segment of the log that is being read. */
typedef struct CsLogSegment
{
	int32 id;
	Relation table;
	Relation index; /* on xid */
	IndexScanDesc scan;
	TupleTableSlot *slot;
	MemoryContext context; /* of all this, the reader's */
} CsLogSegment;

/* Segments stay open from batch to batch. */
typedef struct CsLogReader
{
	Snapshot snapshot;
	MemoryContext context;
	List *segments; /* of CsLogSegment * */
} CsLogReader;

extern void cs_log_reader_begin(CsLogReader *reader, Snapshot snapshot);
extern void cs_log_reader_end(CsLogReader *reader);

/* NULL if its table is gone: it was pruned. */
extern CsLogSegment *cs_log_reader_segment(CsLogReader *reader, int32 id);

/*
 * batch_pages.c: call visit, in the reader's memory context, for every row
 * of these transactions in a segment, in no order that matters, until it
 * returns false.
 */
typedef bool (*CsLogVisit)(CsLogSegment *segment, TupleTableSlot *row, void *arg);
extern bool cs_log_visit(CsLogSegment *segment, const CsXidRange *ranges, int nranges,
						 CsLogVisit visit, void *arg);

/* Are its rows not where they were put? */
extern bool cs_log_was_rewritten(Relation table);

#endif /* CLINIC_SYNC_BATCH_LOG_H */
