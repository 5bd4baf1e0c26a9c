/*
 * clinic-cache watch: the changes as they happen, without a file.
 *
 * There is no cache here and so no promise of completeness: it begins at the
 * server's present cursor (GET /status), follows with that of each frame, and
 * begins anew where the server says that no frame can continue from it.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "backoff.h"
#include "cli_access.h"
#include "cli_output.h"
#include "clock.h"
#include "cursor.h"
#include "link_http.h"
#include "link_ws.h"

#define STEP_MS 1000
#define CURSOR_RETRY_MS 1000
#define RECONNECT_LEAST_MS 1000
#define RECONNECT_MOST_MS 60000
#define MAX_REQUEST_BYTES ((size_t)1024 * 1024)
#define CLOSE_BAD_ACCESS_CODE 4401
#define CLOSE_BAD_TABLE 4404
#define CLOSE_BAD_MESSAGE 4400
#define CLOSE_NORMAL 1000

struct watch {
	const struct cli_options *options;
	struct link_loop *loop;
	struct link_url url;
	struct cli_access access;
	struct backoff backoff;
	uint64_t retry_at_ms;
	char cursor[CURSOR_TEXT_BYTES]; /* empty: ask GET /status first */
	char device_id[24];
	struct link_http *http;
	struct link_ws *ws;
	bool http_ended;
	bool ws_ended;
	bool was_connected;
	bool output_failed;
	bool say_hello;   /* client_info is due */
	bool say_request; /* request_sync is due */
	struct dynbuf outgoing;
	int exit_code; /* set to end */
	bool ended;
};

static void end(struct watch *w, int exit_code, const char *why)
{
	if (w->ended)
		return;
	w->ended = true;
	w->exit_code =
		exit_code == EXIT_DONE ? EXIT_DONE : cli_fail(w->options, exit_code, "%s", why);
}

static void retry_later(struct watch *w)
{
	uint64_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		log_debug("no randomness for the reconnect delay");
	w->retry_at_ms = clock_monotonic_ms() + backoff_next_ms(&w->backoff, random);
}

/* Before the first success nobody knows that the address is right: say so and end. */
static void lost(struct watch *w, const char *reason)
{
	char text[640];

	if (w->ended)
		return;
	if (!w->was_connected) {
		snprintf(text, sizeof(text), "cannot reach %s: %s", w->url.host_header, reason);
		end(w, EXIT_UNREACHABLE, text);
		return;
	}
	log_info("disconnected: %s", reason);
	retry_later(w);
}

/* ---- the present cursor ------------------------------------------------------------------ */

static void status_line(void *context, const char *bytes, size_t len)
{
	struct watch *w = context;
	json_t *status = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, NULL);
	const char *cursor = json_string_value(json_object_get(status, "cursor"));

	if (cursor && strlen(cursor) < sizeof(w->cursor))
		strcpy(w->cursor, cursor);
	json_decref(status);
}

static void status_done(void *context, int http_status, const char *problem)
{
	struct watch *w = context;

	char text[64];

	snprintf(text, sizeof(text), "not a relay (HTTP status %d)", http_status);
	w->http_ended = true;
	if (problem)
		lost(w, http_status >= 400 && http_status < 500 ? text : problem);
	else if (!w->cursor[0])
		w->retry_at_ms = clock_monotonic_ms() + CURSOR_RETRY_MS;
}

static const struct link_http_events status_events = {
	.on_line = status_line,
	.on_done = status_done,
};

static void ask_cursor(struct watch *w)
{
	struct link_http_request request = {.url = &w->url, .path = "/status"};
	struct cs_error err = {0};

	if (link_http_get(w->loop, &request, &status_events, w, &w->http, &err) != CS_OK)
		lost(w, err.text);
}

/* ---- what is sent ------------------------------------------------------------------------ */

static const char *hello(struct watch *w)
{
	dynbuf_adds(&w->outgoing, "{");
	cli_json_text(&w->outgoing, "type", "client_info");
	cli_json_text(&w->outgoing, "device_id", w->device_id);
	cli_json_text(&w->outgoing, "name", w->options->name ? w->options->name : "watch");
	cli_json_text(&w->outgoing, "app_version", CLINIC_SYNC_VERSION);
	cli_json_text(&w->outgoing, "access_code", w->access.code);
	return dynbuf_adds(&w->outgoing, "}") ? w->outgoing.data : NULL;
}

static const char *request_sync(struct watch *w)
{
	const struct cli_options *options = w->options;

	dynbuf_adds(&w->outgoing, "{");
	cli_json_text(&w->outgoing, "type", "request_sync");
	cli_json_text(&w->outgoing, "cursor", w->cursor);
	if (options->table_count == 0) {
		cli_json_text(&w->outgoing, "tables", NULL);
		return dynbuf_adds(&w->outgoing, "}") ? w->outgoing.data : NULL;
	}
	for (size_t i = 0; i < options->table_count; i++) {
		dynbuf_adds(&w->outgoing, i ? "," : ",\"tables\":[");
		dynbuf_add_json(&w->outgoing, options->tables[i], strlen(options->tables[i]));
	}
	return dynbuf_adds(&w->outgoing, "]}") ? w->outgoing.data : NULL;
}

static const char *ws_next_frame(void *context, size_t *len)
{
	struct watch *w = context;
	const char *text = NULL;

	dynbuf_reset(&w->outgoing);
	if (w->say_hello) {
		w->say_hello = false;
		text = hello(w);
	} else if (w->say_request) {
		w->say_request = false;
		text = request_sync(w);
	}
	*len = w->outgoing.len;
	return text;
}

/* ---- what arrives ------------------------------------------------------------------------ */

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static void print(struct watch *w, const struct clinic_cache_event *event)
{
	bool written = w->options->json ? cli_write_event_json(stdout, event)
					: cli_write_event_text(stdout, event);

	if (!written)
		w->output_failed = true;
}

static void print_change(struct watch *w, const json_t *change, const char *cursor)
{
	struct clinic_cache_event event = {.cursor = cursor, .rows = -1};
	json_t *key = json_object_get(change, "key");
	char *key_text = NULL;

	event.type = text_of(change, "event");
	event.table = text_of(change, "table");
	event.operation = text_of(change, "operation");
	event.origin = text_of(change, "origin");
	if (json_is_object(key))
		key_text = json_dumps(key, JSON_COMPACT | JSON_PRESERVE_ORDER);
	event.key = key_text;
	if (event.type)
		print(w, &event);
	free(key_text);
}

static void take_frame(struct watch *w, const json_t *frame)
{
	const char *to = text_of(frame, "to");
	const json_t *last = json_object_get(frame, "last");
	const json_t *changes = json_object_get(frame, "changes");

	if (!to || strlen(to) >= sizeof(w->cursor)) {
		link_ws_close(w->ws, CLOSE_BAD_MESSAGE, "a frame without a cursor");
		return;
	}
	for (size_t i = 0; i < json_array_size(changes); i++)
		print_change(w, json_array_get(changes, i), to);
	/* until its last part is here, a giant batch would have to be sent again */
	if (!json_is_false(last))
		strcpy(w->cursor, to);
}

static void take_resync(struct watch *w, const json_t *message)
{
	const char *reason = text_of(message, "reason");
	struct clinic_cache_event event = {.type = "sync_error", .detail = reason, .rows = -1};

	print(w, &event);
	w->cursor[0] = '\0';
	w->retry_at_ms = clock_monotonic_ms() + CURSOR_RETRY_MS;
	link_ws_close(w->ws, CLOSE_NORMAL, "starting again at the present cursor");
}

static void take_error(struct watch *w, const json_t *message)
{
	const char *code = text_of(message, "code");
	const char *text = text_of(message, "message");
	char quoted[256];

	log_quote(text ? text : (code ? code : "error"), quoted, sizeof(quoted));
	if (code && (strcmp(code, "bad_access_code") == 0 || strcmp(code, "bad_table") == 0))
		end(w, EXIT_REFUSED, quoted);
	else
		log_warning("relay: %s", quoted);
}

static void ws_message(void *context, const char *bytes, size_t len)
{
	struct watch *w = context;
	json_t *message = json_loadb(bytes, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	const char *type = text_of(message, "type");

	if (!type)
		link_ws_close(w->ws, CLOSE_BAD_MESSAGE, "not a message");
	else if (strcmp(type, "database_change") == 0 || strcmp(type, "heartbeat") == 0)
		take_frame(w, message);
	else if (strcmp(type, "resync_required") == 0)
		take_resync(w, message);
	else if (strcmp(type, "error") == 0)
		take_error(w, message);
	else if (strcmp(type, "ready") == 0)
		log_info("watching");
	json_decref(message);
}

static void ws_opened(void *context)
{
	struct watch *w = context;

	w->was_connected = true;
	backoff_reset(&w->backoff);
	w->say_hello = true;
	w->say_request = true;
	link_ws_want_write(w->ws);
}

static void ws_alive(void *context)
{
	(void)context; /* the link's own pings notice a dead relay */
}

static void ws_closed(void *context, int code, const char *reason)
{
	struct watch *w = context;

	w->ws_ended = true;
	if (code == CLOSE_BAD_ACCESS_CODE || code == CLOSE_BAD_TABLE)
		end(w, EXIT_REFUSED, reason);
	else if (w->cursor[0] || !w->was_connected)
		lost(w, reason);
}

static const struct link_ws_events ws_events = {
	.on_open = ws_opened,
	.on_message = ws_message,
	.next_frame = ws_next_frame,
	.on_alive = ws_alive,
	.on_close = ws_closed,
};

/* ---- the loop ---------------------------------------------------------------------------- */

static void sweep(struct watch *w)
{
	if (w->http_ended) {
		link_http_free(w->http);
		w->http = NULL;
		w->http_ended = false;
	}
	if (w->ws_ended) {
		link_ws_free(w->ws);
		w->ws = NULL;
		w->ws_ended = false;
	}
}

static void begin_what_is_due(struct watch *w)
{
	struct cs_error err = {0};

	if (w->http || w->ws || clock_monotonic_ms() < w->retry_at_ms)
		return;
	if (!w->cursor[0])
		ask_cursor(w);
	else if (link_ws_open(w->loop, &w->url, &ws_events, w, &w->ws, &err) != CS_OK)
		lost(w, err.text);
}

static int run(struct watch *w)
{
	while (!w->ended && !link_loop_signal(w->loop)) {
		uint64_t now;
		uint32_t wait_ms = STEP_MS;

		sweep(w);
		begin_what_is_due(w);
		now = clock_monotonic_ms();
		if (now < w->retry_at_ms && w->retry_at_ms - now < wait_ms)
			wait_ms = (uint32_t)(w->retry_at_ms - now);
		if (!w->ended)
			link_loop_step(w->loop, wait_ms);
		/* whoever read our lines has had enough */
		if (w->output_failed)
			end(w, EXIT_DONE, NULL);
	}
	return w->exit_code;
}

static bool make_device_id(struct watch *w)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return false;
	snprintf(w->device_id, sizeof(w->device_id), "watch-%016llx", (unsigned long long)random);
	return true;
}

int cli_watch(const struct cli_options *options)
{
	struct watch w = {.options = options};
	struct cs_error err = {0};
	int exit_code;

	backoff_init(&w.backoff, RECONNECT_LEAST_MS, RECONNECT_MOST_MS);
	dynbuf_init(&w.outgoing, MAX_REQUEST_BYTES);
	if (!make_device_id(&w))
		cs_fail(&err, CS_ERR_CONFIG, "no randomness for a device id");
	if (err.status != CS_OK || link_url_parse(options->url, &w.url, &err) != CS_OK ||
	    cli_access_load(options, &w.access, &err) != CS_OK ||
	    link_loop_new(&w.loop, &err) != CS_OK)
		exit_code = cli_fail_status(options, &err);
	else
		exit_code = run(&w);
	link_ws_goodbye(w.ws);
	link_ws_free(w.ws);
	link_http_free(w.http);
	cli_access_forget(&w.access);
	link_loop_free(w.loop);
	if (w.outgoing.data)
		explicit_bzero(w.outgoing.data, w.outgoing.cap);
	dynbuf_free(&w.outgoing);
	return exit_code;
}
