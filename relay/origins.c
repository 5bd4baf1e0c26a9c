/* Origins of web pages; see origins.h. */
#include "origins.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

/* The item at *at without blanks around it, and *at behind it; NULL: there are no more. */
static const char *next_item(const char **at, size_t *len)
{
	const char *item = *at;

	if (!item)
		return NULL;
	*at = strchr(item, ',');
	*len = *at ? (size_t)(*at - item) : strlen(item);
	if (*at)
		++*at;
	while (*len && *item == ' ') {
		item++;
		--*len;
	}
	while (*len && item[*len - 1] == ' ')
		--*len;
	return item;
}

/* scheme://host[:port], nothing after it.  "null" is none: any page can have that origin. */
static bool is_origin(const char *item, size_t len)
{
	const char *colon = memchr(item, ':', len);
	size_t scheme = colon ? (size_t)(colon - item) : 0;

	if (!scheme || len < scheme + 4 || memcmp(colon, "://", 3) != 0)
		return false;
	for (size_t i = 0; i < scheme; i++)
		if (!isalnum((unsigned char)item[i]) && !strchr("+-.", item[i]))
			return false;
	for (size_t i = scheme + 3; i < len; i++)
		if (item[i] <= ' ' || item[i] > '~' || strchr("/?#@\\*", item[i]))
			return false;
	return true;
}

cs_status origins_check(const char *list, struct cs_error *err)
{
	const char *at = *list ? list : NULL, *item;
	size_t len;

	while ((item = next_item(&at, &len)) != NULL)
		if (!(len == 1 && *item == '*') && !is_origin(item, len))
			return cs_fail(err, CS_ERR_CONFIG,
				       "\"allow_origins\" must list origins such as "
				       "https://desk.clinic.example, without a path, or *");
	return CS_OK;
}

bool origins_have(const char *list, const char *origin)
{
	const char *at = *list ? list : NULL, *item;
	size_t len;

	while ((item = next_item(&at, &len)) != NULL)
		if ((len == 1 && *item == '*') ||
		    (len == strlen(origin) && strncasecmp(item, origin, len) == 0))
			return true;
	return false;
}
