/* Bounded histograms of times; see histogram.h. */
#include "histogram.h"

#include <string.h>

#define FINE (1 << HISTOGRAM_FINE_BITS)

static unsigned class_of(uint64_t ns)
{
	unsigned shift = 0;
	unsigned class;

	if (ns >= 2 * FINE)
		shift = 63u - (unsigned)__builtin_clzll(ns) - HISTOGRAM_FINE_BITS;
	/* the leading bit of ns >> shift counts as the first FINE of the next power */
	class = (shift << HISTOGRAM_FINE_BITS) + (unsigned)(ns >> shift);
	return class < HISTOGRAM_CLASSES ? class : HISTOGRAM_CLASSES - 1;
}

static int64_t upper_end(unsigned class)
{
	unsigned shift = class < 2 * FINE ? 0 : (class >> HISTOGRAM_FINE_BITS) - 1;
	uint64_t low = (uint64_t)(class - (shift << HISTOGRAM_FINE_BITS)) << shift;

	return (int64_t)(low + (UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *h, int64_t ns)
{
	if (ns < 0)
		ns = 0;
	h->count++;
	if (ns > h->max_ns)
		h->max_ns = ns;
	h->classes[class_of((uint64_t)ns)]++;
}

void histogram_reset(struct histogram *h)
{
	memset(h, 0, sizeof(*h));
}

int64_t histogram_at(const struct histogram *h, double part)
{
	uint64_t wanted = (uint64_t)((double)h->count * part + 0.999999);
	uint64_t passed = 0;

	for (unsigned i = 0; h->count && i < HISTOGRAM_CLASSES; i++) {
		passed += h->classes[i];
		if (passed >= wanted && passed)
			return upper_end(i) < h->max_ns ? upper_end(i) : h->max_ns;
	}
	return 0;
}

void histogram_print(const struct histogram *h, FILE *out)
{
	static const struct {
		const char *name;
		double part;
	} shown[] = {{"p50_ms", 0.5}, {"p90_ms", 0.9}, {"p99_ms", 0.99}};

	fprintf(out, "{\"count\":%llu", (unsigned long long)h->count);
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		fprintf(out, ",\"%s\":%.4f", shown[i].name,
			(double)histogram_at(h, shown[i].part) / 1e6);
	fprintf(out, ",\"max_ms\":%.4f}", (double)h->max_ns / 1e6);
}
