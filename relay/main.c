/*
 * clinic-relay: command line, configuration, start and stop.
 *
 *   clinic-relay --config FILE [--check-config | --show-config]
 *
 * Exit code 0 after a goodbye, 2 for whatever the operator must change.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "config.h"
#include "job_orders.h"
#include "job_snapshot.h"
#include "log.h"
#include "relay.h"

#define EXIT_CONFIG 2
/* More than the most devices there can be. */
#define DESCRIPTORS_MOST 131072

static const char usage[] =
	"usage: clinic-relay --config FILE [--check-config | --show-config]\n"
	"\n"
	"Passes the changes of a clinic's PostgreSQL database on to its devices.\n"
	"\n"
	"  --config FILE    the configuration, see clinic-relay.conf(5)\n"
	"  --check-config   read it, say whether it is good, and end\n"
	"  --show-config    print every option with its value, and end\n"
	"  --version        print the version, and end\n"
	"  --help           print this, and end\n"
	"\n"
	"SIGHUP reads the configuration again, SIGTERM and SIGINT end it.\n";

enum action { ACTION_RUN, ACTION_CHECK, ACTION_SHOW, ACTION_JOB, ACTION_END, ACTION_WRONG };

static const char *config_path;

/*
 * A descriptor for each device: take as many as the system allows, but not the
 * billion that some containers do, since libwebsockets keeps a table of all.
 */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur =
			limit.rlim_max < DESCRIPTORS_MOST ? limit.rlim_max : DESCRIPTORS_MOST;
		/* refused, we go on with what there is */
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void look_at_descriptors(const struct config *config)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
	    limit.rlim_cur < (rlim_t)config->max_devices + descriptors_kept(limit.rlim_cur))
		log_warning("max_devices = %d needs %d file descriptors and the system allows %llu "
			    "(LimitNOFILE= of the service, ulimit -n): the devices beyond that "
			    "will not be let in",
			    config->max_devices, config->max_devices + DESCRIPTORS_KEPT,
			    (unsigned long long)limit.rlim_cur);
}

/* Read the file again; the old configuration stays if the new one is not good. */
static void reload(struct config *running)
{
	struct cs_error err = {0};
	struct config fresh;

	if (config_load(config_path, &fresh, &err) != CS_OK) {
		log_error("reload: %s; nothing has changed", err.text);
		return;
	}
	config_apply(running, &fresh);
	explicit_bzero(&fresh, sizeof(fresh));
	look_at_descriptors(running);
	log_info("reload: done");
}

static enum action parse_arguments(int argc, char **argv)
{
	static const struct option long_options[] = {{"config", required_argument, NULL, 'c'},
						     {"check-config", no_argument, NULL, 'C'},
						     {"show-config", no_argument, NULL, 's'},
						     {"version", no_argument, NULL, 'v'},
						     {"help", no_argument, NULL, 'h'},
						     {"job", no_argument, NULL, 'j'},
						     {NULL, 0, NULL, 0}};
	enum action action = ACTION_RUN;
	int option;

	while ((option = getopt_long(argc, argv, "c:h", long_options, NULL)) != -1) {
		switch (option) {
		case 'c':
			config_path = optarg;
			break;
		case 'C':
			action = ACTION_CHECK;
			break;
		case 's':
			action = ACTION_SHOW;
			break;
		case 'j':
			return ACTION_JOB;
		case 'v':
			puts("clinic-relay " CLINIC_SYNC_VERSION);
			return ACTION_END;
		case 'h':
			fputs(usage, stdout);
			return ACTION_END;
		default:
			fputs(usage, stderr);
			return ACTION_WRONG;
		}
	}
	if (optind == argc && config_path)
		return action;
	fprintf(stderr, "clinic-relay: %s\n",
		config_path ? "takes no arguments" : "--config FILE is missing");
	fputs(usage, stderr);
	return ACTION_WRONG;
}

static int with_config(enum action action)
{
	static struct config config;
	struct cs_error err = {0};

	if (config_load(config_path, &config, &err) != CS_OK) {
		log_error("%s", err.text);
		return EXIT_CONFIG;
	}
	if (action == ACTION_CHECK) {
		printf("%s: good\n", config_path);
		return 0;
	}
	if (action == ACTION_SHOW) {
		config_show(&config, stdout);
		return 0;
	}
	log_set_level(config.log_level);
	raise_descriptor_limit();
	look_at_descriptors(&config);
	if (job_snapshot_claim_dir(&config, &err) != CS_OK) {
		log_error("%s", err.text);
		return EXIT_CONFIG;
	}
	return relay_run(&config, reload);
}

int main(int argc, char **argv)
{
	/* snapshots and spools hold patient data, whatever the directory allows */
	umask(S_IRWXG | S_IRWXO);
	enum action action = parse_arguments(argc, argv);

	switch (action) {
	case ACTION_JOB:
		return job_main();
	case ACTION_END:
		return 0;
	case ACTION_WRONG:
		return EXIT_CONFIG;
	default:
		return with_config(action);
	}
}
