/* The clinic's access code.  Compared in constant time, never logged. */
#ifndef CLINIC_RELAY_AUTH_H
#define CLINIC_RELAY_AUTH_H

#include <stdbool.h>

/* Is `code` the expected one?  An empty expected code matches nothing. */
bool auth_code_good(const char *expected, const char *code);
/* The value of an Authorization header: "Bearer <code>" with the expected code. */
bool auth_header_good(const char *expected, const char *header);

#endif
