/* Reconnect delays; see backoff.h. */
#include "backoff.h"

void backoff_init(struct backoff *b, uint32_t least_ms, uint32_t most_ms)
{
	b->least_ms = least_ms;
	b->most_ms = most_ms;
	b->failures = 0;
}

uint32_t backoff_next_ms(struct backoff *b, uint64_t random)
{
	uint64_t ceiling = (uint64_t)b->least_ms * 2;

	for (unsigned i = 0; i < b->failures && ceiling < b->most_ms; i++)
		ceiling *= 2;
	if (ceiling > b->most_ms)
		ceiling = b->most_ms;
	b->failures++;
	if (ceiling <= b->least_ms)
		return b->least_ms;
	return b->least_ms + (uint32_t)(random % (ceiling - b->least_ms + 1));
}

void backoff_reset(struct backoff *b)
{
	b->failures = 0;
}
