/*
 * The cursor that a relay begins with; see pq_round.h.
 *
 * It is an older one than the last, so that the ring is filled with what
 * devices that come back have missed (pq_warm.h); only then does the relay say
 * that it is connected.
 */
#include "pq_round.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

static void start_at(const struct cursor *cursor)
{
	reader.feed.cursor = *cursor;
	reader.owner.status->cursor = *cursor;
	reader.owner.events->on_start(reader.owner.ctx, cursor);
	/* who asked while there was no cursor waits for one, and no batch may come for long */
	reader.owner.on_moved();
}

/* The ring is filled: nobody was told yet that the database is there. */
void adopt_end(void)
{
	struct upstream_status *status = reader.owner.status;

	reader.warm.running = false;
	status->warm_changes = reader.warm.changes;
	status->warm_ms = clock_monotonic_ms() - reader.warm.began_ms;
	log_info("%llu changes of the past read into memory in %llu ms",
		 (unsigned long long)status->warm_changes, (unsigned long long)status->warm_ms);
	/* what waits in the builders must be in the rings before devices look there */
	reader.owner.events->on_poll_end(reader.owner.ctx);
}

/* Then devices that come back read the log, as well as they may. */
static void note_no_warm_cursor(const struct pq_answer *answer)
{
	if (strcmp(answer->sqlstate, "42883") == 0)
		log_info("database (live): this extension is older than the relay: memory begins "
			 "empty");
	else
		log_warning("database (live): warm_cursor(): %s (%s)", answer->message,
			    answer->sqlstate);
}

static void on_warm_cursor(void *ctx, const struct pq_answer *answer)
{
	struct cursor from = reader.target, older;

	(void)ctx;
	reader_note_answer(answer);
	if (!answer->ok)
		note_no_warm_cursor(answer);
	else if (PQntuples(answer->result) == 1 && pq_field_cursor(answer->result, 0, &older) &&
		 older.batch < from.batch)
		from = older;
	start_at(&from);
	if (!reader.link)
		return;
	if (from.batch == reader.target.batch) {
		round_idle();
		return;
	}
	pq_warm_begin(&reader.warm);
	round_page();
}

/* First cursor of this relay, or the first after its history was lost. */
void adopt_begin(void)
{
	char most[32];
	const char *params[] = {most};

	if (reader.warm.most <= 0) {
		reader.warm.running = false;
		start_at(&reader.target);
		if (reader.link)
			round_idle();
		return;
	}
	snprintf(most, sizeof(most), "%lld", (long long)reader.warm.most);
	round_ask("SELECT clinic_sync.warm_cursor($1)", 1, params, on_warm_cursor);
}

/* What was read of the past is of no use, what is to come does not depend on it. */
void adopt_without_past(const char *reason)
{
	log_warning("the past cannot be read into memory: %s", reason);
	reader.warm.running = false;
	reader.warm.most = 0;
	start_at(&reader.target);
	if (reader.link)
		round_idle();
}
