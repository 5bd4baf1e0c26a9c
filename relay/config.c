/*
 * The options of the relay; see config.h.
 *
 * options[] is the only list of them: parsing, defaults, limits, reload,
 * --show-config and the test that compares the manual page all read it.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "upstream.h"

enum option_kind { OPTION_TEXT, OPTION_INT, OPTION_BYTES, OPTION_BOOL, OPTION_LEVEL };

struct option {
	const char *name;
	enum option_kind kind;
	size_t at;   /* where in struct config */
	size_t size; /* OPTION_TEXT: room there */
	const char *fallback;
	int64_t min, max;
	bool restart; /* cannot change in a running relay */
};

#define AT(field) offsetof(struct config, field)
#define TEXT(field) OPTION_TEXT, AT(field), sizeof(((struct config *)0)->field)
#define KB INT64_C(1024)
#define MB (1024 * KB)
#define GB (1024 * MB)

/* In alphabetical order, the order --show-config prints. */
static const struct option options[] = {
	{"access_code_file", TEXT(access_code_file), "", 0, 0, false},
	{"admit_most", OPTION_INT, AT(admit_most), 0, "100", 1, 100000, false},
	{"allow_origins", TEXT(allow_origins), "", 0, 0, false},
	{"allow_plaintext", OPTION_BOOL, AT(allow_plaintext), 0, "no", 0, 0, true},
	{"catch_up_connections", OPTION_INT, AT(catch_up_connections), 0, "2", 1, 8, true},
	{"client_info_timeout_s", OPTION_INT, AT(client_info_timeout_s), 0, "10", 1, 300, false},
	{"connect_timeout_s", OPTION_INT, AT(connect_timeout_s), 0, "10", 1, 300, false},
	{"dead_after_s", OPTION_INT, AT(dead_after_s), 0, "35", 2, 3600, true},
	{"device_queue_bytes", OPTION_BYTES, AT(device_queue_bytes), 0, "8MB", 64 * KB, GB, false},
	{"dsn", TEXT(dsn), "", 0, 0, true},
	{"dsn_file", TEXT(dsn_file), "", 0, 0, true},
	{"job_timeout_s", OPTION_INT, AT(job_timeout_s), 0, "900", 1, 86400, false},
	{"listen_address", TEXT(listen_address), "127.0.0.1", 0, 0, true},
	{"listen_share", OPTION_BOOL, AT(listen_share), 0, "no", 0, 0, true},
	{"log_level", OPTION_LEVEL, AT(log_level), 0, "info", 0, 0, false},
	{"max_devices", OPTION_INT, AT(max_devices), 0, "1000", 1, 100000, false},
	{"max_frame_bytes", OPTION_BYTES, AT(max_frame_bytes), 0, "256kB", 4 * KB, 64 * MB, true},
	{"max_message_bytes", OPTION_BYTES, AT(max_message_bytes), 0, "64kB", KB, 16 * MB, true},
	{"ping_interval_s", OPTION_INT, AT(ping_interval_s), 0, "25", 1, 3600, true},
	{"poll_interval_ms", OPTION_INT, AT(poll_interval_ms), 0, "1000", 50, 60000, false},
	{"port", OPTION_INT, AT(port), 0, "8080", 0, 65535, true},
	{"ready_timeout_s", OPTION_INT, AT(ready_timeout_s), 0, "5", 1, 300, false},
	{"reconnect_per_s", OPTION_INT, AT(reconnect_per_s), 0, "500", 1, 100000, false},
	{"relay_name", TEXT(relay_name), "", 0, 0, true},
	{"report_interval_s", OPTION_INT, AT(report_interval_s), 0, "5", 1, 25, false},
	{"ring_bytes", OPTION_BYTES, AT(ring_bytes), 0, "64MB", 64 * KB, 64 * GB, true},
	{"ring_warm_changes", OPTION_INT, AT(ring_warm_changes), 0, "100000", 0, 10000000, true},
	{"snapshot_dir", TEXT(snapshot_dir), "/var/lib/clinic-relay", 0, 0, true},
	{"snapshot_max_age_s", OPTION_INT, AT(snapshot_max_age_s), 0, "60", 0, 86400, false},
	{"sync_interval_s", OPTION_INT, AT(sync_interval_s), 0, "30", 0, 3600, false},
	{"table_streams_most", OPTION_INT, AT(table_streams_most), 0, "16", 1, 64, false},
};

#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

_Static_assert(OPTION_COUNT <= CONFIG_OPTIONS_MOST, "the loader keeps a line number for each");

static void *field(struct config *c, const struct option *o)
{
	return (char *)c + o->at;
}

static const void *field_const(const struct config *c, const struct option *o)
{
	return (const char *)c + o->at;
}

/* ---- one value ------------------------------------------------------------ */

/* A whole decimal number, no sign but '-', nothing after it but *end says. */
static bool parse_number(const char *text, const char **end, int64_t *out)
{
	const char *digits = text[0] == '-' ? text + 1 : text;
	char *stop;

	if (digits[0] < '0' || digits[0] > '9')
		return false;
	errno = 0;
	*out = strtoll(text, &stop, 10);
	*end = stop;
	return errno == 0;
}

static bool parse_bytes(const char *text, int64_t *out)
{
	static const struct {
		const char *name;
		int64_t factor;
	} units[] = {{"", 1}, {"B", 1}, {"kB", KB}, {"MB", MB}, {"GB", GB}};
	const char *unit;

	if (!parse_number(text, &unit, out))
		return false;
	while (*unit == ' ')
		unit++;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(unit, units[i].name) == 0)
			return !__builtin_mul_overflow(*out, units[i].factor, out);
	}
	return false;
}

static bool parse_bool(const char *text, bool *out)
{
	*out = strcmp(text, "yes") == 0;
	return *out || strcmp(text, "no") == 0;
}

static cs_status set_number(struct config *c, const struct option *o, const char *value,
			    struct cs_error *err)
{
	const char *end = "";
	int64_t number;

	if (o->kind == OPTION_BYTES ? !parse_bytes(value, &number)
				    : !parse_number(value, &end, &number) || *end)
		return cs_fail(err, CS_ERR_CONFIG, "\"%s\" needs a whole number%s", o->name,
			       o->kind == OPTION_BYTES ? ", with kB, MB or GB if you like" : "");
	if (number < o->min || number > o->max)
		return cs_fail(err, CS_ERR_CONFIG, "\"%s\" must be from %lld to %lld", o->name,
			       (long long)o->min, (long long)o->max);
	if (o->kind == OPTION_BYTES)
		*(int64_t *)field(c, o) = number;
	else
		*(int *)field(c, o) = (int)number;
	return CS_OK;
}

static cs_status set_option(struct config *c, const struct option *o, const char *value,
			    struct cs_error *err)
{
	switch (o->kind) {
	case OPTION_TEXT:
		if (strlen(value) >= o->size)
			return cs_fail(err, CS_ERR_CONFIG, "\"%s\" is longer than %zu bytes",
				       o->name, o->size - 1);
		memset(field(c, o), 0, o->size);
		memcpy(field(c, o), value, strlen(value));
		return CS_OK;
	case OPTION_INT:
	case OPTION_BYTES:
		return set_number(c, o, value, err);
	case OPTION_BOOL:
		if (!parse_bool(value, field(c, o)))
			return cs_fail(err, CS_ERR_CONFIG, "\"%s\" must be yes or no", o->name);
		return CS_OK;
	case OPTION_LEVEL:
		if (!log_parse_level(value, field(c, o)))
			return cs_fail(err, CS_ERR_CONFIG,
				       "\"%s\" must be debug, info, warning or error", o->name);
		return CS_OK;
	}
	return cs_fail(err, CS_ERR_CONFIG, "\"%s\" has no kind", o->name);
}

int config_find(const char *key)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (strcmp(options[i].name, key) == 0)
			return (int)i;
	}
	return -1;
}

cs_status config_set(struct config *c, const char *key, const char *value, struct cs_error *err)
{
	int option = config_find(key);
	char shown[80];

	if (option < 0)
		return cs_fail(err, CS_ERR_CONFIG, "no such option: \"%s\"",
			       log_quote(key, shown, sizeof(shown)));
	return set_option(c, &options[option], value, err);
}

void config_defaults(struct config *c)
{
	memset(c, 0, sizeof(*c));
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		/* a default that its own table refuses would be a bug the first test meets */
		if (set_option(c, &options[i], options[i].fallback, NULL) != CS_OK)
			abort();
	}
	gethostname(c->relay_name, sizeof(c->relay_name) - 1);
}

static size_t field_bytes(const struct option *o)
{
	switch (o->kind) {
	case OPTION_TEXT:
		return o->size;
	case OPTION_INT:
		return sizeof(int);
	case OPTION_BYTES:
		return sizeof(int64_t);
	case OPTION_BOOL:
		return sizeof(bool);
	case OPTION_LEVEL:
		return sizeof(log_level);
	}
	return 0;
}

void config_apply(struct config *running, const struct config *fresh)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option *o = &options[i];

		if (memcmp(field_const(running, o), field_const(fresh, o), field_bytes(o)) == 0)
			continue;
		if (o->restart) {
			log_warning("reload: \"%s\" changed, which needs a restart", o->name);
			continue;
		}
		memcpy(field(running, o), field_const(fresh, o), field_bytes(o));
		log_info("reload: \"%s\" changed", o->name);
	}
	if (strcmp(running->access_code, fresh->access_code) != 0) {
		memcpy(running->access_code, fresh->access_code, sizeof(running->access_code));
		log_info("reload: the access code changed");
	}
	log_set_level(running->log_level);
}

static void show_value(const struct config *c, const struct option *o, FILE *out)
{
	static const char *const levels[] = {"debug", "info", "warning", "error"};
	const void *at = field_const(c, o);
	bool has_password;

	switch (o->kind) {
	case OPTION_TEXT:
		if (at == c->dsn && c->dsn_file[0])
			return; /* it came out of dsn_file */
		if (at == c->dsn && *(const char *)at &&
		    (upstream_check_dsn(c->dsn, &has_password, NULL) != CS_OK || has_password))
			fputs("(set, holds a password)", out);
		else
			fputs(at, out);
		return;
	case OPTION_INT:
		fprintf(out, "%d", *(const int *)at);
		return;
	case OPTION_BYTES:
		fprintf(out, "%lld", (long long)*(const int64_t *)at);
		return;
	case OPTION_BOOL:
		fputs(*(const bool *)at ? "yes" : "no", out);
		return;
	case OPTION_LEVEL:
		fputs(levels[*(const log_level *)at], out);
		return;
	}
}

void config_show(const struct config *c, FILE *out)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		fprintf(out, "%s = ", options[i].name);
		show_value(c, &options[i], out);
		fputc('\n', out);
	}
}
