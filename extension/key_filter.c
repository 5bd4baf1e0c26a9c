/*
 * key_filter.c
 *		Which keys this transaction may have logged as present.
 *
 * To say that a deleted row is gone, capture must know whether a row has been
 * logged under its key before, by this very transaction.  Nearly always none
 * was, and a look at a few bits says so instead of a search in the table's
 * index.  Bits are never taken away: after a savepoint's rollback, or when many
 * keys were added, the answer is "perhaps" more often than it need be.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"

#include "compat.h"
#include "key_filter.h"

static FullTransactionId last_added_in = {0}; /* to any filter */

/* Two bits for each key. */
typedef struct Places
{
	uint32 first;
	uint32 second;
} Places;

static Places
places_of(const text *key)
{
	const uint32 bits = CS_KEY_FILTER_WORDS * 64;
	uint32 hash = hash_bytes((const unsigned char *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	Places result = {.first = hash % bits, .second = (hash >> 16) % bits};

	return result;
}

static bool
is_of_this_transaction(const CsKeyFilter *filter)
{
	return FullTransactionIdIsValid(filter->xid) &&
		   FullTransactionIdEquals(filter->xid, GetTopFullTransactionIdIfAny());
}

void
cs_key_filter_add(CsKeyFilter *filter, const text *key)
{
	Places places = places_of(key);

	if (!is_of_this_transaction(filter))
	{
		memset(filter, 0, sizeof(CsKeyFilter));
		filter->xid = last_added_in = GetTopFullTransactionId();
	}
	filter->bits[places.first / 64] |= UINT64CONST(1) << (places.first % 64);
	filter->bits[places.second / 64] |= UINT64CONST(1) << (places.second % 64);
}

bool
cs_key_filter_may_have(const CsKeyFilter *filter, const text *key)
{
	Places places;

	if (!is_of_this_transaction(filter))
		return false;
	places = places_of(key);
	return ((filter->bits[places.first / 64] >> (places.first % 64)) &
			(filter->bits[places.second / 64] >> (places.second % 64)) & 1) != 0;
}

void
cs_key_filter_init(CsKeyFilter *filter)
{
	filter->xid = last_added_in;
	memset(filter->bits, 0xff, sizeof(filter->bits));
}
