/*
 * Holding tables for a job (ACCESS SHARE, as by any reader), so that it neither
 * stops nor breaks what the clinic does.
 *
 * Whoever waits for a lock while holding another can be part of a deadlock, of
 * which PostgreSQL may make the other session the victim, and keeps those
 * waiting who want what it holds.  So no lock is waited for: the server takes
 * each only if it is free (clinic_sync.hold_tables()), else all go back.
 */
#ifndef CLINIC_RELAY_PQ_HOLD_H
#define CLINIC_RELAY_PQ_HOLD_H

#include <stdbool.h>

#include "dynbuf.h"
#include "pq_cut.h"
#include "status.h"

/* All that are to be held.  *held false: one is locked; the transaction must be given up. */
cs_status pq_hold(struct pq_cut *c, bool *held, struct cs_error *err) CS_CHECKED;
/* Are the tables held still those that the snapshot of the transaction saw? */
cs_status pq_hold_check(struct pq_cut *c, bool *is_whole, struct cs_error *err) CS_CHECKED;

/*
 * One more, until pq_hold_release(); in a transaction.  *held false: it is locked, or
 * is not what the snapshot saw.  Release it in either case.
 */
cs_status pq_hold_briefly(struct pq_cut *c, const struct pq_table *t, bool *held,
			  struct cs_error *err) CS_CHECKED;
cs_status pq_hold_release(struct pq_cut *c, struct cs_error *err) CS_CHECKED;

/* A pause before the next attempt, while nothing is held; its milliseconds. */
int pq_hold_pause(void);
/* No more attempts. */
cs_status pq_hold_failed(struct cs_error *err) CS_CHECKED;

/* text as an element of an SQL array; NULL: an SQL NULL. */
void pq_array_add(struct dynbuf *array, const char *text);

#endif
