/* Doorbells; see pq_bell.h. */
#include "pq_bell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char batch_key[] = "\"batch\":";

/*
 * No parser: whoever forges a bell could as well write good JSON.  A table may
 * be called "batch"; what follows its name is no number.
 */
int64_t pq_bell_batch(const char *payload)
{
	const char *at = strstr(payload, batch_key);
	long long batch;
	char *end;

	if (!at)
		return 0;
	at += sizeof(batch_key) - 1;
	if (*at < '1' || *at > '9')
		return 0;
	errno = 0;
	batch = strtoll(at, &end, 10);
	return errno == 0 && (*end == ',' || *end == '}') ? batch : 0;
}

bool pq_bell_is_request(const char *payload)
{
	return strcmp(payload, "{\"event\":\"sync_requested\"}") == 0;
}

void pq_bells_add(struct pq_bells *b, int64_t batch)
{
	if (batch <= 0)
		b->look = true;
	else if (batch > b->batch)
		b->batch = batch;
}

bool pq_bells_wait(const struct pq_bells *b, int64_t known)
{
	return b->look || b->batch > known;
}
