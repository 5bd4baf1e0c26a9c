/* The relay's own messages; see protocol_out.h. */
#include "protocol_out.h"

#include <string.h>

#include "clock.h"

#define OUT_MOST_BYTES (1024 * 1024) /* a list of a thousand long table names */

struct frame *out_message(struct dynbuf *b)
{
	struct frame *f;

	if (b->failed) {
		dynbuf_free(b);
		return NULL;
	}
	f = frame_new(b->data, b->len);
	dynbuf_free(b);
	return f;
}

static void add_cursor(struct dynbuf *b, const struct cursor *cursor)
{
	char text[CURSOR_TEXT_BYTES];

	if (cursor && cursor->batch)
		dynbuf_addf(b, "\"%s\"", cursor_format(cursor, text));
	else
		dynbuf_adds(b, "null");
}

struct frame *out_connected(const struct config *config, uint32_t reconnect_spread_ms,
			    int64_t sync_request)
{
	struct dynbuf b;
	char now[CLOCK_TEXT_BYTES];

	dynbuf_init(&b, OUT_MOST_BYTES);
	dynbuf_addf(&b,
		    "{\"type\":\"connected\",\"server\":\"clinic-relay\",\"version\":\"%s\","
		    "\"protocol\":\"" PROTOCOL_NAME "\",\"time\":\"%s\",\"limits\":{"
		    "\"max_message_bytes\":%lld,\"max_frame_bytes\":%lld,\"ping_interval_s\":%d,"
		    "\"dead_after_s\":%d,\"client_info_timeout_s\":%d,"
		    "\"reconnect_spread_ms\":%u},\"sync_interval_s\":%d",
		    CLINIC_SYNC_VERSION, clock_utc_text(now), (long long)config->max_message_bytes,
		    (long long)config->max_frame_bytes, config->ping_interval_s,
		    config->dead_after_s, config->client_info_timeout_s, reconnect_spread_ms,
		    config->sync_interval_s);
	if (sync_request >= 0)
		dynbuf_addf(&b, ",\"sync_request\":%lld", (long long)sync_request);
	dynbuf_adds(&b, "}");
	return out_message(&b);
}

struct frame *out_ready(const struct cursor *cursor, char *const *tables, size_t table_count)
{
	struct dynbuf b;

	dynbuf_init(&b, OUT_MOST_BYTES);
	dynbuf_adds(&b, "{\"type\":\"ready\",\"cursor\":");
	add_cursor(&b, cursor);
	dynbuf_adds(&b, ",\"tables\":");
	if (!tables)
		dynbuf_adds(&b, "null");
	for (size_t i = 0; i < table_count; i++) {
		dynbuf_adds(&b, i ? "," : "[");
		dynbuf_add_json(&b, tables[i], strlen(tables[i]));
	}
	dynbuf_adds(&b, tables ? "]}" : "}");
	return out_message(&b);
}

struct frame *out_resync_required(const char *reason, const struct cursor *at, const char *tables)
{
	struct dynbuf b;

	dynbuf_init(&b, 2 * OUT_MOST_BYTES);
	dynbuf_addf(&b, "{\"type\":\"resync_required\",\"reason\":\"%s\",\"at\":", reason);
	add_cursor(&b, at);
	dynbuf_adds(&b, ",\"tables\":");
	dynbuf_adds(&b, tables ? tables : "null");
	dynbuf_adds(&b, "}");
	return out_message(&b);
}

struct frame *out_lagged(uint64_t behind_bytes)
{
	struct dynbuf b;

	dynbuf_init(&b, OUT_MOST_BYTES);
	dynbuf_addf(&b, "{\"type\":\"lagged\",\"behind_bytes\":%llu}",
		    (unsigned long long)behind_bytes);
	return out_message(&b);
}

struct frame *out_error(const char *code, const char *message)
{
	return out_table_error(code, message, NULL);
}

struct frame *out_table_error(const char *code, const char *message, const char *table)
{
	struct dynbuf b;

	dynbuf_init(&b, OUT_MOST_BYTES);
	dynbuf_addf(&b, "{\"type\":\"error\",\"code\":\"%s\",\"message\":", code);
	dynbuf_add_json(&b, message, strlen(message));
	if (table) {
		dynbuf_adds(&b, ",\"table\":");
		dynbuf_add_json(&b, table, strlen(table));
	}
	dynbuf_adds(&b, "}");
	return out_message(&b);
}

struct frame *out_digest_failed(uint64_t id, const char *scope)
{
	struct dynbuf b;

	dynbuf_init(&b, OUT_MOST_BYTES);
	dynbuf_addf(&b,
		    "{\"type\":\"digest\",\"id\":%llu,\"scope\":\"%s\",\"failed\":true,"
		    "\"last\":true}",
		    (unsigned long long)id, scope);
	return out_message(&b);
}
