/*
 * worker_view.c
 *		What the views say of the workers.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "compat.h"
#include "worker.h"
#include "worker_slot.h"

/* Columns of worker_slots(), by position. */
enum
{
	SLOT_DATABASE,
	SLOT_PID,
	SLOT_STATE,
	SLOT_STARTED_AT,
	SLOT_LAST_CUT_AT,
	SLOT_CUTS,
	SLOT_CHANGES,
	SLOT_NOTIFIES,
	SLOT_NOTIFIES_SKIPPED,
	SLOT_ERRORS,
	SLOT_LAST_ERROR,
	SLOT_COLUMNS
};

static const char *
state_word(CsWorkerSlot *slot)
{
	switch (slot->state)
	{
		case CS_WORKER_STARTING:
			return "starting";
		case CS_WORKER_RUNNING:
			if (slot->pid == 0)
				break; /* it has ended, and the launcher is on its way */
			return pg_atomic_read_u32(&slot->errors_in_row) > 0 ? "failing" : "running";
		case CS_WORKER_WANTED:
		case CS_WORKER_FREE:
			break;
	}
	return "waiting";
}

/* A count or, with 0 for never, a time. */
static Datum
counter(pg_atomic_uint64 *from)
{
	return Int64GetDatum((int64) pg_atomic_read_u64(from));
}

/* Under the lock: the text is copied, everything else are plain values. */
static void
read_slot(CsWorkerSlot *slot, Datum *values, bool *isnull)
{
	values[SLOT_DATABASE] = ObjectIdGetDatum(pg_atomic_read_u32(&slot->database));
	values[SLOT_PID] = Int32GetDatum(slot->pid);
	isnull[SLOT_PID] = (slot->pid == 0);
	values[SLOT_STATE] = CStringGetTextDatum(state_word(slot));
	values[SLOT_STARTED_AT] = TimestampTzGetDatum(slot->started_at);
	isnull[SLOT_STARTED_AT] = (slot->started_at == 0);
	values[SLOT_LAST_CUT_AT] = counter(&slot->last_cut_at);
	isnull[SLOT_LAST_CUT_AT] = (pg_atomic_read_u64(&slot->last_cut_at) == 0);
	values[SLOT_CUTS] = counter(&slot->cuts);
	values[SLOT_CHANGES] = counter(&slot->changes);
	values[SLOT_NOTIFIES] = counter(&slot->notifies);
	values[SLOT_NOTIFIES_SKIPPED] = counter(&slot->notifies_skipped);
	values[SLOT_ERRORS] = counter(&slot->errors);
	values[SLOT_LAST_ERROR] = CStringGetTextDatum(slot->last_error);
	isnull[SLOT_LAST_ERROR] = (slot->last_error[0] == '\0');
}

PG_FUNCTION_INFO_V1(clinic_sync_worker_slots);

/*
 * worker_slots() RETURNS TABLE (...)
 *		One row for each database that has a worker, or is to get one.
 */
Datum
clinic_sync_worker_slots(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; cs_worker_available() && i < cs_workers->nslots; i++)
	{
		CsWorkerSlot *slot = &cs_workers->slots[i];
		Datum values[SLOT_COLUMNS];
		bool isnull[SLOT_COLUMNS] = {0};
		bool taken;

		LWLockAcquire(cs_workers_lock, LW_SHARED);
		taken = (slot->state != CS_WORKER_FREE);
		if (taken)
			read_slot(slot, values, isnull);
		LWLockRelease(cs_workers_lock);
		if (taken)
			tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	}
	return (Datum) 0;
}
