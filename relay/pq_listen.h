/* The listening connection: doorbells, and a heartbeat that proves it hears them. */
#ifndef CLINIC_RELAY_PQ_LISTEN_H
#define CLINIC_RELAY_PQ_LISTEN_H

#include "upstream.h"

cs_status pq_listen_start(const struct config *config, struct upstream_status *status,
			  struct cs_error *err) CS_CHECKED;
void pq_listen_stop(void);

#endif
