/*
 * Proofs: requests for digests are gathered by class (digest_class.h) and all of
 * a class answered by one job, so that a thousand devices cost what one costs.
 *
 *   request_digest ──> class ──> round: 1. digest_begin to all who asked
 *                                       2. the job: cuts batch k, then computes
 *                                       3. digest to each who has everything up to k
 *
 * The order of 1 and 2 is what the proof rests on: no frame with batch k can
 * have reached a device before digest_begin, so the state at k is among those
 * it passes through between 1 and 3.
 *
 * digest_ask.c knows who asks, digest_when.c which class is the next and when,
 * digest_round.c what a round is, digest_job.c what is said to the job and by it.
 * Pure: time, jobs and the list of tables come through struct digest_env.
 */
#ifndef CLINIC_RELAY_DIGEST_ROUND_H
#define CLINIC_RELAY_DIGEST_ROUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "config.h"
#include "cursor.h"
#include "digest_class.h"
#include "frame.h"
#include "job.h"
#include "protocol_in.h"

#define CLASSES_MOST 8
/* Who asks for one class more waits for one to be free of requests. */
#define CLASS_WAITS_MOST 1000
/* Names of a thousand tables beside the slices. */
#define ROUND_SPEC_MOST ((size_t)JOB_SPEC_MOST_BYTES)

struct device;
struct digest_rounds;

/* One request of a device, a member of it: one for each scope. */
struct digest_ask {
	struct device *device;
	struct digest_ask *prev, *next;
	struct digest_ask **list;          /* the list it stands in; NULL: nothing is asked for */
	struct digest_class *class;        /* NULL: waits for one, or all is answered */
	struct in_request_digest *request; /* while it waits for a class */
	uint64_t id;                       /* of the digest_begin that was said; 0: none */
	struct frame *held;                /* the answer, given when the device has all up to: */
	struct cursor until;
	uint64_t began_ms; /* whole: the first digest_begin; 0: none */
	uint64_t rest_ms;  /* ... the next one not before this */
};

struct digest_env {
	const struct config *config;
	uint64_t (*now_ms)(void);
	/* All published tables, read so long ago at most, as published_tables() says.  False: not
	   known; digest_rounds_turn() when they are. */
	bool (*published)(void *ctx, uint64_t age_most_ms, char *const **names,
			  const uint64_t **rows, size_t *count);
	struct job *(*start)(const char *spec, const struct digest_events *events, void *ctx);
	void (*cancel)(struct job *j);
	/* Call digest_rounds_turn() in so many milliseconds, and not when it was said before. */
	void (*turn_in)(void *ctx, uint32_t delay_ms);
	void *ctx;
};

/* env is kept by reference.  NULL: out of memory. */
struct digest_rounds *digest_rounds_new(const struct digest_env *env);
/* All devices must be gone.  Accepts NULL. */
void digest_rounds_free(struct digest_rounds *r);
/* Begin what is due. */
void digest_rounds_turn(struct digest_rounds *r);
/* Without the database nothing begins, and what began has failed. */
void digest_rounds_connected(struct digest_rounds *r, bool connected);
/* The feed went on: who waits for it may have its answer now. */
void digest_rounds_look(struct digest_rounds *r);

/* ---- for devices; r NULL: nothing is ever asked for ------------------------------- */

/* Takes over what request holds, if it has to wait.  d follows a group. */
void digest_ask(struct digest_rounds *r, struct device *d, struct in_request_digest *request);
/* d wants no answer any more. */
void digest_forget(struct digest_rounds *r, struct device *d);
/* An answer whose time has come, with a reference for the caller, or NULL. */
struct frame *digest_next(struct digest_rounds *r, struct device *d);

/* ---- between the files of it -------------------------------------------------------- */

typedef enum { ROUND_NONE, ROUND_BOUNDS, ROUND_SLICES } round_stage;

struct slice_result {
	bool known;
	uint64_t rows;
	char hash[17];
};

/* The one under way. */
struct digest_round {
	round_stage stage;
	struct digest_class *class;
	struct job *job;
	uint64_t id;
	struct digest_slice slices[ROUND_SLICES_MOST];
	struct slice_result results[ROUND_SLICES_MOST];
	size_t slice_count;
	bool is_last;         /* of a whole proof */
	struct cursor cursor; /* batch 0: not cut yet */
	struct dynbuf counts; /* "table":rows,... */
	uint64_t began_ms;
	uint64_t worked_at_ms; /* since when the database works */
	uint64_t worked_ms;    /* for what came before */
	char error[200];
};

struct digest_rounds {
	const struct digest_env *env;
	bool connected;
	struct digest_class *classes;
	size_t class_count;
	struct digest_ask *line;    /* waiting for a class, the last who came first */
	struct digest_ask *resting; /* had a whole proof a moment ago */
	size_t line_count;          /* of both */
	struct digest_ask *held;    /* answered, if they only had all up to the answer */
	struct digest_ask *walk;    /* the next of a walk under way over a list */
	struct digest_round round;
	uint64_t last_id;
	uint64_t not_before_ms;       /* for periodic rounds */
	uint64_t whole_not_before_ms; /* for whole proofs */
	uint64_t classes_made;
	bool complained;
};

void ask_link(struct digest_ask **list, struct digest_ask *a);
/* It is in no list and class afterwards, and holds nothing. */
void ask_end(struct digest_rounds *r, struct digest_ask *a);
/* Say that the proof failed, and end it. */
void ask_fail(struct digest_rounds *r, struct digest_ask *a);
/* Those in line, as far as there is room now. */
void ask_serve_line(struct digest_rounds *r);
/* When the next of those who rest may stand in line; UINT64_MAX: nobody rests. */
uint64_t ask_rested_ms(const struct digest_rounds *r);
/* Wake the devices of a list who may have their answers. */
void ask_look(struct digest_rounds *r, struct digest_ask *list);

/* No more than this, however long a proof took: a person may wait for the next one. */
#define PAUSE_MOST_MS 60000

/* A class's next round, now that this one begins. */
void when_round_begins(struct digest_rounds *r, struct digest_class *c);
/* The round under way has ended, well or not. */
void when_round_ended(struct digest_rounds *r);
/* ... and with it the proof of this class. */
void when_proof_ended(struct digest_rounds *r, struct digest_class *c, bool failed);

void digest_round_begin(struct digest_rounds *r, struct digest_class *c);
/* The job is over; round->error says what it said. */
void digest_round_job_ended(struct digest_rounds *r, bool ok);

/* The scope that a device asked for. */
const char *digest_round_scope(const struct digest_round *round);
/* "slices":[…] and "counts":[…], as the job takes them, or devices. */
void digest_round_add_slices(const struct digest_round *round, bool for_job, struct dynbuf *b);
void digest_round_add_counts(const struct digest_round *round, struct dynbuf *b);
/* Takes over spec, an object without its end.  False: no process. */
bool digest_round_start_job(struct digest_rounds *r, struct dynbuf *spec);
/* The answer, once the job said all, else NULL. */
struct frame *digest_round_print_digest(const struct digest_round *round);

#endif
