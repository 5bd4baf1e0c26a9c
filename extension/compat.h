/*
 * compat.h
 *		Differences between PostgreSQL 14 and 18, all in one place.
 *
 * Every other file calls the newest name; what an older server lacks is
 * supplied here.  PG_VERSION_NUM appears nowhere else.
 */
#ifndef CLINIC_SYNC_COMPAT_H
#define CLINIC_SYNC_COMPAT_H

#include "access/genam.h"
#include "access/relscan.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/pg_locale.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#if PG_VERSION_NUM < 140000
#error "clinic_sync needs PostgreSQL 14 or later"
#endif

/* varlena macros moved out of postgres.h in 16 */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 18 can name a module and its version for pg_get_loaded_modules() */
#if PG_VERSION_NUM >= 180000
#define CS_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "clinic_sync", .version = CLINIC_SYNC_VERSION)
#else
#define CS_MODULE_MAGIC PG_MODULE_MAGIC
#endif

#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* 15 has a hook for asking for shared memory, before it was done in _PG_init() */
#if PG_VERSION_NUM >= 150000
#define CS_SHMEM_REQUEST(name)                                                                     \
	static shmem_request_hook_type next_##name = NULL;                                             \
	static void name(void)
#define CS_SHMEM_REQUEST_NEXT(name)                                                                \
	do                                                                                             \
	{                                                                                              \
		if (next_##name)                                                                           \
			next_##name();                                                                         \
	} while (0)
#define CS_SHMEM_REQUEST_INSTALL(name)                                                             \
	(next_##name = shmem_request_hook, shmem_request_hook = (name))
#else
#define CS_SHMEM_REQUEST(name) static void name(void)
#define CS_SHMEM_REQUEST_NEXT(name) ((void) 0)
#define CS_SHMEM_REQUEST_INSTALL(name) name()
#endif

#if PG_VERSION_NUM < 160000
#define cs_owns_database(database) pg_database_ownercheck(database, GetUserId())
#else
#define cs_owns_database(database) object_ownercheck(DatabaseRelationId, database, GetUserId())
#endif

/* 18 lets a scan report its own statistics; we have none to report */
#if PG_VERSION_NUM >= 180000
#define cs_index_beginscan(heap, index, snapshot, nkeys)                                           \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define cs_index_beginscan(heap, index, snapshot, nkeys)                                           \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* 17 keeps things of an index from one insertion to the next, until it is told */
#if PG_VERSION_NUM >= 170000
#define cs_index_insert_cleanup(index, info) index_insert_cleanup(index, info)
#else
#define cs_index_insert_cleanup(index, info) ((void) 0)
#endif

/* 18 asks the locale itself whether a collation compares bytes */
#if PG_VERSION_NUM >= 180000
#define cs_collation_is_c(collation) (pg_newlocale_from_collation(collation)->collate_is_c)
#else
#define cs_collation_is_c(collation) lc_collate_is_c(collation)
#endif

/* 18 has generated columns without storage: their value is in no tuple */
#if PG_VERSION_NUM >= 180000
#define cs_column_is_stored(att) ((att)->attgenerated != ATTRIBUTE_GENERATED_VIRTUAL)
#else
#define cs_column_is_stored(att) true
#endif

#if PG_VERSION_NUM < 150000
/* 15 has this in funcapi.c: answer a set-returning call by a tuplestore */
static inline void
InitMaterializedSRF(FunctionCallInfo fcinfo, uint32 flags)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext oldcontext;
	TupleDesc desc;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		(rsinfo->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("set-valued function called in context that cannot accept a set")));

	oldcontext = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = tuplestore_begin_heap(false, false, work_mem);
	rsinfo->setDesc = desc;
	MemoryContextSwitchTo(oldcontext);
}
#endif

#endif /* CLINIC_SYNC_COMPAT_H */
