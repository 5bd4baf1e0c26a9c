/*
 * worker_process.c
 *		A worker as a process: its slot, its signals, its transactions.
 *
 * 1. Relays read what a worker has cut without a proof of their own, because
 *	  this process waits for its commits to be durable, and replicated, to the
 *	  end: an administrator cannot cancel that wait.
 *
 * 2. Where the wait is ended all the same, by SIGTERM or a timeout, the batch
 *	  becomes visible and may not be durable.  The signal's handler says so in
 *	  shared memory before the wait can end, and only the next commit of a batch
 *	  that was waited for takes it back.  A slot begins in doubt, for there may
 *	  have been a crash.
 *
 * 3. An error ends a transaction, not the worker: it is counted, shown, and
 *	  logged once in a while.  Only locks can hold it up, and each is waited for
 *	  a second at most.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/timeout.h"

#include "clock.h"
#include "compat.h"
#include "own_tables.h"
#include "worker.h"
#include "worker_slot.h"

#define LOG_AGAIN_MS 60000 /* the same error */

CsWorkerSlot *cs_worker_self = NULL;

/* Since the transaction began a signal asked it to end. */
static volatile sig_atomic_t interrupted = false;

/* The transaction has cut a batch: its commit, if waited for, proves all before. */
static bool proves = false;

bool
cs_worker_is_self(void)
{
	return cs_worker_self != NULL;
}

/*
 * Signals.
 */

static void
doubt(void)
{
	interrupted = true;
	pg_atomic_write_u32(&cs_worker_self->in_doubt, 1);
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
	if (event == XACT_EVENT_COMMIT && proves && !interrupted && !ProcDiePending)
		pg_atomic_write_u32(&cs_worker_self->in_doubt, 0);
}

/*
 * Coming and going.
 */

static void
detach(int code, Datum arg)
{
	LWLockAcquire(cs_workers_lock, LW_EXCLUSIVE);
	cs_worker_self->process = NULL;
	cs_worker_self->pid = 0;
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
		   mine->pid == 0 && mine->barred_until_ms <= cs_clock_ms();
	if (fits)
	{
		cs_worker_self = mine;
		cs_worker_self->pid = MyProcPid;
		cs_worker_self->state = CS_WORKER_RUNNING;
		cs_worker_self->process = MyProc;
	}
	LWLockRelease(cs_workers_lock);
	return fits;
}

/* There is nothing to do here; whoever needs us asks again. */
void
cs_worker_leave(void)
{
	LWLockAcquire(cs_workers_lock, LW_EXCLUSIVE);
	cs_worker_self->leaving = true;
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
											  {"transaction_timeout", "0"},
											  {"idle_in_transaction_session_timeout", "0"},
											  {"search_path", "pg_catalog, pg_temp"},
											  {"jit", "off"}};

	for (int i = 0; i < lengthof(settings); i++)
	{
		/* not all servers know all of them */
		if (GetConfigOption(settings[i][0], true, false) == NULL)
			continue;
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_SESSION);
	}
}

void
cs_worker_start_up(void)
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
	pg_atomic_exchange_u32(&cs_worker_self->rung, 1);
}

/*
 * Transactions.
 */

void
cs_worker_cuts(void)
{
	proves = true;
}

static void
note_error(const ErrorData *error)
{
	static int logged_code = 0;
	static int64 logged_ms = 0;
	int64 now_ms = cs_clock_ms();

	cs_worker_note_error(cs_worker_self, error->message);
	if (error->sqlerrcode == logged_code && now_ms - logged_ms < LOG_AGAIN_MS)
		return;
	logged_code = error->sqlerrcode;
	logged_ms = now_ms;
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("the worker of clinic_sync failed and will try again: %s", error->message)));
}

/*
 * Is the extension here, to the end of the transaction?  If it were dropped in
 * between, the names that we call might be somebody else's.
 */
static bool
hold_extension(void)
{
	Oid table = cs_own_relation("batch_lock");

	if (!cs_extension_is_here())
		return false;
	LockRelationOid(table, AccessShareLock);
	return cs_own_relation("batch_lock") == table && cs_extension_is_here();
}

/* Run a step in a transaction of its own; false if it failed. */
bool
cs_worker_attempt(void (*step)(void))
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool succeeded = true;

	interrupted = false;
	proves = false;
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		if (!hold_extension())
			cs_worker_leave();
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
