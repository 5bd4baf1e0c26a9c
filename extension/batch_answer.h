/*
 * batch_answer.h
 *		Answering changes as rows of a set-returning function.
 */
#ifndef CLINIC_SYNC_BATCH_ANSWER_H
#define CLINIC_SYNC_BATCH_ANSWER_H

#include "funcapi.h"

#include "batch_cursor.h"
#include "batch_log.h"
#include "batch_names.h"

#define CS_ANSWER_COLUMNS 10

/* Columns that all three functions end with, after up to three of their own. */
enum
{
	OUT_SEQ,
	OUT_EVENT,
	OUT_RELATION,
	OUT_OPERATION,
	OUT_KEY,
	OUT_DATA,
	OUT_ORIGIN,
	OUT_COLUMNS
};

/* The rows that are being answered. */
typedef struct CsAnswer
{
	ReturnSetInfo *result;
	Snapshot snapshot;
	CsLogReader log;
	CsWireNames names;
	int own; /* columns before OUT_SEQ */
	Datum values[CS_ANSWER_COLUMNS];
	bool isnull[CS_ANSWER_COLUMNS];
} CsAnswer;

/* `own` columns stand before the common ones; the caller fills them. */
extern void cs_answer_begin(CsAnswer *answer, FunctionCallInfo fcinfo, int own);
extern void cs_answer_put(CsAnswer *answer);
extern void cs_answer_end(CsAnswer *answer);

/*
 * The changes of a batch with a seq above `after`, at most so many; before is
 * the preceding batch's snapshot.
 */
extern CsRefusal cs_answer_changes(CsAnswer *answer, const CsBatch *batch, const CsSnapshot *before,
								   int64 after, int64 most);

#endif /* CLINIC_SYNC_BATCH_ANSWER_H */
