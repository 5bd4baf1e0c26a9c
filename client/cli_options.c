/* The command line; see cli_options.h. */
#include "cli_options.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "clinic-cache"
#define MAX_TABLES 4096
#define MAX_TIMEOUT_S (7 * 24 * 3600)
#define MAX_SYNC_INTERVAL_S 3600
#define MAX_NAME_BYTES 128
#define MAX_TABLE_BYTES 63
#define TYPED_BYTES 80 /* of what was typed, in an error */

enum cli_option_id {
	OPTION_URL,
	OPTION_DB,
	OPTION_ACCESS_CODE_FILE,
	OPTION_TABLES,
	OPTION_NAME,
	OPTION_ONCE,
	OPTION_TIMEOUT,
	OPTION_EVENTS,
	OPTION_ADOPT,
	OPTION_FULL_SYNC,
	OPTION_SYNC_INTERVAL,
	OPTION_USER_VERSION,
	OPTION_APP_SQLITE,
	OPTION_PATIENT_DATA,
	OPTION_TABLE,
	OPTION_JSON,
	OPTION_LOG_LEVEL,
	OPTION_HELP,
	OPTION_COUNT,
};
#define BIT(id) (1u << (id))

static const struct {
	const char *name;
	const char *argument; /* NULL: takes none */
	const char *help;
} options[OPTION_COUNT] = {
	[OPTION_URL] = {"url", "URL", "address of the relay, ws://HOST:PORT/ws"},
	[OPTION_DB] = {"db", "FILE", "the SQLite file"},
	[OPTION_ACCESS_CODE_FILE] = {"access-code-file", "FILE", "file that holds the access code"},
	[OPTION_TABLES] = {"tables", "A,B,...", "only these tables"},
	[OPTION_NAME] = {"name", "NAME",
			 "name of this device, shown to the DBA; default: the host's"},
	[OPTION_ONCE] = {"once", NULL, "stop as soon as the file is level with the server"},
	[OPTION_TIMEOUT] = {"timeout", "SECONDS", "how long to wait before giving up"},
	[OPTION_EVENTS] = {"events", "FILE", "append every event as one line of JSON, - is stdout"},
	[OPTION_ADOPT] =
		{"adopt", "HOW",
		 "server: the file's own rows give way to the server's; a copy is made before"},
	[OPTION_FULL_SYNC] = {"full-sync", "HOW",
			      "file: a full sync comes over HTTP (default); link: over the link"},
	[OPTION_SYNC_INTERVAL] = {"sync-interval", "SECONDS",
				  "how often to compare with the server, 0: never; default: the "
				  "relay's"},
	[OPTION_USER_VERSION] = {"user-version", "N", "PRAGMA user_version of a new file"},
	[OPTION_APP_SQLITE] = {"app-sqlite", "VERSION",
			       "SQLite of the app that uses the file, such as 3.51.3"},
	[OPTION_PATIENT_DATA] = {"patient-data", NULL,
				 "only the tables of patient data and billing"},
	[OPTION_TABLE] = {"table", "TABLE", "only this table"},
	[OPTION_JSON] = {"json", NULL, "results as JSON"},
	[OPTION_LOG_LEVEL] = {"log-level", "LEVEL", "debug, info, warning or error"},
	[OPTION_HELP] = {"help", NULL, "show this help"},
};

#define OPTIONS_OF_ALL (BIT(OPTION_JSON) | BIT(OPTION_LOG_LEVEL) | BIT(OPTION_HELP))

static const struct cli_command commands[] = {
	{
		.name = "sync",
		.run = cli_sync,
		.summary = "make FILE equal to the server and keep it so",
		.options = OPTIONS_OF_ALL | BIT(OPTION_URL) | BIT(OPTION_DB) |
			   BIT(OPTION_ACCESS_CODE_FILE) | BIT(OPTION_TABLES) | BIT(OPTION_NAME) |
			   BIT(OPTION_ONCE) | BIT(OPTION_TIMEOUT) | BIT(OPTION_EVENTS) |
			   BIT(OPTION_ADOPT) | BIT(OPTION_FULL_SYNC) | BIT(OPTION_SYNC_INTERVAL) |
			   BIT(OPTION_USER_VERSION) | BIT(OPTION_APP_SQLITE),
		.required = BIT(OPTION_DB),
	},
	{
		.name = "sync-now",
		.run = cli_sync_now,
		.summary = "make FILE level and compare it with the server, now",
		.options = OPTIONS_OF_ALL | BIT(OPTION_DB) | BIT(OPTION_ACCESS_CODE_FILE) |
			   BIT(OPTION_PATIENT_DATA) | BIT(OPTION_TABLE) | BIT(OPTION_TIMEOUT),
		.required = BIT(OPTION_DB),
	},
	{
		.name = "status",
		.run = cli_status,
		.summary = "show what FILE holds and who syncs it",
		.options = OPTIONS_OF_ALL | BIT(OPTION_DB),
		.required = BIT(OPTION_DB),
	},
	{
		.name = "verify",
		.run = cli_verify,
		.summary = "compare FILE with the server, row for row, at one moment",
		.options = OPTIONS_OF_ALL | BIT(OPTION_DB) | BIT(OPTION_ACCESS_CODE_FILE) |
			   BIT(OPTION_TABLES) | BIT(OPTION_TIMEOUT),
		.required = BIT(OPTION_DB),
	},
	{
		.name = "watch",
		.run = cli_watch,
		.summary = "print changes as they happen, without a file",
		.options = OPTIONS_OF_ALL | BIT(OPTION_URL) | BIT(OPTION_ACCESS_CODE_FILE) |
			   BIT(OPTION_TABLES) | BIT(OPTION_NAME),
		.required = BIT(OPTION_URL),
	},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

/* ---- help ------------------------------------------------------------------------------ */

static void print_option(FILE *f, int id)
{
	char left[48];

	snprintf(left, sizeof(left), "--%s%s%s", options[id].name, options[id].argument ? " " : "",
		 options[id].argument ? options[id].argument : "");
	fprintf(f, "  %-26s %s\n", left, options[id].help);
}

static void print_command_help(const struct cli_command *command)
{
	printf("usage: " PROGRAM " %s", command->name);
	for (int id = 0; id < OPTION_COUNT; id++) {
		if (command->required & BIT(id))
			printf(" --%s %s", options[id].name, options[id].argument);
	}
	printf(" [options]\n%s\n\n", command->summary);
	for (int id = 0; id < OPTION_COUNT; id++) {
		if (command->options & BIT(id))
			print_option(stdout, id);
	}
}

static void print_help(FILE *f)
{
	fprintf(f, "usage: " PROGRAM " COMMAND [options]\n\n");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fprintf(f, "\n  " PROGRAM " COMMAND --help shows a command's options.\n"
		   "  " PROGRAM " --version, " PROGRAM " --help\n\n"
		   "exit codes: 0 done or equal, 1 different, 2 usage or configuration,\n"
		   "3 relay not reachable, 4 file in use, 5 refused by the relay\n");
}

/* What was typed, for an error: shortened, in quotes, without control characters. */
static const char *quote(const char *text, char out[TYPED_BYTES])
{
	char clean[TYPED_BYTES - 2];

	snprintf(out, TYPED_BYTES, "\"%s\"", log_quote(text, clean, sizeof(clean)));
	return out;
}

static const struct cli_command *usage_error(const struct cli_command *command, int *exit_code)
{
	fprintf(stderr, "try: " PROGRAM " %s%s--help\n", command ? command->name : "",
		command ? " " : "");
	*exit_code = EXIT_CONFIG;
	return NULL;
}

/* ---- values ---------------------------------------------------------------------------- */

static bool parse_number(const char *text, long least, long most, int *out)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end != '\0' || value < least || value > most)
		return false;
	*out = (int)value;
	return true;
}

static bool parse_interval(const char *text, int *out)
{
	if (!parse_number(text, 0, MAX_SYNC_INTERVAL_S, out))
		return false;
	/* the library's 0 is the relay's interval */
	if (*out == 0)
		*out = -1;
	return true;
}

static bool is_one_of(const char *text, const char *first, const char *second)
{
	return strcmp(text, first) == 0 || strcmp(text, second) == 0;
}

static bool add_table(struct cli_options *out, const char *name, size_t len)
{
	char **tables;

	for (size_t i = 0; i < out->table_count; i++) {
		if (strlen(out->tables[i]) == len && memcmp(out->tables[i], name, len) == 0)
			return true;
	}
	if (len == 0 || out->table_count == MAX_TABLES)
		return false;
	tables = realloc(out->tables, (out->table_count + 1) * sizeof(*tables));
	if (!tables)
		return false;
	out->tables = tables;
	tables[out->table_count] = strndup(name, len);
	return tables[out->table_count++] != NULL;
}

static bool parse_tables(const char *text, struct cli_options *out)
{
	for (;;) {
		size_t len = strcspn(text, ",");

		if (!add_table(out, text, len))
			return false;
		if (text[len] == '\0')
			return true;
		text += len + 1;
	}
}

/* False: the value is not one. */
static bool set_option(int id, const char *value, struct cli_options *out)
{
	if (value && value[0] == '\0')
		return false;
	switch ((enum cli_option_id)id) {
	case OPTION_URL:
		out->url = value;
		return true;
	case OPTION_DB:
		out->db = value;
		return true;
	case OPTION_ACCESS_CODE_FILE:
		out->access_code_file = value;
		return true;
	case OPTION_TABLES:
		return parse_tables(value, out);
	case OPTION_NAME:
		out->name = value;
		return strlen(value) <= MAX_NAME_BYTES;
	case OPTION_ONCE:
		out->once = true;
		return true;
	case OPTION_TIMEOUT:
		return parse_number(value, 1, MAX_TIMEOUT_S, &out->timeout_s);
	case OPTION_EVENTS:
		out->events = value;
		return true;
	case OPTION_ADOPT:
		out->adopt = value;
		return is_one_of(value, "server", "merge");
	case OPTION_FULL_SYNC:
		out->full_sync = value;
		return is_one_of(value, "file", "link");
	case OPTION_SYNC_INTERVAL:
		return parse_interval(value, &out->sync_interval_s);
	case OPTION_USER_VERSION:
		return parse_number(value, 1, INT_MAX, &out->user_version);
	case OPTION_APP_SQLITE:
		out->app_sqlite = value;
		return true;
	case OPTION_PATIENT_DATA:
		out->patient_data = true;
		return true;
	case OPTION_TABLE:
		out->table = value;
		return strlen(value) <= MAX_TABLE_BYTES;
	case OPTION_JSON:
		out->json = true;
		return true;
	case OPTION_LOG_LEVEL:
		return log_parse_level(value, &out->level);
	case OPTION_HELP:
	case OPTION_COUNT:
		break;
	}
	return false;
}

/* ---- parsing --------------------------------------------------------------------------- */

static const struct cli_command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

/* getopt's table for this command; val is the option's id + 1, since 0 and '?' mean other things */
static void fill_getopt_table(const struct cli_command *command, struct option *table)
{
	for (int id = 0; id < OPTION_COUNT; id++) {
		if (!(command->options & BIT(id)))
			continue;
		*table++ = (struct option){
			.name = options[id].name,
			.has_arg = options[id].argument ? required_argument : no_argument,
			.val = id + 1,
		};
	}
	*table = (struct option){0};
}

/* Options that mean nothing without, or beside, one another. */
static const char *find_contradiction(const struct cli_command *command,
				      const struct cli_options *out)
{
	if (command->run == cli_sync && out->timeout_s && !out->once)
		return "--timeout needs --once";
	if (out->adopt && strcmp(out->adopt, "merge") == 0)
		return "--adopt=merge, where the file's rows become writes to the server, comes "
		       "with the writes in a later version; --adopt=server takes the server's rows";
	if (out->patient_data && out->table)
		return "--patient-data and --table exclude each other";
	return NULL;
}

static const struct cli_command *check(const struct cli_command *command, unsigned seen,
				       const struct cli_options *out, int *exit_code)
{
	const char *contradiction = find_contradiction(command, out);

	for (int id = 0; id < OPTION_COUNT; id++) {
		if ((command->required & BIT(id)) && !(seen & BIT(id))) {
			fprintf(stderr, PROGRAM " %s: --%s is missing\n", command->name,
				options[id].name);
			return usage_error(command, exit_code);
		}
	}
	if (contradiction) {
		fprintf(stderr, PROGRAM " %s: %s\n", command->name, contradiction);
		return usage_error(command, exit_code);
	}
	return command;
}

static const struct cli_command *parse_command(const struct cli_command *command, int argc,
					       char **argv, struct cli_options *out, int *exit_code)
{
	struct option table[OPTION_COUNT + 1];
	char typed[TYPED_BYTES];
	unsigned seen = 0;
	int val;

	fill_getopt_table(command, table);
	opterr = 0;
	while ((val = getopt_long(argc, argv, "+:", table, NULL)) != -1) {
		if (val == '?' || val == ':') {
			fprintf(stderr, PROGRAM " %s: %s %s\n", command->name, argv[optind - 1],
				val == ':' ? "needs a value" : "is not an option of this command");
			return usage_error(command, exit_code);
		}
		if (val == OPTION_HELP + 1) {
			print_command_help(command);
			*exit_code = EXIT_DONE;
			return NULL;
		}
		if (!set_option(val - 1, optarg, out)) {
			fprintf(stderr, PROGRAM " %s: --%s: not a valid value: %s\n", command->name,
				options[val - 1].name, quote(optarg, typed));
			return usage_error(command, exit_code);
		}
		seen |= BIT(val - 1);
	}
	if (optind < argc) {
		fprintf(stderr, PROGRAM " %s: unexpected argument %s\n", command->name,
			quote(argv[optind], typed));
		return usage_error(command, exit_code);
	}
	return check(command, seen, out, exit_code);
}

const struct cli_command *cli_options_parse(int argc, char **argv, struct cli_options *out,
					    int *exit_code)
{
	const struct cli_command *command;

	memset(out, 0, sizeof(*out));
	out->level = LOG_LEVEL_INFO;
	if (gethostname(out->host_name, sizeof(out->host_name) - 1) == 0 && out->host_name[0])
		out->name = out->host_name;
	*exit_code = EXIT_DONE;
	if (argc < 2) {
		print_help(stderr);
		*exit_code = EXIT_CONFIG;
		return NULL;
	}
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		print_help(stdout);
		return NULL;
	}
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf(PROGRAM " %s\n", CLINIC_SYNC_VERSION);
		return NULL;
	}
	command = find_command(argv[1]);
	if (!command) {
		char typed[TYPED_BYTES];

		fprintf(stderr, PROGRAM ": no such command: %s\n", quote(argv[1], typed));
		return usage_error(NULL, exit_code);
	}
	return parse_command(command, argc - 1, argv + 1, out, exit_code);
}

void cli_options_free(struct cli_options *out)
{
	for (size_t i = 0; i < out->table_count; i++)
		free(out->tables[i]);
	free(out->tables);
	memset(out, 0, sizeof(*out));
}
