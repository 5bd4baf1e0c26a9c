/*
 * batch_ranges.c
 *		Which transactions lie between two snapshots.
 *
 * Batch k is the set of log rows visible in snapshot S(k) and not in S(k-1).
 * With snapshots of PostgreSQL that is a set of transaction numbers: those
 * from xmax(k-1) up to xmax(k) without the ones still open in S(k), and the
 * ones open in S(k-1) that are over in S(k).  As ranges they let an index on
 * xid find the rows, and the rows of an open transaction are never looked at.
 *
 * Nothing here reads or writes anything.
 */
#include "postgres.h"

#include "access/transam.h"

#include "batch_ranges.h"
#include "compat.h"

CsSnapshot *
cs_snapshot_copy(Datum value)
{
	return (CsSnapshot *) PG_DETOAST_DATUM_COPY(value);
}

static bool
is_open(const CsSnapshot *snapshot, FullTransactionId xid)
{
	uint32 low = 0;
	uint32 high = snapshot->nxip;

	while (low < high)
	{
		uint32 middle = low + (high - low) / 2;

		if (FullTransactionIdEquals(snapshot->xip[middle], xid))
			return true;
		if (FullTransactionIdPrecedes(snapshot->xip[middle], xid))
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

bool
cs_snapshot_sees(const CsSnapshot *snapshot, FullTransactionId xid)
{
	if (FullTransactionIdPrecedes(xid, snapshot->xmin))
		return true;
	return FullTransactionIdPrecedes(xid, snapshot->xmax) && !is_open(snapshot, xid);
}

static FullTransactionId
next_xid(FullTransactionId xid)
{
	return FullTransactionIdFromU64(U64FromFullTransactionId(xid) + 1);
}

CsXidRange *
cs_xid_ranges(const CsSnapshot *before, const CsSnapshot *after, int *count)
{
	uint32 most = after->nxip + 1 + (before != NULL ? before->nxip : 0);
	CsXidRange *ranges = palloc(sizeof(CsXidRange) * most);
	FullTransactionId lo = before != NULL ? before->xmax : FullTransactionIdFromU64(0);
	int n = 0;

	/* what began since: the gaps between those still open */
	for (uint32 i = 0; i <= after->nxip; i++)
	{
		FullTransactionId stop = i < after->nxip ? after->xip[i] : after->xmax;

		if (FullTransactionIdPrecedes(stop, lo))
			continue;
		if (FullTransactionIdPrecedes(lo, stop))
			ranges[n++] = (CsXidRange){lo, stop};
		lo = next_xid(stop);
	}

	/* what was open then and is over now */
	for (uint32 i = 0; before != NULL && i < before->nxip; i++)
	{
		if (cs_snapshot_sees(after, before->xip[i]))
			ranges[n++] = (CsXidRange){before->xip[i], next_xid(before->xip[i])};
	}
	*count = n;
	return ranges;
}
