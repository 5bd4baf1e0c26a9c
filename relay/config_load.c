/*
 * Loading a configuration: the file, the secrets it names, and what no single
 * option can say; see config.h.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_file.h"
#include "origins.h"
#include "upstream.h"

#define CONFIG_MOST_BYTES (1024 * 1024)
#define ACCESS_CODE_GOOD_CHARS 16

static bool is_loopback(const char *address)
{
	return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

static cs_status check_address(const struct config *c, struct cs_error *err)
{
	unsigned char bytes[sizeof(struct in6_addr)];

	if (inet_pton(AF_INET, c->listen_address, bytes) != 1 &&
	    inet_pton(AF_INET6, c->listen_address, bytes) != 1)
		return cs_fail(err, CS_ERR_CONFIG,
			       "\"listen_address\" must be an IP address, such as 127.0.0.1");
	if (!is_loopback(c->listen_address) && !c->allow_plaintext)
		return cs_fail(err, CS_ERR_CONFIG,
			       "\"listen_address\" %s would carry patient data unencrypted; "
			       "set allow_plaintext = yes if that network is yours alone",
			       c->listen_address);
	return CS_OK;
}

cs_status config_validate(const struct config *c, struct cs_error *err)
{
	if (!c->dsn[0] && !c->dsn_file[0])
		return cs_fail(err, CS_ERR_CONFIG, "\"dsn\" or \"dsn_file\" is missing");
	if (c->dsn[0] && c->dsn_file[0])
		return cs_fail(err, CS_ERR_CONFIG, "\"dsn\" and \"dsn_file\" exclude each other");
	if (!c->access_code_file[0])
		return cs_fail(err, CS_ERR_CONFIG, "\"access_code_file\" is missing");
	if (!c->relay_name[0])
		return cs_fail(err, CS_ERR_CONFIG, "\"relay_name\" is empty");
	if (c->dead_after_s <= c->ping_interval_s)
		return cs_fail(err, CS_ERR_CONFIG,
			       "\"dead_after_s\" must be more than \"ping_interval_s\"");
	if (c->ring_bytes < c->max_frame_bytes || c->device_queue_bytes < c->max_frame_bytes)
		return cs_fail(err, CS_ERR_CONFIG,
			       "\"ring_bytes\" and \"device_queue_bytes\" must not be less than "
			       "\"max_frame_bytes\"");
	if (origins_check(c->allow_origins, err) != CS_OK)
		return CS_ERR_CONFIG;
	return check_address(c, err);
}

struct loading {
	struct config *config;
	const char *path;
	int lines[CONFIG_OPTIONS_MOST]; /* where each option was set; 0: not yet */
};

static cs_status on_setting(void *ctx, const char *key, const char *value, int line,
			    struct cs_error *err)
{
	struct loading *l = ctx;
	struct cs_error inner = {0};
	int option = config_find(key);

	if (option >= 0 && l->lines[option])
		return cs_fail(err, CS_ERR_CONFIG, "%s:%d: \"%s\" is set twice, first in line %d",
			       l->path, line, key, l->lines[option]);
	if (config_set(l->config, key, value, &inner) != CS_OK)
		return cs_fail(err, CS_ERR_CONFIG, "%s:%d: %s", l->path, line, inner.text);
	l->lines[option] = line;
	return CS_OK;
}

/* The one line of a secret file, without its newline. */
static cs_status read_secret(const char *path, char *out, size_t size, struct cs_error *err)
{
	struct dynbuf text;
	cs_status status;

	dynbuf_init(&text, CONFIG_MOST_BYTES);
	status = config_file_read(path, true, &text, err);
	if (status != CS_OK)
		goto done;
	while (text.len && strchr("\r\n", text.data[text.len - 1]))
		text.len--;
	status = CS_ERR_CONFIG;
	if (!text.len)
		cs_fail(err, status, "%s: is empty", path);
	else if (text.len >= size)
		cs_fail(err, status, "%s: longer than %zu bytes", path, size - 1);
	else if (memchr(text.data, '\n', text.len) || memchr(text.data, '\0', text.len))
		cs_fail(err, status, "%s: must be one line", path);
	else
		status = CS_OK;
	if (status == CS_OK) {
		memset(out, 0, size);
		memcpy(out, text.data, text.len);
	}
done:
	if (text.data)
		explicit_bzero(text.data, text.cap);
	dynbuf_free(&text);
	return status;
}

static cs_status read_secrets(struct config *c, struct cs_error *err)
{
	cs_status status;

	if (c->dsn_file[0]) {
		status = read_secret(c->dsn_file, c->dsn, sizeof(c->dsn), err);
		if (status != CS_OK)
			return status;
	}
	if (!c->access_code_file[0])
		return CS_OK;
	status = read_secret(c->access_code_file, c->access_code, sizeof(c->access_code), err);
	if (status != CS_OK)
		return status;
	for (const char *p = c->access_code; *p; p++) {
		if (*p <= ' ' || *p > '~')
			return cs_fail(err, CS_ERR_CONFIG,
				       "%s: only visible ASCII characters, they travel in a header",
				       c->access_code_file);
	}
	if (strlen(c->access_code) < ACCESS_CODE_GOOD_CHARS)
		log_warning("%s: an access code of fewer than %d characters can be guessed",
			    c->access_code_file, ACCESS_CODE_GOOD_CHARS);
	return CS_OK;
}

/* A password in the file itself makes the file a secret. */
static cs_status check_dsn(const struct config *c, const char *path, struct cs_error *err)
{
	bool has_password;
	struct stat st;
	cs_status status = upstream_check_dsn(c->dsn, &has_password, err);

	if (status != CS_OK || !has_password || c->dsn_file[0])
		return status;
	if (stat(path, &st) < 0 || (st.st_mode & S_IRWXO))
		return cs_fail(err, CS_ERR_CONFIG,
			       "%s: \"dsn\" holds a password and the file is open to everybody; "
			       "chmod 600 it or use dsn_file",
			       path);
	return CS_OK;
}

static cs_status check_snapshot_dir(const struct config *c, struct cs_error *err)
{
	if (mkdir(c->snapshot_dir, 0700) < 0 && errno != EEXIST)
		return cs_fail(err, CS_ERR_CONFIG, "\"snapshot_dir\" %s: %s", c->snapshot_dir,
			       strerror(errno));
	if (access(c->snapshot_dir, R_OK | W_OK | X_OK) < 0)
		return cs_fail(err, CS_ERR_CONFIG, "\"snapshot_dir\" %s: %s", c->snapshot_dir,
			       strerror(errno));
	return CS_OK;
}

cs_status config_load(const char *path, struct config *out, struct cs_error *err)
{
	struct loading loading = {.config = out, .path = path};
	struct cs_error inner = {0};
	struct dynbuf text;
	cs_status status;

	config_defaults(out);
	dynbuf_init(&text, CONFIG_MOST_BYTES);
	status = config_file_read(path, false, &text, err);
	if (status == CS_OK)
		status = config_file_parse(text.data, text.len, path, on_setting, &loading, err);
	dynbuf_free(&text);
	if (status != CS_OK)
		return status;
	status = config_validate(out, &inner);
	if (status == CS_OK)
		status = read_secrets(out, &inner);
	if (status == CS_OK)
		status = check_dsn(out, path, &inner);
	if (status == CS_OK)
		status = check_snapshot_dir(out, &inner);
	if (status != CS_OK && strncmp(inner.text, path, strlen(path)) == 0)
		return cs_fail(err, status, "%s", inner.text);
	if (status != CS_OK)
		return cs_fail(err, status, "%s: %s", path, inner.text);
	return CS_OK;
}
