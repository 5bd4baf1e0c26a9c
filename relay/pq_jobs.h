/* The jobs that read the database, run in a process of their own (see job_orders.h). */
#ifndef CLINIC_RELAY_PQ_JOBS_H
#define CLINIC_RELAY_PQ_JOBS_H

#include "dynbuf.h"
#include "job_orders.h"
#include "schema.h"
#include "status.h"

/*
 * They write their lines to standard output, all but the last.
 * *no_such_table: the list of tables is wrong.
 */
cs_status pq_snapshot_job(const struct job_orders *orders, uint64_t *bytes, bool *no_such_table,
			  struct cs_error *err) CS_CHECKED;
cs_status pq_digest_job(const struct job_orders *orders, bool *no_such_table,
			struct cs_error *err) CS_CHECKED;
cs_status pq_proof_job(const struct job_orders *orders, bool *no_such_table,
		       struct cs_error *err) CS_CHECKED;

/* The names of the columns, but for those of skip (a JSON array or NULL), as an SQL array. */
void pq_columns_without(struct dynbuf *columns, const struct schema *schema, const json_t *skip);

#endif
