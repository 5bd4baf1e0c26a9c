/*
 * batch_answer.c
 *		Answering changes as rows of a set-returning function.
 *
 * Everything in one answer comes from the snapshot of the calling query.  The
 * rows of a batch are counted and compared with what was counted when it was
 * cut; a difference means that the log is not whole.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "batch_answer.h"
#include "batch_places.h"
#include "change_log.h"
#include "compat.h"

void
cs_answer_begin(CsAnswer *answer, FunctionCallInfo fcinfo, int own)
{
	InitMaterializedSRF(fcinfo, 0);
	memset(answer, 0, sizeof(*answer));
	answer->result = (ReturnSetInfo *) fcinfo->resultinfo;
	answer->snapshot = GetActiveSnapshot();
	answer->own = own;
	cs_log_reader_begin(&answer->log, answer->snapshot);
	cs_wire_names_begin(&answer->names, answer->snapshot);
}

void
cs_answer_put(CsAnswer *answer)
{
	tuplestore_putvalues(answer->result->setResult, answer->result->setDesc, answer->values,
						 answer->isnull);
}

static void
put_change(CsAnswer *answer, TupleTableSlot *row)
{
	Datum *values = answer->values + answer->own;
	bool *isnull = answer->isnull + answer->own;
	const CsWireName *name =
		cs_wire_name(&answer->names, DatumGetInt32(row->tts_values[LOG_PUBLICATION]));

	values[OUT_SEQ] = row->tts_values[LOG_SEQ];
	values[OUT_EVENT] = name->event;
	values[OUT_RELATION] = name->name;
	values[OUT_OPERATION] = cs_operation_word(DatumGetChar(row->tts_values[LOG_OP]));
	values[OUT_KEY] = row->tts_values[LOG_KEY];
	values[OUT_DATA] = row->tts_values[LOG_DATA];
	values[OUT_ORIGIN] = row->tts_values[LOG_ORIGIN];

	isnull[OUT_SEQ] = false;
	isnull[OUT_EVENT] = isnull[OUT_RELATION] = name->isnull;
	isnull[OUT_OPERATION] = (values[OUT_OPERATION] == (Datum) 0);
	isnull[OUT_KEY] = row->tts_isnull[LOG_KEY];
	isnull[OUT_DATA] = row->tts_isnull[LOG_DATA];
	isnull[OUT_ORIGIN] = row->tts_isnull[LOG_ORIGIN];
	cs_answer_put(answer);
}

static CsRefusal
put_places(CsAnswer *answer, const CsBatch *batch, const CsLogPlaces *places)
{
	for (int64 i = 0; i < places->count; i++)
	{
		TupleTableSlot *row = cs_log_fetch(&answer->log, batch, &places->places[i]);

		CHECK_FOR_INTERRUPTS();
		if (row == NULL)
			return CS_LOG_INCOMPLETE;
		put_change(answer, row);
	}
	return CS_CURSOR_OK;
}

CsRefusal
cs_answer_changes(CsAnswer *answer, const CsBatch *batch, const CsSnapshot *before, int64 after,
				  int64 most)
{
	bool whole = (after <= 0);
	CsRefusal refusal = CS_CURSOR_OK;
	CsLogPlaces places;
	bool more;

	do
	{
		if (!cs_log_collect(&answer->log, batch, before, after, most, &places))
			return CS_CURSOR_TOO_OLD;
		if (whole && places.found != batch->changes)
			return CS_LOG_INCOMPLETE;
		refusal = put_places(answer, batch, &places);
		most -= places.count;
		more = places.more && most > 0;
		if (more)
			after = places.places[places.count - 1].seq;
		whole = false;
		cs_log_places_free(&places);
	} while (more && refusal == CS_CURSOR_OK);
	return refusal;
}

void
cs_answer_end(CsAnswer *answer)
{
	cs_log_reader_end(&answer->log);
}
