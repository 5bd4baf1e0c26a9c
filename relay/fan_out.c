/* Walks over the devices of groups; see fan_out.h. */
#include "fan_out.h"

#include "device.h"

#define SLICE_US 1000
/* Devices between two looks at the clock. */
#define STRIDE 16

/* The walk that began first. */
static struct feed_group *oldest_walk(const struct fan_out *o)
{
	struct feed_group *oldest = NULL;

	for (struct feed_group *g = feed_groups(o->feed); g; g = g->next)
		if (g->walk.running && (!oldest || g->walk.number < oldest->walk.number))
			oldest = g;
	return oldest;
}

/* False: time is up. */
static bool walk_on(const struct fan_out *o, struct feed_group *g, uint64_t until_us)
{
	for (unsigned n = 1; g->walk.next; n++) {
		struct device *d = g->walk.next;

		g->walk.next = d->group_next;
		device_entry_came(d);
		if (n % STRIDE == 0 && o->now_us() >= until_us)
			return false;
	}
	return true;
}

static void walk_end(struct fan_out *o, struct feed_group *g)
{
	bool again = g->walk.again;

	g->walk.running = false;
	g->walk.again = false;
	/* what gathered makes the next entry, which begins the next walk */
	feed_walked(o->feed, g);
	if (again)
		fan_out_begin(o, g);
}

void fan_out_begin(struct fan_out *o, struct feed_group *g)
{
	if (g->walk.running) {
		/* those behind will see it, those before must be visited once more */
		g->walk.again |= g->walk.next != g->devices;
		return;
	}
	g->walk.running = true;
	g->walk.next = g->devices;
	g->walk.number = ++o->walks;
	if (!o->going && !o->next_asked)
		fan_out_go(o);
}

void fan_out_go(struct fan_out *o)
{
	uint64_t until_us = o->now_us() + SLICE_US;
	struct feed_group *g;

	o->next_asked = false;
	o->going = true;
	while ((g = oldest_walk(o)) && walk_on(o, g, until_us)) {
		walk_end(o, g);
		if (o->now_us() >= until_us) {
			g = oldest_walk(o);
			break;
		}
	}
	o->going = false;
	if (g) {
		o->next_asked = true;
		o->next_turn(o->ctx);
	}
}
