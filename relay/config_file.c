/*
 * Reading and splitting a configuration file; see config_file.h.
 *
 * Every complaint names file and line and none quotes the line: it might hold
 * a password that slipped into the wrong place.
 */
#include "config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MOST_BYTES 8192
#define KEY_MOST_BYTES 64

static cs_status check_file(int fd, const char *path, bool secret, size_t max_bytes,
			    struct cs_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return cs_fail(err, CS_ERR_CONFIG, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return cs_fail(err, CS_ERR_CONFIG, "%s: not a regular file", path);
	if ((size_t)st.st_size > max_bytes)
		return cs_fail(err, CS_ERR_CONFIG, "%s: larger than %zu bytes", path, max_bytes);
	if (secret && (st.st_mode & S_IRWXO))
		return cs_fail(err, CS_ERR_CONFIG,
			       "%s: holds a secret and is open to everybody (mode %03o); "
			       "chmod 600 it",
			       path, (unsigned)st.st_mode & 0777);
	return CS_OK;
}

cs_status config_file_read(const char *path, bool secret, struct dynbuf *out, struct cs_error *err)
{
	cs_status status;
	char chunk[4096];
	ssize_t got;
	/* O_NONBLOCK: a named pipe must not hang us before fstat() can refuse it */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return cs_fail(err, CS_ERR_CONFIG, "%s: %s", path, strerror(errno));
	status = check_file(fd, path, secret, out->max_bytes, err);
	if (status != CS_OK)
		goto done;
	while ((got = read(fd, chunk, sizeof(chunk))) > 0) {
		if (!dynbuf_add(out, chunk, (size_t)got)) {
			status = cs_fail(err, CS_ERR_CONFIG, "%s: larger than %zu bytes", path,
					 out->max_bytes);
			goto done;
		}
	}
	if (got < 0)
		status = cs_fail(err, CS_ERR_CONFIG, "%s: %s", path, strerror(errno));
done:
	close(fd);
	return status;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Cut blanks off both ends; returns the start and moves *end. */
static const char *trim(const char *start, const char **end)
{
	while (start < *end && is_blank(*start))
		start++;
	while (*end > start && is_blank((*end)[-1]))
		(*end)--;
	return start;
}

static bool copy_text(char *out, size_t size, const char *start, const char *end)
{
	size_t len = (size_t)(end - start);

	if (len >= size)
		return false;
	memcpy(out, start, len);
	out[len] = '\0';
	return true;
}

static cs_status parse_line(const char *start, const char *end, const char *name, int line,
			    config_setting_fn on_setting, void *ctx, struct cs_error *err)
{
	char key[KEY_MOST_BYTES];
	char value[LINE_MOST_BYTES];
	const char *equals, *key_end;

	start = trim(start, &end);
	if (start == end || *start == '#')
		return CS_OK;
	for (const char *c = start; c < end; c++) {
		unsigned char byte = (unsigned char)*c;

		if ((byte < 0x20 && byte != '\t') || byte == 0x7f)
			return cs_fail(err, CS_ERR_CONFIG, "%s:%d: control character", name, line);
	}
	equals = memchr(start, '=', (size_t)(end - start));
	if (!equals)
		return cs_fail(err, CS_ERR_CONFIG, "%s:%d: expected key = value", name, line);
	key_end = equals;
	start = trim(start, &key_end);
	if (start == key_end || !copy_text(key, sizeof(key), start, key_end))
		return cs_fail(err, CS_ERR_CONFIG, "%s:%d: no such option", name, line);
	start = trim(equals + 1, &end);
	if (!copy_text(value, sizeof(value), start, end))
		return cs_fail(err, CS_ERR_CONFIG, "%s:%d: line longer than %d bytes", name, line,
			       LINE_MOST_BYTES);
	return on_setting(ctx, key, value, line, err);
}

cs_status config_file_parse(const char *text, size_t len, const char *name,
			    config_setting_fn on_setting, void *ctx, struct cs_error *err)
{
	static const char byte_order_mark[] = "\xef\xbb\xbf";
	const char *at = text;
	const char *end = text + len;

	if (len >= 3 && memcmp(at, byte_order_mark, 3) == 0)
		at += 3;
	for (int line = 1; at < end; line++) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *line_end = newline ? newline : end;
		const char *next = newline ? newline + 1 : end;
		cs_status status;

		if (line_end > at && line_end[-1] == '\r')
			line_end--;
		status = parse_line(at, line_end, name, line, on_setting, ctx, err);
		if (status != CS_OK)
			return status;
		at = next;
	}
	return CS_OK;
}
