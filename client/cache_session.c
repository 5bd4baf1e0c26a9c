/*
 * What the driver should do now.
 *
 * The link and the download are independent of each other: while a snapshot
 * is fetched the link stays up (and may break and come back), and a request
 * for frames goes out only when no snapshot is wanted any more.
 */
#include "cache_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MOST_MS 60000
#define CLOSE_BAD_ACCESS_CODE 4401
#define CLOSE_BAD_TABLE 4404

static uint32_t jittered(struct backoff *b)
{
	uint64_t random;

	sqlite3_randomness(sizeof(random), &random);
	return backoff_next_ms(b, random);
}

/*
 * The first attempt after a link that was good: with the relay all its devices
 * lost theirs, and it said how long they should spread their coming back.
 */
static uint32_t spread(struct clinic_cache *c)
{
	uint32_t random, most_ms = c->reconnect_spread_ms;

	c->reconnect_spread_ms = 0;
	sqlite3_randomness(sizeof(random), &random);
	return random % (most_ms + 1);
}

void session_stop(struct clinic_cache *c, const char *why)
{
	struct cs_error err = {0};

	if (c->stopped)
		return;
	c->stopped = true;
	c->level = false;
	(void)cs_fail(&err, CS_ERR_REFUSED, "%s", why);
	(void)cache_result(c, &err);
	event_simple(c, "sync_error", err.text);
}

void session_want_fresh(struct clinic_cache *c, uint64_t now_ms)
{
	int64_t count = 0;
	char text[24];

	c->fresh_wanted = true;
	/* if it goes wrong right after each snapshot, at least not in a tight loop */
	c->fetch_at = now_ms + jittered(&c->fetch_backoff);
	if (!c->db ||
	    store_integer(c->db, "SELECT value FROM main.clinic_sync_meta WHERE key = 'diverged'",
			  &count, NULL) != CS_OK)
		return;
	snprintf(text, sizeof(text), "%lld", (long long)count + 1);
	/* the file remembers it too, should this process end first; the event was told in any case
	 */
	if (meta_set(c->db, "fresh_wanted", "1", NULL) != CS_OK ||
	    meta_set(c->db, "diverged", text, NULL) != CS_OK)
		store_rollback(c->db);
}

/* ---- messages to the relay -------------------------------------------------------------- */

bool session_is_full(const struct clinic_cache *c)
{
	return c->outgoing_count == CACHE_OUTGOING_MOST;
}

bool clinic_cache_has_frame(const struct clinic_cache *c)
{
	return c->outgoing_count > 0 && !c->stopped;
}

cs_status session_send(struct clinic_cache *c, char *message, struct cs_error *err)
{
	if (!message)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	if (session_is_full(c)) {
		free(message);
		return cs_fail(err, CS_ERR_PROTOCOL, "too many messages wait to be sent");
	}
	c->outgoing[c->outgoing_count++] = message;
	return CS_OK;
}

static void drop_outgoing(struct clinic_cache *c)
{
	for (size_t i = 0; i < c->outgoing_count; i++)
		free(c->outgoing[i]);
	c->outgoing_count = 0;
}

/* The text of a JSON object that is used up; NULL when memory ran out on the way. */
static char *dump(json_t *object)
{
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	json_decref(object);
	return text;
}

static cs_status send_client_info(struct clinic_cache *c, struct cs_error *err)
{
	int64_t request = prove_sync_request(c);
	json_t *message = json_pack("{s:s, s:s, s:s*, s:s*, s:s*}", "type", "client_info",
				    "device_id", c->device_id, "name", c->device_name,
				    "app_version", c->app_version, "access_code", c->access_code);

	if (message && request >= 0 &&
	    json_object_set_new(message, "sync_request", json_integer(request)) != 0) {
		json_decref(message);
		message = NULL;
	}
	return session_send(c, dump(message), err);
}

cs_status session_request(struct clinic_cache *c, struct cs_error *err)
{
	const char *cursor = c->fresh_wanted || !c->cursor[0] ? NULL : c->cursor;
	json_t *tables = c->wanted_count ? json_array() : json_null();

	for (size_t i = 0; tables && i < c->wanted_count; i++) {
		if (json_array_append_new(tables, json_string(c->wanted[i])) != 0) {
			json_decref(tables);
			tables = NULL;
		}
	}
	c->link = LINK_ASKED;
	if (!tables)
		return cs_fail(err, CS_ERR_NOMEM, "out of memory");
	return session_send(c,
			    dump(json_pack("{s:s, s:s?, s:o}", "type", "request_sync", "cursor",
					   cursor, "tables", tables)),
			    err);
}

const char *clinic_cache_next_frame(struct clinic_cache *c, size_t *len)
{
	free(c->sending);
	c->sending = NULL;
	*len = 0;
	if (c->outgoing_count == 0 || c->stopped)
		return NULL;
	c->sending = c->outgoing[0];
	c->outgoing_count--;
	memmove(c->outgoing, c->outgoing + 1, c->outgoing_count * sizeof(c->outgoing[0]));
	*len = strlen(c->sending);
	return c->sending;
}

/* The snapshot stays wanted; later, or never again when the relay says so for good. */
static void fetch_later(struct clinic_cache *c, uint64_t now_ms)
{
	c->fetching = false;
	c->fetch_at = now_ms + jittered(&c->fetch_backoff);
}

/* ---- the link --------------------------------------------------------------------------- */

void clinic_cache_connected(struct clinic_cache *c, uint64_t now_ms)
{
	struct cs_error err = {0};
	cs_status st;

	drop_outgoing(c);
	c->link = LINK_OPEN;
	c->now_ms = now_ms;
	c->alive_at = now_ms;
	c->level = false;
	st = send_client_info(c, &err);
	if (st == CS_OK && !c->snapshot_wanted)
		st = session_request(c, &err);
	if (st != CS_OK) {
		c->link = LINK_BROKEN;
		(void)cache_result(c, &err);
	}
}

void session_void(struct clinic_cache *c, uint64_t now_ms)
{
	c->now_ms = now_ms;
	hold_clear(c);
	stage_close(c->stage);
	c->stage = NULL;
	prove_reset(c);
	repair_reset(c);
	if (!c->full)
		return;
	full_free(c);
	fetch_later(c, now_ms);
}

void clinic_cache_disconnected(struct clinic_cache *c, uint64_t now_ms, int close_code,
			       const char *reason)
{
	drop_outgoing(c);
	/* they come again */
	session_void(c, now_ms);
	c->level = false;
	c->link = LINK_DOWN;
	c->retry_at = now_ms + jittered(&c->link_backoff) + spread(c);
	event_simple(c, "disconnected", reason);
	if (close_code == CLOSE_BAD_ACCESS_CODE)
		session_stop(c, SESSION_BAD_ACCESS_CODE);
	else if (close_code == CLOSE_BAD_TABLE)
		session_stop(c, SESSION_BAD_TABLE);
}

void clinic_cache_alive(struct clinic_cache *c, uint64_t now_ms)
{
	c->alive_at = now_ms;
}

static bool is_open(const struct clinic_cache *c)
{
	return c->link == LINK_OPEN || c->link == LINK_ASKED || c->link == LINK_READY;
}

void session_full_failed(struct clinic_cache *c, const char *why)
{
	full_free(c);
	fetch_later(c, c->now_ms);
	event_simple(c, "sync_error", why);
}

/* All tables over the link, instead of a file over HTTP. */
static void full_tick(struct clinic_cache *c)
{
	struct cs_error err = {0};

	if (full_is_silent(c))
		session_full_failed(c, "the relay does not send the tables");
	if (!c->full_by_link || !c->snapshot_wanted || c->fetching || c->link != LINK_OPEN ||
	    c->now_ms < c->fetch_at)
		return;
	c->fetching = true;
	if (full_request(c, &err) != CS_OK)
		session_full_failed(c, err.text);
}

bool clinic_cache_tick(struct clinic_cache *c, uint64_t now_ms)
{
	c->now_ms = now_ms;
	if (c->link == LINK_BROKEN)
		return false;
	if (!is_open(c) || now_ms < c->alive_at + c->dead_after_ms) {
		full_tick(c);
		drift_tick(c);
		prove_tick(c);
		repair_tick(c);
		return c->link != LINK_BROKEN;
	}
	c->link = LINK_BROKEN;
	c->level = false;
	return false;
}

bool clinic_cache_is_stopped(const struct clinic_cache *c)
{
	return c->stopped;
}

bool clinic_cache_is_level(const struct clinic_cache *c)
{
	return c->level && c->link == LINK_READY && c->hold.count == 0;
}

/* ---- the snapshot ----------------------------------------------------------------------- */

static void add_query(struct dynbuf *b, const char *name, bool *first)
{
	dynbuf_addf(b, "%c%s=", *first ? '?' : '&', name);
	*first = false;
}

static void add_escaped(struct dynbuf *b, const char *text)
{
	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text;

		if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
		    (byte >= '0' && byte <= '9') || strchr("-_.~", byte))
			dynbuf_add(b, text, 1);
		else
			dynbuf_addf(b, "%%%02X", byte);
	}
}

static cs_status make_fetch_path(struct clinic_cache *c, struct cs_error *err)
{
	struct dynbuf path;
	bool first = true;

	dynbuf_init(&path, CACHE_TABLES_MOST * 200);
	dynbuf_adds(&path, "/db/download");
	if (c->snapshot_min[0]) {
		add_query(&path, "min", &first);
		add_escaped(&path, c->snapshot_min);
	}
	for (size_t i = 0; i < c->wanted_count; i++) {
		if (i == 0)
			add_query(&path, "tables", &first);
		else
			dynbuf_adds(&path, ",");
		add_escaped(&path, c->wanted[i]);
	}
	free(c->fetch_path);
	c->fetch_path = path.data; /* the caller's now */
	return path.failed ? cs_fail(err, CS_ERR_NOMEM, "out of memory") : CS_OK;
}

clinic_cache_status clinic_cache_snapshot_fetched(struct clinic_cache *c, uint64_t now_ms)
{
	struct cs_error err = {0};
	cs_status st;

	if (!c->fetching) {
		(void)cs_fail(&err, CS_ERR_CONFIG, "no snapshot was asked for");
		return cache_result(c, &err);
	}
	st = snapshot_apply(c, &err);
	if (st == CS_ERR_CONFIG)
		/* nothing that trying again would change */
		c->stopped = true;
	if (st != CS_OK) {
		fetch_later(c, now_ms);
		(void)cache_result(c, &err);
		event_simple(c, "sync_error", err.text);
		return c->last_error.status;
	}
	c->fetching = false;
	c->snapshot_wanted = false;
	c->fresh_wanted = false;
	repair_snapshot_applied(c);
	prove_file_arrived(c);
	event_snapshot(c);
	/* applying may have taken longer than a link may be silent */
	c->alive_at = now_ms;
	st = c->link == LINK_OPEN ? session_request(c, &err) : CS_OK;
	return st == CS_OK ? CLINIC_CACHE_OK : cache_result(c, &err);
}

void clinic_cache_snapshot_failed(struct clinic_cache *c, uint64_t now_ms, int http_status,
				  const char *reason)
{
	char detail[400];

	if (!c->fetching)
		return;
	fetch_later(c, now_ms);
	snprintf(detail, sizeof(detail), "the snapshot could not be fetched: %s",
		 reason ? reason : "no answer");
	if (http_status == 401) {
		session_stop(c, SESSION_BAD_ACCESS_CODE);
		return;
	}
	if (http_status == 404 && c->wanted_count) {
		session_stop(c, SESSION_BAD_TABLE);
		return;
	}
	event_simple(c, "sync_error", detail);
	if (http_status == 400 || http_status == 409 || http_status == 410 || http_status == 412) {
		/* it does not know the cursor any more: ask for a new one to wait for */
		c->snapshot_wanted = false;
		if (c->link == LINK_OPEN && session_request(c, NULL) != CS_OK)
			c->link = LINK_BROKEN;
	}
}

/* ---- what to do now --------------------------------------------------------------------- */

static uint32_t until(uint64_t at, uint64_t now_ms, uint32_t most)
{
	if (at <= now_ms)
		return 0;
	return at - now_ms < most ? (uint32_t)(at - now_ms) : most;
}

/* The file may have gone, or come back, since the last link. */
static bool file_is_open(struct clinic_cache *c, uint64_t now_ms)
{
	struct cs_error err = {0};

	(void)cache_file_moved(c);
	if (c->db || cache_open_file(c, &err) == CS_OK)
		return true;
	c->retry_at = now_ms + jittered(&c->link_backoff);
	(void)cache_result(c, &err);
	event_simple(c, "sync_error", err.text);
	return false;
}

void clinic_cache_next_action(struct clinic_cache *c, uint64_t now_ms,
			      struct clinic_cache_todo *out)
{
	struct cs_error err = {0};

	memset(out, 0, sizeof(*out));
	c->now_ms = now_ms;
	if (c->stopped) {
		out->action = CLINIC_CACHE_STOP;
		return;
	}
	if (c->snapshot_wanted && !c->full_by_link && !c->fetching && now_ms >= c->fetch_at &&
	    make_fetch_path(c, &err) == CS_OK) {
		c->fetching = true;
		out->action = CLINIC_CACHE_FETCH_SNAPSHOT;
		out->fetch_path = c->fetch_path;
		out->fetch_file = c->part_path;
		return;
	}
	if (c->link == LINK_DOWN && now_ms >= c->retry_at && file_is_open(c, now_ms)) {
		c->link = LINK_CONNECTING;
		out->action = CLINIC_CACHE_CONNECT;
		out->url = c->url;
		return;
	}
	out->action = CLINIC_CACHE_WAIT;
	out->wait_ms = WAIT_MOST_MS;
	if (c->link == LINK_DOWN)
		out->wait_ms = until(c->retry_at, now_ms, out->wait_ms);
	if (c->snapshot_wanted && !c->fetching)
		out->wait_ms = until(c->fetch_at, now_ms, out->wait_ms);
	if (is_open(c))
		out->wait_ms = until(c->alive_at + c->dead_after_ms, now_ms, out->wait_ms);
	out->wait_ms = prove_wait_ms(c, out->wait_ms);
	out->wait_ms = repair_wait_ms(c, out->wait_ms);
}
