/*
 * The relay's own messages, those that are not part of the feed.
 * docs/protocol.md, "relay -> device".  Each function returns a new frame, or
 * NULL when memory ran out.  Pure.
 */
#ifndef CLINIC_RELAY_PROTOCOL_OUT_H
#define CLINIC_RELAY_PROTOCOL_OUT_H

#include <stdint.h>

#include "config.h"
#include "cursor.h"
#include "frame.h"

#define PROTOCOL_NAME "clinic-sync.v1"

struct frame *out_connected(const struct config *config, uint32_t reconnect_spread_ms,
			    int64_t sync_request);
/* tables NULL: all, written as null. */
struct frame *out_ready(const struct cursor *cursor, char *const *tables, size_t table_count);
/* at NULL: null; tables: JSON array, or NULL. */
struct frame *out_resync_required(const char *reason, const struct cursor *at, const char *tables);
struct frame *out_lagged(uint64_t behind_bytes);
struct frame *out_error(const char *code, const char *message);
/* About one table; NULL: as above. */
struct frame *out_table_error(const char *code, const char *message, const char *table);
/* id 0: it could not even begin. */
struct frame *out_digest_failed(uint64_t id, const char *scope);
/* The message that b holds, which is empty afterwards. */
struct frame *out_message(struct dynbuf *b);

#endif
