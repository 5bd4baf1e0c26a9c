/*
 * publication_cache.h
 *		What capture must know about a published table, per backend.
 */
#ifndef CLINIC_SYNC_PUBLICATION_CACHE_H
#define CLINIC_SYNC_PUBLICATION_CACHE_H

#include "access/attnum.h"
#include "utils/relcache.h"

#include "canon.h"
#include "key_filter.h"

/* A published column as it stands in one relation (a root or a leaf). */
typedef struct CsColumn
{
	NameData name;
	AttrNumber attnum; /* in this relation */
	int16 typlen;
	bool typbyval;
	CsCanon canon;
	char *label; /* the JSON member name with its colon */
	int label_length;
} CsColumn;

typedef struct CsPublication
{
	Oid relid; /* hash key: the relation that fires */
	bool valid;
	MemoryContext context; /* owns everything below */

	int32 id; /* clinic_sync.publication.id */
	char *event;
	NameData table; /* the root's name, as on the wire */
	Oid root;       /* topmost partitioned table, or relid */

	CsColumn *columns; /* published ones, in the root's order */
	int ncolumns;
	int *keys;     /* indexes into columns, in key order */
	int nkeys;     /* 0: the table lost its primary key */
	Oid key_index; /* primary key's index on relid */

	AttrNumber last_attnum; /* the highest one read from a row */
	bool pinned;            /* some column needs pinned settings */
	bool unbounded;         /* some column may print far too long */

	CsKeyFilter present; /* keys that this transaction has logged a row under */
} CsPublication;

/*
 * Entry for a relation, NULL if it (or its partition root) is not published.
 * The answer stays readable until the next call for the same relation, even
 * if the publication changes meanwhile.
 */
extern CsPublication *cs_publication_get(Relation rel);

/* Event and table name of a publication by number; false if there is none. */
extern bool cs_publication_by_id(int32 id, char **event, NameData *table);

/* Forget entries on the invalidation of a relation (InvalidOid: of all). */
extern void cs_publication_invalidate(Oid relid);

#endif /* CLINIC_SYNC_PUBLICATION_CACHE_H */
