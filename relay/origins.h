/*
 * Which web pages may talk to the relay: the option allow_origins, a comma list
 * of origins as browsers write them (https://desk.clinic.example:8443), or * for
 * all.  Pure.
 */
#ifndef CLINIC_RELAY_ORIGINS_H
#define CLINIC_RELAY_ORIGINS_H

#include <stdbool.h>

#include "status.h"

/* Is every item of the list something that a browser may say, and no more than that? */
cs_status origins_check(const char *list, struct cs_error *err) CS_CHECKED;
/* origin: the Origin header, not empty. */
bool origins_have(const char *list, const char *origin);

#endif
