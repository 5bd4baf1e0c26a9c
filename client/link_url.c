/* The relay's address; see link_url.h. */
#include "link_url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool copy_part(char *out, size_t size, const char *from, size_t len)
{
	if (len == 0 || len >= size)
		return false;
	memcpy(out, from, len);
	out[len] = '\0';
	return true;
}

/* Host names, IPv4 and (in brackets) IPv6 addresses use nothing else. */
static bool is_host(const char *host, bool bracketed)
{
	for (; *host; host++) {
		unsigned char c = (unsigned char)*host;

		if (!isalnum(c) && !strchr(bracketed ? ":." : ".-_", c))
			return false;
	}
	return true;
}

static bool is_path(const char *path)
{
	for (; *path; path++) {
		unsigned char c = (unsigned char)*path;

		if (c <= 0x20 || c >= 0x7f || c == '?' || c == '#')
			return false;
	}
	return true;
}

static bool parse_port(const char *from, size_t len, int *port)
{
	long value = 0;

	if (len == 0 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)from[i]))
			return false;
		value = value * 10 + (from[i] - '0');
	}
	*port = (int)value;
	return value >= 1 && value <= 65535;
}

/* "[::1]:8080" or "clinic.local:8080" */
static bool parse_authority(const char *from, size_t len, struct link_url *out)
{
	bool bracketed = len > 0 && from[0] == '[';
	const char *host_end = memchr(from, bracketed ? ']' : ':', len);
	const char *rest;

	if (bracketed && !host_end)
		return false;
	if (!host_end)
		host_end = from + len;
	rest = bracketed ? host_end + 1 : host_end;
	if (bracketed)
		from++, len--;
	if (!copy_part(out->host, sizeof(out->host), from, (size_t)(host_end - from)) ||
	    !is_host(out->host, bracketed))
		return false;
	len -= (size_t)(rest - from);
	out->port = LINK_URL_DEFAULT_PORT;
	if (len > 0 && (*rest != ':' || !parse_port(rest + 1, len - 1, &out->port)))
		return false;
	snprintf(out->host_header, sizeof(out->host_header), bracketed ? "[%s]:%d" : "%s:%d",
		 out->host, out->port);
	return true;
}

cs_status link_url_parse(const char *text, struct link_url *out, struct cs_error *err)
{
	static const char scheme[] = "ws://";
	const char *authority = text + sizeof(scheme) - 1;
	size_t len;

	memset(out, 0, sizeof(*out));
	if (strncmp(text, "wss://", 6) == 0)
		return cs_fail(err, CS_ERR_CONFIG, "wss urls are not supported by this version");
	if (strncmp(text, scheme, sizeof(scheme) - 1) != 0)
		return cs_fail(err, CS_ERR_CONFIG, "the url must begin with ws://");
	len = strcspn(authority, "/?#");
	if (memchr(authority, '@', len))
		return cs_fail(err, CS_ERR_CONFIG, "the url must not contain a user or password");
	if (!parse_authority(authority, len, out))
		return cs_fail(err, CS_ERR_CONFIG, "the url has no valid host and port");
	if (!copy_part(out->path, sizeof(out->path), authority + len, strlen(authority + len)) ||
	    out->path[0] != '/')
		return cs_fail(err, CS_ERR_CONFIG, "the url has no path, it should end in /ws");
	if (!is_path(out->path))
		return cs_fail(err, CS_ERR_CONFIG,
			       "the url's path must not contain a query, a fragment or blanks");
	return CS_OK;
}

bool link_url_add_escaped(struct dynbuf *b, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (isalnum(c) || strchr("-._~", c))
			dynbuf_add(b, text, 1);
		else
			dynbuf_addf(b, "%%%02X", c);
	}
	return !b->failed;
}
