/*
 * worker_shared.c
 *		The shared memory of the workers: one slot per database.
 *
 * 1. A backend that logs a change finds its database's slot, or takes a free
 *	  one and wakes the launcher, which starts a worker.  If there is none to be
 *	  had it does as in notify mode "commit".
 *
 * 2. The bell is one bit.  A backend sets it once its commit is visible, the
 *	  worker takes it away before it takes its snapshot; both are full barriers,
 *	  so whoever finds it set already is in a snapshot still to come.  Only who
 *	  sets it first sets the latch too.  A commit pays for one exchange.
 *
 * 3. A slot's database, process and doubt are written under the lock and read
 *	  without: its memory and a PGPROC stay what they are for the life of the
 *	  server, and a latch set for the wrong process is a wake-up for nothing.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "storage/shmem.h"
#include "utils/ascii.h"
#include "utils/varlena.h"

#include "compat.h"
#include "guc.h"
#include "worker.h"
#include "worker_slot.h"

CsWorkerShared *cs_workers = NULL;
LWLock *cs_workers_lock = NULL;

static shmem_startup_hook_type next_startup = NULL;
static CsWorkerSlot *my_slot = NULL; /* found last; check its database */

/* Whether worker_databases names ours: looked up once per change of it. */
static enum { LISTED_UNKNOWN, LISTED, NOT_LISTED } my_listing = LISTED_UNKNOWN;

/*
 * Shared memory.
 */

static Size
shared_bytes(void)
{
	return add_size(offsetof(CsWorkerShared, slots), mul_size(cs_worker_max, sizeof(CsWorkerSlot)));
}

CS_SHMEM_REQUEST(request_shared_memory)
{
	CS_SHMEM_REQUEST_NEXT(request_shared_memory);
	RequestAddinShmemSpace(shared_bytes());
	RequestNamedLWLockTranche("clinic_sync", 1);
}

static void
init_slot(CsWorkerSlot *slot)
{
	memset(slot, 0, sizeof(*slot));
	pg_atomic_init_u32(&slot->database, InvalidOid);
	pg_atomic_init_u32(&slot->in_doubt, 1);
	pg_atomic_init_u32(&slot->rung, 0);
	pg_atomic_init_u64(&slot->cuts, 0);
	pg_atomic_init_u64(&slot->changes, 0);
	pg_atomic_init_u64(&slot->notifies, 0);
	pg_atomic_init_u64(&slot->notifies_skipped, 0);
	pg_atomic_init_u64(&slot->errors, 0);
	pg_atomic_init_u64(&slot->last_cut_at, 0);
	pg_atomic_init_u32(&slot->errors_in_row, 0);
}

/* A free slot for another database; field by field, since others may be reading it. */
static void
take_slot(CsWorkerSlot *slot, Oid database)
{
	pg_atomic_write_u32(&slot->in_doubt, 1);
	slot->generation++;
	slot->state = CS_WORKER_WANTED;
	slot->leaving = false;
	slot->failures = 0;
	slot->started_at = 0;
	slot->started_ms = slot->retry_ms = slot->barred_until_ms = 0;
	slot->last_error[0] = '\0';
	pg_atomic_write_u32(&slot->rung, 0);
	pg_atomic_write_u64(&slot->cuts, 0);
	pg_atomic_write_u64(&slot->changes, 0);
	pg_atomic_write_u64(&slot->notifies, 0);
	pg_atomic_write_u64(&slot->notifies_skipped, 0);
	pg_atomic_write_u64(&slot->errors, 0);
	pg_atomic_write_u64(&slot->last_cut_at, 0);
	pg_atomic_write_u32(&slot->errors_in_row, 0);
	pg_write_barrier(); /* whoever finds the database finds the doubt, too */
	pg_atomic_write_u32(&slot->database, database);
}

static void
make_shared_memory(void)
{
	bool found;

	if (next_startup)
		next_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	cs_workers = ShmemInitStruct("clinic_sync workers", shared_bytes(), &found);
	if (!found)
	{
		cs_workers->launcher = NULL;
		cs_workers->nslots = cs_worker_max;
		for (int i = 0; i < cs_workers->nslots; i++)
			init_slot(&cs_workers->slots[i]);
	}
	cs_workers_lock = &GetNamedLWLockTranche("clinic_sync")->lock;
	LWLockRelease(AddinShmemInitLock);
}

void
cs_worker_init(void)
{
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	CS_SHMEM_REQUEST_INSTALL(request_shared_memory);
	next_startup = shmem_startup_hook;
	shmem_startup_hook = make_shared_memory;
	cs_launcher_register();
	cs_utility_hook_install();
}

bool
cs_worker_available(void)
{
	return cs_workers != NULL && IsUnderPostmaster;
}

/*
 * clinic_sync.worker_databases
 */

/* The list's names, or false if it is none; *raw is what they point into. */
static bool
split_list(const char *list, char **raw, List **names)
{
	*raw = pstrdup(list);
	*names = NIL;
	return SplitIdentifierString(*raw, ',', names);
}

bool
cs_worker_list_is_valid(const char *list)
{
	char *raw;
	List *names;
	bool valid = split_list(list, &raw, &names);

	list_free(names);
	pfree(raw);
	return valid;
}

bool
cs_worker_is_listed(const char *database)
{
	char *raw;
	List *names;
	ListCell *cell;
	bool listed = false;

	if (split_list(cs_worker_databases, &raw, &names))
	{
		foreach (cell, names)
			listed =
				listed || strcmp(lfirst(cell), "*") == 0 || strcmp(lfirst(cell), database) == 0;
	}
	list_free(names);
	pfree(raw);
	return listed;
}

void
cs_worker_list_changed(void)
{
	my_listing = LISTED_UNKNOWN;
}

static bool
we_are_listed(void)
{
	if (my_listing == LISTED_UNKNOWN)
	{
		char *name = get_database_name(MyDatabaseId);

		my_listing = name != NULL && cs_worker_is_listed(name) ? LISTED : NOT_LISTED;
	}
	return my_listing == LISTED;
}

/*
 * Slots.
 */

CsWorkerSlot *
cs_worker_slot(Oid database)
{
	for (int i = 0; i < cs_workers->nslots; i++)
	{
		CsWorkerSlot *slot = &cs_workers->slots[i];

		if (pg_atomic_read_u32(&slot->database) == database)
			return slot;
	}
	return NULL;
}

CsWorkerSlot *
cs_worker_claim(Oid database)
{
	CsWorkerSlot *slot;

	/* without the lock while all are taken: every commit would wait for it */
	if (cs_worker_slot(database) == NULL && cs_worker_slot(InvalidOid) == NULL)
		return NULL;
	LWLockAcquire(cs_workers_lock, LW_EXCLUSIVE);
	slot = cs_worker_slot(database);
	if (slot == NULL && (slot = cs_worker_slot(InvalidOid)) != NULL)
		take_slot(slot, database);
	LWLockRelease(cs_workers_lock);
	cs_worker_wake(&cs_workers->launcher);
	return slot;
}

/* The slot of our database, remembered; NULL if there is none. */
static inline CsWorkerSlot *
find_my_slot(void)
{
	if (unlikely(my_slot == NULL || pg_atomic_read_u32(&my_slot->database) != MyDatabaseId))
		my_slot = cs_worker_slot(MyDatabaseId);
	return my_slot;
}

bool
cs_worker_serves(void)
{
	if (!cs_worker_available())
		return false;
	if (likely(find_my_slot() != NULL))
		return true;
	if (we_are_listed())
		my_slot = cs_worker_claim(MyDatabaseId);
	return my_slot != NULL;
}

bool
cs_worker_would_serve(void)
{
	if (!cs_worker_available())
		return false;
	return find_my_slot() != NULL || (we_are_listed() && cs_worker_slot(InvalidOid) != NULL);
}

bool
cs_worker_in_doubt(void)
{
	CsWorkerSlot *slot;

	if (!cs_worker_available())
		return false;

	/*
	 * Without a slot there is nobody who could have cleared the doubt.  And a
	 * worker ends its wait when the postmaster dies, with no signal before.
	 */
	slot = find_my_slot();
	return slot == NULL || pg_atomic_read_u32(&slot->in_doubt) != 0 || !PostmasterIsAliveInternal();
}

void
cs_worker_wake(PGPROC *volatile *process)
{
	PGPROC *sleeper = *process;

	if (sleeper != NULL)
		SetLatch(&sleeper->procLatch);
}

/*
 * Called when the commit is done: must not fail.  A worker may have left since
 * the transaction asked for one, because it could not see the extension that
 * this very transaction has created.
 */
void
cs_worker_ring(void)
{
	CsWorkerSlot *slot = find_my_slot();

	if (slot == NULL && my_listing == LISTED)
		slot = my_slot = cs_worker_claim(MyDatabaseId);
	if (slot != NULL && pg_atomic_exchange_u32(&slot->rung, 1) == 0)
		cs_worker_wake(&slot->process);
}

void
cs_worker_note_error(CsWorkerSlot *slot, const char *message)
{
	pg_atomic_fetch_add_u64(&slot->errors, 1);
	LWLockAcquire(cs_workers_lock, LW_EXCLUSIVE);
	ascii_safe_strlcpy(slot->last_error, message, sizeof(slot->last_error));
	LWLockRelease(cs_workers_lock);
}
