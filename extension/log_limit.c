/*
 * log_limit.c
 *		The limit on the change log's size.
 *
 * The log must never fill the clinic's disk nor fail a clinical write.  Above
 * clinic_sync.log_hard_bytes, which it reaches only if nobody has cut batches
 * and pruned for long, transactions stop logging.  That a segment is incomplete
 * is recorded in clinic_sync.log_lost by the very transaction that skips a row,
 * which keeps the segment locked like any writer.  The next batcher finds the
 * record after it has sealed the segment and begins a new history, so a cache
 * cannot miss what was skipped: its cursor is refused.
 *
 * The size is looked up by each backend once a second or every 4,096 rows.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "change_log.h"
#include "compat.h"
#include "guc.h"
#include "own_tables.h"

#define CHECK_INTERVAL_MS 1000
#define CHECK_INTERVAL_ROWS 4096

static bool over_limit = false; /* at the last look */
static TimestampTz looked_at = 0;
static int32 looked_in = 0; /* the segment that was current then */
static int rows_since = 0;
static bool warned = false; /* once per session */

/* Of the current transaction: */
static bool stopped = false; /* it has skipped a row */
static int32 recorded = 0;   /* segment whose loss is on record, or 0 */

/*
 * Bytes of one segment with its index and TOAST; 0 if somebody is dropping it,
 * for whom we do not wait.
 */
static int64
segment_bytes(Oid table)
{
	int64 bytes = 0;

	if (!ConditionalLockRelationOid(table, AccessShareLock))
		return 0;
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table)))
		bytes = DatumGetInt64(DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(table)));
	UnlockRelationOid(table, AccessShareLock);
	return bytes;
}

static int64
log_bytes(void)
{
	CsOwnScan scan;
	HeapTuple row;
	int64 bytes = 0;

	cs_own_scan_begin(&scan, cs_own_relation("segment"), NULL);
	while ((row = cs_own_scan_next(&scan)) != NULL)
	{
		bool isnull;
		int32 id = DatumGetInt32(cs_own_value(&scan, row, "id", &isnull));
		Oid table = cs_segment_relation(id);

		if (OidIsValid(table))
			bytes += segment_bytes(table);
	}
	cs_own_scan_end(&scan);
	return bytes;
}

/*
 * A statement's rows share its time, which costs nothing to ask for.  A new
 * segment may be that of a new history, begun because the log was full.
 */
static bool
is_time_to_look(const CsSegment *segment)
{
	if (looked_at == 0 || looked_in != segment->id || rows_since >= CHECK_INTERVAL_ROWS)
		return true;
	return TimestampDifferenceExceeds(looked_at, GetCurrentStatementStartTimestamp(),
									  CHECK_INTERVAL_MS);
}

static void
look_at_size(const CsSegment *segment)
{
	rows_since++;
	if (!is_time_to_look(segment))
		return;
	looked_at = GetCurrentTimestamp();
	looked_in = segment->id;
	rows_since = 0;
	over_limit = log_bytes() / 1024 >= cs_log_hard_kb;
}

/*
 * True if the loss is on record, by a committed transaction or by this one
 * (SnapshotSelf sees just these).
 */
static bool
loss_is_recorded(Oid table, int32 segment)
{
	CsOwnScan scan;
	HeapTuple row;
	bool found = false;

	cs_own_scan_begin(&scan, table, SnapshotSelf);
	while (!found && (row = cs_own_scan_next(&scan)) != NULL)
	{
		bool isnull;

		found = DatumGetInt32(cs_own_value(&scan, row, "segment", &isnull)) == segment;
	}
	cs_own_scan_end(&scan);
	return found;
}

static void
record_loss(int32 segment)
{
	Oid oid = cs_own_relation("log_lost");
	Relation table;
	Datum value = Int32GetDatum(segment);
	bool isnull = false;

	if (loss_is_recorded(oid, segment))
		return;
	table = table_open(oid, RowExclusiveLock);
	cs_own_insert(table, &value, &isnull);
	table_close(table, NoLock);
}

static void
warn_once(void)
{
	if (warned)
		return;
	warned = true;
	ereport(WARNING, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					  errmsg("the change log of clinic_sync is full, changes are not logged"),
					  errdetail("It has reached clinic_sync.log_hard_bytes."),
					  errhint("Check that a relay is running; every cache will start afresh.")));
}

/*
 * A transaction that has skipped a row skips all that follow, too: logging
 * half of it would help nobody.
 */
bool
cs_log_has_room(const CsSegment *segment)
{
	if (!stopped)
	{
		look_at_size(segment);
		if (likely(!over_limit))
			return true;
		stopped = true;
	}
	if (recorded != segment->id)
	{
		record_loss(segment->id);
		recorded = segment->id;
		warn_once();
	}
	return false;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		stopped = false;
		recorded = 0;
	}
}

/* A savepoint's rollback may have taken the record with it. */
static void
at_savepoint_end(SubXactEvent event, SubTransactionId self, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		recorded = 0;
}

void
cs_log_limit_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_savepoint_end, NULL);
}
