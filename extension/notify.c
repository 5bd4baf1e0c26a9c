/*
 * notify.c
 *		Telling relays that the change log grew.
 *
 * 1. In mode "commit" a transaction counts its changes, per savepoint level, so
 *	  that a rollback takes its counts with it.  A level exists only if something
 *	  was counted in it.
 *
 * 2. In mode "worker" it only knows that it has logged something, and rings the
 *	  worker once its commit is visible; the worker counts and notifies with the
 *	  batch.  In mode "off" it does neither.
 *
 * 3. The mode at the end of the transaction decides.  What was logged while
 *	  another mode did not count is told without counts.
 *
 * 4. Nothing is sent at PREPARE TRANSACTION (NOTIFY cannot be prepared); for
 *	  COMMIT PREPARED see worker_utility.c, else the poll finds it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "guc.h"
#include "notify.h"
#include "notify_send.h"
#include "worker.h"

typedef struct CountLevel
{
	struct CountLevel *outer;
	int nest_level;
	CsTableCounts *tables; /* the one counted last is first */
} CountLevel;

/* Of the current transaction; in TopTransactionContext, like all it points to. */
static CountLevel *innermost = NULL;

/* The outermost savepoint level at which something was logged uncounted, or 0. */
static int uncounted_level = 0;

static bool ring_at_end = false; /* decided before the commit */

/*
 * The mode.
 */

/* "worker" where there can be none is "commit", and the session is told. */
CsNotifyMode
cs_notify_effective(void)
{
	static bool warned = false;

	if (cs_notify_mode != CS_NOTIFY_WORKER)
		return cs_notify_mode;
	if (likely(cs_worker_serves()))
		return CS_NOTIFY_WORKER;
	if (!cs_worker_available() && !warned)
	{
		warned = true;
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("clinic_sync.notify = worker needs clinic_sync to be preloaded"),
				 errdetail("It acts as \"commit\"."),
				 errhint("Set shared_preload_libraries = 'clinic_sync' and restart the server.")));
	}
	return CS_NOTIFY_COMMIT;
}

PG_FUNCTION_INFO_V1(clinic_sync_notify_mode);

/*
 * notify_mode() RETURNS text
 *		The mode in force; asks for no worker, gives no warning.
 */
Datum
clinic_sync_notify_mode(PG_FUNCTION_ARGS)
{
	if (cs_notify_mode == CS_NOTIFY_OFF)
		PG_RETURN_TEXT_P(cstring_to_text("off"));
	if (cs_notify_mode == CS_NOTIFY_WORKER && cs_worker_would_serve())
		PG_RETURN_TEXT_P(cstring_to_text("worker"));
	PG_RETURN_TEXT_P(cstring_to_text("commit"));
}

/*
 * Counting.
 */

static CountLevel *
current_level(void)
{
	int nest_level = GetCurrentTransactionNestLevel();
	CountLevel *level;

	if (innermost != NULL && innermost->nest_level == nest_level)
		return innermost;
	level = MemoryContextAllocZero(TopTransactionContext, sizeof(CountLevel));
	level->outer = innermost;
	level->nest_level = nest_level;
	innermost = level;
	return level;
}

/* Take the table's counts out of the list, so that the caller puts them first. */
static CsTableCounts *
take_counts(CountLevel *level, const char *event, const char *table)
{
	CsTableCounts **place;
	CsTableCounts *counts;

	for (place = &level->tables; (counts = *place) != NULL; place = &counts->next)
	{
		if (strcmp(NameStr(counts->table), table) == 0 && strcmp(counts->event, event) == 0)
		{
			*place = counts->next;
			return counts;
		}
	}

	counts = MemoryContextAllocZero(TopTransactionContext, sizeof(CsTableCounts));
	counts->event = MemoryContextStrdup(TopTransactionContext, event);
	namestrcpy(&counts->table, table);
	return counts;
}

static CsTableCounts *
table_counts(CountLevel *level, const char *event, const char *table)
{
	CsTableCounts *counts = take_counts(level, event, table);

	counts->next = level->tables;
	level->tables = counts;
	return counts;
}

void
cs_notify_count(const char *event, const char *table, CsCount what)
{
	if (cs_notify_effective() != CS_NOTIFY_COMMIT)
	{
		int nest_level = GetCurrentTransactionNestLevel();

		if (uncounted_level == 0 || nest_level < uncounted_level)
			uncounted_level = nest_level;
		return;
	}
	table_counts(current_level(), event, table)->counts[what]++;
}

/*
 * Freed at once: a transaction may use any number of savepoints.
 */
static void
free_innermost(void)
{
	CountLevel *level = innermost;
	CsTableCounts *counts;

	innermost = level->outer;
	while ((counts = level->tables) != NULL)
	{
		level->tables = counts->next;
		pfree(counts->event);
		pfree(counts);
	}
	pfree(level);
}

/* A savepoint was released: its counts become its parent's. */
static void
merge_into_outer(CountLevel *level)
{
	CountLevel *outer = level->outer;

	if (outer == NULL || outer->nest_level < level->nest_level - 1)
	{
		level->nest_level--;
		return;
	}
	for (CsTableCounts *from = level->tables; from != NULL; from = from->next)
	{
		CsTableCounts *to = table_counts(outer, from->event, NameStr(from->table));

		for (int i = 0; i < CS_COUNTS; i++)
			to->counts[i] += from->counts[i];
	}
	free_innermost();
}

/* Nothing logged further out: the level has it all, for its parent or for nobody. */
static void
uncounted_at_savepoint_end(SubXactEvent event, int nest_level)
{
	if (uncounted_level < nest_level)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		uncounted_level = nest_level - 1;
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		uncounted_level = 0;
}

static void
at_savepoint_end(SubXactEvent event, SubTransactionId self, SubTransactionId parent, void *arg)
{
	int nest_level = GetCurrentTransactionNestLevel();

	uncounted_at_savepoint_end(event, nest_level);
	if (innermost == NULL || innermost->nest_level < nest_level)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		merge_into_outer(innermost);
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		free_innermost();
}

/*
 * The end of a transaction.
 */

static void
send_notifications(void)
{
	MemoryContext caller;

	if (!cs_notify_queue_has_room())
		return;
	caller = MemoryContextSwitchTo(TopTransactionContext);
	if (innermost != NULL)
		cs_notify_events(innermost->tables, 0);
	if (uncounted_level > 0)
		cs_notify_uncounted(0);
	MemoryContextSwitchTo(caller);
}

/* Before the commit, while catalogs may be read and errors raised. */
static void
before_commit(void)
{
	CsNotifyMode mode;

	if (innermost == NULL && uncounted_level == 0)
		return;
	mode = cs_notify_effective();
	ring_at_end = (mode == CS_NOTIFY_WORKER);
	if (mode == CS_NOTIFY_COMMIT)
		send_notifications();
}

/* The memory goes with the transaction. */
static void
forget_transaction(void)
{
	innermost = NULL;
	uncounted_level = 0;
	ring_at_end = false;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			before_commit();
			break;
		case XACT_EVENT_COMMIT:
			if (ring_at_end)
				cs_worker_ring();
			forget_transaction();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget_transaction();
			break;
		default:
			break;
	}
}

void
cs_notify_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_savepoint_end, NULL);
}
