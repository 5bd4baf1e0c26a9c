/* What devices have seen; see load.h. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock_ns.h"
#include "load.h"

#define GAPS_SHOWN 10

static void time_change(struct load *l, const struct change *c, int64_t now)
{
	struct stamp *s = stamps_at(&l->stamps, c->seq);

	histogram_add(&l->from_sent, now - c->sent_ns);
	if (!s)
		return;
	/* the writer has not yet seen its commit return: there before it was asked for */
	histogram_add(&l->from_returned, s->returned_ns ? now - s->returned_ns : 0);
	if (!s->first_ns)
		s->first_ns = now;
	s->last_ns = now;
}

static void take_change(struct device *d, const struct change *c, int64_t now)
{
	struct load *l = d->load;
	uint64_t at = c->seq - l->first;
	uint64_t bit = UINT64_C(1) << at % 64;

	if (c->seq < l->first || at >= l->most) {
		l->counts.strays++;
		return;
	}
	if (d->seen[at / 64] & bit) {
		l->counts.doubles++;
		return;
	}
	d->seen[at / 64] |= bit;
	l->counts.deliveries++;
	time_change(l, c, now);
	if (++d->got == l->target && !d->paused) {
		l->level++;
		if (l->resuming)
			histogram_add(&l->level_after, now - l->resume_ns);
	}
}

static void stage(struct device *d, const struct message *m)
{
	if (d->staged_count + m->change_count > d->staged_cap) {
		d->staged_cap = d->staged_count + m->change_count;
		d->staged = reallocarray(d->staged, d->staged_cap, sizeof(*d->staged));
		if (!d->staged)
			err(1, "staged changes");
	}
	memcpy(d->staged + d->staged_count, m->changes, m->change_count * sizeof(*d->staged));
	d->staged_count += m->change_count;
}

static void take_all(struct device *d, const struct change *changes, size_t count, int64_t now)
{
	for (size_t i = 0; i < count; i++)
		take_change(d, &changes[i], now);
	if (count)
		d->load->last_change_ns = now;
}

/* A frame or heartbeat: only what follows from the cursor counts, a batch only when it is whole. */
static void take_step(struct device *d, const struct message *m, int64_t now)
{
	if (strcmp(m->from, d->cursor) != 0 && d->load->counts.gaps++ < GAPS_SHOWN)
		warnx("device %d at %s: from %s to %s, %zu changes", d->number, d->cursor, m->from,
		      m->to, m->change_count);
	if (m->first_part)
		d->staged_count = 0;
	if (m->kind == MESSAGE_FRAME && !(m->first_part && m->last_part))
		stage(d, m);
	if (!m->last_part)
		return;
	memcpy(d->cursor, m->to, sizeof(d->cursor));
	if (m->kind != MESSAGE_FRAME)
		return;
	if (m->first_part)
		take_all(d, m->changes, m->change_count, now);
	else
		take_all(d, d->staged, d->staged_count, now);
	d->staged_count = 0;
}

void load_take(struct device *d, const struct message *m, int64_t now)
{
	struct load *l = d->load;

	l->counts.messages++;
	switch (m->kind) {
	case MESSAGE_FRAME:
	case MESSAGE_HEARTBEAT:
		take_step(d, m, now);
		break;
	case MESSAGE_BARE:
		take_all(d, m->changes, m->change_count, now);
		break;
	case MESSAGE_CONNECTED:
		l->spread_ms = m->spread_ms;
		break;
	case MESSAGE_LAGGED:
		l->counts.lagged++;
		break;
	case MESSAGE_DIGEST:
		l->counts.digests++;
		break;
	case MESSAGE_DIGEST_FAILED:
		l->counts.digests_failed++;
		break;
	case MESSAGE_UNAVAILABLE:
		l->counts.unavailable++;
		break;
	case MESSAGE_RESYNC:
		l->counts.resyncs++;
		warnx("device %d: %.*s", d->number, (int)m->len, m->bytes);
		break;
	case MESSAGE_ERROR:
		l->counts.errors++;
		warnx("device %d: %.*s", d->number, (int)m->len, m->bytes);
		break;
	case MESSAGE_BROKEN:
		l->counts.broken++;
		break;
	case MESSAGE_READY:
	case MESSAGE_OTHER:
		break;
	}
}

void load_set_target(struct load *l, uint64_t target)
{
	l->target = target;
	l->level = 0;
	for (int i = 0; i < l->device_count; i++)
		l->level += !l->devices[i].paused && l->devices[i].got >= target;
}

int load_readers(const struct load *l)
{
	int readers = 0;

	for (int i = 0; i < l->device_count; i++)
		readers += !l->devices[i].paused;
	return readers;
}

uint64_t load_missing(const struct load *l)
{
	uint64_t missing = 0;

	for (int i = 0; i < l->device_count; i++) {
		const struct device *d = &l->devices[i];

		if (!d->paused && d->got < l->target)
			missing += l->target - d->got;
	}
	return missing;
}

bool load_failed(const struct load *l)
{
	const struct load_counts *c = &l->counts;

	return c->doubles || c->strays || c->gaps || c->broken || c->lost_links || c->resyncs ||
	       c->errors;
}

void load_reset(struct load *l)
{
	l->counts.messages = l->counts.bytes = l->counts.deliveries = 0;
	l->counts.lagged = l->counts.retries = l->counts.unavailable = 0;
	l->counts.asked = l->counts.digests = l->counts.digests_failed = 0;
	histogram_reset(&l->from_returned);
	histogram_reset(&l->from_sent);
	histogram_reset(&l->ready_after);
	histogram_reset(&l->level_after);
}

static void print_counts(const struct load_counts *c)
{
	const struct {
		const char *name;
		uint64_t value;
	} shown[] = {{"deliveries", c->deliveries},
		     {"messages", c->messages},
		     {"bytes", c->bytes},
		     {"doubles", c->doubles},
		     {"strays", c->strays},
		     {"gaps", c->gaps},
		     {"broken", c->broken},
		     {"lost_links", c->lost_links},
		     {"resyncs", c->resyncs},
		     {"errors", c->errors},
		     {"lagged", c->lagged},
		     {"retries", c->retries},
		     {"unavailable", c->unavailable},
		     {"asked", c->asked},
		     {"digests", c->digests},
		     {"digests_failed", c->digests_failed}};

	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		printf(",\"%s\":%llu", shown[i].name, (unsigned long long)shown[i].value);
}

void load_print(const struct load *l, const char *event)
{
	const struct {
		const char *name;
		const struct histogram *h;
	} times[] = {{"returned", &l->from_returned},
		     {"sent", &l->from_sent},
		     {"ready_after", &l->ready_after},
		     {"level_after", &l->level_after}};

	printf("{\"event\":\"%s\",\"devices\":%d,\"following\":%d,\"level\":%d,\"target\":%llu,"
	       "\"missing\":%llu,\"last_change_ns\":%lld,\"last_ready_ns\":%lld,\"spread_ms\":%lld",
	       event, l->device_count, l->following, l->level, (unsigned long long)l->target,
	       (unsigned long long)load_missing(l), (long long)l->last_change_ns,
	       (long long)l->last_ready_ns, (long long)l->spread_ms);
	print_counts(&l->counts);
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		printf(",\"%s\":", times[i].name);
		histogram_print(times[i].h, stdout);
	}
	puts("}");
	fflush(stdout);
}
