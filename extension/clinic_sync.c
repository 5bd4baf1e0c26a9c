/*
 * clinic_sync.c
 *		Loading of the module.
 *
 * The module needs no preloading: the first captured row of a session loads
 * it.  Every part keeps its state in this backend; what backends share is in
 * tables.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/inval.h"

#include "change_log.h"
#include "compat.h"
#include "guc.h"
#include "log_row.h"
#include "notify.h"
#include "publication_cache.h"
#include "worker.h"

CS_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

PG_FUNCTION_INFO_V1(clinic_sync_in_transaction_block);

/* For procedures: they see it before their first COMMIT fails in the middle. */
Datum
clinic_sync_in_transaction_block(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(IsTransactionBlock());
}

static void
on_relcache_invalidation(Datum arg, Oid relid)
{
	cs_publication_invalidate(relid);
	cs_segment_invalidate(relid);
}

void
_PG_init(void)
{
	cs_guc_init();
	CacheRegisterRelcacheCallback(on_relcache_invalidation, (Datum) 0);
	cs_segment_init();
	cs_log_row_init();
	cs_log_limit_init();
	cs_notify_init();
	cs_worker_init();
}
