/* link: -lpq */
/*
 * A session that LISTENs and reads every notification, and does nothing with
 * them: the least that any reader of notifications costs a server.
 *
 *	listener CONNINFO CHANNEL ...
 *
 * Says "listening" once it does; ends with status 1 when the connection is lost.
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static int listen_to(PGconn *conn, const char *channel)
{
	char command[256];
	PGresult *result;
	char *name = PQescapeIdentifier(conn, channel, strlen(channel));
	int failed;

	if (name == NULL)
		return 1;
	snprintf(command, sizeof(command), "LISTEN %s", name);
	PQfreemem(name);
	result = PQexec(conn, command);
	failed = PQresultStatus(result) != PGRES_COMMAND_OK;
	PQclear(result);
	return failed;
}

int main(int argc, char **argv)
{
	PGconn *conn;
	PGnotify *notify;
	int i;

	if (argc < 3) {
		fprintf(stderr, "usage: listener CONNINFO CHANNEL ...\n");
		return 2;
	}
	conn = PQconnectdb(argv[1]);
	for (i = 2; i < argc; i++) {
		if (PQstatus(conn) != CONNECTION_OK || listen_to(conn, argv[i])) {
			fprintf(stderr, "listener: %s", PQerrorMessage(conn));
			return 1;
		}
	}
	puts("listening");
	fflush(stdout);
	for (;;) {
		struct pollfd at = {.fd = PQsocket(conn), .events = POLLIN};

		if (poll(&at, 1, -1) < 0 || !PQconsumeInput(conn))
			return 1;
		while ((notify = PQnotifies(conn)) != NULL)
			PQfreemem(notify);
	}
}
