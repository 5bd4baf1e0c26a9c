/*
 * clinic-cache: keeps a SQLite file equal to the clinic's server, from the
 * command line.  What it can do stands in cli_options.c, how in cli_*.c.
 */
#include <locale.h>
#include <stdio.h>
#include <sys/stat.h>

#include "cli_options.h"
#include "cli_output.h"

static bool is_directory(const char *path)
{
	struct stat st;

	return path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int main(int argc, char **argv)
{
	const struct cli_command *command;
	struct cli_options options;
	int exit_code;

	setlocale(LC_CTYPE, "");
	command = cli_options_parse(argc, argv, &options, &exit_code);
	if (command) {
		log_set_level(options.level);
		if (is_directory(options.db))
			exit_code =
				cli_fail(&options, EXIT_CONFIG, "%s is a directory", options.db);
		else
			exit_code = command->run(&options);
	}
	cli_options_free(&options);
	/* a full disk behind a redirected stdout must not look like success */
	if (fflush(stdout) != 0 && exit_code == EXIT_DONE)
		exit_code = EXIT_CONFIG;
	return exit_code;
}
