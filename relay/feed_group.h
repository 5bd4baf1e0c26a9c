/* What feed.c uses of a group's inside; see feed.h. */
#ifndef CLINIC_RELAY_FEED_GROUP_H
#define CLINIC_RELAY_FEED_GROUP_H

#include "feed.h"

/* NULL: out of memory. The builder is the caller's to start. */
struct feed_group *group_new(struct feed *f, char *const *tables, size_t table_count);
void group_free(struct feed_group *g);
/* Are these its tables? No duplicates among them. */
bool group_is(const struct feed_group *g, char *const *tables, size_t table_count);

/* Takes over e's reference. */
void group_push(struct feed_group *g, struct feed_entry *e);
/* The ring must not be empty. */
void group_drop_oldest(struct feed_group *g);
/* Empty the ring so that no place in it, not even its end, continues. */
void group_break(struct feed_group *g);
/* What comes after the mark of entry seq, owned by the group.  NULL: out of memory. */
struct feed_entry *group_rest(struct feed_group *g, uint64_t seq, const struct entry_mark *mark);
/* There must be one. */
void group_drop_rest(struct feed_group *g);
/* The mark at this cursor, inside an entry, and which; or NULL. */
const struct entry_mark *group_find_inside(const struct feed_group *g, const struct cursor *cursor,
					   uint64_t *seq);
/* The entry that begins at this cursor. */
bool group_find_start(const struct feed_group *g, const struct cursor *cursor, uint64_t *seq);

#endif
