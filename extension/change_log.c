/*
 * change_log.c
 *		Appending to the change log.
 *
 * 1. A log row is part of the transaction that made the change: it is written
 *	  by the same backend, below SQL, with no right of the role needed.
 *
 * 2. Its xid is the top-level transaction's, whatever savepoint it is made in:
 *	  batches are cut by whole transactions.
 *
 * 3. Its seq is a position in the write-ahead log: the end of the last record
 *	  this backend has written in this transaction, which is nobody else's and
 *	  grows with every log row (each is WAL-logged itself).  Whoever changes a
 *	  row next can do so only after our commit record, so for each row the order
 *	  of seq is the order of its changes.  A sequence would say the same at a
 *	  higher price, and would break lastval() for applications that use it.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "catalog/pg_control.h"
#include "utils/builtins.h"
#include "utils/xid8.h"

#include "change_log.h"
#include "compat.h"
#include "log_row.h"
#include "notify.h"
#include "own_tables.h"
#include "publication_cache.h"

/* See the head of this file. */
static int64
next_seq(void)
{
	static XLogRecPtr last = InvalidXLogRecPtr;

	/*
	 * Nothing written yet, which takes a statement that changes no row, or
	 * nothing since: with wal_level minimal, rows of a segment made in this
	 * very transaction are not WAL-logged.
	 */
	if (XLogRecPtrIsInvalid(XactLastRecEnd) || XactLastRecEnd == last)
	{
		char nothing = 0;

		XLogBeginInsert();
		XLogRegisterData(&nothing, sizeof(nothing));
		XLogInsert(RM_XLOG_ID, XLOG_NOOP);
	}
	last = XactLastRecEnd;
	return (int64) last;
}

void
cs_log_append(int32 publication, CsOp op, text *key, text *data)
{
	CsSegment segment;
	Relation table = cs_segment_open(&segment);
	Datum values[LOG_COLUMNS];
	bool isnull[LOG_COLUMNS] = {0};

	if (!cs_log_has_room(&segment))
	{
		table_close(table, NoLock);
		return;
	}

	values[LOG_SEQ] = Int64GetDatum(next_seq());
	values[LOG_XID] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[LOG_PUBLICATION] = Int32GetDatum(publication);
	values[LOG_OP] = CharGetDatum(op);
	values[LOG_KEY] = PointerGetDatum(key);
	values[LOG_DATA] = PointerGetDatum(data);
	values[LOG_ORIGIN] = (Datum) 0;
	isnull[LOG_KEY] = (key == NULL);
	isnull[LOG_DATA] = (data == NULL);
	isnull[LOG_ORIGIN] = true;

	cs_log_row_insert(table, &segment, values, isnull);
	table_close(table, NoLock);
}

CsCount
cs_count_of_op(char op)
{
	switch (op)
	{
		case CS_OP_INSERT:
			return CS_COUNT_INSERT;
		case CS_OP_UPDATE:
		case CS_OP_PUT:
		case CS_OP_OVERSIZE:
			return CS_COUNT_UPDATE;
		case CS_OP_DELETE:
			return CS_COUNT_DELETE;
		case CS_OP_TRUNCATE:
			return CS_COUNT_TRUNCATE;
		case CS_OP_SCHEMA:
			return CS_COUNT_SCHEMA;
		case CS_OP_RESYNC:
			return CS_COUNT_RESYNC;
		case CS_OP_ACK:
			return CS_COUNT_ACK;
		default:
			return CS_COUNTS;
	}
}

PG_FUNCTION_INFO_V1(clinic_sync_log_append);

/*
 * log_append(publication int, op "char", key text, data text) RETURNS void
 */
Datum
clinic_sync_log_append(PG_FUNCTION_ARGS)
{
	int32 publication;
	char op;
	CsCount count;
	char *event;
	NameData table;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("publication and op must not be null")));
	publication = PG_GETARG_INT32(0);
	op = PG_GETARG_CHAR(1);
	count = cs_count_of_op(op);
	if (count == CS_COUNTS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("unrecognized operation of the change log")));

	cs_log_append(publication, op, PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2),
				  PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3));

	/* the row of an unpublished table rings all the same */
	if (cs_publication_by_id(publication, &event, &table))
		cs_notify_count(event, NameStr(table), count);
	else
		cs_notify_count("data_change_immediate", "*", count);
	PG_RETURN_VOID();
}
