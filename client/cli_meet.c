/* File and server at one cursor; see cli_meet.h. */
#include "cli_meet.h"

#include <string.h>

#include "cli_output.h"
#include "clock.h"

#define TRIES 10
#define LOOK_MS 1   /* how often a file that somebody else syncs is looked at */
#define WAIT_MS 100 /* while only the digest is waited for */
#define MAX_SKIP_BYTES ((size_t)1024 * 1024)

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
	enum position position;

	if (!m->digest.cursor[0])
		return ON_THE_WAY;
	if (clinic_cache_view_refresh(m->view, err) != CLINIC_CACHE_OK)
		return UNREADABLE;
	position = compare_cursors(clinic_cache_view_cursor(m->view), m->digest.cursor);
	/* whoever syncs the file must be able to go on */
	if (position != THERE)
		clinic_cache_view_let_go(m->view);
	else if (clinic_cache_view_keep(m->view, err) != CLINIC_CACHE_OK)
		return UNREADABLE;
	return position;
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

/* table.column of each column that the file's own tables lack: the server leaves it out, too. */
static void add_skipped(const struct cli_meeting *m, const char *table, struct dynbuf *skip)
{
	const char *column;

	for (size_t i = 0; (column = clinic_cache_view_skipped(m->view, table, i)); i++) {
		dynbuf_adds(skip, skip->len ? "," : "");
		link_url_add_escaped(skip, table);
		dynbuf_adds(skip, ".");
		link_url_add_escaped(skip, column);
	}
}

static cs_status ask(struct cli_meeting *m, struct cli_digest_request *request,
		     struct cs_error *err)
{
	size_t count = request->table_count ? request->table_count
					    : clinic_cache_view_table_count(m->view);
	struct dynbuf skip;
	cs_status status;

	dynbuf_init(&skip, MAX_SKIP_BYTES);
	for (size_t i = 0; i < count; i++)
		add_skipped(m,
			    request->table_count ? request->tables[i]
						 : clinic_cache_view_table(m->view, i),
			    &skip);
	request->skip = skip.len ? skip.data : "";
	if (skip.failed)
		status = cs_fail(err, CS_ERR_NOMEM, "out of memory");
	else
		status = cli_digest_ask(m->loop, request, &m->digest, err);
	dynbuf_free(&skip);
	return status;
}

int cli_meet(struct cli_meeting *m, const char *const *tables, size_t table_count, bool with_rows)
{
	struct cli_digest_request request = {
		.url = &m->url,
		.access_code = m->access_code,
		.tables = tables,
		.table_count = table_count,
		.with_rows = with_rows,
	};
	struct cs_error err = {0};

	for (int i = 0; i < TRIES; i++) {
		bool passed;
		int exit_code;

		cli_digest_free(&m->digest);
		if (ask(m, &request, &err) != CS_OK)
			return cli_fail_status(m->options, &err);
		exit_code = reach(m, &passed);
		if (!passed)
			return exit_code;
		log_debug("the file ran past the cursor, asking again");
	}
	return cli_fail(m->options, EXIT_UNREACHABLE,
			"the file ran past the server's cursor %d times", TRIES);
}
