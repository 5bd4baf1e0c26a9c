/*
 * The relay's settings: one table of options, one struct that holds them.
 *
 * The struct is plain data of fixed size: whoever was given a pointer to it at
 * start sees new values after a reload and never a dangling one.  The secret
 * files are read when the configuration is loaded; nobody reads them later.
 */
#ifndef CLINIC_RELAY_CONFIG_H
#define CLINIC_RELAY_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "log.h"
#include "status.h"

#define CONFIG_PATH_BYTES 1024
#define CONFIG_DSN_BYTES 4096
#define CONFIG_NAME_BYTES 128
/* Descriptors kept for PostgreSQL, jobs, snapshots and spools (256 in the rings), beyond those of
   max_devices. */
#define DESCRIPTORS_KEPT 384
/* The same where few are allowed: half of them. */
static inline uint64_t descriptors_kept(uint64_t allowed)
{
	return DESCRIPTORS_KEPT < allowed / 2 ? DESCRIPTORS_KEPT : allowed / 2;
}
#define CONFIG_SECRET_BYTES 256

struct config {
	/* the database */
	char dsn[CONFIG_DSN_BYTES];
	char dsn_file[CONFIG_PATH_BYTES]; /* its content takes the place of dsn */
	int connect_timeout_s;
	int catch_up_connections;
	int poll_interval_ms;
	int ready_timeout_s;
	int report_interval_s;

	/* devices */
	char access_code_file[CONFIG_PATH_BYTES];
	char access_code[CONFIG_SECRET_BYTES]; /* content of access_code_file */
	char allow_origins[CONFIG_PATH_BYTES]; /* comma list, see origins.h; "" none */
	char listen_address[CONFIG_NAME_BYTES];
	int port; /* 0: any */
	bool allow_plaintext;
	bool listen_share;
	int max_devices;
	int admit_most;
	int reconnect_per_s;
	int client_info_timeout_s;
	int ping_interval_s;
	int dead_after_s;
	int64_t max_message_bytes;
	int64_t max_frame_bytes;
	int64_t ring_bytes;
	int ring_warm_changes; /* 0: the ring begins empty */
	int64_t device_queue_bytes;

	/* proofs and tables sent again */
	int sync_interval_s; /* 0: no periodic proof */
	int table_streams_most;

	/* snapshots */
	char snapshot_dir[CONFIG_PATH_BYTES];
	int snapshot_max_age_s;
	int job_timeout_s;

	char relay_name[CONFIG_NAME_BYTES];
	log_level log_level;
};

/*
 * Read the file and everything it names.  On failure err holds one line that
 * names file, line and key; *out is then not to be used.
 */
cs_status config_load(const char *path, struct config *out, struct cs_error *err) CS_CHECKED;

/*
 * Bring a running configuration up to a fresh one: settings that may change in
 * a running relay are copied, one log line per change; of the others a log
 * line says that they need a restart.
 */
void config_apply(struct config *running, const struct config *fresh);

/* "key = value" for every option, secrets left out, in the table's order. */
void config_show(const struct config *c, FILE *out);

#define CONFIG_OPTIONS_MOST 64
/* Number of an option, less than CONFIG_OPTIONS_MOST; -1: there is none of that name. */
int config_find(const char *key);

/* Set every option to its default. */
void config_defaults(struct config *c);
/* Set one option from text; the error names the key, never the value of a secret. */
cs_status config_set(struct config *c, const char *key, const char *value,
		     struct cs_error *err) CS_CHECKED;
/* What no single option can say: required ones, ones that exclude each other. */
cs_status config_validate(const struct config *c, struct cs_error *err) CS_CHECKED;

#endif
