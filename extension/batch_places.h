/*
 * batch_places.h
 *		The rows of a batch in their order.
 */
#ifndef CLINIC_SYNC_BATCH_PLACES_H
#define CLINIC_SYNC_BATCH_PLACES_H

#include "storage/itemptr.h"

#include "batch_log.h"

/* Where a log row is. */
typedef struct CsLogPlace
{
	int64 seq;
	ItemPointerData tid;
	uint16 segment; /* its place in batch->segments */
} CsLogPlace;

/* Places of rows of a batch in the order of seq, a bounded number of them. */
typedef struct CsLogPlaces
{
	CsLogPlace *places;
	int64 count;
	int64 found; /* rows there are, taken or not */
	bool more;   /* there are rows behind the last place */

	/* while collecting */
	int64 after;
	int64 most; /* to be taken */
	int64 allocated;
	int64 bound; /* no row behind this seq is wanted */
	uint16 segment;
} CsLogPlaces;

/*
 * The first rows of a batch with a seq above `after`, at most `most` of them
 * and as many as maintenance_work_mem has room for; before is the preceding
 * batch's snapshot.  False if a segment is gone.
 */
extern bool cs_log_collect(CsLogReader *reader, const CsBatch *batch, const CsSnapshot *before,
						   int64 after, int64 most, CsLogPlaces *places);
extern void cs_log_places_free(CsLogPlaces *places);

/* The row at a place, with all its columns; NULL if it is not there any more. */
extern TupleTableSlot *cs_log_fetch(CsLogReader *reader, const CsBatch *batch,
									const CsLogPlace *place);

#endif /* CLINIC_SYNC_BATCH_PLACES_H */
