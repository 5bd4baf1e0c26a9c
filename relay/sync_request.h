/*
 * Requests for a sync that were made in SQL, kept so that a device that was away
 * hears of those it missed.  Each is one message, shared by all who get it.
 * Pure.
 */
#ifndef CLINIC_RELAY_SYNC_REQUEST_H
#define CLINIC_RELAY_SYNC_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "frame.h"

#define SYNC_REQUESTS_MOST 1000
/* The database forgets them after a day as well (clinic_sync.sync_request_keep). */
#define SYNC_REQUEST_KEPT_MS ((uint64_t)24 * 3600 * 1000)

struct sync_requests;

/* NULL: out of memory. */
struct sync_requests *sync_requests_new(void);
/* Accepts NULL. */
void sync_requests_free(struct sync_requests *s);
/* kind, tables_json, device as in upstream.h.  Ids rise.  False: out of memory, it is not kept. */
bool sync_requests_add(struct sync_requests *s, int64_t id, const char *kind,
		       const char *tables_json, const char *device, uint64_t now_ms);
/* 0: none; s may be NULL. */
int64_t sync_requests_newest(const struct sync_requests *s);
/*
 * The first one after *id that is meant for this device, with a reference for
 * the caller, or NULL; *id moves on past all that were looked at.  s may be NULL.
 */
struct frame *sync_requests_next(struct sync_requests *s, const char *device, int64_t *id,
				 uint64_t now_ms);

#endif
