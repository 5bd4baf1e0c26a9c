/* Time for timers (monotonic) and for people (UTC text). */
#ifndef CLINIC_SYNC_CLOCK_H
#define CLINIC_SYNC_CLOCK_H

#include <stdint.h>

#define CLOCK_TEXT_BYTES 32

uint64_t clock_monotonic_ms(void);
uint64_t clock_monotonic_us(void);
/* "2026-11-23T08:00:00.000Z" into out (CLOCK_TEXT_BYTES); returns out. */
const char *clock_utc_text(char *out);

#endif
