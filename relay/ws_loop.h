/*
 * The relay's one event loop: descriptors, one-shot timers, signals.
 *
 * libwebsockets (on libuv) runs the process; everything that is not a
 * WebSocket hangs on an epoll set of our own whose descriptor libwebsockets
 * watches as one more file.  So nothing here depends on how libwebsockets
 * treats foreign descriptors: a watch is gone the moment it is freed, and a
 * request to write may be made from anywhere.
 *
 * One thread.  Callbacks may start, change and free any watch and timer,
 * their own included.
 */
#ifndef CLINIC_RELAY_WS_LOOP_H
#define CLINIC_RELAY_WS_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* ---- life --------------------------------------------------------------- */

/*
 * Make the epoll set and block SIGTERM, SIGINT and SIGHUP, which from now on
 * arrive through loop_on_signal()'s callback.  Call before starting anything
 * that watches or sets timers.  A child process must unblock them again
 * (loop_unblock_signals) between fork and exec.
 */
cs_status loop_start(struct cs_error *err) CS_CHECKED;
void loop_on_signal(void (*on_signal)(void *ctx, int signo), void *ctx);
void loop_unblock_signals(void);
/* Free all watches, forget all timers, give up the descriptors. */
void loop_close(void);

/*
 * Run until loop_stop().  The runner is what ws_server.c installs: it waits in
 * libwebsockets and calls loop_dispatch() when loop_fd() is readable.
 */
void loop_run(void);
void loop_stop(void);

/* ---- descriptors --------------------------------------------------------- */

struct loop_watch;

/*
 * Watch a duplicate of fd, for reading only at first; NULL when descriptors or
 * memory ran out.  The caller may close fd at any time and stays its owner; a
 * library that closes its socket and opens another with the same number (libpq
 * does between two PQconnectPoll() calls) needs a new watch for the new one.
 * An error or hang-up on fd counts as readable, and as writable if that is
 * wanted.  Level-triggered: on_ready runs again until the bytes are read.
 */
struct loop_watch *loop_watch_new(int fd, void (*on_ready)(void *ctx, bool readable, bool writable),
				  void *ctx);
void loop_watch_want_read(struct loop_watch *w, bool on);
void loop_watch_want_write(struct loop_watch *w, bool on);
/* Accepts NULL.  on_ready is never called after this. */
void loop_watch_free(struct loop_watch *w);

/* ---- timers -------------------------------------------------------------- */

/* Embed it in the owner, zeroed.  Set and cancel never fail. */
struct loop_timer {
	struct loop_timer *prev, *next; /* in order of due_ms while set */
	uint64_t due_ms;
	void (*on_due)(void *ctx);
	void *ctx;
	unsigned round;
	bool is_set;
};

/* Call on_due once, delay_ms from now; replaces what was set before. */
void loop_timer_set(struct loop_timer *t, uint32_t delay_ms, void (*on_due)(void *ctx), void *ctx);
/* Before freeing the owner.  Harmless when not set. */
void loop_timer_cancel(struct loop_timer *t);

/* ---- for ws_server.c ------------------------------------------------------ */

/* Readable when loop_dispatch() has something to do. */
int loop_fd(void);
/* Serve what is ready, without waiting. */
void loop_dispatch(void);
/* How loop_run() waits and how loop_stop() ends the wait. */
void loop_set_runner(void (*run)(void *ctx), void (*stop)(void *ctx), void *ctx);

#endif
