/*
 * A descriptor of somebody else that wakes the loop when it can be read.
 *
 * link_loop_step() returns; whoever owns the descriptor then reads it, until
 * there is nothing left, or the loop would wake at once again.
 */
#ifndef CLINIC_SYNC_LINK_WATCH_H
#define CLINIC_SYNC_LINK_WATCH_H

#include "link_loop.h"

struct link_watch;

/* The caller keeps fd, and closes it after link_watch_free(). NULL: out of memory or descriptors.
 */
struct link_watch *link_watch_new(struct link_loop *loop, int fd);
/* Accepts NULL. */
void link_watch_free(struct link_watch *watch);

#endif
