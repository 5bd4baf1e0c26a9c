/*
 * Requests for proof: who asks for what, and who may have the answer; see
 * digest_round.h.
 */
#include "digest_round.h"

#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "metrics.h"
#include "protocol_out.h"

/* ---- lists ------------------------------------------------------------------------ */

void ask_link(struct digest_ask **list, struct digest_ask *a)
{
	a->list = list;
	a->prev = NULL;
	a->next = *list;
	if (a->next)
		a->next->prev = a;
	*list = a;
}

static void ask_unlink(struct digest_rounds *r, struct digest_ask *a)
{
	if (!a->list)
		return;
	if (r->walk == a)
		r->walk = a->next;
	if (a->list == &r->line || a->list == &r->resting)
		r->line_count--;
	if (a->prev)
		a->prev->next = a->next;
	else
		*a->list = a->next;
	if (a->next)
		a->next->prev = a->prev;
	a->list = NULL;
	a->prev = a->next = NULL;
}

static void drop_request(struct digest_ask *a)
{
	if (!a->request)
		return;
	in_digest_free(a->request);
	free(a->request);
	a->request = NULL;
}

/* Its next whole proof comes after as long as this one took, also if it gave it up. */
static void begin_rest(const struct digest_rounds *r, struct digest_ask *a)
{
	uint64_t now_ms = r->env->now_ms(), took_ms = now_ms - a->began_ms;

	if (!a->began_ms)
		return;
	a->rest_ms = now_ms + (took_ms < PAUSE_MOST_MS ? took_ms : PAUSE_MOST_MS);
	a->began_ms = 0;
}

void ask_end(struct digest_rounds *r, struct digest_ask *a)
{
	begin_rest(r, a);
	ask_unlink(r, a);
	drop_request(a);
	frame_unref(a->held);
	a->held = NULL;
	a->class = NULL;
	a->id = 0;
}

void ask_fail(struct digest_rounds *r, struct digest_ask *a)
{
	struct device *d = a->device;
	uint64_t id = a->id;
	bool whole = a == &d->asks[1];

	ask_end(r, a);
	metric_add(METRIC_DIGESTS_FAILED, 1);
	device_say(d, out_digest_failed(id, whole ? "tables" : "slice"));
}

/* ---- classes ----------------------------------------------------------------------- */

/* Room for one more class: the one nobody has asked for the longest goes. */
static bool make_room(struct digest_rounds *r)
{
	struct digest_class **oldest = NULL, *gone;

	if (r->class_count < CLASSES_MOST)
		return true;
	for (struct digest_class **at = &r->classes; *at; at = &(*at)->next)
		if (!(*at)->asks && *at != r->round.class && !(*at)->under_way &&
		    (!oldest || (*at)->used_ms < (*oldest)->used_ms))
			oldest = at;
	if (!oldest)
		return false;
	gone = *oldest;
	*oldest = gone->next;
	r->class_count--;
	class_free(gone);
	return true;
}

/* *full: there is no room for another class. */
static struct digest_class *find_class(struct digest_rounds *r, const struct digest_ask *a,
				       const struct in_request_digest *request, bool *full)
{
	const struct feed_group *g = a->device->group;
	char **tables = request->tables ? request->tables : g->tables;
	size_t count = request->tables ? request->table_count : g->table_count;
	char *key = class_key(request, tables, count);
	struct digest_class *c;

	*full = false;
	for (c = r->classes; key && c && strcmp(c->key, key) != 0; c = c->next)
		;
	if (c || !key) {
		free(key);
		return c;
	}
	*full = !make_room(r);
	if (*full) {
		free(key);
		return NULL;
	}
	c = class_new(key, request, tables, count);
	if (!c)
		return NULL;
	c->due_ms = r->env->now_ms();
	/* classes may come and go: not every one of them begins with the same table */
	c->begin_at = r->classes_made++;
	c->next = r->classes;
	r->classes = c;
	r->class_count++;
	return c;
}

/* ---- asking --------------------------------------------------------------------------- */

static bool line_up(struct digest_rounds *r, struct digest_ask **list, struct digest_ask *a,
		    struct in_request_digest *request)
{
	if (r->line_count >= CLASS_WAITS_MOST)
		return false;
	a->request = malloc(sizeof(*a->request));
	if (!a->request)
		return false;
	*a->request = *request;
	memset(request, 0, sizeof(*request));
	ask_link(list, a);
	r->line_count++;
	return true;
}

static void join_class(struct digest_rounds *r, struct digest_ask *a, struct digest_class *c,
		       const struct in_request_digest *request)
{
	c->used_ms = r->env->now_ms();
	/* among whole proofs who asked first is first */
	if (c->whole && !c->asks && c->due_ms < c->used_ms)
		c->due_ms = c->used_ms;
	class_hear_counts(c, request);
	a->class = c;
	ask_link(&c->asks, a);
}

uint64_t ask_rested_ms(const struct digest_rounds *r)
{
	uint64_t first_ms = UINT64_MAX;

	for (const struct digest_ask *a = r->resting; a; a = a->next)
		if (a->rest_ms < first_ms)
			first_ms = a->rest_ms;
	return first_ms;
}

static void end_rests(struct digest_rounds *r)
{
	for (r->walk = r->resting; r->walk;) {
		struct digest_ask *a = r->walk;

		r->walk = a->next;
		if (a->rest_ms > r->env->now_ms())
			continue;
		ask_unlink(r, a);
		ask_link(&r->line, a);
		r->line_count++;
	}
}

void ask_serve_line(struct digest_rounds *r)
{
	end_rests(r);
	while (r->line) {
		struct digest_ask *a = r->line;
		struct digest_class *c;
		bool full;

		while (a->next)
			a = a->next; /* the one who came first */
		c = find_class(r, a, a->request, &full);
		if (full)
			return;
		ask_unlink(r, a);
		if (c)
			join_class(r, a, c, a->request);
		else
			ask_fail(r, a);
		drop_request(a);
	}
}

void digest_ask(struct digest_rounds *r, struct device *d, struct in_request_digest *request)
{
	struct digest_ask *a = &d->asks[request->whole];
	struct digest_class *c;
	bool full;

	if (!r)
		return;
	metric_add(METRIC_DIGEST_ASKS, 1);
	ask_end(r, a);
	a->device = d;
	if (!request->whole && !r->env->config->sync_interval_s) {
		ask_fail(r, a);
		return;
	}
	if (request->whole && a->rest_ms > r->env->now_ms()) {
		if (!line_up(r, &r->resting, a, request))
			ask_fail(r, a);
		r->env->turn_in(r->env->ctx, 0);
		return;
	}
	c = find_class(r, a, request, &full);
	if (c)
		join_class(r, a, c, request);
	else if (!full || !line_up(r, &r->line, a, request))
		ask_fail(r, a);
	/* not now: others may ask in the same moment */
	r->env->turn_in(r->env->ctx, 0);
}

void digest_forget(struct digest_rounds *r, struct device *d)
{
	if (!r)
		return;
	for (size_t i = 0; i < 2; i++)
		ask_end(r, &d->asks[i]);
}

/* ---- answers ---------------------------------------------------------------------------- */

struct frame *digest_next(struct digest_rounds *r, struct device *d)
{
	for (size_t i = 0; i < 2; i++) {
		struct digest_ask *a = &d->asks[i];
		struct frame *f = a->held;

		if (!f || !device_was_given(d, &a->until))
			continue;
		a->held = NULL;
		if (a->class) {
			/* the next round of the proof may begin, if it waited for this device */
			r->env->turn_in(r->env->ctx, 0);
		} else {
			ask_end(r, a);
			device_proof_given(d);
		}
		return f;
	}
	return NULL;
}

void ask_look(struct digest_rounds *r, struct digest_ask *list)
{
	for (r->walk = list; r->walk;) {
		struct digest_ask *a = r->walk;

		r->walk = a->next;
		if (a->held && device_was_given(a->device, &a->until))
			a->device->env->wake(a->device->env->ctx, a->device);
	}
}

void digest_rounds_look(struct digest_rounds *r)
{
	ask_look(r, r->held);
	for (struct digest_class *c = r->classes; c; c = c->next)
		if (c->under_way)
			ask_look(r, c->asks);
}
