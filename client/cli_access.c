/* The access code; see cli_access.h. */
#include "cli_access.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

static bool memory_path(const char *db, char *out, size_t size)
{
	return snprintf(out, size, "%s.clinic-access", db) < (int)size;
}

static bool read_remembered(const char *db, char *out, size_t size)
{
	char path[4096];
	FILE *f;
	bool found;

	if (!db || !memory_path(db, path, sizeof(path)))
		return false;
	f = fopen(path, "re");
	if (!f)
		return false;
	found = fgets(out, (int)size, f) != NULL;
	out[found ? strcspn(out, "\n") : 0] = '\0';
	fclose(f);
	return found && out[0] == '/';
}

static bool find_path(const struct cli_options *options, struct cli_access *out)
{
	const char *named = options->access_code_file;

	if (!named)
		named = getenv("CLINIC_ACCESS_CODE_FILE");
	if (named && named[0])
		return snprintf(out->path, sizeof(out->path), "%s", named) < (int)sizeof(out->path);
	return read_remembered(options->db, out->path, sizeof(out->path));
}

/* One line of printable ASCII: it travels in a header. */
static cs_status check_code(char *code, struct cs_error *err)
{
	size_t len = strcspn(code, "\r\n");

	if (code[len] && strspn(code + len, "\r\n") != strlen(code + len))
		return cs_fail(err, CS_ERR_CONFIG, "the access code file has more than one line");
	code[len] = '\0';
	if (len == 0)
		return cs_fail(err, CS_ERR_CONFIG, "the access code file is empty");
	for (size_t i = 0; i < len; i++) {
		if (code[i] <= ' ' || code[i] > '~')
			return cs_fail(
				err, CS_ERR_CONFIG,
				"the access code holds a character that is not printable ASCII");
	}
	return CS_OK;
}

static cs_status read_code(struct cli_access *out, struct cs_error *err)
{
	int fd = open(out->path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t len;

	if (fd < 0 || fstat(fd, &st) < 0) {
		cs_fail(err, CS_ERR_CONFIG, "cannot read the access code file %s: %s", out->path,
			strerror(errno));
		goto fail;
	}
	if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode)) {
		cs_fail(err, CS_ERR_CONFIG, "the access code file %s is not a file", out->path);
		goto fail;
	}
	if (st.st_mode & S_IROTH)
		log_warning("the access code file can be read by everybody; chmod 600 is better");
	len = read(fd, out->code, sizeof(out->code));
	if (len < 0 || len == (ssize_t)sizeof(out->code) || memchr(out->code, '\0', (size_t)len)) {
		cs_fail(err, CS_ERR_CONFIG, "the access code file %s is too long or not text",
			out->path);
		goto fail;
	}
	out->code[len] = '\0';
	close(fd);
	return check_code(out->code, err);
fail:
	if (fd >= 0)
		close(fd);
	return CS_ERR_CONFIG;
}

cs_status cli_access_load(const struct cli_options *options, struct cli_access *out,
			  struct cs_error *err)
{
	memset(out, 0, sizeof(*out));
	if (!find_path(options, out))
		return cs_fail(err, CS_ERR_CONFIG,
			       "no access code: name its file with --access-code-file or "
			       "CLINIC_ACCESS_CODE_FILE");
	return read_code(out, err);
}

void cli_access_remember(const struct cli_access *access, const char *db)
{
	char path[4096];
	char *absolute = realpath(access->path, NULL);
	int fd = -1;

	if (!absolute || strchr(absolute, '\n') || !memory_path(db, path, sizeof(path)))
		goto done;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || dprintf(fd, "%s\n", absolute) < 0)
		log_warning("cannot remember where the access code is: %s", strerror(errno));
done:
	if (fd >= 0)
		close(fd);
	free(absolute);
}

void cli_access_forget(struct cli_access *access)
{
	explicit_bzero(access->code, sizeof(access->code));
}
