/*
 * own_tables.h
 *		Direct access to the tables of schema clinic_sync.
 */
#ifndef CLINIC_SYNC_OWN_TABLES_H
#define CLINIC_SYNC_OWN_TABLES_H

#include "access/genam.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

/*
 * True if this database has the extension, and not only things of its name.
 * Below anything that runs as a superuser without having been called by one.
 */
extern bool cs_extension_is_here(void);

/* A scan of one of our tables. */
typedef struct CsOwnScan
{
	Relation table;
	Snapshot registered; /* to be unregistered, or NULL */
	SysScanDesc scan;
} CsOwnScan;

/* Oid of a relation in schema clinic_sync, InvalidOid if there is none. */
extern Oid cs_own_relation(const char *name);

/* Scan with this snapshot; NULL means the latest one there is. */
extern void cs_own_scan_begin(CsOwnScan *scan, Oid table, Snapshot snapshot);
extern HeapTuple cs_own_scan_next(CsOwnScan *scan);
extern void cs_own_scan_end(CsOwnScan *scan);

/* Value of a column, by name. */
extern Datum cs_own_value(CsOwnScan *scan, HeapTuple row, const char *column, bool *isnull);

/* A btree on columns, not unique; it may be partial. */
extern bool cs_own_index_is_plain(Relation index);

/*
 * Insert a row's entry into an index that is ready for it: whatever its
 * definition says; or, where the caller knows that it is plain and that its
 * predicate holds, from the row's values, which costs a tenth of that.
 */
extern void cs_own_index_insert(Relation table, Oid index_oid, HeapTuple tuple);
extern void cs_own_index_insert_plain(Relation table, Oid index_oid, HeapTuple tuple, Datum *values,
									  bool *isnull);

/* Insert a row into one of our tables, and into all indexes. */
extern void cs_own_insert(Relation table, Datum *values, bool *isnull);

#endif /* CLINIC_SYNC_OWN_TABLES_H */
