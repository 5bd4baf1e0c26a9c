/*
 * worker.h
 *		The background worker: batches and notifications outside of commits.
 */
#ifndef CLINIC_SYNC_WORKER_H
#define CLINIC_SYNC_WORKER_H

/* Called once, from _PG_init(), after the settings are defined. */
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

/*
 * True if this database has a worker, or gets one from now on.  Inside a
 * transaction only.
 */
extern bool cs_worker_serves(void);

/* The same without asking for one: what would cs_worker_serves() say? */
extern bool cs_worker_would_serve(void);

/* Something was committed, and is visible, that belongs into a batch. */
extern void cs_worker_ring(void);

/* clinic_sync.worker_databases has changed. */
extern void cs_worker_list_changed(void);

/* The syntax of clinic_sync.worker_databases. */
extern bool cs_worker_list_is_valid(const char *list);

#endif /* CLINIC_SYNC_WORKER_H */
