/*
 * The relay's address: ws://HOST[:PORT]/PATH, taken apart.  Pure.
 *
 * Strict on purpose: no user, no password, no query and no fragment, because
 * a URL ends up in files, process lists and logs and so must hold no secret.
 */
#ifndef CLINIC_SYNC_LINK_URL_H
#define CLINIC_SYNC_LINK_URL_H

#include "dynbuf.h"
#include "status.h"

#define LINK_URL_DEFAULT_PORT 80

struct link_url {
	char host[256]; /* name or address, without the brackets of IPv6 */
	int port;
	char path[256];        /* begins with '/' */
	char host_header[272]; /* what goes into Host: and messages, HOST:PORT */
};

cs_status link_url_parse(const char *text, struct link_url *out, struct cs_error *err) CS_CHECKED;
/* Append text percent-encoded for use inside a query value. */
bool link_url_add_escaped(struct dynbuf *b, const char *text);

#endif
