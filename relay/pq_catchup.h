/* Devices that read the log; upstream_catch_up() and its kin are implemented in pq_catchup.c. */
#ifndef CLINIC_RELAY_PQ_CATCHUP_H
#define CLINIC_RELAY_PQ_CATCHUP_H

#include "upstream.h"

cs_status pq_catchup_start(const struct config *config, struct upstream_status *status,
			   struct cs_error *err) CS_CHECKED;
void pq_catchup_stop(void);
/* The live cursor moved: see who can go on. */
void pq_catchup_moved(void);
/* The live feed is down or on another history: everybody who reads must ask again. */
void pq_catchup_unsure(void);

#endif
