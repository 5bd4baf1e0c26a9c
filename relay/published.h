/*
 * Which tables are published, asked of the database when a device names some.
 *
 * A name that was published a while ago is trusted until the next resync or
 * reconnect says otherwise; one that is not known is asked for afresh, since
 * "no such table" is an answer that a device takes as final.
 */
#ifndef CLINIC_RELAY_PUBLISHED_H
#define CLINIC_RELAY_PUBLISHED_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"

/* on_fresh: a question was answered; look again. */
cs_status published_start(const struct config *config, void (*on_fresh)(void *ctx), void *ctx,
			  struct cs_error *err) CS_CHECKED;
void published_stop(void);
bool published_has(const char *table);
/* All of them, until published_forget() or the next answer.  False: not known, ask. */
bool published_names(char *const **names, size_t *count);
/* Ask; on_fresh follows, sooner or later. */
void published_ask(void);
/* What is known may be wrong from now on. */
void published_forget(void);

#endif
