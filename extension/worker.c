/*
 * worker.c
 *		The background worker of one database: cuts batches when commits ring.
 *
 * 1. It takes the bell away, then takes a snapshot: what rings later is in the
 *	  next batch.  A commit that comes alone is cut at once; under a flood there
 *	  are batch_interval milliseconds between two batches.  It starts with a
 *	  batch, since nobody knows what rang before.
 *
 * 2. Relays are told of a batch when it is committed, in a transaction of its
 *	  own that waits neither for the disk nor for a standby: notifying takes a
 *	  lock that every other notifying commit of the server waits for.  Whoever
 *	  ends in between leaves that to its successor, which begins by telling of
 *	  the last batch there is.
 *
 * 3. After an error it puts the bell back and tries again after a growing pause.
 *
 * 4. Times are of the clock that nobody can set back.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/snapmgr.h"

#include "batch.h"
#include "batch_store.h"
#include "clock.h"
#include "compat.h"
#include "guc.h"
#include "worker.h"
#include "worker_slot.h"

#define UPKEEP_MS 10000
#define FIRST_PAUSE_MS 100
#define LONGEST_PAUSE_MS 10000

PGDLLEXPORT void clinic_sync_worker_main(Datum arg);

/* What was cut, and how many were told of it (-1: the queue was too full). */
static CsCut done;
static int notifies;
static MemoryContext done_context; /* of its counts, which outlive the transaction */
static bool has_told = false;      /* of any batch */

static int64 last_cut_ms = 0; /* begun then */
static int64 retry_ms = 0;    /* after an error, not before */

static void
cut_step(void)
{
	MemoryContext caller = MemoryContextSwitchTo(done_context);

	cs_batch_cut(false, &done);
	MemoryContextSwitchTo(caller);
	if (done.batch != 0)
		cs_worker_cuts();
}

static int64
last_batch(void)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	CsBatch last;
	int64 id = cs_batch_last(snapshot, &last) ? last.id : 0;

	UnregisterSnapshot(snapshot);
	return id;
}

static void
notify_step(void)
{
	notifies = 0;
	if (done.batch == 0)
		done.batch = last_batch();
	if (done.batch == 0)
		return;
	set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
					  true, 0, false);
	notifies = cs_notify_batch(&done);
}

/* Whoever fails here has failed at nothing but a bell: no reason to cut again. */
static void
tell_of_cut(void)
{
	if (cs_notify_mode == CS_NOTIFY_OFF || !cs_worker_attempt(notify_step))
		return;
	has_told = true;
	if (notifies < 0)
		pg_atomic_fetch_add_u64(&cs_worker_self->notifies_skipped, 1);
	else
		pg_atomic_fetch_add_u64(&cs_worker_self->notifies, notifies);
}

static void
count_cut(void)
{
	pg_atomic_fetch_add_u64(&cs_worker_self->cuts, 1);
	pg_atomic_fetch_add_u64(&cs_worker_self->changes, done.changes);
	pg_atomic_write_u64(&cs_worker_self->last_cut_at, GetCurrentTimestamp());
}

static void
cut(void)
{
	last_cut_ms = cs_clock_ms();
	done.batch = 0;
	/* a full barrier: who rings from here on rings for the next batch */
	pg_atomic_exchange_u32(&cs_worker_self->rung, 0);
	pgstat_report_activity(STATE_RUNNING, "cutting a batch");
	if (cs_worker_attempt(cut_step))
	{
		pg_atomic_write_u32(&cs_worker_self->errors_in_row, 0);
		if (done.batch != 0)
			count_cut();
		if (done.batch != 0 || !has_told)
			tell_of_cut();
	}
	else
	{
		uint32 before = pg_atomic_fetch_add_u32(&cs_worker_self->errors_in_row, 1);
		int pause_ms = FIRST_PAUSE_MS << Min(before, 7);

		retry_ms = cs_clock_ms() + Min(pause_ms, LONGEST_PAUSE_MS);
		pg_atomic_exchange_u32(&cs_worker_self->rung, 1);
	}
	MemoryContextReset(done_context);
	pgstat_report_activity(STATE_IDLE, NULL);
}

static void
run_sql(const char *sql)
{
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_execute(sql, false, 0);
	PopActiveSnapshot();
	SPI_finish();
}

static void
prune_step(void)
{
	run_sql("SELECT clinic_sync.prune()");
}

static void
repair_step(void)
{
	run_sql("SELECT clinic_sync.repair()");
}

/*
 * What relays do, too, but a server must not need a relay to stay small.  In
 * mode "worker" it also looks for what nobody rang for.
 */
static void
upkeep(void)
{
	pgstat_report_activity(STATE_RUNNING, "pruning the change log");
	(void) cs_worker_attempt(prune_step);
	(void) cs_worker_attempt(repair_step);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (cs_notify_mode == CS_NOTIFY_WORKER)
		pg_atomic_exchange_u32(&cs_worker_self->rung, 1);
}

static void
check_listing(void)
{
	char *name = NULL;
	bool listed;

	StartTransactionCommand();
	name = get_database_name(MyDatabaseId);
	listed = name != NULL && cs_worker_is_listed(name);
	CommitTransactionCommand();
	if (!listed)
		cs_worker_leave();
}

/*
 * The loop.
 */

static void
reload(void)
{
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	check_listing();
}

/* Milliseconds until the next batch may be cut, -1 if nobody has rung. */
static int64
ms_until_cut(void)
{
	int64 due_ms = Max(retry_ms, last_cut_ms + cs_batch_interval_ms);

	if (pg_atomic_read_u32(&cs_worker_self->rung) == 0)
		return -1;
	return Max(due_ms - cs_clock_ms(), 0);
}

static void
sleep_until_rung(int64 upkeep_ms)
{
	int64 sleep_ms = upkeep_ms - cs_clock_ms();
	int64 cut_ms = ms_until_cut();

	/* a wait for a standby may have used up the wake-up of these */
	if (ProcDiePending || ConfigReloadPending)
		return;
	if (cut_ms >= 0)
		sleep_ms = Min(sleep_ms, cut_ms);
	if (sleep_ms > 0)
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, sleep_ms,
						 PG_WAIT_EXTENSION);
}

void
clinic_sync_worker_main(Datum arg)
{
	int64 upkeep_ms;

	cs_worker_start_up();
	done_context =
		AllocSetContextCreate(TopMemoryContext, "clinic_sync cut", ALLOCSET_DEFAULT_SIZES);
	upkeep_ms = cs_clock_ms() + UPKEEP_MS;
	for (;;)
	{
		ResetLatch(MyLatch);
		if (ProcDiePending)
			proc_exit(0); /* between two transactions without a word */
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			reload();
		if (ms_until_cut() == 0)
			cut();
		if (cs_clock_ms() >= upkeep_ms)
		{
			upkeep();
			upkeep_ms = cs_clock_ms() + UPKEEP_MS;
		}
		pgstat_report_stat(false);
		sleep_until_rung(upkeep_ms);
	}
}
