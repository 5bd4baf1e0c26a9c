/*
 * log_row.h
 *		A row of the change log as it lies in a segment.
 */
#ifndef CLINIC_SYNC_LOG_ROW_H
#define CLINIC_SYNC_LOG_ROW_H

#include "access/htup_details.h"
#include "access/transam.h"
#include "utils/rel.h"

#include "change_log.h"

/* The columns of a segment that are never null, at the start of each row. */
typedef struct CsLogRow
{
	int64 seq;
	FullTransactionId xid;
	int32 publication;
	char op;
	bool head; /* the first one of its transaction on its page: it is in the index */
} CsLogRow;

static inline CsLogRow *
cs_log_row(HeapTuple tuple)
{
	return (CsLogRow *) GETSTRUCT(tuple);
}

/* Write one row; the value of column head is not looked at. */
extern void cs_log_row_insert(Relation table, const CsSegment *segment, Datum *values,
							  bool *isnull);
extern void cs_log_row_init(void);

#endif /* CLINIC_SYNC_LOG_ROW_H */
