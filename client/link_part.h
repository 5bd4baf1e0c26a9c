/*
 * A file that arrives over HTTP: where to resume, and what the answer says
 * about that.  link_http.h tells when a part may be resumed.
 */
#ifndef CLINIC_SYNC_LINK_PART_H
#define CLINIC_SYNC_LINK_PART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

#define LINK_PART_ETAG_BYTES 128

struct link_part {
	char *path;                      /* owned */
	char *etag_path;                 /* owned */
	char etag[LINK_PART_ETAG_BYTES]; /* empty: nothing to resume */
	int fd;
	uint64_t have_bytes;
	uint64_t total_bytes;
};

/* Looks what is there of an earlier try; have_bytes says where to resume, 0: from the start. */
cs_status link_part_open(const char *path, struct link_part *out, struct cs_error *err) CS_CHECKED;
/* 200: what was there is dropped, a file of total bytes follows. */
bool link_part_restart(struct link_part *p, const char *etag, uint64_t total_bytes);
/* 206 with this Content-Range: false if it does not continue the part. */
bool link_part_continue(struct link_part *p, const char *content_range);
/* 416 with this Content-Range: true if the part is the whole file already. */
bool link_part_was_whole(struct link_part *p, const char *content_range);
bool link_part_write(struct link_part *p, const void *bytes, size_t len);
/*
 * The file is whole: it needs no resuming any more, and nothing here touches it
 * again.  It may become the cache itself, and a process that closes any
 * descriptor of a file loses the locks SQLite holds on it.  False: what was
 * written did not reach the file.
 */
bool link_part_finish(struct link_part *p) CS_CHECKED;
/* The part cannot be resumed: begin anew next time. */
void link_part_forget(struct link_part *p);
void link_part_close(struct link_part *p);

#endif
