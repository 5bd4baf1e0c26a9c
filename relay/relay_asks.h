/* Proofs, tables sent again and requests from SQL, joined to the loop, the jobs and the devices. */
#ifndef CLINIC_RELAY_RELAY_ASKS_H
#define CLINIC_RELAY_RELAY_ASKS_H

#include "relay_state.h"

cs_status relay_asks_start(struct relay *r, struct cs_error *err) CS_CHECKED;
/* All devices are gone. */
void relay_asks_stop(struct relay *r);
/* The feed went on. */
void relay_asks_look(struct relay *r);
/* It is known which tables are published. */
void relay_asks_published(struct relay *r);
/* Once a second. */
void relay_asks_tick(struct relay *r);
/* The database came or went, or its history is another. */
void relay_asks_database(struct relay *r);
/* upstream.h, on_sync_request */
void relay_asks_requested(struct relay *r, int64_t id, const char *kind, const char *tables_json,
			  const char *device, uint64_t keep_ms);
/* upstream.h, on_sync_requests_read */
void relay_asks_requests_read(struct relay *r);

#endif
