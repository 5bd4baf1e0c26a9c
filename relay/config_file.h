/* The syntax of a configuration file and the safe reading of small files. */
#ifndef CLINIC_RELAY_CONFIG_FILE_H
#define CLINIC_RELAY_CONFIG_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "dynbuf.h"
#include "status.h"

/*
 * Read a whole regular file into out (its max_bytes bounds the size).  secret:
 * refuse a file that everybody on the machine may read.
 */
cs_status config_file_read(const char *path, bool secret, struct dynbuf *out,
			   struct cs_error *err) CS_CHECKED;

/* Called for each setting; key and value are NUL-terminated and trimmed. */
typedef cs_status (*config_setting_fn)(void *ctx, const char *key, const char *value, int line,
				       struct cs_error *err);

/*
 * Parse `key = value` lines.  A line whose first mark is # is a comment; the
 * value is the rest of the line.  name stands in front of errors.  Pure.
 */
cs_status config_file_parse(const char *text, size_t len, const char *name,
			    config_setting_fn on_setting, void *ctx,
			    struct cs_error *err) CS_CHECKED;

#endif
