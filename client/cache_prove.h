/* Proofs in hand, for cache_prove.c, cache_round.c and cache_sync_now.c. */
#ifndef CLINIC_CACHE_PROVE_H
#define CLINIC_CACHE_PROVE_H

#include "cache_internal.h"

#define PROOF_STATES_MOST 16   /* of a slice, while the server computes */
#define PROOF_PASSED_MOST 256  /* cursors the file may pass through meanwhile, by name */
#define PROOF_SLICES_MOST 4096 /* of a round */
#define PROOF_DOUBTS_MOST 3    /* rounds that tell nothing about a table, until it is fetched */

/* The protocol's "slice" and "tables": two rounds that go on beside each other. */
typedef enum { PROOF_SLICE, PROOF_TABLES, PROOF_SCOPES } proof_scope;

typedef enum {
	PROOF_EQUAL,
	PROOF_VOID,  /* the table is being fetched, or gone: nothing to say */
	PROOF_DOUBT, /* it changed meanwhile, and the server's state was not seen */
	PROOF_DIFFERS,
} proof_verdict;

/* What sync now has to do with a table. */
typedef enum {
	WANT_NOTHING,
	WANT_PROOF,  /* compare all of it */
	WANT_REPAIR, /* it was found to differ */
	WANT_FETCH,  /* fetch it whatever it is */
} table_want;

struct proof_table {
	char name[64];
	unsigned doubts;            /* in a row */
	bool touched[PROOF_SCOPES]; /* since the round began */
	proof_verdict verdict;      /* of the round that ends */
	bool judged;
	table_want want;
	bool covered_all; /* every slice was found equal … */
	char *covered;    /* … or those up to this key; NULL: none */
	bool missed;      /* a slice of the pass was not equal, or left out */
};

/* The digest from one cursor on. */
struct proof_state {
	uint32_t since; /* position in the round's passed */
	int64_t rows;
	char hash[17];
};

struct proof_slice {
	size_t table; /* position in tables */
	char *after;  /* key objects; NULL: open */
	char *upto;
	json_t *after_key;
	json_t *upto_key;
	bool taken;   /* its first state was */
	bool touched; /* by a frame since the first state */
	bool hit;     /* by the frame in hand */
	bool lost;    /* a state could not be taken; those after it are unknown */
	struct proof_state *states;
	size_t state_count;
};

struct round {
	bool asked;
	uint64_t asked_at;
	bool begun;
	json_int_t id;
	struct proof_slice *slices;
	size_t slice_count;
	size_t computed;                   /* all before this one have their first state */
	int64_t rows;                      /* gone over for later ones */
	char (*passed)[CURSOR_TEXT_BYTES]; /* the first PROOF_PASSED_MOST of … */
	size_t passed_count;               /* … so many */
};

struct prove {
	struct proof_table *tables;
	size_t table_count;
	struct round rounds[PROOF_SCOPES];
	int relay_interval_s;      /* -1: the relay knows nothing of proofs */
	json_int_t newest_request; /* -1: the relay did not say */
	uint64_t next_at;          /* the next periodic one */
	bool found_equal;          /* all of the last periodic one */

	/* sync now */
	clinic_cache_sync_now_result now;
	char problem[200];
	uint64_t progress_at;
	uint64_t ask_at;       /* not before */
	unsigned passes;       /* answers so far */
	json_int_t request_id; /* from SQL; 0: none */
	int64_t repairs;
};

/* ---- cache_prove.c -------------------------------------------------------------------------- */

/* Position of the table, known from now on; -1: out of memory. */
int proof_table_of(struct prove *p, const char *name);
/* One value in the meta table, in a transaction of its own. */
void prove_write_meta(struct clinic_cache *c, const char *key, const char *value);

/* ---- the request: cache_ask.c ---------------------------------------------------------------- */

const char *proof_scope_name(proof_scope scope);
/* Send request_digest: for all tables, or those that sync now wants proven. */
cs_status prove_ask(struct clinic_cache *c, proof_scope scope, struct cs_error *err) CS_CHECKED;

/* ---- a round: cache_round.c ------------------------------------------------------------------ */

void round_clear(struct round *r);
cs_status round_begin(struct clinic_cache *c, proof_scope scope, const json_t *message,
		      struct cs_error *err) CS_CHECKED;
/* Take the first state of one more slice. */
void round_step(struct clinic_cache *c, struct round *r);
/* Take the first state of slices that these changes are going to touch. */
void round_settle(struct clinic_cache *c, struct round *r, struct frame_source *source);
/* The file moved to another cursor; source: by these changes; NULL: none. */
void round_moved(struct clinic_cache *c, proof_scope scope, struct frame_source *source);
/* The table's rows became others, by no frame: its slices say nothing in this round. */
void round_forget_table(struct round *r, size_t table);
/* What the server's digest of slice i at cursor says. */
proof_verdict round_judge(struct clinic_cache *c, const struct round *r, size_t i,
			  const char *cursor, int64_t rows, const char *hash);

/* ---- sync now: cache_sync_now.c -------------------------------------------------------------- */

/* Slice i of the round of whole tables was judged. */
void sync_now_judged(struct clinic_cache *c, const struct proof_slice *slice,
		     proof_verdict verdict);
/* Nothing more comes for the last request; failed: it came to nothing. */
void sync_now_answered(struct clinic_cache *c, bool failed);
void sync_now_tick(struct clinic_cache *c);
bool sync_now_may_ask(const struct clinic_cache *c);
/* Nothing is wanted any more; the next tick says so. */
bool sync_now_is_over(const struct clinic_cache *c);
/* The conversation begins anew. */
void sync_now_reset(struct clinic_cache *c);
/* The relay does not know a table, or not what is asked for. */
void sync_now_fail(struct clinic_cache *c, const char *why);

#endif
