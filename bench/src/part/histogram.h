/*
 * Times, counted in classes 1.6 % wide: 64 classes for each power of two, so
 * that a billion values take 22 KB and a percentile is as true as the clock.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_FINE_BITS 6
#define HISTOGRAM_CLASSES                                                                          \
	((42 - HISTOGRAM_FINE_BITS + 1) << HISTOGRAM_FINE_BITS) /* up to an hour */

struct histogram {
	uint64_t count;
	int64_t max_ns;
	uint64_t classes[HISTOGRAM_CLASSES];
};

/* A negative time counts as 0: what was there before it was asked for. */
void histogram_add(struct histogram *h, int64_t ns);
void histogram_reset(struct histogram *h);
/* The upper end of the class that holds this part (0.99) of all values; 0 when there are none. */
int64_t histogram_at(const struct histogram *h, double part);
/* As a JSON object of milliseconds: {"count":…,"p50_ms":…,"p90_ms":…,"p99_ms":…,"max_ms":…} */
void histogram_print(const struct histogram *h, FILE *out);

#endif
