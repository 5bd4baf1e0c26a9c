/*
 * The parts of a giant batch until its last one is there.
 *
 * They wait in a file that has no name (platform_open_nameless(), beside the cache): nothing
 * of it survives the process or needs cleaning up, no write lock is held
 * while the parts arrive, and neither the cache nor its WAL grows by them.
 * Nothing has to be durable here: until the batch is applied the cursor says
 * that it is missing, and after a broken link all parts come again.
 */
#include "cache_internal.h"

#include <stdlib.h>

#define STAGE_BYTES_MOST ((uint64_t)1 << 38)

struct stage {
	platform_file file;
	uint64_t size;
	uint64_t read_at;
	struct stage_label label;
};

cs_status stage_open(const char *beside, struct stage **out, struct cs_error *err)
{
	struct stage *s = calloc(1, sizeof(*s));
	char why[PLATFORM_ERROR_BYTES];

	*out = NULL;
	if (!s)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	s->file = platform_open_nameless(beside);
	if (s->file == PLATFORM_NO_FILE) {
		free(s);
		return cs_fail(err, CS_ERR_STORE, "cannot stage a batch beside the cache: %s",
			       platform_error(why));
	}
	*out = s;
	return CS_OK;
}

cs_status stage_add(struct stage *s, const void *bytes, size_t len, struct cs_error *err)
{
	uint64_t head = len;
	char why[PLATFORM_ERROR_BYTES];

	if (s->size + sizeof(head) + len > STAGE_BYTES_MOST)
		return cs_fail(err, CS_ERR_STORE, "a batch is too large to stage");
	if (!platform_append(s->file, &head, sizeof(head)) || !platform_append(s->file, bytes, len))
		return cs_fail(err, CS_ERR_STORE, "cannot stage a batch: %s", platform_error(why));
	s->size += sizeof(head) + len;
	return CS_OK;
}

void stage_rewind(struct stage *s)
{
	s->read_at = 0;
}

cs_status stage_next(struct stage *s, char **out, size_t *out_len, struct cs_error *err)
{
	uint64_t len;
	char *bytes;

	*out = NULL;
	if (s->read_at == s->size)
		return CS_OK;
	if (!platform_read_at(s->file, s->read_at, &len, sizeof(len)) ||
	    len > CACHE_MESSAGE_BYTES_MOST)
		return cs_fail(err, CS_ERR_STORE, "cannot read a staged batch");
	bytes = malloc(len ? len : 1);
	if (!bytes)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	s->read_at += sizeof(len);
	if (!platform_read_at(s->file, s->read_at, bytes, len)) {
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
	platform_close(s->file);
	free(s);
}
