/*
 * row_state.h
 *		What has become of a row version, and what stands under a key now.
 */
#ifndef CLINIC_SYNC_ROW_STATE_H
#define CLINIC_SYNC_ROW_STATE_H

#include "executor/tuptable.h"

#include "publication_cache.h"

/* True if this transaction made that row version. */
extern bool cs_version_is_ours(Relation rel, HeapTuple version);

/* True if this transaction has neither changed nor deleted that version. */
extern bool cs_version_is_newest(Relation rel, HeapTuple version);

/*
 * The row of rel that has row's key (which prints as key) at this moment, this
 * transaction's own changes included.  NULL if there is none.  The caller drops
 * the slot.
 */
extern TupleTableSlot *cs_present_row(CsPublication *pub, Relation rel, TupleTableSlot *row,
									  const text *key);

#endif /* CLINIC_SYNC_ROW_STATE_H */
