/*
 * Snapshot files: who waits for one, the one being built, those that are ready.
 *
 * One build at a time, for whoever asked first; everybody who waits for the same
 * tables shares the result.  Files are kept for a while after they are too old
 * to be handed out anew, so that a download that broke can go on.
 */
#include "job_snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "clock.h"
#include "job.h"
#include "job_orders.h"
#include "job_process.h"
#include "log.h"
#include "metrics.h"
#include "upstream.h"
#include "ws_loop.h"

#define WAITS_MOST 2000
/* And the newest of all tables. */
#define FILES_MOST 8
#define KEEP_MS (10 * 60 * 1000)
#define FILE_PREFIX "snapshot-"

struct snapshot_wait {
	struct snapshot_wait *next;
	char *tables;
	struct cursor min; /* batch 0: any */
	uint64_t number;   /* order of asking */
	const struct snapshot_events *events;
	void *ctx;
};

struct file {
	struct file *next; /* older */
	char *tables;
	struct snapshot snapshot;
	uint64_t made_ms;
};

/* The build under way; process NULL: none. */
struct build {
	struct job_process *process;
	struct file *file; /* being filled in */
	uint64_t number;   /* those who asked before this number get it in any case */
	char error[256];
	bool no_such_table;
	bool done;
};

static struct {
	const struct config *config;
	struct snapshot_wait *waits; /* in order of asking */
	size_t wait_count;
	uint64_t next_number;
	struct build build;
	struct file *files;     /* newest first */
	struct loop_timer soon; /* begin a build from the loop, not from who asks */
	uint64_t next_file;
} shelf;

static void build_next(void *ctx);

/* ---- files ------------------------------------------------------------------------- */

static void file_free(struct file *f)
{
	if (!f)
		return;
	if (f->snapshot.path) {
		char part[CONFIG_PATH_BYTES + 64];

		unlink(f->snapshot.path);
		/* what a job leaves that was killed while it wrote */
		snprintf(part, sizeof(part), "%s" JOB_PART_SUFFIX, f->snapshot.path);
		unlink(part);
	}
	for (size_t i = 0; i < f->snapshot.table_count; i++)
		free(f->snapshot.tables[i].name);
	free(f->snapshot.tables);
	free(f->snapshot.path);
	free(f->tables);
	free(f);
}

/* Delete files that nobody can want any more; all: every one. */
static void sweep(bool all)
{
	uint64_t now_ms = clock_monotonic_ms();
	bool has_whole = false;
	int kept = 0;

	for (struct file **at = &shelf.files; *at;) {
		struct file *f = *at;
		bool is_young = !all && now_ms - f->made_ms < KEEP_MS;
		/* what costs most to make again is not counted: files of single tables are many */
		bool is_first_whole = !f->tables[0] && !has_whole;

		if (is_young && (is_first_whole || kept < FILES_MOST)) {
			has_whole = has_whole || is_first_whole;
			kept += !is_first_whole;
			at = &f->next;
			continue;
		}
		*at = f->next;
		file_free(f);
	}
}

static bool is_recent(const struct file *f)
{
	return clock_monotonic_ms() - f->made_ms <
	       (uint64_t)shelf.config->snapshot_max_age_s * 1000;
}

static const struct file *find_ready(const char *tables, const struct cursor *min)
{
	for (const struct file *f = shelf.files; f; f = f->next) {
		if (strcmp(f->tables, tables) == 0)
			return is_recent(f) && f->snapshot.cursor.batch >= min->batch ? f : NULL;
	}
	return NULL;
}

const struct snapshot *snapshot_by_etag(const char *etag)
{
	sweep(false);
	for (const struct file *f = shelf.files; f; f = f->next) {
		if (strcmp(f->snapshot.etag, etag) == 0)
			return &f->snapshot;
	}
	return NULL;
}

void snapshot_forget_all(void)
{
	sweep(true);
	/* what is being built belongs to the old history as well */
	if (shelf.build.process) {
		job_process_kill(shelf.build.process);
		file_free(shelf.build.file);
		memset(&shelf.build, 0, sizeof(shelf.build));
		build_next(NULL);
	}
}

/* ---- those who wait ------------------------------------------------------------------ */

static void wait_free(struct snapshot_wait *w)
{
	free(w->tables);
	free(w);
}

static void unlink_wait(struct snapshot_wait *w)
{
	struct snapshot_wait **at = &shelf.waits;

	while (*at && *at != w)
		at = &(*at)->next;
	if (*at) {
		*at = w->next;
		shelf.wait_count--;
	}
}

void snapshot_cancel(struct snapshot_wait *w)
{
	if (!w)
		return;
	unlink_wait(w);
	wait_free(w);
}

static void add_wait(struct snapshot_wait *w)
{
	struct snapshot_wait **at = &shelf.waits;

	while (*at)
		at = &(*at)->next;
	*at = w;
	shelf.wait_count++;
}

/* The next one whom this build answers; it is taken off the list. */
static struct snapshot_wait *take_answered(const struct build *b)
{
	for (struct snapshot_wait *w = shelf.waits; w; w = w->next) {
		if (strcmp(w->tables, b->file->tables) != 0)
			continue;
		if (w->number < b->number ||
		    (b->done && b->file->snapshot.cursor.batch >= w->min.batch)) {
			unlink_wait(w);
			return w;
		}
	}
	return NULL;
}

/* ---- the build ------------------------------------------------------------------------ */

static bool add_table(struct snapshot *s, const char *name, uint64_t rows)
{
	struct snapshot_table *tables = realloc(s->tables, (s->table_count + 1) * sizeof(*tables));

	if (!tables)
		return false;
	s->tables = tables;
	tables[s->table_count].name = strdup(name);
	tables[s->table_count].rows = rows;
	if (!tables[s->table_count].name)
		return false;
	s->table_count++;
	return true;
}

static void on_line(void *ctx, char *line, size_t len)
{
	struct build *b = &shelf.build;
	json_t *message = json_loadb(line, len, 0, NULL);
	const char *cursor = json_string_value(json_object_get(message, "cursor"));
	const char *table = json_string_value(json_object_get(message, "table"));
	const char *error = json_string_value(json_object_get(message, "error"));
	json_int_t rows = json_integer_value(json_object_get(message, "rows"));

	(void)ctx;
	if (cursor && !cursor_parse(cursor, strlen(cursor), &b->file->snapshot.cursor))
		error = "no cursor";
	if (table && !add_table(&b->file->snapshot, table, (uint64_t)rows))
		error = "out of memory";
	if (json_is_true(json_object_get(message, "done"))) {
		b->done = b->file->snapshot.cursor.batch > 0 && !b->error[0];
		b->file->snapshot.bytes =
			(uint64_t)json_integer_value(json_object_get(message, "bytes"));
	}
	if (error)
		snprintf(b->error, sizeof(b->error), "%s", error);
	if (json_is_true(json_object_get(message, "locked")))
		metric_add(METRIC_JOBS_LOCKED_OUT, 1);
	if (json_is_true(json_object_get(message, "no_such_table")))
		b->no_such_table = true;
	json_decref(message);
	/* the live feed has to reach this batch before a device can go on from it */
	if (cursor)
		upstream_ring();
}

static void on_end(void *ctx)
{
	struct build b = shelf.build;
	struct snapshot_wait *w;

	(void)ctx;
	memset(&shelf.build, 0, sizeof(shelf.build));
	if (b.done) {
		b.file->made_ms = clock_monotonic_ms();
		snprintf(b.file->snapshot.etag, sizeof(b.file->snapshot.etag), "\"%lld-%016llx\"",
			 (long long)b.file->snapshot.cursor.batch,
			 (unsigned long long)b.file->snapshot.cursor.nonce);
		b.file->next = shelf.files;
		shelf.files = b.file;
	} else {
		log_warning("snapshot: %s", b.error[0] ? b.error : "the job ended early");
	}
	while ((w = take_answered(&b)) != NULL) {
		if (b.done)
			w->events->on_done(w->ctx, &b.file->snapshot);
		else
			w->events->on_failed(w->ctx, b.error[0] ? b.error : "the job ended early",
					     b.no_such_table);
		wait_free(w);
	}
	if (!b.done)
		file_free(b.file);
	sweep(false);
	build_next(NULL);
}

static const struct job_process_events process_events = {.on_line = on_line, .on_end = on_end};

static struct file *file_new(const char *tables)
{
	struct file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->tables = strdup(tables);
	if (asprintf(&f->snapshot.path, "%s/" FILE_PREFIX "%llu.sqlite", shelf.config->snapshot_dir,
		     (unsigned long long)++shelf.next_file) < 0)
		f->snapshot.path = NULL;
	if (f->tables && f->snapshot.path)
		return f;
	file_free(f);
	return NULL;
}

/* Begin to build for the one who has waited longest. */
static bool build_start(struct snapshot_wait *w)
{
	struct job_orders orders = {
		.kind = JOB_SNAPSHOT, .dsn = shelf.config->dsn, .tables = w->tables};
	struct file *f = file_new(w->tables);
	char *text;

	if (!f)
		return false;
	orders.path = f->snapshot.path;
	text = job_orders_print(&orders);
	if (text)
		shelf.build.process =
			job_process_start(text, shelf.config->job_timeout_s, &process_events, NULL);
	free(text);
	if (!shelf.build.process) {
		file_free(f);
		return false;
	}
	shelf.build.file = f;
	shelf.build.number = shelf.next_number;
	return true;
}

static void build_next(void *ctx)
{
	(void)ctx;
	while (shelf.waits && !shelf.build.process && !build_start(shelf.waits)) {
		struct snapshot_wait *w = shelf.waits;

		unlink_wait(w);
		w->events->on_failed(w->ctx, "cannot start a job", false);
		wait_free(w);
	}
}

/* ---- asking ---------------------------------------------------------------------------- */

struct snapshot_wait *job_start_snapshot(const char *tables, const struct cursor *min,
					 const struct snapshot_events *events, void *ctx,
					 bool *answered)
{
	struct snapshot_wait *w;
	const struct file *f;

	*answered = false;
	sweep(false);
	if (shelf.wait_count >= WAITS_MOST)
		return NULL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->tables = job_list_normalize(tables);
	if (!w->tables) {
		wait_free(w);
		return NULL;
	}
	if (min)
		w->min = *min;
	f = find_ready(w->tables, &w->min);
	if (f) {
		wait_free(w);
		*answered = true;
		events->on_done(ctx, &f->snapshot);
		return NULL;
	}
	w->events = events;
	w->ctx = ctx;
	w->number = shelf.next_number++;
	add_wait(w);
	loop_timer_set(&shelf.soon, 0, build_next, NULL);
	return w;
}

/* ---- life -------------------------------------------------------------------------------- */

cs_status job_snapshot_claim_dir(const struct config *config, struct cs_error *err)
{
	int dir_fd = open(config->snapshot_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	DIR *dir;

	/* never closed: the lock is to live as long as the process */
	if (dir_fd < 0 || flock(dir_fd, LOCK_EX | LOCK_NB) < 0)
		return cs_fail(err, CS_ERR_CONFIG, "\"snapshot_dir\" %s: %s", config->snapshot_dir,
			       errno == EWOULDBLOCK ? "another relay uses it" : strerror(errno));
	dir = opendir(config->snapshot_dir);
	if (!dir)
		return cs_fail(err, CS_ERR_CONFIG, "\"snapshot_dir\" %s: %s", config->snapshot_dir,
			       strerror(errno));
	while ((entry = readdir(dir)) != NULL) {
		if (strncmp(entry->d_name, FILE_PREFIX, strlen(FILE_PREFIX)) == 0)
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	closedir(dir);
	return CS_OK;
}

void job_snapshot_init(const struct config *config)
{
	memset(&shelf, 0, sizeof(shelf));
	shelf.config = config;
	shelf.next_number = 1;
}

void job_snapshot_close(void)
{
	loop_timer_cancel(&shelf.soon);
	job_process_kill(shelf.build.process);
	file_free(shelf.build.file);
	memset(&shelf.build, 0, sizeof(shelf.build));
	while (shelf.waits)
		snapshot_cancel(shelf.waits);
	sweep(true);
}
