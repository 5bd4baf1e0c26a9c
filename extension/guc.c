/*
 * guc.c
 *		The settings of clinic_sync.
 *
 * All of them are for superusers: each can make a change log incomplete,
 * short-lived or silent, which is no business of an application role.
 * What only SQL functions read (log_max_bytes) is defined here too, so that
 * SHOW knows its unit.
 */
#include "postgres.h"

#include <limits.h>

#include "compat.h"
#include "guc.h"
#include "worker.h"

int cs_notify_mode = CS_NOTIFY_COMMIT;
char *cs_worker_databases = NULL;
double cs_notify_queue_limit = 0.25;
int cs_worker_max = 8;
int cs_batch_interval_ms = 5;
int cs_max_row_bytes = 64 * 1024 * 1024;
int cs_log_hard_kb = 4 * 1024 * 1024;
int cs_log_segment_kb = 64 * 1024;
int cs_retention_s = 7 * 24 * 60 * 60;
int cs_count_max_kb = 32 * 1024;

/* read by SQL through current_setting() only */
static int log_max_kb = 1024 * 1024;
static int sync_request_keep_s = 24 * 60 * 60;

static const struct config_enum_entry notify_modes[] = {{"off", CS_NOTIFY_OFF, false},
														{"commit", CS_NOTIFY_COMMIT, false},
														{"worker", CS_NOTIFY_WORKER, false},
														{NULL, 0, false}};

/*
 * Settings.
 */

static void
define_notify_settings(void)
{
	CsNotifyMode usual =
		process_shared_preload_libraries_in_progress ? CS_NOTIFY_WORKER : CS_NOTIFY_COMMIT;

	cs_notify_mode = usual;
	DefineCustomEnumVariable(
		"clinic_sync.notify", "Sets who tells relays that the change log grew.",
		"\"worker\", which needs shared_preload_libraries, a background worker, so that commits "
		"need not; \"commit\" each transaction, by one NOTIFY per event; \"off\" nobody, relays "
		"only poll.",
		&cs_notify_mode, usual, notify_modes, PGC_SUSET, 0, NULL, NULL, NULL);

	DefineCustomRealVariable(
		"clinic_sync.notify_queue_limit",
		"Sets the share of the server's NOTIFY queue above which no notification is sent.",
		"A full queue fails the commits of everybody who notifies; relays poll meanwhile.",
		&cs_notify_queue_limit, 0.25, 0.0, 1.0, PGC_SUSET, 0, NULL, NULL, NULL);
}

static bool
check_worker_databases(char **value, void **extra, GucSource source)
{
	if (cs_worker_list_is_valid(*value))
		return true;
	GUC_check_errdetail("List syntax is invalid.");
	return false;
}

static void
assign_worker_databases(const char *value, void *extra)
{
	cs_worker_list_changed();
}

/*
 * Without preloading these mean nothing, but may stand in postgresql.conf; a
 * setting for the postmaster cannot be defined that late.
 */
static void
define_worker_settings(void)
{
	DefineCustomStringVariable(
		"clinic_sync.worker_databases", "Names the databases that get a background worker.",
		"A list of names; * means each database that has the extension and is written to.",
		&cs_worker_databases, "*", PGC_SIGHUP, GUC_LIST_INPUT, check_worker_databases,
		assign_worker_databases, NULL);

	DefineCustomIntVariable(
		"clinic_sync.worker_max", "Sets how many databases can have a background worker.",
		"Each also needs one of max_worker_processes, and so does their launcher.", &cs_worker_max,
		8, 1, 256, process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP, 0,
		NULL, NULL, NULL);

	DefineCustomIntVariable("clinic_sync.batch_interval",
							"Sets the least time between two batches of the background worker.",
							"A commit that comes alone never waits for it.", &cs_batch_interval_ms,
							5, 0, 1000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

static void
define_capture_settings(void)
{
	/*
	 * The bound of 128 MB keeps the JSON form of any row, up to six bytes for
	 * one, below the 1 GB that PostgreSQL can hold as one value.
	 */
	DefineCustomIntVariable(
		"clinic_sync.max_row_bytes",
		"Sets the size of the largest row kept in the change log and in caches.",
		"Of a larger row caches only know the key. Change it together with a resync of the tables "
		"concerned.",
		&cs_max_row_bytes, 64 * 1024 * 1024, 1024, 128 * 1024 * 1024, PGC_SUSET, GUC_UNIT_BYTE,
		NULL, NULL, NULL);
}

static void
define_log_settings(void)
{
	DefineCustomIntVariable("clinic_sync.log_hard_bytes",
							"Sets the size of the change log at which capture stops writing to it.",
							"It is reached only when nobody cuts batches and prunes; every cache "
							"starts afresh afterwards.",
							&cs_log_hard_kb, 4 * 1024 * 1024, 64, INT_MAX, PGC_SUSET, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomIntVariable(
		"clinic_sync.log_max_bytes",
		"Sets the size of the change log above which its oldest segments are dropped early.",
		"Caches that still needed a dropped segment start afresh.", &log_max_kb, 1024 * 1024, 64,
		INT_MAX, PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);

	DefineCustomIntVariable("clinic_sync.log_segment_bytes",
							"Sets the size at which a new segment of the change log is begun.",
							NULL, &cs_log_segment_kb, 64 * 1024, 64, INT_MAX, PGC_SUSET,
							GUC_UNIT_KB, NULL, NULL, NULL);

	DefineCustomIntVariable("clinic_sync.retention",
							"Sets how long the change log is kept for caches that are away.", NULL,
							&cs_retention_s, 7 * 24 * 60 * 60, 1, INT_MAX, PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);
}

static void
define_proof_settings(void)
{
	DefineCustomIntVariable(
		"clinic_sync.count_max_bytes",
		"Sets the size of the largest table whose rows are counted to prove a cache.",
		"Larger ones are only proven slice by slice.", &cs_count_max_kb, 32 * 1024, 0, INT_MAX,
		PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);

	DefineCustomIntVariable("clinic_sync.sync_request_keep",
							"Sets how long a request for a sync is kept for caches that are away.",
							NULL, &sync_request_keep_s, 24 * 60 * 60, 1, INT_MAX, PGC_SUSET,
							GUC_UNIT_S, NULL, NULL, NULL);
}

void
cs_guc_init(void)
{
	define_notify_settings();
	define_worker_settings();
	define_capture_settings();
	define_log_settings();
	define_proof_settings();
	MarkGUCPrefixReserved("clinic_sync");
}
