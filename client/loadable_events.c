/*
 * Events wait here until the app asks for them: SQL has no callbacks.
 *
 * The queue is bounded.  What does not fit is counted and said at the place
 * where it is missing, the end: from then on until the app asks, nothing more
 * is taken, so that the order holds.
 */
#include "loadable.h"

#include <inttypes.h>

#include "event_json.h"

void event_queue_init(struct event_queue *q, size_t most)
{
	*q = (struct event_queue){.most = most};
	dynbuf_init(&q->text, LOADABLE_EVENT_BYTES_MOST);
}

void event_queue_free(struct event_queue *q)
{
	dynbuf_free(&q->text);
}

void event_queue_put(const struct clinic_cache_event *event, void *context)
{
	struct event_queue *q = context;
	size_t before = q->text.len;

	if (!q->lost && q->count < q->most) {
		dynbuf_adds(&q->text, q->count ? "," : "");
		event_json_add(&q->text, event);
		if (!q->text.failed) {
			q->count++;
			return;
		}
		/* what of it had fitted goes again */
		q->text.failed = false;
		q->text.len = before;
		if (q->text.data)
			q->text.data[before] = '\0';
	}
	q->lost++;
	q->lost_ever++;
}

bool event_queue_take(struct event_queue *q, struct dynbuf *out)
{
	dynbuf_adds(out, "[");
	dynbuf_add(out, q->text.data, q->text.len);
	if (q->lost)
		dynbuf_addf(out, "%s{\"type\":\"events_lost\",\"count\":%" PRIu64 "}",
			    q->count ? "," : "", q->lost);
	if (!dynbuf_adds(out, "]"))
		return false;
	dynbuf_reset(&q->text);
	q->count = 0;
	q->lost = 0;
	return true;
}
