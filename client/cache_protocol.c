/*
 * Messages of the relay, docs/protocol.md.  Nothing of them is believed
 * before it was checked; a relay that speaks out of turn loses the link and
 * nothing else, since the cursor says where to go on.
 */
#include "cache_internal.h"
#include "log.h"

#include <stdio.h>
#include <string.h>

/* No relay makes its devices wait longer. */
#define SPREAD_MOST_MS (10 * 60 * 1000)

/* One message on its way through. */
struct incoming {
	struct clinic_cache *c;
	const json_t *message;
	const void *bytes;
	size_t len;
	bool ahead; /* more messages wait behind it */
	struct cs_error *err;
};

static const char *text_of(const struct incoming *in, const char *key)
{
	return json_string_value(json_object_get(in->message, key));
}

/* A cursor as it may stand in the file: opaque, 1 to 63 bytes. */
static const char *cursor_of(const struct incoming *in, const char *key)
{
	const char *text = text_of(in, key);

	return text && text[0] && strlen(text) < CURSOR_TEXT_BYTES ? text : NULL;
}

static cs_status on_connected(struct incoming *in)
{
	const json_t *limits = json_object_get(in->message, "limits");
	json_int_t dead_after_s = json_integer_value(json_object_get(limits, "dead_after_s"));
	const char *protocol = text_of(in, "protocol");

	json_int_t spread_ms = json_integer_value(json_object_get(limits, "reconnect_spread_ms"));

	if (!protocol || strcmp(protocol, "clinic-sync.v1") != 0)
		return cs_fail(in->err, CS_ERR_PROTOCOL, "the relay speaks another protocol");
	if (dead_after_s >= 1 && dead_after_s <= 3600)
		in->c->dead_after_ms = (uint32_t)dead_after_s * 1000;
	if (spread_ms >= 1 && spread_ms <= SPREAD_MOST_MS)
		in->c->reconnect_spread_ms = (uint32_t)spread_ms;
	prove_connected(in->c, in->message);
	event_simple(in->c, "connected", NULL);
	return CS_OK;
}

static cs_status on_ready(struct incoming *in)
{
	const char *cursor = cursor_of(in, "cursor");

	if (in->c->link != LINK_ASKED)
		return cs_fail(in->err, CS_ERR_PROTOCOL,
			       "the relay is ready for what was not asked");
	if (!cursor || strcmp(cursor, in->c->cursor) != 0)
		return cs_fail(in->err, CS_ERR_PROTOCOL, "the relay is ready at another cursor");
	in->c->link = LINK_READY;
	return CS_OK;
}

static cs_status on_resync_required(struct incoming *in)
{
	struct clinic_cache *c = in->c;
	const char *at = cursor_of(in, "at");
	const char *reason = text_of(in, "reason");
	char quoted[64];
	char detail[128];

	if (c->link != LINK_ASKED && c->link != LINK_READY)
		return cs_fail(in->err, CS_ERR_PROTOCOL, "a resync comes out of turn");
	if (!at && !json_is_null(json_object_get(in->message, "at")))
		return cs_fail(in->err, CS_ERR_PROTOCOL, "a resync names no cursor");
	c->link = LINK_OPEN;
	c->level = false;
	c->snapshot_wanted = true;
	strcpy(c->snapshot_min, at ? at : "");
	session_void(c, c->now_ms);
	if (reason && strcmp(reason, "no_cursor") != 0) {
		snprintf(detail, sizeof(detail), "a fresh snapshot is needed: %s",
			 log_quote(reason, quoted, sizeof(quoted)));
		event_simple(c, "sync_error", detail);
	}
	return CS_OK;
}

/* Stage one part; *last true when the batch is whole. */
static cs_status stage_part(struct incoming *in, const char *from, const char *to, bool *last)
{
	struct clinic_cache *c = in->c;
	const json_t *part = json_object_get(in->message, "part");
	const json_t *is_last = json_object_get(in->message, "last");
	struct stage_label *label;
	cs_status st = CS_OK;

	if (!json_is_integer(part) || !json_is_boolean(is_last))
		return cs_fail(in->err, CS_ERR_PROTOCOL, "a part is of the wrong form");
	if (!c->stage) {
		st = stage_open(c->path, &c->stage, in->err);
		if (st != CS_OK)
			return st;
		strcpy(stage_label(c->stage)->from, from);
		strcpy(stage_label(c->stage)->to, to);
	}
	label = stage_label(c->stage);
	if (strcmp(label->from, from) != 0 || strcmp(label->to, to) != 0 ||
	    json_integer_value(part) != label->next_part)
		return cs_fail(in->err, CS_ERR_PROTOCOL, "a part does not continue the one before");
	label->next_part++;
	*last = json_is_true(is_last);
	return stage_add(c->stage, in->bytes, in->len, in->err);
}

static cs_status file_still_there(struct clinic_cache *c, struct cs_error *err)
{
	if (!cache_file_moved(c) && c->db)
		return CS_OK;
	return cs_fail(err, CS_ERR_STORE, "the cache file was moved or deleted");
}

static void applied(struct clinic_cache *c)
{
	backoff_reset(&c->link_backoff);
	backoff_reset(&c->fetch_backoff);
}

/* Bring what was held into the file. */
static cs_status apply_held(struct clinic_cache *c, struct cs_error *err)
{
	cs_status st;

	if (c->hold.count == 0)
		return CS_OK;
	st = file_still_there(c, err);
	if (st == CS_OK)
		st = hold_apply(c, err);
	if (st == CS_OK)
		applied(c);
	return st;
}

/* A part of a batch; the last one brings all of it into the file. */
static cs_status take_part(struct incoming *in, const char *from, const char *to)
{
	struct clinic_cache *c = in->c;
	struct frame_source source = {.count = 1};
	bool last = true;
	cs_status st = apply_held(c, in->err);

	if (st == CS_OK)
		st = file_still_there(c, in->err);
	if (st == CS_OK)
		st = stage_part(in, from, to, &last);
	if (st != CS_OK || !last)
		return st;
	source.stage = c->stage;
	prove_settle(c, &source);
	st = frame_apply(c, &source, from, to, text_of(in, "time"), in->err);
	source_done(&source);
	stage_close(c->stage);
	c->stage = NULL;
	if (st == CS_OK)
		applied(c);
	return st;
}

/* A whole frame: into the file at once, or together with those behind it. */
static cs_status take_frame(struct incoming *in, const char *to)
{
	struct clinic_cache *c = in->c;
	struct waiting_frame frame = {.bytes = in->bytes, .len = in->len};
	size_t applied_count;
	const char *time = text_of(in, "time");
	cs_status st;

	strcpy(frame.to, to);
	if (time && strlen(time) < sizeof(frame.time))
		strcpy(frame.time, time);
	if ((in->ahead && !prove_watches(c)) || c->hold.count) {
		st = hold_add(c, &frame, in->err);
		if (st == CS_OK && (!in->ahead || hold_is_full(c)))
			st = apply_held(c, in->err);
		return st;
	}
	prove_settle(c, &(struct frame_source){.frames = &frame, .count = 1});
	st = file_still_there(c, in->err);
	if (st == CS_OK)
		st = waiting_apply(c, &frame, 1, &applied_count, in->err);
	if (st == CS_OK)
		applied(c);
	return st;
}

static cs_status on_database_change(struct incoming *in)
{
	struct clinic_cache *c = in->c;
	const char *from = cursor_of(in, "from");
	const char *to = cursor_of(in, "to");

	if (c->link != LINK_READY)
		return cs_fail(in->err, CS_ERR_PROTOCOL, "a frame comes out of turn");
	if (!from || !to || !json_is_array(json_object_get(in->message, "changes")))
		return cs_fail(in->err, CS_ERR_PROTOCOL, "a frame is of the wrong form");
	if (strcmp(from, hold_cursor(c)) != 0)
		return cs_fail(in->err, CS_ERR_PROTOCOL, "a frame does not continue the cursor");
	if (json_object_get(in->message, "part"))
		return take_part(in, from, to);
	if (c->stage)
		return cs_fail(in->err, CS_ERR_PROTOCOL,
			       "a frame comes between the parts of a batch");
	return take_frame(in, to);
}

static cs_status on_heartbeat(struct incoming *in)
{
	struct clinic_cache *c = in->c;
	const char *from = cursor_of(in, "from");
	const char *to = cursor_of(in, "to");
	cs_status st = CS_OK;

	/* before ready they only say that the link lives */
	if (c->link != LINK_READY)
		return CS_OK;
	if (!from || !to)
		return cs_fail(in->err, CS_ERR_PROTOCOL, "a heartbeat is of the wrong form");
	if (strcmp(from, c->cursor) != 0)
		return cs_fail(in->err, CS_ERR_PROTOCOL,
			       "a heartbeat does not continue the cursor");
	if (strcmp(from, to) != 0) {
		if (c->stage)
			return cs_fail(in->err, CS_ERR_PROTOCOL,
				       "the cursor moves between the parts of a batch");
		st = file_still_there(c, in->err);
		if (st == CS_OK)
			st = frame_move_cursor(c, from, to, text_of(in, "time"), in->err);
	}
	if (st == CS_OK && !c->stage) {
		/* whatever the relay had has come before one that stays; one that moves the cursor
		   may be in the middle of what is to come */
		if (strcmp(from, to) == 0)
			c->level = true;
		backoff_reset(&c->link_backoff);
	}
	return st;
}

static cs_status on_lagged(struct incoming *in)
{
	in->c->level = false;
	return CS_OK;
}

static cs_status on_digest_begin(struct incoming *in)
{
	return prove_on_begin(in->c, in->message, in->err);
}

static cs_status on_digest(struct incoming *in)
{
	return prove_on_digest(in->c, in->message, in->err);
}

static cs_status on_sync_requested(struct incoming *in)
{
	return prove_on_request(in->c, in->message, in->err);
}

/* What goes wrong with staging a full sync is no fault of the link. */
static cs_status staged(struct incoming *in, cs_status st)
{
	if (st == CS_OK || st == CS_ERR_PROTOCOL)
		return st;
	session_full_failed(in->c, in->err->text);
	memset(in->err, 0, sizeof(*in->err));
	return CS_OK;
}

static cs_status on_table_sync(struct incoming *in)
{
	json_t *whole;
	cs_status st;

	if (!full_takes_tables(in->c))
		return repair_on_table_sync(in->c, in->message, in->bytes, in->len, in->err);
	whole = json_loadb(in->bytes, in->len, JSON_REJECT_DUPLICATES, NULL);
	st = whole ? full_on_table_sync(in->c, whole, in->len, in->err)
		   : cs_fail(in->err, CS_ERR_PROTOCOL, "a message is no JSON object");
	json_decref(whole);
	return staged(in, st);
}

static cs_status on_full_sync(struct incoming *in)
{
	return staged(in, full_on_begin(in->c, in->message, in->err));
}

static cs_status on_full_sync_end(struct incoming *in)
{
	bool taking = full_takes_tables(in->c);
	cs_status st = staged(in, full_on_end(in->c, in->message, in->err));

	/* from here on as after a download; its errors are told, and it is tried again */
	if (st == CS_OK && taking && in->c->fetching)
		(void)!clinic_cache_snapshot_fetched(in->c, in->c->now_ms);
	return st;
}

/* Errors that concern something we asked for, and not the link. */
static bool is_about_a_request(struct incoming *in, const char *code)
{
	const char *table = text_of(in, "table");

	if (strcmp(code, "full_sync_failed") == 0) {
		if (in->c->full)
			session_full_failed(in->c, "the relay has no snapshot to send now");
		return true;
	}
	if (strcmp(code, "no_such_table") == 0 && in->c->full) {
		session_stop(in->c, SESSION_BAD_TABLE);
		return true;
	}
	if (strcmp(code, "table_sync_failed") != 0 && strcmp(code, "no_such_table") != 0)
		return false;
	if (!repair_on_error(in->c, code, table) && strcmp(code, "no_such_table") == 0)
		prove_on_error(in->c, table);
	return true;
}

static cs_status on_error(struct incoming *in)
{
	const char *code = text_of(in, "code");
	const char *message = text_of(in, "message");
	char quoted_code[64];
	char quoted[256];
	char detail[400];

	if (code && is_about_a_request(in, code))
		return CS_OK;
	snprintf(detail, sizeof(detail), "the relay says %s: %s",
		 log_quote(code ? code : "error", quoted_code, sizeof(quoted_code)),
		 log_quote(message ? message : "", quoted, sizeof(quoted)));
	if (code && strcmp(code, "bad_access_code") == 0) {
		session_stop(in->c, SESSION_BAD_ACCESS_CODE);
		return CS_OK;
	}
	if (code && strcmp(code, "bad_table") == 0) {
		/* the relay names the table */
		snprintf(detail, sizeof(detail), SESSION_BAD_TABLE " (%s)", quoted);
		session_stop(in->c, detail);
		return CS_OK;
	}
	if (code && strcmp(code, "database_unavailable") == 0) {
		in->c->level = false;
	}
	event_simple(in->c, "sync_error", detail);
	return CS_OK;
}

static const struct {
	const char *type;
	cs_status (*handle)(struct incoming *in);
} messages[] = {
	{"database_change", on_database_change},
	{"heartbeat", on_heartbeat},
	{"connected", on_connected},
	{"ready", on_ready},
	{"resync_required", on_resync_required},
	{"lagged", on_lagged},
	{"digest_begin", on_digest_begin},
	{"digest", on_digest},
	{"table_sync", on_table_sync},
	{"sync_requested", on_sync_requested},
	{"full_sync", on_full_sync},
	{"full_sync_end", on_full_sync_end},
	{"error", on_error},
};

static cs_status dispatch(struct incoming *in)
{
	const char *type = text_of(in, "type");
	cs_status st = CS_OK;

	if (!type)
		return cs_fail(in->err, CS_ERR_PROTOCOL, "a message has no type");
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		if (strcmp(messages[i].type, type) != 0)
			continue;
		/* all else speaks of the file as it is after the frames before it */
		if (messages[i].handle != on_database_change)
			st = apply_held(in->c, in->err);
		return st == CS_OK ? messages[i].handle(in) : st;
	}
	return CS_OK; /* from a newer relay; the protocol says: ignore */
}

/* The link is of no more use; what the next one asks for depends on what went wrong. */
static clinic_cache_status break_link(struct clinic_cache *c, uint64_t now_ms,
				      const struct cs_error *err)
{
	c->link = LINK_BROKEN;
	c->level = false;
	session_void(c, now_ms);
	if (err->status == CS_ERR_DIVERGED)
		session_want_fresh(c, now_ms);
	event_simple(c, "sync_error", err->text);
	return cache_result(c, err);
}

/* Changes wait unread until they are applied, rows until they are staged. */
static json_t *parse(const void *bytes, size_t len)
{
	json_t *envelope = envelope_parse(bytes, len);
	const char *type = json_string_value(json_object_get(envelope, "type"));

	if (type && (strcmp(type, "database_change") == 0 || strcmp(type, "table_sync") == 0))
		return envelope;
	json_decref(envelope);
	/* the parser's own error text would quote the message */
	return json_loadb(bytes, len, JSON_REJECT_DUPLICATES, NULL);
}

static clinic_cache_status receive(struct clinic_cache *c, uint64_t now_ms, const void *bytes,
				   size_t len, bool ahead)
{
	struct cs_error err = {0};
	struct incoming in = {.c = c, .bytes = bytes, .len = len, .ahead = ahead, .err = &err};
	json_t *message = NULL;
	cs_status st;

	c->now_ms = now_ms;
	c->alive_at = now_ms;
	if (c->stopped)
		return CLINIC_CACHE_ERR_REFUSED;
	if (c->link == LINK_BROKEN)
		return c->last_error.status;
	if (c->link == LINK_DOWN || c->link == LINK_CONNECTING) {
		(void)cs_fail(&err, CS_ERR_CONFIG, "a message came without a link");
		return cache_result(c, &err);
	}
	if (len > CACHE_MESSAGE_BYTES_MOST)
		st = cs_fail(&err, CS_ERR_PROTOCOL, "a message is too long");
	else
		message = parse(bytes, len);
	if (json_is_object(message)) {
		in.message = message;
		st = dispatch(&in);
	} else {
		st = cs_fail(&err, CS_ERR_PROTOCOL, "a message is no JSON object");
	}
	json_decref(message);
	if (c->stopped)
		return CLINIC_CACHE_ERR_REFUSED;
	return st == CS_OK ? CLINIC_CACHE_OK : break_link(c, now_ms, &err);
}

clinic_cache_status clinic_cache_receive(struct clinic_cache *c, uint64_t now_ms, const void *bytes,
					 size_t len)
{
	return receive(c, now_ms, bytes, len, false);
}

clinic_cache_status clinic_cache_receive_ahead(struct clinic_cache *c, uint64_t now_ms,
					       const void *bytes, size_t len)
{
	return receive(c, now_ms, bytes, len, true);
}

bool clinic_cache_holds(const struct clinic_cache *c)
{
	return c->hold.count > 0;
}

clinic_cache_status clinic_cache_apply_held(struct clinic_cache *c, uint64_t now_ms)
{
	struct cs_error err = {0};

	if (apply_held(c, &err) != CS_OK)
		return break_link(c, now_ms, &err);
	return CLINIC_CACHE_OK;
}
