/*
 * batch_cut.c
 *		Cutting a batch.
 *
 * In the order that makes it right: the lock, then the snapshot, then the
 * batch row, whose xid so lies beyond the snapshot.  One snapshot serves for
 * all that is read in between: the last batch, the segments, the rows that are
 * counted and, if asked, the digest of a table.
 *
 * What is rare (another partition, another segment, a new history) is done by
 * functions in SQL, called when it is due.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "parser/parse_func.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "batch_count.h"
#include "batch_log.h"
#include "change_log.h"
#include "compat.h"
#include "digest.h"
#include "guc.h"
#include "own_tables.h"
#include "worker.h"

#define FIRST_OF_PARTITION(id) ((id) % 100000 == 1)

/* A digest to be made in the batch's snapshot. */
typedef struct CutDigest
{
	Oid relation; /* InvalidOid: none */
	ArrayType *columns;
	int64 rows;
	Datum hash;
} CutDigest;

/*
 * Before the snapshot.
 */

static void
refuse_wrong_transaction(void)
{
	if (FullTransactionIdIsValid(GetTopFullTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("a batch cannot be cut in a transaction that has written"),
				 errdetail("It would hold or leave out the transaction's own changes by chance."),
				 errhint("Commit first and call make_batch() on its own.")));
	PreventCommandIfReadOnly("make_batch()");
}

static void
set_for_transaction(const char *name, const char *value)
{
	set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * The commit that makes a batch known waits for the disk, and for a standby if
 * there is one; a batcher that stops in the middle is ended.
 */
static void
set_up_transaction(void)
{
	if (synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_FLUSH)
		set_for_transaction("synchronous_commit", "on");
	set_for_transaction("lock_timeout", "1s");
	set_for_transaction("idle_in_transaction_session_timeout", "5s");
}

static void
require_batch_lock(Oid lock_table)
{
	Relation table = table_open(lock_table, AccessShareLock);
	bool held = CheckRelationLockedByMe(table, ExclusiveLock, true);

	table_close(table, AccessShareLock);
	if (!held)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("in this isolation level the batcher's lock must be held before the "
							   "snapshot is taken"),
						errhint("Begin the transaction with LOCK TABLE clinic_sync.batch_lock IN "
								"EXCLUSIVE MODE.")));
}

static void
take_batch_lock(void)
{
	Oid lock_table = cs_own_relation("batch_lock");

	if (IsolationUsesXactSnapshot())
		require_batch_lock(lock_table);
	else
		LockRelationOid(lock_table, ExclusiveLock);
}

/*
 * What is done in SQL.
 */

static void
call_sql(const char *name, int64 argument)
{
	const Oid types[] = {INT8OID};
	int nargs = argument > 0 ? 1 : 0;
	List *full_name = list_make2(makeString("clinic_sync"), makeString(pstrdup(name)));
	Oid function = LookupFuncName(full_name, nargs, types, false);

	if (nargs == 0)
		OidFunctionCall0(function);
	else
		OidFunctionCall1(function, Int64GetDatum(argument));
}

/* One that was written anew is read whole in every cut: it is replaced, too. */
static bool
is_full_or_old(const CsNextBatch *next)
{
	Oid oid = cs_segment_relation(next->current);
	Relation table = OidIsValid(oid) ? table_open(oid, AccessShareLock) : NULL;
	uint64 blocks = table != NULL ? RelationGetNumberOfBlocks(table) : 0;
	bool rewritten = table != NULL && cs_log_was_rewritten(table);

	if (table != NULL)
		table_close(table, AccessShareLock);
	if (blocks == 0)
		return false;
	return rewritten || blocks * (BLCKSZ / 1024) >= (uint64) cs_log_segment_kb ||
		   next->current_since < GetCurrentTimestamp() - (int64) cs_retention_s * USECS_PER_SEC / 8;
}

/* Nobody has rows in it that are not yet committed. */
static bool
one_can_be_sealed(const CsNextBatch *next)
{
	ListCell *cell;

	foreach (cell, next->closed)
	{
		Oid table = cs_segment_relation(lfirst_int(cell));

		if (OidIsValid(table) && ConditionalLockRelationOid(table, ShareLock))
			return true;
	}
	return false;
}

/* Only where a later statement sees what was committed meanwhile. */
static void
tend_segments_if_due(const CsNextBatch *next)
{
	if (!IsolationUsesXactSnapshot() && (one_can_be_sealed(next) || is_full_or_old(next)))
		call_sql("tend_segments", 0);
}

/*
 * The batch.
 */

static void
draw_nonce(char nonce[CS_NONCE_DIGITS + 1])
{
	uint64 bits;

	if (!pg_strong_random(&bits, sizeof(bits)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
	snprintf(nonce, CS_NONCE_DIGITS + 1, "%08x%08x", (uint32) (bits >> 32), (uint32) bits);
}

/* A floor above the last batch refuses every cursor there is: an empty batch gives a good one. */
static bool
is_worth_a_batch(const CsNextBatch *next)
{
	CsHistory history;

	if (next->batch.changes > 0 || next->batch.boundary)
		return true;
	cs_history_read(GetActiveSnapshot(), &history);
	return history.floor_batch >= next->batch.id;
}

static void
write_batch(CsNextBatch *next)
{
	CsBatch *batch = &next->batch;

	draw_nonce(batch->nonce);
	batch->created_at = GetCurrentTimestamp();
	batch->by_worker = cs_worker_is_self();
	cs_batch_insert(batch, next->value);
	CommandCounterIncrement();
	if (FIRST_OF_PARTITION(batch->id))
		call_sql("extend_batch", batch->id);
	tend_segments_if_due(next);
}

/* In the snapshot that is active. */
static void
cut_in_snapshot(bool boundary, CutDigest *digest, CsCut *cut)
{
	CsNextBatch next;

	if (cs_log_is_lost())
	{
		if (!IsolationUsesXactSnapshot())
			call_sql("start_new_history", 0);
		return;
	}
	cs_next_batch(&next);
	next.batch.boundary = boundary;
	if (!is_worth_a_batch(&next))
		return;
	if (digest != NULL)
		digest->hash = cs_table_digest(digest->relation, digest->columns, &digest->rows);
	write_batch(&next);

	cut->batch = next.batch.id;
	cut->changes = next.batch.changes;
	cut->counts = next.counts;
	cs_batch_cursor(&next.batch, cut->cursor);
}

/*
 * TRUNCATE does not obey snapshots: none may come between the snapshot and the
 * scan, of the table or of a partition.
 */
static void
lock_against_truncate(Oid relation)
{
	LockRelationOid(relation, AccessShareLock);
	list_free(find_all_inheritors(relation, AccessShareLock, NULL));
}

static void
cut_batch(bool boundary, CutDigest *digest, CsCut *cut)
{
	memset(cut, 0, sizeof(*cut));
	refuse_wrong_transaction();
	set_up_transaction();
	take_batch_lock();
	if (digest != NULL && !IsolationUsesXactSnapshot())
		lock_against_truncate(digest->relation);

	PushActiveSnapshot(GetTransactionSnapshot());
	cut_in_snapshot(boundary, digest, cut);
	PopActiveSnapshot();
}

void
cs_batch_cut(bool boundary, CsCut *cut)
{
	cut_batch(boundary, NULL, cut);
}

/*
 * SQL functions.
 */

static Datum
cut_result(FunctionCallInfo fcinfo, const CsCut *cut, const CutDigest *digest)
{
	TupleDesc desc;
	Datum values[5] = {0};
	bool isnull[5] = {true, true, true, true, true};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (cut->batch != 0)
	{
		values[0] = CStringGetTextDatum(cut->cursor);
		values[1] = Int64GetDatum(cut->batch);
		values[2] = Int64GetDatum(cut->changes);
		isnull[0] = isnull[1] = isnull[2] = false;
	}
	if (cut->batch != 0 && digest != NULL)
	{
		values[3] = Int64GetDatum(digest->rows);
		values[4] = digest->hash;
		isnull[3] = isnull[4] = false;
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull));
}

/*
 * In mode "worker" no commit has told of its changes, and what is cut here the
 * worker will not find.
 */
static void
notify_of(const CsCut *cut)
{
	if (cut->changes > 0 && cs_notify_effective() == CS_NOTIFY_WORKER)
		(void) cs_notify_batch(cut);
}

PG_FUNCTION_INFO_V1(clinic_sync_make_batch);

/*
 * make_batch(boundary boolean DEFAULT false,
 *			  OUT cursor text, OUT batch bigint, OUT changes bigint)
 */
Datum
clinic_sync_make_batch(PG_FUNCTION_ARGS)
{
	CsCut cut;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("argument of make_batch() must not be null")));
	cut_batch(PG_GETARG_BOOL(0), NULL, &cut);
	notify_of(&cut);
	PG_RETURN_DATUM(cut_result(fcinfo, &cut, NULL));
}

PG_FUNCTION_INFO_V1(clinic_sync_cut_digest);

/*
 * cut_digest(relation regclass, columns name[], OUT cursor text, OUT batch bigint,
 *			  OUT changes bigint, OUT rows bigint, OUT hash text)
 *		make_batch(true) and, in the batch's snapshot, the digest of a table.
 */
Datum
clinic_sync_cut_digest(PG_FUNCTION_ARGS)
{
	CutDigest digest = {0};
	CsCut cut;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation must not be null")));
	digest.relation = PG_GETARG_OID(0);
	digest.columns = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	cut_batch(true, &digest, &cut);
	notify_of(&cut);
	PG_RETURN_DATUM(cut_result(fcinfo, &cut, &digest));
}
