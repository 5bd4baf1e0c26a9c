/*
 * One clock for all generators: CLOCK_MONOTONIC, which processes of one
 * machine share, in nanoseconds.
 */
#ifndef BENCH_CLOCK_NS_H
#define BENCH_CLOCK_NS_H

#include <stdint.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

static inline int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

#endif
