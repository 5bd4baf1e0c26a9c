/* One load of rows on its way: what cache_load.c and cache_load_each.c know of each other. */
#ifndef CLINIC_CACHE_LOAD_H
#define CLINIC_CACHE_LOAD_H

#include "cache_internal.h"

struct loading {
	struct clinic_cache *c;
	struct cached_table *t;
	const char *from; /* an attached snapshot */
	const char *list; /* in temp; NULL: all rows */
	struct cs_error *err;
};

/* What the side tables say of the rows that are loaded, but for parked ones. */
cs_status load_renew_sides(struct loading *l) CS_CHECKED;
/* Rows of from (those in temp.list; NULL: all), as a frame would bring them; fresh: none of them
 * is in main. */
cs_status load_each(struct loading *l, const char *list, bool fresh) CS_CHECKED;
/* Into a table whose columns hold values in other forms than ours, row by row. */
cs_status load_converting(struct loading *l) CS_CHECKED;
/* Parked rows: those that from lacks go; with a list the others get onto it. */
cs_status load_list_parked(struct loading *l) CS_CHECKED;

#endif
