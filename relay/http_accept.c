/* The Accept header; see http.h. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http.h"

/* The weight of one item of the list: 1 unless its parameter q says other. */
static double weight(const char *item, size_t len)
{
	const char *at = memchr(item, ';', len);

	while (at) {
		size_t skipped;

		at++;
		at += strspn(at, " ");
		if (strncasecmp(at, "q=", 2) == 0)
			return strtod(at + 2, NULL);
		skipped = (size_t)(at - item);
		at = skipped < len ? memchr(at, ';', len - skipped) : NULL;
	}
	return 1;
}

static bool is_type(const char *item, size_t len, const char *type)
{
	size_t name = strcspn(item, "; ,");

	return name <= len && name == strlen(type) && strncasecmp(item, type, name) == 0;
}

bool http_prefers_json(const char *accept)
{
	double json = 0, file = 0;

	for (const char *at = accept; *at;) {
		size_t len = strcspn(at, ",");

		if (is_type(at, len, "application/json"))
			json = weight(at, len);
		else if (is_type(at, len, "application/vnd.sqlite3"))
			file = weight(at, len);
		at += len;
		at += strspn(at, ", ");
	}
	return json > file;
}
