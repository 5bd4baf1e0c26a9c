/*
 * digest.c
 *		Digest of a table's rows, for comparison with a cache's.
 *
 * The sum of its rows' hashes modulo 2^64, whatever their order, and their
 * number (docs/protocol.md).
 */
#include "postgres.h"

#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "compat.h"
#include "digest.h"
#include "guc.h"
#include "row_hash.h"
#include "row_image.h"
#include "row_scan.h"

/* What one part of the table is read with. */
typedef struct Digest
{
	ArrayType *names;
	CsRowHasher hasher;
	CsRowReader read;
	int64 rows;
	uint64 hash;
	ReturnSetInfo *result; /* row_hashes() only */
} Digest;

static void
read_part(Relation part, CsPublication *pub, void *arg)
{
	Digest *digest = arg;

	/* also where there is nothing to read: columns that do not exist are an error */
	cs_row_hasher_begin(&digest->hasher, pub, digest->names);
	if (part->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		cs_read_rows(part, digest->read, digest);
	cs_row_hasher_end(&digest->hasher);
}

static void
add_to_sum(TupleTableSlot *row, void *arg)
{
	Digest *digest = arg;

	if (!cs_row_hash(&digest->hasher, row))
		return;
	digest->rows++;
	digest->hash += digest->hasher.hash;
}

Datum
cs_table_digest(Oid relation, ArrayType *columns, int64 *rows)
{
	Digest digest = {.names = columns, .read = add_to_sum};

	cs_read_parts(relation, read_part, &digest);
	*rows = digest.rows;
	return PointerGetDatum(cs_hash_text(digest.hash));
}

PG_FUNCTION_INFO_V1(clinic_sync_digest_scan);

/*
 * digest_scan(relation regclass, columns name[] DEFAULT NULL,
 *			   OUT rows bigint, OUT hash text)
 */
Datum
clinic_sync_digest_scan(PG_FUNCTION_ARGS)
{
	int64 rows = 0;
	TupleDesc desc;
	Datum values[2] = {0};
	bool isnull[2] = {PG_ARGISNULL(0), PG_ARGISNULL(0)};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!PG_ARGISNULL(0))
		values[1] = cs_table_digest(PG_GETARG_OID(0),
									PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1), &rows);
	values[0] = Int64GetDatum(rows);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
}

static void
put_row_hash(TupleTableSlot *row, void *arg)
{
	Digest *digest = arg;
	Datum values[2];
	bool isnull[2] = {false, false};

	if (!cs_row_hash(&digest->hasher, row))
		return;
	values[0] = PointerGetDatum(cs_row_key(digest->hasher.pub, row));
	values[1] = PointerGetDatum(cs_hash_text(digest->hasher.hash));
	tuplestore_putvalues(digest->result->setResult, digest->result->setDesc, values, isnull);
}

PG_FUNCTION_INFO_V1(clinic_sync_row_hashes);

/*
 * row_hashes(relation regclass, columns name[] DEFAULT NULL)
 *		RETURNS TABLE(key text, row_hash text)
 */
Datum
clinic_sync_row_hashes(PG_FUNCTION_ARGS)
{
	Digest digest = {.read = put_row_hash};

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	digest.names = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	digest.result = (ReturnSetInfo *) fcinfo->resultinfo;
	cs_read_parts(PG_GETARG_OID(0), read_part, &digest);
	return (Datum) 0;
}

/*
 * Counting.
 */

typedef struct RowCount
{
	CsPublication *pub;
	uint64 bytes;
	int64 rows;
} RowCount;

static void
add_bytes(Relation part, CsPublication *pub, void *arg)
{
	RowCount *count = arg;

	if (part->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		count->bytes += (uint64) RelationGetNumberOfBlocks(part) * BLCKSZ;
}

static void
count_row(TupleTableSlot *row, void *arg)
{
	RowCount *count = arg;

	if (cs_row_is_held(count->pub, row))
		count->rows++;
}

static void
count_part(Relation part, CsPublication *pub, void *arg)
{
	RowCount *count = arg;

	count->pub = pub;
	if (part->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		cs_read_rows(part, count_row, count);
}

PG_FUNCTION_INFO_V1(clinic_sync_exact_count);

/*
 * exact_count(relation regclass) RETURNS bigint
 *		Rows that caches hold; NULL for a table over clinic_sync.count_max_bytes.
 */
Datum
clinic_sync_exact_count(PG_FUNCTION_ARGS)
{
	RowCount count = {0};

	cs_read_parts(PG_GETARG_OID(0), add_bytes, &count);
	if (count.bytes > (uint64) cs_count_max_kb * 1024)
		PG_RETURN_NULL();
	cs_read_parts(PG_GETARG_OID(0), count_part, &count);
	PG_RETURN_INT64(count.rows);
}
