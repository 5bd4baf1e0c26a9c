/* What the commands print; see cli_output.h. */
#include "cli_output.h"

#include <stdarg.h>
#include <string.h>

#include "clock.h"
#include "event_json.h"

/* A key may hold a long text, and JSON may need six bytes for one of it. */
#define MAX_LINE_BYTES ((size_t)512 * 1024 * 1024)

int cli_fail(const struct cli_options *options, int exit_code, const char *fmt, ...)
{
	struct dynbuf line;
	char text[600];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	fprintf(stderr, "clinic-cache: %s\n", text);
	if (!options->json)
		return exit_code;
	dynbuf_init(&line, MAX_LINE_BYTES);
	dynbuf_adds(&line, "{");
	cli_json_text(&line, "result", "error");
	cli_json_text(&line, "error", text);
	cli_json_number(&line, "exit", exit_code);
	if (dynbuf_adds(&line, "}"))
		puts(line.data);
	dynbuf_free(&line);
	return exit_code;
}

int cli_exit_of(clinic_cache_status status)
{
	switch (status) {
	case CLINIC_CACHE_OK:
		return EXIT_DONE;
	case CLINIC_CACHE_ERR_BUSY:
		return EXIT_IN_USE;
	case CLINIC_CACHE_ERR_REFUSED:
		return EXIT_REFUSED;
	case CLINIC_CACHE_ERR_PROTOCOL:
		return EXIT_UNREACHABLE;
	case CLINIC_CACHE_ERR_NOMEM:
	case CLINIC_CACHE_ERR_USAGE:
	case CLINIC_CACHE_ERR_STORE:
		break;
	}
	return EXIT_CONFIG;
}

int cli_fail_library(const struct cli_options *options, const struct clinic_cache_error *error)
{
	int exit_code = cli_exit_of(error->status);

	if (error->status == CLINIC_CACHE_ERR_BUSY && error->pid > 0)
		return cli_fail(options, exit_code, "%s is being synced by process %d", options->db,
				error->pid);
	return cli_fail(options, exit_code, "%s", error->text);
}

int cli_fail_status(const struct cli_options *options, const struct cs_error *error)
{
	switch (error->status) {
	case CS_ERR_REFUSED:
		return cli_fail(options, EXIT_REFUSED, "%s", error->text);
	case CS_ERR_UPSTREAM:
	case CS_ERR_PROTOCOL:
		return cli_fail(options, EXIT_UNREACHABLE, "%s", error->text);
	default:
		return cli_fail(options, EXIT_CONFIG, "%s", error->text);
	}
}

static void json_name(struct dynbuf *b, const char *name)
{
	if (b->len > 0 && b->data[b->len - 1] != '{' && b->data[b->len - 1] != '[')
		dynbuf_adds(b, ",");
	dynbuf_add_json(b, name, strlen(name));
	dynbuf_adds(b, ":");
}

void cli_json_text(struct dynbuf *b, const char *name, const char *value)
{
	json_name(b, name);
	if (value)
		dynbuf_add_json(b, value, strlen(value));
	else
		dynbuf_adds(b, "null");
}

void cli_json_bool(struct dynbuf *b, const char *name, bool value)
{
	json_name(b, name);
	dynbuf_adds(b, value ? "true" : "false");
}

void cli_json_number(struct dynbuf *b, const char *name, long long value)
{
	json_name(b, name);
	dynbuf_addf(b, "%lld", value);
}

bool cli_write_event_json(FILE *f, const struct clinic_cache_event *event)
{
	struct dynbuf line;
	bool written;

	dynbuf_init(&line, MAX_LINE_BYTES);
	event_json_add(&line, event);
	dynbuf_adds(&line, "\n");
	written = !line.failed && fwrite(line.data, 1, line.len, f) == line.len && fflush(f) == 0;
	dynbuf_free(&line);
	return written;
}

bool cli_write_event_text(FILE *f, const struct clinic_cache_event *event)
{
	char now[CLOCK_TEXT_BYTES];
	char key[512];

	fprintf(f, "%s %s", clock_utc_text(now), event->type);
	if (event->table)
		fprintf(f, " %s", event->table);
	if (event->operation)
		fprintf(f, " %s", event->operation);
	if (event->key)
		fprintf(f, " %s", log_quote(event->key, key, sizeof(key)));
	if (event->origin)
		fprintf(f, " by %s", event->origin);
	if (event->detail)
		fprintf(f, ": %s", event->detail);
	fputc('\n', f);
	return fflush(f) == 0;
}
