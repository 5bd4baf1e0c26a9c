/* The relay as a whole: joins upstream, feed, devices and HTTP; see relay.c. */
#ifndef CLINIC_RELAY_RELAY_H
#define CLINIC_RELAY_RELAY_H

struct config;

/*
 * Run until SIGTERM or SIGINT.  reload (may be NULL) is called on SIGHUP and
 * changes *config in place where it can.  Returns the exit code of the process:
 * 0 after a goodbye, 2 when it could not start (one line is in the log).
 */
int relay_run(struct config *config, void (*reload)(struct config *config));

#endif
