/*
 * One syncing process per file.
 *
 * An advisory lock on PATH.clinic-lock, of the open-file kind: it dies with
 * its owner however that ends, it also holds between two handles of one
 * process, and it can be asked about without being taken, so that `status`
 * never gets in the way of a `sync` that is starting.
 *
 * The file stays beside a cache.  Where there is none it is removed, by the
 * process that holds its lock; so whoever gets a lock looks whether the file
 * still has its name, or two processes could lock two files of one name.
 */
#include "cache_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define TRIES_MOST 100 /* how often the file may be removed just before we have its lock */
#define PID_BYTES 16

static char *lock_path(const char *path)
{
	return platform_format("%s.clinic-lock", path);
}

static int read_pid(platform_file lock)
{
	char text[PID_BYTES];

	return platform_read_note(lock, text, sizeof(text)) ? atoi(text) : 0;
}

static bool write_pid(platform_file lock)
{
	char text[PID_BYTES];

	snprintf(text, sizeof(text), "%d\n", platform_process_id());
	return platform_write_note(lock, text);
}

/* The lock is ours: is it that of the name, too? CS_AGAIN: the file was removed before. */
static cs_status settle(platform_file lock, const char *name, struct cs_error *err)
{
	char why[PLATFORM_ERROR_BYTES];

	if (!platform_has_name(lock, name))
		return CS_AGAIN;
	if (!write_pid(lock))
		return cs_fail(err, CS_ERR_STORE, "cannot write the lock file: %s",
			       platform_error(why));
	return CS_OK;
}

static cs_status try_take(const char *name, platform_file *lock, int *pid, struct cs_error *err)
{
	char why[PLATFORM_ERROR_BYTES];
	cs_status st;

	*lock = platform_open_lock(name, true);
	if (*lock == PLATFORM_NO_FILE)
		return cs_fail(err, CS_ERR_STORE, "cannot open the lock file beside the cache: %s",
			       platform_error(why));
	switch (platform_lock(*lock)) {
	case PLATFORM_LOCKED:
		st = settle(*lock, name, err);
		break;
	case PLATFORM_HELD:
		*pid = read_pid(*lock);
		st = cs_fail(err, CS_ERR_BUSY, "process %d is syncing this file", *pid);
		break;
	default:
		st = cs_fail(err, CS_ERR_STORE, "cannot lock the lock file: %s",
			     platform_error(why));
		break;
	}
	if (st != CS_OK) {
		lock_release(*lock);
		*lock = PLATFORM_NO_FILE;
	}
	return st;
}

cs_status lock_take(const char *path, platform_file *lock, int *pid, struct cs_error *err)
{
	char *name = lock_path(path);
	cs_status st = CS_AGAIN;

	*lock = PLATFORM_NO_FILE;
	*pid = 0;
	if (!name)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (int i = 0; i < TRIES_MOST && st == CS_AGAIN; i++)
		st = try_take(name, lock, pid, err);
	free(name);
	if (st == CS_AGAIN)
		return cs_fail(err, CS_ERR_STORE, "the lock file beside the cache does not stay");
	return st;
}

void lock_remove(const char *path, platform_file lock)
{
	char *name = lock_path(path);

	if (name && platform_has_name(lock, name))
		platform_remove(name);
	free(name);
	lock_release(lock);
}

void lock_release(platform_file lock)
{
	platform_close(lock);
}

int lock_holder(const char *path)
{
	char *name = lock_path(path);
	platform_file lock = name ? platform_open_lock(name, false) : PLATFORM_NO_FILE;
	int pid = 0;

	free(name);
	if (lock == PLATFORM_NO_FILE)
		return 0;
	if (platform_lock_is_held(lock))
		pid = read_pid(lock);
	platform_close(lock);
	return pid;
}
