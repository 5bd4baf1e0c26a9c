/*
 * What a message of the feed says, read once.
 *
 * The relay sends the same bytes to every device, so the generator keeps the
 * last messages with what it read in them, and for all further devices only
 * compares bytes. A change is known by its row's column
 * "mark":"<sequence number>:<ns when it was sent>:<padding>"; the bare loop's
 * messages carry the same mark and no envelope.
 */
#ifndef BENCH_MESSAGES_H
#define BENCH_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CURSOR_BYTES 65

enum message_kind {
	MESSAGE_OTHER, /* of a type that means nothing here */
	MESSAGE_CONNECTED,
	MESSAGE_READY,
	MESSAGE_RESYNC,
	MESSAGE_FRAME,
	MESSAGE_HEARTBEAT,
	MESSAGE_LAGGED,
	MESSAGE_DIGEST, /* the last of what request_digest asked for */
	MESSAGE_DIGEST_FAILED,
	MESSAGE_UNAVAILABLE, /* the relay waits for its database; the link stays */
	MESSAGE_ERROR,
	MESSAGE_BARE, /* of the bare loop */
	MESSAGE_BROKEN
};

struct change {
	uint64_t seq;
	int64_t sent_ns;
};

struct message {
	char *bytes;
	size_t len;
	size_t cap;
	enum message_kind kind;
	char from[CURSOR_BYTES];
	char to[CURSOR_BYTES];
	bool first_part; /* of a batch in parts, or a whole frame */
	bool last_part;
	int64_t spread_ms; /* connected: over how long to spread a reconnect */
	struct change *changes;
	size_t change_count;
	size_t change_cap;
};

#define MESSAGES_KEPT 64

struct messages {
	struct message kept[MESSAGES_KEPT];
};

/* What these bytes say; good until the next call. Ends the program without memory. */
const struct message *messages_read(struct messages *m, const char *bytes, size_t len);

#endif
