/*
 * What a device asks for beside the feed, and how it is given that between the
 * feed's entries: proofs (digest_round.c), tables (table_stream.c), requests
 * from SQL (sync_request.c).
 */
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "device.h"
#include "log.h"
#include "metrics.h"
#include "protocol_out.h"

/* ---- in ----------------------------------------------------------------------- */

static void note_holdings(struct device *d, const struct in_request_digest *r)
{
	struct device_holdings *h = &d->holds;

	/* what it repaired while it was not connected to this relay is not known here */
	if (h->said && r->repairs > h->repairs) {
		metric_add(METRIC_REPAIRS, r->repairs - h->repairs);
		log_warning("device \"%s\" held tables that differed and fetched them again: %llu",
			    d->info.device_id, (unsigned long long)(r->repairs - h->repairs));
	}
	if (r->proven && h->answered_at[0])
		memcpy(h->proven_at, h->answered_at, sizeof(h->proven_at));
	h->answered_at[0] = '\0';
	h->said = true;
	h->repairs = r->repairs;
	h->parked = r->parked;
	/* of a whole proof of some tables it may count only those */
	if (!r->whole)
		h->rows = r->rows;
}

static void take_request_digest(struct device *d, struct in_request_digest *r)
{
	note_holdings(d, r);
	for (size_t i = 0; i < r->table_count; i++) {
		const char *table = r->tables[i];

		if (!feed_group_has(d->group, table, strlen(table))) {
			device_say(d, out_table_error("no_such_table",
						      "the device follows no such table", table));
			return;
		}
	}
	digest_ask(d->env->digests, d, r);
}

void device_take_ask(struct device *d, struct in_message *m)
{
	if (!d->known) {
		device_refuse(d, CLOSE_BAD_MESSAGE, "bad_message",
			      "a request came before client_info");
		return;
	}
	if (m->type == IN_REQUEST_FULL_SYNC) {
		table_streams_ask_full(d->env->streams, d, &m->request_full_sync);
		return;
	}
	/* it crossed with a resync_required, which ended everything that was asked */
	if (!d->group)
		return;
	if (m->type == IN_REQUEST_DIGEST)
		take_request_digest(d, &m->request_digest);
	else
		table_streams_ask_table(d->env->streams, d, &m->request_table_sync);
}

void device_drop_asks(struct device *d)
{
	digest_forget(d->env->digests, d);
	table_streams_forget_tables(d->env->streams, d);
}

/* ---- out ---------------------------------------------------------------------- */

/*
 * By its cursor; or it stands at the end of the ring, and the batches between had
 * nothing for it.
 */
bool device_was_given(const struct device *d, const struct cursor *at)
{
	const struct feed_group *g = d->group;

	if (!g)
		return false;
	if (d->cursor.batch >= at->batch)
		return true;
	return d->state == DEVICE_LIVE && !d->current && d->seq == g->next_seq &&
	       !feed_gathers(g) && g->builder.step.to.batch >= at->batch;
}

void device_proof_given(struct device *d)
{
	clock_utc_text(d->holds.answered_at);
}

struct frame *device_next_answer(struct device *d)
{
	struct frame *f;

	/* not before `ready` */
	if (!d->group || d->ready_due)
		return NULL;
	f = digest_next(d->env->digests, d);
	if (f)
		return f;
	return sync_requests_next(d->env->requests, d->info.device_id, &d->sync_request,
				  clock_monotonic_ms());
}

struct frame *device_next_piece(struct device *d)
{
	struct frame *f = d->pieces_rest ? NULL : table_streams_next(d->env->streams, d);

	d->after_you = f != NULL;
	return f;
}
