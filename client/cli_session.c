/*
 * The driver of the library; see cli_session.h.
 *
 * Callbacks of the links only hand over; links and requests that have ended
 * are freed between two steps, never inside their own callback.
 */
#include "cli_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli_progress.h"
#include "clock.h"
#include "link_http.h"
#include "link_ws.h"

#define CLOSE_NORMAL 1000
#define CLOSE_PROTOCOL_ERROR 4400
#define HOLD_MOST_MS 100 /* so long may a frame wait for others to be applied with */

struct cli_session {
	struct link_loop *loop;
	struct clinic_cache *cache;
	const char *access_code; /* borrowed */
	struct link_url url;
	struct link_ws *ws;     /* NULL: not connected, not connecting */
	struct link_http *http; /* NULL: no download runs */
	bool ws_ended;
	bool http_ended;
	uint64_t held_since; /* when the first of the frames that are held came */
	struct cli_progress progress;
	bool broken; /* by the library, which said why: that the link ends then is no news */
	char trouble[700];
};

/* ---- what the links say ---------------------------------------------------------------- */

static void ws_opened(void *context)
{
	struct cli_session *s = context;

	s->trouble[0] = '\0';
	clinic_cache_connected(s->cache, clock_monotonic_ms());
	link_ws_want_write(s->ws);
}

/* The library had a message. */
static void answer(struct cli_session *s, clinic_cache_status status)
{
	if (!s->ws)
		return;
	if (status == CLINIC_CACHE_OK) {
		link_ws_want_write(s->ws);
		return;
	}
	/* the event sync_error has told of it */
	s->broken = true;
	snprintf(s->trouble, sizeof(s->trouble), "%s", clinic_cache_last_error(s->cache)->text);
	if (status == CLINIC_CACHE_ERR_PROTOCOL)
		link_ws_close(s->ws, CLOSE_PROTOCOL_ERROR, "protocol error");
	else if (status != CLINIC_CACHE_ERR_REFUSED)
		link_ws_close(s->ws, CLOSE_NORMAL, "the cache cannot go on");
}

static void ws_message(void *context, const char *bytes, size_t len)
{
	struct cli_session *s = context;

	if (!clinic_cache_holds(s->cache))
		s->held_since = clock_monotonic_ms();
	answer(s, clinic_cache_receive_ahead(s->cache, clock_monotonic_ms(), bytes, len));
}

/* While the socket has more, what came already waits for it. */
static void apply_held(struct cli_session *s)
{
	if (!clinic_cache_holds(s->cache) ||
	    (link_ws_more_waits(s->ws) && clock_monotonic_ms() < s->held_since + HOLD_MOST_MS))
		return;
	answer(s, clinic_cache_apply_held(s->cache, clock_monotonic_ms()));
}

static const char *ws_next_frame(void *context, size_t *len)
{
	struct cli_session *s = context;

	return clinic_cache_next_frame(s->cache, len);
}

static void ws_alive(void *context)
{
	struct cli_session *s = context;

	clinic_cache_alive(s->cache, clock_monotonic_ms());
}

static void ws_closed(void *context, int code, const char *reason)
{
	struct cli_session *s = context;

	s->ws_ended = true;
	if (!s->broken)
		snprintf(s->trouble, sizeof(s->trouble), "%s", reason);
	s->broken = false;
	clinic_cache_disconnected(s->cache, clock_monotonic_ms(), code, reason);
}

static const struct link_ws_events ws_events = {
	.on_open = ws_opened,
	.on_message = ws_message,
	.next_frame = ws_next_frame,
	.on_alive = ws_alive,
	.on_close = ws_closed,
};

static void download_progress(void *context, uint64_t have_bytes, uint64_t total_bytes)
{
	struct cli_session *s = context;

	cli_progress_show(&s->progress, have_bytes, total_bytes);
}

static void download_done(void *context, int http_status, const char *problem)
{
	struct cli_session *s = context;

	s->http_ended = true;
	cli_progress_clear(&s->progress);
	if (problem) {
		snprintf(s->trouble, sizeof(s->trouble), "snapshot: %s", problem);
		clinic_cache_snapshot_failed(s->cache, clock_monotonic_ms(), http_status, problem);
		return;
	}
	if (clinic_cache_snapshot_fetched(s->cache, clock_monotonic_ms()) != CLINIC_CACHE_OK)
		snprintf(s->trouble, sizeof(s->trouble), "%s",
			 clinic_cache_last_error(s->cache)->text);
	else if (s->ws)
		link_ws_want_write(s->ws);
}

static const struct link_http_events download_events = {
	.on_progress = download_progress,
	.on_done = download_done,
};

/* ---- what the library asks for --------------------------------------------------------- */

static void begin_connect(struct cli_session *s, const char *url)
{
	struct cs_error err = {0};

	if (link_url_parse(url, &s->url, &err) == CS_OK &&
	    link_ws_open(s->loop, &s->url, &ws_events, s, &s->ws, &err) == CS_OK)
		return;
	snprintf(s->trouble, sizeof(s->trouble), "%s", err.text);
	clinic_cache_disconnected(s->cache, clock_monotonic_ms(), 0, err.text);
}

static void begin_download(struct cli_session *s, const struct clinic_cache_todo *todo)
{
	struct link_http_request request = {
		.url = &s->url,
		.path = todo->fetch_path,
		.bearer = s->access_code,
		.save_as = todo->fetch_file,
	};
	struct cs_error err = {0};

	if (link_http_get(s->loop, &request, &download_events, s, &s->http, &err) == CS_OK)
		return;
	snprintf(s->trouble, sizeof(s->trouble), "snapshot: %s", err.text);
	clinic_cache_snapshot_failed(s->cache, clock_monotonic_ms(), 0, err.text);
}

/* Free what has ended; the next action may need the place. */
static void sweep(struct cli_session *s)
{
	if (s->ws_ended) {
		link_ws_free(s->ws);
		s->ws = NULL;
		s->ws_ended = false;
	}
	if (s->http_ended) {
		link_http_free(s->http);
		s->http = NULL;
		s->http_ended = false;
	}
}

/* Returns how long there is nothing to begin. */
static uint32_t act(struct cli_session *s, uint32_t wait_ms)
{
	struct clinic_cache_todo todo;

	clinic_cache_next_action(s->cache, clock_monotonic_ms(), &todo);
	switch (todo.action) {
	case CLINIC_CACHE_WAIT:
		return todo.wait_ms < wait_ms ? todo.wait_ms : wait_ms;
	case CLINIC_CACHE_CONNECT:
		if (!s->ws)
			begin_connect(s, todo.url);
		break;
	case CLINIC_CACHE_FETCH_SNAPSHOT:
		if (!s->http)
			begin_download(s, &todo);
		break;
	case CLINIC_CACHE_STOP:
		return 1;
	}
	return wait_ms;
}

void cli_session_step(struct cli_session *s, uint32_t wait_ms)
{
	sweep(s);
	wait_ms = act(s, wait_ms);
	if (cli_session_is_stopped(s))
		return;
	link_loop_step(s->loop, wait_ms);
	apply_held(s);
	/* last, so that the caller sees what time alone decides (level, stopped) without delay */
	if (!clinic_cache_tick(s->cache, clock_monotonic_ms()) && s->ws)
		link_ws_close(s->ws, CLOSE_NORMAL, "the link was silent too long");
	else if (s->ws && clinic_cache_has_frame(s->cache))
		link_ws_want_write(s->ws);
}

/* ---- life ------------------------------------------------------------------------------ */

/* The address for downloads: given now, or remembered in the file. */
static clinic_cache_status find_url(struct cli_session *s, const struct cli_options *options,
				    struct clinic_cache_error *err)
{
	struct clinic_cache_file_status file;
	struct cs_error problem = {0};
	clinic_cache_status status;

	if (!options->url && access(options->db, F_OK) != 0 && errno == ENOENT) {
		cs_fail(&problem, CS_ERR_CONFIG,
			"%s does not exist yet: a new file needs --url, the relay to sync with",
			options->db);
	} else if (options->url) {
		if (link_url_parse(options->url, &s->url, &problem) == CS_OK)
			return CLINIC_CACHE_OK;
	} else {
		status = clinic_cache_read_status(options->db, &file, err);
		if (status != CLINIC_CACHE_OK)
			return status;
		if (!file.url[0])
			cs_fail(&problem, CS_ERR_CONFIG, "%s knows no relay, name it by --url",
				options->db);
		else if (link_url_parse(file.url, &s->url, &problem) != CS_OK)
			log_debug("the url in the file is not valid");
		clinic_cache_free_status(&file);
		if (!problem.status)
			return CLINIC_CACHE_OK;
	}
	err->status = CLINIC_CACHE_ERR_USAGE;
	snprintf(err->text, sizeof(err->text), "%s", problem.text);
	return err->status;
}

clinic_cache_status cli_session_open(struct link_loop *loop, const struct cli_session_setup *setup,
				     struct cli_session **out, struct clinic_cache_error *err)
{
	const struct cli_options *options = setup->options;
	struct clinic_cache_options cache_options = {
		.url = options->url,
		.access_code = setup->access_code,
		.device_name = options->name,
		.app_version = CLINIC_SYNC_VERSION,
		.tables = (const char *const *)options->tables,
		.table_count = options->table_count,
		.on_event = setup->on_event,
		.context = setup->context,
		.no_change_events = setup->no_change_events,
		.adopt = options->adopt,
		.full_sync = options->full_sync,
		.sync_interval_s = options->sync_interval_s,
		.user_version = options->user_version,
		.app_sqlite_version = options->app_sqlite,
	};
	struct cli_session *s;
	clinic_cache_status status;

	*out = NULL;
	s = calloc(1, sizeof(*s));
	if (!s) {
		err->status = CLINIC_CACHE_ERR_NOMEM;
		snprintf(err->text, sizeof(err->text), "out of memory");
		return err->status;
	}
	s->loop = loop;
	s->access_code = setup->access_code;
	cli_progress_init(&s->progress);
	status = find_url(s, options, err);
	if (status == CLINIC_CACHE_OK)
		status = clinic_cache_open(options->db, &cache_options, &s->cache, err);
	if (status != CLINIC_CACHE_OK)
		goto fail;
	*out = s;
	return CLINIC_CACHE_OK;
fail:
	cli_session_close(s);
	return status;
}

bool cli_session_is_level(const struct cli_session *s)
{
	return link_ws_is_open(s->ws) && !s->http && clinic_cache_is_level(s->cache);
}

bool cli_session_is_stopped(const struct cli_session *s)
{
	return clinic_cache_is_stopped(s->cache);
}

const char *cli_session_trouble(const struct cli_session *s)
{
	return s->trouble;
}

struct clinic_cache *cli_session_cache(struct cli_session *s)
{
	return s->cache;
}

clinic_cache_status cli_session_sync_now(struct cli_session *s, enum clinic_cache_scope scope,
					 const char *table)
{
	clinic_cache_status status =
		clinic_cache_sync_now(s->cache, scope, table, clock_monotonic_ms());

	if (status == CLINIC_CACHE_OK && s->ws)
		link_ws_want_write(s->ws);
	return status;
}

void cli_session_close(struct cli_session *s)
{
	if (!s)
		return;
	cli_progress_clear(&s->progress);
	link_ws_goodbye(s->ws);
	link_ws_free(s->ws);
	link_http_free(s->http);
	if (s->cache)
		clinic_cache_close(s->cache);
	free(s);
}
