/*
 * row_state.c
 *		What has become of a row version, and what stands under a key now.
 *
 * AFTER triggers fire when the statement is over and other triggers may have
 * run already, so the versions a trigger is given need not be what the
 * transaction has made of the row by now.
 *
 * A key is looked up in the one relation that fired.  In a partitioned table
 * that is enough: a primary key contains the partition key, so rows of equal
 * keys are in the same leaf.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "row_image.h"
#include "row_state.h"

/* Only the heap keeps the makers of a version in the version. */
static bool
is_heap(Relation rel)
{
	return rel->rd_tableam == GetHeapamTableAmRoutine();
}

/*
 * The raw xmin is right also for rows that COPY FREEZE made in this very
 * transaction.  That of an old frozen row can equal our xid by wraparound;
 * then the present state is logged where the change would have done.
 */
bool
cs_version_is_ours(Relation rel, HeapTuple version)
{
	if (!is_heap(rel))
		return true;
	return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmin(version->t_data));
}

bool
cs_version_is_newest(Relation rel, HeapTuple version)
{
	HeapTupleHeader header = version->t_data;

	if (!is_heap(rel))
		return false;
	if ((header->t_infomask & HEAP_XMAX_INVALID) != 0 ||
		HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
		return true;

	/* an updater in a rolled back savepoint is not current any more */
	return !TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(header));
}

/* One equality condition per key column, with the index's own operators. */
static void
build_scan_keys(Relation index, TupleTableSlot *row, ScanKey keys)
{
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
	{
		AttrNumber attnum = index->rd_index->indkey.values[i];
		Oid family = index->rd_opfamily[i];
		Oid type = index->rd_opcintype[i];
		Oid operator= get_opfamily_member(family, type, type, BTEqualStrategyNumber);

		if (!OidIsValid(operator))
			elog(ERROR, "missing equality operator in index \"%s\"",
				 RelationGetRelationName(index));
		ScanKeyInit(&keys[i], i + 1, BTEqualStrategyNumber, get_opcode(operator),
					row->tts_values[attnum - 1]);
		keys[i].sk_collation = index->rd_indcollation[i];
	}
}

/*
 * SnapshotSelf sees what is committed and everything this transaction has done
 * so far.  No other transaction can commit a row under a key that ours has
 * touched, so what it sees under that key is ours alone.
 */
static bool
fetch_by_key(Relation rel, Relation index, ScanKey keys, int nkeys, CsPublication *pub,
			 const text *wanted, TupleTableSlot *result)
{
	IndexScanDesc scan;
	bool found = false;

	scan = cs_index_beginscan(rel, index, SnapshotSelf, nkeys);
	index_rescan(scan, keys, nkeys, NULL, 0);

	/*
	 * An equal key need not be the same text (1.0 and 1.00, or a collation
	 * that ignores case); to a cache these are different rows.
	 */
	while (!found && index_getnext_slot(scan, ForwardScanDirection, result))
		found = cs_text_equal(cs_row_key(pub, result), wanted);
	index_endscan(scan);
	return found;
}

TupleTableSlot *
cs_present_row(CsPublication *pub, Relation rel, TupleTableSlot *row, const text *key)
{
	Relation index = index_open(pub->key_index, AccessShareLock);
	TupleTableSlot *result = table_slot_create(rel, NULL);
	ScanKeyData keys[INDEX_MAX_KEYS];
	bool found;

	slot_getsomeattrs(row, pub->last_attnum);
	build_scan_keys(index, row, keys);
	found = fetch_by_key(rel, index, keys, IndexRelationGetNumberOfKeyAttributes(index), pub, key,
						 result);
	if (found)
		ExecMaterializeSlot(result);
	index_close(index, AccessShareLock);

	if (!found)
	{
		ExecDropSingleTupleTableSlot(result);
		return NULL;
	}
	return result;
}
