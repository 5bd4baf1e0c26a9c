/*
 * digest_slices.c
 *		Digests of slices of a table.
 *
 * A slice is the rows with after < key <= upto, in the order of keys that
 * server and caches share (key_order.c).  Where the primary key's index has
 * that order in its first column, only the slices are read, each through the
 * index; else the table once, each row's key compared with the slices' bounds.
 * The index only narrows what is read: the whole key is always compared.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/rel.h"

#include "compat.h"
#include "key_order.h"
#include "row_hash.h"
#include "row_scan.h"

/* A row is compared with each; callers with more ask more than once. */
#define SLICES_MOST 100

typedef struct Slice
{
	text *after_object; /* key objects, NULL: open */
	text *upto_object;
	CsKeyValue *after; /* the same, as the part at hand has them */
	CsKeyValue *upto;
	int64 rows;
	uint64 hash;
} Slice;

typedef struct SliceDigest
{
	ArrayType *names;
	Slice slices[SLICES_MOST];
	int nslices;
	bool is_bounded; /* some slice has a bound */

	/* of the part that is read */
	CsRowHasher hasher;
	CsKeyOrder order;
	CsKeyValue *row_key;
	Slice *only; /* the one that is read through the index; NULL: all */
} SliceDigest;

/*
 * Rows.
 */

static bool
slice_holds(const SliceDigest *digest, const Slice *slice)
{
	return (slice->after == NULL ||
			cs_key_compare(&digest->order, digest->row_key, slice->after) > 0) &&
		   (slice->upto == NULL ||
			cs_key_compare(&digest->order, digest->row_key, slice->upto) <= 0);
}

static void
add_row(TupleTableSlot *row, void *arg)
{
	SliceDigest *digest = arg;
	Slice *first = digest->only ? digest->only : digest->slices;
	Slice *end = digest->only ? first + 1 : first + digest->nslices;
	bool is_hashed = false;

	if (digest->is_bounded)
		cs_key_of_row(&digest->order, row, digest->row_key);
	for (Slice *slice = first; slice < end; slice++)
	{
		if (!slice_holds(digest, slice))
			continue;
		/* hashing costs most: once, and only if some slice has the row */
		if (!is_hashed && !cs_row_hash(&digest->hasher, row))
			return;
		is_hashed = true;
		slice->rows++;
		slice->hash += digest->hasher.hash;
	}
}

/*
 * Parts of the table.
 */

static void
read_slice(SliceDigest *digest, Relation part, Relation index, Slice *slice)
{
	ScanKeyData conditions[2];
	int count = 0;

	/* >=, since keys that begin alike lie on both sides of the bound */
	if (slice->after != NULL)
		cs_key_condition(&digest->order, index, BTGreaterEqualStrategyNumber, slice->after,
						 &conditions[count++]);
	if (slice->upto != NULL)
		cs_key_condition(&digest->order, index, BTLessEqualStrategyNumber, slice->upto,
						 &conditions[count++]);
	digest->only = slice;
	cs_read_by_index(part, index, conditions, count, add_row, digest);
	digest->only = NULL;
}

/* A slice without any bound is the whole table, which no index makes shorter. */
static bool
all_are_bounded(const SliceDigest *digest)
{
	for (int i = 0; i < digest->nslices; i++)
	{
		if (digest->slices[i].after == NULL && digest->slices[i].upto == NULL)
			return false;
	}
	return true;
}

static void
read_slices(SliceDigest *digest, Relation part)
{
	Relation index = all_are_bounded(digest) ? cs_key_index_open(&digest->order, part) : NULL;

	if (index == NULL)
	{
		cs_read_rows(part, add_row, digest);
		return;
	}
	for (int i = 0; i < digest->nslices; i++)
		read_slice(digest, part, index, &digest->slices[i]);
	relation_close(index, AccessShareLock);
}

/* Bounds are parsed for each part, since columns may stand elsewhere in it. */
static void
prepare_keys(SliceDigest *digest, Relation part, CsPublication *pub)
{
	cs_key_order_init(&digest->order, part, pub);
	if (!digest->is_bounded)
		return;
	if (!digest->order.is_shared)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("keys of table \"%s\" have no order that caches share",
							   NameStr(pub->table)),
						errhint("Ask for one slice with both bounds NULL, or use digest_scan().")));
	digest->row_key = palloc0(sizeof(CsKeyValue) * pub->nkeys);
	for (int i = 0; i < digest->nslices; i++)
	{
		Slice *slice = &digest->slices[i];

		if (slice->after_object != NULL)
			slice->after = cs_key_parse(&digest->order, slice->after_object);
		if (slice->upto_object != NULL)
			slice->upto = cs_key_parse(&digest->order, slice->upto_object);
	}
}

static void
read_part(Relation part, CsPublication *pub, void *arg)
{
	SliceDigest *digest = arg;

	cs_row_hasher_begin(&digest->hasher, pub, digest->names);
	prepare_keys(digest, part, pub);
	if (part->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		read_slices(digest, part);
	cs_row_hasher_end(&digest->hasher);
}

/*
 * SQL function.
 */

static Datum *
bounds_of(ArrayType *array, bool **isnull, int *count)
{
	Datum *elements;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
						errmsg("bounds must be one-dimensional arrays")));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, isnull, count);
	return elements;
}

static void
take_bounds(SliceDigest *digest, ArrayType *after, ArrayType *upto)
{
	bool *no_after, *no_upto;
	int after_count, upto_count;
	Datum *afters = bounds_of(after, &no_after, &after_count);
	Datum *uptos = bounds_of(upto, &no_upto, &upto_count);

	if (after_count != upto_count || after_count < 1 || after_count > SLICES_MOST)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("both arrays must hold the bounds of 1 to %d slices", SLICES_MOST)));
	digest->nslices = after_count;
	for (int i = 0; i < digest->nslices; i++)
	{
		Slice *slice = &digest->slices[i];

		slice->after_object = no_after[i] ? NULL : DatumGetTextPP(afters[i]);
		slice->upto_object = no_upto[i] ? NULL : DatumGetTextPP(uptos[i]);
		digest->is_bounded |= slice->after_object != NULL || slice->upto_object != NULL;
	}
}

static void
put_slices(const SliceDigest *digest, ReturnSetInfo *result)
{
	for (int i = 0; i < digest->nslices; i++)
	{
		const Slice *slice = &digest->slices[i];
		Datum values[3];
		bool isnull[3] = {false, false, false};

		values[0] = Int32GetDatum(i + 1);
		values[1] = Int64GetDatum(slice->rows);
		values[2] = PointerGetDatum(cs_hash_text(slice->hash));
		tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	}
}

PG_FUNCTION_INFO_V1(clinic_sync_digest_slices);

/*
 * digest_slices(relation regclass, columns name[], after text[], upto text[])
 *		RETURNS TABLE(slice int, rows bigint, hash text)
 */
Datum
clinic_sync_digest_slices(PG_FUNCTION_ARGS)
{
	SliceDigest *digest = palloc0(sizeof(SliceDigest));

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("relation and bounds of digest_slices() must not be null")));
	digest->names = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	take_bounds(digest, PG_GETARG_ARRAYTYPE_P(2), PG_GETARG_ARRAYTYPE_P(3));
	cs_read_parts(PG_GETARG_OID(0), read_part, digest);
	put_slices(digest, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}
