/*
 * Devices reading the change log: one reader for all devices of a group that
 * stand on its way, so that a thousand devices coming back after a restart of
 * the relay cost the database one reading, not a thousand.
 */
#ifndef CLINIC_RELAY_CATCH_UP_H
#define CLINIC_RELAY_CATCH_UP_H

#include "device.h"

struct catch_ups;

/* limits are kept by reference. NULL: out of memory. */
struct catch_ups *catch_ups_new(const struct builder_limits *limits);
/* Cancels all. Accepts NULL. */
void catch_ups_free(struct catch_ups *c);

/* For struct device_env: read for d from d->cursor on.  False: too many wait. */
bool catch_up_start(struct catch_ups *c, struct device *d);
void catch_up_cancel(struct catch_ups *c, struct device *d);
void catch_up_resume(struct catch_ups *c, struct device *d);

#endif
