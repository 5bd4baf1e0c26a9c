/*
 * worker_slot.h
 *		What backends, workers and the launcher share; for worker*.c only.
 */
#ifndef CLINIC_SYNC_WORKER_SLOT_H
#define CLINIC_SYNC_WORKER_SLOT_H

#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#define CS_WORKER_ERROR_BYTES 160

typedef enum CsWorkerState
{
	CS_WORKER_FREE,     /* nobody's slot */
	CS_WORKER_WANTED,   /* the launcher starts it when it is due */
	CS_WORKER_STARTING, /* asked of the postmaster */
	CS_WORKER_RUNNING
} CsWorkerState;

/*
 * One database's worker.  What every committing backend reads, what every one
 * writes, and the rest lie on cache lines of their own.
 */
typedef struct CsWorkerSlot
{
	/* Written under the lock, read without. */
	pg_atomic_uint32 database; /* its Oid; InvalidOid while the slot is free */
	PGPROC *volatile process;  /* whose latch to set; NULL while there is none */
	pg_atomic_uint32 in_doubt; /* see worker.c */

	/* 1: something was committed since the worker last began to look */
	pg_attribute_aligned(PG_CACHE_LINE_SIZE) pg_atomic_uint32 rung;

	/* Under the lock. */
	pg_attribute_aligned(PG_CACHE_LINE_SIZE) CsWorkerState state;
	uint32 generation;      /* tells a worker that was started late */
	int pid;                /* 0 while there is no process */
	bool leaving;           /* it ended because it is not wanted here */
	int failures;           /* ends one after the other */
	TimestampTz started_at; /* of the last start */
	int64 started_ms;       /* the same by clock.h, like these: */
	int64 retry_ms;         /* no start before */
	int64 barred_until_ms;  /* a command needs the database to itself */
	char last_error[CS_WORKER_ERROR_BYTES];

	/* Counted by the worker, read by anybody. */
	pg_atomic_uint64 cuts;
	pg_atomic_uint64 changes;
	pg_atomic_uint64 notifies;
	pg_atomic_uint64 notifies_skipped;
	pg_atomic_uint64 errors;
	pg_atomic_uint64 last_cut_at;   /* a TimestampTz; 0: none yet */
	pg_atomic_uint32 errors_in_row; /* attempts to cut since the last good one */
} CsWorkerSlot;

typedef struct CsWorkerShared
{
	PGPROC *volatile launcher;
	int nslots;
	CsWorkerSlot slots[FLEXIBLE_ARRAY_MEMBER];
} CsWorkerShared;

/* What the launcher tells a new worker, in bgw_extra. */
typedef struct CsWorkerOrder
{
	Oid database;
	int slot;
	uint32 generation;
} CsWorkerOrder;

/*
 * worker_shared.c
 */

extern CsWorkerShared *cs_workers; /* NULL if the library was not preloaded */
extern LWLock *cs_workers_lock;

/* The slot of a database, or NULL; without the lock. */
extern CsWorkerSlot *cs_worker_slot(Oid database);

/* The same, taking a free one if there is none; NULL if all are taken. */
extern CsWorkerSlot *cs_worker_claim(Oid database);

/* True if clinic_sync.worker_databases names this database. */
extern bool cs_worker_is_listed(const char *database);

/* Set a process's latch, if there is a process. */
extern void cs_worker_wake(PGPROC *volatile *process);

/* Keep the message where the view shows it. */
extern void cs_worker_note_error(CsWorkerSlot *slot, const char *message);

/*
 * worker_process.c
 */

/* Our slot in a worker, NULL in every other process. */
extern CsWorkerSlot *cs_worker_self;

/* Connect to the database and take the slot; does not return if that cannot be. */
extern void cs_worker_start_up(void);

/* End for good: the database has no use for a worker.  Who has asks again. */
extern void cs_worker_leave(void);

/* Run a step in a transaction of its own; false if it failed. */
extern bool cs_worker_attempt(void (*step)(void));

/* Said by a step that cuts a batch. */
extern void cs_worker_cuts(void);

/*
 * worker_launcher.c, worker_utility.c
 */

extern void cs_launcher_register(void);
extern void cs_utility_hook_install(void);

#endif /* CLINIC_SYNC_WORKER_SLOT_H */
