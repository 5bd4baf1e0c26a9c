/*
 * batch_ranges.h
 *		Which transactions lie between two snapshots.
 */
#ifndef CLINIC_SYNC_BATCH_RANGES_H
#define CLINIC_SYNC_BATCH_RANGES_H

#include "access/transam.h"

/*
 * A value of type pg_snapshot, laid out as struct pg_snapshot of PostgreSQL's
 * utils/adt/xid8funcs.c, which no header shows.
 */
typedef struct CsSnapshot
{
	int32 header;            /* of a varlena */
	uint32 nxip;             /* open transactions below xmax */
	FullTransactionId xmin;  /* everything below it is over */
	FullTransactionId xmax;  /* nothing from it on is */
	FullTransactionId xip[]; /* ascending */
} CsSnapshot;

/* lo <= xid < hi */
typedef struct CsXidRange
{
	FullTransactionId lo;
	FullTransactionId hi;
} CsXidRange;

/* A copy in the current memory context. */
extern CsSnapshot *cs_snapshot_copy(Datum value);

/* Was the transaction over when the snapshot was taken? */
extern bool cs_snapshot_sees(const CsSnapshot *snapshot, FullTransactionId xid);

/*
 * The transactions that `after` sees and `before` does not; before may be
 * NULL: none was seen.
 */
extern CsXidRange *cs_xid_ranges(const CsSnapshot *before, const CsSnapshot *after, int *count);

#endif /* CLINIC_SYNC_BATCH_RANGES_H */
