/* WebSocket framing; see wire.h. */
#include "wire.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

int wire_parse(char *bytes, size_t len, struct wire_frame *out)
{
	unsigned char *b = (unsigned char *)bytes;
	size_t header = 2;
	uint64_t payload;

	if (len < header)
		return 0;
	if ((b[0] & 0x70) || (b[1] & 0x80))
		return -1; /* an extension nobody offered, or a mask */
	payload = b[1] & 0x7f;
	if (payload >= 126) {
		size_t extra = payload == 126 ? 2 : 8;

		header += extra;
		if (len < header)
			return 0;
		payload = 0;
		for (size_t i = 2; i < header; i++)
			payload = payload << 8 | b[i];
	}
	if (payload > SIZE_MAX / 2)
		return -1;
	out->opcode = b[0] & 0x0f;
	out->final = b[0] & 0x80;
	out->payload = bytes + header;
	out->len = (size_t)payload;
	out->whole = header + out->len;
	return len >= out->whole;
}

static size_t put_header(char *out, unsigned opcode, size_t len, unsigned mask_bit)
{
	size_t bytes = len < 126 ? 0 : len <= UINT16_MAX ? 2 : 8;

	out[0] = (char)(0x80 | opcode);
	out[1] = (char)(mask_bit | (bytes == 0 ? len : bytes == 2 ? 126 : 127));
	for (size_t i = 0; i < bytes; i++)
		out[2 + i] = (char)((uint64_t)len >> 8 * (bytes - 1 - i));
	return 2 + bytes;
}

size_t wire_pack(char *out, unsigned opcode, const char *payload, size_t len)
{
	size_t header = put_header(out, opcode, len, 0x80);

	/* the mask protects proxies, of which there are none here: four zeros change nothing */
	memset(out + header, 0, 4);
	memcpy(out + header + 4, payload, len);
	return header + 4 + len;
}

size_t wire_pack_server(char *out, const char *payload, size_t len)
{
	size_t header = put_header(out, WIRE_TEXT, len, 0);

	memcpy(out + header, payload, len);
	return header + len;
}

size_t wire_upgrade(char *out, size_t size, int port, const char *access_code)
{
	int len = snprintf(out, size,
			   "GET /ws HTTP/1.1\r\n"
			   "Host: 127.0.0.1:%d\r\n"
			   "Connection: Upgrade\r\n"
			   "Upgrade: websocket\r\n"
			   "Sec-WebSocket-Version: 13\r\n"
			   "Sec-WebSocket-Key: YmVuY2ggZGV2aWNlIGxvYWQ=\r\n"
			   "Sec-WebSocket-Protocol: clinic-sync.v1\r\n"
			   "Authorization: Bearer %s\r\n\r\n",
			   port, access_code);

	return len > 0 && (size_t)len < size ? (size_t)len : 0;
}

int wire_upgraded(const char *bytes, size_t len)
{
	static const char good[] = "HTTP/1.1 101";
	const char *end = memmem(bytes, len, "\r\n\r\n", 4);

	if (!end)
		return len > 8192 ? -1 : 0;
	if (len < sizeof(good) - 1 || memcmp(bytes, good, sizeof(good) - 1) != 0)
		return -1;
	return (int)(end + 4 - bytes);
}
