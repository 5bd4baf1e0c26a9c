/*
 * own_tables.c
 *		Direct access to the tables of schema clinic_sync.
 *
 * Capture runs inside the statements of roles that have no right on our
 * schema, many times a second.  Going below SQL needs no rights and no plan,
 * and no row security applies.
 *
 * A schema of that name, with anything in it, is made by whoever may create
 * schemas: who acts as a superuser because of it asks cs_extension_is_here().
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "own_tables.h"

Oid
cs_own_relation(const char *name)
{
	Oid schema = get_namespace_oid("clinic_sync", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

bool
cs_extension_is_here(void)
{
	static Oid known = InvalidOid; /* found good; Oids do not come again soon */
	Oid table = cs_own_relation("batch_lock");
	Oid extension;

	if (!OidIsValid(table) || table == known)
		return OidIsValid(table);
	extension = get_extension_oid("clinic_sync", true);
	if (!OidIsValid(extension) || getExtensionOfObject(RelationRelationId, table) != extension)
		return false;
	known = table;
	return true;
}

/*
 * The default snapshot is the latest, not the transaction's: in REPEATABLE
 * READ a table that was published after the transaction's snapshot already
 * fires our trigger, and a segment closed after it must not be written to.
 */
void
cs_own_scan_begin(CsOwnScan *scan, Oid table, Snapshot snapshot)
{
	scan->table = table_open(table, AccessShareLock);
	scan->registered = NULL;
	if (snapshot == NULL)
		snapshot = scan->registered = RegisterSnapshot(GetLatestSnapshot());
	scan->scan = systable_beginscan(scan->table, InvalidOid, false, snapshot, 0, NULL);
}

HeapTuple
cs_own_scan_next(CsOwnScan *scan)
{
	return systable_getnext(scan->scan);
}

void
cs_own_scan_end(CsOwnScan *scan)
{
	systable_endscan(scan->scan);
	if (scan->registered != NULL)
		UnregisterSnapshot(scan->registered);
	table_close(scan->table, AccessShareLock);
}

Datum
cs_own_value(CsOwnScan *scan, HeapTuple row, const char *column, bool *isnull)
{
	AttrNumber attnum = get_attnum(RelationGetRelid(scan->table), column);

	if (attnum == InvalidAttrNumber)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("column \"%s\" of table \"clinic_sync.%s\" is missing", column,
							   RelationGetRelationName(scan->table)),
						errhint("Update the extension with ALTER EXTENSION clinic_sync UPDATE.")));
	return heap_getattr(row, attnum, RelationGetDescr(scan->table), isnull);
}

/*
 * The indexes are plain btrees: no expressions, not unique.  The caller looks
 * at predicates.
 */
void
cs_own_index_insert(Relation table, Oid index_oid, HeapTuple tuple, Datum *values, bool *isnull)
{
	Relation index = index_open(index_oid, RowExclusiveLock);
	Datum key_values[INDEX_MAX_KEYS];
	bool key_isnull[INDEX_MAX_KEYS];

	for (int i = 0; i < index->rd_index->indnatts; i++)
	{
		int column = index->rd_index->indkey.values[i] - 1;

		key_values[i] = values[column];
		key_isnull[i] = isnull[column];
	}
	index_insert(index, key_values, key_isnull, &tuple->t_self, table, UNIQUE_CHECK_NO, false,
				 NULL);
	index_close(index, NoLock);
}

void
cs_own_insert(Relation table, Datum *values, bool *isnull, const Oid *indexes, int nindexes)
{
	HeapTuple tuple = heap_form_tuple(RelationGetDescr(table), values, isnull);

	simple_heap_insert(table, tuple);
	for (int i = 0; i < nindexes; i++)
		cs_own_index_insert(table, indexes[i], tuple, values, isnull);
	heap_freetuple(tuple);
}
