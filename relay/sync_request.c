/* Requests for a sync from SQL; see sync_request.h. */
#include "sync_request.h"

#include <stdlib.h>
#include <string.h>

#include "dynbuf.h"
#include "protocol_out.h"

#define MESSAGE_MOST_BYTES ((size_t)1024 * 1024)

struct kept {
	int64_t id;
	char *device; /* NULL: all */
	struct frame *frame;
	uint64_t until_ms;
};

struct sync_requests {
	/* a ring, the oldest at first */
	struct kept kept[SYNC_REQUESTS_MOST];
	size_t first, count;
	int64_t newest;
	bool known;      /* all were read at least once, */
	int64_t of_past; /* of which this is the last */
};

struct sync_requests *sync_requests_new(void)
{
	return calloc(1, sizeof(struct sync_requests));
}

static struct kept *kept_at(struct sync_requests *s, size_t i)
{
	return &s->kept[(s->first + i) % SYNC_REQUESTS_MOST];
}

static void drop_oldest(struct sync_requests *s)
{
	struct kept *k = kept_at(s, 0);

	frame_unref(k->frame);
	free(k->device);
	memset(k, 0, sizeof(*k));
	s->first = (s->first + 1) % SYNC_REQUESTS_MOST;
	s->count--;
}

void sync_requests_free(struct sync_requests *s)
{
	if (!s)
		return;
	while (s->count)
		drop_oldest(s);
	free(s);
}

static struct frame *print(int64_t id, const char *kind, const char *tables_json)
{
	struct dynbuf b;

	dynbuf_init(&b, MESSAGE_MOST_BYTES);
	dynbuf_addf(&b, "{\"type\":\"sync_requested\",\"id\":%lld,\"kind\":", (long long)id);
	dynbuf_add_json(&b, kind, strlen(kind));
	dynbuf_adds(&b, ",\"tables\":");
	dynbuf_adds(&b, tables_json ? tables_json : "null");
	dynbuf_adds(&b, "}");
	return out_message(&b);
}

bool sync_requests_add(struct sync_requests *s, int64_t id, const char *kind,
		       const char *tables_json, const char *device, uint64_t until_ms)
{
	struct frame *f = print(id, kind, tables_json);
	char *copy = device ? strdup(device) : NULL;
	struct kept *k;

	if (!f || (device && !copy)) {
		frame_unref(f);
		free(copy);
		return false;
	}
	if (s->count == SYNC_REQUESTS_MOST)
		drop_oldest(s);
	k = kept_at(s, s->count++);
	*k = (struct kept){.id = id, .device = copy, .frame = f, .until_ms = until_ms};
	s->newest = id;
	return true;
}

void sync_requests_all_read(struct sync_requests *s)
{
	if (!s->known)
		s->of_past = s->newest;
	s->known = true;
}

int64_t sync_requests_newest(const struct sync_requests *s)
{
	if (!s)
		return 0;
	return s->known ? s->newest : -1;
}

struct frame *sync_requests_next(struct sync_requests *s, const char *device, int64_t *id,
				 uint64_t now_ms)
{
	if (!s || !s->known)
		return NULL;
	if (*id < 0)
		*id = s->of_past;
	if (*id >= s->newest)
		return NULL;
	while (s->count && now_ms >= kept_at(s, 0)->until_ms)
		drop_oldest(s);
	for (size_t i = 0; i < s->count; i++) {
		const struct kept *k = kept_at(s, i);

		if (k->id <= *id)
			continue;
		*id = k->id;
		if (!k->device || strcmp(k->device, device) == 0)
			return frame_ref(k->frame);
	}
	*id = s->newest;
	return NULL;
}
