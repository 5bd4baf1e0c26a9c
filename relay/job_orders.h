/* What a job is told, as JSON on its standard input. */
#ifndef CLINIC_RELAY_JOB_ORDERS_H
#define CLINIC_RELAY_JOB_ORDERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "status.h"

/* The file has this behind its name until it is whole. */
#define JOB_PART_SUFFIX ".part"

/* The end of an error that only says that a table was locked. */
#define JOB_LOCKED_OUT ",\"locked\":true"

enum job_kind { JOB_SNAPSHOT, JOB_DIGEST, JOB_PROOF };

struct job_orders {
	enum job_kind kind;
	const char *dsn;
	const char *tables; /* comma list; NULL or "": all */
	const char *path;   /* JOB_SNAPSHOT: the file to make */
	bool rows;          /* JOB_DIGEST: one line for each row as well, */
	const char *skip;   /* and columns left out, a comma list of table.column; NULL: none */
	json_t *spec;       /* JOB_PROOF: see job_start_proof(); not owned */
};

/* malloc'ed text, NULL: out of memory. */
char *job_orders_print(const struct job_orders *o);
/* From what was printed; *out points into object.  False: these are no orders. */
bool job_orders_take(json_t *object, struct job_orders *out);

/* The list sorted and without repetitions, malloc'ed; NULL: out of memory. */
char *job_list_normalize(const char *list);
/* The names in a comma list as the members of an object, all true; NULL: out of memory. */
json_t *job_list_names(const char *list);

/*
 * The whole life of a job (`clinic-relay --job`): orders from standard input,
 * lines to standard output.  Returns the exit code.
 */
int job_main(void);

#endif
