/*
 * How the feed reaches a device: from the ring, from the log, or halted; see
 * device.h.
 *
 * What a device costs in memory is bounded here: in the ring nothing but its
 * place, from the log device_queue_bytes.
 */
#include "device.h"

#include <stdlib.h>

#include "log.h"
#include "metrics.h"
#include "protocol_out.h"

/* How long before the log is asked again after a failure. */
#define RETRY_AFTER_MS 1000
/* Entries that are counted for the log when a device resumes: thousands may come back at once. */
#define COUNTED_MOST 1000

/* ---- the queue from the log ----------------------------------------------------- */

static struct feed_entry *queue_pop(struct device *d)
{
	struct entry_link *link = d->queue;
	struct feed_entry *e;

	if (!link)
		return NULL;
	e = link->entry;
	d->queue = link->next;
	if (!d->queue)
		d->queue_end = &d->queue;
	d->queue_bytes -= feed_entry_memory(e);
	free(link);
	return e;
}

void device_halt(struct device *d)
{
	struct feed_entry *e;

	d->env->catch_up_cancel(d->env->ctx, d);
	while ((e = queue_pop(d)))
		feed_entry_unref(e);
	feed_entry_unref(d->current);
	d->current = NULL;
	d->from_log = false;
	d->log_ended = false;
	d->ready_due = false;
	d->retry_ms = 0;
}

/* ---- where to go on -------------------------------------------------------------- */

static void log_synced(const struct device *d, const struct table_counts *counts,
		       const char *at_least)
{
	for (size_t i = 0; i < counts->len; i++)
		log_info("Synced %s%llu records from table %s (device \"%s\")", at_least,
			 (unsigned long long)counts->items[i].rows, counts->items[i].table,
			 d->info.device_id);
}

static void log_synced_from_ring(const struct device *d)
{
	struct table_counts total = {0};
	uint64_t end = d->group->next_seq;
	bool all = end - d->seq <= COUNTED_MOST;

	if (d->current && !table_counts_add_all(&total, &d->current->counts))
		return;
	if (!all)
		end = d->seq + COUNTED_MOST;
	for (uint64_t seq = d->seq; seq < end; seq++)
		if (!table_counts_add_all(&total, &feed_at(d->group, seq)->counts))
			break;
	log_synced(d, &total, all ? "" : "at least ");
	table_counts_free(&total);
}

void device_cursor_good(struct device *d)
{
	if (!d->ready_due)
		return;
	d->ready_due = false;
	d->env->admitted(d->env->ctx, d);
	device_say(d, out_ready(&d->cursor, d->group->tables, d->group->table_count));
}

static void follow_log(struct device *d, uint64_t now_ms)
{
	bool ready_due = d->ready_due;

	device_halt(d);
	d->ready_due = ready_due;
	d->from_log = true;
	if (!d->env->catch_up(d->env->ctx, d))
		d->retry_ms = now_ms + RETRY_AFTER_MS;
}

void device_follow(struct device *d, uint64_t now_ms)
{
	d->state = DEVICE_CATCH_UP;
	d->retry_ms = 0;
	/* looking may make an entry of what waits, which comes to all who follow the ring: not to
	 * this device, which has no place in it yet */
	d->from_log = true;
	if (!feed_resume(d->group, &d->cursor, &d->seq, &d->current)) {
		follow_log(d, now_ms);
		return;
	}
	metric_add(METRIC_RESUMES_FROM_MEMORY, 1);
	d->current_message = 0;
	d->from_log = false;
	log_synced_from_ring(d);
	device_cursor_good(d);
	if (d->session)
		d->env->wake(d->env->ctx, d);
}

/* ---- the next message -------------------------------------------------------------- */

static struct frame *next_of_current(struct device *d)
{
	struct feed_entry *e = d->current;
	struct frame *f = feed_entry_message(e, d->current_message++);

	if (!f) {
		log_error("cannot read a part of a large batch back: closing device \"%s\"",
			  d->info.device_id);
		device_halt(d);
		d->state = DEVICE_REFUSED;
		d->close_code = CLOSE_INTERNAL;
		return NULL;
	}
	if (d->current_message == feed_entry_messages(e)) {
		d->cursor = e->step.to;
		d->current = NULL;
		feed_entry_unref(e);
	}
	metric_add(METRIC_FRAMES_SENT, 1);
	return f;
}

static bool take_entry(struct device *d, struct feed_entry *e)
{
	d->current = e;
	d->current_message = 0;
	return true;
}

static bool is_proven(const struct device *d, uint64_t now_ms)
{
	return d->env->database_proven(d->env->ctx, now_ms);
}

/* Has the relay had all that was committed when the device asked? */
static bool is_level(const struct device *d, uint64_t now_ms)
{
	return is_proven(d, now_ms) && d->env->database_level(d->env->ctx, d->asked_round);
}

static void say_database_gone(struct device *d)
{
	device_say(d, out_error("database_unavailable",
				"the relay cannot reach PostgreSQL; it goes on by itself"));
}

/*
 * The device has everything the relay has: say so, or it would have to wait for
 * the next heartbeat to know.  But not while the database may have more that the
 * relay has not seen: what was committed before the device asked, or anything
 * while the database is out of reach.  Then it is said when that is over.
 */
static void become_live(struct device *d, uint64_t now_ms)
{
	struct feed_step step = d->group->builder.step;
	bool is_new = d->state != DEVICE_LIVE;
	struct feed_entry *e;

	if (is_new)
		d->level_due = true;
	d->state = DEVICE_LIVE;
	/* what gathers comes after the poll and the walk under way, and then it is level */
	if (!d->level_due || feed_gathers(d->group))
		return;
	if (!is_level(d, now_ms)) {
		if (is_new && !is_proven(d, now_ms))
			say_database_gone(d);
		return;
	}
	d->level_due = false;
	step.from = d->cursor;
	step.to = d->cursor;
	e = feed_entry_of_heartbeat(&step);
	device_say(d, e ? frame_ref(e->frame) : NULL);
	feed_entry_unref(e);
}

static bool take_from_ring(struct device *d, uint64_t now_ms)
{
	struct feed_entry *e = feed_at(d->group, d->seq);

	if (e) {
		d->seq++;
		return take_entry(d, feed_entry_ref(e));
	}
	if (d->seq < d->group->first) {
		/* trimmed away under it */
		d->state = DEVICE_CATCH_UP;
		follow_log(d, now_ms);
		return false;
	}
	become_live(d, now_ms);
	return false;
}

static bool take_from_log(struct device *d, uint64_t now_ms)
{
	struct feed_entry *e = queue_pop(d);

	if (!e && d->log_ended) {
		d->from_log = false;
		d->log_ended = false;
		return take_from_ring(d, now_ms);
	}
	if (!e)
		return false;
	if (d->queue_bytes <= (uint64_t)d->env->config->device_queue_bytes / 2)
		d->env->catch_up_resume(d->env->ctx, d);
	return take_entry(d, e);
}

/* Make `current` the next entry; false: nothing for now. */
static bool take_next(struct device *d, uint64_t now_ms)
{
	switch (d->state) {
	case DEVICE_LAGGED:
		/* we are asked, so the socket has drained; what follow finds may come at once */
		device_follow(d, now_ms);
		return d->control_len == 0 && (d->current || take_next(d, now_ms));
	case DEVICE_CATCH_UP:
		if (d->from_log)
			return take_from_log(d, now_ms);
		return take_from_ring(d, now_ms);
	case DEVICE_LIVE:
		return take_from_ring(d, now_ms);
	default:
		return false;
	}
}

static struct frame *next_control(struct device *d)
{
	struct frame *f;

	if (!d->control_len)
		return NULL;
	f = d->control[d->control_first];
	d->control_first = (d->control_first + 1) % CONTROL_MOST;
	d->control_len--;
	return f;
}

struct frame *device_next(struct device *d, uint64_t now_ms)
{
	struct frame *f = next_control(d);

	d->after_you = false;
	if (f)
		return f;
	if (d->close_code)
		return NULL;
	f = device_next_answer(d);
	if (f)
		return f;
	if (d->current || take_next(d, now_ms))
		return next_of_current(d);
	/* what looking for an entry gave rise to; it may be at the feed's end now */
	f = next_control(d);
	if (!f && !d->close_code)
		f = device_next_answer(d);
	if (!f && !d->close_code)
		f = device_next_piece(d);
	return f;
}

/* ---- from the feed -------------------------------------------------------------------- */

uint64_t device_behind(const struct device *d)
{
	if (d->state == DEVICE_CATCH_UP && d->from_log)
		return d->queue_bytes;
	if (d->state == DEVICE_CATCH_UP || d->state == DEVICE_LIVE || d->state == DEVICE_LAGGED)
		return feed_behind(d->group, d->seq);
	return 0;
}

/*
 * Only a device that was level can fall behind; one that catches up is behind
 * by nature, and costs nothing here.
 */
void device_entry_came(struct device *d)
{
	if (d->state == DEVICE_LIVE &&
	    device_behind(d) > (uint64_t)d->env->config->device_queue_bytes) {
		d->state = DEVICE_LAGGED;
		metric_add(METRIC_LAGGED, 1);
		log_info("device \"%s\" lags by %llu bytes", d->info.device_id,
			 (unsigned long long)device_behind(d));
		device_say(d, out_lagged(device_behind(d)));
		return;
	}
	if (d->state == DEVICE_LIVE || (d->state == DEVICE_CATCH_UP && !d->from_log))
		d->env->wake(d->env->ctx, d);
}

/* While memory is filled with the past, a device may be past what comes in. */
void device_tables_changed(struct device *d, const struct cursor *at, const char *tables,
			   uint64_t now_ms)
{
	if (d->cursor.batch < at->batch)
		device_resync(d, "table_changed", at, tables, now_ms);
}

void device_idle(struct device *d, struct frame *heartbeat, uint64_t now_ms)
{
	if (d->state != DEVICE_LIVE || d->current || d->seq != d->group->next_seq)
		return;
	/* who has not been told yet that it is level would take this for it */
	if (!d->level_due && is_proven(d, now_ms))
		device_say(d, frame_ref(heartbeat));
	else
		d->level_due = true;
}

void device_database_gone(struct device *d)
{
	if (!d->known)
		return;
	d->level_due = d->state == DEVICE_LIVE;
	d->asked_round = d->env->database_round(d->env->ctx);
	/* what it waits for costs nothing until the database is back; let those behind it look */
	if (d->admitted)
		d->env->admitted(d->env->ctx, d);
	say_database_gone(d);
}

void device_database_back(struct device *d, uint64_t now_ms)
{
	bool ready_due = d->ready_due;

	if (d->state != DEVICE_CATCH_UP || !d->from_log || d->queue || d->current ||
	    !feed_holds(d->group, &d->cursor))
		return;
	device_halt(d);
	d->ready_due = ready_due;
	device_follow(d, now_ms);
}

void device_look_for_proof(struct device *d, uint64_t now_ms)
{
	if (d->state == DEVICE_LIVE && d->level_due && is_level(d, now_ms))
		d->env->wake(d->env->ctx, d);
}

/* ---- from the log ------------------------------------------------------------------------ */

void device_catch_up_entry(struct device *d, struct feed_entry *e)
{
	struct entry_link *link = malloc(sizeof(*link));

	if (!link) {
		feed_entry_unref(e);
		device_halt(d);
		d->state = DEVICE_REFUSED;
		d->close_code = CLOSE_INTERNAL;
		return;
	}
	link->entry = e;
	link->next = NULL;
	*d->queue_end = link;
	d->queue_end = &link->next;
	d->queue_bytes += feed_entry_memory(e);
	d->env->wake(d->env->ctx, d);
}

bool device_catch_up_full(const struct device *d)
{
	return d->queue_bytes > (uint64_t)d->env->config->device_queue_bytes;
}

void device_catch_up_level(struct device *d, const struct table_counts *total, uint64_t now_ms)
{
	log_synced(d, total, "");
	if (!feed_find(d->group, feed_cursor(d->env->feed), &d->seq)) {
		device_catch_up_failed(d, now_ms);
		return;
	}
	d->log_ended = true;
	d->env->wake(d->env->ctx, d);
}

void device_catch_up_failed(struct device *d, uint64_t now_ms)
{
	d->retry_ms = now_ms + RETRY_AFTER_MS;
}
