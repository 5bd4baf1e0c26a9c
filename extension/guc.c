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

int cs_notify_mode = CS_NOTIFY_COMMIT;
int cs_max_row_bytes = 64 * 1024 * 1024;
int cs_log_hard_kb = 4 * 1024 * 1024;
int cs_log_segment_kb = 64 * 1024;
int cs_retention_s = 7 * 24 * 60 * 60;

/* read by SQL through current_setting() only */
static int log_max_kb = 1024 * 1024;

static const struct config_enum_entry notify_modes[] = {
	{"off", CS_NOTIFY_OFF, false}, {"commit", CS_NOTIFY_COMMIT, false}, {NULL, 0, false}};

static void
define_capture_settings(void)
{
	DefineCustomEnumVariable(
		"clinic_sync.notify", "Sets when relays are told that the change log grew.",
		"\"commit\" sends one NOTIFY per event with each transaction; with \"off\" relays only "
		"poll.",
		&cs_notify_mode, CS_NOTIFY_COMMIT, notify_modes, PGC_SUSET, 0, NULL, NULL, NULL);

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
							NULL, &cs_log_segment_kb, 64 * 1024, 64, INT_MAX, PGC_SUSET, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomIntVariable(
		"clinic_sync.retention", "Sets how long the change log is kept for caches that are away.",
		NULL, &cs_retention_s, 7 * 24 * 60 * 60, 1, INT_MAX, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
}

void
cs_guc_init(void)
{
	define_capture_settings();
	define_log_settings();
	MarkGUCPrefixReserved("clinic_sync");
}
