/* The Range header; see http.h.  Whatever is not plainly a range we serve is the whole file. */
#include <string.h>

#include "http.h"

/* Digits at *at; false: none, or more than a file can have. */
static bool read_number(const char **at, uint64_t *out)
{
	const char *from = *at;

	*out = 0;
	for (; **at >= '0' && **at <= '9'; (*at)++) {
		if (*at - from >= 18)
			return false;
		*out = *out * 10 + (uint64_t)(**at - '0');
	}
	return *at > from;
}

range_result http_range(const char *range, const char *if_range, const char *etag, uint64_t size,
			uint64_t *from, uint64_t *to)
{
	if (strncmp(range, "bytes=", 6) != 0 || (if_range[0] && strcmp(if_range, etag) != 0))
		return RANGE_NONE;
	range += 6;
	if (!read_number(&range, from) || *range != '-')
		return RANGE_NONE;
	range++;
	*to = size ? size - 1 : 0;
	if (*range) {
		uint64_t last;

		if (!read_number(&range, &last) || *range || last < *from)
			return RANGE_NONE;
		if (last < *to)
			*to = last;
	}
	return *from < size ? RANGE_PART : RANGE_BAD;
}
