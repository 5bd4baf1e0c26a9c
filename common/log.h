/*
 * One line = one event: time, level, message, to stderr (or a chosen stream).
 *
 * Callers never pass row data or secrets.  Text from a peer goes through %s
 * of log_quote(), which makes control characters visible (no forged lines).
 */
#ifndef CLINIC_SYNC_LOG_H
#define CLINIC_SYNC_LOG_H

#include <stdbool.h>
#include <stdio.h>

#include "status.h"

typedef enum { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR } log_level;

void log_set_level(log_level level);
void log_set_stream(FILE *stream);
/* "debug", "info", "warning" or "error"; false for anything else. */
bool log_parse_level(const char *name, log_level *out);

void log_write(log_level level, const char *fmt, ...) CS_PRINTF(2, 3);
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)

/* Copy text into out (size bytes), control characters as \xNN, cut with "..." ; returns out. */
const char *log_quote(const char *text, char *out, size_t size);

#endif
