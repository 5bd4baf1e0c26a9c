/*
 * digest.h
 *		Digest of a table's rows.
 */
#ifndef CLINIC_SYNC_DIGEST_H
#define CLINIC_SYNC_DIGEST_H

#include "utils/array.h"

/*
 * Row count and digest, as text, of a published table in the active snapshot;
 * columns may be NULL: all that are published.
 */
extern Datum cs_table_digest(Oid relation, ArrayType *columns, int64 *rows);

#endif /* CLINIC_SYNC_DIGEST_H */
