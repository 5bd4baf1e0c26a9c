/*
 * Filling the ring before the first device is answered: how much of the past
 * to read.
 *
 * A relay that restarts has an empty ring, and a thousand devices that come
 * back would read the log a thousand times.  So it begins at an older cursor
 * than the last one and reads what devices are likely to miss, once for all.
 * The server is asked for a number of changes; how many bytes they are shows
 * when they come.  Too many, and the oldest would fall out of the ring again:
 * then it begins anew, nearer.  Pure.
 */
#ifndef CLINIC_RELAY_PQ_WARM_H
#define CLINIC_RELAY_PQ_WARM_H

#include <stdbool.h>
#include <stdint.h>

#include "upstream.h"

struct pq_warm {
	int64_t most;       /* changes to ask for; 0: no more filling in this life */
	uint64_t bytes_max; /* what they may take in the ring */
	uint64_t changes, bytes;
	uint64_t began_ms;
	bool running;
};

void pq_warm_init(struct pq_warm *w, const struct config *config);
void pq_warm_begin(struct pq_warm *w);
void pq_warm_count(struct pq_warm *w, const struct upstream_change *c);
/* Over its bytes: then w->most is what fits by what was seen so far, and is less than before. */
bool pq_warm_overflows(struct pq_warm *w);

#endif
