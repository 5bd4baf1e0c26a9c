/*
 * What the commands print: results on stdout, people's form or --json; errors
 * on stderr (and as JSON on stdout with --json).
 */
#ifndef CLINIC_SYNC_CLI_OUTPUT_H
#define CLINIC_SYNC_CLI_OUTPUT_H

#include <stdio.h>

#include "cli.h"
#include "clinic_cache.h"
#include "dynbuf.h"
#include "status.h"

/* Say what went wrong; returns exit_code. The text must not hold row data or secrets. */
int cli_fail(const struct cli_options *options, int exit_code, const char *fmt, ...)
	CS_PRINTF(3, 4);
/* The exit code of what the library answered. */
int cli_exit_of(clinic_cache_status status);
/* cli_fail() with an error of the library; names the pid that holds a file. */
int cli_fail_library(const struct cli_options *options, const struct clinic_cache_error *error);
/* cli_fail() with an error of ours. */
int cli_fail_status(const struct cli_options *options, const struct cs_error *error);

/* "name":"value" or "name":null, with a comma before it unless it is the first of an object. */
void cli_json_text(struct dynbuf *b, const char *name, const char *value);
void cli_json_bool(struct dynbuf *b, const char *name, bool value);
void cli_json_number(struct dynbuf *b, const char *name, long long value);

/* One event as one line of JSON, flushed; false when it could not be written. */
bool cli_write_event_json(FILE *f, const struct clinic_cache_event *event);
/* The same for people. */
bool cli_write_event_text(FILE *f, const struct clinic_cache_event *event);

#endif
