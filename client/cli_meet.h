/*
 * Bringing a file and the server's digest to the same cursor.
 *
 * The relay cuts a batch and tells its cursor at once; the digest of exactly
 * that state follows.  Meanwhile the file comes by that cursor: the moment it
 * stands there it is frozen by a read transaction, and both sides are compared
 * at leisure.  Nothing is locked and nobody waits.  A file that ran past the
 * cursor before we looked gets a new batch.
 */
#ifndef CLINIC_SYNC_CLI_MEET_H
#define CLINIC_SYNC_CLI_MEET_H

#include "cli.h"
#include "cli_digest.h"
#include "cli_session.h"

struct cli_meeting {
	const struct cli_options *options;
	struct link_loop *loop;
	struct link_url url;
	const char *access_code;
	struct cli_session *session; /* NULL: somebody else syncs the file */
	struct clinic_cache_view *view;
	uint64_t deadline_ms;
	struct cli_digest digest;
};

/*
 * Ask for a digest of these tables (NULL: all) and meet it: EXIT_DONE when the
 * view stands at the digest's cursor and the digest is complete; else what
 * went wrong was said and its exit code is returned.
 */
int cli_meet(struct cli_meeting *m, const char *const *tables, size_t table_count, bool with_rows);

#endif
