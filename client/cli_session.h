/*
 * The library driven by real sockets: does what clinic_cache_next_action()
 * asks for with one WebSocket and one download, in one loop.
 */
#ifndef CLINIC_SYNC_CLI_SESSION_H
#define CLINIC_SYNC_CLI_SESSION_H

#include "cli.h"
#include "clinic_cache.h"
#include "link_loop.h"

struct cli_session;

struct cli_session_setup {
	const struct cli_options *options; /* url, db, name, tables; must outlive the session */
	const char *access_code;
	clinic_cache_on_event on_event; /* may be NULL */
	void *context;
	bool no_change_events; /* see clinic_cache.h */
};

/* Opens the file for syncing; its errors are the library's. */
clinic_cache_status cli_session_open(struct link_loop *loop, const struct cli_session_setup *setup,
				     struct cli_session **out,
				     struct clinic_cache_error *err) CLINIC_CACHE_CHECKED;
/* Begin what is due, then serve the sockets until something happened or wait_ms passed. */
void cli_session_step(struct cli_session *s, uint32_t wait_ms);
/* Connected, nothing left to fetch or apply. */
bool cli_session_is_level(const struct cli_session *s);
/* Refused, or the file failed, for good. */
bool cli_session_is_stopped(const struct cli_session *s);
/* Why the last try to reach the relay failed; empty when it did not. */
const char *cli_session_trouble(const struct cli_session *s);
struct clinic_cache *cli_session_cache(struct cli_session *s);
/* Begin a manual sync; clinic_cache_sync_now_state() tells how it goes. */
clinic_cache_status cli_session_sync_now(struct cli_session *s, enum clinic_cache_scope scope,
					 const char *table) CLINIC_CACHE_CHECKED;
/* Says goodbye, waits for that a moment, and lets go of the file; NULL is fine. */
void cli_session_close(struct cli_session *s);

#endif
