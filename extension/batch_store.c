/*
 * batch_store.c
 *		The rows of clinic_sync.batch and clinic_sync.history.
 *
 * The table batch is partitioned by number: batch_<n> holds the rows from n up
 * to n + 100,000.  So a number names the partition, and its primary key finds
 * the row; there is nothing to plan.  Whoever reads holds a lock on the parent,
 * too: prune_small() takes that one without waiting before it drops a
 * partition, and so never stands in front of a reader.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "batch_store.h"
#include "compat.h"
#include "own_tables.h"

#define PARTITION 100000 /* numbers in one partition; extend_batch() in SQL, too */

/* Columns of batch, by position. */
enum
{
	BATCH_ID,
	BATCH_SNAPSHOT,
	BATCH_NONCE,
	BATCH_CHANGES,
	BATCH_FIRST_SEQ,
	BATCH_LAST_SEQ,
	BATCH_SEGMENTS,
	BATCH_BOUNDARY,
	BATCH_RESYNC,
	BATCH_CREATED_AT,
	BATCH_BY_WORKER,
	BATCH_COLUMNS
};

void
cs_history_read(Snapshot snapshot, CsHistory *history)
{
	CsOwnScan scan;
	HeapTuple row;
	bool isnull;

	cs_own_scan_begin(&scan, cs_own_relation("history"), snapshot);
	row = cs_own_scan_next(&scan);
	if (row == NULL)
		elog(ERROR, "table clinic_sync.history is empty");
	history->floor_batch = DatumGetInt64(cs_own_value(&scan, row, "floor_batch", &isnull));
	history->batch_from = DatumGetInt64(cs_own_value(&scan, row, "batch_from", &isnull));
	cs_own_scan_end(&scan);
}

/*
 * Partitions.
 */

static void
lock_parent(LOCKMODE mode)
{
	/* an open, not a bare lock: it also absorbs what was sent about partitions */
	table_close(table_open(cs_own_relation("batch"), mode), NoLock);
}

static int64
partition_of(int64 id)
{
	return id / PARTITION * PARTITION;
}

/* NULL if there is no such partition (any more). */
static Relation
open_partition(int64 lowest, LOCKMODE mode)
{
	char name[NAMEDATALEN];
	Oid oid;

	snprintf(name, sizeof(name), "batch_" INT64_FORMAT, lowest);
	oid = cs_own_relation(name);
	return OidIsValid(oid) ? try_relation_open(oid, mode) : NULL;
}

/* Of two, while there is a REINDEX CONCURRENTLY, the one that is valid. */
static Relation
open_primary_key(Relation table)
{
	list_free(RelationGetIndexList(table)); /* finds rd_pkindex */
	if (!OidIsValid(table->rd_pkindex))
		elog(ERROR, "table clinic_sync.%s has no primary key", RelationGetRelationName(table));
	return index_open(table->rd_pkindex, AccessShareLock);
}

/*
 * Scans.
 */

static bool
open_scan(CsBatchScan *scan)
{
	bool forward = ScanDirectionIsForward(scan->direction);
	ScanKeyData key;

	scan->table = open_partition(partition_of(scan->from), AccessShareLock);
	if (scan->table == NULL)
		return false;
	scan->index = open_primary_key(scan->table);
	ScanKeyInit(&key, BATCH_ID + 1,
				forward ? BTGreaterEqualStrategyNumber : BTLessEqualStrategyNumber,
				forward ? F_INT8GE : F_INT8LE, Int64GetDatum(scan->from));
	scan->scan = systable_beginscan_ordered(scan->table, scan->index, scan->snapshot, 1, &key);
	scan->begun = true;
	return true;
}

static void
close_scan(CsBatchScan *scan)
{
	if (scan->table == NULL)
		return;
	systable_endscan_ordered(scan->scan);
	index_close(scan->index, NoLock);
	table_close(scan->table, NoLock);
	scan->table = NULL;
}

void
cs_batch_scan_begin(CsBatchScan *scan, Snapshot snapshot, int64 from, ScanDirection direction)
{
	*scan = (CsBatchScan){.snapshot = snapshot, .direction = direction, .from = from};
	lock_parent(AccessShareLock);
	open_scan(scan);
}

/*
 * On to the next partition.  Forward, one that is missing is the end of all
 * there is.  Backward it is only below the first: the scan for the last batch
 * begins in the partition after the one in use.
 */
static bool
next_partition(CsBatchScan *scan)
{
	int64 lowest = partition_of(scan->from);

	close_scan(scan);
	if (ScanDirectionIsForward(scan->direction))
	{
		if (lowest > PG_INT64_MAX - PARTITION)
			return false;
		scan->from = lowest + PARTITION;
		return open_scan(scan);
	}
	while (lowest > 0)
	{
		lowest -= PARTITION;
		scan->from = lowest + PARTITION - 1;
		if (open_scan(scan))
			return true;
		if (scan->begun)
			return false;
	}
	return false;
}

HeapTuple
cs_batch_scan_next(CsBatchScan *scan)
{
	for (;;)
	{
		HeapTuple row = NULL;

		if (scan->table != NULL)
			row = systable_getnext_ordered(scan->scan, scan->direction);
		else if (ScanDirectionIsForward(scan->direction))
			return NULL;
		if (row != NULL || !next_partition(scan))
			return row;
	}
}

void
cs_batch_scan_end(CsBatchScan *scan)
{
	close_scan(scan);
}

/*
 * Rows.
 */

static int32 *
int_array(Datum value, int *count)
{
	ArrayType *array = DatumGetArrayTypePCopy(value);

	*count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	return (int32 *) ARR_DATA_PTR(array);
}

void
cs_batch_decode(CsBatchScan *scan, HeapTuple row, CsBatch *batch)
{
	Datum values[BATCH_COLUMNS];
	bool isnull[BATCH_COLUMNS];

	heap_deform_tuple(row, RelationGetDescr(scan->table), values, isnull);
	memset(batch, 0, sizeof(*batch));
	batch->id = DatumGetInt64(values[BATCH_ID]);
	batch->snapshot = cs_snapshot_copy(values[BATCH_SNAPSHOT]);
	text_to_cstring_buffer(DatumGetTextPP(values[BATCH_NONCE]), batch->nonce, sizeof(batch->nonce));
	batch->changes = DatumGetInt64(values[BATCH_CHANGES]);
	batch->segments = int_array(values[BATCH_SEGMENTS], &batch->nsegments);
	batch->boundary = DatumGetBool(values[BATCH_BOUNDARY]);
	if (!isnull[BATCH_RESYNC])
		batch->resync = int_array(values[BATCH_RESYNC], &batch->nresync);
	batch->created_at = DatumGetTimestampTz(values[BATCH_CREATED_AT]);
	batch->by_worker = DatumGetBool(values[BATCH_BY_WORKER]);
}

void
cs_batch_size(CsBatchScan *scan, HeapTuple row, int64 *id, int64 *changes)
{
	bool isnull;

	*id = DatumGetInt64(heap_getattr(row, BATCH_ID + 1, RelationGetDescr(scan->table), &isnull));
	*changes =
		DatumGetInt64(heap_getattr(row, BATCH_CHANGES + 1, RelationGetDescr(scan->table), &isnull));
}

static bool
first_of_scan(Snapshot snapshot, int64 from, ScanDirection direction, CsBatch *batch)
{
	CsBatchScan scan;
	HeapTuple row;

	cs_batch_scan_begin(&scan, snapshot, from, direction);
	row = cs_batch_scan_next(&scan);
	if (row != NULL)
		cs_batch_decode(&scan, row, batch);
	cs_batch_scan_end(&scan);
	return row != NULL;
}

bool
cs_batch_find(Snapshot snapshot, int64 id, CsBatch *batch)
{
	return first_of_scan(snapshot, id, ForwardScanDirection, batch) && batch->id == id;
}

/*
 * The partition in use holds the last batch, or the one after it that batch's
 * number: batch_from moves on when the first row after that one is cut.
 */
bool
cs_batch_last(Snapshot snapshot, CsBatch *batch)
{
	CsHistory history;

	cs_history_read(snapshot, &history);
	return first_of_scan(snapshot, history.batch_from + 2 * PARTITION - 1, BackwardScanDirection,
						 batch);
}

static Datum
int_array_datum(const int32 *numbers, int count)
{
	Datum *elements = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		elements[i] = Int32GetDatum(numbers[i]);
	return PointerGetDatum(
		construct_array(elements, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

/*
 * In REPEATABLE READ the snapshot can be older than the batcher's lock, and
 * the number it gives taken: the lock's holder sees that with a newer one.
 */
static void
refuse_taken_number(int64 id)
{
	Snapshot latest;
	CsBatch taken;
	bool found;

	if (!IsolationUsesXactSnapshot())
		return;
	latest = RegisterSnapshot(GetLatestSnapshot());
	found = cs_batch_find(latest, id, &taken);
	UnregisterSnapshot(latest);
	if (found)
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("could not serialize access due to concurrent update")));
}

void
cs_batch_insert(const CsBatch *batch, Datum snapshot)
{
	Datum values[BATCH_COLUMNS] = {0};
	bool isnull[BATCH_COLUMNS] = {0};
	Relation table;

	refuse_taken_number(batch->id);
	lock_parent(RowExclusiveLock);
	table = open_partition(partition_of(batch->id), RowExclusiveLock);
	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("no partition of table \"clinic_sync.batch\" for batch " INT64_FORMAT,
						batch->id)));

	values[BATCH_ID] = Int64GetDatum(batch->id);
	values[BATCH_SNAPSHOT] = snapshot;
	values[BATCH_NONCE] = CStringGetTextDatum(batch->nonce);
	values[BATCH_CHANGES] = Int64GetDatum(batch->changes);
	values[BATCH_FIRST_SEQ] = Int64GetDatum(batch->first_seq);
	values[BATCH_LAST_SEQ] = Int64GetDatum(batch->last_seq);
	isnull[BATCH_FIRST_SEQ] = isnull[BATCH_LAST_SEQ] = (batch->changes == 0);
	values[BATCH_SEGMENTS] = int_array_datum(batch->segments, batch->nsegments);
	values[BATCH_BOUNDARY] = BoolGetDatum(batch->boundary);
	isnull[BATCH_RESYNC] = (batch->nresync == 0);
	if (batch->nresync > 0)
		values[BATCH_RESYNC] = int_array_datum(batch->resync, batch->nresync);
	values[BATCH_CREATED_AT] = TimestampTzGetDatum(batch->created_at);
	values[BATCH_BY_WORKER] = BoolGetDatum(batch->by_worker);

	cs_own_insert(table, values, isnull);
	table_close(table, NoLock);
}

void
cs_batch_cursor(const CsBatch *batch, char cursor[CS_CURSOR_BYTES])
{
	snprintf(cursor, CS_CURSOR_BYTES, INT64_FORMAT "-%s", batch->id, batch->nonce);
}
