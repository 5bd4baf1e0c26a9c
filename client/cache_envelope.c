/*
 * What a message says of itself, without its changes or rows.
 *
 * The parts of a giant batch are parsed when they are applied, the pieces of a
 * table when they are staged; until then only their other keys matter.  So the
 * list is
 * stepped over, which is many times faster than parsing it, and the rest is
 * parsed with an empty list in its place.  Nothing is judged here: what is
 * odd in any way is left to the parser.
 */
#include "cache_internal.h"

#include <stdlib.h>
#include <string.h>

struct text {
	const char *bytes;
	size_t len;
};

/* Each step returns where it ended; len when the text ended first. */
static size_t skip_space(const struct text *t, size_t at)
{
	while (at < t->len && (t->bytes[at] == ' ' || t->bytes[at] == '\t' ||
			       t->bytes[at] == '\n' || t->bytes[at] == '\r'))
		at++;
	return at;
}

/* at is on the opening quote. */
static size_t skip_string(const struct text *t, size_t at)
{
	for (at++; at < t->len; at++) {
		if (t->bytes[at] == '\\')
			at++;
		else if (t->bytes[at] == '"')
			return at + 1;
	}
	return t->len;
}

static size_t skip_value(const struct text *t, size_t at)
{
	size_t depth = 0;

	while (at < t->len) {
		switch (t->bytes[at]) {
		case '"':
			at = skip_string(t, at);
			if (depth == 0)
				return at;
			continue;
		case '{':
		case '[':
			depth++;
			break;
		case '}':
		case ']':
			if (depth <= 1)
				return depth ? at + 1 : at;
			depth--;
			break;
		case ',':
			if (depth == 0)
				return at;
			break;
		default:
			break;
		}
		at++;
	}
	return t->len;
}

static bool is_at(const struct text *t, size_t at, char byte)
{
	return at < t->len && t->bytes[at] == byte;
}

static bool is_list(const char *key, size_t len)
{
	return (len == 9 && memcmp(key, "\"changes\"", 9) == 0) ||
	       (len == 6 && memcmp(key, "\"rows\"", 6) == 0);
}

/* Where the value of the key "changes" or "rows" begins and ends; false: there is no such list. */
static bool find_list(const struct text *t, size_t *begin, size_t *end)
{
	size_t at = skip_space(t, 0);

	if (!is_at(t, at, '{'))
		return false;
	do {
		size_t key = skip_space(t, at + 1);
		size_t key_end;

		if (!is_at(t, key, '"'))
			return false;
		key_end = skip_string(t, key);
		at = skip_space(t, key_end);
		if (!is_at(t, at, ':'))
			return false;
		*begin = skip_space(t, at + 1);
		*end = skip_value(t, *begin);
		if (is_list(t->bytes + key, key_end - key))
			return is_at(t, *begin, '[');
		at = skip_space(t, *end);
	} while (is_at(t, at, ','));
	return false;
}

json_t *envelope_parse(const void *bytes, size_t len)
{
	struct text t = {bytes, len};
	size_t begin, end;
	char *rest;
	json_t *envelope;

	if (!find_list(&t, &begin, &end))
		return NULL;
	rest = malloc(len - (end - begin) + 2);
	if (!rest)
		return NULL;
	memcpy(rest, t.bytes, begin);
	rest[begin] = '[';
	rest[begin + 1] = ']';
	memcpy(rest + begin + 2, t.bytes + end, len - end);
	envelope = json_loadb(rest, len - (end - begin) + 2, JSON_REJECT_DUPLICATES, NULL);
	free(rest);
	return envelope;
}
