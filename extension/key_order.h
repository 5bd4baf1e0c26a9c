/*
 * key_order.h
 *		The order of keys that server and caches share.
 */
#ifndef CLINIC_SYNC_KEY_ORDER_H
#define CLINIC_SYNC_KEY_ORDER_H

#include "access/skey.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

#include "publication_cache.h"

typedef struct CsKeyColumn
{
	CsColumn *column;
	Oid base;       /* its type, below domains */
	bool is_number; /* else text: ordered by the bytes of the canonical text */
} CsKeyColumn;

typedef struct CsKeyOrder
{
	CsPublication *pub;
	CsKeyColumn *columns;
	int ncolumns;
	bool pinned;    /* texts are made under pinned settings */
	bool is_shared; /* false: caches hold some column in a form with another order */
} CsKeyOrder;

/* A key, column by column. */
typedef struct CsKeyValue
{
	int64 number;
	const char *bytes;
	Size length;
} CsKeyValue;

extern void cs_key_order_init(CsKeyOrder *order, Relation part, CsPublication *pub);

/* From a key object as the wire writes it; an error, without its text, if it is none. */
extern CsKeyValue *cs_key_parse(const CsKeyOrder *order, text *object);

/* Of a row, in the current memory context; values has room for all columns. */
extern void cs_key_of_row(const CsKeyOrder *order, TupleTableSlot *row, CsKeyValue *values);

extern int cs_key_compare(const CsKeyOrder *order, const CsKeyValue *a, const CsKeyValue *b);

/*
 * The primary key's index of a part, if it has this order in its first column;
 * else NULL.  To be closed with AccessShareLock.
 */
extern Relation cs_key_index_open(const CsKeyOrder *order, Relation part);

/* A condition on that index: first column of the key >= or <= that of a key. */
extern void cs_key_condition(const CsKeyOrder *order, Relation index, StrategyNumber strategy,
							 const CsKeyValue *key, ScanKey condition);

#endif /* CLINIC_SYNC_KEY_ORDER_H */
