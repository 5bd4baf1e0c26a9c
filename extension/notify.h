/*
 * notify.h
 *		Telling relays that the change log grew.
 */
#ifndef CLINIC_SYNC_NOTIFY_H
#define CLINIC_SYNC_NOTIFY_H

#include "guc.h"

struct CsCut;

/* What is counted per table. */
typedef enum CsCount
{
	CS_COUNT_INSERT,
	CS_COUNT_UPDATE,
	CS_COUNT_DELETE,
	CS_COUNT_TRUNCATE,
	CS_COUNT_SCHEMA,
	CS_COUNT_RESYNC,
	CS_COUNT_ACK,
	CS_COUNTS
} CsCount;

/* The transaction has logged a change. */
extern void cs_notify_count(const char *event, const char *table, CsCount what);

/* The mode in force here and now; inside a transaction only. */
extern CsNotifyMode cs_notify_effective(void);

/* Queue a batch's NOTIFYs; how many, or -1 if the queue had no room. */
extern int cs_notify_batch(const struct CsCut *cut);

extern void cs_notify_init(void);

#endif /* CLINIC_SYNC_NOTIFY_H */
