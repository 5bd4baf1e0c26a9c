/*
 * Cursors come from devices and from files. Whatever is taken for one must be
 * exactly the text that cursor_format() writes, so that a cursor has one
 * spelling only.
 */
#include "cursor.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor cursor;
	char text[CURSOR_TEXT_BYTES];

	if (cursor_parse((const char *)data, size, &cursor)) {
		cursor_format(&cursor, text);
		if (strlen(text) != size || memcmp(text, data, size) != 0)
			abort();
	}
	return 0;
}
