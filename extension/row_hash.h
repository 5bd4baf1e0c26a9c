/*
 * row_hash.h
 *		Hash of a row's canonical texts.
 */
#ifndef CLINIC_SYNC_ROW_HASH_H
#define CLINIC_SYNC_ROW_HASH_H

#include <common/cryptohash.h>
#include "executor/tuptable.h"
#include "utils/array.h"

#include "publication_cache.h"

typedef struct CsRowHasher
{
	CsPublication *pub;
	CsColumn **columns; /* in byte order of their names */
	int ncolumns;
	pg_cryptohash_ctx *sha256;
	TupleTableSlot *row; /* the one at hand */
	uint64 hash;         /* of the row hashed last */
} CsRowHasher;

/* names: which columns; NULL: all that are published.  Others are an error. */
extern void cs_row_hasher_begin(CsRowHasher *hasher, CsPublication *pub, ArrayType *names);
extern void cs_row_hasher_end(CsRowHasher *hasher);

/* Hash a row of pub; false, and no hash, for one that caches do not hold. */
extern bool cs_row_hash(CsRowHasher *hasher, TupleTableSlot *row);

/* 16 lower-case hex digits. */
extern text *cs_hash_text(uint64 hash);

#endif /* CLINIC_SYNC_ROW_HASH_H */
