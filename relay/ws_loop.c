/*
 * The event loop; see ws_loop.h.
 *
 * A watch holds a duplicate of the caller's descriptor: epoll forgets a
 * descriptor when its last copy is closed, and libpq closes sockets behind our
 * back, often to reopen one with the same number.  With a copy of our own the
 * registration lives exactly as long as the watch.
 *
 * All timers share one timerfd set to the earliest deadline; they hang in a
 * sorted list, which is right for the few dozen this process has (what is per
 * device is counted by one common tick, not by a timer each).
 */
#include "ws_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clock.h"

#define EVENTS_PER_DISPATCH 16

struct loop_watch {
	struct loop_watch *prev, *next;
	int fd;
	uint32_t wanted;
	void (*on_ready)(void *ctx, bool readable, bool writable);
	void *ctx;
	bool is_dead; /* freed while events for it may still be in the array at hand */
};

static struct {
	int epoll_fd, timer_fd, signal_fd;
	struct loop_watch *watches;
	struct loop_watch *dead;
	struct loop_timer *timers;
	unsigned timer_round; /* a timer set in this round waits for the next */
	bool in_dispatch;
	void (*on_signal)(void *ctx, int signo);
	void *signal_ctx;
	void (*run)(void *ctx);
	void (*stop)(void *ctx);
	void *runner_ctx;
} loop = {.epoll_fd = -1, .timer_fd = -1, .signal_fd = -1};

/* ---- life --------------------------------------------------------------- */

static void signals_wanted(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

/* The two descriptors of the loop itself; told apart by data.ptr. */
static bool watch_own(int fd, int *tag)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = tag};

	return fd >= 0 && epoll_ctl(loop.epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0;
}

cs_status loop_start(struct cs_error *err)
{
	sigset_t set;

	signals_wanted(&set);
	loop.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop.epoll_fd < 0)
		goto fail;
	loop.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (!watch_own(loop.timer_fd, &loop.timer_fd))
		goto fail;
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		goto fail;
	loop.signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (!watch_own(loop.signal_fd, &loop.signal_fd))
		goto fail;
	return CS_OK;
fail:
	cs_fail(err, CS_ERR_CONFIG, "cannot make the event loop: %s", strerror(errno));
	loop_close();
	return CS_ERR_CONFIG;
}

void loop_on_signal(void (*on_signal)(void *ctx, int signo), void *ctx)
{
	loop.on_signal = on_signal;
	loop.signal_ctx = ctx;
}

void loop_unblock_signals(void)
{
	sigset_t set;

	signals_wanted(&set);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void bury_dead(void)
{
	while (loop.dead) {
		struct loop_watch *w = loop.dead;

		loop.dead = w->next;
		free(w);
	}
}

void loop_close(void)
{
	while (loop.watches)
		loop_watch_free(loop.watches);
	bury_dead();
	while (loop.timers)
		loop_timer_cancel(loop.timers);
	close_fd(&loop.signal_fd);
	close_fd(&loop.timer_fd);
	close_fd(&loop.epoll_fd);
}

void loop_set_runner(void (*run)(void *ctx), void (*stop)(void *ctx), void *ctx)
{
	loop.run = run;
	loop.stop = stop;
	loop.runner_ctx = ctx;
}

void loop_run(void)
{
	loop.run(loop.runner_ctx);
}

void loop_stop(void)
{
	loop.stop(loop.runner_ctx);
}

/* ---- descriptors --------------------------------------------------------- */

static void apply_wanted(struct loop_watch *w, int op)
{
	struct epoll_event ev = {.events = w->wanted, .data.ptr = w};

	epoll_ctl(loop.epoll_fd, op, w->fd, &ev);
}

struct loop_watch *loop_watch_new(int fd, void (*on_ready)(void *ctx, bool readable, bool writable),
				  void *ctx)
{
	struct loop_watch *w = calloc(1, sizeof(*w));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = w};

	if (!w)
		return NULL;
	w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (w->fd < 0 || epoll_ctl(loop.epoll_fd, EPOLL_CTL_ADD, w->fd, &ev) < 0) {
		close_fd(&w->fd);
		free(w);
		return NULL;
	}
	w->wanted = EPOLLIN;
	w->on_ready = on_ready;
	w->ctx = ctx;
	w->next = loop.watches;
	if (w->next)
		w->next->prev = w;
	loop.watches = w;
	return w;
}

static void want(struct loop_watch *w, uint32_t event, bool on)
{
	uint32_t wanted = on ? w->wanted | event : w->wanted & ~event;

	if (wanted == w->wanted)
		return;
	w->wanted = wanted;
	apply_wanted(w, EPOLL_CTL_MOD);
}

void loop_watch_want_read(struct loop_watch *w, bool on)
{
	want(w, EPOLLIN, on);
}

void loop_watch_want_write(struct loop_watch *w, bool on)
{
	want(w, EPOLLOUT, on);
}

void loop_watch_free(struct loop_watch *w)
{
	if (!w || w->is_dead)
		return;
	epoll_ctl(loop.epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	close_fd(&w->fd);
	if (w->prev)
		w->prev->next = w->next;
	else
		loop.watches = w->next;
	if (w->next)
		w->next->prev = w->prev;
	w->is_dead = true;
	w->next = loop.dead;
	loop.dead = w;
	if (!loop.in_dispatch)
		bury_dead();
}

/* ---- timers -------------------------------------------------------------- */

static void arm_timer_fd(void)
{
	struct itimerspec at = {0};

	if (loop.timers) {
		/* a due time of zero would disarm instead of firing at once */
		uint64_t due_ms = loop.timers->due_ms ? loop.timers->due_ms : 1;

		at.it_value.tv_sec = (time_t)(due_ms / 1000);
		at.it_value.tv_nsec = (long)(due_ms % 1000) * 1000000;
	}
	timerfd_settime(loop.timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void unlink_timer(struct loop_timer *t)
{
	if (t->prev)
		t->prev->next = t->next;
	else
		loop.timers = t->next;
	if (t->next)
		t->next->prev = t->prev;
	t->prev = t->next = NULL;
	t->is_set = false;
}

void loop_timer_set(struct loop_timer *t, uint32_t delay_ms, void (*on_due)(void *ctx), void *ctx)
{
	struct loop_timer *before = NULL, *after;

	if (t->is_set)
		unlink_timer(t);
	t->due_ms = clock_monotonic_ms() + delay_ms;
	t->round = loop.timer_round;
	t->on_due = on_due;
	t->ctx = ctx;
	for (after = loop.timers; after && after->due_ms <= t->due_ms; after = after->next)
		before = after;
	t->prev = before;
	t->next = after;
	if (before)
		before->next = t;
	else
		loop.timers = t;
	if (after)
		after->prev = t;
	t->is_set = true;
	arm_timer_fd();
}

void loop_timer_cancel(struct loop_timer *t)
{
	if (!t->is_set)
		return;
	unlink_timer(t);
	arm_timer_fd();
}

/*
 * Run what is due.  Only what was due at the start: a timer that sets itself
 * again with no delay stands behind the others of its millisecond and waits
 * for the next round, so that descriptors get their turn.
 */
static void run_timers(void)
{
	uint64_t now_ms = clock_monotonic_ms();
	uint64_t expirations;
	ssize_t n = read(loop.timer_fd, &expirations, sizeof(expirations));

	(void)n; /* only clears the readiness; the list says what is due */
	loop.timer_round++;
	while (loop.timers && loop.timers->due_ms <= now_ms &&
	       loop.timers->round != loop.timer_round) {
		struct loop_timer *t = loop.timers;

		unlink_timer(t);
		t->on_due(t->ctx);
	}
	arm_timer_fd();
}

/* ---- dispatch ------------------------------------------------------------- */

static void read_signals(void)
{
	struct signalfd_siginfo info;

	while (read(loop.signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		if (loop.on_signal)
			loop.on_signal(loop.signal_ctx, (int)info.ssi_signo);
}

static void serve(struct loop_watch *w, uint32_t events)
{
	bool broken = events & (EPOLLERR | EPOLLHUP);
	bool writable = (events & EPOLLOUT) || (broken && (w->wanted & EPOLLOUT));

	w->on_ready(w->ctx, broken || (events & EPOLLIN), writable);
}

int loop_fd(void)
{
	return loop.epoll_fd;
}

void loop_dispatch(void)
{
	struct epoll_event events[EVENTS_PER_DISPATCH];
	int n = epoll_wait(loop.epoll_fd, events, EVENTS_PER_DISPATCH, 0);

	loop.in_dispatch = true;
	for (int i = 0; i < n; i++) {
		struct loop_watch *w = events[i].data.ptr;

		if (events[i].data.ptr == &loop.timer_fd)
			run_timers();
		else if (events[i].data.ptr == &loop.signal_fd)
			read_signals();
		else if (!w->is_dead)
			serve(w, events[i].events);
	}
	loop.in_dispatch = false;
	bury_dead();
}
