/* A view's inside, for cache_view.c and cache_digest.c. */
#ifndef CLINIC_CACHE_VIEW_H
#define CLINIC_CACHE_VIEW_H

#include "cache_internal.h"

struct clinic_cache_view {
	sqlite3 *db;   /* what is read: the file, or the copy */
	sqlite3 *file; /* its read transaction is what freezes */
	sqlite3 *copy; /* NULL: there is none */
	struct table_set tables;
	char cursor[CURSOR_TEXT_BYTES];
};

#endif
