/*
 * The SQL functions: the calls of clinic_cache.h, one by one.
 *
 * Those that may touch the file borrow the connection; the others can be made
 * at any time.  Time is the machine's monotonic clock.
 */
#include "loadable.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"

/* ---- errors ----------------------------------------------------------------------------- */

void loadable_fail(sqlite3_context *call, int code, const char *text)
{
	sqlite3_result_error(call, text, -1);
	sqlite3_result_error_code(call, code);
}

void loadable_fail_cache(sqlite3_context *call, const struct clinic_cache_error *error)
{
	const char *advice = "";
	int code = SQLITE_ERROR;
	char text[sizeof(error->text) + 160];

	switch (error->status) {
	case CLINIC_CACHE_ERR_NOMEM:
		sqlite3_result_error_nomem(call);
		return;
	case CLINIC_CACHE_ERR_BUSY:
		code = SQLITE_BUSY;
		break;
	case CLINIC_CACHE_ERR_PROTOCOL:
	case CLINIC_CACHE_ERR_STORE:
		advice = "; if a link is open, close it and call clinic_cache_disconnected(): the "
			 "next one goes on at the cursor";
		break;
	case CLINIC_CACHE_ERR_REFUSED:
		advice = "; do not connect again";
		break;
	case CLINIC_CACHE_OK:
	case CLINIC_CACHE_ERR_USAGE:
		break;
	}
	snprintf(text, sizeof(text), "%s%s", error->text, advice);
	loadable_fail(call, code, text);
}

/* ---- calls ------------------------------------------------------------------------------ */

/* The open cache of a call; NULL: the call has failed. */
static struct loaded *opened(sqlite3_context *call)
{
	struct loaded *l = sqlite3_user_data(call);

	if (l->cache)
		return l;
	loadable_fail(call, SQLITE_ERROR,
		      "no cache is open on this connection; call clinic_cache_open() first");
	return NULL;
}

/* The same, and the connection is borrowed. */
static struct loaded *borrowed(sqlite3_context *call)
{
	struct loaded *l = opened(call);

	return l && borrow_begin(l, call) ? l : NULL;
}

static void finish(sqlite3_context *call, struct loaded *l, clinic_cache_status status)
{
	borrow_end(l);
	if (status == CLINIC_CACHE_OK)
		sqlite3_result_int(call, 1);
	else
		loadable_fail_cache(call, clinic_cache_last_error(l->cache));
}

static const char *text_or_null(sqlite3_value *value)
{
	return (const char *)sqlite3_value_text(value);
}

static void call_version(sqlite3_context *call, int count, sqlite3_value **values)
{
	(void)count;
	(void)values;
	sqlite3_result_text(call, CLINIC_SYNC_VERSION, -1, SQLITE_STATIC);
}

static void call_close(sqlite3_context *call, int count, sqlite3_value **values)
{
	struct loaded *l = opened(call);

	(void)count;
	(void)values;
	if (!l)
		return;
	if (l->inside) {
		loadable_fail(call, SQLITE_BUSY,
			      "clinic_cache_close() was called from within another one");
		return;
	}
	clinic_cache_close(l->cache);
	l->cache = NULL;
	sqlite3_result_int(call, 1);
}

static void call_next_action(sqlite3_context *call, int count, sqlite3_value **values)
{
	struct loaded *l = borrowed(call);
	struct clinic_cache_todo todo;

	(void)count;
	(void)values;
	if (!l)
		return;
	clinic_cache_next_action(l->cache, clock_monotonic_ms(), &todo);
	loadable_show_todo(call, l, &todo);
	borrow_end(l);
}

static void call_connected(sqlite3_context *call, int count, sqlite3_value **values)
{
	struct loaded *l = borrowed(call);

	(void)count;
	(void)values;
	if (!l)
		return;
	clinic_cache_connected(l->cache, clock_monotonic_ms());
	finish(call, l, CLINIC_CACHE_OK);
}

static void call_disconnected(sqlite3_context *call, int count, sqlite3_value **values)
{
	struct loaded *l = borrowed(call);

	(void)count;
	if (!l)
		return;
	clinic_cache_disconnected(l->cache, clock_monotonic_ms(), sqlite3_value_int(values[0]),
				  text_or_null(values[1]));
	finish(call, l, CLINIC_CACHE_OK);
}

static void receive(sqlite3_context *call, sqlite3_value *message, bool ahead)
{
	struct loaded *l;
	/* SQLite frees it when the call ends, not before */
	const void *bytes = sqlite3_value_type(message) == SQLITE_BLOB
				    ? sqlite3_value_blob(message)
				    : sqlite3_value_text(message);
	size_t len = (size_t)sqlite3_value_bytes(message);
	uint64_t now_ms = clock_monotonic_ms();

	if (!bytes) {
		loadable_fail(call, SQLITE_ERROR, "the message is NULL or empty");
		return;
	}
	l = borrowed(call);
	if (l)
		finish(call, l,
		       ahead ? clinic_cache_receive_ahead(l->cache, now_ms, bytes, len)
			     : clinic_cache_receive(l->cache, now_ms, bytes, len));
}

static void call_receive(sqlite3_context *call, int count, sqlite3_value **values)
{
	(void)count;
	receive(call, values[0], false);
}

static void call_receive_ahead(sqlite3_context *call, int count, sqlite3_value **values)
{
	(void)count;
	receive(call, values[0], true);
}

static void call_apply_held(sqlite3_context *call, int count, sqlite3_value **values)
{
	struct loaded *l = borrowed(call);

	(void)count;
	(void)values;
	if (l)
		finish(call, l, clinic_cache_apply_held(l->cache, clock_monotonic_ms()));
}

static void call_next_frame(sqlite3_context *call, int count, sqlite3_value **values)
{
	struct loaded *l = opened(call);
	const char *frame;
	size_t len;

	(void)count;
	(void)values;
	if (!l)
		return;
	frame = clinic_cache_next_frame(l->cache, &len);
	if (frame)
		sqlite3_result_text64(call, frame, len, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static void call_alive(sqlite3_context *call, int count, sqlite3_value **values)
{
	struct loaded *l = opened(call);

	(void)count;
	(void)values;
	if (!l)
		return;
	clinic_cache_alive(l->cache, clock_monotonic_ms());
	sqlite3_result_int(call, 1);
}

static void call_tick(sqlite3_context *call, int count, sqlite3_value **values)
{
	struct loaded *l = borrowed(call);

	(void)count;
	(void)values;
	if (!l)
		return;
	sqlite3_result_int(call, clinic_cache_tick(l->cache, clock_monotonic_ms()));
	borrow_end(l);
}

static void call_snapshot_fetched(sqlite3_context *call, int count, sqlite3_value **values)
{
	struct loaded *l = borrowed(call);

	(void)count;
	(void)values;
	if (l)
		finish(call, l, clinic_cache_snapshot_fetched(l->cache, clock_monotonic_ms()));
}

static void call_snapshot_failed(sqlite3_context *call, int count, sqlite3_value **values)
{
	struct loaded *l = borrowed(call);

	(void)count;
	if (!l)
		return;
	clinic_cache_snapshot_failed(l->cache, clock_monotonic_ms(), sqlite3_value_int(values[0]),
				     text_or_null(values[1]));
	finish(call, l, CLINIC_CACHE_OK);
}

static void call_sync_now(sqlite3_context *call, int count, sqlite3_value **values)
{
	static const struct {
		const char *name;
		enum clinic_cache_scope scope;
	} scopes[] = {
		{"all", CLINIC_CACHE_SCOPE_ALL},
		{"patient_data", CLINIC_CACHE_SCOPE_PATIENT_DATA},
		{"table", CLINIC_CACHE_SCOPE_TABLE},
	};
	const char *name = text_or_null(values[0]);
	const char *table = count > 1 ? text_or_null(values[1]) : NULL;
	struct loaded *l;

	for (size_t i = 0; name && i < sizeof(scopes) / sizeof(scopes[0]); i++) {
		if (strcmp(name, scopes[i].name) != 0)
			continue;
		l = borrowed(call);
		if (l)
			finish(call, l,
			       clinic_cache_sync_now(l->cache, scopes[i].scope, table,
						     clock_monotonic_ms()));
		return;
	}
	loadable_fail(call, SQLITE_ERROR,
		      "clinic_cache_sync_now: the scope must be 'all', 'patient_data' or 'table'");
}

static void call_state(sqlite3_context *call, int count, sqlite3_value **values)
{
	(void)count;
	(void)values;
	loadable_show_state(call, sqlite3_user_data(call));
}

static void call_events(sqlite3_context *call, int count, sqlite3_value **values)
{
	struct loaded *l = sqlite3_user_data(call);
	struct dynbuf text;

	(void)count;
	(void)values;
	dynbuf_init(&text, LOADABLE_EVENT_BYTES_MOST + 1024);
	if (event_queue_take(&l->events, &text))
		sqlite3_result_text(call, text.data, (int)text.len, SQLITE_TRANSIENT);
	else
		sqlite3_result_error_nomem(call);
	dynbuf_free(&text);
}

/* ---- their names -------------------------------------------------------------------------- */

const struct loadable_function loadable_functions[] = {
	{"clinic_cache_version", 0, call_version},
	{"clinic_cache_open", 1, loadable_open},
	{"clinic_cache_close", 0, call_close},
	{"clinic_cache_next_action", 0, call_next_action},
	{"clinic_cache_connected", 0, call_connected},
	{"clinic_cache_disconnected", 2, call_disconnected},
	{"clinic_cache_receive", 1, call_receive},
	{"clinic_cache_receive_ahead", 1, call_receive_ahead},
	{"clinic_cache_apply_held", 0, call_apply_held},
	{"clinic_cache_next_frame", 0, call_next_frame},
	{"clinic_cache_alive", 0, call_alive},
	{"clinic_cache_tick", 0, call_tick},
	{"clinic_cache_snapshot_fetched", 0, call_snapshot_fetched},
	{"clinic_cache_snapshot_failed", 2, call_snapshot_failed},
	{"clinic_cache_sync_now", 1, call_sync_now},
	{"clinic_cache_sync_now", 2, call_sync_now},
	{"clinic_cache_state", 0, call_state},
	{"clinic_cache_events", 0, call_events},
	{NULL, 0, NULL},
};
