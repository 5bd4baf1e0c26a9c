/*
 * key_filter.h
 *		Which keys this transaction may have logged as present.
 */
#ifndef CLINIC_SYNC_KEY_FILTER_H
#define CLINIC_SYNC_KEY_FILTER_H

#include "access/transam.h"

#define CS_KEY_FILTER_WORDS 16

/* A Bloom filter, of the keys of one relation. */
typedef struct CsKeyFilter
{
	FullTransactionId xid; /* the transaction it speaks of */
	uint64 bits[CS_KEY_FILTER_WORDS];
} CsKeyFilter;

extern void cs_key_filter_add(CsKeyFilter *filter, const text *key);

/* False only if the key was not added in this transaction. */
extern bool cs_key_filter_may_have(const CsKeyFilter *filter, const text *key);

/*
 * A filter whose relation may have had another one before.  If any key was
 * added in this transaction, to whatever filter, it may have every key.
 */
extern void cs_key_filter_init(CsKeyFilter *filter);

#endif /* CLINIC_SYNC_KEY_FILTER_H */
