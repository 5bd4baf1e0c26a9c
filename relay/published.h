/*
 * Which tables are published, and about how large they are, asked of the database
 * when a device names some or a proof begins.
 *
 * A name that was published a while ago is trusted until the next resync or
 * reconnect says otherwise; one that is not known is asked for afresh, since
 * "no such table" is an answer that a device takes as final.
 */
#ifndef CLINIC_RELAY_PUBLISHED_H
#define CLINIC_RELAY_PUBLISHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

/* on_fresh: a question was answered; look again. */
cs_status published_start(const struct config *config, void (*on_fresh)(void *ctx), void *ctx,
			  struct cs_error *err) CS_CHECKED;
void published_stop(void);
bool published_has(const char *table);
/*
 * All of them, and how many rows each has at about, UINT64_MAX: not known; until
 * published_forget() or the next answer.  False: not known, or read longer ago
 * than age_most_ms: ask.
 */
bool published_tables(uint64_t age_most_ms, char *const **names, const uint64_t **rows,
		      size_t *count);

typedef enum { TABLE_PUBLISHED, TABLE_NOT_PUBLISHED, TABLE_ASKED } table_word;

/*
 * Is this one published?  No is said only by an answer to a question that was put
 * after the first look: *asked is 0 then and belongs to this function.
 * TABLE_ASKED: look again at on_fresh.
 */
table_word published_look(const char *table, uint64_t *asked);
/* Ask; on_fresh follows, sooner or later. */
void published_ask(void);
/* What is known may be wrong from now on. */
void published_forget(void);

#endif
