/*
 * batch_cursor.h
 *		Cursors: reading them, and refusing them.
 */
#ifndef CLINIC_SYNC_BATCH_CURSOR_H
#define CLINIC_SYNC_BATCH_CURSOR_H

#include "utils/snapshot.h"

#include "batch_store.h"

typedef enum CsRefusal
{
	CS_CURSOR_OK,
	CS_CURSOR_BAD,     /* not a cursor */
	CS_CURSOR_TOO_OLD, /* what follows it was pruned */
	CS_HISTORY_LOST,   /* not of this history */
	CS_LOG_INCOMPLETE  /* the log does not hold what the batches counted */
} CsRefusal;

/* The protocol's word for it. */
extern const char *cs_refusal_word(CsRefusal refusal);

/* Raise it as an error; cursor is only shown for cursors that are ones. */
extern void cs_refuse(CsRefusal refusal, const char *cursor, Snapshot snapshot)
	pg_attribute_noreturn();

/* Is this a cursor that can be continued?  text may be NULL. */
extern CsRefusal cs_cursor_check(Snapshot snapshot, const char *text, int64 *batch);

#endif /* CLINIC_SYNC_BATCH_CURSOR_H */
