/* Rows of COPY ... TO STDOUT in text format, taken apart in place.  Pure. */
#ifndef CLINIC_RELAY_COPY_TEXT_H
#define CLINIC_RELAY_COPY_TEXT_H

#include <stddef.h>

struct copy_field {
	char *text; /* NULL: SQL NULL; not NUL-terminated */
	size_t len;
};

/*
 * Split a row (its newline included or not) into fields, undoing the escapes in
 * place.  Returns their number, or -1 if there are more than most or an escape
 * is cut off.
 */
int copy_text_split(char *row, size_t len, struct copy_field *fields, int most);

#endif
