/*
 * batch.h
 *		Batches: cutting the change log into consistent pieces.
 *
 * Batch k is the set of log rows visible in snapshot S(k) and not in S(k-1).
 */
#ifndef CLINIC_SYNC_BATCH_H
#define CLINIC_SYNC_BATCH_H

#include "nodes/pg_list.h"

#include "notify.h"

#define CS_CURSOR_BYTES 64 /* a number, a dash, 16 hex digits, with room */

/* What a batch holds of one table. */
typedef struct CsTableCount
{
	int32 publication;
	uint64 counts[CS_COUNTS];
} CsTableCount;

typedef struct CsCut
{
	int64 batch; /* 0: nothing was cut */
	char cursor[CS_CURSOR_BYTES];
	int64 changes;
	List *counts; /* of CsTableCount * */
} CsCut;

/*
 * Cut a batch of everything committed since the last one, in a READ COMMITTED
 * transaction that has written nothing; raises as make_batch() does.  The
 * counts live in the caller's memory context.
 */
extern void cs_batch_cut(bool boundary, CsCut *cut);

#endif /* CLINIC_SYNC_BATCH_H */
