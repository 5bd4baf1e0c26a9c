/* The live reader: cuts batches or reads the worker's, proves them, hands them on. */
#ifndef CLINIC_RELAY_PQ_READER_H
#define CLINIC_RELAY_PQ_READER_H

#include "pq_bell.h"
#include "upstream.h"

struct pq_reader_owner {
	const struct config *config;
	struct upstream_status *status; /* the reader keeps its part up to date */
	const struct upstream_events *events;
	void *ctx;
	/* The live cursor moved, or the feed runs again: catch-ups may go on. */
	void (*on_moved)(void);
	/* What catch-ups took for the live history may not be it any more. */
	void (*on_unsure)(void);
};

cs_status pq_reader_start(const struct pq_reader_owner *owner, struct cs_error *err) CS_CHECKED;
void pq_reader_stop(void);
void pq_reader_ring(const struct pq_bells *bells);
/* A cut round after this one is wanted: now, unless it runs already. */
void pq_reader_want(uint64_t after_round);
/* The server may not be the one it was: the worker's word needs a proof of our own again. */
void pq_reader_distrust(void);
void pq_reader_pause(void);
void pq_reader_resume(void);
/* Nobody answers elsewhere: reconnect if this connection waits for an answer as well. */
void pq_reader_suspect(uint64_t longer_than_ms);

/* Running on the history that *cursor belongs to, between two batches. */
bool pq_reader_is_live(void);
bool pq_reader_in_batch(void);

#endif
