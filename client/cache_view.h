/* A view's inside, for cache_view.c and cache_digest.c. */
#ifndef CLINIC_CACHE_VIEW_H
#define CLINIC_CACHE_VIEW_H

#include "cache_internal.h"

struct clinic_cache_view {
	sqlite3 *db; /* a read transaction is open */
	struct table_set tables;
	char cursor[CURSOR_TEXT_BYTES];
};

#endif
