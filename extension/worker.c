/*
 * worker.c
 *		The background worker: batches and notifications outside of commits.
 *
 * Without shared_preload_libraries there is none, and relays cut the batches.
 */
#include "postgres.h"

#include "worker.h"

void
cs_worker_init(void)
{
}

bool
cs_worker_available(void)
{
	return false;
}

bool
cs_worker_is_self(void)
{
	return false;
}

bool
cs_worker_in_doubt(void)
{
	return false;
}

void
cs_worker_ring(void)
{
}
