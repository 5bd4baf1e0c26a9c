/*
 * clinic-cache sync-now: the manual sync.  It comes back when the file is level
 * with everything that was committed before, and its tables were compared with
 * the server's and put right where they differed.
 *
 * Whoever syncs the file does it, asked through its door (cli_control.h); a file
 * that nobody syncs is brought there by a session of our own.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli_access.h"
#include "cli_control.h"
#include "cli_output.h"
#include "cli_session.h"
#include "clock.h"

#define STEP_MS 1000
#define DEFAULT_LIMIT_S 300

struct sync_now {
	const struct cli_options *options;
	uint64_t deadline_ms;
	int64_t repaired;
};

static enum clinic_cache_scope scope_of(const struct cli_options *options)
{
	if (options->table)
		return CLINIC_CACHE_SCOPE_TABLE;
	return options->patient_data ? CLINIC_CACHE_SCOPE_PATIENT_DATA : CLINIC_CACHE_SCOPE_ALL;
}

static void report(const struct sync_now *s, const char *cursor)
{
	struct dynbuf line;

	if (!s->options->json) {
		printf("level at %s", cursor);
		if (s->repaired)
			printf(", %lld table%s repaired", (long long)s->repaired,
			       s->repaired == 1 ? "" : "s");
		putchar('\n');
		return;
	}
	dynbuf_init(&line, 65536);
	dynbuf_adds(&line, "{");
	cli_json_text(&line, "result", "level");
	cli_json_text(&line, "cursor", cursor);
	cli_json_number(&line, "repaired_tables", (long long)s->repaired);
	if (dynbuf_adds(&line, "}"))
		puts(line.data);
	dynbuf_free(&line);
}

/* ---- asking whoever syncs the file ------------------------------------------------------- */

static bool send_request(const struct sync_now *s, int fd)
{
	static const char *const scopes[] = {
		[CLINIC_CACHE_SCOPE_ALL] = "all",
		[CLINIC_CACHE_SCOPE_PATIENT_DATA] = "patient_data",
		[CLINIC_CACHE_SCOPE_TABLE] = "table",
	};
	struct dynbuf line;
	bool sent;

	dynbuf_init(&line, CONTROL_LINE_BYTES);
	dynbuf_adds(&line, "{");
	cli_json_text(&line, "command", "sync_now");
	cli_json_text(&line, "scope", scopes[scope_of(s->options)]);
	if (s->options->table)
		cli_json_text(&line, "table", s->options->table);
	dynbuf_adds(&line, "}\n");
	sent = !line.failed && send(fd, line.data, line.len, MSG_NOSIGNAL) == (ssize_t)line.len;
	dynbuf_free(&line);
	return sent;
}

/* One line; false with errno when it does not come. */
static bool read_answer(const struct sync_now *s, int fd, char line[CONTROL_LINE_BYTES * 8])
{
	size_t len = 0;

	for (;;) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		uint64_t now_ms = clock_monotonic_ms();
		ssize_t got;

		errno = ETIMEDOUT;
		if (now_ms >= s->deadline_ms || poll(&wait, 1, (int)(s->deadline_ms - now_ms)) == 0)
			return false;
		got = recv(fd, line + len, CONTROL_LINE_BYTES * 8 - 1 - len, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			errno = got ? errno : ECONNRESET;
			return false;
		}
		len += (size_t)got;
		line[len] = '\0';
		if (strchr(line, '\n'))
			return true;
	}
}

static int take_answer(struct sync_now *s, const char *line)
{
	json_t *answer = json_loads(line, 0, NULL);
	const char *state = json_string_value(json_object_get(answer, "state"));
	const char *cursor = json_string_value(json_object_get(answer, "cursor"));
	const char *reason = json_string_value(json_object_get(answer, "reason"));
	json_int_t failed_by = json_integer_value(json_object_get(answer, "exit"));
	int exit_code = EXIT_DONE;

	s->repaired = json_integer_value(json_object_get(answer, "repaired"));
	if (state && strcmp(state, "done") == 0 && cursor)
		report(s, cursor);
	else
		exit_code = cli_fail(
			s->options, failed_by == EXIT_CONFIG ? EXIT_CONFIG : EXIT_UNREACHABLE,
			"%s was not synced: %s", s->options->db, reason ? reason : "no answer");
	json_decref(answer);
	return exit_code;
}

static int ask(struct sync_now *s, int fd)
{
	char line[CONTROL_LINE_BYTES * 8];

	if (send_request(s, fd) && read_answer(s, fd, line))
		return take_answer(s, line);
	return cli_fail(s->options, EXIT_UNREACHABLE,
			"the process that syncs %s does not answer: %s", s->options->db,
			strerror(errno));
}

/* ---- doing it here ----------------------------------------------------------------------- */

static void on_event(const struct clinic_cache_event *event, void *context)
{
	(void)context;
	if (strcmp(event->type, "sync_error") == 0)
		log_warning("sync: %s", event->detail ? event->detail : "failed");
}

static int finish(struct sync_now *s, const struct clinic_cache *cache)
{
	if (clinic_cache_sync_now_state(cache) == CLINIC_CACHE_SYNC_NOW_DONE) {
		s->repaired = clinic_cache_sync_now_repairs(cache);
		report(s, clinic_cache_cursor(cache));
		return EXIT_DONE;
	}
	return cli_fail(s->options, EXIT_UNREACHABLE, "%s was not synced: %s", s->options->db,
			clinic_cache_sync_now_problem(cache));
}

/* Level first, for there may be no tables to compare yet; then the comparison. */
static int run_here(struct sync_now *s, struct link_loop *loop, struct cli_session *session)
{
	struct clinic_cache *cache = cli_session_cache(session);
	bool begun = false;

	for (;;) {
		if (link_loop_signal(loop))
			return cli_fail(s->options, EXIT_UNREACHABLE, "ended by signal");
		if (cli_session_is_stopped(session))
			return cli_fail_library(s->options, clinic_cache_last_error(cache));
		if (clock_monotonic_ms() >= s->deadline_ms)
			return cli_fail(s->options, EXIT_UNREACHABLE,
					"%s is not level with the server in time: %s",
					s->options->db, cli_session_trouble(session));
		if (!begun && cli_session_is_level(session)) {
			if (cli_session_sync_now(session, scope_of(s->options),
						 s->options->table) != CLINIC_CACHE_OK)
				return cli_fail_library(s->options, clinic_cache_last_error(cache));
			begun = true;
		}
		if (begun && clinic_cache_sync_now_state(cache) != CLINIC_CACHE_SYNC_NOW_RUNNING)
			return finish(s, cache);
		cli_session_step(session, STEP_MS);
	}
}

static int sync_here(struct sync_now *s, struct link_loop *loop, const struct cli_access *access)
{
	struct cli_session_setup setup = {
		.options = s->options,
		.access_code = access->code,
		.on_event = on_event,
		.no_change_events = true,
	};
	struct clinic_cache_error err = {0};
	struct cli_session *session;
	int exit_code;

	if (cli_session_open(loop, &setup, &session, &err) != CLINIC_CACHE_OK)
		return cli_fail_library(s->options, &err);
	exit_code = run_here(s, loop, session);
	cli_session_close(session);
	return exit_code;
}

static int without_door(struct sync_now *s)
{
	struct link_loop *loop = NULL;
	struct cli_access access;
	struct cs_error err = {0};
	int exit_code;

	if (cli_access_load(s->options, &access, &err) != CS_OK ||
	    link_loop_new(&loop, &err) != CS_OK)
		exit_code = cli_fail_status(s->options, &err);
	else
		exit_code = sync_here(s, loop, &access);
	cli_access_forget(&access);
	link_loop_free(loop);
	return exit_code;
}

int cli_sync_now(const struct cli_options *options)
{
	int limit_s = options->timeout_s ? options->timeout_s : DEFAULT_LIMIT_S;
	struct sync_now s = {
		.options = options,
		.deadline_ms = clock_monotonic_ms() + (uint64_t)limit_s * 1000,
	};
	int fd = cli_control_connect(options->db);
	int exit_code;

	if (fd < 0)
		return without_door(&s);
	exit_code = ask(&s, fd);
	close(fd);
	return exit_code;
}
