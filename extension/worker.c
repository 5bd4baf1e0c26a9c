/*
 * worker.c
 *		The background worker of one database: cuts batches when commits ring.
 *
 * 1. It takes the bell away, then takes a snapshot: what rings later is in the
 *	  next batch.  A commit that comes alone is cut at once; under a flood there
 *	  are batch_interval milliseconds between two batches.  It starts with a
 *	  batch, since nobody knows what rang before.
 *
 * 2. One transaction cuts the batch and queues its NOTIFYs, so relays are told
 *	  of a batch only when it is committed.  They read it without a proof of
 *	  their own, because this process waits for its commits to be durable, and
 *	  replicated, to the end: an administrator cannot cancel that wait.
 *
 * 3. Where the wait is ended all the same, by SIGTERM or a timeout, the batch
 *	  becomes visible and may not be durable.  The signal's handler says so in
 *	  shared memory before the wait can end, and only the next commit of a batch
 *	  that was waited for takes it back.  A slot begins in doubt, for there may
 *	  have been a crash.
 *
 * 4. An error ends a transaction, not the worker: it is counted, shown, logged
 *	  once in a while, and tried again after a growing pause.  The bell is put
 *	  back.  Only locks can hold it up, and each is waited for a second at most.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "batch.h"
#include "compat.h"
#include "guc.h"
#include "own_tables.h"
#include "worker.h"
#include "worker_slot.h"

#define UPKEEP_MS 10000
#define FIRST_PAUSE_MS 100
#define LONGEST_PAUSE_MS 10000
#define LOG_AGAIN_MS 60000 /* the same error */

PGDLLEXPORT void clinic_sync_worker_main(Datum arg);

static CsWorkerSlot *slot = NULL; /* ours; NULL in every other process */

/* Since the transaction began a signal asked it to end. */
static volatile sig_atomic_t interrupted = false;

/* What the transaction has done, counted when it is committed. */
static struct
{
	int64 batch;
	int64 changes;
	int notifies; /* -1: skipped */
} done;

static TimestampTz last_cut_at = 0; /* begun then */
static TimestampTz retry_at = 0;    /* after an error, not before */

bool
cs_worker_is_self(void)
{
	return slot != NULL;
}

/*
 * Signals.
 */

static void
doubt(void)
{
	interrupted = true;
	pg_atomic_write_u32(&slot->in_doubt, 1);
	pg_memory_barrier();
}

static void
on_terminate(SIGNAL_ARGS)
{
	doubt();
	die(postgres_signal_arg);
}

/* Of those who send SIGINT only our own lock timeout is listened to. */
static void
on_cancel(SIGNAL_ARGS)
{
	if (!get_timeout_indicator(LOCK_TIMEOUT, false))
		return;
	doubt();
	StatementCancelHandler(postgres_signal_arg);
}

/* After visibility: a batch that was waited for proves all before it. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && done.batch != 0 && !interrupted && !ProcDiePending)
		pg_atomic_write_u32(&slot->in_doubt, 0);
}

/*
 * Coming and going.
 */

static void
detach(int code, Datum arg)
{
	LWLockAcquire(cs_workers_lock, LW_EXCLUSIVE);
	slot->process = NULL;
	slot->pid = 0;
	LWLockRelease(cs_workers_lock);
	cs_worker_wake(&cs_workers->launcher);
}

/* False if the slot has changed hands since we were asked for. */
static bool
attach(const CsWorkerOrder *order)
{
	CsWorkerSlot *mine = &cs_workers->slots[order->slot];
	bool fits;

	LWLockAcquire(cs_workers_lock, LW_EXCLUSIVE);
	fits = pg_atomic_read_u32(&mine->database) == order->database &&
		   mine->generation == order->generation && mine->state == CS_WORKER_STARTING &&
		   mine->pid == 0 && mine->barred_until <= GetCurrentTimestamp();
	if (fits)
	{
		slot = mine;
		slot->pid = MyProcPid;
		slot->state = CS_WORKER_RUNNING;
		slot->process = MyProc;
	}
	LWLockRelease(cs_workers_lock);
	return fits;
}

/* There is nothing to do here; whoever needs us asks again. */
static void
leave(void)
{
	LWLockAcquire(cs_workers_lock, LW_EXCLUSIVE);
	slot->leaving = true;
	LWLockRelease(cs_workers_lock);
	proc_exit(0);
}

/* Whatever the cluster, database or role says; our own functions may do otherwise. */
static void
pin_settings(void)
{
	static const char *const settings[][2] = {{"default_transaction_isolation", "read committed"},
											  {"default_transaction_read_only", "off"},
											  {"default_transaction_deferrable", "off"},
											  {"lock_timeout", "1s"},
											  {"statement_timeout", "0"},
											  {"idle_in_transaction_session_timeout", "0"},
											  {"search_path", "pg_catalog, pg_temp"},
											  {"jit", "off"}};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_SESSION);
}

static void
start_up(void)
{
	CsWorkerOrder order;

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(order));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(order.database, InvalidOid, 0);
	pin_settings();

	if (!attach(&order))
		proc_exit(0);
	before_shmem_exit(detach, (Datum) 0);
	RegisterXactCallback(at_transaction_end, NULL);
	pqsignal(SIGTERM, on_terminate);
	pqsignal(SIGINT, on_cancel);
	pg_atomic_exchange_u32(&slot->rung, 1);
}

/*
 * Transactions.
 */

static void
note_error(const ErrorData *error)
{
	static int logged_code = 0;
	static TimestampTz logged_at = 0;
	TimestampTz now = GetCurrentTimestamp();

	cs_worker_note_error(slot, error->message);
	if (error->sqlerrcode == logged_code &&
		!TimestampDifferenceExceeds(logged_at, now, LOG_AGAIN_MS))
		return;
	logged_code = error->sqlerrcode;
	logged_at = now;
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("the worker of clinic_sync failed and will try again: %s", error->message)));
}

/* Run a step in a transaction of its own; false if it failed. */
static bool
attempt(void (*step)(void))
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool succeeded = true;

	interrupted = false;
	memset(&done, 0, sizeof(done));
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		/* anybody may drop it; what it takes to look is in our caches */
		if (!OidIsValid(cs_own_relation("batch_lock")))
			leave();
		step();
		/* a pending timeout must not end the wait for a standby */
		CHECK_FOR_INTERRUPTS();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData *error;

		HOLD_INTERRUPTS();
		disable_all_timeouts(false);
		QueryCancelPending = false;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		AbortCurrentTransaction();
		FlushErrorState();
		note_error(error);
		FreeErrorData(error);
		RESUME_INTERRUPTS();
		succeeded = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return succeeded;
}

static void
cut_step(void)
{
	CsCut cut;

	cs_batch_cut(false, &cut);
	if (cut.batch == 0)
		return;
	done.batch = cut.batch;
	done.changes = cut.changes;
	if (cs_notify_mode != CS_NOTIFY_OFF)
		done.notifies = cs_notify_batch(&cut);
}

static void
count_done(void)
{
	if (done.batch == 0)
		return;
	pg_atomic_fetch_add_u64(&slot->cuts, 1);
	pg_atomic_fetch_add_u64(&slot->changes, done.changes);
	pg_atomic_write_u64(&slot->last_cut_at, GetCurrentTimestamp());
	if (done.notifies < 0)
		pg_atomic_fetch_add_u64(&slot->notifies_skipped, 1);
	else
		pg_atomic_fetch_add_u64(&slot->notifies, done.notifies);
}

static void
cut(void)
{
	last_cut_at = GetCurrentTimestamp();
	/* a full barrier: who rings from here on rings for the next batch */
	pg_atomic_exchange_u32(&slot->rung, 0);
	pgstat_report_activity(STATE_RUNNING, "cutting a batch");
	if (attempt(cut_step))
	{
		pg_atomic_write_u32(&slot->errors_in_row, 0);
		count_done();
	}
	else
	{
		uint32 before = pg_atomic_fetch_add_u32(&slot->errors_in_row, 1);
		int pause_ms = FIRST_PAUSE_MS << Min(before, 7);

		retry_at =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min(pause_ms, LONGEST_PAUSE_MS));
		pg_atomic_exchange_u32(&slot->rung, 1);
	}
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
	(void) attempt(prune_step);
	(void) attempt(repair_step);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (cs_notify_mode == CS_NOTIFY_WORKER)
		pg_atomic_exchange_u32(&slot->rung, 1);
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
		leave();
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
static long
ms_until_cut(void)
{
	TimestampTz due;

	if (pg_atomic_read_u32(&slot->rung) == 0)
		return -1;
	due = Max(retry_at, TimestampTzPlusMilliseconds(last_cut_at, cs_batch_interval_ms));
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due);
}

static void
sleep_until_rung(TimestampTz upkeep_at)
{
	long sleep_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), upkeep_at);
	long cut_ms = ms_until_cut();

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
	TimestampTz upkeep_at;

	start_up();
	upkeep_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), UPKEEP_MS);
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
		if (GetCurrentTimestamp() >= upkeep_at)
		{
			upkeep();
			upkeep_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), UPKEEP_MS);
		}
		pgstat_report_stat(false);
		sleep_until_rung(upkeep_at);
	}
}
