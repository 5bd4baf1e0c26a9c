/*
 * One syncing process per file.
 *
 * An advisory lock on PATH.clinic-lock, of the open-file kind: it dies with
 * its owner however that ends, it also holds between two handles of one
 * process, and it can be asked about without being taken, so that `status`
 * never gets in the way of a `sync` that is starting.  The file stays behind:
 * removing it would let two processes lock two files of one name.
 */
#include "cache_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

cs_status lock_take(const char *path, int *fd, int *pid, struct cs_error *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char *name = lock_path(path);

	*fd = -1;
	*pid = 0;
	if (!name)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	*fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	free(name);
	if (*fd < 0)
		return cs_fail(err, CS_ERR_STORE, "cannot open the lock file beside the cache: %s",
			       strerror(errno));
	if (fcntl(*fd, F_OFD_SETLK, &lock) == 0) {
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
