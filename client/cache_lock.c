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

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES_MOST 100 /* how often the file may be removed just before we have its lock */

static char *lock_path(const char *path)
{
	char *out;

	return asprintf(&out, "%s.clinic-lock", path) < 0 ? NULL : out;
}

static int read_pid(int fd)
{
	char text[16];
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

	if (len <= 0)
		return 0;
	text[len] = '\0';
	return atoi(text);
}

static bool write_pid(int fd)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)len, 0) == len;
}

static bool has_name(int fd, const char *name)
{
	struct stat ours, named;

	return fstat(fd, &ours) == 0 && lstat(name, &named) == 0 && ours.st_dev == named.st_dev &&
	       ours.st_ino == named.st_ino;
}

/* CS_AGAIN: the file was removed before we had its lock. */
static cs_status try_take(const char *name, int *fd, int *pid, struct cs_error *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	*fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0)
		return cs_fail(err, CS_ERR_STORE, "cannot open the lock file beside the cache: %s",
			       strerror(errno));
	if (fcntl(*fd, F_OFD_SETLK, &lock) == 0) {
		if (!has_name(*fd, name)) {
			lock_release(*fd);
			*fd = -1;
			return CS_AGAIN;
		}
		if (write_pid(*fd))
			return CS_OK;
		lock_release(*fd);
		*fd = -1;
		return cs_fail(err, CS_ERR_STORE, "cannot write the lock file: %s",
			       strerror(errno));
	}
	*pid = read_pid(*fd);
	lock_release(*fd);
	*fd = -1;
	if (errno != EAGAIN && errno != EACCES)
		return cs_fail(err, CS_ERR_STORE, "cannot lock the lock file: %s", strerror(errno));
	return cs_fail(err, CS_ERR_BUSY, "process %d is syncing this file", *pid);
}

cs_status lock_take(const char *path, int *fd, int *pid, struct cs_error *err)
{
	char *name = lock_path(path);
	cs_status st = CS_AGAIN;

	*fd = -1;
	*pid = 0;
	if (!name)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	for (int i = 0; i < TRIES_MOST && st == CS_AGAIN; i++)
		st = try_take(name, fd, pid, err);
	free(name);
	if (st == CS_AGAIN)
		return cs_fail(err, CS_ERR_STORE, "the lock file beside the cache does not stay");
	return st;
}

void lock_remove(const char *path, int fd)
{
	char *name = lock_path(path);

	if (name && has_name(fd, name))
		unlink(name);
	free(name);
	lock_release(fd);
}

void lock_release(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
}

int lock_holder(const char *path)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char *name = lock_path(path);
	int fd = name ? open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	int pid = 0;

	free(name);
	if (fd < 0)
		return 0;
	if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
		pid = read_pid(fd);
	close(fd);
	return pid;
}
