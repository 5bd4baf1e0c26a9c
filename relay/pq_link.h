/*
 * One asynchronous connection to PostgreSQL that reconnects for ever.
 *
 * One request at a time.  A link is down, connecting or up; what was under way
 * when it goes down is gone without an answer, and on_down says so.  Callbacks
 * may call any function here, pq_link_free() included.
 */
#ifndef CLINIC_RELAY_PQ_LINK_H
#define CLINIC_RELAY_PQ_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

struct pg_result;
struct pq_link;

struct pq_link_events {
	void (*on_up)(void *ctx);
	/* Was up and is no more, or could not connect; a new try is already due. */
	void (*on_down)(void *ctx);
	/* May be NULL, both.  own: this very connection sent it. */
	void (*on_notify)(void *ctx, const char *payload, bool own);
	/* Those that came together have all been handed on. */
	void (*on_notified)(void *ctx);
};

struct pq_answer {
	const struct pg_result *result; /* the last one; valid during the call */
	bool ok;
	bool warned;       /* the server sent a WARNING: a commit is not proven */
	char sqlstate[6];  /* "" when ok */
	char message[256]; /* primary message only: detail and context may hold row data */
};

/*
 * role ends the application name; settings is a string of "-c name=value" for
 * the session.  config must outlive the link.
 */
struct pq_link *pq_link_new(const struct config *config, const char *role, const char *settings,
			    const struct pq_link_events *events, void *ctx);
/* Accepts NULL.  No callback comes after this. */
void pq_link_free(struct pq_link *l);

/* Connect and stay connected.  Nothing happens if it is open already. */
void pq_link_open(struct pq_link *l);
/* Give up what is under way and connect anew; on_down is called.  reason goes to the log;
   NULL: nothing is wrong. */
void pq_link_restart(struct pq_link *l, const char *reason);
/* The session did useful work: the next reconnect begins with the shortest delay. */
void pq_link_good(struct pq_link *l);

bool pq_link_is_up(const struct pq_link *l);
bool pq_link_is_busy(const struct pq_link *l);
int pq_link_server_version(const struct pq_link *l);
/* As it is connected; "" while it is not. */
const char *pq_link_user(const struct pq_link *l);
const char *pq_link_database(const struct pq_link *l);

typedef void (*pq_row_fn)(void *ctx, const struct pg_result *row);
typedef void (*pq_done_fn)(void *ctx, const struct pq_answer *answer);

/*
 * Send one statement with text parameters.  With on_row each row comes by
 * itself and memory holds one at a time.  The link must be up and not busy.
 * on_done comes once unless the link goes down first.
 */
void pq_link_query(struct pq_link *l, const char *sql, int param_count, const char *const *params,
		   pq_row_fn on_row, pq_done_fn on_done, void *ctx);

/*
 * For a statement that is sent again and again: prepare it once per connection,
 * then send its name.  Behind a pooler another session may not know the name;
 * pq_answer_forgot() tells, and the statement as text still works.
 */
void pq_link_prepare(struct pq_link *l, const char *name, const char *sql, pq_done_fn on_done,
		     void *ctx);
void pq_link_execute(struct pq_link *l, const char *name, int param_count,
		     const char *const *params, pq_row_fn on_row, pq_done_fn on_done, void *ctx);
bool pq_answer_forgot(const struct pq_answer *answer);

/* Neither rows nor notifications are read while paused. Nothing happens unless it is up. */
void pq_link_pause(struct pq_link *l);
void pq_link_resume(struct pq_link *l);

#endif
