/*
 * hold.c
 *		Holding tables for reading without ever waiting for one.
 *
 * Who waits for a lock while holding others can be part of a deadlock, and
 * PostgreSQL may end the other session, a clinic's; or keep it waiting behind
 * a lock that is held for nothing.  So relays' readers take all locks that
 * reading will need here, each only if it is free that instant.  Indexes are
 * among them: planning a query locks them as well, and REINDEX takes them
 * while the table itself can still be read.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "compat.h"
#include "publication_cache.h"

static bool
hold_indexes(Relation table)
{
	List *indexes = RelationGetIndexList(table);
	bool held = true;
	ListCell *cell;

	foreach (cell, indexes)
	{
		held = ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock);
		if (!held)
			break;
	}
	list_free(indexes);
	return held;
}

/* A table or a partition; one that was dropped a moment ago is not free either. */
static bool
hold_one(Oid relation)
{
	Relation table;
	bool held;

	if (!ConditionalLockRelationOid(relation, AccessShareLock))
		return false;
	table = try_relation_open(relation, NoLock);
	if (table == NULL)
		return false;
	if (cs_publication_get(table) == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" is not published", RelationGetRelationName(table)),
						errhint("Publish it with clinic_sync.publish().")));
	held = hold_indexes(table);
	relation_close(table, NoLock);
	return held;
}

/* The table first: then no partition of it is detached any more. */
static bool
hold_table(Oid relation)
{
	bool held = hold_one(relation);
	List *parts = held ? find_all_inheritors(relation, NoLock, NULL) : NIL;
	ListCell *cell;

	foreach (cell, parts)
	{
		held = held && (lfirst_oid(cell) == relation || hold_one(lfirst_oid(cell)));
	}
	list_free(parts);
	return held;
}

PG_FUNCTION_INFO_V1(clinic_sync_hold_tables);

/*
 * hold_tables(relations regclass[]) RETURNS boolean
 *		False: one was not free; what was taken before goes with the transaction.
 */
Datum
clinic_sync_hold_tables(PG_FUNCTION_ARGS)
{
	ArrayType *relations = PG_GETARG_ARRAYTYPE_P(0);
	Datum *items;
	bool *nulls;
	int count;
	bool held = true;

	deconstruct_array(relations, REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT, &items, &nulls,
					  &count);
	for (int i = 0; i < count && held; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("relations of hold_tables() must not be null")));
		held = hold_table(DatumGetObjectId(items[i]));
	}
	PG_RETURN_BOOL(held);
}
