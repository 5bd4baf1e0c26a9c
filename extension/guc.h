/*
 * guc.h
 *		The settings of clinic_sync.
 */
#ifndef CLINIC_SYNC_GUC_H
#define CLINIC_SYNC_GUC_H

typedef enum CsNotifyMode
{
	CS_NOTIFY_OFF,    /* relays poll */
	CS_NOTIFY_COMMIT, /* one NOTIFY per event at each commit */
	CS_NOTIFY_WORKER  /* commits ring the background worker, which notifies */
} CsNotifyMode;

extern int cs_notify_mode;   /* a CsNotifyMode as set; see cs_notify_effective() */
extern int cs_max_row_bytes; /* rows above it are logged by key only */
extern int cs_log_hard_kb;   /* capture stops logging above it */

extern int cs_log_segment_kb; /* a segment of this size is followed by a new one */
extern int cs_retention_s;    /* how long the log is kept */

extern int cs_count_max_kb; /* larger tables are not counted */

extern double cs_notify_queue_limit; /* share of the NOTIFY queue */

extern char *cs_worker_databases; /* names, or * for all */
extern int cs_worker_max;         /* databases that can have a worker */
extern int cs_batch_interval_ms;  /* least time between two batches of a worker */

extern void cs_guc_init(void);

#endif /* CLINIC_SYNC_GUC_H */
