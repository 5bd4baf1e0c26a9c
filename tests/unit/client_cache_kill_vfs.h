/*
 * A VFS that kills its process at the nth thing it does to a file: a write, a
 * truncation, a sync, a removal.  It lies over SQLite's own, and does not
 * wait for the disk: who is killed, and not switched off, needs no disk.
 */
#ifndef CLIENT_CACHE_KILL_VFS_H
#define CLIENT_CACHE_KILL_VFS_H

#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

static struct {
	sqlite3_vfs vfs;
	sqlite3_vfs *real;
	int count; /* so far */
	int at;    /* kill then; 0: never, only count */
} killer;

struct killer_file {
	sqlite3_file base;
	sqlite3_file *real; /* behind it */
};

static inline void killer_step(void)
{
	if (++killer.count == killer.at)
		kill(getpid(), SIGKILL);
}

static inline sqlite3_file *killer_real(sqlite3_file *f)
{
	return ((struct killer_file *)f)->real;
}

static int killer_close(sqlite3_file *f)
{
	return killer_real(f)->pMethods->xClose(killer_real(f));
}

static int killer_read(sqlite3_file *f, void *to, int len, sqlite3_int64 at)
{
	return killer_real(f)->pMethods->xRead(killer_real(f), to, len, at);
}

static int killer_write(sqlite3_file *f, const void *from, int len, sqlite3_int64 at)
{
	killer_step();
	return killer_real(f)->pMethods->xWrite(killer_real(f), from, len, at);
}

static int killer_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	killer_step();
	return killer_real(f)->pMethods->xTruncate(killer_real(f), size);
}

static int killer_sync(sqlite3_file *f, int flags)
{
	(void)f;
	(void)flags;
	killer_step();
	return SQLITE_OK;
}

static int killer_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return killer_real(f)->pMethods->xFileSize(killer_real(f), size);
}

static int killer_lock(sqlite3_file *f, int level)
{
	return killer_real(f)->pMethods->xLock(killer_real(f), level);
}

static int killer_unlock(sqlite3_file *f, int level)
{
	return killer_real(f)->pMethods->xUnlock(killer_real(f), level);
}

static int killer_reserved(sqlite3_file *f, int *out)
{
	return killer_real(f)->pMethods->xCheckReservedLock(killer_real(f), out);
}

static int killer_control(sqlite3_file *f, int op, void *argument)
{
	return killer_real(f)->pMethods->xFileControl(killer_real(f), op, argument);
}

static int killer_sector(sqlite3_file *f)
{
	return killer_real(f)->pMethods->xSectorSize(killer_real(f));
}

static int killer_device(sqlite3_file *f)
{
	return killer_real(f)->pMethods->xDeviceCharacteristics(killer_real(f));
}

static int killer_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
	/* version 1: no shared memory, so no WAL */
	static const sqlite3_io_methods methods = {
		1,
		killer_close,
		killer_read,
		killer_write,
		killer_truncate,
		killer_sync,
		killer_size,
		killer_lock,
		killer_unlock,
		killer_reserved,
		killer_control,
		killer_sector,
		killer_device,
		NULL,
		NULL,
		NULL,
		NULL,
		NULL,
		NULL,
	};
	struct killer_file *k = (struct killer_file *)f;
	int rc;

	(void)vfs;
	k->real = (sqlite3_file *)(k + 1);
	memset(k->real, 0, (size_t)killer.real->szOsFile);
	rc = killer.real->xOpen(killer.real, name, k->real, flags, out);
	k->base.pMethods = rc == SQLITE_OK ? &methods : NULL;
	return rc;
}

static int killer_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
	(void)vfs;
	(void)sync;
	killer_step();
	return killer.real->xDelete(killer.real, name, 0);
}

/* From now on every connection of this process goes through it. */
static inline void killer_install(int at)
{
	killer.real = sqlite3_vfs_find(NULL);
	killer.vfs = *killer.real;
	killer.vfs.zName = "killer";
	killer.vfs.szOsFile = (int)sizeof(struct killer_file) + killer.real->szOsFile;
	killer.vfs.xOpen = killer_open;
	killer.vfs.xDelete = killer_delete;
	killer.count = 0;
	killer.at = at;
	sqlite3_vfs_register(&killer.vfs, 1);
}

#endif
