/*
 * What a doorbell says.  Any role may ring it with any text, so what it says
 * only chooses where to look: it never makes a batch, and proves none.  Pure.
 */
#ifndef CLINIC_RELAY_PQ_BELL_H
#define CLINIC_RELAY_PQ_BELL_H

#include <stdbool.h>
#include <stdint.h>

/* Doorbells that wait to be answered, all of them as one. */
struct pq_bells {
	bool look;     /* somebody committed; only cutting a batch tells what */
	int64_t batch; /* the highest that was said to be there already; 0: none */
};

/* The batch that a notification names, as the database's worker does; 0: it names none. */
int64_t pq_bell_batch(const char *payload);

/* Does it say that somebody asked for a sync in SQL?  Then no batch has to be looked for. */
bool pq_bell_is_request(const char *payload);

void pq_bells_add(struct pq_bells *b, int64_t batch);
/* Is there anything to do for one who has every batch up to `known`? */
bool pq_bells_wait(const struct pq_bells *b, int64_t known);

#endif
