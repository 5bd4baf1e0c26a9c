/* Log lines; see log.h. */
#include "log.h"

#include <stdarg.h>
#include <string.h>

#include "clock.h"

static log_level least = LOG_LEVEL_INFO;
static FILE *stream_out;

void log_set_level(log_level level)
{
	least = level;
}

void log_set_stream(FILE *stream)
{
	stream_out = stream;
}

static const char *const level_names[] = {"debug", "info", "warning", "error"};

bool log_parse_level(const char *name, log_level *out)
{
	for (int i = LOG_LEVEL_DEBUG; i <= LOG_LEVEL_ERROR; i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*out = (log_level)i;
			return true;
		}
	}
	return false;
}

void log_write(log_level level, const char *fmt, ...)
{
	FILE *out = stream_out ? stream_out : stderr;
	char stamp[CLOCK_TEXT_BYTES];
	char text[2048];
	va_list args;

	if (level < least)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	/* one write per line, so that lines of several processes do not mix */
	fprintf(out, "%s %s: %s\n", clock_utc_text(stamp), level_names[level], text);
	fflush(out);
}

const char *log_quote(const char *text, char *out, size_t size)
{
	size_t at = 0;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (at + 8 >= size) {
			at += (size_t)snprintf(out + at, size - at, "...");
			return out;
		}
		if (c < 0x20 || c == 0x7f)
			at += (size_t)snprintf(out + at, size - at, "\\x%02x", c);
		else
			out[at++] = (char)c;
	}
	out[at] = '\0';
	return out;
}
