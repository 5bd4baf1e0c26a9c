/*
 * The door of a running `clinic-cache sync`: a socket beside the file,
 * FILE.clinic-control, where other commands of the same user ask for something.
 *
 *	{"command":"sync_now","scope":"all"}          or "patient_data", or "table" with "table":"…"
 *	{"state":"done","cursor":"…","repaired":0}    or
 *	{"state":"failed","reason":"…","exit":3}      exit: the code of enum cli_exit
 *
 * One line of JSON each way, then the connection ends.  What is asked for at the
 * same time is done one after the other.  That no door can be made is no reason
 * not to sync: it is said once.
 */
#ifndef CLINIC_SYNC_CLI_CONTROL_H
#define CLINIC_SYNC_CLI_CONTROL_H

#include "cli_session.h"
#include "link_loop.h"

#define CONTROL_LINE_BYTES 1024

struct cli_control;

/* NULL: there is none, and the log says why. */
struct cli_control *cli_control_open(struct link_loop *loop, const char *db);
/* What came in, what is done: after each step of the loop. */
void cli_control_step(struct cli_control *control, struct cli_session *session);
/* Accepts NULL. */
void cli_control_close(struct cli_control *control);

/* Connected to the door of whoever syncs db; -1 with errno: there is none. */
int cli_control_connect(const char *db);

#endif
