/*
 * batch_cursor.c
 *		Cursors: giving them out, checking and refusing them.
 *
 * A cursor names a batch and the nonce drawn when it was cut.  It is good if
 * that batch, with that nonce, is in this database's history: after a failover
 * that lost a tail, a restored dump or a disk image that was rolled back the
 * number may be there again, the nonce is not.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "batch_cursor.h"
#include "compat.h"

#define DIGITS 19 /* of the greatest batch number */
#define WARM_BATCHES 20000

const char *
cs_refusal_word(CsRefusal refusal)
{
	switch (refusal)
	{
		case CS_CURSOR_OK:
			return "ok";
		case CS_CURSOR_BAD:
			return "bad_cursor";
		case CS_CURSOR_TOO_OLD:
			return "too_old";
		case CS_HISTORY_LOST:
			return "history_lost";
		case CS_LOG_INCOMPLETE:
			return "log_incomplete";
	}
	return NULL;
}

static void
refuse_too_old(const char *cursor, Snapshot snapshot)
{
	CsHistory history;

	cs_history_read(snapshot, &history);
	ereport(ERROR,
			(errcode(MAKE_SQLSTATE('C', 'S', '0', '1', '1')),
			 errmsg("cursor %s is too old", cursor),
			 errdetail("The oldest cursor that can be continued is of batch " INT64_FORMAT ".",
					   history.floor_batch),
			 errhint("Start from a new snapshot.")));
}

void
cs_refuse(CsRefusal refusal, const char *cursor, Snapshot snapshot)
{
	switch (refusal)
	{
		case CS_CURSOR_BAD:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION), errmsg("this is not a cursor"),
					 errhint("A cursor is a batch number, a dash and 16 hex digits; take it "
							 "from current_cursor().")));
			break;
		case CS_CURSOR_TOO_OLD:
			refuse_too_old(cursor, snapshot);
			break;
		case CS_HISTORY_LOST:
			ereport(ERROR, (errcode(MAKE_SQLSTATE('C', 'S', '0', '1', '0')),
							errmsg("cursor %s is not of this database's history", cursor),
							errdetail("The server was restored, failed over or created anew since "
									  "it was given out."),
							errhint("Start from a new snapshot.")));
			break;
		case CS_LOG_INCOMPLETE:
			ereport(ERROR,
					(errcode(MAKE_SQLSTATE('C', 'S', '0', '1', '2')),
					 errmsg("the change log after cursor %s does not hold what its batches counted",
							cursor),
					 errhint("Start from a new snapshot and look for whoever changed "
							 "clinic_sync.change_log_*.")));
			break;
		case CS_CURSOR_OK:
			break;
	}
	elog(ERROR, "a cursor was refused without a reason");
}

/*
 * Checking.
 */

/* A number without leading zero, a dash, 16 lower case hex digits, nothing else. */
static bool
parse_cursor(const char *text, int64 *batch, const char **nonce)
{
	size_t digits = strspn(text, "0123456789");
	uint64 number = 0;

	if (digits == 0 || digits > DIGITS || text[0] == '0' || text[digits] != '-')
		return false;
	*nonce = text + digits + 1;
	if (strspn(*nonce, "0123456789abcdef") != CS_NONCE_DIGITS || (*nonce)[CS_NONCE_DIGITS] != '\0')
		return false;

	/* 19 digits fit an uint64 */
	for (size_t i = 0; i < digits; i++)
		number = number * 10 + (uint64) (text[i] - '0');
	*batch = (int64) number;
	return number <= (uint64) PG_INT64_MAX;
}

CsRefusal
cs_cursor_check(Snapshot snapshot, const char *text, int64 *batch)
{
	CsHistory history;
	CsBatch row;
	const char *nonce;

	if (text == NULL || !parse_cursor(text, batch, &nonce))
		return CS_CURSOR_BAD;
	cs_history_read(snapshot, &history);
	if (*batch < history.floor_batch)
		return CS_CURSOR_TOO_OLD;
	if (!cs_batch_find(snapshot, *batch, &row) || strcmp(row.nonce, nonce) != 0)
		return CS_HISTORY_LOST;
	return CS_CURSOR_OK;
}

PG_FUNCTION_INFO_V1(clinic_sync_check_cursor);

/*
 * check_cursor(cursor text) RETURNS text
 */
Datum
clinic_sync_check_cursor(PG_FUNCTION_ARGS)
{
	char *cursor = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64 batch;
	CsRefusal refusal = cs_cursor_check(GetActiveSnapshot(), cursor, &batch);

	PG_RETURN_TEXT_P(cstring_to_text(cs_refusal_word(refusal)));
}

/*
 * Giving out.
 */

PG_FUNCTION_INFO_V1(clinic_sync_current_cursor);

/*
 * current_cursor() RETURNS text
 */
Datum
clinic_sync_current_cursor(PG_FUNCTION_ARGS)
{
	char cursor[CS_CURSOR_BYTES];
	CsBatch last;

	if (!cs_batch_last(GetActiveSnapshot(), &last))
		PG_RETURN_NULL();
	cs_batch_cursor(&last, cursor);
	PG_RETURN_TEXT_P(cstring_to_text(cursor));
}

PG_FUNCTION_INFO_V1(clinic_sync_last_batch);

/*
 * last_batch(OUT id bigint, OUT snapshot pg_snapshot, OUT nonce text,
 *			  OUT created_at timestamptz)
 */
Datum
clinic_sync_last_batch(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	CsBatch last;
	Datum values[4] = {0};
	bool isnull[4] = {true, true, true, true};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (cs_batch_last(GetActiveSnapshot(), &last))
	{
		values[0] = Int64GetDatum(last.id);
		values[1] = PointerGetDatum(last.snapshot);
		values[2] = CStringGetTextDatum(last.nonce);
		values[3] = TimestampTzGetDatum(last.created_at);
		memset(isnull, 0, sizeof(isnull));
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
}

/*
 * From the last batch back, as long as what follows is not too much.
 */
static bool
find_warm_batch(Snapshot snapshot, int64 max_changes, CsBatch *warm)
{
	CsBatchScan scan;
	CsHistory history;
	HeapTuple row;
	CsBatch last;
	int64 changes_after = 0;
	int64 warm_id = 0;

	cs_history_read(snapshot, &history);
	if (!cs_batch_last(snapshot, &last))
		return false;
	cs_batch_scan_begin(&scan, snapshot, last.id, BackwardScanDirection);
	while ((row = cs_batch_scan_next(&scan)) != NULL)
	{
		int64 id;
		int64 changes;

		cs_batch_size(&scan, row, &id, &changes);
		if (id < history.floor_batch || changes_after > max_changes || last.id - id > WARM_BATCHES)
			break;
		warm_id = id;
		changes_after += changes;
		CHECK_FOR_INTERRUPTS();
	}
	cs_batch_scan_end(&scan);
	return warm_id != 0 && cs_batch_find(snapshot, warm_id, warm);
}

PG_FUNCTION_INFO_V1(clinic_sync_warm_cursor);

/*
 * warm_cursor(max_changes int DEFAULT 100000) RETURNS text
 */
Datum
clinic_sync_warm_cursor(PG_FUNCTION_ARGS)
{
	char cursor[CS_CURSOR_BYTES];
	CsBatch warm;

	if (PG_ARGISNULL(0) || PG_GETARG_INT32(0) < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_changes must not be negative")));
	if (!find_warm_batch(GetActiveSnapshot(), PG_GETARG_INT32(0), &warm))
		PG_RETURN_NULL();
	cs_batch_cursor(&warm, cursor);
	PG_RETURN_TEXT_P(cstring_to_text(cursor));
}
