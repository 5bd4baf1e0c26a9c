/*
 * The command line: one table of options, one of commands.  Help texts and
 * parsing both come from these tables, and a test compares the manual page
 * with the help.
 */
#ifndef CLINIC_SYNC_CLI_OPTIONS_H
#define CLINIC_SYNC_CLI_OPTIONS_H

#include "cli.h"

struct cli_command {
	const char *name;
	int (*run)(const struct cli_options *options);
	const char *summary;
	unsigned options;  /* bits of enum cli_option_id */
	unsigned required; /* of those */
};

/*
 * Parse argv. Returns the command to run with *out filled, or NULL with the
 * exit code in *exit_code: help and version were printed, or what is wrong.
 */
const struct cli_command *cli_options_parse(int argc, char **argv, struct cli_options *out,
					    int *exit_code);
void cli_options_free(struct cli_options *options);

#endif
