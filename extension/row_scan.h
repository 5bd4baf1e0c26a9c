/*
 * row_scan.h
 *		Reading the rows of a published table, whatever it consists of.
 */
#ifndef CLINIC_SYNC_ROW_SCAN_H
#define CLINIC_SYNC_ROW_SCAN_H

#include "access/skey.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

#include "publication_cache.h"

/* Called for the table and each partition; those without rows of their own have relkind 'p'. */
typedef void (*CsPartReader)(Relation part, CsPublication *pub, void *arg);

/* Called for each row, in a context that is reset after it. */
typedef void (*CsRowReader)(TupleTableSlot *row, void *arg);

/* A table that is not published is an error. */
extern void cs_read_parts(Oid relation, CsPartReader read, void *arg);

/* Every row of a part that the active snapshot sees. */
extern void cs_read_rows(Relation part, CsRowReader read, void *arg);

/* Those that match conditions on an index of the part. */
extern void cs_read_by_index(Relation part, Relation index, ScanKey conditions, int count,
							 CsRowReader read, void *arg);

#endif /* CLINIC_SYNC_ROW_SCAN_H */
