/* An event as one JSON object: what `clinic-cache --events` writes and clinic_cache_events() gives.
 */
#ifndef CLINIC_CACHE_EVENT_JSON_H
#define CLINIC_CACHE_EVENT_JSON_H

#include "clinic_cache.h"
#include "dynbuf.h"

/* Append it, on one line without its end; out->failed when that needs too much memory. */
void event_json_add(struct dynbuf *out, const struct clinic_cache_event *event);

#endif
