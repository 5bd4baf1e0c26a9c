/*
 * log_segment.c
 *		Which table of the change log is written to.
 *
 * 1. The log consists of segments, ordinary tables clinic_sync.change_log_<id>.
 *	  Rows go to the one whose state in clinic_sync.segment is "current".
 *
 * 2. Whoever begins a new segment commits that first (which invalidates every
 *	  backend's cache, see forget_caches()), then seals the old one in a later
 *	  transaction: seal_segment() succeeds when it gets the SHARE lock.
 *
 * 3. A writer locks the table first and looks afterwards whether it is still
 *	  current: taking a lock absorbs all invalidations sent so far.  So once a
 *	  segment is sealed nobody writes to it any more, and whoever began to
 *	  write earlier had finished: neither side ever waits for the other.
 *
 * 4. A lock once taken is held to the end, so the rows that follow need not ask
 *	  for it again: only an aborted savepoint may have taken it back.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "nodes/primnodes.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "change_log.h"
#include "compat.h"
#include "own_tables.h"

static CsSegment current;
static bool current_is_valid = false;
static uint64 invalidations = 0; /* of any relation */
static Oid segment_table = InvalidOid;
static Oid locked = InvalidOid; /* the segment this transaction has locked last */

Oid
cs_segment_relation(int32 id)
{
	char name[NAMEDATALEN];

	snprintf(name, sizeof(name), "change_log_%d", id);
	return cs_own_relation(name);
}

static int32
read_current_id(void)
{
	CsOwnScan scan;
	HeapTuple row;
	int32 id = 0;

	segment_table = cs_own_relation("segment");
	if (!OidIsValid(segment_table))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("table \"clinic_sync.segment\" does not exist"),
						errhint("Create the extension clinic_sync in this database.")));

	cs_own_scan_begin(&scan, segment_table, NULL);
	while ((row = cs_own_scan_next(&scan)) != NULL)
	{
		bool isnull;
		Datum state = cs_own_value(&scan, row, "state", &isnull);

		if (!isnull && strcmp(TextDatumGetCString(state), "current") == 0)
			id = Max(id, DatumGetInt32(cs_own_value(&scan, row, "id", &isnull)));
	}
	cs_own_scan_end(&scan);
	return id;
}

static bool
is_column(const Node *expression, int column)
{
	return IsA(expression, Var) && ((const Var *) expression)->varattno == column + 1;
}

CsLogIndexKind
cs_log_index_kind(Relation index)
{
	List *predicate = RelationGetIndexPredicate(index);
	CsLogIndexKind kind = CS_LOG_INDEX_OTHER;

	if (cs_own_index_is_plain(index))
	{
		if (predicate == NIL)
			kind = CS_LOG_INDEX_ALL;
		else if (list_length(predicate) == 1 && is_column(linitial(predicate), LOG_HEAD))
			kind = CS_LOG_INDEX_HEADS;
	}
	list_free_deep(predicate);
	return kind;
}

static CsLogIndexKind
index_kind(Oid oid)
{
	Relation index = index_open(oid, AccessShareLock);
	CsLogIndexKind kind = cs_log_index_kind(index);

	index_close(index, AccessShareLock);
	return kind;
}

static void
read_indexes(Relation table)
{
	List *indexes = RelationGetIndexList(table);
	ListCell *cell;

	current.nindexes = 0;
	foreach (cell, indexes)
	{
		Oid oid = lfirst_oid(cell);

		if (current.nindexes == CS_SEGMENT_MAX_INDEXES)
			elog(ERROR, "too many indexes on a segment of the change log");
		current.indexes[current.nindexes++] = (CsSegmentIndex){oid, index_kind(oid)};
	}
	list_free(indexes);
}

/* What an error or an invalidation cuts short is not valid. */
static void
read_current(void)
{
	uint64 before = invalidations;
	Relation table;

	current.id = read_current_id();
	current.table = cs_segment_relation(current.id);
	if (!OidIsValid(current.table))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the change log has no current segment"),
						errhint("Drop and create the extension clinic_sync.")));

	table = table_open(current.table, AccessShareLock);
	read_indexes(table);
	table_close(table, AccessShareLock);
	current_is_valid = (before == invalidations);
}

Relation
cs_segment_open(CsSegment *segment)
{
	for (;;)
	{
		if (!current_is_valid)
			read_current();
		*segment = current;
		if (locked == segment->table)
			return table_open(segment->table, NoLock);

		LockRelationOid(segment->table, RowExclusiveLock);
		if (current_is_valid)
		{
			locked = segment->table;
			return table_open(segment->table, NoLock);
		}

		/* perhaps no longer the current one: look again */
		UnlockRelationOid(segment->table, RowExclusiveLock);
		CHECK_FOR_INTERRUPTS();
	}
}

void
cs_segment_invalidate(Oid relid)
{
	invalidations++;
	if (!OidIsValid(relid) || relid == segment_table || relid == current.table)
		current_is_valid = false;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		locked = InvalidOid;
}

/* The lock of a savepoint goes with it. */
static void
at_savepoint_end(SubXactEvent event, SubTransactionId self, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		locked = InvalidOid;
}

void
cs_segment_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_savepoint_end, NULL);
}

/*
 * SQL functions for whoever cuts batches.
 */

static bool
lock_segment_without_waiting(int32 id, LOCKMODE mode)
{
	Oid table = cs_segment_relation(id);

	if (!OidIsValid(table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the change log has no segment %d", id)));
	return ConditionalLockRelationOid(table, mode);
}

PG_FUNCTION_INFO_V1(clinic_sync_seal_segment);

/*
 * seal_segment(segment int) RETURNS boolean
 *		True if nobody writes to the segment; held to the transaction's end.
 */
Datum
clinic_sync_seal_segment(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(lock_segment_without_waiting(PG_GETARG_INT32(0), ShareLock));
}

PG_FUNCTION_INFO_V1(clinic_sync_try_lock_segment);

/*
 * try_lock_segment(segment int) RETURNS boolean
 *		True if nobody uses the segment, so that it can be dropped at once.
 */
Datum
clinic_sync_try_lock_segment(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(lock_segment_without_waiting(PG_GETARG_INT32(0), AccessExclusiveLock));
}

PG_FUNCTION_INFO_V1(clinic_sync_forget_caches);

/*
 * forget_caches() RETURNS void
 *		At commit, make every backend read publications and the current
 *		segment again.
 */
Datum
clinic_sync_forget_caches(PG_FUNCTION_ARGS)
{
	Oid publication = cs_own_relation("publication");
	Oid segment = cs_own_relation("segment");

	if (OidIsValid(publication))
		CacheInvalidateRelcacheByRelid(publication);
	if (OidIsValid(segment))
		CacheInvalidateRelcacheByRelid(segment);
	PG_RETURN_VOID();
}
