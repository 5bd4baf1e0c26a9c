/* What devices send: bytes of the network to checked structs.  docs/protocol.md, "device -> relay".
 * Pure. */
#ifndef CLINIC_RELAY_PROTOCOL_IN_H
#define CLINIC_RELAY_PROTOCOL_IN_H

#include <stdbool.h>
#include <stddef.h>

#include "cursor.h"
#include "status.h"

#define DEVICE_ID_BYTES 65
#define DEVICE_TEXT_BYTES (128 * 4 + 1) /* 128 characters of UTF-8 */
#define TABLES_MOST 1000

typedef enum { IN_CLIENT_INFO, IN_REQUEST_SYNC } in_type;

struct in_client_info {
	char device_id[DEVICE_ID_BYTES];
	char name[DEVICE_TEXT_BYTES];
	char app_version[DEVICE_TEXT_BYTES];
	char access_code[256]; /* "" when the message has none */
};

typedef enum { IN_CURSOR_NONE, IN_CURSOR_BAD, IN_CURSOR_GOOD } in_cursor_state;

struct in_request_sync {
	in_cursor_state cursor_state;
	struct cursor cursor;
	char **tables; /* no duplicates; NULL: all */
	size_t table_count;
};

struct in_message {
	in_type type;
	struct in_client_info client_info;
	struct in_request_sync request_sync;
};

/* On failure err says what is wrong, without quoting values.  On success free with in_message_free.
 */
cs_status protocol_in_parse(const char *text, size_t len, struct in_message *out,
			    struct cs_error *err) CS_CHECKED;
void in_message_free(struct in_message *m);
void in_request_free(struct in_request_sync *r);

#endif
