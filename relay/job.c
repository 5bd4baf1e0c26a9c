/*
 * Digest and proof jobs and what all jobs share; see job.h.  Snapshots are in
 * job_snapshot.c.
 */
#include "job.h"

#include <stdlib.h>
#include <string.h>

#include "job_orders.h"
#include "job_process.h"
#include "job_snapshot.h"
#include "metrics.h"
#include "upstream.h"

/* Each holds a connection and a scan of the database. */
#define DIGESTS_MOST 4
#define PROOFS_MOST 2

struct job {
	enum job_kind kind;
	struct job *prev, *next;
	struct job_process *process;
	const struct digest_events *events;
	void *ctx;
	bool done; /* the last line was the good one */
};

static struct {
	const struct config *config;
	struct job *first;
} jobs;

void job_init(const struct config *config)
{
	memset(&jobs, 0, sizeof(jobs));
	jobs.config = config;
	job_snapshot_init(config);
}

void job_close(void)
{
	while (jobs.first)
		job_cancel(jobs.first);
	job_snapshot_close();
}

static void unlink_job(struct job *j)
{
	if (j->prev)
		j->prev->next = j->next;
	else
		jobs.first = j->next;
	if (j->next)
		j->next->prev = j->prev;
}

static int running(enum job_kind kind)
{
	int count = 0;

	for (const struct job *j = jobs.first; j; j = j->next)
		count += j->kind == kind;
	return count;
}

static void on_line(void *ctx, char *line, size_t len)
{
	struct job *j = ctx;

	/* a batch was cut for it; whoever compares waits until the live feed has brought it */
	if (strncmp(line, "{\"cursor\"", 9) == 0)
		upstream_ring();
	/* quotes in a text are escaped: only the member looks like this */
	if (strstr(line, JOB_LOCKED_OUT "}"))
		metric_add(METRIC_JOBS_LOCKED_OUT, 1);
	j->done = strcmp(line, "{\"done\":true}") == 0;
	j->events->on_line(j->ctx, line, len);
}

static void on_end(void *ctx)
{
	struct job *j = ctx;

	unlink_job(j);
	j->events->on_end(j->ctx, j->done);
	free(j);
}

static const struct job_process_events process_events = {.on_line = on_line, .on_end = on_end};

static struct job *start(const struct job_orders *orders, const struct digest_events *events,
			 void *ctx)
{
	struct job *j = calloc(1, sizeof(*j));
	char *text = job_orders_print(orders);

	if (!j || !text)
		goto fail;
	j->kind = orders->kind;
	j->events = events;
	j->ctx = ctx;
	j->process = job_process_start(text, jobs.config->job_timeout_s, &process_events, j);
	if (!j->process)
		goto fail;
	free(text);
	j->next = jobs.first;
	if (j->next)
		j->next->prev = j;
	jobs.first = j;
	return j;
fail:
	free(text);
	free(j);
	return NULL;
}

struct job *job_start_digest(const char *tables, bool rows, const char *skip,
			     const struct digest_events *events, void *ctx)
{
	struct job_orders orders = {.kind = JOB_DIGEST,
				    .dsn = jobs.config->dsn,
				    .tables = tables,
				    .rows = rows,
				    .skip = skip};

	return running(JOB_DIGEST) < DIGESTS_MOST ? start(&orders, events, ctx) : NULL;
}

struct job *job_start_proof(const char *spec_json, const struct digest_events *events, void *ctx)
{
	struct job_orders orders = {.kind = JOB_PROOF, .dsn = jobs.config->dsn};
	struct job *j;

	if (running(JOB_PROOF) >= PROOFS_MOST || strlen(spec_json) > JOB_SPEC_MOST_BYTES)
		return NULL;
	orders.spec = json_loads(spec_json, 0, NULL);
	if (!orders.spec)
		return NULL;
	j = start(&orders, events, ctx);
	json_decref(orders.spec);
	return j;
}

void job_pause(struct job *j)
{
	job_process_pause(j->process);
}

void job_resume(struct job *j)
{
	job_process_resume(j->process);
}

void job_cancel(struct job *j)
{
	if (!j)
		return;
	unlink_job(j);
	job_process_kill(j->process);
	free(j);
}
