/* What the relay tells the database about itself and its devices, for clinic_sync.relays and
 * devices. */
#ifndef CLINIC_RELAY_RELAY_REPORT_H
#define CLINIC_RELAY_RELAY_REPORT_H

#include "relay_state.h"

/* Hand the present state to upstream, which sends it in its own time. */
void relay_report(struct relay *r);

#endif
