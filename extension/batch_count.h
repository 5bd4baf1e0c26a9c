/*
 * batch_count.h
 *		Counting what the next batch holds.
 */
#ifndef CLINIC_SYNC_BATCH_COUNT_H
#define CLINIC_SYNC_BATCH_COUNT_H

#include "batch_log.h"

/* What a snapshot says about the next batch. */
typedef struct CsNextBatch
{
	CsBatch batch; /* all but nonce and created_at */
	Datum value;   /* its snapshot as a pg_snapshot */
	List *counts;  /* of CsTableCount * */
	List *closed;  /* ids of segments that are neither written to nor sealed */
	int32 current; /* the segment that is written to */
	TimestampTz current_since;

	/* while counting */
	Snapshot snapshot;
	CsLogReader reader;
	CsSnapshot *before; /* the last batch's, or NULL */
	CsXidRange *ranges;
	int nranges;
	int64 in_segment; /* changes in the segment in hand */
	CsTableCount *last_count;
} CsNextBatch;

/* In the active snapshot. */
extern void cs_next_batch(CsNextBatch *next);

#endif /* CLINIC_SYNC_BATCH_COUNT_H */
