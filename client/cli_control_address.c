/*
 * Where the door of a file is; see cli_control.h.
 *
 * An address of a socket holds 107 bytes, a path far more, so the directory is
 * opened and the address goes through /proc/self/fd.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli_control_address.h"

/* The last part of path, and its directory opened; -1 with errno. */
static int open_directory(char *path, const char **name)
{
	char *slash = strrchr(path, '/');

	*name = slash ? slash + 1 : path;
	if (!slash)
		return open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (slash == path)
		return open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	*slash = '\0';
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

bool cli_control_find(const char *db, struct cli_control_address *out)
{
	/* by whatever name the file is reached, it has one door */
	char *path = realpath(db, NULL);
	const char *name;
	int len;

	if (!path)
		path = strdup(db);
	if (!path) {
		errno = ENOMEM;
		return false;
	}
	memset(out, 0, sizeof(*out));
	out->directory_fd = open_directory(path, &name);
	if (out->directory_fd >= 0) {
		out->socket.sun_family = AF_UNIX;
		len = snprintf(out->socket.sun_path, sizeof(out->socket.sun_path),
			       "/proc/self/fd/%d/%s" CONTROL_SUFFIX, out->directory_fd, name);
		if (len < 0 || (size_t)len >= sizeof(out->socket.sun_path)) {
			close(out->directory_fd);
			out->directory_fd = -1;
			errno = ENAMETOOLONG;
		}
	}
	free(path);
	return out->directory_fd >= 0;
}

void cli_control_address_close(struct cli_control_address *address)
{
	int saved = errno;

	if (address->directory_fd >= 0)
		close(address->directory_fd);
	address->directory_fd = -1;
	errno = saved;
}

int cli_control_connect(const char *db)
{
	struct cli_control_address address;
	int fd;
	int saved;

	if (!cli_control_find(db, &address))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 &&
	    connect(fd, (const struct sockaddr *)&address.socket, sizeof(address.socket)) != 0) {
		saved = errno;
		close(fd);
		fd = -1;
		errno = saved;
	}
	cli_control_address_close(&address);
	return fd;
}
