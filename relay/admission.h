/*
 * The line of devices that want to resume.  When a relay comes back, all its
 * devices ask at once; so many are served at a time, between their request and
 * `ready`, and the others wait their turn, first come first served.  What a
 * turn of the loop does stays bounded, and so does what the log is asked.
 *
 * Pure.
 */
#ifndef CLINIC_RELAY_ADMISSION_H
#define CLINIC_RELAY_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device;

struct admission {
	struct device *first, *last;
	size_t waiting;
	size_t inside; /* admitted and not ready yet */
};

/* May d go on at once?  Else it stands in line. */
bool admission_enter(struct admission *a, struct device *d, size_t most);
/* d is ready, or wants nothing any more.  True: somebody in line may have its turn now. */
bool admission_leave(struct admission *a, struct device *d);
/* One turn: admit up to `most`.  True: there is more to do in the next turn. */
bool admission_turn(struct admission *a, size_t most, uint64_t now_ms);

#endif
