/*
 * notify_send.c
 *		Queueing notifications: for a transaction's changes, or for a batch.
 *
 * The NOTIFYs, one for each event, are queued before the commit, while a
 * failure could still be one of the transaction.  None must be: a payload names
 * at most 16 tables, and when the server's notification queue is over
 * notify_queue_limit full we leave it alone, since a full one fails commits.
 * Relays poll, so all that a missing NOTIFY costs is a second.
 *
 * A payload holds counts only.  Any role may LISTEN.
 */
#include "postgres.h"

#include "commands/async.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"

#include "batch.h"
#include "clock.h"
#include "compat.h"
#include "guc.h"
#include "notify.h"
#include "notify_send.h"
#include "publication_cache.h"

#define CHANNEL "clinic_sync"
#define MAX_TABLES 16          /* named in one payload */
#define MAX_PAYLOAD 7999       /* bytes, PostgreSQL's limit */
#define QUEUE_INTERVAL_MS 1000 /* between two looks at the queue */
#define USUAL_EVENT "data_change_immediate"

static uint64 skipped = 0; /* transactions and batches that left the queue alone */

static const char *const count_names[CS_COUNTS] = {"insert", "update", "delete", "truncate",
												   "schema", "resync", "ack"};

/*
 * Payload.
 */

static void
append_counts(StringInfo payload, const CsTableCounts *counts)
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
append_tables(StringInfo payload, const CsTableCounts *all, const char *event)
{
	int start = payload->len;
	int tables = 0;

	appendStringInfoString(payload, ",\"tables\":{");
	for (const CsTableCounts *counts = all; counts != NULL; counts = counts->next)
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
bool
cs_notify_queue_has_room(void)
{
	static int64 looked_ms = 0;
	static bool has_room = true;
	int64 now_ms = cs_clock_ms();

	if (looked_ms == 0 || now_ms - looked_ms > QUEUE_INTERVAL_MS)
	{
		double used = DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE));
		bool had_room = has_room;

		looked_ms = now_ms;
		has_room = used <= cs_notify_queue_limit;
		if (has_room != had_room)
			log_queue(has_room);
	}
	if (!has_room)
		skipped++;
	return has_room;
}

static bool
event_is_named_before(const CsTableCounts *all, const CsTableCounts *counts)
{
	for (const CsTableCounts *earlier = all; earlier != counts; earlier = earlier->next)
	{
		if (strcmp(earlier->event, counts->event) == 0)
			return true;
	}
	return false;
}

/* One NOTIFY for each event; returns how many. */
int
cs_notify_events(const CsTableCounts *all, int64 batch)
{
	int sent = 0;

	for (const CsTableCounts *counts = all; counts != NULL; counts = counts->next)
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
void
cs_notify_uncounted(int64 batch)
{
	StringInfoData payload;

	begin_payload(&payload, USUAL_EVENT, batch);
	appendStringInfoString(&payload, ",\"tables\":\"*\"");
	send_payload(&payload);
}

/* The entry of a table in a batch's list; tables without a name share one. */
static CsTableCounts *
batch_table(CsTableCounts **all, int32 publication)
{
	char *event;
	NameData table;
	CsTableCounts *entry;

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
	entry = palloc0(sizeof(CsTableCounts));
	entry->event = event;
	entry->table = table;
	entry->next = *all;
	*all = entry;
	return entry;
}

static CsTableCounts *
counts_of_batch(List *batch_counts)
{
	CsTableCounts *all = NULL;
	ListCell *cell;

	foreach (cell, batch_counts)
	{
		CsTableCount *from = lfirst(cell);
		CsTableCounts *to = batch_table(&all, from->publication);

		for (int i = 0; i < CS_COUNTS; i++)
			to->counts[i] += from->counts[i];
	}
	return all;
}

int
cs_notify_batch(const CsCut *cut)
{
	int sent;

	if (!cs_notify_queue_has_room())
		return -1;
	sent = cs_notify_events(counts_of_batch(cut->counts), cut->batch);
	if (sent == 0)
	{
		cs_notify_uncounted(cut->batch);
		sent = 1;
	}
	return sent;
}
