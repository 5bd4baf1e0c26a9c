/* The door of a running sync; see cli_control.h. */
#include "cli_control.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli_control_address.h"
#include "cli_output.h"
#include "clock.h"
#include "link_watch.h"

#define GUESTS_MOST 8
#define SAY_WITHIN_MS 10000 /* who connects and asks for nothing does not hold a seat for ever */

typedef enum { GUEST_NONE, GUEST_SPEAKS, GUEST_WAITS, GUEST_SERVED } guest_state;

struct guest {
	guest_state state;
	int fd;
	struct link_watch *watch;
	uint64_t since_ms;
	char line[CONTROL_LINE_BYTES];
	size_t len;
	enum clinic_cache_scope scope;
	char table[64];
};

struct cli_control {
	struct link_loop *loop;
	struct cli_control_address address;
	int fd;
	struct link_watch *watch;
	struct guest guests[GUESTS_MOST];
};

/* ---- guests ------------------------------------------------------------------------------ */

static void show_out(struct guest *g)
{
	link_watch_free(g->watch);
	if (g->fd >= 0)
		close(g->fd);
	memset(g, 0, sizeof(*g));
	g->fd = -1;
}

/* A line fits into any socket's buffer; whoever does not read it has lost it. */
static void answer(struct guest *g, struct dynbuf *line)
{
	dynbuf_adds(line, "}\n");
	if (!line->failed && send(g->fd, line->data, line->len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("a command that asked for a sync went away");
	dynbuf_free(line);
	show_out(g);
}

static void answer_failed(struct guest *g, int exit_code, const char *reason)
{
	struct dynbuf line;

	dynbuf_init(&line, CONTROL_LINE_BYTES * 8);
	dynbuf_adds(&line, "{");
	cli_json_text(&line, "state", "failed");
	cli_json_text(&line, "reason", reason);
	cli_json_number(&line, "exit", exit_code);
	answer(g, &line);
}

static void answer_done(struct guest *g, const char *cursor, int64_t repaired)
{
	struct dynbuf line;

	dynbuf_init(&line, CONTROL_LINE_BYTES * 8);
	dynbuf_adds(&line, "{");
	cli_json_text(&line, "state", "done");
	cli_json_text(&line, "cursor", cursor);
	cli_json_number(&line, "repaired", (long long)repaired);
	answer(g, &line);
}

static bool parse_scope(struct guest *g, const json_t *request)
{
	const char *scope = json_string_value(json_object_get(request, "scope"));
	const char *table = json_string_value(json_object_get(request, "table"));

	if (scope && strcmp(scope, "all") == 0) {
		g->scope = CLINIC_CACHE_SCOPE_ALL;
	} else if (scope && strcmp(scope, "patient_data") == 0) {
		g->scope = CLINIC_CACHE_SCOPE_PATIENT_DATA;
	} else if (scope && strcmp(scope, "table") == 0 && table && table[0] &&
		   strlen(table) < sizeof(g->table)) {
		g->scope = CLINIC_CACHE_SCOPE_TABLE;
		strcpy(g->table, table);
	} else {
		return false;
	}
	return true;
}

static void hear(struct guest *g)
{
	json_t *request = json_loads(g->line, JSON_REJECT_DUPLICATES, NULL);
	const char *command = json_string_value(json_object_get(request, "command"));

	if (!command || strcmp(command, "sync_now") != 0)
		answer_failed(g, EXIT_CONFIG,
			      "the running clinic-cache does not know this command");
	else if (!parse_scope(g, request))
		answer_failed(g, EXIT_CONFIG, "the running clinic-cache does not know this scope");
	else
		g->state = GUEST_WAITS;
	json_decref(request);
}

static void listen_to(struct guest *g, uint64_t now_ms)
{
	ssize_t got = recv(g->fd, g->line + g->len, sizeof(g->line) - 1 - g->len, MSG_DONTWAIT);
	char *end;

	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		if (g->state == GUEST_SPEAKS && now_ms > g->since_ms + SAY_WITHIN_MS)
			show_out(g);
		return;
	}
	/* gone, also while it waits: what it asked for is done for nobody */
	if (got <= 0 || g->state != GUEST_SPEAKS) {
		show_out(g);
		return;
	}
	g->len += (size_t)got;
	g->line[g->len] = '\0';
	end = strchr(g->line, '\n');
	if (end) {
		*end = '\0';
		hear(g);
	} else if (g->len == sizeof(g->line) - 1) {
		show_out(g);
	}
}

/* Only the user whose file it is, and root. */
static bool is_welcome(int fd)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 &&
	       (who.uid == geteuid() || who.uid == 0);
}

static void let_in(struct cli_control *control, int fd, uint64_t now_ms)
{
	for (size_t i = 0; i < GUESTS_MOST; i++) {
		struct guest *g = &control->guests[i];

		if (g->state != GUEST_NONE)
			continue;
		g->watch = link_watch_new(control->loop, fd);
		if (!g->watch)
			break;
		g->state = GUEST_SPEAKS;
		g->fd = fd;
		g->since_ms = now_ms;
		return;
	}
	log_warning("a command that asks for a sync is turned away: too many do");
	close(fd);
}

static void open_door(struct cli_control *control, uint64_t now_ms)
{
	int fd;

	while ((fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		if (is_welcome(fd))
			let_in(control, fd, now_ms);
		else
			close(fd);
	}
}

/* ---- what they ask for ------------------------------------------------------------------- */

static struct guest *find(struct cli_control *control, guest_state state)
{
	for (size_t i = 0; i < GUESTS_MOST; i++)
		if (control->guests[i].state == state)
			return &control->guests[i];
	return NULL;
}

static void begin_next(struct cli_control *control, struct cli_session *session)
{
	struct guest *g = find(control, GUEST_WAITS);
	struct clinic_cache *cache = cli_session_cache(session);
	clinic_cache_status status;

	if (!g || clinic_cache_sync_now_state(cache) == CLINIC_CACHE_SYNC_NOW_RUNNING)
		return;
	status = cli_session_sync_now(session, g->scope, g->table);
	if (status == CLINIC_CACHE_OK)
		g->state = GUEST_SERVED;
	else
		answer_failed(g, cli_exit_of(status), clinic_cache_last_error(cache)->text);
}

static void look_at_served(struct cli_control *control, struct cli_session *session)
{
	struct guest *g = find(control, GUEST_SERVED);
	struct clinic_cache *cache = cli_session_cache(session);

	if (!g)
		return;
	switch (clinic_cache_sync_now_state(cache)) {
	case CLINIC_CACHE_SYNC_NOW_RUNNING:
		return;
	case CLINIC_CACHE_SYNC_NOW_DONE:
		answer_done(g, clinic_cache_cursor(cache), clinic_cache_sync_now_repairs(cache));
		return;
	case CLINIC_CACHE_SYNC_NOW_FAILED:
	case CLINIC_CACHE_SYNC_NOW_NONE:
		answer_failed(g, EXIT_UNREACHABLE, clinic_cache_sync_now_problem(cache));
	}
}

void cli_control_step(struct cli_control *control, struct cli_session *session)
{
	uint64_t now_ms = clock_monotonic_ms();

	if (!control)
		return;
	open_door(control, now_ms);
	for (size_t i = 0; i < GUESTS_MOST; i++)
		if (control->guests[i].state != GUEST_NONE)
			listen_to(&control->guests[i], now_ms);
	look_at_served(control, session);
	begin_next(control, session);
}

/* ---- life -------------------------------------------------------------------------------- */

static bool bind_door(struct cli_control *control, const char *db)
{
	mode_t before;
	bool bound;

	if (!cli_control_find(db, &control->address))
		return false;
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control->fd < 0)
		return false;
	/* whoever syncs the file holds its lock: what is there is left over from one that died */
	unlink(control->address.socket.sun_path);
	before = umask(0177);
	bound = bind(control->fd, (const struct sockaddr *)&control->address.socket,
		     sizeof(control->address.socket)) == 0;
	umask(before);
	return bound && listen(control->fd, GUESTS_MOST) == 0;
}

struct cli_control *cli_control_open(struct link_loop *loop, const char *db)
{
	struct cli_control *control = calloc(1, sizeof(*control));

	if (!control)
		return NULL;
	control->loop = loop;
	control->fd = -1;
	control->address.directory_fd = -1;
	for (size_t i = 0; i < GUESTS_MOST; i++)
		control->guests[i].fd = -1;
	if (bind_door(control, db))
		control->watch = link_watch_new(loop, control->fd);
	if (control->watch)
		return control;
	log_warning("clinic-cache sync-now cannot reach this process: %s", strerror(errno));
	cli_control_close(control);
	return NULL;
}

void cli_control_close(struct cli_control *control)
{
	if (!control)
		return;
	for (size_t i = 0; i < GUESTS_MOST; i++) {
		if (control->guests[i].state == GUEST_WAITS ||
		    control->guests[i].state == GUEST_SERVED)
			answer_failed(&control->guests[i], EXIT_UNREACHABLE,
				      "clinic-cache sync ended");
		else
			show_out(&control->guests[i]);
	}
	link_watch_free(control->watch);
	if (control->fd >= 0) {
		unlink(control->address.socket.sun_path);
		close(control->fd);
	}
	cli_control_address_close(&control->address);
	free(control);
}
