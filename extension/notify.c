/*
 * notify.c
 *		Counting what a transaction changed, and telling relays at its commit.
 *
 * 1. Counts are kept per savepoint level, so that a rollback takes its counts
 *	  with it.  A level exists only if something was counted in it.
 *
 * 2. The NOTIFYs, one for each event, are queued before the commit, while a
 *	  failure could still be one of the transaction.  None must be: a payload
 *	  names at most 16 tables, and when the server's notification queue is a
 *	  quarter full we leave it alone, since a full one fails commits.  Relays
 *	  poll, so all that a missing NOTIFY costs is a second.
 *
 * 3. Nothing is sent at PREPARE TRANSACTION (NOTIFY cannot be prepared); the
 *	  poll finds what COMMIT PREPARED made visible.
 *
 * 4. A payload holds counts only.  Any role may LISTEN.
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

#include "compat.h"
#include "guc.h"
#include "notify.h"

#define CHANNEL "clinic_sync"
#define MAX_TABLES 16          /* named in one payload */
#define MAX_PAYLOAD 7999       /* bytes, PostgreSQL's limit */
#define QUEUE_LIMIT 0.25       /* share of the queue that may be in use */
#define QUEUE_INTERVAL_MS 1000 /* between two looks at the queue */

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

/* In TopTransactionContext, like all it points to. */
static CountLevel *innermost = NULL;

static uint64 skipped = 0; /* transactions that left the queue alone */

static const char *const count_names[CS_COUNTS] = {"insert", "update", "delete", "truncate",
												   "schema", "resync", "ack"};

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

static void
at_savepoint_end(SubXactEvent event, SubTransactionId self, SubTransactionId parent, void *arg)
{
	if (innermost == NULL || innermost->nest_level < GetCurrentTransactionNestLevel())
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
append_tables(StringInfo payload, const char *event)
{
	int start = payload->len;
	int tables = 0;

	appendStringInfoString(payload, ",\"tables\":{");
	for (TableCounts *counts = innermost->tables; counts != NULL; counts = counts->next)
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
notify_event(const char *event)
{
	StringInfoData payload;

	initStringInfo(&payload);
	appendStringInfoString(&payload, "{\"event\":");
	escape_json(&payload, event);
	append_tables(&payload, event);
	appendStringInfoChar(&payload, '}');

	if (payload.len <= MAX_PAYLOAD)
		Async_Notify(CHANNEL, payload.data);
	pfree(payload.data);
}

/*
 * Sending.
 */

/* Looked up once a second: the queue holds 8 GB and does not fill in one. */
static bool
queue_has_room(void)
{
	static TimestampTz looked_at = 0;
	static bool has_room = true;
	TimestampTz now = GetCurrentTimestamp();

	if (looked_at != 0 && !TimestampDifferenceExceeds(looked_at, now, QUEUE_INTERVAL_MS))
		return has_room;
	looked_at = now;
	has_room = DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)) <= QUEUE_LIMIT;
	if (!has_room)
		ereport(LOG,
				(errmsg("clinic_sync sends no notifications while the queue is over 25 %% full"),
				 errdetail("This session has skipped " UINT64_FORMAT " so far.", skipped),
				 errhint("Look for a session that listens and has an open transaction.")));
	return has_room;
}

static bool
event_is_named_before(const TableCounts *counts)
{
	for (TableCounts *earlier = innermost->tables; earlier != counts; earlier = earlier->next)
	{
		if (strcmp(earlier->event, counts->event) == 0)
			return true;
	}
	return false;
}

static void
send_notifications(void)
{
	MemoryContext caller;

	if (innermost == NULL || cs_notify_mode == CS_NOTIFY_OFF)
		return;
	if (!queue_has_room())
	{
		skipped++;
		return;
	}

	caller = MemoryContextSwitchTo(TopTransactionContext);
	for (TableCounts *counts = innermost->tables; counts != NULL; counts = counts->next)
	{
		if (!event_is_named_before(counts))
			notify_event(counts->event);
	}
	MemoryContextSwitchTo(caller);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			send_notifications();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			innermost = NULL; /* the memory goes with the transaction */
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
