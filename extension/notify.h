/*
 * notify.h
 *		Counting what a transaction changed, and telling relays at its commit.
 */
#ifndef CLINIC_SYNC_NOTIFY_H
#define CLINIC_SYNC_NOTIFY_H

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

extern void cs_notify_count(const char *event, const char *table, CsCount what);
extern void cs_notify_init(void);

#endif /* CLINIC_SYNC_NOTIFY_H */
