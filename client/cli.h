/*
 * What the commands of clinic-cache share: the exit table, the options, the
 * entry points.  main.c picks the command; every command is one function that
 * returns an exit code.
 */
#ifndef CLINIC_SYNC_CLI_H
#define CLINIC_SYNC_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "log.h"

/* The one exit table; docs/clinic-cache.1.md explains it. */
enum cli_exit {
	EXIT_DONE = 0,        /* done, level, equal */
	EXIT_DIFFERENT = 1,   /* verify: the file is not what the server says */
	EXIT_CONFIG = 2,      /* usage, configuration, a file that cannot be read or written */
	EXIT_UNREACHABLE = 3, /* no relay, or not level in time */
	EXIT_IN_USE = 4,      /* another process syncs the file */
	EXIT_REFUSED = 5,     /* the relay refuses us: access code or tables */
};

struct cli_options {
	const char *url;
	const char *db;
	const char *access_code_file;
	const char *name; /* this device's; --name or host_name; NULL: neither */
	char host_name[65];
	const char *events;
	char **tables; /* owned, as are the names */
	size_t table_count;
	bool once;
	bool patient_data;
	const char *table; /* --table; NULL: not given */
	bool json;
	int timeout_s;       /* 0: not given */
	int sync_interval_s; /* as the library has it: 0: the relay's, -1: off */
	const char *adopt;
	const char *full_sync;
	int user_version; /* 0: not given */
	const char *app_sqlite;
	log_level level;
};

int cli_sync(const struct cli_options *options);
int cli_sync_now(const struct cli_options *options);
int cli_status(const struct cli_options *options);
int cli_verify(const struct cli_options *options);
int cli_watch(const struct cli_options *options);

#endif
