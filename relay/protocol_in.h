/* What devices send: bytes of the network to checked structs.  docs/protocol.md, "device -> relay".
 * Pure. */
#ifndef CLINIC_RELAY_PROTOCOL_IN_H
#define CLINIC_RELAY_PROTOCOL_IN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cursor.h"
#include "status.h"

#define DEVICE_ID_BYTES 65
#define DEVICE_TEXT_BYTES (128 * 4 + 1) /* 128 characters of UTF-8 */
#define TABLES_MOST 1000

typedef enum {
	IN_CLIENT_INFO,
	IN_REQUEST_SYNC,
	IN_REQUEST_DIGEST,
	IN_REQUEST_TABLE_SYNC,
	IN_REQUEST_FULL_SYNC,
} in_type;

struct in_client_info {
	char device_id[DEVICE_ID_BYTES];
	char name[DEVICE_TEXT_BYTES];
	char app_version[DEVICE_TEXT_BYTES];
	char access_code[256]; /* "" when the message has none */
	int64_t sync_request;  /* -1: not said */
};

typedef enum { IN_CURSOR_NONE, IN_CURSOR_BAD, IN_CURSOR_GOOD } in_cursor_state;

struct in_request_sync {
	in_cursor_state cursor_state;
	struct cursor cursor;
	char **tables; /* no duplicates; NULL: all */
	size_t table_count;
};

/* What a device holds of one table, and which delivered columns its table lacks. */
struct in_held {
	char *table;
	bool counted; /* rows was said */
	uint64_t rows;
	char *skip; /* JSON array of names in byte order, no duplicates; NULL: none */
};

struct in_request_digest {
	bool whole; /* scope "tables" */
	struct cursor cursor;
	char **tables; /* no duplicates; NULL: those of request_sync */
	size_t table_count;
	struct in_held *held; /* in byte order of the tables, no duplicates */
	size_t held_count;
	uint64_t rows; /* of all tables */
	bool proven;
	uint64_t repairs, parked;
};

struct in_request_table_sync {
	char *table;
	int64_t id; /* the device's own; 0: not said */
};

struct in_request_full_sync {
	char **tables; /* no duplicates; NULL: all */
	size_t table_count;
	struct cursor min; /* batch 0: any */
	int64_t id;
};

struct in_message {
	in_type type;
	struct in_client_info client_info;
	struct in_request_sync request_sync;
	struct in_request_digest request_digest;
	struct in_request_table_sync request_table_sync;
	struct in_request_full_sync request_full_sync;
};

/* On failure err says what is wrong, without quoting values.  On success free with in_message_free.
 */
cs_status protocol_in_parse(const char *text, size_t len, struct in_message *out,
			    struct cs_error *err) CS_CHECKED;
void in_message_free(struct in_message *m);
void in_request_free(struct in_request_sync *r);
void in_digest_free(struct in_request_digest *r);
void in_names_free(char ***names, size_t *count);

/* ---- between protocol_in.c and protocol_in_digest.c ------------------------------ */

/* A list of table names, or null for none; duplicates are dropped. */
cs_status in_parse_tables(const json_t *tables, char ***names, size_t *count,
			  struct cs_error *err) CS_CHECKED;
/* An optional whole number from 0 to most; absent or null leaves *out as it is. */
cs_status in_parse_number(const json_t *message, const char *key, int64_t most, int64_t *out,
			  struct cs_error *err) CS_CHECKED;
/* A cursor, required or else left as it is when absent or null. */
cs_status in_parse_cursor(const json_t *message, const char *key, bool required, struct cursor *out,
			  struct cs_error *err) CS_CHECKED;
/* The name of a column, of a table. */
bool in_is_name(const json_t *name);
bool in_is_table_name(const json_t *name);
cs_status in_parse_digest(const json_t *message, struct in_request_digest *out,
			  struct cs_error *err) CS_CHECKED;

#endif
