/*
 * batch_store.h
 *		The rows of clinic_sync.batch and clinic_sync.history.
 */
#ifndef CLINIC_SYNC_BATCH_STORE_H
#define CLINIC_SYNC_BATCH_STORE_H

#include "access/genam.h"
#include "access/sdir.h"
#include "datatype/timestamp.h"
#include "utils/array.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#include "batch.h"
#include "batch_ranges.h"

#define CS_NONCE_DIGITS 16

/* A row of clinic_sync.batch; what it points to is in one memory context. */
typedef struct CsBatch
{
	int64 id;
	CsSnapshot *snapshot;
	char nonce[CS_NONCE_DIGITS + 1];
	int64 changes;
	int64 first_seq; /* these two only if there are changes */
	int64 last_seq;
	int nsegments;
	int32 *segments;
	bool boundary;
	int nresync;
	int32 *resync; /* publications to be fetched anew */
	TimestampTz created_at;
	bool by_worker;
} CsBatch;

/* Batches in the order of their numbers. */
typedef struct CsBatchScan
{
	Snapshot snapshot;
	ScanDirection direction;
	int64 from; /* where the partition in hand is entered */
	bool begun; /* a partition was there */
	Relation table;
	Relation index;
	SysScanDesc scan;
} CsBatchScan;

typedef struct CsHistory
{
	int64 floor_batch; /* the oldest batch whose cursor is served */
	int64 batch_from;  /* first number of the partition in use */
} CsHistory;

extern void cs_history_read(Snapshot snapshot, CsHistory *history);

/* From batch `from` on, itself included. */
extern void cs_batch_scan_begin(CsBatchScan *scan, Snapshot snapshot, int64 from,
								ScanDirection direction);
/* NULL at the end; else the row stays good until the next call. */
extern HeapTuple cs_batch_scan_next(CsBatchScan *scan);
extern void cs_batch_scan_end(CsBatchScan *scan);

/* A row as a CsBatch in the current memory context, or its number and size only. */
extern void cs_batch_decode(CsBatchScan *scan, HeapTuple row, CsBatch *batch);
extern void cs_batch_size(CsBatchScan *scan, HeapTuple row, int64 *id, int64 *changes);

/* False if there is none. */
extern bool cs_batch_find(Snapshot snapshot, int64 id, CsBatch *batch);
extern bool cs_batch_last(Snapshot snapshot, CsBatch *batch);

extern void cs_batch_insert(const CsBatch *batch, Datum snapshot);

extern void cs_batch_cursor(const CsBatch *batch, char cursor[CS_CURSOR_BYTES]);

#endif /* CLINIC_SYNC_BATCH_STORE_H */
