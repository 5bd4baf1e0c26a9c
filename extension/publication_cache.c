/*
 * publication_cache.c
 *		What capture must know about a published table, per backend.
 *
 * 1. An entry belongs to the relation that fires, a plain table or a leaf.  A
 *	  leaf's attribute numbers may differ from its root's, so columns are
 *	  matched by name; their order, the key's order and the table's name on
 *	  the wire are always the root's.
 *
 * 2. An entry is dropped when the relation, its root or clinic_sync.publication
 *	  is invalidated in the relcache.  The callback only marks it, since it may
 *	  run while capture is using the entry; the next lookup builds it anew.
 *
 *	  What is read in several steps (the indexes, then which of them is the
 *	  key's) can fall apart while REINDEX CONCURRENTLY swaps two of them: an
 *	  entry that was invalidated while it was built is built once more.
 *
 * 3. The root of a partition is read without a lock.  A writer to a leaf holds
 *	  no lock on the root, and waiting for one here could deadlock with an
 *	  ALTER TABLE of the root that waits for the leaf.  What is read (columns,
 *	  key) cannot change while the leaf is locked, as we hold it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/partition.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "own_tables.h"
#include "publication_cache.h"
#include "row_image.h"

/* A row of clinic_sync.publication, in the current memory context. */
typedef struct PublicationRow
{
	int32 id;
	Oid relation;
	char *event;
	Datum *excluded; /* names */
	int nexcluded;
} PublicationRow;

/* Where invalidations come all the time (debug_discard_caches) the last attempt must do. */
#define BUILD_ATTEMPTS_MOST 5

static HTAB *entries = NULL;
static Oid publication_table = InvalidOid;
static uint64 invalidations = 0; /* ever seen by this backend */

/*
 * Reading clinic_sync.publication.
 */

static void
decode_row(CsOwnScan *scan, HeapTuple row, PublicationRow *result)
{
	bool isnull;
	Datum value;

	value = cs_own_value(scan, row, "event", &isnull);
	result->event = TextDatumGetCString(value);

	result->excluded = NULL;
	result->nexcluded = 0;
	value = cs_own_value(scan, row, "excluded", &isnull);
	if (!isnull)
		deconstruct_array(DatumGetArrayTypePCopy(value), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
						  &result->excluded, NULL, &result->nexcluded);
}

/* Find the publication with this id, or of this relation if id is 0. */
static bool
find_row(int32 id, Oid relation, PublicationRow *result)
{
	CsOwnScan scan;
	HeapTuple row;
	bool found = false;

	publication_table = cs_own_relation("publication");
	if (!OidIsValid(publication_table))
		return false;

	cs_own_scan_begin(&scan, publication_table, NULL);
	while (!found && (row = cs_own_scan_next(&scan)) != NULL)
	{
		bool isnull;

		result->id = DatumGetInt32(cs_own_value(&scan, row, "id", &isnull));
		result->relation = DatumGetObjectId(cs_own_value(&scan, row, "relation", &isnull));
		if (id != 0 ? result->id == id : result->relation == relation)
		{
			decode_row(&scan, row, result);
			found = true;
		}
	}
	cs_own_scan_end(&scan);
	return found;
}

bool
cs_publication_by_id(int32 id, char **event, NameData *table)
{
	PublicationRow row;
	char *name;

	if (!find_row(id, InvalidOid, &row))
		return false;
	name = get_rel_name(row.relation);
	if (name == NULL)
		return false;
	*event = row.event;
	namestrcpy(table, name);
	return true;
}

/*
 * Building an entry.
 */

static bool
is_excluded(const PublicationRow *row, const char *name)
{
	for (int i = 0; i < row->nexcluded; i++)
	{
		if (strcmp(NameStr(*DatumGetName(row->excluded[i])), name) == 0)
			return true;
	}
	return false;
}

/*
 * Oid of the primary key's index.  The relcache's own rd_pkindex leaves out
 * deferrable keys, which are as good as others for us.
 */
static Oid
primary_key_index(Relation rel)
{
	List *indexes = RelationGetIndexList(rel);
	ListCell *cell;
	Oid result = InvalidOid;

	foreach (cell, indexes)
	{
		Oid index = lfirst_oid(cell);
		HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));

		if (!HeapTupleIsValid(tuple))
			continue;
		if (((Form_pg_index) GETSTRUCT(tuple))->indisprimary)
			result = index;
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	return result;
}

static void
add_column(CsPublication *entry, Relation rel, const char *name)
{
	CsColumn *column = &entry->columns[entry->ncolumns];
	AttrNumber attnum = get_attnum(RelationGetRelid(rel), name);
	Form_pg_attribute att;

	/* only while a leaf is being attached or detached */
	if (attnum <= 0)
		return;

	att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	namestrcpy(&column->name, name);
	column->attnum = attnum;
	column->typlen = att->attlen;
	column->typbyval = att->attbyval;
	cs_canon_init(&column->canon, att->atttypid, entry->context);
	column->label = cs_json_label(name, &column->label_length);

	entry->last_attnum = Max(entry->last_attnum, attnum);
	entry->pinned |= column->canon.pinned;
	entry->unbounded |= column->canon.unbounded;
	entry->ncolumns++;
}

static void
add_columns(CsPublication *entry, Relation rel, Relation root, const PublicationRow *row)
{
	TupleDesc desc = RelationGetDescr(root);

	entry->columns = palloc0(sizeof(CsColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && cs_column_is_stored(att) &&
			!is_excluded(row, NameStr(att->attname)))
			add_column(entry, rel, NameStr(att->attname));
	}
}

static int
column_number(const CsPublication *entry, const char *name)
{
	for (int i = 0; i < entry->ncolumns; i++)
	{
		if (strcmp(NameStr(entry->columns[i].name), name) == 0)
			return i;
	}
	return -1;
}

static void
add_keys(CsPublication *entry, Relation rel, Relation root)
{
	Oid index = primary_key_index(root);
	HeapTuple tuple;
	Form_pg_index form;

	entry->key_index = primary_key_index(rel);
	if (!OidIsValid(index) || !OidIsValid(entry->key_index))
		return;
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	if (!HeapTupleIsValid(tuple))
		return;

	form = (Form_pg_index) GETSTRUCT(tuple);
	entry->keys = palloc(sizeof(int) * form->indnkeyatts);
	entry->nkeys = form->indnkeyatts;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		AttrNumber attnum = form->indkey.values[i];
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(root), attnum - 1);

		entry->keys[i] = column_number(entry, NameStr(att->attname));
		if (entry->keys[i] < 0)
			entry->nkeys = 0;
		if (entry->nkeys == 0)
			break;
	}
	ReleaseSysCache(tuple);
}

/*
 * While a partition is being detached concurrently its trigger still fires,
 * and old transactions still see it in its root; get_partition_ancestors()
 * ends at such a partition.
 */
static Oid
partition_root(Relation rel)
{
	Oid root = RelationGetRelid(rel);

	while (get_rel_relispartition(root))
	{
		List *ancestors = get_partition_ancestors(root);

		root = ancestors == NIL ? get_partition_parent(root, true) : llast_oid(ancestors);
		list_free(ancestors);
	}
	return root;
}

/* Fill an entry; its context is current, so that it owns what is allocated. */
static void
fill_entry(CsPublication *entry, Relation rel, const PublicationRow *row)
{
	Relation root = rel;

	if (row->relation != RelationGetRelid(rel))
		root = RelationIdGetRelation(row->relation);
	if (!RelationIsValid(root))
		elog(ERROR, "could not open relation with OID %u", row->relation);

	entry->id = row->id;
	entry->event = pstrdup(row->event);
	entry->root = row->relation;
	namestrcpy(&entry->table, RelationGetRelationName(root));
	add_columns(entry, rel, root, row);
	add_keys(entry, rel, root);

	if (root != rel)
		RelationClose(root);
}

static bool
build_entry(CsPublication *slot, Relation rel)
{
	CsPublication entry = {0};
	PublicationRow row;
	MemoryContext caller;

	if (!find_row(0, partition_root(rel), &row))
		return false;

	/* stays below the caller's context until it is complete */
	entry.relid = RelationGetRelid(rel);
	cs_key_filter_init(&entry.present);
	entry.context = AllocSetContextCreate(CurrentMemoryContext, "clinic_sync publication",
										  ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(entry.context);
	fill_entry(&entry, rel, &row);
	MemoryContextSwitchTo(caller);

	MemoryContextSetParent(entry.context, CacheMemoryContext);
	*slot = entry;
	return true;
}

static void
create_cache(void)
{
	HASHCTL control = {0};

	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(CsPublication);
	control.hcxt = CacheMemoryContext;
	entries = hash_create("clinic_sync publications", 64, &control,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Build the entry of a relation anew; false if it is not published. */
static bool
rebuild_entry(CsPublication *entry, Relation rel)
{
	for (int attempt = 0; attempt < BUILD_ATTEMPTS_MOST; attempt++)
	{
		uint64 before = invalidations;

		if (entry->context != NULL)
			MemoryContextDelete(entry->context);
		memset(entry, 0, sizeof(CsPublication));
		entry->relid = RelationGetRelid(rel);
		if (!build_entry(entry, rel))
			return false;
		entry->valid = (before == invalidations);
		if (entry->valid)
			break;
	}
	return true;
}

CsPublication *
cs_publication_get(Relation rel)
{
	static CsPublication *last = NULL; /* entries stay where they are */
	Oid relid = RelationGetRelid(rel);
	CsPublication *entry;
	bool found;

	if (last != NULL && last->relid == relid && last->valid)
		return last;
	if (entries == NULL)
		create_cache();
	entry = last = hash_search(entries, &relid, HASH_ENTER, &found);
	if (found && entry->valid)
		return entry;

	if (!found)
		memset(entry, 0, sizeof(CsPublication));
	return rebuild_entry(entry, rel) ? entry : NULL;
}

void
cs_publication_invalidate(Oid relid)
{
	HASH_SEQ_STATUS status;
	CsPublication *entry;
	bool all = !OidIsValid(relid) || relid == publication_table;

	invalidations++;
	if (entries == NULL)
		return;
	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (all || entry->relid == relid || entry->root == relid)
			entry->valid = false;
	}
}
