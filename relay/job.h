/*
 * Work that would stop the event loop, done by child processes.
 *
 * A job is this program again (`clinic-relay --job`): it gets its orders as one
 * line of JSON on standard input, writes lines of JSON to standard output and
 * dies with its parent.  Its success is its last line, never its exit code.
 */
#ifndef CLINIC_RELAY_JOB_H
#define CLINIC_RELAY_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "cursor.h"
#include "status.h"

/* Longest line a job may write. */
#define JOB_LINE_MOST_BYTES (1024 * 1024)

void job_init(const struct config *config);
/* Kill what runs, reap it, delete the snapshot files. No callback comes after this. */
void job_close(void);

/* ---- snapshots ------------------------------------------------------------ */

struct snapshot_table {
	char *name;
	uint64_t rows;
};

/* One file, shared by all who asked for these tables; it stays until a newer one is ready. */
struct snapshot {
	char *path;                        /* open it at once: an open file survives its deletion */
	char etag[CURSOR_TEXT_BYTES + 24]; /* quotes included */
	struct cursor cursor;
	uint64_t bytes;
	struct snapshot_table *tables;
	size_t table_count;
};

struct snapshot_wait;

struct snapshot_events {
	void (*on_done)(void *ctx, const struct snapshot *s); /* s is valid during the call */
	/* reason is one line without data.  no_such_table: the request is wrong, not the server. */
	void (*on_failed)(void *ctx, const char *reason, bool no_such_table);
};

/*
 * Ask for a snapshot of the tables (comma list; NULL or "": all) whose cursor is
 * at or after min (NULL: any).  A file younger than snapshot_max_age_s is
 * shared, one being built is waited for.  Exactly one of the events comes,
 * possibly before this returns (then the result is NULL and *answered is true).
 * NULL with *answered false: too many wait.
 */
struct snapshot_wait *job_start_snapshot(const char *tables, const struct cursor *min,
					 const struct snapshot_events *events, void *ctx,
					 bool *answered);
/* No event comes any more; the build goes on for the next who asks. Accepts NULL. */
void snapshot_cancel(struct snapshot_wait *w);
/* A file that was handed out before, for a download that goes on; NULL: gone. */
const struct snapshot *snapshot_by_etag(const char *etag);
/* The server's history changed: no file of before may be served. */
void snapshot_forget_all(void);

/* ---- digests -------------------------------------------------------------- */

struct job;

struct digest_events {
	/* One line for GET /db/digest, NUL-terminated, without the newline. */
	void (*on_line)(void *ctx, const char *line, size_t len);
	/* ok: the last line was {"done":true}; else it was {"error":...}, also given to on_line.
	   The job is gone. */
	void (*on_end)(void *ctx, bool ok);
};

/*
 * tables as above; rows: one line for each row as well; skip: columns left out, a comma list of
 * table.column, NULL: none.  NULL: too many run, or no process.
 */
struct job *job_start_digest(const char *tables, bool rows, const char *skip,
			     const struct digest_events *events, void *ctx);
/*
 * Proof of slices, counts and the bounds of slices: one job, shared by all devices
 * that ask for the same.  spec:
 *   {"slices":[{"table":"patients","skip":["photo"],"after":{"id":"JG-0100"},"upto":null},...],
 *    "counts":["patients",...], "bounds":["patients",...], "slice_rows":10000}
 * All but slice_rows may be absent.  Its lines, in this order:
 *   {"cursor":"..."}                        as soon as the batch is cut
 *   {"slice":0,"rows":812,"hash":"..."}     one for each, numbered as in spec
 *   {"count":"patients","rows":1000}        null: larger than clinic_sync.count_max_bytes, or
 * locked
 *   {"bounds":"patients","keys":[{"id":"JG-0100"},...]}
 *       slices end at these keys, in their order; [] if there is one slice only.  Many
 *       keys come in several lines: append
 *   {"done":true}, or {"error":"...","no_such_table":true} or {"error":"...","locked":true}
 * Without slices and counts nothing is cut and no cursor comes.  It has a limit of
 * its own, apart from job_start_digest().  NULL: too many run, no process, or a spec that
 * is no JSON or longer than JOB_SPEC_MOST_BYTES.
 */
#define JOB_SPEC_MOST_BYTES (192 * 1024)
struct job *job_start_proof(const char *spec_json, const struct digest_events *events, void *ctx);
void job_pause(struct job *j);
void job_resume(struct job *j);
/* Kill it; no event comes any more. Accepts NULL. */
void job_cancel(struct job *j);

#endif
