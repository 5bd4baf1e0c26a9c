/*
 * clock.h
 *		A clock that only goes forward, the same for all processes.
 *
 * Pauses and limits go by it: an administrator who sets the time back by an
 * hour must not stop a worker for that hour.
 */
#ifndef CLINIC_SYNC_CLOCK_H
#define CLINIC_SYNC_CLOCK_H

#include "portability/instr_time.h"

static inline int64
cs_clock_ms(void)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

#endif /* CLINIC_SYNC_CLOCK_H */
