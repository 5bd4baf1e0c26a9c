/*
 * worker_launcher.c
 *		The one process that starts the workers of all databases.
 *
 * It is connected to no database, so it is in nobody's way.  Backends ask by
 * taking a slot; what happens to slots after that is decided here alone.  A
 * worker that ends is started again after a pause that grows, unless it left
 * because its database has no use for it, or the database is gone.
 *
 * It starts when recovery is over: on a standby there are no workers until it
 * is promoted.  If it ends itself, the postmaster starts another one, which
 * knows the workers by their slots.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "clock.h"
#include "compat.h"
#include "guc.h"
#include "worker.h"
#include "worker_slot.h"

#define RESTART_S 1        /* of the launcher */
#define FIRST_PAUSE_MS 100 /* before a worker that ended is started again */
#define LONGEST_PAUSE_MS 60000
#define SOUND_LIFE_MS 60000 /* who lived that long did not fail */
#define START_MS 10000      /* within which an inherited start must show */
#define LONGEST_SLEEP_MS 60000

PGDLLEXPORT void clinic_sync_launcher_main(Datum arg);

/* Of the workers that we have started ourselves. */
static BackgroundWorkerHandle **handles = NULL;

void
cs_launcher_register(void)
{
	BackgroundWorker launcher = {0};

	launcher.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	launcher.bgw_start_time = BgWorkerStart_RecoveryFinished;
	launcher.bgw_restart_time = RESTART_S;
	strlcpy(launcher.bgw_library_name, "clinic_sync", sizeof(launcher.bgw_library_name));
	strlcpy(launcher.bgw_function_name, "clinic_sync_launcher_main",
			sizeof(launcher.bgw_function_name));
	strlcpy(launcher.bgw_name, "clinic_sync launcher", sizeof(launcher.bgw_name));
	strlcpy(launcher.bgw_type, "clinic_sync launcher", sizeof(launcher.bgw_type));
	RegisterBackgroundWorker(&launcher);
}

/*
 * Starting.
 */

static bool
register_worker(int number, const char *database)
{
	CsWorkerSlot *slot = &cs_workers->slots[number];
	BackgroundWorker worker = {0};
	CsWorkerOrder order = {pg_atomic_read_u32(&slot->database), number, slot->generation};

	StaticAssertStmt(sizeof(order) <= BGW_EXTRALEN, "an order fits into bgw_extra");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	memcpy(worker.bgw_extra, &order, sizeof(order));
	strlcpy(worker.bgw_library_name, "clinic_sync", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "clinic_sync_worker_main", sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "clinic_sync worker for %s", database);
	strlcpy(worker.bgw_type, "clinic_sync worker", sizeof(worker.bgw_type));
	return RegisterDynamicBackgroundWorker(&worker, &handles[number]);
}

typedef struct DatabaseScan
{
	Relation table;
	TableScanDesc scan;
} DatabaseScan;

/*
 * Reading pg_database in its own order, as the autovacuum launcher does: a
 * process without a database may not have the entries of its indexes.
 */
static void
databases_begin(DatabaseScan *scan)
{
	StartTransactionCommand();
	scan->table = table_open(DatabaseRelationId, AccessShareLock);
	scan->scan = table_beginscan_catalog(scan->table, 0, NULL);
}

static Form_pg_database
databases_next(DatabaseScan *scan)
{
	HeapTuple tuple = heap_getnext(scan->scan, ForwardScanDirection);

	return tuple != NULL ? (Form_pg_database) GETSTRUCT(tuple) : NULL;
}

static void
databases_end(DatabaseScan *scan)
{
	table_endscan(scan->scan);
	table_close(scan->table, AccessShareLock);
	CommitTransactionCommand();
}

/* False if there is no such database. */
static bool
find_database(Oid database, NameData *name)
{
	DatabaseScan scan;
	Form_pg_database row;
	bool found = false;

	databases_begin(&scan);
	while ((row = databases_next(&scan)) != NULL)
	{
		if (row->oid != database)
			continue;
		*name = row->datname;
		found = true;
	}
	databases_end(&scan);
	return found;
}

static void
free_slot(CsWorkerSlot *slot)
{
	slot->state = CS_WORKER_FREE;
	pg_atomic_write_u32(&slot->in_doubt, 1);
	pg_atomic_write_u32(&slot->database, InvalidOid);
}

/* Under the lock: the next start is later the more often it failed. */
static void
put_off(CsWorkerSlot *slot)
{
	int pause_ms = FIRST_PAUSE_MS << Min(slot->failures, 10);

	slot->failures++;
	slot->state = CS_WORKER_WANTED;
	slot->retry_ms = cs_clock_ms() + Min(pause_ms, LONGEST_PAUSE_MS);
}

static void
start_worker(int number)
{
	CsWorkerSlot *slot = &cs_workers->slots[number];
	NameData database;
	bool found = find_database(pg_atomic_read_u32(&slot->database), &database);
	bool registered;

	LWLockAcquire(cs_workers_lock, LW_EXCLUSIVE);
	if (!found)
	{
		free_slot(slot);
		LWLockRelease(cs_workers_lock);
		return;
	}
	slot->state = CS_WORKER_STARTING;
	slot->leaving = false;
	slot->started_at = GetCurrentTimestamp();
	slot->started_ms = cs_clock_ms();
	LWLockRelease(cs_workers_lock);

	registered = register_worker(number, NameStr(database));
	if (!registered)
	{
		cs_worker_note_error(slot, "max_worker_processes is too low");
		ereport(LOG, (errmsg("could not start the worker of clinic_sync for database \"%s\"",
							 NameStr(database)),
					  errhint("You might need to increase max_worker_processes.")));
		LWLockAcquire(cs_workers_lock, LW_EXCLUSIVE);
		put_off(slot);
		LWLockRelease(cs_workers_lock);
	}
}

/*
 * Watching.
 */

/* Under the lock. */
static bool
has_ended(int number)
{
	CsWorkerSlot *slot = &cs_workers->slots[number];
	pid_t pid;

	if (handles[number] != NULL)
		return GetBackgroundWorkerPid(handles[number], &pid) == BGWH_STOPPED;
	/* inherited from another launcher */
	if (slot->state == CS_WORKER_RUNNING)
		return slot->pid == 0;
	return cs_clock_ms() - slot->started_ms > START_MS;
}

static void
bury_worker(int number)
{
	CsWorkerSlot *slot = &cs_workers->slots[number];

	if (handles[number] != NULL)
		pfree(handles[number]);
	handles[number] = NULL;
	if (slot->pid != 0)
	{
		/* another one has the slot, and says itself when it ends */
		slot->state = CS_WORKER_RUNNING;
		return;
	}
	if (slot->leaving)
	{
		free_slot(slot);
		return;
	}
	if (cs_clock_ms() - slot->started_ms > SOUND_LIFE_MS)
		slot->failures = 0;
	put_off(slot);
}

/* When to look at this slot again, in milliseconds. */
static long
tend_slot(int number)
{
	CsWorkerSlot *slot = &cs_workers->slots[number];
	CsWorkerState state;
	int64 due_ms;

	LWLockAcquire(cs_workers_lock, LW_EXCLUSIVE);
	if ((slot->state == CS_WORKER_STARTING || slot->state == CS_WORKER_RUNNING) &&
		has_ended(number))
		bury_worker(number);
	state = slot->state;
	due_ms = Max(slot->retry_ms, slot->barred_until_ms) - cs_clock_ms();
	LWLockRelease(cs_workers_lock);

	if (state == CS_WORKER_WANTED && due_ms <= 0)
	{
		start_worker(number);
		return START_MS;
	}
	if (state == CS_WORKER_WANTED)
		return Min(due_ms, LONGEST_SLEEP_MS);
	return state == CS_WORKER_STARTING ? START_MS : LONGEST_SLEEP_MS;
}

/* Databases named one by one get their worker before anybody writes. */
static void
claim_named_databases(void)
{
	DatabaseScan scan;
	Form_pg_database row;

	if (cs_worker_is_listed(""))
		return; /* all of them: those that ask */
	databases_begin(&scan);
	while ((row = databases_next(&scan)) != NULL)
	{
		if (row->datallowconn && cs_worker_is_listed(NameStr(row->datname)))
			cs_worker_claim(row->oid);
	}
	databases_end(&scan);
}

static void
forget_launcher(int code, Datum arg)
{
	cs_workers->launcher = NULL;
}

void
clinic_sync_launcher_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	handles = MemoryContextAllocZero(TopMemoryContext, cs_workers->nslots * sizeof(*handles));
	before_shmem_exit(forget_launcher, (Datum) 0);
	cs_workers->launcher = MyProc;
	claim_named_databases();
	for (;;)
	{
		long sleep_ms = LONGEST_SLEEP_MS;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
			proc_exit(1); /* with 0 there would be no other */
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			claim_named_databases();
		}
		for (int i = 0; i < cs_workers->nslots; i++)
			sleep_ms = Min(sleep_ms, tend_slot(i));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, sleep_ms,
						 PG_WAIT_EXTENSION);
	}
}
