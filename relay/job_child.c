/* The life of a job process: read the orders, do it, say how it went. */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dynbuf.h"
#include "job_orders.h"
#include "job_process.h"
#include "pq_jobs.h"

static void print_error(const struct cs_error *err, bool no_such_table)
{
	struct dynbuf line;

	dynbuf_init(&line, JOB_ORDERS_MOST_BYTES);
	dynbuf_adds(&line, "{\"error\":");
	dynbuf_add_json(&line, err->text, strlen(err->text));
	if (no_such_table)
		dynbuf_adds(&line, ",\"no_such_table\":true");
	dynbuf_adds(&line, err->status == CS_ERR_BUSY ? JOB_LOCKED_OUT "}" : "}");
	if (!line.failed)
		puts(line.data);
	dynbuf_free(&line);
}

static cs_status do_job(const struct job_orders *orders, bool *no_such_table, struct cs_error *err)
{
	uint64_t bytes = 0;
	cs_status status;

	if (orders->kind != JOB_SNAPSHOT) {
		status = orders->kind == JOB_DIGEST ? pq_digest_job(orders, no_such_table, err)
						    : pq_proof_job(orders, no_such_table, err);
		if (status == CS_OK)
			puts("{\"done\":true}");
		return status;
	}
	status = pq_snapshot_job(orders, &bytes, no_such_table, err);
	if (status == CS_OK)
		printf("{\"done\":true,\"bytes\":%llu}\n", (unsigned long long)bytes);
	return status;
}

int job_main(void)
{
	static char text[JOB_ORDERS_MOST_BYTES + 1];
	size_t len = fread(text, 1, sizeof(text), stdin);
	json_t *object = json_loadb(text, len, 0, NULL);
	struct job_orders orders;
	struct cs_error err = {0};
	bool no_such_table = false;
	cs_status status;

	if (!object || !job_orders_take(object, &orders)) {
		fputs("clinic-relay --job is started by the relay itself\n", stderr);
		return 2;
	}
	status = do_job(&orders, &no_such_table, &err);
	if (status != CS_OK)
		print_error(&err, no_such_table);
	fflush(stdout);
	json_decref(object);
	return status == CS_OK ? 0 : 1;
}
