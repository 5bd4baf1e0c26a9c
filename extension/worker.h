/*
 * worker.h
 *		The background worker: batches and notifications outside of commits.
 */
#ifndef CLINIC_SYNC_WORKER_H
#define CLINIC_SYNC_WORKER_H

/* Called once, from _PG_init(). */
extern void cs_worker_init(void);

/* True if the library was preloaded, so that there can be workers. */
extern bool cs_worker_available(void);

/* True if this process is its database's worker. */
extern bool cs_worker_is_self(void);

/*
 * True if a batch that the worker of this database has cut may not be durable,
 * because its wait for a standby was ended.  Read it after the snapshot in
 * which the batch was seen.  False without shared memory.
 */
extern bool cs_worker_in_doubt(void);

/* Something was committed that belongs into a batch. */
extern void cs_worker_ring(void);

#endif /* CLINIC_SYNC_WORKER_H */
