/*
 * clinic-cache sync: make the file equal to the server, then follow.
 *
 * Without --once it ends by a signal, by a refusal for good, or when the file
 * cannot be written; whatever else happens, it tries again.
 */
#include <errno.h>
#include <string.h>

#include "cli_access.h"
#include "cli_control.h"
#include "cli_difference.h"
#include "cli_output.h"
#include "cli_session.h"
#include "clock.h"

#define STEP_MS 1000
#define ONCE_LIMIT_S 300 /* --once without --timeout */

struct sync_run {
	const struct cli_options *options;
	FILE *events; /* NULL: not wanted */
	bool events_failed;
	const struct cli_session *session; /* NULL while it is opened */
	struct cli_control *control;       /* NULL: nobody can ask for anything */
};

static void log_event(const struct clinic_cache_event *event)
{
	if (strcmp(event->type, "table_differs") == 0)
		log_warning("table %s is not what the server's is; it is fetched anew",
			    event->table);
	else if (strcmp(event->type, "sync_now_completed") == 0)
		log_info("sync now: equal to the server (%lld tables put right)",
			 (long long)event->rows);
	else if (strcmp(event->type, "table_sync_completed") == 0 && event->detail)
		log_warning("Received table sync for %s (%lld records): %s", event->table,
			    (long long)event->rows, event->detail);
	else if (strcmp(event->type, "table_sync_completed") == 0)
		log_info("Received table sync for %s (%lld records)", event->table,
			 (long long)event->rows);
	else if (strcmp(event->type, "full_sync_completed") == 0)
		log_info("snapshot applied (%lld records)", (long long)event->rows);
	else if (strcmp(event->type, "sync_error") == 0)
		log_warning("sync: %s", event->detail ? event->detail : "failed");
	else if (strcmp(event->type, "connected") == 0)
		log_info("connected");
	else if (strcmp(event->type, "disconnected") == 0)
		log_info("disconnected: %s", event->detail ? event->detail : "link closed");
}

static void on_event(const struct clinic_cache_event *event, void *context)
{
	struct sync_run *run = context;

	/* what ended it is the last line, said once */
	if (!run->session || !cli_session_is_stopped(run->session))
		log_event(event);
	if (run->events && !run->events_failed && !cli_write_event_json(run->events, event))
		run->events_failed = true;
}

static int open_events(struct sync_run *run)
{
	const char *path = run->options->events;

	if (!path)
		return EXIT_DONE;
	run->events = strcmp(path, "-") == 0 ? stdout : fopen(path, "ae");
	if (!run->events)
		return cli_fail(run->options, EXIT_CONFIG, "cannot write %s: %s", path,
				strerror(errno));
	return EXIT_DONE;
}

static void report_level(const struct cli_options *options, struct clinic_cache *cache)
{
	struct dynbuf line;

	if (!options->json) {
		/* the events own stdout where they go there */
		if (!options->events || strcmp(options->events, "-") != 0)
			printf("level at %s\n", clinic_cache_cursor(cache));
		return;
	}
	dynbuf_init(&line, 65536);
	dynbuf_adds(&line, "{");
	cli_json_text(&line, "result", "level");
	cli_json_text(&line, "cursor", clinic_cache_cursor(cache));
	cli_json_text(&line, "device_id", clinic_cache_device_id(cache));
	if (dynbuf_adds(&line, "}"))
		puts(line.data);
	dynbuf_free(&line);
}

static int not_level(const struct cli_options *options, const struct cli_session *session)
{
	const char *trouble = cli_session_trouble(session);

	return cli_fail(options, EXIT_UNREACHABLE, "%s is not level with the server in time%s%s",
			options->db, trouble[0] ? ": " : "", trouble);
}

static int stopped(const struct cli_options *options, const struct clinic_cache *cache)
{
	const struct clinic_cache_error *error = clinic_cache_last_error(cache);

	/* the file has rows that nobody but its owner may give up */
	if (error->status == CLINIC_CACHE_ERR_USAGE && clinic_cache_difference_of(cache))
		return cli_refuse_difference(options, cache);
	return cli_fail_library(options, error);
}

static int follow(struct sync_run *run, struct link_loop *loop, struct cli_session *session,
		  const struct cli_access *access)
{
	bool remembered = false;
	const struct cli_options *options = run->options;
	uint64_t limit_s = options->timeout_s ? (uint64_t)options->timeout_s : ONCE_LIMIT_S;
	uint64_t deadline = clock_monotonic_ms() + limit_s * 1000;

	while (!link_loop_signal(loop)) {
		uint64_t now = clock_monotonic_ms();
		uint32_t wait_ms = STEP_MS;

		if (cli_session_is_stopped(session))
			return stopped(options, cli_session_cache(session));
		if (run->events_failed)
			return cli_fail(options, EXIT_CONFIG, "cannot write the events");
		/* the relay took the code */
		if (!remembered && cli_session_is_level(session)) {
			cli_access_remember(access, options->db);
			remembered = true;
		}
		if (options->once && cli_session_is_level(session)) {
			report_level(options, cli_session_cache(session));
			return EXIT_DONE;
		}
		if (options->once && now >= deadline)
			return not_level(options, session);
		if (options->once && deadline - now < wait_ms)
			wait_ms = (uint32_t)(deadline - now);
		cli_session_step(session, wait_ms);
		cli_control_step(run->control, session);
	}
	log_info("ended by signal");
	return EXIT_DONE;
}

static int run_session(struct sync_run *run, struct link_loop *loop,
		       const struct cli_access *access)
{
	struct cli_session_setup setup = {
		.options = run->options,
		.access_code = access->code,
		.on_event = on_event,
		.context = run,
		.no_change_events = !run->events,
	};
	struct clinic_cache_error err = {0};
	struct cli_session *session;
	int exit_code;

	if (cli_session_open(loop, &setup, &session, &err) != CLINIC_CACHE_OK)
		return cli_fail_library(run->options, &err);
	run->session = session;
	run->control = cli_control_open(loop, run->options->db);
	exit_code = follow(run, loop, session, access);
	cli_control_close(run->control);
	run->control = NULL;
	cli_session_close(session);
	return exit_code;
}

int cli_sync(const struct cli_options *options)
{
	struct sync_run run = {.options = options};
	struct link_loop *loop = NULL;
	struct cli_access access;
	struct cs_error err = {0};
	int exit_code;

	exit_code = open_events(&run);
	if (exit_code != EXIT_DONE)
		return exit_code;
	if (cli_access_load(options, &access, &err) != CS_OK || link_loop_new(&loop, &err) != CS_OK)
		exit_code = cli_fail_status(options, &err);
	else
		exit_code = run_session(&run, loop, &access);
	cli_access_forget(&access);
	link_loop_free(loop);
	if (run.events && run.events != stdout && fclose(run.events) != 0 && exit_code == EXIT_DONE)
		exit_code = cli_fail(options, EXIT_CONFIG, "cannot write the events");
	return exit_code;
}
