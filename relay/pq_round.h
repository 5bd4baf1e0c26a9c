/*
 * What the files of the live reader know of each other: its state and its steps.
 *
 *   pq_reader.c  the connection, doorbells, what is handed on
 *   pq_round.c   the rounds and their proof
 *   pq_adopt.c   the first cursor
 */
#ifndef CLINIC_RELAY_PQ_ROUND_H
#define CLINIC_RELAY_PQ_ROUND_H

#include "pq_feed.h"
#include "pq_reader.h"
#include "pq_warm.h"
#include "ws_loop.h"

struct reader {
	struct pq_reader_owner owner;
	struct pq_link *link;
	struct pq_feed feed; /* feed.cursor: ours, batch 0: none yet */
	struct loop_timer poll;
	struct cursor target;  /* last batch that exists, as far as this round knows */
	struct pq_bells bells; /* that no round has answered yet */
	struct pq_warm warm;
	int64_t proven;
	uint64_t asked_ms;   /* when the request under way was sent */
	uint64_t cut_due_ms; /* when a cut round must come, whatever rings */
	bool in_round;
	bool reading;      /* it is a read round */
	bool worker_lives; /* a batch of this round came on the worker's word */
	bool trusting;     /* this connection has had a clean commit of its own */
	bool cut_good;     /* the round's make_batch() found everything committed, not a lock */
	bool by_bell;      /* a doorbell began the round */
	bool cut_prepared; /* see pq_link_prepare() */
	bool prepare_due;  /* not tried on this connection yet */
	bool live;
	bool boundary; /* cut a batch even if there is nothing: the first of a history */
	bool paused;
	unsigned false_alarms;
	uint64_t round_batches;
	char complained[6]; /* SQLSTATE that the log knows about */
};

extern struct reader reader;

/* ---- pq_round.c ---- */

/* Begin a round unless one runs; a timer's callback. */
void round_begin(void *ctx);
/* Its steps: cut a batch; read a page; all has been handed on. */
void round_cut(void);
void round_page(void);
void round_idle(void);
/* What this round has read leaves memory's builders for the devices now. */
void round_hand_out(void);
/* The pages come to this. */
void round_on_page(enum pq_feed_end end, const char *reason, const struct pq_answer *answer);
/* Send a statement of the round. */
void round_ask(const char *sql, int param_count, const char *const *params, pq_done_fn on_done);
/* A new connection, or one that is gone: nothing is proven on it. */
void round_forget_proof(void);

/* ---- pq_reader.c ---- */

void reader_set_live(bool live);
/* Is there a doorbell to answer?  Then do. */
bool reader_bells_wait(void);
void reader_answer_bell(void);
void reader_note_answer(const struct pq_answer *answer);

/* ---- pq_adopt.c ---- */

/* Take reader.target, or an older one, for the cursor the relay begins with. */
void adopt_begin(void);
/* The past is in the ring. */
void adopt_end(void);
/* The past cannot be read: begin at reader.target after all. */
void adopt_without_past(const char *reason);

#endif
