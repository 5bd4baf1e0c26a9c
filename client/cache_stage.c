/*
 * The parts of a giant batch until its last one is there.
 *
 * They wait in a file that has no name (O_TMPFILE beside the cache): nothing
 * of it survives the process or needs cleaning up, no write lock is held
 * while the parts arrive, and neither the cache nor its WAL grows by them.
 * Nothing has to be durable here: until the batch is applied the cursor says
 * that it is missing, and after a broken link all parts come again.
 */
#include "cache_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAGE_BYTES_MOST ((uint64_t)1 << 38)

struct stage {
	int fd;
	uint64_t size;
	uint64_t read_at;
	struct stage_label label;
};

static int open_nameless(const char *directory)
{
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char *name;

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
		return fd;
	/* a file system without O_TMPFILE: a name for a moment */
	if (asprintf(&name, "%s/.clinic-stage-XXXXXX", directory) < 0)
		return -1;
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	free(name);
	return fd;
}

cs_status stage_open(const char *beside, struct stage **out, struct cs_error *err)
{
	const char *slash = strrchr(beside, '/');
	char *directory = slash ? strndup(beside, (size_t)(slash - beside) + 1) : strdup(".");
	struct stage *s = calloc(1, sizeof(*s));

	*out = NULL;
	if (!s || !directory) {
		free(s);
		free(directory);
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	}
	s->fd = open_nameless(directory);
	free(directory);
	if (s->fd < 0) {
		free(s);
		return cs_fail(err, CS_ERR_STORE, "cannot stage a batch beside the cache: %s",
			       strerror(errno));
	}
	*out = s;
	return CS_OK;
}

static bool write_all(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t done = write(fd, at, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		at += done;
		len -= (size_t)done;
	}
	return true;
}

cs_status stage_add(struct stage *s, const void *bytes, size_t len, struct cs_error *err)
{
	uint64_t head = len;

	if (s->size + sizeof(head) + len > STAGE_BYTES_MOST)
		return cs_fail(err, CS_ERR_STORE, "a batch is too large to stage");
	if (!write_all(s->fd, &head, sizeof(head)) || !write_all(s->fd, bytes, len))
		return cs_fail(err, CS_ERR_STORE, "cannot stage a batch: %s", strerror(errno));
	s->size += sizeof(head) + len;
	return CS_OK;
}

void stage_rewind(struct stage *s)
{
	s->read_at = 0;
}

static bool read_all(const struct stage *s, void *bytes, size_t len)
{
	char *to = bytes;
	uint64_t at = s->read_at;

	while (len > 0) {
		ssize_t done = pread(s->fd, to, len, (off_t)at);

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

cs_status stage_next(struct stage *s, char **out, size_t *out_len, struct cs_error *err)
{
	uint64_t len;
	char *bytes;

	*out = NULL;
	if (s->read_at == s->size)
		return CS_OK;
	if (!read_all(s, &len, sizeof(len)) || len > CACHE_MESSAGE_BYTES_MOST)
		return cs_fail(err, CS_ERR_STORE, "cannot read a staged batch");
	bytes = malloc(len ? len : 1);
	if (!bytes)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	s->read_at += sizeof(len);
	if (!read_all(s, bytes, len)) {
		free(bytes);
		return cs_fail(err, CS_ERR_STORE, "cannot read a staged batch");
	}
	s->read_at += len;
	*out = bytes;
	*out_len = len;
	return CS_OK;
}

struct stage_label *stage_label(struct stage *s)
{
	return &s->label;
}

void stage_close(struct stage *s)
{
	if (!s)
		return;
	close(s->fd);
	free(s);
}
