/*
 * Devices: what they say and what they are told beside the feed; see device.h.
 * How the feed reaches them is in device_flow.c.
 */
#include "device.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "metrics.h"
#include "protocol_out.h"

/* A device has a handful of things to say; a flood is a fault or an attack. */
#define MESSAGES_BURST 200
#define MESSAGES_PER_MS (100.0 / 60000)

struct device *device_new(struct device_env *env, bool authorized, uint64_t now_ms)
{
	struct device *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->env = env;
	d->info = (struct device_info){"", "", "", NULL};
	d->close_text = "";
	d->authorized = authorized;
	d->state = DEVICE_WAIT_CLIENT_INFO;
	d->deadline_ms = now_ms + (uint64_t)env->config->client_info_timeout_s * 1000;
	d->messages_left = MESSAGES_BURST;
	d->messages_at_ms = now_ms;
	d->queue_end = &d->queue;
	clock_utc_text(d->connected_at);
	device_say(d, out_connected(env->config, env->reconnect_spread_ms,
				    sync_requests_newest(env->requests)));
	return d;
}

static void leave_line(struct device *d)
{
	d->env->admitted(d->env->ctx, d);
}

/* ---- out, beside the feed ---------------------------------------------------- */

static void drop_control(struct device *d)
{
	for (; d->control_len; d->control_len--) {
		frame_unref(d->control[d->control_first]);
		d->control_first = (d->control_first + 1) % CONTROL_MOST;
	}
}

const char *device_state_name(device_state s)
{
	static const char *const names[] = {"wait_client_info", "wait_request", "catch_up", "live",
					    "lagged",           "refused"};

	return names[s];
}

void device_close(struct device *d, int code, const char *text)
{
	drop_control(d);
	device_halt(d);
	leave_line(d);
	d->state = DEVICE_REFUSED;
	d->close_code = code;
	d->close_text = text;
	d->env->wake(d->env->ctx, d);
}

void device_say(struct device *d, struct frame *f)
{
	if (!f) {
		device_close(d, CLOSE_INTERNAL, "out of memory");
		return;
	}
	if (d->close_code) {
		frame_unref(f);
		return;
	}
	if (d->control_len == CONTROL_MOST) {
		frame_unref(f);
		device_close(d, CLOSE_INTERNAL, "too much waits to be read");
		return;
	}
	d->control[(d->control_first + d->control_len++) % CONTROL_MOST] = f;
	/* in device_new() nobody can be woken yet */
	if (d->session)
		d->env->wake(d->env->ctx, d);
}

void device_refuse(struct device *d, int close_code, const char *code, const char *message)
{
	char quoted[128];

	if (d->close_code)
		return;
	log_info("device \"%s\" refused: %s: %s", d->known ? d->info.device_id : "", code,
		 log_quote(message, quoted, sizeof(quoted)));
	metric_add(METRIC_DEVICES_REFUSED, 1);
	device_halt(d);
	leave_line(d);
	d->state = DEVICE_REFUSED;
	device_say(d, out_error(code, message));
	d->close_code = close_code;
	d->close_text = code;
	if (d->session)
		d->env->wake(d->env->ctx, d);
}

void device_resync(struct device *d, const char *reason, const struct cursor *at,
		   const char *tables, uint64_t now_ms)
{
	if (d->state == DEVICE_REFUSED)
		return;
	device_halt(d);
	leave_line(d);
	device_leave_group(d, now_ms);
	d->state = DEVICE_WAIT_REQUEST;
	metric_add(METRIC_RESYNCS, 1);
	log_info("device \"%s\" needs a snapshot: %s", d->info.device_id, reason);
	device_say(d, out_resync_required(reason, at, tables));
}

/* ---- in ------------------------------------------------------------------------ */

/* Mostly a few dozen bytes, where the protocol allows a kilobyte. */
static bool keep_info(struct device_info *kept, const struct in_client_info *info)
{
	size_t id_bytes = strlen(info->device_id) + 1;
	size_t name_bytes = strlen(info->name) + 1;
	size_t version_bytes = strlen(info->app_version) + 1;

	kept->block = malloc(id_bytes + name_bytes + version_bytes);
	if (!kept->block)
		return false;
	kept->device_id = memcpy(kept->block, info->device_id, id_bytes);
	kept->name = memcpy(kept->block + id_bytes, info->name, name_bytes);
	kept->app_version =
		memcpy(kept->block + id_bytes + name_bytes, info->app_version, version_bytes);
	return true;
}

static void take_client_info(struct device *d, struct in_client_info *info)
{
	char name[160];

	if (d->known) {
		device_refuse(d, CLOSE_BAD_MESSAGE, "bad_message", "client_info came twice");
		return;
	}
	if (info->access_code[0])
		d->authorized = d->env->access_code_good(d->env->ctx, info->access_code);
	explicit_bzero(info->access_code, sizeof(info->access_code));
	if (!d->authorized) {
		metric_add(METRIC_BAD_ACCESS_CODES, 1);
		device_refuse(d, CLOSE_BAD_ACCESS_CODE, "bad_access_code",
			      "the access code is missing or wrong");
		return;
	}
	if (!keep_info(&d->info, info)) {
		device_close(d, CLOSE_INTERNAL, "out of memory");
		return;
	}
	d->known = true;
	d->sync_request = info->sync_request >= 0 ? info->sync_request
						  : sync_requests_newest(d->env->requests);
	d->state = DEVICE_WAIT_REQUEST;
	log_info("device \"%s\" connected (%s)", d->info.device_id,
		 log_quote(d->info.name, name, sizeof(name)));
}

static bool join_group(struct device *d, const struct in_request_sync *r)
{
	d->group = feed_join(d->env->feed, r->tables, r->table_count);
	if (!d->group)
		return false;
	d->group_prev = NULL;
	d->group_next = d->group->devices;
	if (d->group_next)
		d->group_next->group_prev = d;
	d->group->devices = d;
	return true;
}

void device_leave_group(struct device *d, uint64_t now_ms)
{
	if (!d->group)
		return;
	device_drop_asks(d);
	if (d->group->walk.next == d)
		d->group->walk.next = d->group_next;
	if (d->group_prev)
		d->group_prev->group_next = d->group_next;
	else
		d->group->devices = d->group_next;
	if (d->group_next)
		d->group_next->group_prev = d->group_prev;
	d->group_prev = d->group_next = NULL;
	feed_leave(d->group, now_ms);
	d->group = NULL;
}

static void follow_request(struct device *d, const struct in_request_sync *r, uint64_t now_ms)
{
	if (r->cursor_state != IN_CURSOR_GOOD) {
		device_resync(d, r->cursor_state == IN_CURSOR_NONE ? "no_cursor" : "bad_cursor",
			      NULL, NULL, now_ms);
		return;
	}
	if (!join_group(d, r)) {
		device_refuse(d, CLOSE_TOO_MANY_DEVICES, "too_many_devices",
			      "no room for one more list of tables");
		return;
	}
	d->cursor = r->cursor;
	d->reads_alone = false;
	d->ready_due = true;
	if (d->env->admit(d->env->ctx, d))
		device_follow(d, now_ms);
}

static void forget_request(struct device *d)
{
	in_request_free(&d->request);
	d->request_waits = false;
}

void device_tables_checked(struct device *d, const char *unknown, uint64_t now_ms)
{
	char message[320];

	if (!d->request_waits || d->state == DEVICE_REFUSED)
		return;
	if (unknown) {
		snprintf(message, sizeof(message), "table \"%s\" is not published", unknown);
		device_refuse(d, CLOSE_BAD_TABLE, "bad_table", message);
	} else {
		follow_request(d, &d->request, now_ms);
	}
	forget_request(d);
}

/* Takes over what r holds. */
static void take_request_sync(struct device *d, struct in_request_sync *r, uint64_t now_ms)
{
	if (!d->known) {
		device_refuse(d, CLOSE_BAD_MESSAGE, "bad_message",
			      "request_sync came before client_info");
		return;
	}
	device_halt(d);
	leave_line(d);
	device_leave_group(d, now_ms);
	forget_request(d);
	d->state = DEVICE_WAIT_REQUEST;
	d->asked_round = d->env->database_round(d->env->ctx);
	if (!r->tables || d->env->tables_known(d->env->ctx, r->tables, r->table_count)) {
		follow_request(d, r, now_ms);
		return;
	}
	d->request = *r;
	d->request_waits = true;
	r->tables = NULL;
	r->table_count = 0;
}

static bool message_allowed(struct device *d, uint64_t now_ms)
{
	d->messages_left += (double)(now_ms - d->messages_at_ms) * MESSAGES_PER_MS;
	d->messages_at_ms = now_ms;
	if (d->messages_left > MESSAGES_BURST)
		d->messages_left = MESSAGES_BURST;
	if (d->messages_left < 1)
		return false;
	d->messages_left -= 1;
	return true;
}

void device_receive(struct device *d, const char *text, size_t len, uint64_t now_ms)
{
	struct cs_error err = {0};
	struct in_message m;

	if (d->state == DEVICE_REFUSED)
		return;
	metric_add(METRIC_MESSAGES_RECEIVED, 1);
	if (!message_allowed(d, now_ms)) {
		device_refuse(d, CLOSE_BAD_MESSAGE, "bad_message", "too many messages");
		return;
	}
	if (protocol_in_parse(text, len, &m, &err) != CS_OK) {
		device_refuse(d, CLOSE_BAD_MESSAGE, "bad_message", err.text);
		return;
	}
	if (m.type == IN_CLIENT_INFO)
		take_client_info(d, &m.client_info);
	else if (m.type == IN_REQUEST_SYNC)
		take_request_sync(d, &m.request_sync, now_ms);
	else
		device_take_ask(d, &m);
	in_message_free(&m);
}

void device_tick(struct device *d, uint64_t now_ms)
{
	if (d->state == DEVICE_WAIT_CLIENT_INFO && now_ms >= d->deadline_ms)
		device_refuse(d, CLOSE_CLIENT_INFO_TIMEOUT, "client_info_timeout",
			      "no client_info in time");
	else if (d->state == DEVICE_CATCH_UP && d->retry_ms && now_ms >= d->retry_ms &&
		 !d->current && !d->queue)
		device_follow(d, now_ms); /* after what came before has gone out */
	device_look_for_proof(d, now_ms);
}

void device_free(struct device *d, uint64_t now_ms)
{
	if (!d)
		return;
	device_halt(d);
	leave_line(d);
	device_leave_group(d, now_ms);
	table_streams_leave(d->env->streams, d);
	forget_request(d);
	drop_control(d);
	free(d->info.block);
	free(d);
}
