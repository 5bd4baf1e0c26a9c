/*
 * notify_send.h
 *		Queueing notifications; for notify.c only.
 */
#ifndef CLINIC_SYNC_NOTIFY_SEND_H
#define CLINIC_SYNC_NOTIFY_SEND_H

#include "notify.h"

/* What is told of one table. */
typedef struct CsTableCounts
{
	struct CsTableCounts *next;
	char *event;
	NameData table;
	uint64 counts[CS_COUNTS];
} CsTableCounts;

/* Whether it may take another one; counts the times when it may not. */
extern bool cs_notify_queue_has_room(void);

/* One NOTIFY for each event, of batch if it is not 0; returns how many. */
extern int cs_notify_events(const CsTableCounts *all, int64 batch);

/* That something was logged, and no more. */
extern void cs_notify_uncounted(int64 batch);

#endif /* CLINIC_SYNC_NOTIFY_SEND_H */
