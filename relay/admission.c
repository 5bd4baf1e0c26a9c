/* Who may resume now; see admission.h. */
#include "admission.h"

#include "device.h"

static void line_up(struct admission *a, struct device *d)
{
	d->line_prev = a->last;
	d->line_next = NULL;
	if (a->last)
		a->last->line_next = d;
	else
		a->first = d;
	a->last = d;
	a->waiting++;
	d->in_line = true;
}

static void step_out(struct admission *a, struct device *d)
{
	if (d->line_prev)
		d->line_prev->line_next = d->line_next;
	else
		a->first = d->line_next;
	if (d->line_next)
		d->line_next->line_prev = d->line_prev;
	else
		a->last = d->line_prev;
	d->line_prev = d->line_next = NULL;
	a->waiting--;
	d->in_line = false;
}

bool admission_enter(struct admission *a, struct device *d, size_t most)
{
	/* nobody passes those who wait already */
	if (a->first || a->inside >= most) {
		line_up(a, d);
		return false;
	}
	a->inside++;
	d->admitted = true;
	return true;
}

bool admission_leave(struct admission *a, struct device *d)
{
	if (d->in_line) {
		step_out(a, d);
		return false;
	}
	if (!d->admitted)
		return false;
	d->admitted = false;
	a->inside--;
	return a->first != NULL;
}

bool admission_turn(struct admission *a, size_t most, uint64_t now_ms)
{
	for (size_t n = 0; n < most && a->first && a->inside < most; n++) {
		struct device *d = a->first;

		step_out(a, d);
		a->inside++;
		d->admitted = true;
		device_follow(d, now_ms);
	}
	return a->first && a->inside < most;
}
