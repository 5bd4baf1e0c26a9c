/* Bounded growing buffer; see dynbuf.h. */
#include "dynbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DYNBUF_FIRST_BYTES 256

void dynbuf_init(struct dynbuf *b, size_t max_bytes)
{
	memset(b, 0, sizeof(*b));
	b->max_bytes = max_bytes;
}

void dynbuf_free(struct dynbuf *b)
{
	free(b->data);
	dynbuf_init(b, b->max_bytes);
}

void dynbuf_reset(struct dynbuf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

/* Make room for len more bytes and the NUL. */
static bool reserve(struct dynbuf *b, size_t len)
{
	size_t cap = b->cap ? b->cap : DYNBUF_FIRST_BYTES;
	char *data;

	if (b->failed || len > b->max_bytes || b->len > b->max_bytes - len) {
		b->failed = true;
		return false;
	}
	while (cap < b->len + len + 1)
		cap *= 2;
	if (cap == b->cap)
		return true;
	data = realloc(b->data, cap);
	if (!data) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

bool dynbuf_add(struct dynbuf *b, const void *bytes, size_t len)
{
	if (!reserve(b, len))
		return false;
	if (len)
		memcpy(b->data + b->len, bytes, len);
	b->len += len;
	b->data[b->len] = '\0';
	return true;
}

char *dynbuf_extend(struct dynbuf *b, size_t len)
{
	char *room;

	if (!reserve(b, len))
		return NULL;
	room = b->data + b->len;
	b->len += len;
	b->data[b->len] = '\0';
	return room;
}

bool dynbuf_adds(struct dynbuf *b, const char *text)
{
	return dynbuf_add(b, text, strlen(text));
}

bool dynbuf_addf(struct dynbuf *b, const char *fmt, ...)
{
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (len < 0 || !reserve(b, (size_t)len)) {
		b->failed = true;
		return false;
	}
	va_start(args, fmt);
	vsnprintf(b->data + b->len, (size_t)len + 1, fmt, args);
	va_end(args);
	b->len += (size_t)len;
	return true;
}

bool dynbuf_add_json(struct dynbuf *b, const char *text, size_t len)
{
	static const char short_escapes[] = "btn\0fr";
	size_t from = 0;

	dynbuf_add(b, "\"", 1);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		dynbuf_add(b, text + from, i - from);
		from = i + 1;
		if (c == '"' || c == '\\')
			dynbuf_addf(b, "\\%c", c);
		else if (c >= 8 && c <= 13 && short_escapes[c - 8])
			dynbuf_addf(b, "\\%c", short_escapes[c - 8]);
		else
			dynbuf_addf(b, "\\u%04x", c);
	}
	dynbuf_add(b, text + from, len - from);
	return dynbuf_add(b, "\"", 1);
}
