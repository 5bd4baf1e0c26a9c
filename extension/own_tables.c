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
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "commands/extension.h"
#include "executor/executor.h"
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
 * Indexes.  Whoever administers the database may have made some of his own, and
 * REINDEX CONCURRENTLY has an index twice for a while: every one gets its entry
 * as soon as it is ready for that, not only those that queries may use.
 */

bool
cs_own_index_is_plain(Relation index)
{
	return index->rd_rel->relam == BTREE_AM_OID && !index->rd_index->indisunique &&
		   heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL);
}

void
cs_own_index_insert_plain(Relation table, Oid index_oid, HeapTuple tuple, Datum *values,
						  bool *isnull)
{
	Relation index = index_open(index_oid, RowExclusiveLock);
	Datum key_values[INDEX_MAX_KEYS];
	bool key_isnull[INDEX_MAX_KEYS];

	if (!index->rd_index->indisready)
	{
		index_close(index, NoLock);
		return;
	}
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

static void
insert_by_definition(Relation table, Relation index, HeapTuple tuple)
{
	EState *estate = CreateExecutorState();
	MemoryContext caller = MemoryContextSwitchTo(estate->es_query_cxt);
	IndexInfo *info = BuildIndexInfo(index);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(table), &TTSOpsHeapTuple);
	Datum values[INDEX_MAX_KEYS];
	bool isnull[INDEX_MAX_KEYS];

	ExecStoreHeapTuple(tuple, slot, false);
	GetPerTupleExprContext(estate)->ecxt_scantuple = slot;
	if (ExecQual(ExecPrepareQual(info->ii_Predicate, estate), GetPerTupleExprContext(estate)))
	{
		FormIndexDatum(info, slot, estate, values, isnull);
		index_insert(index, values, isnull, &tuple->t_self, table,
					 info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, false, info);
		cs_index_insert_cleanup(index, info);
	}
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextSwitchTo(caller);
	FreeExecutorState(estate);
}

void
cs_own_index_insert(Relation table, Oid index_oid, HeapTuple tuple)
{
	Relation index = index_open(index_oid, RowExclusiveLock);

	if (index->rd_index->indisready)
		insert_by_definition(table, index, tuple);
	index_close(index, NoLock);
}

void
cs_own_insert(Relation table, Datum *values, bool *isnull)
{
	HeapTuple tuple = heap_form_tuple(RelationGetDescr(table), values, isnull);
	List *indexes = RelationGetIndexList(table);
	ListCell *cell;

	simple_heap_insert(table, tuple);
	foreach (cell, indexes)
		cs_own_index_insert(table, lfirst_oid(cell), tuple);
	list_free(indexes);
	heap_freetuple(tuple);
}
