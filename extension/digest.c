/*
 * digest.c
 *		Digest of a table's rows, for comparison with a cache's.
 *
 * The hash of a row is the first 8 bytes of SHA-256 over its canonical texts,
 * the columns in byte order of their names; the digest of a table is the sum
 * of its rows' hashes modulo 2^64, whatever their order (docs/protocol.md).
 *
 * Rows are read by the active snapshot straight from the table and its leaves,
 * past row security: caches hold what capture logged, which is every row.
 * Only columns of published tables can be read.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include <common/cryptohash.h>
#include <common/sha2.h>
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "digest.h"
#include "publication_cache.h"
#include "row_image.h"

/* Digesting one relation, and the row being hashed. */
typedef struct Digest
{
	CsPublication *pub;
	CsColumn **columns; /* in byte order of their names */
	int ncolumns;
	pg_cryptohash_ctx *sha256;
	TupleTableSlot *row;
	uint64 row_hash;
} Digest;

/* Called for each row, in a context that is reset after it. */
typedef void (*RowConsumer)(Digest *digest, void *arg);

/*
 * Columns.
 */

static int
compare_columns(const void *a, const void *b)
{
	const CsColumn *const *left = a;
	const CsColumn *const *right = b;

	return strcmp(NameStr((*left)->name), NameStr((*right)->name));
}

static CsColumn *
find_column(CsPublication *pub, const char *name)
{
	for (int i = 0; i < pub->ncolumns; i++)
	{
		if (strcmp(NameStr(pub->columns[i].name), name) == 0)
			return &pub->columns[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table \"%s\" is not published", name, NameStr(pub->table))));
}

static void
choose_columns(Digest *digest, ArrayType *names)
{
	CsPublication *pub = digest->pub;
	Datum *elements = NULL;
	bool *isnull = NULL;
	int count = pub->ncolumns;

	if (names != NULL)
		deconstruct_array(names, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elements, &isnull,
						  &count);

	digest->columns = palloc(sizeof(CsColumn *) * Max(count, 1));
	digest->ncolumns = count;
	for (int i = 0; i < count; i++)
	{
		if (names != NULL && isnull[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("a column name must not be null")));
		digest->columns[i] = names == NULL ? &pub->columns[i]
										   : find_column(pub, NameStr(*DatumGetName(elements[i])));
	}
	qsort(digest->columns, count, sizeof(CsColumn *), compare_columns);
}

/*
 * Hashing.
 */

static void
hash_bytes(Digest *digest, const char *bytes, Size length)
{
	if (pg_cryptohash_update(digest->sha256, (const uint8 *) bytes, length) < 0)
		elog(ERROR, "could not compute SHA-256");
}

static void
hash_column(Digest *digest, CsColumn *column)
{
	int i = column->attnum - 1;
	char scratch[CS_CANON_SCRATCH];
	char mark[32];
	const char *bytes;
	Size length;

	if (digest->row->tts_isnull[i])
	{
		hash_bytes(digest, "N", 1);
		return;
	}
	bytes = cs_canon_text(&column->canon, digest->row->tts_values[i], scratch, &length);
	hash_bytes(digest, mark, snprintf(mark, sizeof(mark), "V%zu:", length));
	hash_bytes(digest, bytes, length);
}

static void
hash_columns(void *arg)
{
	Digest *digest = arg;
	uint8 result[PG_SHA256_DIGEST_LENGTH];

	if (pg_cryptohash_init(digest->sha256) < 0)
		elog(ERROR, "could not compute SHA-256");
	for (int i = 0; i < digest->ncolumns; i++)
		hash_column(digest, digest->columns[i]);
	if (pg_cryptohash_final(digest->sha256, result, sizeof(result)) < 0)
		elog(ERROR, "could not compute SHA-256");

	digest->row_hash = 0;
	for (int i = 0; i < 8; i++)
		digest->row_hash = digest->row_hash << 8 | result[i];
}

static void
hash_row(void *arg)
{
	Digest *digest = arg;

	slot_getsomeattrs(digest->row, digest->pub->last_attnum);
	if (digest->pub->pinned)
		cs_canon_pinned(hash_columns, digest);
	else
		hash_columns(digest);
}

/* False for a row that caches do not hold. */
static bool
hash_row_or_skip(Digest *digest)
{
	if (!cs_row_is_held(digest->pub, digest->row))
		return false;
	hash_row(digest);
	return true;
}

/*
 * Scanning.
 */

static void
scan_rows(Digest *digest, Relation rel, RowConsumer consume, void *arg)
{
	MemoryContext per_row = AllocSetContextCreate(CurrentMemoryContext, "clinic_sync digest row",
												  ALLOCSET_DEFAULT_SIZES);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, digest->row))
	{
		MemoryContext caller = MemoryContextSwitchTo(per_row);

		CHECK_FOR_INTERRUPTS();
		if (hash_row_or_skip(digest))
			consume(digest, arg);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(per_row);
	}
	table_endscan(scan);
	MemoryContextDelete(per_row);
}

static void
digest_relation(Relation rel, ArrayType *names, RowConsumer consume, void *arg)
{
	Digest digest = {0};

	digest.pub = cs_publication_get(rel);
	if (digest.pub == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" is not published", RelationGetRelationName(rel)),
						errhint("Publish it with clinic_sync.publish().")));
	choose_columns(&digest, names);
	digest.sha256 = pg_cryptohash_create(PG_SHA256);
	if (digest.sha256 == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	digest.row = table_slot_create(rel, NULL);

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		scan_rows(&digest, rel, consume, arg);

	ExecDropSingleTupleTableSlot(digest.row);
	pg_cryptohash_free(digest.sha256);
	pfree(digest.columns);
}

/* A published table, or all the leaves of a partitioned one. */
static void
digest_table(Oid relid, ArrayType *names, RowConsumer consume, void *arg)
{
	List *relids = find_all_inheritors(relid, AccessShareLock, NULL);
	ListCell *cell;

	foreach (cell, relids)
	{
		Relation rel = table_open(lfirst_oid(cell), NoLock);

		digest_relation(rel, names, consume, arg);
		table_close(rel, NoLock);
	}
	list_free(relids);
}

/*
 * SQL functions.
 */

typedef struct DigestSum
{
	int64 rows;
	uint64 hash;
} DigestSum;

static void
add_to_sum(Digest *digest, void *arg)
{
	DigestSum *sum = arg;

	sum->rows++;
	sum->hash += digest->row_hash;
}

static text *
hash_text(uint64 hash)
{
	char buf[17];

	snprintf(buf, sizeof(buf), "%08x%08x", (uint32) (hash >> 32), (uint32) hash);
	return cstring_to_text(buf);
}

Datum
cs_table_digest(Oid relation, ArrayType *columns, int64 *rows)
{
	DigestSum sum = {0};

	digest_table(relation, columns, add_to_sum, &sum);
	*rows = sum.rows;
	return PointerGetDatum(hash_text(sum.hash));
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
put_row_hash(Digest *digest, void *arg)
{
	ReturnSetInfo *result = arg;
	Datum values[2];
	bool isnull[2] = {false, false};

	values[0] = PointerGetDatum(cs_row_key(digest->pub, digest->row));
	values[1] = PointerGetDatum(hash_text(digest->row_hash));
	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

PG_FUNCTION_INFO_V1(clinic_sync_row_hashes);

/*
 * row_hashes(relation regclass, columns name[] DEFAULT NULL)
 *		RETURNS TABLE(key text, row_hash text)
 */
Datum
clinic_sync_row_hashes(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	if (!PG_ARGISNULL(0))
		digest_table(PG_GETARG_OID(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1),
					 put_row_hash, fcinfo->resultinfo);
	return (Datum) 0;
}
