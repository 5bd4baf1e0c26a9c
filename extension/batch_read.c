/*
 * batch_read.c
 *		Reading batches: the functions changes(), feed() and batch_changes().
 *
 * An answer of changes() and feed() holds whole batches: as many as have
 * max_rows changes together, the first in any case, at most 1,000.  If the log
 * does not hold what one of them counted, it holds none.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "batch_answer.h"
#include "compat.h"
#include "worker.h"

#define MAX_BATCHES 1000

/* The columns that feed() has of its own; changes() has the first two. */
enum
{
	FEED_BATCH,
	FEED_CURSOR,
	FEED_CREATED_AT,
	FEED_COLUMNS
};

/* Reading whole batches. */
typedef struct Reading
{
	CsAnswer answer;
	bool is_feed;
	bool proven; /* batches of the worker are durable */
	int64 max_rows;
} Reading;

/*
 * Batches.
 */

/* The columns that changes() and feed() have before OUT_SEQ. */
static void
set_own_columns(Reading *reading, const CsBatch *batch)
{
	char cursor[CS_CURSOR_BYTES];
	char created_at[CS_TIME_BYTES];

	cs_batch_cursor(batch, cursor);
	reading->answer.values[FEED_BATCH] = Int64GetDatum(batch->id);
	reading->answer.values[FEED_CURSOR] = CStringGetTextDatum(cursor);
	if (reading->is_feed)
	{
		cs_utc_text(batch->created_at, created_at);
		reading->answer.values[FEED_CREATED_AT] = CStringGetTextDatum(created_at);
	}
	memset(reading->answer.isnull, 0, sizeof(bool) * reading->answer.own);
}

/* The row that ends a batch in feed(). */
static void
put_closing_row(Reading *reading, const CsBatch *batch, const char *operation)
{
	Datum *values = reading->answer.values + FEED_COLUMNS;
	bool *isnull = reading->answer.isnull + FEED_COLUMNS;
	char changes[32];

	memset(isnull, true, sizeof(bool) * OUT_COLUMNS);
	if (batch->nresync > 0)
	{
		values[OUT_EVENT] = CStringGetTextDatum("resync");
		values[OUT_RELATION] = cs_resync_names(batch->resync, batch->nresync);
		isnull[OUT_EVENT] = false;
		isnull[OUT_RELATION] = (values[OUT_RELATION] == (Datum) 0);
	}
	values[OUT_OPERATION] = CStringGetTextDatum(operation);
	isnull[OUT_OPERATION] = false;
	values[OUT_KEY] = CStringGetTextDatum("boundary");
	isnull[OUT_KEY] = !batch->boundary;
	snprintf(changes, sizeof(changes), INT64_FORMAT, batch->changes);
	values[OUT_DATA] = CStringGetTextDatum(changes);
	isnull[OUT_DATA] = false;
	values[OUT_ORIGIN] = CStringGetTextDatum("proven");
	isnull[OUT_ORIGIN] = !(batch->by_worker && reading->proven);
	cs_answer_put(&reading->answer);
}

static CsRefusal
put_batch(Reading *reading, const CsBatch *batch, const CsSnapshot *before)
{
	CsRefusal refusal;

	set_own_columns(reading, batch);
	if (reading->is_feed && batch->changes > reading->max_rows)
	{
		put_closing_row(reading, batch, "giant");
		return CS_CURSOR_OK;
	}
	refusal = cs_answer_changes(&reading->answer, batch, before, 0, batch->changes);
	if (refusal == CS_CURSOR_OK && reading->is_feed)
		put_closing_row(reading, batch, "batch");
	return refusal;
}

/*
 * What follows batch `after`.  Each batch is read with its predecessor's
 * snapshot at hand, hence two of them, and two memory contexts, take turns.
 */
static CsRefusal
put_batches(Reading *reading, int64 after)
{
	CsRefusal refusal = CS_CURSOR_OK;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext contexts[2];
	CsBatch batches[2];
	CsBatchScan scan;
	HeapTuple row;
	int64 changes = 0;

	for (int i = 0; i < 2; i++)
		contexts[i] = AllocSetContextCreate(caller, "clinic_sync batch", ALLOCSET_DEFAULT_SIZES);
	cs_batch_scan_begin(&scan, reading->answer.snapshot, after, ForwardScanDirection);
	for (int i = 0; i <= MAX_BATCHES && refusal == CS_CURSOR_OK; i++)
	{
		CsBatch *batch = &batches[i % 2];

		/* what a scan allocates lives as long as the scan */
		MemoryContextSwitchTo(caller);
		if ((row = cs_batch_scan_next(&scan)) == NULL)
			break;
		MemoryContextReset(contexts[i % 2]);
		MemoryContextSwitchTo(contexts[i % 2]);
		cs_batch_decode(&scan, row, batch);
		if (i > 0)
			changes += batch->changes;
		if (i > 1 && changes > reading->max_rows)
			break;
		if (i > 0)
			refusal = put_batch(reading, batch, batches[(i - 1) % 2].snapshot);
	}
	MemoryContextSwitchTo(caller);
	cs_batch_scan_end(&scan);
	return refusal;
}

static int64
max_rows_argument(FunctionCallInfo fcinfo, int argument)
{
	if (PG_ARGISNULL(argument) || PG_GETARG_INT32(argument) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("max_rows must be at least 1")));
	return PG_GETARG_INT32(argument);
}

static char *
cursor_argument(FunctionCallInfo fcinfo)
{
	return PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
}

PG_FUNCTION_INFO_V1(clinic_sync_changes);

/*
 * changes(after text, max_rows int DEFAULT 10000)
 *		RETURNS TABLE (batch bigint, cursor text, seq bigint, event text, relation text,
 *					   operation text, key text, data text, origin text)
 */
Datum
clinic_sync_changes(PG_FUNCTION_ARGS)
{
	char *cursor = cursor_argument(fcinfo);
	Reading reading = {0};
	CsRefusal refusal;
	int64 after;

	cs_answer_begin(&reading.answer, fcinfo, FEED_CREATED_AT);
	reading.max_rows = max_rows_argument(fcinfo, 1);
	refusal = cs_cursor_check(reading.answer.snapshot, cursor, &after);
	if (refusal == CS_CURSOR_OK)
		refusal = put_batches(&reading, after);
	if (refusal != CS_CURSOR_OK)
		cs_refuse(refusal, cursor, reading.answer.snapshot);
	cs_answer_end(&reading.answer);
	return (Datum) 0;
}

/* Instead of everything that was put: one row. */
static void
put_refusal(Reading *reading, const char *cursor, CsRefusal refusal)
{
	tuplestore_clear(reading->answer.result->setResult);
	memset(reading->answer.isnull, true, sizeof(reading->answer.isnull));
	if (cursor != NULL)
	{
		reading->answer.values[FEED_CURSOR] = CStringGetTextDatum(cursor);
		reading->answer.isnull[FEED_CURSOR] = false;
	}
	reading->answer.values[FEED_COLUMNS + OUT_OPERATION] = CStringGetTextDatum("refused");
	reading->answer.isnull[FEED_COLUMNS + OUT_OPERATION] = false;
	reading->answer.values[FEED_COLUMNS + OUT_DATA] = CStringGetTextDatum(cs_refusal_word(refusal));
	reading->answer.isnull[FEED_COLUMNS + OUT_DATA] = false;
	cs_answer_put(&reading->answer);
}

PG_FUNCTION_INFO_V1(clinic_sync_feed);

/*
 * feed(after text, max_rows int)
 *		RETURNS TABLE (batch bigint, cursor text, created_at text, seq bigint, event text,
 *					   relation text, operation text, key text, data text, origin text)
 */
Datum
clinic_sync_feed(PG_FUNCTION_ARGS)
{
	char *cursor = cursor_argument(fcinfo);
	Reading reading = {0};
	CsRefusal refusal;
	int64 after;

	cs_answer_begin(&reading.answer, fcinfo, FEED_COLUMNS);
	reading.is_feed = true;
	reading.max_rows = max_rows_argument(fcinfo, 1);
	/* after the snapshot: a batch in doubt that it shows is known to be in doubt by now */
	reading.proven = !RecoveryInProgress() && !cs_worker_in_doubt();
	refusal = cs_cursor_check(reading.answer.snapshot, cursor, &after);
	if (refusal == CS_CURSOR_OK)
		refusal = put_batches(&reading, after);
	if (refusal != CS_CURSOR_OK)
		put_refusal(&reading, cursor, refusal);
	cs_answer_end(&reading.answer);
	return (Datum) 0;
}

/*
 * Inside a batch.
 */

static void
refuse_pruned_batch(int64 id)
{
	ereport(ERROR, (errcode(MAKE_SQLSTATE('C', 'S', '0', '1', '1')),
					errmsg("the changes of batch " INT64_FORMAT " are pruned", id),
					errhint("Start from a new snapshot.")));
}

static void
find_batch(Snapshot snapshot, int64 id, CsBatch *batch)
{
	CsHistory history;

	cs_history_read(snapshot, &history);
	if (id >= 1 && id <= history.floor_batch)
		refuse_pruned_batch(id);
	if (id < 1 || !cs_batch_find(snapshot, id, batch))
		ereport(ERROR, (errcode(MAKE_SQLSTATE('C', 'S', '0', '1', '0')),
						errmsg("there is no batch " INT64_FORMAT " in this database's history", id),
						errhint("The view clinic_sync.batches lists the batches.")));
}

PG_FUNCTION_INFO_V1(clinic_sync_batch_changes);

/*
 * batch_changes(batch bigint, after_seq bigint DEFAULT 0, max_rows int DEFAULT NULL)
 *		RETURNS TABLE (seq bigint, event text, relation text, operation text, key text,
 *					   data text, origin text)
 */
Datum
clinic_sync_batch_changes(PG_FUNCTION_ARGS)
{
	char cursor[CS_CURSOR_BYTES];
	CsAnswer answer;
	CsBatch batch;
	CsBatch before;
	int64 most;
	CsRefusal refusal;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("batch and after_seq of batch_changes() must not be null")));
	most = PG_ARGISNULL(2) ? PG_INT64_MAX : max_rows_argument(fcinfo, 2);
	cs_answer_begin(&answer, fcinfo, 0);
	find_batch(answer.snapshot, PG_GETARG_INT64(0), &batch);
	if (!cs_batch_find(answer.snapshot, batch.id - 1, &before))
		before.snapshot = NULL;

	refusal = cs_answer_changes(&answer, &batch, before.snapshot, PG_GETARG_INT64(1), most);
	cs_batch_cursor(&batch, cursor);
	if (refusal == CS_CURSOR_TOO_OLD)
		refuse_pruned_batch(batch.id);
	if (refusal != CS_CURSOR_OK)
		cs_refuse(refusal, cursor, answer.snapshot);
	cs_answer_end(&answer);
	return (Datum) 0;
}
