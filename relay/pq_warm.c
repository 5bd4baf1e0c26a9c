/* How much of the past the ring is filled with; see pq_warm.h. */
#include "pq_warm.h"

#include <string.h>

/* The words around a change in a frame. */
#define CHANGE_FRAME_BYTES 96

void pq_warm_init(struct pq_warm *w, const struct config *config)
{
	memset(w, 0, sizeof(*w));
	w->most = config->ring_warm_changes;
	/* the other half is for what comes while the devices do */
	w->bytes_max = (uint64_t)config->ring_bytes / 2;
}

void pq_warm_begin(struct pq_warm *w)
{
	if (!w->running)
		w->began_ms = clock_monotonic_ms();
	w->running = true;
	w->changes = w->bytes = 0;
}

void pq_warm_count(struct pq_warm *w, const struct upstream_change *c)
{
	w->changes++;
	w->bytes += CHANGE_FRAME_BYTES + c->event.len + c->table.len + c->operation.len +
		    c->key.len + c->data.len + c->origin.len;
}

bool pq_warm_overflows(struct pq_warm *w)
{
	int64_t fits;

	if (w->bytes <= w->bytes_max)
		return false;
	fits = (int64_t)((double)w->changes * ((double)w->bytes_max / (double)w->bytes));
	w->most = fits < w->most / 2 ? fits : w->most / 2;
	return true;
}
