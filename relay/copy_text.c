/*
 * COPY text format; see copy_text.h.
 *
 * A field without a backslash, which is nearly every one, is not copied at
 * all: memchr() finds both the end of the field and that it is plain.
 */
#include "copy_text.h"

#include <string.h>

static char unescape(char c)
{
	switch (c) {
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case 'v':
		return '\v';
	default:
		return c;
	}
}

/* Undo the escapes of one field; false: it ends in the middle of one. */
static int unescape_field(struct copy_field *f, char *first_backslash)
{
	char *end = f->text + f->len;
	char *to = first_backslash;

	if (f->len == 2 && f->text[1] == 'N') {
		f->text = NULL;
		f->len = 0;
		return 1;
	}
	for (char *from = first_backslash; from < end; from++) {
		if (*from == '\\') {
			if (++from == end)
				return 0;
			*to++ = unescape(*from);
		} else {
			*to++ = *from;
		}
	}
	f->len = (size_t)(to - f->text);
	return 1;
}

int copy_text_split(char *row, size_t len, struct copy_field *fields, int most)
{
	char *at = row;
	char *end = row + len;
	int count = 0;

	if (len > 0 && end[-1] == '\n')
		end--;
	for (;;) {
		char *tab = memchr(at, '\t', (size_t)(end - at));
		char *stop = tab ? tab : end;
		char *backslash;

		if (count == most)
			return -1;
		fields[count].text = at;
		fields[count].len = (size_t)(stop - at);
		backslash = memchr(at, '\\', fields[count].len);
		if (backslash && !unescape_field(&fields[count], backslash))
			return -1;
		count++;
		if (!tab)
			return count;
		at = tab + 1;
	}
}
