/* What stands in a file against the server's rows, printed. */
#ifndef CLINIC_SYNC_CLI_DIFFERENCE_H
#define CLINIC_SYNC_CLI_DIFFERENCE_H

#include "cli.h"
#include "clinic_cache.h"

/* The handle refused the file for its rows: print which, and say why; the exit code. */
int cli_refuse_difference(const struct cli_options *options, const struct clinic_cache *cache);

#endif
