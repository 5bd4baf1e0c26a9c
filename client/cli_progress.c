/* The progress bar; see cli_progress.h. */
#include "cli_progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

#define REDRAW_MS 100
#define BAR_CELLS 30

void cli_progress_init(struct cli_progress *p)
{
	memset(p, 0, sizeof(*p));
	p->visible = isatty(STDERR_FILENO);
}

void cli_progress_show(struct cli_progress *p, uint64_t have_bytes, uint64_t total_bytes)
{
	static const char cells[BAR_CELLS + 1] = "##############################";
	uint64_t now = clock_monotonic_ms();
	bool finished = have_bytes >= total_bytes;
	int filled;

	if (!p->visible || total_bytes == 0 ||
	    (p->drawn && !finished && now - p->drawn_at_ms < REDRAW_MS))
		return;
	filled = finished ? BAR_CELLS : (int)((double)have_bytes / (double)total_bytes * BAR_CELLS);
	fprintf(stderr, "\rfirst sync [%-*.*s] %3d%%  %.1f of %.1f MB", BAR_CELLS, filled, cells,
		(int)((double)have_bytes / (double)total_bytes * 100), (double)have_bytes / 1e6,
		(double)total_bytes / 1e6);
	fflush(stderr);
	p->drawn = true;
	p->drawn_at_ms = now;
}

void cli_progress_clear(struct cli_progress *p)
{
	if (!p->drawn)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	p->drawn = false;
}
