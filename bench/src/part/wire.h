/*
 * As much WebSocket as a load generator needs: the upgrade request, frames in
 * both directions. No I/O.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#define WIRE_HEADER_MOST 14

enum wire_opcode { WIRE_MORE = 0, WIRE_TEXT = 1, WIRE_CLOSE = 8, WIRE_PING = 9, WIRE_PONG = 10 };

struct wire_frame {
	unsigned opcode;
	bool final; /* the message ends here */
	char *payload;
	size_t len;
	size_t whole; /* header and payload */
};

/* 1: a frame; 0: it needs more bytes; -1: a server does not send this. */
int wire_parse(char *bytes, size_t len, struct wire_frame *out);
/* A client's frame, masked; out has room for WIRE_HEADER_MOST + len. Bytes written. */
size_t wire_pack(char *out, unsigned opcode, const char *payload, size_t len);
/* A server's text frame. */
size_t wire_pack_server(char *out, const char *payload, size_t len);
/* The upgrade request for port; bytes written, 0 when it does not fit. */
size_t wire_upgrade(char *out, size_t size, int port, const char *access_code);
/* Bytes of the answer's head; 0: not yet whole; -1: not an upgrade. */
int wire_upgraded(const char *bytes, size_t len);

#endif
