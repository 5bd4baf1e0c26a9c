/*
 * platform.h on Linux.
 *
 * Locks are of the open-file kind: they die with the open file and hold
 * between two handles of one process, too.
 */
#ifndef _WIN32

#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

const char *platform_error(char *out)
{
	snprintf(out, PLATFORM_ERROR_BYTES, "%s", strerror(errno));
	return out;
}

char *platform_format(const char *fmt, ...)
{
	va_list args;
	char *text;
	int len;

	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	return len < 0 ? NULL : text;
}

bool platform_same_name(const char *a, const char *b)
{
	return strcasecmp(a, b) == 0;
}

/* ---- files by name ---------------------------------------------------------------------- */

bool platform_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

char *platform_real_path(const char *path)
{
	return realpath(path, NULL);
}

uint64_t platform_file_id(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (uint64_t)st.st_ino : 0;
}

void platform_remove(const char *path)
{
	unlink(path);
}

bool platform_rename(const char *from, const char *to)
{
	return rename(from, to) == 0;
}

platform_placing platform_place(const char *from, const char *to)
{
	/* link() refuses to replace, on every file system; the second name goes afterwards */
	if (link(from, to) == 0) {
		unlink(from);
		return PLATFORM_PLACED;
	}
	if (errno == EEXIST)
		return PLATFORM_TAKEN;
	/* a file system without links */
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return PLATFORM_PLACED;
	return errno == EEXIST ? PLATFORM_TAKEN : PLATFORM_FAILED;
}

static bool sync_path(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);
	bool good = fd >= 0 && fsync(fd) == 0;

	platform_close(fd);
	return good;
}

bool platform_sync_file(const char *path)
{
	return sync_path(path, O_RDONLY);
}

static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
}

bool platform_sync_directory_of(const char *path)
{
	char *directory = directory_of(path);
	bool good = directory && sync_path(directory, O_RDONLY | O_DIRECTORY);

	free(directory);
	return good;
}

/* ---- open files ------------------------------------------------------------------------- */

static int open_nameless(const char *directory)
{
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char *name;

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
		return fd;
	/* a file system without O_TMPFILE: a name for a moment */
	name = platform_format("%s/.clinic-stage-XXXXXX", directory);
	if (!name)
		return -1;
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	free(name);
	return fd;
}

platform_file platform_open_nameless(const char *path)
{
	char *directory = directory_of(path);
	int fd = directory ? open_nameless(directory) : -1;

	free(directory);
	return fd;
}

bool platform_append(platform_file file, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t done = write((int)file, at, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		at += done;
		len -= (size_t)done;
	}
	return true;
}

bool platform_read_at(platform_file file, uint64_t at, void *bytes, size_t len)
{
	char *to = bytes;

	while (len > 0) {
		ssize_t done = pread((int)file, to, len, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		to += done;
		at += (uint64_t)done;
		len -= (size_t)done;
	}
	return true;
}

void platform_close(platform_file file)
{
	int saved = errno;

	if (file >= 0)
		close((int)file);
	errno = saved;
}

/* ---- lock files ------------------------------------------------------------------------- */

platform_file platform_open_lock(const char *name, bool create)
{
	int flags = create ? O_RDWR | O_CREAT : O_RDONLY;

	return open(name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

platform_locking platform_lock(platform_file file)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl((int)file, F_OFD_SETLK, &lock) == 0)
		return PLATFORM_LOCKED;
	return errno == EAGAIN || errno == EACCES ? PLATFORM_HELD : PLATFORM_LOCK_FAILED;
}

bool platform_lock_is_held(platform_file file)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl((int)file, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool platform_has_name(platform_file file, const char *name)
{
	struct stat ours, named;

	return fstat((int)file, &ours) == 0 && lstat(name, &named) == 0 &&
	       ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

bool platform_write_note(platform_file file, const char *text)
{
	size_t len = strlen(text);

	return ftruncate((int)file, 0) == 0 && pwrite((int)file, text, len, 0) == (ssize_t)len;
}

bool platform_read_note(platform_file file, char *text, size_t size)
{
	ssize_t len = pread((int)file, text, size - 1, 0);

	text[len > 0 ? len : 0] = '\0';
	return len > 0;
}

int platform_process_id(void)
{
	return (int)getpid();
}

#endif
