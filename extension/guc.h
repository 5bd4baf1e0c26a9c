/*
 * guc.h
 *		The settings of clinic_sync.
 */
#ifndef CLINIC_SYNC_GUC_H
#define CLINIC_SYNC_GUC_H

typedef enum CsNotifyMode
{
	CS_NOTIFY_OFF,   /* relays poll */
	CS_NOTIFY_COMMIT /* one NOTIFY per event at each commit */
} CsNotifyMode;

extern int cs_notify_mode;   /* a CsNotifyMode */
extern int cs_max_row_bytes; /* rows above it are logged by key only */
extern int cs_log_hard_kb;   /* capture stops logging above it */

extern int cs_log_segment_kb; /* a segment of this size is followed by a new one */
extern int cs_retention_s;    /* how long the log is kept */

extern void cs_guc_init(void);

#endif /* CLINIC_SYNC_GUC_H */
