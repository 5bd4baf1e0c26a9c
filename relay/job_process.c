/*
 * Child processes; see job_process.h.
 *
 * A child is this very program, started through /proc/self/exe so that an
 * upgrade on disk cannot mix versions.  Its orders (which hold the connection
 * string) go through a pipe, where no process list shows them.  It dies with
 * us: PR_SET_PDEATHSIG, set before exec.
 */
#include "job_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dynbuf.h"
#include "job.h"
#include "log.h"
#include "ws_loop.h"

#define READ_BYTES 65536
/* What a pipe holds unless it is made larger. */
#define PIPE_USUAL_BYTES 65536

struct job_process {
	pid_t pid;
	int fd; /* its standard output */
	struct loop_watch *watch;
	struct loop_timer deadline;
	struct loop_timer again; /* go on after a pause */
	struct dynbuf input;     /* what has come and is not a whole line yet */
	size_t taken;            /* bytes of input given out already */
	const struct job_process_events *events;
	void *ctx;
	bool paused;
	bool at_end; /* it closed its output */
	bool in_callback;
	bool killed; /* by its owner, inside a callback */
};

/* ---- the child between fork and exec: only async-signal-safe calls ------------- */

static void become_job(int orders_fd, int output_fd, pid_t parent)
{
	if (dup2(orders_fd, STDIN_FILENO) < 0 || dup2(output_fd, STDOUT_FILENO) < 0)
		_exit(1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1); /* it died before we could ask */
	loop_unblock_signals();
#ifdef SYS_close_range
	/* what a library opened without CLOEXEC is not ours to keep */
	syscall(SYS_close_range, 3U, ~0U, 0U);
#endif
	execl("/proc/self/exe", "clinic-relay", "--job", (char *)NULL);
	_exit(1);
}

/* A pipe that holds the orders already, so that nobody has to wait for the writing. */
static int orders_pipe(const char *orders)
{
	size_t len = strlen(orders);
	int fds[2];
	ssize_t written;

	if (len > JOB_ORDERS_MOST_BYTES)
		errno = E2BIG;
	if (len > JOB_ORDERS_MOST_BYTES || pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	if (len > PIPE_USUAL_BYTES)
		fcntl(fds[1], F_SETPIPE_SZ, JOB_ORDERS_MOST_BYTES);
	written = write(fds[1], orders, len);
	close(fds[1]);
	if (written == (ssize_t)len && fcntl(fds[0], F_SETFL, 0) == 0)
		return fds[0];
	close(fds[0]);
	return -1;
}

static bool spawn(struct job_process *p, const char *orders)
{
	pid_t parent = getpid();
	int output[2];
	int orders_fd = orders_pipe(orders);

	if (orders_fd < 0)
		return false;
	if (pipe2(output, O_CLOEXEC) < 0) {
		close(orders_fd);
		return false;
	}
	p->fd = output[0];
	p->pid = fork();
	if (p->pid == 0)
		become_job(orders_fd, output[1], parent);
	close(orders_fd);
	close(output[1]);
	return p->pid > 0 && fcntl(p->fd, F_SETFL, O_NONBLOCK) == 0;
}

/* ---- the parent -------------------------------------------------------------------- */

static void reap(struct job_process *p)
{
	int status;

	if (p->pid <= 0)
		return;
	/* all it had to say has been said; whatever it still does is of no use */
	kill(p->pid, SIGKILL);
	while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
		;
	p->pid = 0;
}

static void process_free(struct job_process *p)
{
	reap(p);
	loop_timer_cancel(&p->deadline);
	loop_timer_cancel(&p->again);
	loop_watch_free(p->watch);
	if (p->fd >= 0)
		close(p->fd);
	dynbuf_free(&p->input);
	free(p);
}

void job_process_kill(struct job_process *p)
{
	if (!p)
		return;
	p->killed = true;
	if (!p->in_callback)
		process_free(p);
}

static void on_deadline(void *ctx)
{
	struct job_process *p = ctx;

	log_warning("a job took longer than job_timeout_s and was stopped");
	/* its pipe closes, which ends it in the usual way */
	kill(p->pid, SIGKILL);
	job_process_resume(p);
}

/* Give out whole lines until the owner has enough. */
static void give_lines(struct job_process *p)
{
	while (!p->paused && !p->killed && p->taken < p->input.len) {
		char *line = p->input.data + p->taken;
		char *newline = memchr(line, '\n', p->input.len - p->taken);

		if (!newline)
			break;
		*newline = '\0';
		p->taken = (size_t)(newline - p->input.data) + 1;
		p->events->on_line(p->ctx, line, (size_t)(newline - line));
	}
}

/* Move the rest of a line to the front. */
static void drop_given(struct job_process *p)
{
	size_t rest = p->input.len - p->taken;

	if (!p->taken)
		return;
	memmove(p->input.data, p->input.data + p->taken, rest);
	p->input.len = rest;
	p->taken = 0;
}

static void read_some(struct job_process *p)
{
	char chunk[READ_BYTES];
	ssize_t got = read(p->fd, chunk, sizeof(chunk));

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0 && !dynbuf_add(&p->input, chunk, (size_t)got)) {
		log_error("a job wrote a line of more than %d bytes", JOB_LINE_MOST_BYTES);
		got = 0;
	}
	if (got <= 0) {
		p->at_end = true;
		loop_watch_want_read(p->watch, false);
	}
}

static void advance(struct job_process *p, bool readable)
{
	p->in_callback = true;
	if (readable && !p->at_end && !p->paused)
		read_some(p);
	give_lines(p);
	if (!p->killed)
		drop_given(p);
	if (!p->killed && p->at_end && !p->paused) {
		reap(p);
		p->events->on_end(p->ctx);
		p->killed = true;
	}
	p->in_callback = false;
	if (p->killed)
		process_free(p);
}

static void on_ready(void *ctx, bool readable, bool writable)
{
	struct job_process *p = ctx;

	(void)writable;
	/* a dead child's hang-up is reported even while we do not read: look away until resumed */
	if (p->paused) {
		loop_watch_free(p->watch);
		p->watch = NULL;
		return;
	}
	advance(p, readable);
}

static void go_on(void *ctx)
{
	struct job_process *p = ctx;

	if (!p->watch && !p->at_end) {
		p->watch = loop_watch_new(p->fd, on_ready, p);
		/* without a watch nothing would ever end it */
		p->at_end = !p->watch;
	}
	advance(p, false);
}

void job_process_pause(struct job_process *p)
{
	p->paused = true;
	loop_timer_cancel(&p->again);
	if (p->watch)
		loop_watch_want_read(p->watch, false);
}

void job_process_resume(struct job_process *p)
{
	if (!p->paused)
		return;
	p->paused = false;
	if (p->watch && !p->at_end)
		loop_watch_want_read(p->watch, true);
	loop_timer_set(&p->again, 0, go_on, p);
}

struct job_process *job_process_start(const char *orders, int limit_s,
				      const struct job_process_events *events, void *ctx)
{
	struct job_process *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->fd = -1;
	p->events = events;
	p->ctx = ctx;
	dynbuf_init(&p->input, JOB_LINE_MOST_BYTES + READ_BYTES);
	if (!spawn(p, orders) || !(p->watch = loop_watch_new(p->fd, on_ready, p))) {
		log_error("cannot start a job: %s", strerror(errno));
		process_free(p);
		return NULL;
	}
	loop_timer_set(&p->deadline, (uint32_t)limit_s * 1000, on_deadline, p);
	return p;
}
