/*
 * The link of docs/app-developers.md for its test: a relay's side of one
 * conversation, played from a list; the snapshot is copied from a file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link.h"

#define C1 "1-00000000000000aa"
#define C2 "2-00000000000000bb"

static const char *const script[] = {
	"{\"type\":\"connected\",\"protocol\":\"clinic-sync.v1\",\"limits\":{}}",
	"{\"type\":\"resync_required\",\"reason\":\"no_cursor\",\"at\":\"" C1 "\",\"tables\":null}",
	"{\"type\":\"ready\",\"cursor\":\"" C1 "\",\"tables\":null}",
	"{\"type\":\"database_change\",\"from\":\"" C1 "\",\"to\":\"" C2
	"\",\"time\":\"t\",\"changes\":["
	"{\"event\":\"e\",\"table\":\"t\",\"operation\":\"insert\",\"key\":{\"id\":\"2\"},"
	"\"data\":{\"id\":\"2\",\"name\":\"two\"},\"origin\":null}]}",
	"{\"type\":\"heartbeat\",\"from\":\"" C2 "\",\"to\":\"" C2 "\",\"time\":\"t\"}",
	"{\"type\":\"error\",\"code\":\"bad_access_code\",\"message\":\"enough\"}",
};
static size_t said;

int link_open(const char *url)
{
	return strcmp(url, "ws://127.0.0.1:1/ws") != 0;
}

int link_send(const char *text, size_t len)
{
	printf("sent %.*s\n", (int)len, text);
	return 0;
}

enum link_result link_receive(uint32_t wait_ms, const char **text, size_t *len)
{
	(void)wait_ms;
	if (said == sizeof(script) / sizeof(script[0]))
		return LINK_CLOSED;
	*text = script[said++];
	*len = strlen(*text);
	return LINK_MESSAGE;
}

void link_close(int code)
{
	printf("closed %d\n", code);
}

int link_download(const char *path, const char *file)
{
	char command[1024];

	printf("fetch %s\n", path);
	snprintf(command, sizeof(command), "cp '%s' '%s'", getenv("SNAPSHOT"), file);
	return system(command) == 0 ? 200 : 0;
}
