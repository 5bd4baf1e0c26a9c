/* Unlinked temporary files; see spool.h. */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct spool {
	int fd;
	uint64_t bytes;
};

/* O_TMPFILE where the file system knows it, else a name that is gone at once. */
static int open_nameless(const char *dir)
{
	char path[4096];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd;
	if (snprintf(path, sizeof(path), "%s/spool.XXXXXX", dir) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

struct spool *spool_open(const char *dir)
{
	struct spool *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->fd = open_nameless(dir);
	if (s->fd < 0) {
		free(s);
		return NULL;
	}
	return s;
}

void spool_close(struct spool *s)
{
	if (!s)
		return;
	close(s->fd);
	free(s);
}

bool spool_append(struct spool *s, const void *bytes, size_t len)
{
	const char *from = bytes;

	while (len) {
		ssize_t n = pwrite(s->fd, from, len, (off_t)s->bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		from += n;
		len -= (size_t)n;
		s->bytes += (uint64_t)n;
	}
	return true;
}

bool spool_read(const struct spool *s, uint64_t at, void *out, size_t len)
{
	char *to = out;

	while (len) {
		ssize_t n = pread(s->fd, to, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		to += n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return true;
}

uint64_t spool_bytes(const struct spool *s)
{
	return s->bytes;
}
