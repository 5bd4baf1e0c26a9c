/*
 * row_hash.c
 *		Hash of a row's canonical texts.
 *
 * The first 8 bytes of SHA-256 over the row's canonical texts, the columns in
 * byte order of their names (docs/protocol.md, "Digest").  Only columns of
 * published tables can be hashed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include <common/sha2.h>
#include "utils/builtins.h"

#include "compat.h"
#include "row_hash.h"
#include "row_image.h"

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
choose_columns(CsRowHasher *hasher, ArrayType *names)
{
	CsPublication *pub = hasher->pub;
	Datum *elements = NULL;
	bool *isnull = NULL;
	int count = pub->ncolumns;

	if (names != NULL)
		deconstruct_array(names, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elements, &isnull,
						  &count);

	hasher->columns = palloc(sizeof(CsColumn *) * Max(count, 1));
	hasher->ncolumns = count;
	for (int i = 0; i < count; i++)
	{
		if (names != NULL && isnull[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("a column name must not be null")));
		hasher->columns[i] = names == NULL ? &pub->columns[i]
										   : find_column(pub, NameStr(*DatumGetName(elements[i])));
	}
	qsort(hasher->columns, count, sizeof(CsColumn *), compare_columns);
}

void
cs_row_hasher_begin(CsRowHasher *hasher, CsPublication *pub, ArrayType *names)
{
	memset(hasher, 0, sizeof(CsRowHasher));
	hasher->pub = pub;
	choose_columns(hasher, names);
	hasher->sha256 = pg_cryptohash_create(PG_SHA256);
	if (hasher->sha256 == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
}

void
cs_row_hasher_end(CsRowHasher *hasher)
{
	pg_cryptohash_free(hasher->sha256);
	pfree(hasher->columns);
}

/*
 * Hashing.
 */

static void
hash_bytes(CsRowHasher *hasher, const char *bytes, Size length)
{
	if (pg_cryptohash_update(hasher->sha256, (const uint8 *) bytes, length) < 0)
		elog(ERROR, "could not compute SHA-256");
}

static void
hash_column(CsRowHasher *hasher, CsColumn *column)
{
	int i = column->attnum - 1;
	char scratch[CS_CANON_SCRATCH];
	char mark[32];
	const char *bytes;
	Size length;

	if (hasher->row->tts_isnull[i])
	{
		hash_bytes(hasher, "N", 1);
		return;
	}
	bytes = cs_canon_text(&column->canon, hasher->row->tts_values[i], scratch, &length);
	hash_bytes(hasher, mark, snprintf(mark, sizeof(mark), "V%zu:", length));
	hash_bytes(hasher, bytes, length);
}

static void
hash_columns(void *arg)
{
	CsRowHasher *hasher = arg;
	uint8 result[PG_SHA256_DIGEST_LENGTH];

	if (pg_cryptohash_init(hasher->sha256) < 0)
		elog(ERROR, "could not compute SHA-256");
	for (int i = 0; i < hasher->ncolumns; i++)
		hash_column(hasher, hasher->columns[i]);
	if (pg_cryptohash_final(hasher->sha256, result, sizeof(result)) < 0)
		elog(ERROR, "could not compute SHA-256");

	hasher->hash = 0;
	for (int i = 0; i < 8; i++)
		hasher->hash = hasher->hash << 8 | result[i];
}

bool
cs_row_hash(CsRowHasher *hasher, TupleTableSlot *row)
{
	if (!cs_row_is_held(hasher->pub, row))
		return false;
	hasher->row = row;
	slot_getsomeattrs(row, hasher->pub->last_attnum);
	if (hasher->pub->pinned)
		cs_canon_pinned(hash_columns, hasher);
	else
		hash_columns(hasher);
	return true;
}

text *
cs_hash_text(uint64 hash)
{
	char buf[17];

	snprintf(buf, sizeof(buf), "%08x%08x", (uint32) (hash >> 32), (uint32) hash);
	return cstring_to_text(buf);
}
