/* A child process that takes orders as JSON and answers in lines; see job.h. */
#ifndef CLINIC_RELAY_JOB_PROCESS_H
#define CLINIC_RELAY_JOB_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct job_process;

struct job_process_events {
	/* NUL-terminated, without the newline */
	void (*on_line)(void *ctx, char *line, size_t len);
	/* The process is gone and reaped; p is freed after the call. */
	void (*on_end)(void *ctx);
};

/*
 * orders: JSON text, at most JOB_ORDERS_MOST_BYTES.  The process is killed
 * after limit_s.  NULL: no process, no descriptor or no memory (in the log).
 */
#define JOB_ORDERS_MOST_BYTES (256 * 1024)
struct job_process *job_process_start(const char *orders, int limit_s,
				      const struct job_process_events *events, void *ctx);
/* Kill and reap it; no event comes any more. Accepts NULL. */
void job_process_kill(struct job_process *p);
/* No line is taken from it while paused: it waits for its pipe. */
void job_process_pause(struct job_process *p);
void job_process_resume(struct job_process *p);

#endif
