/* The shelf of snapshot files, for job.c; what others call is in job.h. */
#ifndef CLINIC_RELAY_JOB_SNAPSHOT_H
#define CLINIC_RELAY_JOB_SNAPSHOT_H

#include "config.h"

/*
 * Take snapshot_dir for this process until it ends and delete what a relay that
 * was killed left there.  Fails if another relay has it.
 */
cs_status job_snapshot_claim_dir(const struct config *config, struct cs_error *err) CS_CHECKED;

void job_snapshot_init(const struct config *config);
void job_snapshot_close(void);

#endif
