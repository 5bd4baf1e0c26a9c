/* clinic-cache status: what a file holds, read beside whoever syncs it. */
#include <string.h>

#include "cli_output.h"

#define MAX_REPORT_BYTES ((size_t)4 * 1024 * 1024)

static const char *or_null(const char *text)
{
	return text[0] ? text : NULL;
}

static void add_health(struct dynbuf *b, const struct clinic_cache_file_status *file)
{
	cli_json_number(b, "sync_interval_s", file->sync_interval_s);
	cli_json_text(b, "proven_at", or_null(file->proven_at));
	cli_json_number(b, "repairs", file->repairs);
	cli_json_number(b, "parked", file->parked);
	cli_json_number(b, "orphans", file->orphans);
	cli_json_text(b, "adopted_at", or_null(file->adopted_at));
	cli_json_text(b, "backup", or_null(file->backup));
	cli_json_text(b, "journal_mode", file->journal_mode);
	cli_json_text(b, "journal_reason", or_null(file->journal_reason));
	cli_json_bool(b, "foreign_writer", file->foreign_writer);
	cli_json_number(b, "longest_lock_ms", file->longest_lock_ms);
	cli_json_number(b, "longest_swap_ms", file->longest_swap_ms);
}

static bool print_json(const struct cli_options *options,
		       const struct clinic_cache_file_status *file)
{
	struct dynbuf b;
	bool built;

	dynbuf_init(&b, MAX_REPORT_BYTES);
	dynbuf_adds(&b, "{");
	cli_json_text(&b, "db", options->db);
	cli_json_text(&b, "url", or_null(file->url));
	cli_json_text(&b, "device_id", or_null(file->device_id));
	cli_json_text(&b, "cursor", file->cursor);
	cli_json_text(&b, "snapshot_at", or_null(file->snapshot_at));
	cli_json_text(&b, "last_frame_at", or_null(file->last_frame_at));
	if (file->syncing_pid)
		cli_json_number(&b, "syncing_pid", file->syncing_pid);
	else
		cli_json_text(&b, "syncing_pid", NULL);
	cli_json_number(&b, "diverged", file->diverged);
	add_health(&b, file);
	dynbuf_adds(&b, ",\"tables\":[");
	for (size_t i = 0; i < file->table_count; i++) {
		dynbuf_adds(&b, i ? ",{" : "{");
		cli_json_text(&b, "name", file->tables[i].name);
		cli_json_number(&b, "rows", file->tables[i].rows);
		cli_json_number(&b, "oversize_rows", file->tables[i].oversize_rows);
		cli_json_number(&b, "parked_rows", file->tables[i].parked_rows);
		cli_json_bool(&b, "adopted", file->tables[i].adopted);
		dynbuf_adds(&b, "}");
	}
	built = dynbuf_adds(&b, "]}");
	if (built)
		puts(b.data);
	dynbuf_free(&b);
	return built;
}

static const char *or_none(const char *text)
{
	return text[0] ? text : "none";
}

static void print_health(const struct clinic_cache_file_status *file)
{
	printf("compared   ");
	if (file->sync_interval_s > 0)
		printf("every %d s, found equal %s\n", file->sync_interval_s,
		       file->proven_at[0] ? file->proven_at : "never so far");
	else
		printf("not by itself, found equal %s\n",
		       file->proven_at[0] ? file->proven_at : "never so far");
	printf("journal    %s: %s\n", file->journal_mode, or_none(file->journal_reason));
	printf("locked     %lld ms at most, %lld ms for a snapshot or table%s\n",
	       (long long)file->longest_lock_ms, (long long)file->longest_swap_ms,
	       file->foreign_writer ? "; another program writes the file, too" : "");
	if (file->adopted_at[0])
		printf("adopted    %s, copy of the file before: %s\n", file->adopted_at,
		       file->backup);
	if (file->orphans)
		printf("orphans    %lld rows that only this file had, in clinic_cache_orphans\n",
		       (long long)file->orphans);
	if (file->parked)
		printf("parked     %lld rows that the app's tables refuse, in "
		       "clinic_cache_parked\n",
		       (long long)file->parked);
	if (file->repairs)
		printf("repaired   %lld tables that were not the server's\n",
		       (long long)file->repairs);
	if (file->diverged)
		printf("damaged    %lld times, each repaired by a fresh snapshot\n",
		       (long long)file->diverged);
}

static void print_tables(const struct clinic_cache_file_status *file)
{
	if (file->table_count)
		printf("\n%-32s %12s %10s %10s\n", "table", "rows", "oversize", "parked");
	for (size_t i = 0; i < file->table_count; i++) {
		const struct clinic_cache_table_status *t = &file->tables[i];

		printf("%-32s %12lld %10lld %10lld%s\n", t->name, (long long)t->rows,
		       (long long)t->oversize_rows, (long long)t->parked_rows,
		       t->adopted ? "  the app's own" : "");
	}
}

static void print_text(const struct cli_options *options,
		       const struct clinic_cache_file_status *file)
{
	printf("file       %s\n", options->db);
	printf("server     %s\n", or_none(file->url));
	printf("device     %s\n", or_none(file->device_id));
	printf("cursor     %s\n", file->cursor);
	printf("snapshot   %s\n", or_none(file->snapshot_at));
	printf("last frame %s\n", or_none(file->last_frame_at));
	if (file->syncing_pid)
		printf("synced by  process %d\n", file->syncing_pid);
	else
		printf("synced by  nobody now\n");
	print_health(file);
	print_tables(file);
}

int cli_status(const struct cli_options *options)
{
	struct clinic_cache_file_status file;
	struct clinic_cache_error err = {0};
	int exit_code = EXIT_DONE;

	if (clinic_cache_read_status(options->db, &file, &err) != CLINIC_CACHE_OK)
		return cli_fail_library(options, &err);
	/* a file of somebody else's: SQLite, perhaps, but not a cache */
	if (!file.cursor[0])
		exit_code = cli_fail(options, EXIT_CONFIG, "%s is not a cache", options->db);
	else if (!options->json)
		print_text(options, &file);
	else if (!print_json(options, &file))
		exit_code = cli_fail(options, EXIT_CONFIG, "out of memory");
	clinic_cache_free_status(&file);
	return exit_code;
}
