/* The address of the door of a file; for cli_control*.c only. */
#ifndef CLINIC_SYNC_CLI_CONTROL_ADDRESS_H
#define CLINIC_SYNC_CLI_CONTROL_ADDRESS_H

#include <stdbool.h>
#include <sys/un.h>

#include "cli_control.h"

#define CONTROL_SUFFIX ".clinic-control"

struct cli_control_address {
	struct sockaddr_un socket; /* valid while directory_fd is open */
	int directory_fd;
};

/* False with errno: no such directory, or a name too long for an address. */
bool cli_control_find(const char *db, struct cli_control_address *out);
void cli_control_address_close(struct cli_control_address *address);

#endif
