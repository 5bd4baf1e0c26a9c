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

struct sync_requests;

/* NULL: out of memory. */
struct sync_requests *sync_requests_new(void);
/* Accepts NULL. */
void sync_requests_free(struct sync_requests *s);
/*
 * kind, tables_json, device as in upstream.h.  Ids rise.  until_ms: nobody who comes later gets it.
 * False: out of memory, it is not kept.
 */
bool sync_requests_add(struct sync_requests *s, int64_t id, const char *kind,
		       const char *tables_json, const char *device, uint64_t until_ms);
/* All that the database has kept were added; called again, it is nothing. */
void sync_requests_all_read(struct sync_requests *s);
/* 0: none, -1: not known yet; s may be NULL. */
int64_t sync_requests_newest(const struct sync_requests *s);
/*
 * The first one after *id that is meant for this device, with a reference for
 * the caller, or NULL; *id moves on past all that were looked at.  *id -1: those that
 * came after all were read.  s may be NULL.
 */
struct frame *sync_requests_next(struct sync_requests *s, const char *device, int64_t *id,
				 uint64_t now_ms);

#endif
