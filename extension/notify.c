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
 * 4. The NOTIFYs, one for each event, are queued before the commit, while a
 *	  failure could still be one of the transaction.  None must be: a payload
 *	  names at most 16 tables, and when the server's notification queue is over
 *	  notify_queue_limit full we leave it alone, since a full one fails commits.
 *	  Relays poll, so all that a missing NOTIFY costs is a second.
 *
 * 5. Nothing is sent at PREPARE TRANSACTION (NOTIFY cannot be prepared); for
 *	  COMMIT PREPARED see worker_utility.c, else the poll finds it.
 *
 * 6. A payload holds counts only.  Any role may LISTEN.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "compat.h"
#include "guc.h"
#include "notify.h"
#include "publication_cache.h"
#include "worker.h"

#define CHANNEL "clinic_sync"
#define MAX_TABLES 16          /* named in one payload */
#define MAX_PAYLOAD 7999       /* bytes, PostgreSQL's limit */
#define QUEUE_INTERVAL_MS 1000 /* between two looks at the queue */
#define USUAL_EVENT "data_change_immediate"

/* Changes of one table at one savepoint level. */
typedef struct TableCounts
{
	struct TableCounts *next;
	char *event;
	NameData table;
	uint64 counts[CS_COUNTS];
} TableCounts;

typedef struct CountLevel
{
	struct CountLevel *outer;
	int nest_level;
	TableCounts *tables; /* the one counted last is first */
} CountLevel;

/* Of the current transaction; in TopTransactionContext, like all it points to. */
static CountLevel *innermost = NULL;

/* The outermost savepoint level at which something was logged uncounted, or 0. */
static int uncounted_level = 0;

static bool ring_at_end = false; /* decided before the commit */

static uint64 skipped = 0; /* transactions that left the queue alone */

static const char *const count_names[CS_COUNTS] = {"insert", "update", "delete", "truncate",
												   "schema", "resync", "ack"};

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
static TableCounts *
take_counts(CountLevel *level, const char *event, const char *table)
{
	TableCounts **place;
	TableCounts *counts;

	for (place = &level->tables; (counts = *place) != NULL; place = &counts->next)
	{
		if (strcmp(NameStr(counts->table), table) == 0 && strcmp(counts->event, event) == 0)
		{
			*place = counts->next;
			return counts;
		}
	}

	counts = MemoryContextAllocZero(TopTransactionContext, sizeof(TableCounts));
	counts->event = MemoryContextStrdup(TopTransactionContext, event);
	namestrcpy(&counts->table, table);
	return counts;
}

static TableCounts *
table_counts(CountLevel *level, const char *event, const char *table)
{
	TableCounts *counts = take_counts(level, event, table);

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
	TableCounts *counts;

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
	for (TableCounts *from = level->tables; from != NULL; from = from->next)
	{
		TableCounts *to = table_counts(outer, from->event, NameStr(from->table));

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
 * Payload.
 */

static void
append_counts(StringInfo payload, const TableCounts *counts)
{
	const char *separator = "";

	escape_json(payload, NameStr(counts->table));
	appendStringInfoString(payload, ":{");
	for (int i = 0; i < CS_COUNTS; i++)
	{
		if (counts->counts[i] == 0)
			continue;
		appendStringInfo(payload, "%s\"%s\":" UINT64_FORMAT, separator, count_names[i],
						 counts->counts[i]);
		separator = ",";
	}
	appendStringInfoChar(payload, '}');
}

/* The tables of an event, or "*" if they are many or their names are long. */
static void
append_tables(StringInfo payload, const TableCounts *all, const char *event)
{
	int start = payload->len;
	int tables = 0;

	appendStringInfoString(payload, ",\"tables\":{");
	for (const TableCounts *counts = all; counts != NULL; counts = counts->next)
	{
		if (strcmp(counts->event, event) != 0)
			continue;
		if (++tables > MAX_TABLES || payload->len > MAX_PAYLOAD / 2)
		{
			payload->len = start;
			appendStringInfoString(payload, ",\"tables\":\"*\"");
			return;
		}
		if (tables > 1)
			appendStringInfoChar(payload, ',');
		append_counts(payload, counts);
	}
	appendStringInfoChar(payload, '}');
}

static void
begin_payload(StringInfo payload, const char *event, int64 batch)
{
	initStringInfo(payload);
	appendStringInfoString(payload, "{\"event\":");
	escape_json(payload, event);
	if (batch != 0)
		appendStringInfo(payload, ",\"batch\":" INT64_FORMAT, batch);
}

static void
send_payload(StringInfo payload)
{
	appendStringInfoChar(payload, '}');
	if (payload->len <= MAX_PAYLOAD)
		Async_Notify(CHANNEL, payload->data);
	pfree(payload->data);
}

/*
 * Sending.
 */

static void
log_queue(bool has_room)
{
	if (has_room)
		ereport(LOG, (errmsg("clinic_sync sends notifications again"),
					  errdetail("This session has skipped " UINT64_FORMAT ".", skipped)));
	else
		ereport(LOG,
				(errmsg("clinic_sync sends no notifications while the queue is over %g %% full",
						cs_notify_queue_limit * 100),
				 errhint("Look for a session that listens and has an open transaction.")));
}

/*
 * Looked up once a second: the queue holds 8 GB and does not fill in one.
 * Counts what is skipped.
 */
static bool
queue_has_room(void)
{
	static TimestampTz looked_at = 0;
	static bool has_room = true;
	TimestampTz now = GetCurrentTimestamp();

	if (looked_at == 0 || TimestampDifferenceExceeds(looked_at, now, QUEUE_INTERVAL_MS))
	{
		double used = DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE));
		bool had_room = has_room;

		looked_at = now;
		has_room = used <= cs_notify_queue_limit;
		if (has_room != had_room)
			log_queue(has_room);
	}
	if (!has_room)
		skipped++;
	return has_room;
}

static bool
event_is_named_before(const TableCounts *all, const TableCounts *counts)
{
	for (const TableCounts *earlier = all; earlier != counts; earlier = earlier->next)
	{
		if (strcmp(earlier->event, counts->event) == 0)
			return true;
	}
	return false;
}

/* One NOTIFY for each event; returns how many. */
static int
notify_events(const TableCounts *all, int64 batch)
{
	int sent = 0;

	for (const TableCounts *counts = all; counts != NULL; counts = counts->next)
	{
		StringInfoData payload;

		if (event_is_named_before(all, counts))
			continue;
		begin_payload(&payload, counts->event, batch);
		append_tables(&payload, all, counts->event);
		send_payload(&payload);
		sent++;
	}
	return sent;
}

/* That something was logged, and no more. */
static void
notify_uncounted(int64 batch)
{
	StringInfoData payload;

	begin_payload(&payload, USUAL_EVENT, batch);
	appendStringInfoString(&payload, ",\"tables\":\"*\"");
	send_payload(&payload);
}

static void
send_notifications(void)
{
	MemoryContext caller;

	if (!queue_has_room())
		return;
	caller = MemoryContextSwitchTo(TopTransactionContext);
	if (innermost != NULL)
		notify_events(innermost->tables, 0);
	if (uncounted_level > 0)
		notify_uncounted(0);
	MemoryContextSwitchTo(caller);
}

/* The entry of a table in a batch's list; tables without a name share one. */
static TableCounts *
batch_table(TableCounts **all, int32 publication)
{
	char *event;
	NameData table;
	TableCounts *entry;

	if (!cs_publication_by_id(publication, &event, &table))
	{
		event = USUAL_EVENT;
		namestrcpy(&table, "*");
	}
	for (entry = *all; entry != NULL; entry = entry->next)
	{
		if (strcmp(NameStr(entry->table), NameStr(table)) == 0 && strcmp(entry->event, event) == 0)
			return entry;
	}
	entry = palloc0(sizeof(TableCounts));
	entry->event = event;
	entry->table = table;
	entry->next = *all;
	*all = entry;
	return entry;
}

static TableCounts *
counts_of_batch(List *batch_counts)
{
	TableCounts *all = NULL;
	ListCell *cell;

	foreach (cell, batch_counts)
	{
		CsTableCount *from = lfirst(cell);
		TableCounts *to = batch_table(&all, from->publication);

		for (int i = 0; i < CS_COUNTS; i++)
			to->counts[i] += from->counts[i];
	}
	return all;
}

int
cs_notify_batch(const CsCut *cut)
{
	int sent;

	if (!queue_has_room())
		return -1;
	sent = notify_events(counts_of_batch(cut->counts), cut->batch);
	if (sent == 0)
	{
		notify_uncounted(cut->batch);
		sent = 1;
	}
	return sent;
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
