/*
 * row_image.h
 *		JSON forms of a row's key and data.
 */
#ifndef CLINIC_SYNC_ROW_IMAGE_H
#define CLINIC_SYNC_ROW_IMAGE_H

#include "executor/tuptable.h"

#include "publication_cache.h"

/* `"name":` as a member of a JSON object, in the current memory context. */
extern char *cs_json_label(const char *name, int *length);

/* {"id":"12"}: the key columns in key order. */
extern text *cs_row_key(CsPublication *pub, TupleTableSlot *row);

/*
 * {"id":"12","name":null}: the published columns; with wanted, only those set
 * in it (an array as cs_row_changed() returns it).  NULL if the row is larger
 * than a cache may hold.
 */
extern text *cs_row_data(CsPublication *pub, TupleTableSlot *row, const bool *wanted);

/*
 * Which published columns differ between two versions of a row, by their
 * place in pub->columns; NULL if none does.
 */
extern bool *cs_row_changed(CsPublication *pub, TupleTableSlot *old, TupleTableSlot *new);

/* True if the two versions have the same key text. */
extern bool cs_row_same_key(CsPublication *pub, TupleTableSlot *old, TupleTableSlot *new);

/* True if a row's published columns exceed clinic_sync.max_row_bytes. */
extern bool cs_row_is_oversize(CsPublication *pub, TupleTableSlot *row);

/* True if printing a row may fail for its size: use cs_attempt(). */
extern bool cs_row_is_risky(CsPublication *pub, TupleTableSlot *row);

/* True if caches hold the row: capture logs it whole, snapshot and digest have it. */
extern bool cs_row_is_held(CsPublication *pub, TupleTableSlot *row);

/* Equality of text values by their bytes. */
extern bool cs_text_equal(const text *a, const text *b);

#endif /* CLINIC_SYNC_ROW_IMAGE_H */
