/*
 * What a relay tells the database about itself, the upkeep it does there, and the
 * requests for a sync that it reads there.
 */
#ifndef CLINIC_RELAY_PQ_REPORT_H
#define CLINIC_RELAY_PQ_REPORT_H

#include "upstream.h"

cs_status pq_report_start(const struct config *config, const char *relay_id,
			  const struct upstream_events *events, void *ctx,
			  struct cs_error *err) CS_CHECKED;
/* Look for requests now, or soon: anybody can forge the bell. */
void pq_report_ring(void);
/* Take over copies of both texts; false: out of memory. */
bool pq_report_set(const char *relay_json, const char *devices_json);
/* What the next report will say; valid until the next pq_report_set(). */
void pq_report_texts(const char **relay_json, const char **devices_json);
/* Say goodbye if the link allows it; on_done is called when that is over, at the latest
   after limit_ms. */
void pq_report_stop(uint32_t limit_ms, void (*on_done)(void));

#endif
