/*
 * The clinic's access code: read from a file, never from the command line or
 * the URL, and kept nowhere.  The file is named by --access-code-file, else by
 * CLINIC_ACCESS_CODE_FILE, else as remembered beside the database (the path,
 * in DB.clinic-access), so that later commands need only --db.
 */
#ifndef CLINIC_SYNC_CLI_ACCESS_H
#define CLINIC_SYNC_CLI_ACCESS_H

#include "cli.h"
#include "status.h"

#define CLI_ACCESS_CODE_BYTES 1024

struct cli_access {
	char path[4096];
	char code[CLI_ACCESS_CODE_BYTES];
};

cs_status cli_access_load(const struct cli_options *options, struct cli_access *out,
			  struct cs_error *err) CS_CHECKED;
/* Remember the path for later commands on this database; a failure is only logged. */
void cli_access_remember(const struct cli_access *access, const char *db);
/* Wipe the code from memory. */
void cli_access_forget(struct cli_access *access);

#endif
