/* Parts of files that arrive over HTTP; see link_part.h. */
#include "link_part.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOOT_ID_BYTES 64

/* Empty where the kernel does not tell: then nothing is ever resumed. */
static void read_boot_id(char out[BOOT_ID_BYTES])
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	out[0] = '\0';
	if (!f)
		return;
	if (!fgets(out, BOOT_ID_BYTES, f))
		out[0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	fclose(f);
}

/* The ETag of the part, if it was written since this machine started. */
static void read_etag(struct link_part *p)
{
	char boot_id[BOOT_ID_BYTES];
	char line[BOOT_ID_BYTES];
	FILE *f = fopen(p->etag_path, "re");

	p->etag[0] = '\0';
	if (!f)
		return;
	read_boot_id(boot_id);
	if (fgets(line, sizeof(line), f) && fgets(p->etag, sizeof(p->etag), f)) {
		line[strcspn(line, "\n")] = '\0';
		p->etag[strcspn(p->etag, "\n")] = '\0';
		if (!boot_id[0] || strcmp(boot_id, line) != 0)
			p->etag[0] = '\0';
	}
	fclose(f);
}

/* Weak ETags ("W/...") do not promise the same bytes. */
static void write_etag(struct link_part *p)
{
	char boot_id[BOOT_ID_BYTES];
	FILE *f;

	unlink(p->etag_path);
	read_boot_id(boot_id);
	if (p->etag[0] != '"' || !boot_id[0])
		return;
	f = fopen(p->etag_path, "we");
	if (!f)
		return;
	if (fprintf(f, "%s\n%s\n", boot_id, p->etag) < 0 || fclose(f) != 0)
		unlink(p->etag_path);
}

cs_status link_part_open(const char *path, struct link_part *out, struct cs_error *err)
{
	struct stat st;

	memset(out, 0, sizeof(*out));
	out->fd = -1;
	out->path = strdup(path);
	if (!out->path || asprintf(&out->etag_path, "%s.etag", path) < 0) {
		out->etag_path = NULL;
		cs_fail(err, CS_ERR_NOMEM, "out of memory");
		goto fail;
	}
	out->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (out->fd < 0 || fstat(out->fd, &st) < 0) {
		cs_fail(err, CS_ERR_STORE, "cannot write the snapshot file: %s", strerror(errno));
		goto fail;
	}
	read_etag(out);
	if (out->etag[0])
		out->have_bytes = (uint64_t)st.st_size;
	return CS_OK;
fail:
	link_part_close(out);
	return CS_ERR_STORE;
}

bool link_part_restart(struct link_part *p, const char *etag, uint64_t total_bytes)
{
	snprintf(p->etag, sizeof(p->etag), "%s", etag);
	p->have_bytes = 0;
	p->total_bytes = total_bytes;
	write_etag(p);
	return ftruncate(p->fd, 0) == 0 && lseek(p->fd, 0, SEEK_SET) == 0;
}

bool link_part_continue(struct link_part *p, const char *content_range)
{
	uint64_t first, last, total;

	if (sscanf(content_range, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64, &first, &last,
		   &total) != 3)
		return false;
	p->total_bytes = total;
	return first == p->have_bytes && last + 1 == total &&
	       lseek(p->fd, (off_t)first, SEEK_SET) == (off_t)first;
}

bool link_part_was_whole(struct link_part *p, const char *content_range)
{
	uint64_t total;

	if (!p->etag[0] || sscanf(content_range, "bytes */%" SCNu64, &total) != 1)
		return false;
	p->total_bytes = total;
	return total > 0 && total == p->have_bytes;
}

bool link_part_write(struct link_part *p, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t written = write(p->fd, at, len);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		at += written;
		len -= (size_t)written;
		p->have_bytes += (uint64_t)written;
	}
	return true;
}

bool link_part_finish(struct link_part *p)
{
	int fd = p->fd;

	unlink(p->etag_path);
	p->fd = -1;
	return fd < 0 || close(fd) == 0;
}

void link_part_forget(struct link_part *p)
{
	unlink(p->etag_path);
	unlink(p->path);
}

void link_part_close(struct link_part *p)
{
	if (p->fd >= 0)
		close(p->fd);
	free(p->path);
	free(p->etag_path);
	memset(p, 0, sizeof(*p));
	p->fd = -1;
}
