/* A progress bar for the first sync, on a terminal; elsewhere nothing. */
#ifndef CLINIC_SYNC_CLI_PROGRESS_H
#define CLINIC_SYNC_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct cli_progress {
	bool visible; /* stderr is a terminal */
	bool drawn;
	uint64_t drawn_at_ms;
};

void cli_progress_init(struct cli_progress *p);
void cli_progress_show(struct cli_progress *p, uint64_t have_bytes, uint64_t total_bytes);
/* Take the bar away before anything else is printed. */
void cli_progress_clear(struct cli_progress *p);

#endif
