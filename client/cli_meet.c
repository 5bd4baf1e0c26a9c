/* File and server at one cursor; see cli_meet.h. */
#include "cli_meet.h"

#include <string.h>

#include "cli_output.h"
#include "clock.h"

#define TRIES 10
#define LOOK_MS 1   /* how often a file that somebody else syncs is looked at */
#define WAIT_MS 100 /* while only the digest is waited for */

enum position { ON_THE_WAY, THERE, PASSED, UNREADABLE };

/* Batches of one history are numbered, so the file can be seen to be beyond the cursor. */
static enum position compare_cursors(const char *file, const char *server)
{
	struct cursor at, wanted;

	if (strcmp(file, server) == 0)
		return THERE;
	if (cursor_parse(file, strlen(file), &at) &&
	    cursor_parse(server, strlen(server), &wanted) && at.batch > wanted.batch)
		return PASSED;
	return ON_THE_WAY;
}

static enum position look(struct cli_meeting *m, struct clinic_cache_error *err)
{
	if (!m->digest.cursor[0])
		return ON_THE_WAY;
	if (clinic_cache_view_refresh(m->view, err) != CLINIC_CACHE_OK)
		return UNREADABLE;
	return compare_cursors(clinic_cache_view_cursor(m->view), m->digest.cursor);
}

static void step(struct cli_meeting *m, uint32_t wait_ms)
{
	if (m->session)
		cli_session_step(m->session, wait_ms);
	else
		link_loop_step(m->loop, wait_ms);
}

static int fail_digest(const struct cli_meeting *m)
{
	int exit_code = m->digest.refused ? EXIT_REFUSED : EXIT_UNREACHABLE;

	return cli_fail(m->options, exit_code, "digest from %s: %s", m->url.host_header,
			m->digest.problem);
}

static int fail_late(const struct cli_meeting *m, bool at_cursor)
{
	const char *trouble = m->session ? cli_session_trouble(m->session) : "";

	if (at_cursor)
		return cli_fail(m->options, EXIT_UNREACHABLE, "the digest did not arrive in time");
	if (!m->digest.cursor[0])
		return cli_fail(m->options, EXIT_UNREACHABLE, "the relay did not answer in time");
	return cli_fail(m->options, EXIT_UNREACHABLE,
			"the file did not reach the server's state in time%s%s",
			trouble[0] ? ": " : "", trouble);
}

/* EXIT_DONE: nothing stands in the way of going on. */
static int check(const struct cli_meeting *m, bool at_cursor)
{
	if (m->digest.problem[0])
		return fail_digest(m);
	if (link_loop_signal(m->loop))
		return cli_fail(m->options, EXIT_UNREACHABLE, "ended by signal");
	if (m->session && cli_session_is_stopped(m->session) && !at_cursor)
		return cli_fail_library(m->options,
					clinic_cache_last_error(cli_session_cache(m->session)));
	if (clock_monotonic_ms() >= m->deadline_ms)
		return fail_late(m, at_cursor);
	return EXIT_DONE;
}

/* One try; *passed when the file ran past the cursor. */
static int reach(struct cli_meeting *m, bool *passed)
{
	struct clinic_cache_error err = {0};
	enum position position = ON_THE_WAY;

	*passed = false;
	while (position != THERE || !m->digest.done) {
		int exit_code = check(m, position == THERE);

		if (exit_code != EXIT_DONE)
			return exit_code;
		if (position != THERE)
			position = look(m, &err);
		if (position == UNREADABLE)
			return cli_fail_library(m->options, &err);
		*passed = position == PASSED;
		if (*passed)
			return EXIT_DONE;
		if (position != THERE || !m->digest.done)
			step(m, position == THERE ? WAIT_MS : LOOK_MS);
	}
	return m->digest.problem[0] ? fail_digest(m) : EXIT_DONE;
}

int cli_meet(struct cli_meeting *m, const char *const *tables, size_t table_count, bool with_rows)
{
	struct cs_error err = {0};

	for (int i = 0; i < TRIES; i++) {
		bool passed;
		int exit_code;

		cli_digest_free(&m->digest);
		if (cli_digest_ask(m->loop, &m->url, m->access_code, tables, table_count, with_rows,
				   &m->digest, &err) != CS_OK)
			return cli_fail_status(m->options, &err);
		exit_code = reach(m, &passed);
		if (!passed)
			return exit_code;
		log_debug("the file ran past the cursor, asking again");
	}
	return cli_fail(m->options, EXIT_UNREACHABLE,
			"the file ran past the server's cursor %d times", TRIES);
}
