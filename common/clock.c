/* Clocks; see clock.h. */
#include "clock.h"

#include <stdio.h>
#include <time.h>

#ifdef _WIN32
#include <windows.h>

#define FILETIME_TICKS_PER_S 10000000u
#define FILETIME_AT_1970 116444736000000000u

uint64_t clock_monotonic_us(void)
{
	LARGE_INTEGER now, per_s;

	QueryPerformanceCounter(&now);
	QueryPerformanceFrequency(&per_s);
	return (uint64_t)(now.QuadPart / per_s.QuadPart) * 1000000 +
	       (uint64_t)(now.QuadPart % per_s.QuadPart) * 1000000 / (uint64_t)per_s.QuadPart;
}

static void read_utc(struct tm *tm, long *ms)
{
	FILETIME now;
	uint64_t ticks;
	time_t seconds;

	GetSystemTimeAsFileTime(&now);
	ticks = ((uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime) - FILETIME_AT_1970;
	seconds = (time_t)(ticks / FILETIME_TICKS_PER_S);
	*ms = (long)(ticks % FILETIME_TICKS_PER_S / (FILETIME_TICKS_PER_S / 1000));
	gmtime_s(tm, &seconds);
}

#else

uint64_t clock_monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void read_utc(struct tm *tm, long *ms)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, tm);
	*ms = now.tv_nsec / 1000000;
}

#endif

uint64_t clock_monotonic_ms(void)
{
	return clock_monotonic_us() / 1000;
}

const char *clock_utc_text(char *out)
{
	struct tm tm;
	long ms;
	size_t at;

	read_utc(&tm, &ms);
	at = strftime(out, CLOCK_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + at, CLOCK_TEXT_BYTES - at, ".%03ldZ", ms);
	return out;
}
