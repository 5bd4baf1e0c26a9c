/*
 * The messages of tables sent again, each made when the socket takes one; see
 * table_stream.h.
 */
#include <inttypes.h>
#include <string.h>

#include "device.h"
#include "log.h"
#include "metrics.h"
#include "protocol_out.h"
#include "sqlite_reader.h"
#include "table_stream.h"

/* A row of max_row_bytes, escaped. */
#define FRAME_MOST_BYTES ((size_t)512 << 20)
/* What closes a frame after its rows: "],"last":false}" */
#define TAIL_BYTES 32

static void add_text(struct dynbuf *b, const char *text)
{
	dynbuf_add_json(b, text, strlen(text));
}

static const char *table_now(const struct table_stream *t)
{
	if (t->requests->table)
		return t->requests->table;
	return snapshot_reader_table(t->reader, t->tables_sent);
}

static struct frame *full_sync_head(struct table_stream *t)
{
	char cursor[CURSOR_TEXT_BYTES];
	uint64_t total = 0;
	struct dynbuf b;

	t->head_sent = true;
	dynbuf_init(&b, FRAME_MOST_BYTES);
	dynbuf_addf(&b, "{\"type\":\"full_sync\",\"id\":%" PRId64 ",\"cursor\":\"%s\",\"tables\":[",
		    t->requests->id, cursor_format(&t->cursor, cursor));
	for (size_t i = 0; i < snapshot_reader_table_count(t->reader); i++) {
		uint64_t rows = snapshot_reader_table_rows(t->reader, i);

		dynbuf_adds(&b, i ? ",{\"name\":" : "{\"name\":");
		add_text(&b, snapshot_reader_table(t->reader, i));
		dynbuf_addf(&b, ",\"rows\":%" PRIu64 "}", rows);
		total += rows;
	}
	dynbuf_addf(&b, "],\"total_rows\":%" PRIu64 "}", total);
	return out_message(&b);
}

static struct frame *full_sync_end(struct table_stream *t)
{
	char cursor[CURSOR_TEXT_BYTES];
	struct dynbuf b;

	dynbuf_init(&b, FRAME_MOST_BYTES);
	dynbuf_addf(&b, "{\"type\":\"full_sync_end\",\"id\":%" PRId64 ",\"cursor\":\"%s\"}",
		    t->requests->id, cursor_format(&t->cursor, cursor));
	stream_end_request(t);
	return out_message(&b);
}

bool stream_may_end(const struct table_stream *t)
{
	return !t->requests->table || device_was_given(t->device, &t->cursor);
}

static cs_status add_head(struct table_stream *t, struct dynbuf *b, struct cs_error *err)
{
	char cursor[CURSOR_TEXT_BYTES];
	const char *table = table_now(t), *schema;
	cs_status st = CS_OK;

	dynbuf_extend(b, FRAME_HEADROOM);
	dynbuf_adds(b, "{\"type\":\"table_sync\",\"table\":");
	add_text(b, table);
	dynbuf_addf(b, ",\"id\":%" PRId64 ",\"cursor\":\"%s\",\"part\":%" PRIu64, t->requests->id,
		    cursor_format(&t->cursor, cursor), t->part);
	if (!t->table_begun) {
		st = snapshot_reader_begin(t->reader, table, &schema, &t->rows, err);
		if (st == CS_OK)
			dynbuf_addf(b, ",\"schema\":%s", schema);
		t->table_begun = true;
	}
	dynbuf_adds(b, ",\"rows\":[");
	return st;
}

static cs_status add_rows(struct table_stream *t, struct dynbuf *b, struct cs_error *err)
{
	size_t most = (size_t)t->owner->env->config->max_frame_bytes;
	uint64_t rows;

	if (t->rows_end)
		return CS_OK;
	most = most < STREAM_FRAME_BYTES ? most : STREAM_FRAME_BYTES;
	return snapshot_reader_rows(t->reader, b, most + FRAME_HEADROOM - TAIL_BYTES, &rows,
				    &t->rows_end, err);
}

static cs_status add_tail(struct table_stream *t, struct dynbuf *b, bool last, struct cs_error *err)
{
	cs_status st = CS_OK;

	dynbuf_adds(b, "]");
	if (last) {
		dynbuf_adds(b, ",\"oversize\":");
		st = snapshot_reader_oversize(t->reader, b, err);
	}
	dynbuf_adds(b, last ? ",\"last\":true}" : ",\"last\":false}");
	if (st == CS_OK && b->failed)
		st = cs_fail(err, CS_ERR_NOMEM, "a frame is too large");
	return st;
}

static void end_table(struct table_stream *t)
{
	log_info("Synced %" PRIu64 " records from table %s (device \"%s\", over the link)", t->rows,
		 table_now(t), t->device->info.device_id);
	t->table_begun = t->rows_end = false;
	t->part = 0;
	t->tables_sent++;
	if (t->requests->table)
		stream_end_request(t);
}

static struct frame *table_frame(struct table_stream *t)
{
	struct cs_error err = {0};
	struct dynbuf b;
	bool last;
	cs_status st;

	dynbuf_init(&b, FRAME_MOST_BYTES);
	st = add_head(t, &b, &err);
	if (st == CS_OK)
		st = add_rows(t, &b, &err);
	last = t->rows_end && stream_may_end(t);
	if (st == CS_OK)
		st = add_tail(t, &b, last, &err);
	if (st != CS_OK) {
		struct frame *f =
			stream_print_failure(t->requests, "the snapshot cannot be read", false);

		log_error("cannot send a table: %s", err.text);
		dynbuf_free(&b);
		stream_end_request(t);
		return f;
	}
	t->part++;
	metric_add(METRIC_TABLE_SYNC_BYTES, b.len - FRAME_HEADROOM);
	if (last)
		end_table(t);
	return frame_take(&b, FRAME_HEADROOM);
}

struct frame *stream_next_frame(struct table_stream *t)
{
	if (!t->requests->table && !t->head_sent)
		return full_sync_head(t);
	if (!t->requests->table && t->tables_sent == snapshot_reader_table_count(t->reader))
		return full_sync_end(t);
	return table_frame(t);
}
